"""Tests of how a pod is read: which of its containers are agents, and what is no pod."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.kubernetes.model import Refused
from proxy.kubernetes.pods import Pod
from tests.support.injected import a_pod, a_wish

INITS = [{"name": "migrate"}, {"name": "shipper", "restartPolicy": "Always"}, {"name": "istio-init"}]
SPEC = {"initContainers": INITS, "containers": [{"name": "agent"}, {"name": "istio-proxy"}, {"name": "db"}]}


def agents(**annotations: Any) -> list[str]:
    pod = a_pod(spec=SPEC, **annotations)
    return [agent.name for agent in Pod(pod).agents(a_wish(pod))]


def test_beside_a_native_sidecar_init_containers_are_agents_as_well() -> None:
    """It runs already; the containers of a mesh are none."""
    assert agents(sidecar="native") == ["agent", "db", "migrate", "shipper"]


def test_beside_a_plain_container_they_are_not() -> None:
    """They end before it starts."""
    assert agents(sidecar="container") == ["agent", "db"]


def test_an_excluded_container_is_no_agent() -> None:
    """Whatever kind it is of."""
    assert agents(exclude_containers="db,migrate") == ["agent", "shipper"]


def test_containers_that_run_side_by_side_are_those_that_last() -> None:
    """An init container has given its ports back."""
    assert [each["name"] for each in Pod(a_pod(spec=SPEC)).lasting] == ["shipper", "agent", "istio-proxy", "db"]


@pytest.mark.parametrize(
    ("of_pod", "own", "user"),
    [(None, None, None), ({"runAsUser": 1}, None, 1), ({"runAsUser": 1}, {"runAsUser": 0}, 0), ({}, {}, None)],
)
def test_a_container_says_who_it_runs_as_else_the_pod_does(of_pod: Any, own: Any, user: int | None) -> None:
    """Else its image does, which nobody here can know."""
    pod = Pod(a_pod(spec={"securityContext": of_pod}, agent={"securityContext": own}))
    assert pod.user(pod.containers[0]) == user


@pytest.mark.parametrize(
    ("pod", "said"),
    [
        ({}, "spec: it is missing, or not a mapping; this is no pod"),
        ({"spec": {}}, "spec.containers: there is none; a pod has at least one"),
        ({"metadata": [], "spec": {}}, "metadata: this is not a mapping; correct it"),
        ({"metadata": {"labels": "x"}, "spec": {}}, "metadata.labels: this is not a mapping; correct it"),
        (a_pod(spec={"containers": {}}), "spec.containers: this is not a list of mappings; correct it"),
        (a_pod(spec={"volumes": ["x"]}), "spec.volumes: this is not a list of mappings; correct it"),
        (a_pod(spec={"imagePullSecrets": "x"}), "spec.imagePullSecrets: this is not a list of mappings; correct it"),
        (
            a_pod(spec={"terminationGracePeriodSeconds": float("nan")}),
            "spec.terminationGracePeriodSeconds: this is not a whole number; correct it",
        ),
        (
            a_pod(agent={"ports": [{"containerPort": []}]}),
            "spec.containers[0].ports[0].containerPort: this is not a whole number; correct it",
        ),
        (a_pod(spec={"volumes": [{"name": 1}]}), "spec.volumes[0].name: it is missing, or no text; give it a name"),
        (a_pod(spec={"containers": [{}]}), "spec.containers[0].name: it is missing, or no text; give it a name"),
        (a_pod(agent={"env": [{"value": "x"}]}), "spec.containers[0].env[0].name: it is missing"),
        (a_pod(agent={"ports": 80}), "spec.containers[0].ports: this is not a list of mappings"),
        (a_pod(agent={"securityContext": 1}), "spec.containers[0].securityContext: this is not a mapping"),
        (
            a_pod(spec={"initContainers": [{"name": "a", "volumeMounts": 1}]}),
            "spec.initContainers[0].volumeMounts: this",
        ),
    ],
)
def test_what_is_not_built_as_a_pod_is_refused(pod: dict[str, Any], said: str) -> None:
    """With the place of it: a manifest may hold anything."""
    with pytest.raises(Refused) as refused:
        Pod(pod)
    assert str(refused.value).startswith(said)


@pytest.mark.parametrize(
    ("spec", "agent", "said"),
    [
        (
            {"containers": [{"name": "a"}] * 257},
            {},
            "spec.containers: there are 257, and Backstay looks at 256 at most",
        ),
        ({"volumes": [{"name": "a"}] * 1025}, {}, "spec.volumes: there are 1025, and Backstay looks at 1024 at most"),
        ({}, {"env": [{"name": "A"}] * 16385}, "spec: its containers have 16385 variables, ports, mounts and steps"),
        ({}, {"volumeMounts": [{"name": "a", "mountPath": "/a" * 16384}]}, "spec: its containers have 16385 variables"),
    ],
)
def test_what_is_larger_than_any_pod_is_refused(spec: dict[str, Any], agent: dict[str, Any], said: str) -> None:
    """Before it takes time: all other pods of the cluster would wait, and go on without their sidecars."""
    with pytest.raises(Refused, match=said):
        Pod(a_pod(spec=spec, agent=agent))
    Pod(a_pod(spec={"containers": [{"name": str(each)} for each in range(256)]}))


def test_a_pod_shows_its_containers() -> None:
    """In a log, or in a debugger."""
    assert repr(Pod(a_pod())) == "<Pod of agent>"
