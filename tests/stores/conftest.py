"""Stores in memory, and on a server that each test has for itself; on uvloop, as the program is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop

from proxy.clock import Clock
from proxy.stores.base import CacheStore
from proxy.stores.memory import MemoryStore
from proxy.stores.redis import RedisStore
from tests.support.answers import GENEROUS, MIB
from tests.support.redis_server import RedisServer


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    try:
        yield server.start()
    finally:
        server.kill()


MakeRedis = Callable[..., RedisStore]


@pytest.fixture
async def make_redis(caplog: pytest.LogCaptureFixture) -> AsyncIterator[MakeRedis]:
    """Make a store on a server's url; all are closed at the end, and nothing has gone wrong that nobody was told."""
    loop = asyncio.get_running_loop()
    unhandled: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: unhandled.append(context))
    clock = Clock(loop)
    made: list[RedisStore] = []

    def make(url: str, *, max_object: int = MIB, **settings: Any) -> RedisStore:
        made.append(RedisStore(url, clock, max_object=max_object, **{"limit": GENEROUS, **settings}))
        return made[-1]

    yield make
    for store in made:
        await store.close()
    await clock.stop()
    assert not unhandled, unhandled
    assert not [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest, make_redis: MakeRedis) -> CacheStore:
    """An empty store, once in memory and once on a server."""
    if request.param == "memory":
        return MemoryStore(64 * MIB, asyncio.get_running_loop().time)
    server: RedisServer = request.getfixturevalue("redis_server")
    return make_redis(server.url)
