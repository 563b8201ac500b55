"""The sidecar as a process, the vendor behind it, and the sidecar's own words when a test fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.support.ledger import Bank
from tests.support.process import Document, Sidecar, write
from tests.support.redis_server import RedisServer
from tests.support.vendor import Vendor


class Start(Protocol):
    """Start a sidecar on a configuration, with options of ``backstay run``."""

    def __call__(self, content: Document, *options: str) -> Sidecar: ...


_SIDECARS = pytest.StashKey[list[Sidecar]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_SIDECARS] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("slow")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Show what the sidecars printed beside a failure."""
    report = yield
    if report.failed:
        for sidecar in item.config.stash[_SIDECARS]:
            name = sidecar.files[0].name if sidecar.files else sidecar.verb
            report.sections.append((f"sidecar {name}", sidecar.transcript()[-8000:]))
    return report


@pytest.fixture(autouse=True)
def _no_other_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients on this machine may be told to use a proxy of the machine's own; the tests' go straight."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="session")
def _sidecars(request: pytest.FixtureRequest) -> list[Sidecar]:
    return request.config.stash[_SIDECARS]


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory, _sidecars: list[Sidecar]) -> Iterator[Start]:
    """Start a sidecar for all tests of a module that leave nothing behind in it."""
    started: list[Sidecar] = []

    def with_document(content: Document, *options: str) -> Sidecar:
        file = tmp_path_factory.mktemp("shared") / "shared.yaml"
        write(file, content)
        started.append(Sidecar(file.parent, file, options=options))
        _sidecars.append(started[-1])
        return started[-1].start()

    yield with_document
    for sidecar in started:
        sidecar.stop()
        _sidecars.remove(sidecar)


@pytest.fixture
def launch(tmp_path: Path, _sidecars: list[Sidecar]) -> Iterator[Callable[..., Sidecar]]:
    """Start a sidecar on files that are there; it ends with the test."""
    started: list[Sidecar] = []

    def start(*files: Path, options: Sequence[str] = ()) -> Sidecar:
        sidecar = Sidecar(tmp_path, *files, options=options)
        started.append(sidecar)
        _sidecars.append(sidecar)
        return sidecar.start()

    yield start
    for sidecar in started:
        sidecar.stop()
        _sidecars.remove(sidecar)


@pytest.fixture
def start(tmp_path: Path, launch: Callable[..., Sidecar]) -> Start:
    """Start a sidecar on a configuration, in ``backstay.yaml`` of the test's folder."""

    def with_document(content: Document, *options: str) -> Sidecar:
        file = tmp_path / "backstay.yaml"
        write(file, content)
        return launch(file, options=options)

    return with_document


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    with Vendor() as running:
        yield running


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that keeps what it was told, even if it is killed."""
    server = RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always")
    try:
        yield server.start()
    finally:
        server.kill()


@pytest.fixture(scope="module")
def bank() -> Iterator[Bank]:
    """A vendor that ignores keys."""
    with Bank() as bank:
        yield bank


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that forgets nothing that it was told."""
    server = RedisServer(tmp_path_factory.mktemp("redis"), "--appendonly", "yes", "--appendfsync", "always")
    try:
        yield server.start()
    finally:
        server.kill()
