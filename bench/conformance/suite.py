"""The suite behind cache-tests.fyi: installed from npm, its origin on loopback, and its verdicts on one cache.

Called by run.py. The suite itself is not changed: client.mjs and origin.mjs call its own modules.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.process import LOAD_CORE, answers, free_ports, running, wait_until

HERE = Path(__file__).parent
INSTALLED = HERE.parents[1] / ".cache/http-cache-tests"
PACKAGE = INSTALLED / "node_modules/http-cache-tests"
PATIENCE = 600  # seconds for a whole run: its tests wait 3 s each, a hundred at a time


@dataclass(frozen=True)
class Verdict:
    """What the suite says of one test."""

    category: str
    id: str
    name: str
    kind: str  # required, optimal or check
    verdict: str  # a word of client.mjs
    detail: str

    @property
    def passed(self) -> bool:
        return self.verdict in {"pass", "yes"}


def install() -> None:
    """Fetch the pinned package, once."""
    INSTALLED.mkdir(parents=True, exist_ok=True)
    pinned = (HERE / "package.json").read_text()
    stamp = INSTALLED / "installed.json"
    if stamp.exists() and stamp.read_text() == pinned:
        return
    shutil.copy(HERE / "package.json", INSTALLED)
    subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund"], cwd=INSTALLED, check=True, timeout=300)
    stamp.write_text(pinned)


def version() -> str:
    """The version that is pinned."""
    return str(json.loads((HERE / "package.json").read_text())["dependencies"]["http-cache-tests"])


@contextlib.contextmanager
def origin(folder: Path) -> Iterator[int]:
    """The origin that the caches stand before; gives its port."""
    (port,) = free_ports(1)
    argv = ["node", str(HERE / "origin.mjs"), str(PACKAGE), str(port)]
    with running("origin", argv, folder, core=LOAD_CORE) as process:
        wait_until(lambda: answers(port, "/"), process)
        yield port


def client(port: int, *more: str) -> str:
    """Run the suite's client against the cache on ``port``; returns what it prints."""
    argv = ["node", "--no-warnings", str(HERE / "client.mjs"), str(PACKAGE), f"http://127.0.0.1:{port}", *more]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode or not done.stdout:
        raise RuntimeError(f"the suite's client ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def verdicts(port: int) -> list[Verdict]:
    """The suite's verdicts on the cache on ``port``."""
    return [Verdict(**each) for each in json.loads(client(port))]
