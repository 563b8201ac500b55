"""Loading in an agent's place, or in a pipeline's: what a configuration says, without secrets that are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.load import ConfigError, load

SECRETIVE = """\
version: 1
admin_token: ${file:/not/here/admin}
stores: {shared: "%s"}
upstream_proxy: ${env:NOT_HERE}
apis:
  a:
    url: https://api.stripe.com
    credentials: {authorization: {value: "Bearer ${file:/not/here/stripe}", placeholder: bs_stripe}}
    tls: {ca_file: /not/here/ca.crt}
    cache: {store: shared}
  b:
    url: https://b.test:${env:PORT}
    upstream_proxy: http://me:${file:/not/here/password}@proxy.corp:3128
    credentials: {x-key: {value: "${env:NOT_HERE}"}, x-other: {value: "${env:NOT_HERE}"}}
"""


@pytest.mark.parametrize("store", ["${env:NOT_HERE}", "redis://:${env:NOT_HERE}@redis:6379/0"])
def test_secrets_are_not_needed_from_afar(tmp_path: Path, store: str) -> None:
    """The agent's container does not have them, and must not."""
    file = tmp_path / "x.yaml"
    file.write_text(SECRETIVE % store)
    config = load([file], {"PORT": "8443"}, afar=True)
    assert [(api.host, api.port) for api in config.apis] == [("api.stripe.com", 443), ("b.test", 8443)]
    with pytest.raises(ConfigError) as caught:
        load([file], {"PORT": "8443"})
    assert len(caught.value.problems) == 8


def test_what_is_no_secret_is_needed_everywhere(tmp_path: Path) -> None:
    """A port that is not known cannot be told to anybody."""
    file = tmp_path / "x.yaml"
    file.write_text(SECRETIVE % "redis://redis")
    with pytest.raises(ConfigError, match="PORT is not set"):
        load([file], {}, afar=True)
