"""The processes of a pod that shares them (``shareProcessNamespace``), as the kubelet starts them. Used by tests/e2e.

with Pod() as pod:
    agent = pod.agent()
    sidecar = PodSidecar(pod, folder, file, options=["--with-agent"]).start()

Pid 1 only waits. Backstay runs as the user of the tests, the agent as an ordinary one. All end with the pod.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, Self

import pytest

from tests.support.process import COMMAND, Sidecar, wait_until

USER: Final = 65534
_UNSHARE: Final = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
_PAUSE: Final = (sys.executable, "-S", "-c", "import signal; print(flush=True); signal.pause()")


def child(pid: int) -> int:
    """The one child of a process, once it has one."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return int(wait_until(children.read_text, f"a child of {pid}").split()[0])


class Pod:
    """A PID namespace; skips the test where this user may not make one."""

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            pytest.skip("only root may make a PID namespace and run an agent as another user")
        self._pause = subprocess.Popen([*_UNSHARE, *_PAUSE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self._pause.stdout is not None
        if not self._pause.stdout.readline():
            pytest.skip(f"no PID namespace: {self._pause.communicate()[1].strip()}")
        self._agents: list[subprocess.Popen[bytes]] = []
        return self

    def __exit__(self, *_: object) -> None:
        self._pause.kill()
        self._pause.communicate()
        for agent in self._agents:
            agent.communicate()

    def enter(self, *options: str) -> tuple[str, ...]:
        """How a command is begun that is to run in here."""
        return ("nsenter", "--target", str(child(self._pause.pid)), "--pid", "--mount", *options)

    def agent(self) -> subprocess.Popen[bytes]:
        """A process of the agent's that ends when its standard input does."""
        command = self.enter(f"--setuid={USER}", f"--setgid={USER}")
        started = subprocess.Popen([*command, "cat"], stdin=subprocess.PIPE)
        self._agents.append(started)
        child(started.pid)
        return started


class PodSidecar(Sidecar):
    """Backstay in a pod. Its signals have to pass by whoever has entered the pod for it."""

    def __init__(self, pod: Pod, folder: Path, *files: Path, **more: Any) -> None:
        super().__init__(folder, *files, command=(*pod.enter(), *COMMAND), **more)

    def signal(self, number: signal.Signals) -> None:
        os.kill(child(self.pid), number)
