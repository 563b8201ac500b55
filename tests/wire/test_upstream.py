"""Tests of one upstream connection, driven by hand: what it does in which order, and that nothing ends twice."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.clock import Clock
from proxy.errors import AgentGone, CallError, ConnectionReset, ProtocolError, RequestTimeout, Timeout
from proxy.model import Attempt, Ending, Exchange, Headers, Request, Response
from proxy.wire import framing
from proxy.wire.body import Body
from proxy.wire.outgoing import encode_request_head
from proxy.wire.upstream import UpstreamConnection
from tests.support import virtual
from tests.support.transports import FakeTransport
from tests.support.virtual import VirtualLoop, clock_of

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"


@dataclass
class Home:
    """The pool, reduced to what a connection tells it."""

    clock: Clock
    header_limit: int = 1000
    scratch: memoryview = field(default_factory=lambda: memoryview(bytearray(1000)))
    told: list[str] = field(default_factory=list)

    def release(self, connection: UpstreamConnection) -> None:
        self.told.append("released")

    def forget(self, connection: UpstreamConnection) -> None:
        self.told.append("forgotten")


class Sender:
    """The source of a request body."""

    def __init__(self) -> None:
        self.reading = True

    def pause_body(self) -> None:
        self.reading = False

    def resume_body(self) -> None:
        self.reading = True

    def abandon_body(self) -> None:
        pass


class Stage:
    """A connection with an attempt that has begun on it."""

    def __init__(self, *, streamed: bool = False, chunked: bool = False, upgrade: bool = False) -> None:
        loop = VirtualLoop()
        loop.close()
        self.home = Home(clock_of(loop))
        self.transport = FakeTransport()
        self.connection = UpstreamConnection(self.home)
        self.connection.connection_made(self.transport)
        self.request = Request(b"POST" if streamed else b"GET", b"/x", Headers())
        self.request.upgrade = upgrade
        self.sender = Sender()
        self.body = Body(self.sender, None if chunked else 6, self.home.clock)
        if streamed:
            self.request.stream = self.body
        self.start()

    def start(self) -> None:
        self.attempt = Attempt(Exchange(self.request, "api", "default", 0.0), 1)
        self.future = self.connection.start(self.attempt, b"HEAD ")

    def response(self) -> Response:
        assert self.future.done()
        return self.future.result()

    def error(self) -> BaseException | None:
        assert self.future.done()
        return self.future.exception()


class Recorder:
    def __init__(self) -> None:
        self.data = b""
        self.end: str | Ending = "none"

    def write(self, data: bytes) -> None:
        self.data += data

    def finish(self, trailers: Headers | None) -> None:
        self.end = Ending.COMPLETE

    def fail(self, ending: Ending) -> None:
        self.end = ending


def test_an_answer_that_comes_whole() -> None:
    """It is no stream, and its connection is given back before anybody hears of it."""
    stage = Stage()
    stage.connection.data_received(OK)
    assert (stage.response().body, stage.response().stream) == (b"ok", None)
    assert stage.home.told == ["released"]
    assert stage.connection.uses == 1
    assert repr(stage.connection) == "<UpstreamConnection idle uses=1>"


@given(st.lists(st.integers(1, 12), max_size=20), st.booleans())
def test_an_answer_in_any_pieces(sizes: list[int], chunked: bool) -> None:
    """The same answer comes of the same bytes, however they are cut; the connection is given back once."""
    raw = HEAD + b"abcd"
    if chunked:
        raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n"
    stage, sink = Stage(), Recorder()
    attached = False
    while raw:
        size = sizes.pop() if sizes else len(raw)
        stage.connection.data_received(raw[:size])
        raw = raw[size:]
        if stage.future.done() and stage.response().stream is not None and not attached:
            attached = True
            stage.response().stream.attach(sink)  # type: ignore[union-attr]
    assert (sink.data if attached else stage.response().body) == b"abcd"
    assert stage.response().ending is Ending.COMPLETE
    assert stage.home.told == ["released"]


def test_buffered_reads() -> None:
    """The transport reads into the buffer that all connections share; the bytes are taken out at once."""
    stage = Stage()
    assert stage.connection.is_buffered_protocol()
    buffer = stage.connection.get_buffer(-1)
    buffer[: len(OK)] = OK
    stage.connection.buffer_updated(len(OK))
    buffer[: len(OK)] = bytes(len(OK))
    assert stage.response().body == b"ok"


def test_bytes_on_an_idle_connection() -> None:
    """Nobody asked for them: the connection closes and is forgotten, once."""
    stage = Stage()
    stage.connection.data_received(OK)
    stage.connection.data_received(b"HTTP/1.1 200 OK\r\n\r\n")
    stage.connection.connection_lost(None)
    assert stage.home.told == ["released", "forgotten"]
    assert stage.connection.closed


def test_the_end_of_an_idle_connection() -> None:
    """It is known at the end of the stream, before the transport has closed."""
    stage = Stage()
    stage.connection.data_received(OK)
    assert stage.connection.eof_received() is False
    assert stage.connection.closed
    assert stage.home.told == ["released", "forgotten"]


@pytest.mark.parametrize("error", [None, ConnectionResetError("reset by peer")])
def test_a_connection_that_ends_before_its_answer(error: Exception | None) -> None:
    """The call gets a ConnectionReset, which says why if that is known."""
    stage = Stage()
    stage.connection.data_received(b"HTTP/1.1 2")
    stage.connection.eof_received()
    stage.connection.connection_lost(error)
    assert isinstance(stage.error(), ConnectionReset)
    assert ("reset by peer" in str(stage.error())) is (error is not None)
    assert stage.home.told == ["forgotten"]
    assert stage.connection.received


def test_a_malformed_answer() -> None:
    """It aborts the connection; the call gets a ProtocolError."""
    stage = Stage()
    stage.connection.data_received(b"SSH-2.0\r\n\r\n")
    assert isinstance(stage.error(), ProtocolError)
    assert (stage.transport.state, stage.home.told) == ("aborted", ["forgotten"])


def test_an_answer_after_the_call_left() -> None:
    """A call that was cancelled takes its connection along; what still comes is ignored."""
    stage = Stage()
    stage.future.cancel()
    stage.connection.leave(stage.attempt)
    stage.connection.data_received(OK)
    stage.connection.connection_lost(None)
    assert stage.home.told == ["forgotten"]


def test_an_answer_to_a_cancelled_future() -> None:
    """An answer that meets a future that was cancelled in the same moment is dropped, without an error."""
    stage = Stage()
    stage.future.cancel()
    stage.connection.data_received(OK)
    assert stage.home.told == ["released"]
    stage.start()
    stage.future.cancel()
    stage.connection.data_received(b"nonsense\r\n\r\n")
    assert stage.home.told == ["released", "forgotten"]


def test_leaving_a_connection_that_serves_another() -> None:
    """A call that is over does not close what is no longer its own."""
    stage = Stage()
    first = stage.attempt
    stage.connection.data_received(OK)
    stage.start()
    stage.connection.leave(first)
    assert not stage.connection.closed
    stage.connection.leave(stage.attempt)
    assert stage.connection.closed


def test_an_abandoned_stream() -> None:
    """Its connection closes; bytes that still come go nowhere."""
    stage = Stage()
    stage.connection.data_received(HEAD + b"ab")
    response, sink = stage.response(), Recorder()
    response.stream.attach(sink)  # type: ignore[union-attr]
    response.discard()
    stage.connection.data_received(b"cd")
    stage.connection.connection_lost(None)
    assert (response.ending, stage.home.told) == (Ending.ABANDONED, ["forgotten"])


def test_a_stream_that_is_cut() -> None:
    """It is broken, however politely the connection ended."""
    stage = Stage()
    stage.connection.data_received(HEAD + b"ab")
    response, sink = stage.response(), Recorder()
    response.stream.attach(sink)  # type: ignore[union-attr]
    stage.connection.eof_received()
    stage.connection.connection_lost(None)
    assert (sink.data, sink.end, response.ending) == (b"ab", Ending.BROKEN, Ending.BROKEN)


def test_back_pressure_on_the_answer() -> None:
    """A sink that is full stops the transport; the end of the answer lets it read on, for the next one."""
    stage = Stage()
    stage.connection.data_received(HEAD + b"ab")
    stream = stage.response().stream
    assert stream is not None
    stream.attach(Recorder())
    stream.pause()
    assert not stage.transport.reading
    stage.connection.data_received(b"cd")
    assert stage.transport.reading
    assert stage.home.told == ["released"]


# --- request bodies --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunked", "sent"), [(False, b"HEAD abcdef"), (True, b"HEAD 3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n")]
)
def test_a_body_that_streams(chunked: bool, sent: bytes) -> None:
    """What has come and all that comes is written, framed as it was announced."""
    stage = Stage(streamed=True, chunked=chunked)
    stage.body.feed(b"abc")
    stage.body.feed(b"def")
    stage.body.finish(None)
    assert stage.transport.written == sent
    stage.connection.data_received(OK)
    assert stage.home.told == ["released"]


def test_back_pressure_on_the_request() -> None:
    """An upstream that does not take bytes stops the agent; after the body it stops nobody."""
    stage = Stage(streamed=True)
    stage.body.feed(b"abc")
    stage.connection.pause_writing()
    assert not stage.sender.reading
    stage.connection.resume_writing()
    assert stage.sender.reading
    stage.body.feed(b"def")
    stage.body.finish(None)
    stage.connection.pause_writing()
    assert stage.sender.reading


def test_a_connection_that_is_clogged_is_not_used_again() -> None:
    """An upstream that answered without taking the request still has to take it: nothing may queue behind."""
    stage = Stage()
    stage.connection.pause_writing()
    stage.connection.data_received(OK)
    assert stage.response().body == b"ok"
    assert stage.home.told == ["forgotten"]


def test_an_answer_ahead_of_the_body() -> None:
    """The rest of the body is not sent, and the connection not used again."""
    stage = Stage(streamed=True)
    stage.body.feed(b"abc")
    stage.connection.data_received(OK)
    stage.body.feed(b"def")
    assert stage.transport.written == b"HEAD abc"
    assert stage.home.told == ["forgotten"]


@pytest.mark.parametrize(
    ("ending", "error", "expected"),
    [
        (Ending.ABANDONED, AgentGone(), AgentGone),
        (Ending.STALLED, None, RequestTimeout),
        (Ending.ABANDONED, None, Timeout),
    ],
)
def test_a_body_that_breaks_off(ending: Ending, error: CallError | None, expected: type[CallError]) -> None:
    """Each end has its own blame: the agent's leaving, its silence, the upstream's deafness."""
    stage = Stage(streamed=True)
    stage.body.feed(b"abc")
    stage.body.fail(ending, error)
    assert type(stage.error()) is expected
    assert stage.home.told == ["forgotten"]


def test_a_body_that_had_broken_off() -> None:
    """A body that failed before it was sent fails the call."""
    stage = Stage()
    stage.connection.data_received(OK)
    stage.request.stream = stage.body
    stage.body.fail(Ending.STALLED)
    stage.start()
    assert isinstance(stage.error(), RequestTimeout)


def test_an_upstream_that_takes_nothing_is_cut_off() -> None:
    """A connection that cannot be closed for what it holds is aborted after a moment."""

    async def scenario(clock: Clock) -> None:
        home, transport = Home(clock), FakeTransport()
        connection = UpstreamConnection(home)
        connection.connection_made(transport)
        transport.stuck = True
        attempt = Attempt(Exchange(Request(b"GET", b"/x", Headers()), "api", "default", 0.0), 1)
        connection.start(attempt, b"HEAD ").cancel()
        connection.leave(attempt)
        assert transport.state == "closing"
        await clock.sleep(5.0)
        assert transport.state == "aborted"

    virtual.run(scenario)


# --- tunnels ---------------------------------------------------------------------------------------------

SWITCH = b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\n"


def test_a_tunnel() -> None:
    """After the 101 both directions are opaque, and the connection is nobody else's."""
    stage = Stage(upgrade=True)
    stage.connection.data_received(SWITCH + b"early")
    response, sink = stage.response(), Recorder()
    assert b"content-length" not in response.headers
    assert response.tunnel is stage.connection
    response.stream.attach(sink)  # type: ignore[union-attr]
    pressure: list[str] = []
    stage.connection.on_pressure(lambda: pressure.append("pause"), lambda: pressure.append("resume"))
    stage.connection.pause_writing()
    stage.connection.resume_writing()
    stage.connection.write(b"bytes")
    stage.connection.data_received(OK)
    stage.connection.eof_received()
    stage.connection.connection_lost(None)
    stage.connection.write(b"late")
    assert stage.transport.written == b"HEAD bytes"
    assert (sink.data, sink.end, pressure) == (b"early" + OK, Ending.COMPLETE, ["pause", "resume"])
    assert stage.home.told == ["forgotten"]


