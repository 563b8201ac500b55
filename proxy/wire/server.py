"""One connection of an agent: reads requests, runs each through its chain, writes the answers in order.

    reading a head --> running the chain --> writing the answer --> reading a head ...
                                |                    |
                            a 101: tunnel        close, after lingering if the agent may still be sending

The body of a request is fed to whoever is attached to it (the upstream connection) while the chain runs.
Pipelined requests wait, as bytes, in a bounded buffer. An agent that goes away cancels what runs for it, unless that
must happen once and has been sent: then it runs to its end, for whoever asks again.
"""

from __future__ import annotations

import logging
import re
import socket
import struct
from math import inf
from typing import TYPE_CHECKING, Final, Protocol, cast

from proxy.errors import (
    AgentGone,
    BadRequest,
    BodyTooLarge,
    CallError,
    HeadersTooLarge,
    Internal,
    Overloaded,
    RequestTimeout,
    TargetTooLong,
)
from proxy.model import Ending, Exchange, Headers, Proceed, Request, Response
from proxy.wire.answer import Framing, encode_answer_head, encode_whole_body
from proxy.wire.body import HIGH_WATER, Body
from proxy.wire.framing import encode_chunk, encode_last_chunk
from proxy.wire.head import SECTION_END, Malformed
from proxy.wire.incoming import read_request
from proxy.wire.intake import Intake
from proxy.wire.reading import resume
from proxy.wire.rescue import rescue

if TYPE_CHECKING:
    import asyncio

    from proxy.clock import Clock
    from proxy.model import Chain, Tunnel

_log = logging.getLogger("backstay.wire")

HEAD_SECONDS: Final = 10.0  # from the first byte of a head to its last
HANDSHAKE_SECONDS: Final = 10.0  # of TLS, where that is ended here
IDLE_SECONDS: Final = 900.0  # between requests
BODY_IDLE_SECONDS: Final = 60.0  # between two pieces of a request body
LINGER_SECONDS: Final = 2.0  # for the agent to read a last answer before the connection is reset
_DISCARD_BYTES: Final = 64 * 1024  # of an unread request body, that are read to keep the connection
_TLS_HANDSHAKE: Final = 0x16
_EMPTY_LINES: Final = re.compile(rb"(?:\r\n)*")
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER without time to linger


class Door(Protocol):
    """What all connections share (listener.py)."""

    clock: Clock
    header_limit: int
    pseudonym: bytes  # of this instance, in Via
    scratch: memoryview

    @property
    def body_limit(self) -> int | None:
        """Bytes that a request body may have; None for any number."""

    @property
    def draining(self) -> bool:
        """Whether every connection is to end after its present answer."""

    def enter(self, connection: AgentConnection, /) -> bool:
        """A connection was made; False if it is one too many."""

    def leave(self, connection: AgentConnection, /) -> None:
        """A connection was lost."""

    def route(self, request: Request, /) -> Chain:
        """Find who serves a request, and set its path, query and upstream target. Raises CallError."""

    def connect(self, connection: AgentConnection, request: Request, early: bytes, /) -> None:
        """Take the connection over for a CONNECT, with what came behind it. Raises CallError, and leaves it alone."""

    def rejected(self, error: CallError, method: bytes, /) -> None:
        """A request was refused before it had a route."""


