"""The wire under test: a vendor, the proxy and agents on loopback, and proof that nothing is left of them.

A test runs on uvloop, as the program does; with ``both_loops`` on asyncio's own too, and with ``virtual_time`` on
a loop whose clock moves by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeVar

import pytest

from proxy.clock import Clock
from proxy.wire.ca import Authority
from tests.support.captured import Caught
from tests.support.names import NamedSelectorLoop, NamedUvloop, NamedVirtualLoop
from tests.support.virtual import EPOCH, clock_of
from tests.support.wire import Wire

W = TypeVar("W", bound=Wire)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "both_loops: run on uvloop and on asyncio's own loop")
    config.addinivalue_line("markers", "virtual_time: run on a loop whose time is virtual")


def pytest_collection_finish() -> None:
    """What has been imported is here to stay: keep it out of the collection behind each test."""
    gc.collect()
    gc.freeze()


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.get_closest_marker("virtual_time"):
        return {"virtual": NamedVirtualLoop}
    if item.get_closest_marker("both_loops"):
        return {"uvloop": NamedUvloop, "asyncio": NamedSelectorLoop}
    return {"uvloop": NamedUvloop}


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One that signs for intercepted hosts."""
    return Authority.load(tmp_path_factory.mktemp("now") / "ca", time.time())


@pytest.fixture(scope="session")
def virtual_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The same where time is virtual."""
    return Authority.load(tmp_path_factory.mktemp("then") / "ca", EPOCH)


@pytest.fixture
async def wire(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Wire]:
    """See Wire. Fails the test on anything unhandled, logged as an error, or left behind."""
    async with _watched(Wire(_clock(request)), caplog) as made:
        yield made


@pytest.fixture
async def caught(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Caught]:
    """See Caught; the same with what is caught."""
    async with _watched(Caught(_clock(request)), caplog) as made:
        yield made


def _clock(request: pytest.FixtureRequest) -> Clock:
    loop = asyncio.get_running_loop()
    return Clock(loop) if request.node.get_closest_marker("virtual_time") is None else clock_of(loop)


@contextlib.asynccontextmanager
async def _watched(made: W, caplog: pytest.LogCaptureFixture) -> AsyncIterator[W]:
    unhandled: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    yield made
    await made.stop()
    gc.collect()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"tasks left behind: {left}"
    assert not unhandled, unhandled
    assert not [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.ERROR]
