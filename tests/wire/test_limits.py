"""Peers that are slow, greedy or gone: every wait ends, every refusal is read, nothing is held for them."""

from __future__ import annotations

import asyncio
import json

import pytest

from proxy.clock import Clock
from proxy.core.timeouts import Timeouts
from proxy.errors import Timeout
from proxy.model import Attempt, Ending, Exchange, Headers, Request, Response, Verdict
from proxy.policies.timeouts import TimeoutPolicy
from proxy.wire.server import BODY_IDLE_SECONDS, HEAD_SECONDS, IDLE_SECONDS, LINGER_SECONDS
from tests.support import virtual
from tests.support.raw import Answer, End, deaf, mute, sends, turns, until
from tests.support.wire import GET, OK, Wire

POST = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"


def reason(answer: Answer) -> str:
    word: str = json.loads(answer.body)["reason"]
    return word


# --- slow agents -----------------------------------------------------------------------------------------


@pytest.mark.virtual_time
@pytest.mark.parametrize("first", [b"G", b"GET / HTTP/1.1\r\nHost: a\r\n"])
async def test_a_head_that_does_not_end(wire: Wire, first: bytes) -> None:
    """A request whose head has begun has ten seconds to end; then it is a 408, however slowly it drips."""
    agent = await wire.start(OK)
    began = wire.clock.now()
    await agent.send(first)
    task = asyncio.get_running_loop().create_task(agent.answer())
    while not task.done():
        await agent.send(b"x")
        await wire.clock.sleep(1.0)
    answer = await task
    assert (answer.status, reason(answer)) == (408, "request_timeout")
    assert HEAD_SECONDS <= wire.clock.now() - began <= HEAD_SECONDS + 3.0
    assert await agent.closed()


@pytest.mark.virtual_time
async def test_a_connection_without_a_request(wire: Wire) -> None:
    """A connection that never asks is closed without a word."""
    agent = await wire.start(OK)
    began = wire.clock.now()
    assert await agent.closed()
    assert HEAD_SECONDS <= wire.clock.now() - began <= HEAD_SECONDS + 2.0
    assert wire.stack.refused == []


@pytest.mark.virtual_time
async def test_an_idle_connection(wire: Wire) -> None:
    """A kept connection may rest for a quarter of an hour."""
    agent = await wire.start(OK)
    await agent.ask(GET)
    began = wire.clock.now()
    assert await agent.closed()
    assert IDLE_SECONDS <= wire.clock.now() - began <= IDLE_SECONDS + 2.0


@pytest.mark.virtual_time
async def test_a_body_that_stalls(wire: Wire) -> None:
    """A request body without progress for a minute is a 408, and its upstream sees a broken request."""
    agent = await wire.start(mute, timeouts=Timeouts(first_byte=None, total=1000.0))
    began = wire.clock.now()
    await agent.send(POST % 10, b"abc")
    await wire.clock.sleep(30.0)
    await agent.send(b"d")
    answer = await agent.answer()
    assert (answer.status, reason(answer)) == (408, "request_timeout")
    assert 30.0 + BODY_IDLE_SECONDS <= wire.clock.now() - began <= 30.0 + BODY_IDLE_SECONDS + 3.0
    await until(lambda: wire.vendor.connections[0].gone)
    assert wire.vendor.received.endswith(b"abcd")
    assert wire.stack.verdicts == [Verdict.IGNORED]


@pytest.mark.virtual_time
async def test_a_body_that_stalls_before_it_is_wanted(wire: Wire) -> None:
    """A stall is the agent's fault, also while the call waits for a connection."""
    agent = await wire.start(mute, pool=1, timeouts=Timeouts(first_byte=None, total=1000.0))
    first = await wire.connect()
    await first.send(GET)
    await until(lambda: wire.stack.pool.counts()["busy"] == 1)
    await agent.send(POST % 10, b"abc")
    await wire.clock.sleep(BODY_IDLE_SECONDS + 5.0)
    first.reset()
    answer = await agent.answer()
    assert (answer.status, reason(answer)) == (408, "request_timeout")


