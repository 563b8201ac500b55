"""Every test here runs on a loop with virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeAlias

import pytest

from proxy.clock import Clock
from tests.support.caching import Shop
from tests.support.script import Rig, Step
from tests.support.virtual import VirtualLoop, clock_of, turn

OpenShop: TypeAlias = Callable[..., Shop]


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


@pytest.fixture
async def shop(rig: Rig) -> AsyncIterator[OpenShop]:
    """Make a route that caches. At the end nothing is left behind of any of its calls: no task, timer or read."""
    made: list[Shop] = []

    def opened(*steps: Step, **more: Any) -> Shop:
        made.append(Shop(rig, *steps, **more))
        return made[-1]

    yield opened
    await turn(5)
    assert not [left for each in made for left in each.leftovers()]
