"""`kubernetes_sd_configs` find Backstay wherever it is, by the chart's PodMonitors and by annotations of pods."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.support import helm, vmagent
from tests.support.injected import Pod, a_pod
from tests.support.pods_api import PodsApi, targets
from tests.support.scene import NAMESPACE, VALUES, at_port, injected_pod, jobs_of_monitors
from tests.support.scraping import of_annotations

pytestmark = pytest.mark.slow

YAML: Final = "version: 1\nlisten: {metrics: '0.0.0.0:9464'}\napis: {a: {url: 'https://a.test'}}\n"
FOUND: Final = ["native", "plain", "placed", "injector"]


@pytest.fixture
def pods(tmp_path: Path) -> dict[str, Pod]:
    """One of each kind, and one without Backstay."""
    config = tmp_path / "backstay.yaml"
    config.write_text(YAML)
    example = helm.example(tmp_path / "charts")
    placed = {"backstay": {"scrapeAnnotations": True}}
    return {
        "native": injected_pod(config),
        "plain": injected_pod(config, sidecar="container"),
        "placed": template(helm.rendered(placed, chart=example), "Deployment"),
        "injector": template(helm.rendered(VALUES), "Deployment"),
        "other": a_pod(inject="false"),
    }


def template(objects: list[dict[str, Any]], kind: str) -> Pod:
    (found,) = (each for each in objects if each["kind"] == kind)
    return at_port(found["spec"]["template"], 9464)


def served(pods: Mapping[str, Pod], api: PodsApi) -> None:
    for name, pod in pods.items():
        api.add(pod, name=name, namespace=NAMESPACE)


def labels(found: list[dict[str, Any]], *names: str) -> list[tuple[str, ...]]:
    return sorted(tuple(target["labels"][name] for name in names) for target in found)


def test_pod_monitors_find_the_sidecar_of_every_pod_and_the_injector(pods: dict[str, Pod], tmp_path: Path) -> None:
    """An init container that goes on running is found like any other, and nothing else of these pods."""
    with PodsApi() as api:
        served(pods, api)
        with vmagent.discovering(tmp_path / "vmagent", jobs_of_monitors(api)) as base:
            found = vmagent.targets(base, len(FOUND))
    expected = [("injector", "injector"), *((name, "backstay") for name in FOUND[:3])]
    assert labels(found, "pod", "container") == sorted(expected)
    assert {target["labels"]["namespace"] for target in found} == {NAMESPACE}
    assert {target["labels"]["instance"] for target in found} == {"127.0.0.1:9464"}


def test_annotations_find_each_pod_once(pods: dict[str, Pod], tmp_path: Path) -> None:
    """However many containers and ports it has: the port of the annotation is the one that is scraped."""
    with PodsApi() as api:
        served(pods, api)
        with vmagent.discovering(tmp_path / "vmagent", [of_annotations(api.url)]) as base:
            found = vmagent.targets(base, len(FOUND))
    assert labels(found, "pod", "instance") == sorted((name, "127.0.0.1:9464") for name in FOUND)


def test_what_prometheus_is_told_of_pods_is_what_discovery_finds(pods: dict[str, Pod], tmp_path: Path) -> None:
    """Label for label: so the Prometheus of the other tests, which is told by HTTP, relabels what it would find."""
    keep = {"regex": "(__meta_.+)", "replacement": "told$1", "action": "labelmap"}  # else many targets would be one
    with PodsApi() as api:
        served(pods, api)
        told = [target["labels"] for pod in api.pods for target in targets(pod)]
        role = {"role": "pod", "api_server": api.url}
        everything = {"job_name": "all", "kubernetes_sd_configs": [role], "relabel_configs": [keep]}
        with vmagent.discovering(tmp_path / "vmagent", [everything]) as base:
            found = vmagent.targets(base, len(told))
    assert [meta(target["discoveredLabels"]) for target in by_text(found)] == [meta(each) for each in by_text(told)]


def by_text(things: list[Any]) -> list[Any]:
    return sorted(things, key=lambda each: yaml.safe_dump(meta(each.get("discoveredLabels", each))))


def meta(labels: Mapping[str, str]) -> dict[str, str]:
    """An empty label is none."""
    return {name: value for name, value in labels.items() if name.startswith("__meta_") and value}