@pytest.mark.virtual_time
async def test_a_large_body_waits_for_its_connection(wire: Wire) -> None:
    """A body that is held back because nobody takes it yet does not count as stalled."""
    agent = await wire.start(mute, pool=1, timeouts=Timeouts(first_byte=None, total=1000.0))
    first = await wire.connect()
    await first.send(GET)
    await until(lambda: wire.stack.pool.counts()["busy"] == 1)
    size = 2_000_000
    sending = asyncio.get_running_loop().create_task(agent.send(POST % size, b"x" * size))
    await wire.clock.sleep(4 * BODY_IDLE_SECONDS)
    first.reset()
    await until(lambda: len(wire.vendor.connections) > 1)
    await until(lambda: wire.vendor.received.count(b"x") > size)
    await sending
    agent.reset()


@pytest.mark.virtual_time
async def test_an_upstream_that_takes_no_body(wire: Wire) -> None:
    """An upstream that stops taking the request body is a timeout of its own."""
    agent = await wire.start(deaf, timeouts=Timeouts(first_byte=None, total=1000.0))
    size = 64 * 2**20
    agent.writer.write(POST % size + b"x" * size)
    answer = await agent.answer()
    assert (answer.status, reason(answer)) == (504, "timeout")
    assert wire.stack.verdicts == [Verdict.FAILURE]
    agent.reset()


@pytest.mark.virtual_time
async def test_an_agent_that_takes_no_answer(wire: Wire) -> None:
    """An agent that reads nothing for timeout.idle is given up: that is no fault of the upstream's."""
    size = 64 * 2**20

    async def script(end: End) -> None:
        await end.message()
        end.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
        await end.rest()

    await wire.start(script, timeouts=Timeouts(idle=20.0))
    agent = await wire.connect(receive_buffer=4096)
    await agent.send(GET)
    await agent.until(b"\r\n\r\n")
    agent.reader._transport.pause_reading()  # type: ignore[attr-defined]
    await wire.clock.sleep(30.0)
    assert (wire.stack.endings, wire.stack.verdicts) == ([Ending.ABANDONED], [Verdict.IGNORED])
    await wire.clock.sleep(BODY_IDLE_SECONDS + 2.0)
    assert wire.stack.listener.connections == 0


