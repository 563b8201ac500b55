"""An agent that nobody changed, in a real pod: podman runs what injection writes (``make test-pod``)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.pod.conftest import Play, Pod, World
from tests.pod.engine import inside, podman


@pytest.fixture(scope="module")
def pod(play: Play) -> Iterator[Pod]:
    """One for all: they only look. Its agent is caught by variables, and calls until the end."""
    with play("calls", "1") as pod:
        pod.says("agent", "calling")
        yield pod


def test_the_calls_of_an_unchanged_agent_are_caught(pod: Pod) -> None:
    """It calls its vendor over TLS, with the proxy and the roots that injection gave it; Backstay has counted that."""
    assert pod.metric("backstay_requests_total", api="vendor", outcome="forwarded") > 0
    assert pod.metric("backstay_captured_connections_total", mode="connect") > 0


def test_the_bundle_has_the_roots_of_the_agents_own_image(pod: Pod, world: World) -> None:
    """A host that only the agent's company vouches for is reached as ever; no other image has that root."""
    bundle = inside(pod.container("agent"), "cat", "/var/run/backstay/trust/ca-bundle.crt")
    assert world.corporate.cert_pem.bytes().decode().strip() in bundle
    assert inside(pod.container("agent"), "python3", "/programs/agent.py", "corporate") == "echo 1"


def test_the_key_of_the_authority_is_not_the_agents_to_see(pod: Pod) -> None:
    """Agents mount what is to be trusted, and nothing else of Backstay's."""
    look = "import os; print(os.path.exists('/var/lib/backstay/ca/ca.key'))"
    assert inside(pod.container("agent"), "python3", "-c", look) == "False"
    assert inside(pod.container("backstay"), "python3", "-c", look) == "True"


def test_backstay_runs_as_its_own_user_without_any_capability(pod: Pod) -> None:
    """What the kernel says of the process, and not what a manifest asks for."""
    status = dict(
        line.split(":\t", 1) for line in inside(pod.container("backstay"), "cat", "/proc/1/status").splitlines()
    )
    assert status["Uid"].split() == ["7070"] * 4
    assert {status[name].strip("0") for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {""}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"


def test_nothing_is_written_to_the_root_of_the_sidecar(pod: Pod) -> None:
    """It is read-only, and Backstay has not missed it."""
    mounts = [line.split() for line in inside(pod.container("backstay"), "cat", "/proc/self/mounts").splitlines()]
    assert ["ro" in mount[3].split(",") for mount in mounts if mount[1] == "/"] == [True]
    assert set(podman("diff", pod.container("backstay")).splitlines()) <= {"C /etc"}


def test_backstay_says_for_itself_whether_it_is_well(pod: Pod) -> None:
    """What a probe or postStart would run: there is neither a shell nor curl in it."""
    assert inside(pod.container("backstay"), "backstay", "health", "--ready", "--wait", "20") == "ready"
