"""Tests of a call that meets a stale connection: what is sent again, and what is then in the dark."""

from __future__ import annotations

import pytest

from proxy.errors import ConnectionReset
from proxy.model import Attempt, Effect, Exchange, Headers, Request
from proxy.wire.pool import Endpoint, Pool, Upstream
from tests.support.raw import End, Script
from tests.support.wire import OK, Wire


def attempt_of(method: bytes, *, honoured: bool = False) -> Attempt:
    exchange = Exchange(Request(method, b"/x", Headers()), "api", "default", 0.0)
    exchange.deadline = 1e9
    if honoured:
        exchange.effect = Effect(honoured=True, repeatable=False)
    return Attempt(exchange, 1)


def goes_stale(wire: Wire, *, again: bool = True) -> Script:
    """A vendor that closes its first connection when it is used again; ``again``: the next one answers."""

    async def script(end: End) -> None:
        await end.message()
        if again or len(wire.vendor.connections) == 1:
            await end.send(OK)
            await end.message()

    return script


async def used_once(wire: Wire, script: Script) -> Upstream:
    """An upstream with a connection that is about to go stale."""
    vendor = await wire.start_vendor(script)
    endpoint = Endpoint("127.0.0.1", vendor.port, authority=b"vendor.test")
    scratch = memoryview(bytearray(65536))
    pool = Pool(wire.clock, endpoint, scratch, max_connections=2, idle_seconds=60.0, header_limit=4096)
    upstream = Upstream(pool, b"via", declared_safe=False)
    first = attempt_of(b"GET")
    assert (await upstream(first)).status == 200
    assert not first.exchange.lost
    return upstream


@pytest.mark.parametrize(("method", "honoured"), [(b"POST", True), (b"PUT", False), (b"GET", False)])
async def test_what_is_sent_again_was_lost_the_first_time(wire: Wire, method: bytes, honoured: bool) -> None:
    """That the second had an answer does not tell what became of the first; a key that is honoured makes it safe."""
    upstream = await used_once(wire, goes_stale(wire))
    attempt = attempt_of(method, honoured=honoured)
    assert (await upstream(attempt)).status == 200
    assert (attempt.exchange.lost, attempt.exchange.written) == (True, True)
    assert wire.vendor.received.count(method + b" /x") == (3 if method == b"GET" else 2)
    upstream._pool.close()


async def test_what_is_not_sent_again_is_left_to_whoever_called(wire: Wire) -> None:
    """It is an error; the bridge takes down that it was sent."""
    upstream = await used_once(wire, goes_stale(wire))
    attempt = attempt_of(b"POST")
    with pytest.raises(ConnectionReset):
        await upstream(attempt)
    assert (attempt.exchange.lost, attempt.written) == (False, True)
    upstream._pool.close()


async def test_what_is_lost_twice_is_an_error(wire: Wire) -> None:
    """There is no third time."""
    upstream = await used_once(wire, goes_stale(wire, again=False))
    attempt = attempt_of(b"POST", honoured=True)
    with pytest.raises(ConnectionReset):
        await upstream(attempt)
    assert (attempt.exchange.lost, wire.vendor.received.count(b"POST /x")) == (True, 2)
    upstream._pool.close()
