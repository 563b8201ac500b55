"""Tests of injection as a whole: what it writes beside the containers, and that it is a function."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace

import pytest

from proxy import __version__
from proxy.kubernetes.inject import inject
from proxy.kubernetes.model import Patch
from tests.support.injected import INSTALLATION, a_pod, a_supply, a_wish, injected, outcome, patched, warnings
from tests.support.valid_pods import faults

SCRAPED = replace(INSTALLATION, scrape_annotations=True)


def test_a_pod_says_what_was_done_to_it() -> None:
    """To people, in a line, and to selectors."""
    metadata = injected(a_pod(capture="both"))["metadata"]
    status = {"version": __version__, "capture": "both", "sidecar": "native"}
    assert json.loads(metadata["annotations"]["backstay.dev/status"]) == status
    assert metadata["labels"] == {"backstay.dev/injected": "true"}


def test_the_same_pod_gets_the_same_patch_and_is_left_alone() -> None:
    """Dry run or not, now or later."""
    pod = a_pod(capture="both", shims="true")
    before = deepcopy(pod)
    assert outcome(pod) == outcome(pod)
    assert pod == before


def test_a_patch_is_json_of_additions_and_replacements() -> None:
    """Nothing of a pod is removed."""
    patch = outcome(a_pod())
    assert isinstance(patch, Patch)
    assert {each["op"] for each in json.loads(json.dumps(patch.operations))} <= {"add", "replace"}


def test_secrets_for_the_image_are_added_to_those_of_the_pod() -> None:
    """Each once."""
    installation = replace(INSTALLATION, pull_secrets=("a", "b"))
    pod = injected(a_pod(spec={"imagePullSecrets": [{"name": "b"}, {"name": "c"}]}), installation=installation)
    assert pod["spec"]["imagePullSecrets"] == [{"name": "b"}, {"name": "c"}, {"name": "a"}]


def test_kubectl_shows_the_agent_first() -> None:
    """Else it would show the first container, which is ours if it is a plain one."""
    key = "kubectl.kubernetes.io/default-container"
    assert injected(a_pod(sidecar="container"))["metadata"]["annotations"][key] == "agent"
    assert key not in injected(a_pod())["metadata"]["annotations"]
    pod = a_pod(sidecar="container")
    pod["metadata"]["annotations"][key] = "other"
    assert injected(pod)["metadata"]["annotations"][key] == "other"


def test_the_autoscaler_may_evict_a_pod_in_spite_of_our_volumes() -> None:
    """It is told of ours beside those that the pod names."""
    key = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"
    pod = a_pod(roots="system")
    pod["metadata"]["annotations"][key] = "work,backstay-tmp"
    found = injected(pod)["metadata"]["annotations"][key]
    assert found == "work,backstay-tmp,backstay-state,backstay-ca,backstay-trust"


def test_annotations_tell_prometheus_where_to_scrape_if_the_installation_wants_them() -> None:
    """By the port of listen.metrics."""
    found = injected(a_pod(), installation=SCRAPED)["metadata"]["annotations"]
    assert (found["prometheus.io/scrape"], found["prometheus.io/port"]) == ("true", "9464")
    assert found["prometheus.io/path"] == "/metrics"
    assert "prometheus.io/scrape" not in injected(a_pod())["metadata"]["annotations"]


def test_annotations_of_the_agents_own_metrics_stay() -> None:
    """A pod can have one such port; its owner is told."""
    pod = a_pod()
    pod["metadata"]["annotations"]["prometheus.io/port"] = "8000"
    found = injected(pod, installation=SCRAPED)["metadata"]["annotations"]
    assert (found["prometheus.io/port"], "prometheus.io/scrape" in found) == ("8000", False)
    assert "Backstay is not scraped by them" in warnings(pod, installation=SCRAPED)


@pytest.mark.parametrize("metadata", [{}, {"metadata": None}, {"metadata": {"labels": None, "annotations": None}}])
def test_a_template_without_metadata_gets_some(metadata: dict[str, object]) -> None:
    """The filter is given such."""
    wish = a_pod()
    pod = {"spec": wish["spec"], **metadata}
    patch = inject(pod, a_wish(wish), INSTALLATION, a_supply())
    assert isinstance(patch, Patch)
    after = patched(pod, patch)
    assert after["metadata"]["labels"] == {"backstay.dev/injected": "true"}
    assert faults(after) == []
