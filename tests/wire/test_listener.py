"""Tests of the listener's life: counting, draining, closing. Caps and sweeps are in test_limits.py."""

from __future__ import annotations

import asyncio
import json

import pytest

from proxy.model import Attempt, Response
from tests.support.raw import End, answers, mute, until
from tests.support.wire import GET, OK, Wire


def released() -> tuple[asyncio.Event, object]:
    """A vendor that answers when the event is set."""
    event = asyncio.Event()

    async def script(end: End) -> None:
        while True:
            await end.message()
            await event.wait()
            await end.send(OK)

    return event, script


async def test_counts(wire: Wire) -> None:
    """Connections are counted, and those with something under way are busy."""
    agent = await wire.start(OK)
    await agent.ask(GET)
    other = await wire.connect()
    await other.send(b"GET / HT")
    listener = wire.stack.listener
    await until(lambda: (listener.connections, listener.busy) == (2, 1))
    assert repr(listener) == "<Listener 2 connections, 1 busy>"
    assert listener.close() == 1
    await until(lambda: listener.connections == 0)


async def test_what_has_begun_is_counted_for_good(wire: Wire) -> None:
    """Connections, and requests on those that are kept: who looks now and then can tell that there was a call."""
    agent = await wire.start(OK)
    listener = wire.stack.listener
    await until(lambda: listener.connections == 1)
    counts = [listener.begun]
    for _ in range(2):
        await agent.ask(GET)
        counts.append(listener.begun)
    assert counts == [1, 2, 3]


@pytest.mark.virtual_time
async def test_drain_waits_for_what_is_under_way(wire: Wire) -> None:
    """The listener stays open; answers say close; nothing is cut; then it ends at once."""
    event, script = released()
    first = await wire.start(script)  # type: ignore[arg-type]
    resting = await wire.connect()
    await first.send(GET)
    await until(lambda: wire.vendor.received != b"")
    listener = wire.stack.listener
    drain = wire.clock.loop.create_task(listener.drain(30.0))
    await wire.clock.sleep(5.0)
    assert not drain.done()
    assert repr(listener).endswith(", draining>")
    late = await wire.connect()
    await late.send(GET)
    await wire.clock.sleep(1.0)
    event.set()
    for agent in (first, late):
        answer = await agent.answer()
        assert (answer.status, answer.field(b"Connection")) == (200, b"close")
        assert await agent.closed()
    assert await drain == 0
    assert wire.clock.now() < 1010.0
    assert await resting.closed()
    with pytest.raises(ConnectionError):
        await wire.connect()


@pytest.mark.virtual_time
async def test_drain_cuts_what_does_not_end(wire: Wire) -> None:
    """Past its time, drain cuts and counts."""
    agent = await wire.start(mute)
    await agent.send(GET)
    await until(lambda: wire.vendor.received != b"")
    began = wire.clock.now()
    assert await wire.stack.listener.drain(10.0) == 1
    assert 10.0 <= wire.clock.now() - began <= 11.5
    assert await agent.closed()


@pytest.mark.virtual_time
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_drain_cuts_a_stream_visibly(wire: Wire, version: bytes) -> None:
    """A stream that is cut looks broken, also to HTTP/1.0."""

    async def script(end: End) -> None:
        await end.message()
        await end.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await end.rest()

    agent = await wire.start(script)
    await agent.send(b"GET /x HTTP/%b\r\nHost: a\r\n\r\n" % version)
    await agent.until(b"abc")
    assert await wire.stack.listener.drain(2.0) == 1
    if version == b"1.0":
        with pytest.raises(ConnectionResetError):
            await agent.rest()
    else:
        assert not (await agent.rest()).endswith(b"0\r\n\r\n")


@pytest.mark.virtual_time
async def test_drain_delivers_an_answer_that_is_read_slowly(wire: Wire) -> None:
    """An answer that is written but not yet taken by its agent is still under way."""
    body = b"x" * 8_000_000
    await wire.start(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    agent = await wire.connect(receive_buffer=4096)
    await agent.send(GET)
    await agent.until(b"\r\n\r\n")
    drain = wire.clock.loop.create_task(wire.stack.listener.drain(3000.0))
    left = len(body)
    while left:
        left -= len(await agent.some())
        agent.received.clear()
    assert await drain == 0


@pytest.mark.virtual_time
async def test_drain_waits_for_calls_that_no_connection_waits_for(wire: Wire) -> None:
    """They must come to their end, though their agents have left; then it ends at once."""
    await wire.start(OK)
    listener, left = wire.stack.listener, [1, 1]
    listener.pending = lambda: len(left)
    began = wire.clock.now()
    drain = wire.clock.loop.create_task(listener.drain(60.0))
    for _ in range(2):
        await wire.clock.sleep(10.0)
        assert not drain.done()
        left.pop()
    assert await drain == 0
    assert 20.0 <= wire.clock.now() - began <= 21.5


@pytest.mark.virtual_time
async def test_drain_cuts_calls_that_no_connection_waits_for(wire: Wire) -> None:
    """Past its time they are counted as cut; those that a connection waits for too are counted once."""
    agent = await wire.start(mute)
    await agent.send(GET)
    await until(lambda: wire.vendor.received != b"")
    listener = wire.stack.listener
    listener.pending = lambda: 3
    assert await listener.drain(10.0) == 3
    listener.pending = lambda: 0


async def test_pipelined_requests_in_drain(wire: Wire) -> None:
    """The answer that says close is the last; what was pipelined behind it can be sent again elsewhere."""
    event, script = released()
    agent = await wire.start(script)  # type: ignore[arg-type]
    await agent.send(GET * 3)
    await until(lambda: wire.vendor.received != b"")
    wire.stack.listener.draining = True
    event.set()
    assert (await agent.answer()).field(b"Connection") == b"close"
    assert await agent.closed()
    assert len(wire.stack.exchanges) == 1


async def test_a_defect_costs_one_call(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    """A chain that raises something unforeseen is a 500 and a log line; the connection goes on."""
    agent = await wire.start(answers(OK))
    send, wire.stack._upstream = wire.stack._upstream, defective
    answer = await agent.ask(GET)
    assert (answer.status, json.loads(answer.body)["reason"]) == (500, "internal")
    wire.stack._upstream = send
    assert (await agent.ask(GET)).body == b"ok"
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError]
    caplog.clear()


async def defective(attempt: Attempt) -> Response:
    raise ZeroDivisionError
