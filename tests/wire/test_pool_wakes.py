"""Test of wire/pool.py: who is woken when there is room. The rest is in test_pool.py."""

from __future__ import annotations

import asyncio

from proxy.clock import Clock
from proxy.model import Attempt, Exchange, Headers, Request
from proxy.wire.pool import Endpoint, Pool
from tests.support.virtual import turn


def a_pool(clock: Clock, port: int) -> Pool:
    endpoint, scratch = Endpoint("127.0.0.1", port), memoryview(bytearray(65536))
    return Pool(clock, endpoint, scratch, max_connections=1, idle_seconds=60.0, header_limit=65536)


def an_attempt(clock: Clock) -> Attempt:
    return Attempt(Exchange(Request(b"GET", b"/", Headers()), "vendor", "default", clock.now()), 1)


async def test_a_wake_that_meets_a_caller_who_left_goes_to_the_next() -> None:
    """Room for a connection is not lost with the caller that was told of it."""
    clock = Clock(asyncio.get_running_loop())
    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    pool = a_pool(clock, server.sockets[0].getsockname()[1])
    first = await pool.acquire(an_attempt(clock))
    first.start(an_attempt(clock), b"GET / HTTP/1.1\r\n\r\n")
    leaving = clock.spawn(pool.acquire(an_attempt(clock)), "leaves")
    staying = clock.spawn(pool.acquire(an_attempt(clock)), "stays")
    await turn()
    first.abort()
    leaving.cancel()
    connection = await asyncio.wait_for(staying, 5.0)
    connection.abort()
    server.close()


async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()
