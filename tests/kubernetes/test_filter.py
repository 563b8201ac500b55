"""proxy/kubernetes/filter.py: which configuration a pod of a manifest gets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.kubernetes.filter import Filter, Maps
from proxy.kubernetes.model import Patch, Refused, Skipped
from proxy.kubernetes.workloads import Workload
from tests.support.injected import INSTALLATION, YAML, a_pod


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "backstay.yaml"
    file.write_text(YAML)
    return file


def mounted(outcome: Patch | Skipped) -> Any:
    """What the pod's volume of the configuration is."""
    assert isinstance(outcome, Patch), outcome
    volumes = [each for operation in outcome.operations for each in _listed(operation["value"])]
    return next(each for each in volumes if isinstance(each, dict) and each.get("name") == "backstay-config")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def asked(ask: Filter, **annotations: Any) -> Patch | Skipped:
    return ask(Workload((), "pod/x", None, a_pod(**annotations)))


def test_a_pod_carries_the_configuration(config: Path) -> None:
    """In an annotation of its own, unless something else is said."""
    ask = Filter(INSTALLATION, [config])
    assert "downwardAPI" in mounted(asked(ask))
    pod = {"spec": {"containers": [{"name": "agent", "image": "agent"}]}}
    assert isinstance(ask(Workload((), "pod/x", None, pod)), Patch)  # also one that asks for nothing


def test_a_pod_that_says_no_stays(config: Path) -> None:
    """The filter is for all others."""
    assert isinstance(asked(Filter(INSTALLATION, [config]), inject="false"), Skipped)


def test_a_config_map_is_mounted_whose_content_is_known(config: Path) -> None:
    """From the manifests, by the pod's own word before that of the command; or from --config."""
    maps: Maps = {(None, "own"): {"backstay.yaml": YAML}, (None, "all"): {"backstay.yaml": YAML}}
    among = Filter(INSTALLATION, config_map="all", maps=maps)
    assert mounted(asked(among))["configMap"]["name"] == "all"
    assert mounted(asked(among, config="own"))["configMap"]["name"] == "own"
    said = Filter(INSTALLATION, [config.parent], config_map="all")
    assert mounted(asked(said))["configMap"]["name"] == "all"


def test_a_configuration_that_is_not_known_is_asked_for(config: Path) -> None:
    """What --config says is not taken for that of a ConfigMap that it was not named for."""
    with pytest.raises(Refused, match="ConfigMap other is not among the manifests; add it with -f, or say what is in"):
        asked(Filter(INSTALLATION, [config], config_map="all"), config="other")
    with pytest.raises(Refused, match="name one with --config"):
        asked(Filter(INSTALLATION))


def test_what_is_wrong_with_a_configuration_is_said(config: Path) -> None:
    """With its place: in a file, in a key of a ConfigMap; and what is no text."""
    with pytest.raises(Refused, match=r"ConfigMap all, key a\.yaml:1:1: "):
        asked(Filter(INSTALLATION, config_map="all", maps={(None, "all"): {"a.yaml": "version: 2"}}))
    config.write_bytes(b"\xff")
    with pytest.raises(Refused, match="a file is not UTF-8"):
        asked(Filter(INSTALLATION, [config], config_map="all"))


OTHER = YAML.replace("tls_intercept: {}", "tls_intercept: {trust_dir: /other}")


@pytest.mark.parametrize(
    ("namespace", "said", "meant"),
    [("a", ["a", "b", None], "a"), ("a", ["b", None], None), (None, [None, "a"], None), (None, ["a"], "a")],
)
def test_a_config_map_is_that_of_the_pods_namespace(namespace: str | None, said: list[Any], meant: str | None) -> None:
    """What says no namespace gets one when it is applied, and may be meant if nothing else is."""
    maps = {(where, "ways"): {"backstay.yaml": OTHER if where == meant else YAML} for where in said}
    found = Filter(INSTALLATION, maps=maps)(Workload((), "pod/x", namespace, a_pod(config="ways")))
    assert isinstance(found, Patch)
    assert "/other" in str(found.operations)


def test_a_config_map_of_another_namespace_is_none() -> None:
    """And which of two is meant has to be said."""
    maps: Maps = {("a", "ways"): {"backstay.yaml": YAML}, ("b", "ways"): {"backstay.yaml": YAML}}
    ask = Filter(INSTALLATION, maps=maps)
    with pytest.raises(Refused, match="ConfigMap ways is not among the manifests"):
        ask(Workload((), "pod/x", "c", a_pod(config="ways")))
    with pytest.raises(Refused, match="ConfigMap ways is in the namespaces a, b, and the pod names none; add its"):
        ask(Workload((), "pod/x", None, a_pod(config="ways")))


def test_a_template_whose_secrets_come_from_its_service_account_is_told(config: Path) -> None:
    """Kubernetes adds those to a pod that has none."""
    ask = Filter(replace(INSTALLATION, pull_secrets=("registry",)), [config])
    without, own = a_pod(), a_pod(spec={"imagePullSecrets": [{"name": "own"}]})
    found = [ask(Workload((), "pod/x", None, pod)) for pod in (without, own)]
    assert ["none comes from the ServiceAccount" in repr(each) for each in found] == [True, False]
