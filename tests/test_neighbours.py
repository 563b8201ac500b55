"""Tests of neighbours.py: which processes are the agent's; on a /proc of files, and on the real one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.neighbours import AloneError, Company, company, require_company

US = os.geteuid()
ANOTHER = US + 1  # every file here is ours: then this is Backstay


def process(proc: Path, pid: str, state: str = "S", name: str = "agent") -> None:
    (proc / pid).mkdir()
    (proc / pid / "stat").write_text(f"{pid} ({name}) {state} 0 {pid} {pid} 0 -1 4194560")


@pytest.mark.parametrize(
    ("pid", "state", "name", "counted"),
    [
        ("7", "S", "agent", 1),
        ("7", "R", "of) Z (sorts", 1),  # a name may have anything in it
        ("7", "S", "runcmd", 1),  # no runtime's
        ("1", "S", "pause", 0),  # the pod's own
        ("7", "Z", "agent", 0),  # ended, not reaped
        ("7", "X", "agent", 0),
        ("self", "S", "agent", 0),
        ("sys", "S", "agent", 0),
    ],
)
def test_whose_a_process_is(tmp_path: Path, pid: str, state: str, name: str, counted: int) -> None:
    """Numbers but 1, of other users, alive."""
    process(tmp_path, pid, state, name)
    assert company(ANOTHER, tmp_path) == Company(counted, starting=0)
    assert company(US, tmp_path) == Company(0, 0)


@pytest.mark.parametrize("name", ["runc:[2:INIT]", "runc:[1:CHILD]", "crun"])
def test_a_runtime_is_not_the_agent_yet(tmp_path: Path, name: str) -> None:
    """It may be on its way into Backstay's own container."""
    process(tmp_path, "7", name=name)
    assert company(ANOTHER, tmp_path) == Company(0, starting=1)


def test_what_vanishes_or_is_hidden_is_passed_over(tmp_path: Path) -> None:
    """Processes end while they are looked at, and some systems hide others' files."""
    process(tmp_path, "7")
    (tmp_path / "8").symlink_to("gone")
    (tmp_path / "9").mkdir()
    (tmp_path / "10").mkdir()
    (tmp_path / "10" / "stat").write_text("")
    assert company(ANOTHER, tmp_path).running == 1


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as running:
        yield running
        running.kill()


def test_the_real_proc(child: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """Its entries belong to the users of the processes; one that has ended does not count, reaped or not."""
    (tmp_path / str(child.pid)).symlink_to(f"/proc/{child.pid}")
    assert (company(ANOTHER, tmp_path).running, company(US, tmp_path).running) == (1, 0)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
    assert company(ANOTHER, tmp_path).running == 0


def test_alone_in_its_namespace() -> None:
    """As pid 1 it would wait for nobody, and end at once or never: it says what to set."""
    require_company(2)
    with pytest.raises(AloneError, match="shareProcessNamespace: true"):
        require_company(1)
