"""Tests of the pool: reuse, bounds, waits, re-sending once, and that its counts are right whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from typing import Any

import pytest

from proxy.clock import Clock
from proxy.core.timeouts import Timeouts
from proxy.errors import ConnectFailed, ConnectTimeout, DeadlineExceeded, PoolExhausted, Timeout
from proxy.model import Attempt, Exchange, Headers, Request, Response
from proxy.wire.pool import Endpoint, Pool, Upstream
from proxy.wire.upstream import UpstreamConnection
from tests.support import virtual
from tests.support.raw import End, answers, mute, sends, turns, until
from tests.support.transports import FakeTransport
from tests.support.wire import GET, OK, Wire

POST = b"POST /x HTTP/1.1\r\nHost: api\r\nContent-Length: 1\r\n\r\na"


def attempt_of(method: bytes = b"GET", *, deadline: float = 1e9, connect: float = 2.0) -> Attempt:
    exchange = Exchange(Request(method, b"/x", Headers()), "api", "default", 0.0)
    exchange.deadline = deadline
    attempt = Attempt(exchange, 1)
    attempt.connect_limit = connect
    return attempt


def pool_of(clock: Clock, port: int = 1, *, host: str = "127.0.0.1", size: int = 2, idle: float = 60.0) -> Pool:
    endpoint = Endpoint(host, port, authority=b"vendor.test")
    scratch = memoryview(bytearray(65536))
    return Pool(clock, endpoint, scratch, max_connections=size, idle_seconds=idle, header_limit=4096)


def given(pool: Pool) -> tuple[UpstreamConnection, FakeTransport]:
    """A connection of ``pool`` over a fake transport, used once and idle."""
    connection, transport = UpstreamConnection(pool), FakeTransport()
    connection.connection_made(transport)
    pool._open += 1
    connection.uses = 1
    pool.release(connection)
    return connection, transport


def task_of(work: Coroutine[Any, Any, Response]) -> asyncio.Task[Response]:
    return asyncio.get_running_loop().create_task(work)


# --- on loopback -----------------------------------------------------------------------------------------


async def test_the_connection_used_last_is_used_next(wire: Wire) -> None:
    """Last in, first out: of two idle connections the older one is left to be reaped."""
    first = await wire.start(answers(OK))
    second = await wire.connect()
    await asyncio.gather(first.ask(GET), second.ask(GET))
    assert len(wire.vendor.connections) == 2
    for _ in range(3):
        await first.ask(GET)
    assert sorted(bytes(each.received).count(b"GET /x") for each in wire.vendor.connections) == [1, 4]


async def test_no_more_connections_than_allowed(wire: Wire) -> None:
    """Calls above connections.max wait for one, and are served in their order."""
    agents = [await wire.start(OK, pool=2), *[await wire.connect() for _ in range(9)]]
    answered = await asyncio.gather(*(agent.ask(GET) for agent in agents))
    assert [answer.status for answer in answered] == [200] * 10
    assert len(wire.vendor.connections) == 2
    assert wire.stack.pool.counts() == {"idle": 2, "busy": 0, "waiting": 0}


async def test_waiting_calls_go_on_when_connections_close(wire: Wire) -> None:
    """A connection that closes after its answer makes room for one that waits."""
    closing = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    agents = [await wire.start(closing, pool=1), *[await wire.connect() for _ in range(5)]]
    answered = await asyncio.gather(*(agent.ask(GET) for agent in agents))
    assert [answer.status for answer in answered] == [200] * 6
    assert len(wire.vendor.connections) == 6


async def test_a_stale_connection_is_replaced_once(wire: Wire) -> None:
    """A kept connection that the upstream closes when it is used again costs a safe call nothing."""
    agent = await wire.start(sends(OK, then=lambda end: None))

    async def script(end: End) -> None:
        await end.message()
        await end.send(OK)
        await end.message()  # and closes without an answer

    wire.vendor._script = script
    assert (await agent.ask(GET)).status == 200
    assert (await agent.ask(GET)).status == 200
    assert len(wire.vendor.connections) == 2
    assert len(wire.stack.attempts) == 2, "re-sending is no attempt of its own"


async def stale(end: End) -> None:
    await end.message()
    await end.send(OK)
    await end.message()


@pytest.mark.parametrize(
    ("method", "declared", "status"), [(b"PUT", False, 200), (b"POST", False, 502), (b"POST", True, 200)]
)
async def test_only_what_is_safe_is_sent_again(wire: Wire, method: bytes, declared: bool, status: int) -> None:
    """A POST that met a stale connection may have been carried out: only the operator may say that it is harmless."""
    agent = await wire.start(stale, declared_safe=declared)
    await agent.ask(GET)
    answer = await agent.ask(POST.replace(b"POST", method))
    assert answer.status == status
    assert wire.vendor.received.count(b"\r\n\r\na") == (2 if status == 200 else 1)


async def test_no_call_is_sent_a_third_time(wire: Wire) -> None:
    """One re-send, on a fresh connection; its failure is the call's."""

    async def script(end: End) -> None:
        await end.message()
        if len(wire.vendor.connections) == 1:
            await end.send(OK)
            await end.message()

    agent = await wire.start(script)
    await agent.ask(GET)
    assert (await agent.ask(GET)).status == 502
    assert wire.vendor.received.count(b"GET") == 3


