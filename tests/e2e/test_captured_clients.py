"""Programs that nobody changed gain retry, breaker, cache and dedup from their environment alone.

The whole matrix, transparent mode and real host names included, is ``make test-clients``; these five need no network
of their own. They call the vendor's real name, whose port 443 nobody has here: what is counted came through Backstay.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients import judge
from tests.clients.catalogue import CLIENTS, STEPS
from tests.clients.document import document
from tests.clients.world import PROGRAMS, VendorProcess, make_authority, printed_by, read_dotenv
from tests.e2e.conftest import Start
from tests.support.process import command

HOSTS = {
    "rest": "api.vendor.example",
    "openai": "api.openai.com",
    "stripe": "api.stripe.com",
    "stripe-files": "files.stripe.com",
}
KEPT = ("system curl", "python requests", "python httpx", "python openai", "python stripe")
LISTEN = {"agent": "127.0.0.1:0", "metrics": "off"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("captured")
    make_authority(folder / "authority")
    return folder


@pytest.fixture(scope="module")
def vendor(folder: Path) -> Iterator[VendorProcess]:
    with VendorProcess(folder / "authority") as running:
        yield running


@pytest.fixture
def configuration(folder: Path, vendor: VendorProcess) -> dict[str, Any]:
    """The url is where the vendor is; the name is the one that it proves."""

    def upstream(host: str) -> dict[str, Any]:
        tls = {"ca_file": str(folder / "authority/ca.pem"), "server_name": host}
        return {"url": f"https://127.0.0.1:{vendor.port}", "hosts": [host], "tls": tls}

    return document(folder, HOSTS, upstream, LISTEN)


@pytest.mark.parametrize("label", KEPT)
def test_a_program_gains_all_of_it(
    label: str, configuration: dict[str, Any], vendor: VendorProcess, start: Start, tmp_path: Path
) -> None:
    """It has its answers, and the vendor counts what each of them cost."""
    client = next(client for client in CLIENTS if client.label == label)
    if client.runtime == "system" and shutil.which(client.package) is None:
        pytest.skip(f"{client.package} is NOT INSTALLED: that it is caught goes untested here")
    sidecar = start(configuration)
    options = ("--at", f"127.0.0.1:{sidecar.ports['agent']}", *(("--shims", tmp_path / "shims") if client.shim else ()))
    variables = read_dotenv(command("env", sidecar.files[0], "--format", "dotenv", *options).stdout)
    runs = "sh" if client.runtime == "system" else sys.executable
    steps = judge.read(printed_by([runs, PROGRAMS / client.program], variables, tmp_path))
    counts = vendor.report()
    assert {step: judge.judge(step, steps.get(step), counts, caught=True) for step in STEPS} == dict.fromkeys(
        STEPS, "ok"
    )
    assert any(line["reason"] == "circuit_open" for line in sidecar.lines("access"))
