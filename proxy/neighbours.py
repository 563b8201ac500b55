"""Owns the sight of the agent's processes, where the containers of a pod share their processes. Called by lingering.py.

In such a pod (``shareProcessNamespace: true``) pid 1 is the pod's own, Backstay's are those of its user, and all others
are the agent's. But a container begins as a process of its runtime, and one of those may as well be on its way into
Backstay's own, for a hook or for ``kubectl exec``: until it has become its program, nobody can tell.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_OVER: Final = frozenset("ZX")  # states of a process that has ended, and waits to be reaped
_RUNTIME: Final = re.compile(r"(runc|crun)(:.*)?", re.DOTALL)  # runc:[2:INIT]; an agent may well be called runcmd


@dataclass(frozen=True, slots=True)
class Company:
    """How many processes there are beside Backstay's."""

    running: int  # of the agent
    starting: int  # of a container's runtime


class AloneError(OSError):
    """The agent's processes cannot be seen from here; the message says what to do."""


def require_company(pid: int) -> None:
    """Raise AloneError if ``pid``, of this process, shows that it shares its PID namespace with no other container."""
    if pid == 1:
        raise AloneError(
            "--with-agent waits for the agent's processes, and cannot see them: Backstay is pid 1, alone in its PID "
            "namespace. Set shareProcessNamespace: true in the pod, or leave --with-agent out"
        )


def company(uid: int, proc: Path = _PROC) -> Company:
    """The processes that are seen in ``proc``, are alive, are not pid 1, and are not of ``uid``."""
    names = [name for owner, name in _living(proc) if owner != uid]
    starting = sum(_RUNTIME.fullmatch(name) is not None for name in names)
    return Company(len(names) - starting, starting)


def _living(proc: Path) -> Iterator[tuple[int, str]]:
    """The owner and the name of each."""
    for entry in os.listdir(proc):  # noqa: PTH208 - names are all that is needed
        if entry.isdigit() and entry != "1":
            try:
                owner = (proc / entry).stat().st_uid
                before, _, after = (proc / entry / "stat").read_text(errors="replace").rpartition(")")
                state = after.split()[0]
            except (OSError, IndexError):  # it has ended since, or is hidden from us
                continue
            if state not in _OVER:
                yield owner, before.partition("(")[2]
