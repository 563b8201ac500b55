"""A real vmagent, which finds pods by `kubernetes_sd_configs` as Prometheus does. For tests of monitoring.

Debian builds Prometheus without its client for Kubernetes, and VictoriaMetrics with one. `scripts/services.sh` installs
it; where it is not, these tests are skipped, loudly.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.process import PATIENCE, closed_port, wait_until
from tests.support.scraping import Job

_DEAD_END = "http://127.0.0.1:9/"  # what is scraped goes nowhere


@contextmanager
def discovering(folder: Path, jobs: Sequence[Job]) -> Iterator[str]:
    """The base URL of one that has these jobs, until the end of the block."""
    if shutil.which("vmagent") is None:
        pytest.skip("there is no vmagent here: scripts/services.sh installs it, with victoria-metrics")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "jobs.yml").write_text(yaml.safe_dump({"scrape_configs": list(jobs)}))
    with closed_port() as port:
        pass
    options = {
        "promscrape.config": folder / "jobs.yml",
        "httpListenAddr": f"127.0.0.1:{port}",
        "remoteWrite.url": _DEAD_END,
        "remoteWrite.tmpDataPath": folder / "data",
    }
    with (folder / "log").open("wb") as log:
        words = [f"-{name}={value}" for name, value in options.items()]
        process = subprocess.Popen(["vmagent", *words], stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(PATIENCE)


def targets(base: str, count: int) -> list[dict[str, Any]]:
    """What it scrapes, once it has found so many."""

    def found() -> list[dict[str, Any]]:
        try:
            answer = httpx.get(f"{base}/api/v1/targets", timeout=PATIENCE, trust_env=False).json()
        except httpx.TransportError:
            return []  # it is starting
        active: list[dict[str, Any]] = answer["data"]["activeTargets"]
        return active if len(active) >= count else []

    return wait_until(found, f"{count} targets of vmagent")
