"""The agent's variables, whatever a configuration has of names, addresses and folders: as `backstay env` has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy.agent.env import Place, kubernetes_value, trust_variables, variables
from proxy.config.load import load
from tests.support.helm import CASES, Object, one, rendered

CASE = next(case for case in CASES if case.name.startswith("minimal"))


def of_the_chart(objects: list[Object]) -> dict[str, str]:
    (container,) = one(objects, "Pod", "backstay-test-traffic")["spec"]["containers"]
    return {entry["name"]: entry["value"] for entry in container["env"] or []}


def of_the_command(objects: list[Object], folder: Path, values: dict[str, Any]) -> dict[str, str]:
    (folder / "backstay.yaml").write_text(one(objects, "ConfigMap", "backstay")["data"]["backstay.yaml"])
    config = load([folder / "backstay.yaml"], {}, afar=True)
    trust = config.tls_intercept.trust_dir if config.tls_intercept else Path("/var/run/backstay/trust")
    place = Place(shims=trust / "shims" if values.get("shims") else None)
    make = trust_variables if values.get("capture") == "transparent" else variables
    return {variable.name: kubernetes_value(variable) for variable in make(config, place)}


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"config.listen.agent": "0.0.0.0:8080"},
        {"config.listen.agent": "[::]:8080"},
        {"config.listen.agent": "backstay.example:8080"},
        {"config.apis.inner": {"url": "http://Search.prod.SVC/v1"}},
        {"config.apis.inner": {"url": "https://search.prod.svc.cluster.local:8443"}},
        {"config.apis.inner": {"url": "https://search.example", "hosts": ["Search.prod.svc.cluster.local"]}},
        {"config.egress": {"private_networks": "allow"}},
        {"config.egress": {"private_networks": "auto", "unlisted": "deny"}},
        {"config.tls_intercept": "off"},
        {"config.tls_intercept": {"trust_dir": "/agents may/read"}, "shims": True},
        {"config.tls_intercept": False, "shims": True},
        {"capture": "transparent", "config.listen.transparent": "127.0.0.1:7071", "shims": True},
        {"capture": "transparent", "config.listen.transparent": "127.0.0.1:7071", "config.tls_intercept": "off"},
    ],
    ids=str,
)
def test_they_are_those_of_the_command(values: dict[str, Any], tmp_path: Path) -> None:
    """Name by name; a shared list of rules, written in two languages."""
    objects = rendered(CASE, values)
    assert of_the_chart(objects) == of_the_command(objects, tmp_path, values)