class AgentConnection:
    """See the module. An asyncio.BufferedProtocol by its methods: a compiled class has no interpreted base."""

    __slots__ = (
        "_buffer", "_clock", "_close", "_door", "_exchange", "_expects", "_framing", "_head", "_http10", "_intake",
        "_method", "_response", "_scratch", "_task", "_torn", "_tunnel", "_writing_paused", "deadline", "state",
        "transport",
    )  # fmt: skip

    def __init__(self, door: Door) -> None:
        self._door = door
        self._clock = door.clock
        self._scratch = door.scratch
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)  # until connection_made
        self.state = "idle"  # idle | busy | discarding | tunnel | lingering | closed
        self.deadline = inf  # monotonic seconds; past it the listener calls expire()
        self._buffer = b""  # a partial head, or pipelined requests
        self._task: asyncio.Task[None] | None = None
        # of the present exchange:
        self._exchange: Exchange | None = None  # while its chain runs
        self._method = b""
        self._http10 = False
        self._expects = False  # 100-continue
        self._close = False  # after this answer
        self._torn = False  # what else comes will not be read: it cannot be told where it ends
        self._intake: Intake | None = None  # of the request body, until all of it has come
        self._response: Response | None = None  # while it is being relayed
        self._head = b""  # of the answer, until the first byte of its body
        self._framing = Framing.ANNOUNCED  # of the answer
        self._tunnel: Tunnel | None = None
        self._writing_paused = False

    # --- the transport's calls --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self.transport = cast("asyncio.Transport", transport)
        self.deadline = self._clock.now() + HEAD_SECONDS
        if not self._door.enter(self):
            self.refuse(Overloaded(retry_after=1.0))

    def is_buffered_protocol(self) -> bool:
        """See aiofastnet: reads go into ``get_buffer``."""
        return True

    def get_buffer(self, sizehint: int) -> memoryview:
        """See asyncio.BufferedProtocol: one buffer serves all connections, since it is emptied before the next read."""
        del sizehint
        return self._scratch

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio.BufferedProtocol."""
        self.data_received(bytes(self._scratch[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Bytes of the agent's have come."""
        if self.state == "idle":
            self._read_head(self._buffer + data if self._buffer else data)
        elif self.state == "busy":
            if self._intake is not None:
                self._read_body(self._intake, data)
            elif not self._torn:
                self._queue(data)
        elif self.state == "discarding" and self._intake is not None:
            self._discard(self._intake, data)
        elif self._tunnel is not None:
            self._tunnel.write(data)

    def eof_received(self) -> bool:
        """See asyncio.Protocol. An agent that closes its side is gone: it cannot be told from one that left."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        del exc
        self.state = "closed"
        self._door.leave(self)
        if self._task is not None and not (self._exchange is not None and self._exchange.persistent):
            self._task.cancel()
        if self._intake is not None and self._intake.body is not None:
            self._intake.body.fail(Ending.ABANDONED, AgentGone())
        if self._response is not None:
            self._response.discard()
        self._forget()

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self._writing_paused = True
        if self._response is not None and self._response.stream is not None:
            self._response.stream.pause()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._writing_paused = False
        if self._response is not None and self._response.stream is not None:
            self._response.stream.resume()
        elif self.state == "idle":
            self._next()

    # --- the request ------------------------------------------------------------------------------------

    def _queue(self, data: bytes) -> None:
        """Pipelined requests wait for their turn, as bytes."""
        self._buffer += data
        if len(self._buffer) > HIGH_WATER:
            self.transport.pause_reading()

    def _read_head(self, data: bytes) -> None:
        if data.startswith(b"\r\n"):
            data = _EMPTY_LINES.sub(b"", data, 1)  # before a request line they are to be ignored (RFC 9112, 2.2)
        end = data.find(SECTION_END)
        if end < 0 or end > self._door.header_limit:
            self._partial_head(data)
            return
        self._buffer = b""
        try:
            self._take(data, end)
        except Malformed as malformed:  # not the next one's name: mypyc gives a name one type
            self.refuse(BadRequest(f"The request is malformed: {malformed}."))
        except CallError as error:
            self.refuse(error)

    def _partial_head(self, data: bytes) -> None:
        line_end = data.find(b"\r\n", 0, self._door.header_limit)
        if len(data) > self._door.header_limit:
            self.refuse(TargetTooLong() if line_end < 0 else HeadersTooLarge())
        elif data and data[0] == _TLS_HANDSHAKE:
            self.refuse(BadRequest("These bytes are not HTTP. Speak http:// here, and https:// through a CONNECT."))
        elif data.count(b"\n") != data.count(b"\r\n"):  # a head may come byte by byte: a regex would cost tenfold
            self.refuse(BadRequest("The request is malformed: a line does not end in CRLF."))  # nor may its end come
        else:
            if data and not self._buffer:
                self.deadline = self._clock.now() + HEAD_SECONDS
            self._buffer = data

    def _take(self, data: bytes, end: int) -> None:
        """A complete head is here. Raises Malformed, CallError."""
        door = self._door
        started = self._clock.now()
        request = read_request(data, end, door.pseudonym)
        self._method, self._http10 = request.method, request.http10
        if request.forward == b"connect":
            self._hand_over(request, data[end + 4 :])
            return
        self.state, self.deadline = "busy", inf
        self._close = not request.keep_alive
        self._expects = request.expects_continue
        if request.length or len(data) > end + 4:
            self._begin_body(request, data[end + 4 :])
        try:
            route = door.route(request)
        except CallError as error:
            door.rejected(error, request.method)
            self._close |= error.closes
            self._respond(rescue(error))
            return
        exchange = Exchange(request, route.api, route.route, started)
        exchange.inform = self._inform
        self._exchange = exchange
        work = self._serve(exchange, route.proceed)
        self._task = self._clock.begin(work) if route.instant else self._clock.start(work)

    def _hand_over(self, request: Request, early: bytes) -> None:
        """From here on the connection is another protocol's. Raises Malformed, CallError."""
        if request.length:
            raise Malformed("a CONNECT has no body")
        self._door.connect(self, request, early)
        self.state, self.deadline = "closed", inf
        self._forget()

    def _begin_body(self, request: Request, rest: bytes) -> None:
        limit = self._door.body_limit
        if limit is not None and request.length > limit:
            raise BodyTooLarge
        if request.length == len(rest):  # all of it came with the head, as most bodies do
            request.body = rest
            return
        intake = Intake(request.length, self._door.header_limit, limit)
        payload, rest = intake.cut(rest)
        if intake.complete and intake.trailers is None:
            request.body, self._buffer = payload, rest
            return
        intake.body = request.stream = Body(self, request.length if request.length >= 0 else None, self._clock)
        intake.body.limit(idle=BODY_IDLE_SECONDS, whole=None)
        self._intake = intake
        self._feed(intake, payload, rest)

    def _read_body(self, intake: Intake, data: bytes) -> None:
        try:
            payload, rest = intake.cut(data)
        except Malformed as malformed:
            self._break_body(intake, BadRequest(f"The request body is malformed: {malformed}."))
        except BodyTooLarge as too_large:
            self._break_body(intake, too_large)
        else:
            self._feed(intake, payload, rest)

    def _break_body(self, intake: Intake, error: CallError) -> None:
        """No more of this body may be read; whoever sends it on ends the exchange with ``error``."""
        self._tear()
        if intake.body is not None:
            intake.body.fail(Ending.BROKEN, error)

    def _feed(self, intake: Intake, payload: bytes, rest: bytes) -> None:
        if intake.complete:
            self._intake, self._buffer = None, rest
        intake.pass_on(payload)

    # --- the exchange -----------------------------------------------------------------------------------

    async def _serve(self, exchange: Exchange, proceed: Proceed) -> None:
        try:
            response = await proceed(exchange)
        except CallError as error:
            response = rescue(error, exchange)
        except Exception:  # noqa: BLE001 -- a defect must cost one call, not the connection
            _log.exception("a call to %s failed inside Backstay", exchange.api)
            response = rescue(Internal(), exchange)
        self._task = self._exchange = None
        if self.state == "closed":
            response.discard()
        else:
            self._respond(response)

    def _inform(self, status: int, headers: Headers) -> None:
        """Pass a 1xx answer on; HTTP/1.0 knows none (RFC 9110, 15.2)."""
        if not self._http10 and self.state == "busy" and self._response is None:
            fields = b"".join([b"%b: %b\r\n" % field for field in headers])
            self.transport.write(b"HTTP/1.1 %d \r\n%b\r\n" % (status, fields))
            if status == 100:
                self._expects = False

    def refuse(self, error: CallError, method: bytes = b"") -> None:
        """Answer a request that was not understood: nothing behind it on this connection can be trusted."""
        self.state, self._method = "busy", method or self._method
        self._tear()
        self._door.rejected(error, self._method)
        self._respond(rescue(error))

    def _tear(self) -> None:
        """Read no more requests, nor the rest of this one."""
        self._close = self._torn = True
        self._intake = None

    # --- the answer -------------------------------------------------------------------------------------

    def _respond(self, response: Response) -> None:
        if self._door.draining or (self._expects and self._intake is not None):
            self._close = True
        stream = response.stream
        head, self._framing = encode_answer_head(response, self._method, http10=self._http10, close=self._close)
        self._close |= self._framing is Framing.UNTIL_CLOSE
        if response.tunnel is not None:
            self._open_tunnel(response, head)
        elif stream is None:
            self.transport.write(head if self._method == b"HEAD" else head + encode_whole_body(response, self._framing))
            self._done()
        else:
            self._response = response
            self._head = head
            stream.attach(self)
            if self._writing_paused:
                stream.pause()
            if self._head:
                self._flush_head()

    def _flush_head(self) -> None:
        head, self._head = self._head, b""
        self.transport.write(head)

    def write(self, data: bytes) -> None:
        """See model.Sink: a piece of the answer."""
        if self._framing is Framing.CHUNKED:
            data = encode_chunk(data)
        if self._head:
            data, self._head = self._head + data, b""
        self.transport.write(data)

    def finish(self, trailers: Headers | None) -> None:
        """See model.Sink: the end of the answer."""
        self._response = None
        last = encode_last_chunk(trailers) if self._framing is Framing.CHUNKED else b""
        if self._head or last:
            head, self._head = self._head, b""
            self.transport.write(head + last)
        if self._tunnel is not None:
            self._hang_up()
        else:
            self._done()

    def fail(self, ending: Ending) -> None:
        """See model.Sink: the answer broke off, and must not look complete."""
        del ending
        self._response = None
        if self._framing is Framing.UNTIL_CLOSE:
            self._cut_off()
        else:
            self._hang_up()  # the framing shows it: no last chunk, or less than Content-Length

    # --- Upgrade: websocket -----------------------------------------------------------------------------

    def _open_tunnel(self, response: Response, head: bytes) -> None:
        self.state = "tunnel"
        self._response = response
        self._tunnel = tunnel = cast("Tunnel", response.tunnel)
        tunnel.on_pressure(self.pause_body, self.resume_body)
        self.transport.write(head)
        early, self._buffer = self._buffer, b""
        if early:
            tunnel.write(early)
            self.resume_body()  # there may have been too much of it
        cast("Body", response.stream).attach(self)

    # --- between exchanges ------------------------------------------------------------------------------

    def _done(self) -> None:
        """The answer is written: go on, or close."""
        if self._intake is not None:
            self._intake.forsake()
        if self._close:
            self._end(linger=self._torn or self._intake is not None or bool(self._buffer))
        elif self._intake is not None:
            self.state, self._intake.received = "discarding", 0
            self.deadline = self._clock.now() + LINGER_SECONDS
            self.resume_body()
        else:
            self._rest()

    def _rest(self) -> None:
        self.state, self.deadline, self._method = "idle", self._clock.now() + IDLE_SECONDS, b""
        if self._writing_paused:
            self.pause_body()  # the agent is to read its answers before it asks for more: see resume_writing
        elif self._buffer:
            self._clock.loop.call_soon(self._next)

    def _discard(self, intake: Intake, data: bytes) -> None:
        """Read past the rest of a body that nobody wanted, if it is short, to keep the connection."""
        try:
            _, rest = intake.cut(data)
        except (Malformed, BodyTooLarge):
            self._end(linger=True)
            return
        if intake.complete:
            self._intake, self._buffer = None, rest
            self._rest()
        elif intake.received > _DISCARD_BYTES:
            self._end(linger=True)

    def _next(self) -> None:
        """Take up what was pipelined."""
        if self.state == "idle" and not self._writing_paused:
            self.resume_body()
            if self._buffer:
                data, self._buffer = self._buffer, b""
                self._read_head(data)
                if len(self._buffer) > HIGH_WATER and self.state != "idle":
                    self.pause_body()  # enough for the moment: one request leaves, another read must not come in

    def _end(self, *, linger: bool) -> None:
        """Close; first let the agent read what was written, if it may still be sending (RFC 9112, 9.6)."""
        self._forget()
        if linger and self.transport.can_write_eof():
            self.state = "lingering"
            self.deadline = self._clock.now() + LINGER_SECONDS
            self.transport.write_eof()
            self.resume_body()
        else:
            self._hang_up()

    def _hang_up(self) -> None:
        """Close, once the agent has taken what was written for it, if it does so in time."""
        self.state = "closed"
        self.deadline = self._clock.now() + BODY_IDLE_SECONDS
        self.transport.close()

    def expire(self) -> None:
        """The deadline has passed."""
        self.deadline = inf
        if self.state == "idle" and self._buffer and not self._writing_paused:
            self.refuse(RequestTimeout())
        else:
            self._cut_off()

    @property
    def at_rest(self) -> bool:
        """No exchange is under way, no request has begun to come, and the agent has taken its last answer."""
        quiet = self.state in ("idle", "closed", "lingering") and not self._buffer
        return quiet and not self.transport.get_write_buffer_size()

    def shut(self) -> None:
        """Close: kindly at rest, at once otherwise."""
        self.transport.close() if self.at_rest else self._cut_off()

    def _cut_off(self) -> None:
        """Close at once. Where only the end of the connection ends the answer, a reset tells it from a good end."""
        if self._framing is Framing.UNTIL_CLOSE:
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()

    def _forget(self) -> None:
        self._task = self._exchange = self._intake = self._response = self._tunnel = None
        self._buffer = b""

    # --- as the source of the request's body (body.Source) ----------------------------------------------

    def pause_body(self) -> None:
        """See body.Source."""
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_body(self) -> None:
        """See body.Source."""
        if not self.transport.is_closing():
            resume(self.transport, self._clock.loop, self._cut_off)

    def abandon_body(self) -> None:
        """See body.Source: the agent sent nothing for too long."""
        self._tear()

    def __repr__(self) -> str:
        return f"<AgentConnection {self.state} {self._method.decode(errors='replace')}>"