async def test_a_partial_answer_is_not_sent_again(wire: Wire) -> None:
    """An upstream that began to answer has the call."""

    async def script(end: End) -> None:
        await end.message()
        await end.send(OK)
        await end.message()
        await end.send(b"HTTP/1.1 2")

    agent = await wire.start(script)
    await agent.ask(GET)
    assert (await agent.ask(GET)).status == 502
    assert len(wire.vendor.connections) == 1


async def test_a_post_meets_no_connection_that_is_known_to_be_closed(wire: Wire) -> None:
    """An idle connection that the upstream closed is not used: even a call that is not safe passes."""
    agent = await wire.start(sends(OK))
    await agent.ask(GET)
    await until(lambda: wire.stack.pool.counts()["idle"] == 0)
    assert (await agent.ask(POST)).status == 200


async def test_an_upstream_that_closes_at_once(wire: Wire) -> None:
    """A connection that ends as soon as it is made is an error at once, and does not count any more."""

    async def script(end: End) -> None:
        end.reset()

    agent = await wire.start(script, pool=2)
    for _ in range(5):
        assert (await agent.ask(GET)).status == 502
    assert wire.stack.pool.counts() == {"idle": 0, "busy": 0, "waiting": 0}


async def test_an_upstream_that_speaks_first(wire: Wire) -> None:
    """Bytes before any request are nobody's answer."""

    async def script(end: End) -> None:
        await end.send(OK)
        await end.rest()

    agent = await wire.start(script, pool=2, timeouts=Timeouts(first_byte=1.0, total=2.0))
    answer = await agent.ask(GET)
    assert answer.status in {502, 200}  # 200: the bytes came behind the request


async def test_refused(wire: Wire) -> None:
    """A port where nobody listens is a 502 at once, whose reason says that nothing was sent."""
    agent = await wire.start(OK)
    await wire.vendor.stop()
    answer = await agent.ask(POST)
    assert (answer.status, b'"reason": "connect"' in answer.body) == (502, True)
    assert b"cannot be reached: Connection refused." in answer.body
    assert wire.stack.attempts[0].written is False


async def test_a_full_pool_refuses_what_would_queue_without_end(wire: Wire) -> None:
    """Twenty calls for each connection may wait."""
    vendor = await wire.start_vendor(mute)
    pool = pool_of(wire.clock, vendor.port, size=1)
    tasks = [task_of(Upstream(pool, b"via", declared_safe=False)(attempt_of())) for _ in range(21)]
    await until(lambda: pool.counts() == {"idle": 0, "busy": 1, "waiting": 20})
    with pytest.raises(PoolExhausted):
        await pool.acquire(attempt_of())
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert pool.counts() == {"idle": 0, "busy": 0, "waiting": 0}


async def test_calls_that_gave_up_do_not_queue(wire: Wire) -> None:
    """Calls whose time ran out while they waited leave the queue to others."""
    vendor = await wire.start_vendor(mute)
    pool = pool_of(wire.clock, vendor.port, size=1)
    busy = task_of(Upstream(pool, b"via", declared_safe=False)(attempt_of()))
    await until(lambda: vendor.connections != [])
    attempts = [attempt_of() for _ in range(20)]
    tasks = [task_of(pool.acquire(attempt)) for attempt in attempts]  # type: ignore[arg-type]
    await turns()
    for attempt in attempts:
        attempt.abort(Timeout())
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, Timeout) for result in results)
    assert pool.counts()["waiting"] == 0
    busy.cancel()
    await asyncio.gather(busy, return_exceptions=True)


async def test_names_without_an_address() -> None:
    """A name that does not resolve is a ConnectFailed."""
    pool = pool_of(Clock(asyncio.get_running_loop()), host="no-such-host.invalid")
    with pytest.raises(ConnectFailed, match="no-such-host"):
        await pool.open(attempt_of(connect=20.0))
    assert pool.counts() == {"idle": 0, "busy": 0, "waiting": 0}


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port that accepts nothing any more: its queue is full."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(server.getsockname())
        yield server.getsockname()[1]


@pytest.mark.parametrize(("deadline", "error"), [(1e9, ConnectTimeout), (0.0, DeadlineExceeded)])
async def test_a_connection_that_is_not_accepted(deaf_port: int, deadline: float, error: type[Exception]) -> None:
    """timeout.connect, and what is left of the total, bound the time to connect."""
    pool = pool_of(Clock(asyncio.get_running_loop()), deaf_port)
    with pytest.raises(error):
        await pool.open(attempt_of(connect=0.05, deadline=deadline))
    assert pool.counts() == {"idle": 0, "busy": 0, "waiting": 0}


# --- by hand, in virtual time ----------------------------------------------------------------------------


