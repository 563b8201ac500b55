"""``backstay run --with-agent``, in a pod that shares its processes: Jobs end, and no sidecar before its agent."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.pod import Pod, PodSidecar
from tests.support.process import COMMAND, PATIENCE, ROOT, document, write
from tests.support.vendor import Vendor


@pytest.fixture
def pod() -> Iterator[Pod]:
    with Pod() as running:
        yield running


@pytest.fixture
def sidecar(pod: Pod, vendor: Vendor, tmp_path: Path) -> Iterator[PodSidecar]:
    """Started before the agent, as containers are."""
    file = tmp_path / "backstay.yaml"
    write(file, document({"shop": {"url": vendor.url}}, drain={"timeout": "60s"}))
    running = PodSidecar(pod, tmp_path, file, options=["--with-agent"])
    running.start()
    yield running
    running.stop()


def end(agent: subprocess.Popen[bytes]) -> None:
    assert agent.stdin is not None
    agent.stdin.close()


def test_a_job_ends_when_its_agent_has_ended(pod: Pod, sidecar: PodSidecar) -> None:
    """Nobody sends a signal: else the pod of a Job would run for ever."""
    first, second = pod.agent(), pod.agent()
    sidecar.wait_log("the agent is seen")
    end(first)
    assert sidecar.get("/shop/echo").status_code == 200
    end(second)
    assert sidecar.wait() == 0
    assert [line["msg"] for line in sidecar.log[-3:]] == ["the agent has ended", "draining", "stopped"]


def test_after_sigterm_it_serves_until_the_agent_has_ended(pod: Pod, sidecar: PodSidecar) -> None:
    """However silent the agent is meanwhile; not ready, and no answer tells it to leave."""
    agent = pod.agent()
    sidecar.wait_log("the agent is seen")
    sidecar.terminate()
    assert sidecar.wait_log("lingering")["until"] == "the agent to end"
    assert sidecar.get("/readyz", "metrics").status_code == 503
    answer = sidecar.get("/shop/echo")
    assert (answer.status_code, answer.headers.get("connection")) == (200, None)
    end(agent)
    assert sidecar.wait() == 0
    assert sidecar.wait_log("stopped")["cut"] == 0


def test_a_call_that_the_agent_left_behind_is_not_cut_by_the_first_signal(
    pod: Pod, sidecar: PodSidecar, vendor: Vendor
) -> None:
    """Its end was no signal: SIGTERM is the first one then, and the drain goes on."""
    agent = pod.agent()
    sidecar.wait_log("the agent is seen")
    with httpx.stream("GET", sidecar.url("/shop/events/1"), timeout=PATIENCE) as answer:
        end(agent)
        sidecar.wait_log("draining")
        sidecar.terminate()
        assert sidecar.get("/readyz", "metrics").status_code == 503  # and so it has heard the signal
        vendor.allow()
        assert answer.read() == b"data: event 0\n\n"
    assert sidecar.wait() == 0


def test_without_a_shared_namespace_it_refuses_to_start(pod: Pod, tmp_path: Path) -> None:
    """As pid 1 it would see no agent, and end never: it says what to set."""
    file = tmp_path / "backstay.yaml"
    write(file, document({"shop": {"url": "http://127.0.0.1:9"}}))
    command = ["unshare", "--pid", "--fork", "--kill-child", *COMMAND, "run", str(file), "--with-agent"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Set shareProcessNamespace: true in the pod, or leave --with-agent out" in done.stderr
