"""A real Prometheus of a test's own: free port, temporary folder, scrapes each second. For tests of monitoring.

It is ended by its pid. `scripts/services.sh` installs it; where it is not, these tests are skipped, loudly.
"""

from __future__ import annotations

import math
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml

from tests.support.process import PATIENCE, closed_port, wait_until

SCRAPE: Final = 1.0  # seconds between two of them
_TRIES: Final = 5  # another program may take the port between our look and the server's start


@dataclass(frozen=True)
class Series:
    """What one line of a graph is drawn from."""

    labels: Mapping[str, str]
    values: tuple[float, ...]

    @property
    def finite(self) -> tuple[float, ...]:
        """Those that Grafana draws."""
        return tuple(value for value in self.values if math.isfinite(value))


@dataclass
class Prometheus:
    """``jobs`` are scrape configurations, ``rules`` the files of rules."""

    folder: Path
    jobs: Sequence[Mapping[str, Any]]
    rules: Sequence[Path] = ()
    port: int = 0
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=PATIENCE, trust_env=False))

    # --- life ---

    def start(self) -> Prometheus:
        """Start, and wait until it answers."""
        if shutil.which("prometheus") is None:
            pytest.skip("there is no prometheus here: scripts/services.sh installs it")
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {
            "global": {"scrape_interval": f"{SCRAPE:g}s", "evaluation_interval": f"{SCRAPE:g}s"},
            "rule_files": [str(path) for path in self.rules],
            "scrape_configs": list(self.jobs),
        }
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(content, sort_keys=False))
        for _ in range(_TRIES):
            if self._started():
                return self
        raise AssertionError(f"prometheus does not start:\n{self.log()}")

    def _started(self) -> bool:
        with closed_port() as self.port:
            pass
        options = {
            "config.file": self.folder / "prometheus.yml",
            "storage.tsdb.path": self.folder / "data",
            "web.listen-address": f"127.0.0.1:{self.port}",
            "log.level": "warn",
        }
        with (self.folder / "log").open("ab") as log:
            words = [f"--{name}={value}" for name, value in options.items()]
            self._process = subprocess.Popen(["prometheus", *words], stdout=log, stderr=log)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and self._process.poll() is None:
            if self._is_ready():
                return True
            time.sleep(0.05)
        self._end()
        return False

    def _is_ready(self) -> bool:
        try:
            return self.client.get(f"http://127.0.0.1:{self.port}/-/ready").status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        """End it; it has nothing to save."""
        self._end()
        self.client.close()

    def _end(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE)

    def log(self) -> str:
        return (self.folder / "log").read_text()

    # --- what it knows ---

    def ask(self, path: str, **parameters: Any) -> Any:
        """The ``data`` of an answer. Raises AssertionError with what it does not understand."""
        answer = self.client.get(f"http://127.0.0.1:{self.port}/api/v1/{path}", params=parameters).json()
        assert answer["status"] == "success", f"{answer.get('error')}\n{parameters}"
        return answer["data"]

    def at(self, expression: str, moment: float) -> list[Series]:
        """What an expression is at a moment."""
        found = self.ask("query", query=expression, time=moment)["result"]
        return [Series(each["metric"], (float(each["value"][1]),)) for each in found]

    def between(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        """What a graph of an expression is drawn from."""
        found = self.ask("query_range", query=expression, start=start, end=end, step=step)["result"]
        return [Series(each["metric"], tuple(float(value) for _, value in each["values"])) for each in found]

    def targets(self) -> list[dict[str, Any]]:
        """What it scrapes, as found by service discovery."""
        found: list[dict[str, Any]] = self.ask("targets", state="active")["activeTargets"]
        return found

    def evaluated(self) -> list[dict[str, Any]]:
        """Every rule, once each has been evaluated."""

        def all_of_them() -> list[dict[str, Any]]:
            found = [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]
            return [] if any(rule["health"] == "unknown" for rule in found) else found

        return wait_until(all_of_them, "an evaluation of every rule")

    def wait_up(self, count: int) -> None:
        """Wait until so many targets are there and have been scraped."""
        wait_until(
            lambda: [target["health"] for target in self.targets()] == ["up"] * count,
            f"{count} targets that are up: {self.targets()}",
        )

    def wait_scraped(self, since: float) -> None:
        """Wait until every target has been scraped after a moment."""
        wait_until(
            lambda: all(_seconds(target["lastScrape"]) > since for target in self.targets()), "a scrape of each target"
        )


def _seconds(moment: str) -> float:
    from datetime import datetime

    head, _, rest = moment.partition(".")
    fraction = rest.rstrip("Z").split("+")[0][:6].ljust(6, "0")
    return datetime.fromisoformat(f"{head}.{fraction}+00:00").timestamp()


@contextmanager
def running(*servers: Prometheus) -> Iterator[None]:
    """Start them, and end those that have been started."""
    with ExitStack() as stack:
        for server in servers:
            stack.callback(server.start().stop)
        yield