def test_idle_connections_are_reaped() -> None:
    """A connection that nobody used for connections.idle is closed, at most a second or two late."""

    async def scenario(clock: Clock) -> None:
        pool = pool_of(clock, idle=30.0)
        _, old = given(pool)
        await clock.sleep(20.0)
        _, young = given(pool)
        await clock.sleep(12.0)
        assert (old.state, young.state) == ("closing", "open")
        assert pool.counts() == {"idle": 1, "busy": 0, "waiting": 0}
        await clock.sleep(20.0)
        assert pool.counts() == {"idle": 0, "busy": 0, "waiting": 0}

    virtual.run(scenario)


def test_a_connection_in_use_is_not_reaped() -> None:
    """Only idleness counts."""

    async def scenario(clock: Clock) -> None:
        pool = pool_of(clock, idle=30.0)
        connection, transport = given(pool)
        task = task_of(Upstream(pool, b"via", declared_safe=False)(attempt_of()))
        await clock.sleep(100.0)
        assert transport.state == "open"
        connection.data_received(OK)
        assert (await task).body == b"ok"
        assert pool.counts() == {"idle": 1, "busy": 0, "waiting": 0}
        pool.close()

    virtual.run(scenario)


def test_a_call_that_leaves_with_its_answer_does_not_end_the_next() -> None:
    """The connection of a call that is cancelled just as it is answered may already serve another."""

    async def scenario(clock: Clock) -> None:
        pool = pool_of(clock, size=1)
        connection, transport = given(pool)
        upstream = Upstream(pool, b"via", declared_safe=False)
        first, second = task_of(upstream(attempt_of())), task_of(upstream(attempt_of()))
        await virtual.turn()
        connection.data_received(OK)
        first.cancel()
        await virtual.turn()
        assert transport.state == "open"
        connection.data_received(OK)
        assert (await second).body == b"ok"
        assert pool.counts() == {"idle": 1, "busy": 0, "waiting": 0}
        pool.close()

    virtual.run(scenario)


def test_a_connection_handed_to_a_call_that_leaves_goes_to_the_next() -> None:
    """A waiter that is cancelled in the moment it gets a connection passes it on."""

    async def scenario(clock: Clock) -> None:
        pool = pool_of(clock, size=1)
        connection, _ = given(pool)
        upstream = Upstream(pool, b"via", declared_safe=False)
        tasks = [task_of(upstream(attempt_of())) for _ in range(3)]
        await virtual.turn()
        connection.data_received(OK)
        tasks[1].cancel()
        await virtual.turn()
        connection.data_received(OK)
        assert (await tasks[2]).body == b"ok"
        assert pool.counts() == {"idle": 1, "busy": 0, "waiting": 0}
        pool.close()

    virtual.run(scenario)


def test_fewer_connections_after_a_reload() -> None:
    """A pool whose bound was lowered closes what is over it as it is given back."""

    async def scenario(clock: Clock) -> None:
        pool = pool_of(clock, size=2)
        (first, one), (second, two) = given(pool), given(pool)
        pool.take(), pool.take()
        pool.max_connections = 1
        pool.release(first)
        pool.release(second)
        assert (one.state, two.state) == ("closing", "open")
        assert pool.counts() == {"idle": 1, "busy": 0, "waiting": 0}
        pool.close()

    virtual.run(scenario)


def test_a_closed_pool_keeps_nothing() -> None:
    """Idle connections close with their pool, busy ones when they are given back."""

    async def scenario(clock: Clock) -> None:
        pool = pool_of(clock)
        (_, idle), (busy, transport) = given(pool), given(pool)
        assert pool.take() is busy
        pool.close()
        assert (idle.state, transport.state) == ("closing", "open")
        pool.release(busy)
        assert transport.state == "closing"
        assert pool.counts() == {"idle": 0, "busy": 0, "waiting": 0}
        pool.close()

    virtual.run(scenario)


def test_a_waiter_whose_connection_closes_gets_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that ends between being handed over and being used is not used."""

    async def scenario(clock: Clock) -> None:
        pool = pool_of(clock, size=1)
        connection, _ = given(pool)
        upstream = Upstream(pool, b"via", declared_safe=False)
        first = task_of(upstream(attempt_of()))
        await virtual.turn()
        second = task_of(upstream(attempt_of(connect=1.0)))
        await virtual.turn()
        connection.data_received(OK)
        connection.connection_lost(None)
        assert (await first).body == b"ok"
        with pytest.raises(ConnectFailed):  # it opens its own: nobody listens on that port
            await second
        assert pool.counts() == {"idle": 0, "busy": 0, "waiting": 0}

    virtual.run(scenario)


def test_repr() -> None:
    """A pool shows where it leads and what it holds."""

    async def scenario(clock: Clock) -> None:
        assert repr(pool_of(clock)) == "<Pool 127.0.0.1:1 {'idle': 0, 'busy': 0, 'waiting': 0}>"

    virtual.run(scenario)


def test_endpoints_are_values() -> None:
    """Where an upstream is can be compared: a reload keeps pools by it."""
    one = Endpoint("a", 80)
    assert one == replace(one)
    assert one != replace(one, port=81)
