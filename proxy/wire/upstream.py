"""One connection to an upstream: writes a request, reads its answer. Owned by pool.py.

    idle --start--> waiting --final headers--> streaming --end of body--> idle (back to the pool)
                       |                          |
                       +--------------------------+--> closed (reset, malformed, timeout, cancelled)

A small answer that came in one read never becomes a stream: it is handed over whole. An answer that is
malformed is a ProtocolError, and its connection is never used again. Bytes that nobody asked for close an
idle connection: they would be taken for the answer to the next request (response-queue poisoning).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol, cast

from proxy.errors import ConnectionReset, ProtocolError, RequestTimeout, Timeout
from proxy.model import Ending, Response
from proxy.wire import framing
from proxy.wire.body import Body
from proxy.wire.head import SECTION_END, Fields, Malformed, parse_fields, parse_status_line
from proxy.wire.reading import resume

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.clock import Clock
    from proxy.errors import CallError
    from proxy.model import Attempt, Headers

_MAX_INFORMATIONAL: Final = 16
_FLUSH_SECONDS: Final = 2.0  # for an upstream to take what was written before its connection was given up
_DEAF: Final = "The upstream took nothing of the request body for too long."
_BEGINNING: Final = b"HTTP/1."
_NOTHING: Final[list[bytes]] = []


class Home(Protocol):
    """The pool, as its connections see it."""

    clock: Clock
    header_limit: int
    scratch: memoryview

    def release(self, connection: UpstreamConnection, /) -> None:
        """The connection may serve another attempt."""

    def forget(self, connection: UpstreamConnection, /) -> None:
        """The connection is closed."""


class UpstreamConnection:
    """See the module. An asyncio.BufferedProtocol by its methods: a compiled class has no interpreted base."""

    __slots__ = (
        "_attempt", "_body", "_buffer", "_clock", "_clogged", "_close_after", "_future", "_home", "_informational",
        "_pressure", "_reader", "_response", "_scratch", "_upload", "closed", "idle_since", "received", "transport",
        "uses",
    )  # fmt: skip

    def __init__(self, home: Home) -> None:
        self._home = home
        self._clock = home.clock
        self._scratch = home.scratch
        self.transport: asyncio.Transport | None = None
        self.closed = False
        self.uses = 0  # attempts that were started on it
        self.idle_since = 0.0
        self.received = False  # a byte of the present answer has come
        self._buffer = b""
        self._attempt: Attempt | None = None
        self._future: asyncio.Future[Response] | None = None
        self._reader: framing.Reader | None = None
        self._body: Body | None = None
        self._response: Response | None = None
        self._upload: Body | None = None  # the request body, while it is being sent
        self._clogged = False  # the upstream does not take what is written
        self._pressure: tuple[Callable[[], None], Callable[[], None]] | None = None  # pause and resume the sender
        self._close_after = False
        self._informational = 0

    # --- an attempt -------------------------------------------------------------------------------------

    def start(self, attempt: Attempt, head: bytes) -> asyncio.Future[Response]:
        """Send a request; the future is the answer at its final headers, or a CallError."""
        transport = cast("asyncio.Transport", self.transport)
        request = attempt.exchange.request
        self._attempt = attempt
        self._future = future = self._clock.loop.create_future()
        self.received = self._close_after = False
        self._informational = 0
        self.uses += 1
        attempt.sent(self._clock.now())
        stream = request.stream
        if stream is None:
            transport.write(head + request.body if request.body else head)
        else:
            transport.write(head)
            self._upload = body = cast("Body", stream)
            self._pressure = (body.pause, body.resume)
            body.attach(_Upload(self, body))
        return future

    def leave(self, attempt: Attempt) -> None:
        """``attempt`` is over without its answer: close, unless the connection has been given back already."""
        if self._attempt is attempt:
            self.abort()

    def abort(self, error: CallError | None = None) -> None:
        """Close at once: who waits for the answer gets ``error``, who reads its body learns that it is abandoned."""
        future, self._future = self._future, None
        if error is not None and future is not None and not future.done():
            future.set_exception(error)
        self._drop(Ending.ABANDONED)

    # --- the transport's calls --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self.transport = cast("asyncio.Transport", transport)

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
        """Bytes of the upstream's have come."""
        if self._attempt is None:
            self._drop(Ending.ABANDONED)  # nobody asked for this
            return
        self.received = True
        try:
            if self._reader is not None:
                self._read_body(data)
            else:
                self._read_head(self._buffer + data if self._buffer else data)
        except Malformed as error:
            self._fail(ProtocolError(f"The upstream's answer is not valid HTTP: {error}."))

    def eof_received(self) -> bool:
        """See asyncio.Protocol. Over TLS, only a close_notify comes here: without one, the end may be forged."""
        if self._attempt is None:
            self._drop(Ending.ABANDONED)  # now, so that no call is sent on it in the meantime
        elif self._reader is not None and self._reader.at_eof():
            self._close_after = True
            self._finish(b"")
        return False  # close: half-closed upstreams are not kept

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        if self.closed:
            return
        if self._future is not None:
            self._fail(ConnectionReset(f"The upstream closed the connection before it answered{_because(exc)}."))
        self._drop(Ending.BROKEN)

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self._clogged = True
        if self._pressure is not None:
            self._pressure[0]()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._clogged = False
        if self._pressure is not None:
            self._pressure[1]()

    # --- the answer -------------------------------------------------------------------------------------

    def _read_head(self, data: bytes) -> None:
        end = data.find(SECTION_END)
        if (end if end >= 0 else len(data)) > self._home.header_limit:
            raise Malformed("its header section is too large")
        if end < 0:
            if not data.startswith(_BEGINNING[: len(data)]):
                raise Malformed("it does not begin with HTTP/1.")  # now: the rest may never come
            self._buffer = data
            return
        self._buffer = b""
        line_end = data.find(b"\r\n", 0, end + 2)
        status, reason, http10 = parse_status_line(data[:line_end])
        fields = parse_fields(data[line_end : end + 4])
        rest = data[end + 4 :]
        if status < 200:
            self._inform(status, reason, fields, rest)
            return
        nominated = fields.tokens(b"connection") if b"connection" in fields.aside else _NOTHING
        self._close_after = b"close" in nominated or (http10 and b"keep-alive" not in nominated)
        attempt = cast("Attempt", self._attempt)
        attempt.first_byte_at = self._clock.now()
        method = attempt.exchange.request.method
        length = framing.response_length(fields.aside, status=status, method=method, http10=http10)
        response = Response(status, fields.headers(nominated), reason)
        if status == 204:
            response.headers.remove(b"content-length")  # RFC 9110, 8.6
        if length == len(rest):
            response.body = rest
            self._resolve(response)
        else:
            self._begin_body(response, length, rest)

    def _inform(self, status: int, reason: bytes, fields: Fields, rest: bytes) -> None:
        """Pass an informational answer on (RFC 9110, 15.2), and look for the next."""
        if status == 101:
            self._switch(reason, fields, rest)
            return
        self._informational += 1
        if self._informational > _MAX_INFORMATIONAL:
            raise Malformed("it sends informational answers without end")
        inform = cast("Attempt", self._attempt).exchange.inform
        if inform is not None:
            inform(status, _bodiless(fields))
        if rest:
            self._read_head(rest)

    def _begin_body(self, response: Response, length: int, rest: bytes) -> None:
        """An answer that did not come with exactly its body: perhaps all of a chunked one, perhaps its beginning."""
        reader = framing.reader_for(length, self._home.header_limit)
        payload, complete, rest = reader.feed(rest) if rest else (b"", False, b"")
        if complete:
            self._close_after |= bool(rest)  # bytes behind the answer belong to nobody
            response.body, response.trailers = payload, reader.trailers
            self._resolve(response)
        else:
            self._open(response, reader, length)
            self._stream(response, payload)

    def _open(self, response: Response, reader: framing.Reader, length: int) -> None:
        self._reader = reader
        self._response = response
        self._body = body = Body(self, length if length >= 0 else None, self._clock)
        body.on_end = response.end
        response.stream, response.ending = body, None

    def _stream(self, response: Response, payload: bytes) -> None:
        """Hand over an answer whose body still comes."""
        if payload:
            cast("Body", self._body).feed(payload)
        future, self._future = self._future, None
        if future is not None and not future.done():
            future.set_result(response)

    def _resolve(self, response: Response) -> None:
        """A complete answer: hand it over, and the connection back."""
        future, self._future = self._future, None
        self._release()
        if future is not None and not future.done():
            future.set_result(response)

    def _read_body(self, data: bytes) -> None:
        reader, body = cast("framing.Reader", self._reader), cast("Body", self._body)
        payload, complete, rest = reader.feed(data)
        if payload:
            body.feed(payload)
        if complete and self._body is body:
            self._finish(rest)

    def _finish(self, rest: bytes) -> None:
        reader, body = cast("framing.Reader", self._reader), cast("Body", self._body)
        response = self._response
        self._reader = self._body = self._response = None
        if rest:
            self._close_after = True
        self._release()
        if response is not None:
            response.trailers = reader.trailers
        body.finish(reader.trailers)

    def _release(self) -> None:
        self._attempt = None
        if self._close_after or self._upload is not None or self._clogged:
            self._drop(Ending.ABANDONED)
        else:
            self._home.release(self)

    # --- Upgrade: websocket -----------------------------------------------------------------------------

    def _switch(self, reason: bytes, fields: Fields, rest: bytes) -> None:
        """The upstream agreed to a websocket: from here on both directions are opaque bytes."""
        attempt = cast("Attempt", self._attempt)
        if not attempt.exchange.request.upgrade or fields.tokens(b"upgrade") != [b"websocket"]:
            raise Malformed("it switches protocols without being asked")
        self._close_after = True
        attempt.first_byte_at = self._clock.now()
        response = Response(101, _bodiless(fields), reason)
        response.headers.add(b"Connection", b"Upgrade")
        response.headers.add(b"Upgrade", b"websocket")
        response.tunnel = self
        self._open(response, framing.CloseReader(), framing.UNTIL_CLOSE)
        self._stream(response, rest)

    def on_pressure(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        """See model.Tunnel."""
        self._pressure = (pause, resume)

    def write(self, data: bytes) -> None:
        """Send bytes of the agent's through the tunnel."""
        if not self.closed:
            cast("asyncio.Transport", self.transport).write(data)

    # --- ends -------------------------------------------------------------------------------------------

    def _fail(self, error: CallError) -> None:
        future, self._future = self._future, None
        self._drop(Ending.BROKEN)
        if future is not None and not future.done():
            future.set_exception(error)

    def _drop(self, ending: Ending) -> None:
        """Close the connection, and end whatever still hangs on it."""
        if self.closed:
            return
        self.closed = True
        self._attempt = None
        if self.transport is not None:
            self._close(self.transport, ending)
        self._detach_upload()
        body, self._body, self._reader = self._body, None, None
        if body is not None:
            body.fail(ending)
        if self.uses:
            self._home.forget(self)

    def _close(self, transport: asyncio.Transport, ending: Ending) -> None:
        if ending is Ending.BROKEN:
            transport.abort()
            return
        transport.close()
        if transport.get_write_buffer_size():  # it waits for that to be taken, which may be never
            self._clock.about(self._clock.now() + _FLUSH_SECONDS, transport.abort)

    def _detach_upload(self) -> None:
        body = self.uploaded()
        if body is not None:
            body.detach()

    # --- as the source of the answer's body -------------------------------------------------------------

    def pause_body(self) -> None:
        """See body.Source."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_body(self) -> None:
        """See body.Source."""
        if self.transport is not None and not self.transport.is_closing():
            resume(self.transport, self._clock.loop, self._broke)

    def _broke(self) -> None:
        self._drop(Ending.BROKEN)

    def abandon_body(self) -> None:
        """See body.Source."""
        self._body = None
        self._drop(Ending.ABANDONED)

    def uploaded(self) -> Body | None:
        """The request body is no longer being written; returns it."""
        body, self._upload = self._upload, None
        if body is not None:
            self._pressure = None
        return body

    def __repr__(self) -> str:
        state = "closed" if self.closed else "idle" if self._attempt is None else "busy"
        return f"<UpstreamConnection {state} uses={self.uses}>"


class _Upload:
    """The sink that writes a request body to its upstream."""

    __slots__ = ("_body", "_chunked", "_connection")

    def __init__(self, connection: UpstreamConnection, body: Body) -> None:
        self._connection = connection
        self._body = body
        self._chunked = body.length is None

    def write(self, data: bytes) -> None:
        """See model.Sink."""
        self._connection.write(framing.encode_chunk(data) if self._chunked else data)

    def finish(self, trailers: Headers | None) -> None:
        """See model.Sink."""
        if self._chunked:
            self._connection.write(framing.encode_last_chunk(trailers))
        self._connection.uploaded()

    def fail(self, ending: Ending) -> None:
        """See model.Sink: a request that breaks off must not look complete to the upstream."""
        self._connection.abort(self._body.error or (RequestTimeout() if ending is Ending.STALLED else Timeout(_DEAF)))


def _bodiless(fields: Fields) -> Headers:
    """What is passed on of an answer that has no body and may not announce one (RFC 9110, 8.6)."""
    headers = fields.headers(fields.tokens(b"connection"))
    headers.remove(b"content-length")
    return headers


def _because(error: Exception | None) -> str:
    return f" ({error})" if error else ""
