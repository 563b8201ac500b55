"""Tests of how the sidecar stands in the pod: the order of what starts, its volumes, and the time it has to end."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.injected import IN_THE_CLEAR, YAML, a_pod, a_supply, container, injected, names

INIT = {"initContainers": [{"name": "migrate", "image": "b:1"}]}


def volumes(pod: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["name"]: {k: v for k, v in each.items() if k != "name"} for each in pod["spec"]["volumes"]}


def grace(pod: dict[str, Any], drain: str = "10.5s") -> int:
    return int(
        injected(pod, a_supply(YAML + f"drain: {{timeout: {drain}}}\n"))["spec"]["terminationGracePeriodSeconds"]
    )


def test_a_native_sidecar_starts_before_whatever_the_pod_has() -> None:
    """After what prepares it; its place in the list is when it starts, its restartPolicy that it stays."""
    pod = injected(a_pod(spec=INIT, capture="both"))
    ours = ["backstay-prepare", "backstay-roots-1", "backstay-roots-2", "backstay-redirect", "backstay"]
    assert names(pod) == [*ours, "migrate"]
    assert names(pod, "containers") == ["agent"]
    assert container(pod, "backstay")["restartPolicy"] == "Always"
    assert container(pod, "backstay")["args"] == ["run", "/etc/backstay"]


def test_a_plain_container_is_the_first_and_holds_back_the_next_until_it_is_ready() -> None:
    """What it needs runs after the pod's own init containers, which run without it."""
    pod = injected(a_pod(spec=INIT, sidecar="container", capture="both"))
    assert names(pod) == ["migrate", "backstay-prepare", "backstay-roots-1", "backstay-ca", "backstay-redirect"]
    assert names(pod, "containers") == ["backstay", "agent"]
    sidecar = container(pod, "backstay")
    assert sidecar["lifecycle"] == {
        "postStart": {"exec": {"command": ["backstay", "health", "--ready", "--wait", "60"]}}
    }
    assert sidecar["args"] == ["run", "/etc/backstay", "--linger", "5"]
    assert container(pod, "migrate") == INIT["initContainers"][0]


@pytest.mark.parametrize(
    ("listen", "asked"),
    [("0.0.0.0:9565", "127.0.0.1:9565"), ("'[::]:9464'", "[::1]:9464"), ("10.1.2.3:9464", "10.1.2.3:9464")],
)
def test_a_plain_container_is_asked_where_it_listens(listen: str, asked: str) -> None:
    """At another port than most have, or at another address: what listens on all of IPv6 is not at 127.0.0.1."""
    text = YAML.replace("listen: {", f"listen: {{metrics: {listen}, ")
    sidecar = container(injected(a_pod(sidecar="container"), a_supply(text)), "backstay")
    assert sidecar["lifecycle"]["postStart"]["exec"]["command"][2:4] == ["--at", asked]


@pytest.mark.parametrize("policy", ["OnFailure", "Never"])
def test_a_plain_container_of_a_job_ends_with_the_agent(policy: str) -> None:
    """It has to see the agent's processes for that."""
    pod = injected(a_pod(spec={"restartPolicy": policy}, sidecar="container"))
    assert pod["spec"]["shareProcessNamespace"] is True
    assert container(pod, "backstay")["args"][-1] == "--with-agent"


@pytest.mark.parametrize(("policy", "sidecar"), [("Never", "native"), ("Always", "container")])
def test_others_need_not_see_the_agents_processes(policy: str, sidecar: str) -> None:
    """The kubelet ends a native sidecar, and a pod that always runs never ends by itself."""
    pod = injected(a_pod(spec={"restartPolicy": policy}, sidecar=sidecar))
    assert "shareProcessNamespace" not in pod["spec"]
    assert "--with-agent" not in container(pod, "backstay")["args"]


@pytest.mark.parametrize(
    ("capture", "shims", "roots", "text", "before"),
    [
        ("env", "false", "system", YAML, []),
        ("env", "false", "agent", IN_THE_CLEAR, []),
        ("env", "true", "agent", IN_THE_CLEAR, ["backstay-prepare"]),
        ("transparent", "false", "system", YAML, ["backstay-redirect"]),
    ],
)
def test_nothing_runs_before_it_that_is_not_needed(
    capture: str, shims: str, roots: str, text: str, before: list[str]
) -> None:
    """Each takes time when a pod starts."""
    pod = injected(a_pod(capture=capture, shims=shims, roots=roots), a_supply(text))
    assert names(pod) == [*before, "backstay"]


def test_without_interception_a_plain_container_has_no_authority() -> None:
    """There is nothing to sign."""
    assert names(injected(a_pod(sidecar="container"), a_supply(IN_THE_CLEAR))) == []


def test_a_configuration_of_the_namespace_is_mounted() -> None:
    """The whole folder, so that a change of it arrives."""
    assert volumes(injected(a_pod()))["backstay-config"] == {"configMap": {"name": "ways"}}


def test_a_configuration_that_the_pod_carries_is_made_from_its_annotations() -> None:
    """No object of the namespace is needed."""
    pod = injected(a_pod(), a_supply(is_carried=True))
    assert pod["metadata"]["annotations"]["config.backstay.dev/backstay.yaml"] == YAML
    field = {"fieldRef": {"fieldPath": "metadata.annotations['config.backstay.dev/backstay.yaml']"}}
    assert volumes(pod)["backstay-config"] == {"downwardAPI": {"items": [{"path": "backstay.yaml", **field}]}}


def test_the_key_is_never_on_a_disk() -> None:
    """Its volume is memory."""
    assert volumes(injected(a_pod()))["backstay-ca"]["emptyDir"]["medium"] == "Memory"


def test_a_secret_is_a_volume_of_the_sidecars() -> None:
    """Only if it is asked for."""
    assert volumes(injected(a_pod(secret="keys")))["backstay-secret"] == {"secret": {"secretName": "keys"}}
    assert "backstay-secret" not in volumes(injected(a_pod()))


@pytest.mark.parametrize(
    ("own", "sidecar", "seconds"),
    [(None, "native", 46), (0, "native", 16), (60, "native", 76), (None, "container", 30), (10, "container", 16)],
)
def test_there_is_time_for_the_drain_besides_the_agents_own(own: int | None, sidecar: str, seconds: int) -> None:
    """After the agent, if the sidecar is told after it; else beside it. The drain is of 10.5 s here, and 5 s remain."""
    assert grace(a_pod(spec={"terminationGracePeriodSeconds": own}, sidecar=sidecar)) == seconds
