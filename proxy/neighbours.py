"""Owns the sight of the agent's processes, where the containers of a pod share their processes. Called by lingering.py.

In such a pod (``shareProcessNamespace: true``) pid 1 is the pod's own, Backstay's are those of its user, and all others
are the agent's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_OVER: Final = frozenset("ZX")  # states of a process that has ended, and waits to be reaped


class AloneError(OSError):
    """The agent's processes cannot be seen from here; the message says what to do."""


def require_company(pid: int) -> None:
    """Raise AloneError if ``pid``, of this process, shows that it shares its PID namespace with no other container."""
    if pid == 1:
        raise AloneError(
            "--with-agent waits for the agent's processes, and cannot see them: Backstay is pid 1, alone in its PID "
            "namespace. Set shareProcessNamespace: true in the pod, or leave --with-agent out"
        )


def agent_processes(uid: int, proc: Path = _PROC) -> int:
    """How many of the processes that are seen in ``proc`` are alive, are not pid 1, and are not of ``uid``."""
    return sum(owner != uid for owner in _owners(proc))


def _owners(proc: Path) -> Iterator[int]:
    for entry in os.listdir(proc):  # noqa: PTH208 - names are all that is needed
        if entry.isdigit() and entry != "1":
            try:
                owner = (proc / entry).stat().st_uid
                state = (proc / entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
            except (OSError, IndexError):  # it has ended since, or is hidden from us
                continue
            if state not in _OVER:
                yield owner
