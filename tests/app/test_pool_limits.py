"""Tests of wire/pool.py: whose limit a wait for a connection ran into, and who is woken."""

from __future__ import annotations

import asyncio
import socket

import pytest

from proxy.clock import Clock
from proxy.errors import CallError, ConnectionReset, ConnectTimeout, DeadlineExceeded
from proxy.model import Attempt, Exchange, Headers, Request
from proxy.wire.pool import Endpoint, Pool, Upstream
from tests.support.virtual import turn


def a_pool(clock: Clock, port: int) -> Pool:
    endpoint, scratch = Endpoint("127.0.0.1", port), memoryview(bytearray(65536))
    return Pool(clock, endpoint, scratch, max_connections=1, idle_seconds=60.0, header_limit=65536)


def an_attempt(clock: Clock, *, total: float = 60.0, connect: float = 2.0) -> Attempt:
    exchange = Exchange(Request(b"GET", b"/", Headers()), "vendor", "default", clock.now())
    exchange.deadline = clock.now() + total
    attempt = Attempt(exchange, 1)
    attempt.connect_limit = connect
    return attempt


@pytest.mark.parametrize(("total", "connect", "error"), [(60.0, 0.02, ConnectTimeout), (0.02, 2.0, DeadlineExceeded)])
async def test_a_connection_that_takes_too_long(
    clock: Clock, total: float, connect: float, error: type[CallError]
) -> None:
    """Cut by its own limit it is the upstream's failure; cut by the call's total it proves nothing."""
    with socket.socket() as full:  # a listener that never accepts, its backlog taken
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), pytest.raises(error) as caught:
            await a_pool(clock, port).acquire(an_attempt(clock, total=total, connect=connect))
    assert type(caught.value) is error


async def test_a_wake_that_meets_a_caller_who_left_goes_to_the_next(clock: Clock) -> None:
    """Room for a connection is not lost with the caller that was told of it."""
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


async def test_a_connection_that_is_closed_as_soon_as_it_is_open(clock: Clock) -> None:
    """It is a reset before anything was sent, at once, and takes no place in the pool."""
    server = await asyncio.start_server(slam, "127.0.0.1", 0)
    pool = a_pool(clock, server.sockets[0].getsockname()[1])
    send = Upstream(pool, b"test", declared_safe=False)
    for _ in range(5):
        attempt = an_attempt(clock)
        with pytest.raises(ConnectionReset):
            await asyncio.wait_for(send(attempt), 5.0)
    assert pool.counts() == {"idle": 0, "busy": 0, "waiting": 0}
    server.close()


async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


def slam(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    transport = writer.transport
    assert isinstance(transport, asyncio.Transport)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    transport.abort()
