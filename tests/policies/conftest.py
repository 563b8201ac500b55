"""Every test here runs on a loop with virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from proxy.clock import Clock
from tests.support.script import Rig
from tests.support.virtual import VirtualLoop, clock_of


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Asked by pytest-asyncio."""
    return {"virtual": VirtualLoop}


@pytest.fixture
async def clock() -> AsyncIterator[Clock]:
    made = clock_of()
    yield made
    await made.stop()


@pytest.fixture
async def rig(clock: Clock) -> Rig:
    return Rig(clock)
