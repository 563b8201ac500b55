"""Keys and values of later versions: refused with the same words wherever they stand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.config.load import Problem
from proxy.config.reserved import REFUSAL


@pytest.mark.parametrize(
    "policy",
    [
        "hedge: {after: 1s}",
        "concurrency: adaptive",
        "fault: {}",
        "rate_limit: {rate: 1/s, learn: true}",
        "rate_limit: {rate: 1/s, store: shared}",
        "timeout: {first_byte: adaptive}",
    ],
)
@pytest.mark.parametrize("scope", ["defaults", "api", "route"])
def test_refuses_policies_of_later_versions(policy: str, scope: str, complains: Callable[[str], list[Problem]]) -> None:
    """In the defaults, in an api and in a route alike, and with one message."""
    text = "version: 1\ndefaults: {DEFAULTS}\napis:\n  x:\n    url: http://x\n    API\n"
    text += "    routes: [{name: r, match: {methods: [GET]}, ROUTE}]\n"
    for name in ("defaults", "api", "route"):
        text = text.replace(name.upper(), policy if name == scope else "timeout: {}" if name == "route" else "")
    (problem,) = complains(text)
    assert problem.message.endswith(REFUSAL)
    assert problem.line == {"defaults": 2, "api": 6, "route": 7}[scope]


def test_a_mistake_in_a_shared_anchor_counts_once(complains: Callable[[str], list[Problem]]) -> None:
    """Where several apis use one anchor, its line is named once."""
    text = "x-p: &p {hedge: {}}\nversion: 1\napis:\n  a: {url: http://a, <<: *p}\n  b: {url: http://b, <<: *p}\n"
    assert [str(problem.line) for problem in complains(text)] == ["1"]


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("listen: {transparent: 127.0.0.1:7071}", "listen.transparent", "'127.0.0.1:7071' is not available"),
        ("upstream_proxy: http://proxy:3128", "upstream_proxy", "'http://proxy:3128' is not available"),
        ("upstream_proxy: http://u:pw@proxy:3128", "upstream_proxy", "'http://****@proxy:3128' is not available"),
        ("egress: {unlisted: deny}", "egress.unlisted", "'deny' is not available"),
        ("egress: {allow: [x.example]}", "egress.allow", "a list is not available"),
        ("tls_intercept: {ca_dir: /ca}", "tls_intercept.ca_dir", "'/ca' is not available"),
    ],
)
def test_refuses_values_without_effect(
    text: str, path: str, message: str, complains: Callable[[str], list[Problem]]
) -> None:
    """Nobody shall believe that a rule is in force which is not."""
    (problem,) = complains(f"version: 1\napis: {{x: {{url: http://x}}}}\n{text}\n")
    assert (problem.line, problem.path) == (3, path)
    assert problem.message.startswith(message)


def test_refuses_keys_of_an_api(api: Callable[[str], list[str]]) -> None:
    """Credentials are never ignored: the agent would send none."""
    assert api("credentials: {}") == [
        "5: apis.x.credentials: 'credentials' is not available in this version; remove it"
    ]
    (said,) = api("upstream_proxy: http://p:1")
    assert said.startswith("5: apis.x.upstream_proxy: 'http://p:1' is not available in this version; remove it, or")


def test_what_is_off_or_the_default_is_accepted(loads: Callable[[str], object]) -> None:
    """A file may say what this version does anyway."""
    text = "version: 1\nlisten: {transparent: off}\nupstream_proxy: false\negress: {unlisted: allow, allow: []}\n"
    text += "tls_intercept: {trust_dir: /var/run/backstay/trust}\napis: {x: {url: http://x, upstream_proxy: off}}\n"
    assert loads(text)
