"""Tests of one agent's connection, driven by hand, for moments that a socket does not produce at will.

What it does with bytes is in test_request_rules.py, test_streaming.py, test_limits.py and test_upgrade.py.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from proxy.clock import Clock
from proxy.errors import AgentGone, CallError, ConnectionReset, PoolExhausted, Unsupported
from proxy.model import Chain, Effect, Ending, Exchange, Headers, Request, Response
from proxy.wire.body import Body
from proxy.wire.server import BODY_IDLE_SECONDS, AgentConnection
from tests.support import virtual
from tests.support.transports import BodySource, FakeTransport

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"


@dataclass
class Door:
    """The listener, and a chain whose answers the test gives."""

    clock: Clock
    header_limit: int = 1000
    body_limit: int | None = None
    draining: bool = False
    pseudonym: bytes = b"me"
    scratch: memoryview = field(default_factory=lambda: memoryview(bytearray(1000)))
    exchanges: list[Exchange] = field(default_factory=list)
    answers: list[asyncio.Future[Response]] = field(default_factory=list)
    left: int = 0

    def enter(self, connection: AgentConnection) -> bool:
        return True

    def leave(self, connection: AgentConnection) -> None:
        self.left += 1

    def route(self, request: Request) -> Chain:
        return Chain("api", "default", self._proceed, self._proceed)

    def connect(self, connection: AgentConnection, request: Request, early: bytes) -> None:
        raise Unsupported

    def rejected(self, error: CallError, method: bytes) -> None:
        pass

    async def _proceed(self, exchange: Exchange) -> Response:
        self.exchanges.append(exchange)
        self.answers.append(self.clock.loop.create_future())
        return await self.answers[-1]


class Stage:
    def __init__(self, clock: Clock) -> None:
        self.door = Door(clock)
        self.transport = FakeTransport()
        self.connection = AgentConnection(self.door)
        self.connection.connection_made(self.transport)
        self.upstream = BodySource()
        self.body = Body(self.upstream, None, clock)

    async def ask(self, raw: bytes = GET) -> None:
        self.connection.data_received(raw)
        await virtual.turn()

    async def answer(self, response: Response) -> None:
        self.door.answers[-1].set_result(response)
        await virtual.turn()

    def streaming(self) -> Response:
        response = Response(200, Headers(), b"OK", stream=self.body)
        self.body.on_end = response.end
        return response


def whole(body: bytes = b"ok") -> Response:
    return Response(200, Headers.of((b"Content-Length", b"%d" % len(body))), b"OK", body)


def test_an_answer_that_nobody_has_taken_is_under_way() -> None:
    """A connection is at rest only when its agent has taken the last answer: drain must not lose it."""

    async def scenario(clock: Clock) -> None:
        stage = Stage(clock)
        stage.transport.stuck = True
        await stage.ask()
        await stage.answer(whole())
        assert (stage.connection.state, stage.connection.at_rest) == ("idle", False)
        stage.transport.unsent = 0
        assert stage.connection.at_rest
        stage.connection.connection_lost(None)

    virtual.run(scenario)


@pytest.mark.parametrize(("unsent", "state"), [(0, "closing"), (1, "aborted")])
def test_shutting(unsent: int, state: str) -> None:
    """A connection at rest is closed; one that still has to deliver is cut."""

    async def scenario(clock: Clock) -> None:
        stage = Stage(clock)
        stage.transport.unsent = unsent
        stage.connection.shut()
        assert stage.transport.state == state

    virtual.run(scenario)


def test_an_answer_that_begins_while_the_agent_is_behind() -> None:
    """A stream is held back from its beginning if what was written before has not been taken."""

    async def scenario(clock: Clock) -> None:
        stage = Stage(clock)
        await stage.ask()
        stage.connection.pause_writing()
        await stage.answer(stage.streaming())
        assert not stage.upstream.reading
        stage.connection.resume_writing()
        assert stage.upstream.reading
        stage.connection.connection_lost(None)
        assert stage.upstream.abandoned

    virtual.run(scenario)


def test_requests_wait_for_an_agent_that_is_behind() -> None:
    """No request is taken up while answers are not taken; the next one follows when they are."""

    async def scenario(clock: Clock) -> None:
        stage = Stage(clock)
        await stage.ask(GET * 2)
        stage.connection.pause_writing()
        await stage.answer(whole())
        assert (len(stage.door.exchanges), stage.transport.reading) == (1, False)
        stage.connection.resume_writing()
        await virtual.turn()
        assert (len(stage.door.exchanges), stage.transport.reading) == (2, True)
        stage.connection.connection_lost(None)

    virtual.run(scenario)


def test_an_answer_after_the_agent_left() -> None:
    """The call is cancelled with its agent, once."""

    async def scenario(clock: Clock) -> None:
        stage = Stage(clock)
        await stage.ask()
        stage.connection.connection_lost(None)
        await virtual.turn()
        assert stage.door.answers[0].cancelled()
        assert (stage.door.left, stage.connection.state, stage.transport.written) == (1, "closed", b"")

    virtual.run(scenario)


def test_a_stream_after_the_agent_left_in_the_same_moment() -> None:
    """An answer that meets the end of its agent goes nowhere (its connection is upstream.leave's)."""

    async def scenario(clock: Clock) -> None:
        stage = Stage(clock)
        await stage.ask()
        stage.door.answers[0].set_result(stage.streaming())
        stage.connection.connection_lost(None)
        await virtual.turn()
        assert stage.transport.written == b""

    virtual.run(scenario)


# --- calls that must happen once ----------------------------------------------------------------------------


async def once(stage: Stage, raw: bytes = GET, *, written: bool = True) -> Exchange:
    """Make a call that must happen once; ``written``: it has been sent."""
    await stage.ask(raw)
    exchange = stage.door.exchanges[-1]
    exchange.effect, exchange.written = Effect(honoured=False, repeatable=False), written
    return exchange


@pytest.mark.parametrize("streams", [False, True])
def test_a_call_that_must_happen_once_goes_on_without_its_agent(streams: bool) -> None:
    """Once it has been sent. Its answer goes nowhere, but that it has come to its end is known."""

    async def scenario(clock: Clock) -> None:
        stage = Stage(clock)
        await once(stage)
        stage.connection.connection_lost(None)
        await clock.sleep(600.0)
        assert not stage.door.answers[0].cancelled()
        await stage.answer(stage.streaming() if streams else whole())
        assert (stage.transport.written, stage.connection.state, stage.door.left) == (b"", "closed", 1)
        assert stage.upstream.abandoned is streams, "nobody reads it: whoever keeps it has its own way"

    virtual.run(scenario)


def test_a_call_that_must_happen_once_may_fail_without_its_agent() -> None:
    """Nobody is told, and nothing is logged."""

    async def scenario(clock: Clock) -> None:
        stage = Stage(clock)
        await once(stage)
        stage.connection.connection_lost(None)
        stage.door.answers[0].set_exception(ConnectionReset())
        await virtual.turn()
        assert stage.transport.written == b""

    virtual.run(scenario)


@pytest.mark.parametrize(("written", "has_effect"), [(False, True), (True, False)])
def test_any_other_call_ends_with_its_agent(written: bool, has_effect: bool) -> None:
    """One that was not sent yet, or that no ledger has a record of."""

    async def scenario(clock: Clock) -> None:
        stage = Stage(clock)
        exchange = await once(stage, written=written)
        if not has_effect:
            exchange.effect = None
        stage.connection.connection_lost(None)
        await virtual.turn()
        assert stage.door.answers[0].cancelled()

    virtual.run(scenario)


def test_a_body_that_will_not_come_is_said_to_a_call_that_goes_on() -> None:
    """An agent that leaves within its upload takes the call with it: there is nothing to go on with."""

    async def scenario(clock: Clock) -> None:
        stage = Stage(clock)
        exchange = await once(stage, b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab")
        stage.connection.connection_lost(None)
        stream = exchange.request.stream
        assert stream is not None
        assert isinstance(stream, Body)
        assert (stream.ended, stream.complete, type(stream.error)) == (True, False, AgentGone)
        await stage.answer(whole())

    virtual.run(scenario)


def test_nothing_is_said_to_an_agent_that_has_left() -> None:
    """Informational answers neither."""

    async def scenario(clock: Clock) -> None:
        stage = Stage(clock)
        exchange = await once(stage)
        stage.connection.connection_lost(None)
        assert exchange.inform is not None
        exchange.inform(103, Headers())
        await stage.answer(whole())
        assert stage.transport.written == b""

    virtual.run(scenario)


def test_the_call_after_one_that_must_happen_once_is_any_other() -> None:
    """What held for that one does not hold for the next on the connection."""

    async def scenario(clock: Clock) -> None:
        stage = Stage(clock)
        await once(stage)
        await stage.answer(whole())
        await stage.ask()
        stage.connection.connection_lost(None)
        await virtual.turn()
        assert stage.door.answers[1].cancelled()

    virtual.run(scenario)


def test_an_agent_that_leaves_within_the_answer_leaves_it_to_whoever_keeps_it() -> None:
    """The stream is given up by its reader, no more."""

    async def scenario(clock: Clock) -> None:
        stage = Stage(clock)
        await once(stage)
        response = stage.streaming()
        await stage.answer(response)
        stage.body.feed(b"ab")
        stage.connection.connection_lost(None)
        assert (response.ending, stage.upstream.abandoned) == (Ending.ABANDONED, True)

    virtual.run(scenario)


# ------------------------------------------------------------------------------------------------------------


def test_the_fields_of_1xx() -> None:
    """Informational answers are written while the final one is awaited, and never behind it."""

    async def scenario(clock: Clock) -> None:
        stage = Stage(clock)
        await stage.ask()
        inform = stage.door.exchanges[0].inform
        assert inform is not None
        inform(103, Headers.of((b"Link", b"</x>")))
        await stage.answer(whole())
        inform(103, Headers())
        assert stage.transport.written == (
            b"HTTP/1.1 103 \r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        )
        stage.connection.connection_lost(None)

    virtual.run(scenario)


def test_a_close_that_cannot_be_delivered_ends() -> None:
    """An agent that does not take its last answer keeps its connection for a minute, not for ever."""

    async def scenario(clock: Clock) -> None:
        stage = Stage(clock)
        await stage.ask(b"GET /x HTTP/1.0\r\n\r\n")
        await stage.answer(whole())
        assert stage.transport.state == "closing"
        assert stage.connection.deadline == clock.now() + BODY_IDLE_SECONDS
        stage.connection.expire()
        assert stage.transport.state == "aborted"

    virtual.run(scenario)


def test_garbage_behind_a_broken_body_is_dropped() -> None:
    """While the call that had a malformed body is ended, what else comes is neither read nor kept."""

    async def scenario(clock: Clock) -> None:
        stage = Stage(clock)
        await stage.ask(b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        await stage.ask(b"zz\r\n")
        for _ in range(10):
            await stage.ask(GET * 1000)
        assert (stage.connection._buffer, stage.transport.reading) == (b"", True)
        assert len(stage.door.exchanges) == 1
        await stage.answer(whole())
        assert stage.transport.state == "eof", "it lingers: the agent is still sending"
        stage.connection.connection_lost(None)

    virtual.run(scenario)


def test_a_refusal_within_the_chain_leaves_the_connection_usable() -> None:
    """An error of a policy is an answer like any other."""

    async def scenario(clock: Clock) -> None:
        stage = Stage(clock)
        await stage.ask()
        stage.door.answers[0].set_exception(PoolExhausted(retry_after=1.0))
        await virtual.turn()
        assert stage.transport.written.startswith(b"HTTP/1.1 503 ")
        await stage.ask()
        assert len(stage.door.exchanges) == 2
        stage.connection.connection_lost(None)

    virtual.run(scenario)


def test_a_broken_stream_closes_as_its_framing_allows() -> None:
    """Where the framing shows the break the connection is closed, else it is reset."""

    async def scenario(clock: Clock) -> None:
        stage = Stage(clock)
        await stage.ask()
        await stage.answer(stage.streaming())
        stage.body.feed(b"abc")
        stage.body.fail(Ending.BROKEN)
        assert (stage.transport.state, stage.connection.state) == ("closing", "closed")
        assert stage.transport.written.endswith(b"chunked\r\n\r\n3\r\nabc\r\n")

    virtual.run(scenario)


def test_repr() -> None:
    """A connection shows its state and the method it serves."""

    async def scenario(clock: Clock) -> None:
        stage = Stage(clock)
        await stage.ask()
        assert repr(stage.connection) == "<AgentConnection busy GET>"
        stage.connection.connection_lost(None)

    virtual.run(scenario)