@pytest.mark.virtual_time
async def test_an_agent_that_takes_no_whole_answer(wire: Wire) -> None:
    """A kept connection whose answer is not read ends like an idle one, though closing it would wait for ever."""
    body = b"x" * 60_000
    await wire.start(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    agent = await wire.connect(receive_buffer=4096)
    agent.reader._transport.pause_reading()  # type: ignore[attr-defined]
    agent.writer.write(GET * 500)
    await wire.clock.sleep(IDLE_SECONDS + 5.0)
    assert len(wire.stack.exchanges) < 500
    assert wire.stack.listener.connections == 0


@pytest.mark.virtual_time
async def test_a_refusal_lingers_for_a_moment(wire: Wire) -> None:
    """An agent that goes on sending behind a refusal can read it, and is then cut off."""
    agent = await wire.start(OK)
    await agent.send(b"BAD\r\n\r\n")
    began = wire.clock.now()
    assert (await agent.answer()).status == 400
    while wire.stack.listener.connections:
        agent.writer.write(b"x" * 1000)
        await wire.clock.sleep(0.5)
    assert LINGER_SECONDS <= wire.clock.now() - began <= LINGER_SECONDS + 2.0


# --- slow upstreams --------------------------------------------------------------------------------------


@pytest.mark.virtual_time
async def test_first_byte(wire: Wire) -> None:
    """An upstream without an answer within timeout.first_byte is a 504; its connection is closed."""
    agent = await wire.start(mute, timeouts=Timeouts(first_byte=5.0))
    began = wire.clock.now()
    answer = await agent.ask(GET)
    assert (answer.status, reason(answer)) == (504, "timeout")
    assert 5.0 <= wire.clock.now() - began <= 5.1
    assert wire.stack.verdicts == [Verdict.FAILURE]
    await until(lambda: wire.vendor.connections[0].gone)


@pytest.mark.virtual_time
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("framing", [b"Content-Length: 10", b"Transfer-Encoding: chunked"])
async def test_a_stream_that_stalls(wire: Wire, version: bytes, framing: bytes) -> None:
    """A stream without progress for timeout.idle is a broken answer and a failure; each byte begins the time anew."""

    async def script(end: End) -> None:
        await end.message()
        await end.send(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
        for _ in range(3):
            await wire.clock.sleep(15.0)
            await end.send(b"1\r\na\r\n" if b"chunked" in framing else b"a")
        await end.rest()

    agent = await wire.start(script, timeouts=Timeouts(idle=20.0))
    began = wire.clock.now()
    await agent.send(b"GET /x HTTP/%b\r\nHost: a\r\n\r\n" % version)
    reset = False
    try:
        while await agent.some():
            pass
    except ConnectionResetError:
        reset = True
    assert bytes(agent.received).count(b"a") >= 3
    assert not agent.received.endswith(b"0\r\n\r\n")
    assert reset is (version == b"1.0" and b"chunked" in framing), "where the framing does not show it, a reset does"
    assert 65.0 <= wire.clock.now() - began <= 66.0
    assert (wire.stack.endings, wire.stack.verdicts) == ([Ending.STALLED], [Verdict.FAILURE])


@pytest.mark.virtual_time
async def test_a_stream_that_lasts_too_long(wire: Wire) -> None:
    """timeout.stream caps a whole body, whatever its progress."""

    async def script(end: End) -> None:
        await end.message()
        await end.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await end.send(b"1\r\na\r\n")
            await wire.clock.sleep(1.0)

    agent = await wire.start(script, timeouts=Timeouts(stream=30.0))
    began = wire.clock.now()
    await agent.send(GET)
    assert not (await agent.rest()).endswith(b"0\r\n\r\n")
    assert 30.0 <= wire.clock.now() - began <= 31.0
    assert wire.stack.endings == [Ending.STALLED]


def test_a_limit_that_runs_out_between_two_connections() -> None:
    """A limit that finds the wire waiting for nothing it could end ends the next wait."""

    async def scenario(clock: Clock) -> None:
        async def send(attempt: Attempt) -> Response:
            attempt.sent(clock.now())
            await clock.sleep(6.0)  # on a connection that is reset in the end, and then connecting
            attempt.waiter = clock.loop.create_future()
            response: Response = await attempt.waiter
            return response

        exchange = Exchange(Request(b"GET", b"/", Headers()), "api", "default", clock.now())
        with pytest.raises(Timeout):
            await TimeoutPolicy(clock, Timeouts(first_byte=5.0))(Attempt(exchange, 1), send)
        assert clock.now() <= virtual.START + 6.1

    virtual.run(scenario)


@pytest.mark.virtual_time
async def test_a_call_waits_for_a_connection_until_its_deadline(wire: Wire) -> None:
    """The total is the ceiling of the wait in the pool's queue."""
    first = await wire.start(mute, pool=1, timeouts=Timeouts(first_byte=None, total=50.0))
    await first.send(GET)
    await wire.clock.sleep(20.0)
    second = await wire.connect()
    await second.send(GET)
    assert reason(await first.answer()) == "deadline"
    await until(lambda: len(wire.vendor.connections) == 2)
    assert wire.stack.pool.counts() == {"idle": 0, "busy": 1, "waiting": 0}
    assert reason(await second.answer()) == "deadline"
    assert wire.stack.pool.counts() == {"idle": 0, "busy": 0, "waiting": 0}


# --- caps ------------------------------------------------------------------------------------------------


async def test_connections_over_the_cap(wire: Wire) -> None:
    """One connection too many is told so with a 503, and the next that comes when there is room is served."""
    first = await wire.start(OK, connections=2)
    second = await wire.connect()
    assert (await first.ask(GET)).status == 200
    assert (await second.ask(GET)).status == 200
    third = await wire.connect()
    await third.send(GET)
    answer = await third.answer()
    assert (answer.status, reason(answer), answer.field(b"Retry-After")) == (503, "overloaded", b"1")
    assert await third.closed()
    first.close()
    await until(lambda: wire.stack.listener.connections == 1)
    assert (await (await wire.connect()).ask(GET)).status == 200


@pytest.mark.virtual_time
async def test_a_crowd_over_the_cap(wire: Wire) -> None:
    """As many again are told; the rest is cut off; none of them stays."""
    await wire.start(OK, connections=2)
    await wire.connect()
    crowd = [await wire.connect() for _ in range(6)]
    await turns(30)
    assert wire.stack.listener.connections == 2
    assert len(wire.stack.listener._excess) <= 2
    told = [bytes(await each.rest() if not each.reader.at_eof() else b"") for each in crowd]
    assert sum(b"overloaded" in each for each in told) == 2
    await wire.clock.sleep(LINGER_SECONDS + 2.0)
    assert wire.stack.listener._excess == set()


CHUNKED = b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
TOO_LARGE = {
    "by its length": (POST % 101,),
    "by its length, with the body": (POST % 101 + b"x" * 101,),
    "by count, whole": (CHUNKED + b"65\r\n" + b"x" * 101 + b"\r\n0\r\n\r\n",),
    "by count, at once": (CHUNKED + b"65\r\n" + b"x" * 101,),
    "by count, in pieces": (CHUNKED, b"32\r\n" + b"x" * 50 + b"\r\n", b"33\r\n" + b"x" * 51 + b"\r\n"),
    "and goes on": (CHUNKED, b"10000\r\n" + b"x" * 65536 + b"\r\n", b"10000\r\n" + b"x" * 65536 + b"\r\n0\r\n\r\n"),
}


@pytest.mark.parametrize("pieces", TOO_LARGE.values(), ids=TOO_LARGE.keys())
async def test_bodies_over_the_limit(wire: Wire, pieces: tuple[bytes, ...]) -> None:
    """limits.body_bytes is a 413 by the length that is announced, else by count; the agent can read it."""
    agent = await wire.start(mute, body_limit=100)
    await agent.send(*pieces)
    answer = await agent.answer()
    assert (answer.status, reason(answer), answer.field(b"Connection")) == (413, "body_too_large", b"close")
    assert await agent.closed()
    assert not wire.vendor.received.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("raw", [POST % 100 + b"x" * 100, CHUNKED + b"64\r\n" + b"x" * 100 + b"\r\n0\r\n\r\n"])
async def test_a_body_at_the_limit(wire: Wire, raw: bytes) -> None:
    """The limit is the last size that passes."""
    agent = await wire.start(OK, body_limit=100)
    assert (await agent.ask(raw)).status == 200


# --- refusals with a body on its way ---------------------------------------------------------------------


async def test_a_refusal_reads_past_a_short_body(wire: Wire) -> None:
    """The rest of a short body is read past, and the connection is kept."""
    agent = await wire.start(OK)
    await agent.send(b"POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n", b"x" * 500)
    answer = await agent.answer()
    assert (answer.status, answer.field(b"Connection")) == (404, None)
    await agent.send(b"x" * 500 + GET)
    assert (await agent.answer()).status == 200


async def test_a_refusal_reads_past_a_short_chunked_body(wire: Wire) -> None:
    """The same, where only the last chunk tells the end."""
    agent = await wire.start(OK)
    await agent.send(b"POST /nowhere HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"3\r\nabc\r\n")
    assert (await agent.answer()).status == 404
    await agent.send(b"2\r\nde\r\n0\r\nX: y\r\n\r\n" + GET)
    assert (await agent.answer()).status == 200


async def test_a_refused_body_that_turns_malformed(wire: Wire) -> None:
    """What cannot be read past ends the connection, and what is behind it is not taken for a request."""
    agent = await wire.start(OK)
    await agent.send(b"POST /nowhere HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"3\r\nabc\r\n")
    assert (await agent.answer()).status == 404
    await agent.send(b"zz\r\n" + GET)
    assert await agent.closed()
    assert wire.vendor.received == b""


async def test_a_refusal_of_a_long_body_is_read(wire: Wire) -> None:
    """An agent in the middle of a long body can read the refusal; then the connection ends."""
    agent = await wire.start(OK)
    size = 3_000_000
    sending = asyncio.get_running_loop().create_task(
        agent.send(b"POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
    )
    assert (await agent.answer()).status == 404
    assert await agent.closed()
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)


@pytest.mark.virtual_time
async def test_a_refused_body_that_does_not_come(wire: Wire) -> None:
    """A connection is not kept for a body that stays out."""
    agent = await wire.start(OK)
    await agent.send(b"POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n", b"x" * 500)
    assert (await agent.answer()).status == 404
    began = wire.clock.now()
    assert await agent.closed()
    assert wire.clock.now() - began <= LINGER_SECONDS + 2.0


# --- agents that leave -----------------------------------------------------------------------------------


@pytest.mark.both_loops
@pytest.mark.parametrize("leave", [End.close, End.reset])
async def test_an_agent_that_leaves_cancels_its_call(wire: Wire, leave: object) -> None:
    """The upstream's connection is closed at once, and the upstream is not blamed."""
    agent = await wire.start(mute)
    await agent.send(GET)
    await until(lambda: wire.vendor.received != b"")
    leave(agent)  # type: ignore[operator]
    await until(lambda: wire.stack.endings != [])
    await until(lambda: wire.vendor.connections[0].gone)
    assert (wire.stack.endings, wire.stack.verdicts) == (["CancelledError"], [Verdict.IGNORED])


@pytest.mark.both_loops
async def test_an_agent_that_leaves_a_stream(wire: Wire) -> None:
    """A stream that nobody reads is ended, at once."""
    agent = await wire.start(sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", then=lambda _: None))
    wire.vendor._script = stream_without_end
    await agent.send(GET)
    await agent.until(b"a\r\n")
    agent.close()
    await until(lambda: wire.stack.endings != [])
    assert (wire.stack.endings, wire.stack.verdicts) == ([Ending.ABANDONED], [Verdict.IGNORED])
    await until(lambda: wire.stack.pool.counts()["busy"] == 0)


async def stream_without_end(end: End) -> None:
    await end.message()
    await end.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
    await end.rest()


@pytest.mark.both_loops
async def test_an_agent_that_leaves_its_body(wire: Wire) -> None:
    """A request whose agent left in the middle of its body looks broken to the upstream."""
    agent = await wire.start(mute)
    await agent.send(POST % 10, b"abc")
    await until(lambda: wire.vendor.received.endswith(b"abc"))
    agent.reset()
    await until(lambda: wire.vendor.connections[0].gone)
    assert wire.stack.verdicts == [Verdict.IGNORED]


async def test_an_agent_that_leaves_while_waiting_for_a_connection(wire: Wire) -> None:
    """A call that waits in the queue leaves it with its agent."""
    first = await wire.start(mute, pool=1)
    second = await wire.connect()
    await first.send(GET)
    await until(lambda: wire.stack.pool.counts()["busy"] == 1)
    await second.send(GET)
    await until(lambda: wire.stack.pool.counts()["waiting"] == 1)
    second.reset()
    await until(lambda: wire.stack.pool.counts()["waiting"] == 0)
    first.close()