# --- heads -----------------------------------------------------------------------------------------------


def encoded(request: Request) -> bytes:
    return encode_request_head(request, b"vendor", b"me")


def test_the_head_that_is_sent() -> None:
    """Our Host and Via, the agent's fields between them, and the framing that fits the body."""
    request = Request(b"POST", b"/x", Headers.of((b"X-a", b"1")), body=b"abc")
    request.length = framing.CHUNKED
    assert encoded(request) == b"POST /x HTTP/1.1\r\nHost: vendor\r\nX-a: 1\r\nContent-Length: 3\r\nVia: 1.1 me\r\n\r\n"
    request = Request(b"GET", b"/x", Headers.of((b"Content-Length", b"3")), http10=True, body=b"abc")
    assert encoded(request) == b"GET /x HTTP/1.1\r\nHost: vendor\r\nContent-Length: 3\r\nVia: 1.0 me\r\n\r\n"
    request = Request(b"GET", b"/x", Headers())
    request.trailers_wanted = True
    assert b"Connection: TE\r\nTE: trailers\r\n" in encoded(request)


async def test_futures_belong_to_the_loop() -> None:
    """An answer wakes the task that waits for it."""
    loop = asyncio.get_running_loop()
    connection = UpstreamConnection(Home(Clock(loop)))
    connection.connection_made(FakeTransport())
    attempt = Attempt(Exchange(Request(b"GET", b"/x", Headers()), "api", "default", 0.0), 1)
    future = connection.start(attempt, b"")
    loop.call_soon(connection.data_received, OK)
    assert (await future).body == b"ok"
