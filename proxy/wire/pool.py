"""The connections to one upstream: keep-alive, last in first out, bounded. Used by the last Send of a chain.

A call takes an idle connection, or opens one if there are fewer than ``max_connections``, or waits in a bounded
queue until its deadline. Names are resolved at every new connection (dial.py), so that DNS changes are followed as
fast as connections turn over. Where the way out is a proxy, calls over TLS tunnel through it, and the pool of an
upstream in the clear consists of connections to the proxy.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import aiofastnet

from proxy.core.retry import safe_to_resend
from proxy.core.timeouts import cap
from proxy.errors import ConnectFailed, ConnectionReset, ConnectTimeout, DeadlineExceeded, PoolExhausted, TlsFailed
from proxy.wire.dial import Way, credentials, dial, dial_proxy, refusal
from proxy.wire.outgoing import encode_request_head
from proxy.wire.upstream import UpstreamConnection

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.clock import Clock, Timer
    from proxy.model import Attempt, Request, Response

_TLS_BUFFER: Final = 64 * 1024  # bytes each way; aiofastnet's own 257 KiB are more than a connection may hold
_QUEUE_PER_CONNECTION: Final = 20
_DIRECT: Final = Way()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an upstream is, and how it proves itself."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    server_name: str | None = None  # of the certificate, if not host
    authority: bytes = b""  # the Host field to send
    identity: str = ""  # names what tls was made from: two endpoints with the same one are the same
    way: Way = _DIRECT


class Pool:
    """See the module. ``max_connections`` and ``idle_seconds`` may be changed at any time (reload)."""

    def __init__(
        self,
        clock: Clock,
        endpoint: Endpoint,
        scratch: memoryview,
        *,
        max_connections: int,
        idle_seconds: float,
        header_limit: int,
    ) -> None:
        self.clock = clock
        self.endpoint = endpoint
        self.scratch = scratch
        self.max_connections = max_connections
        self.idle_seconds = idle_seconds
        self.header_limit = header_limit
        self._idle: list[UpstreamConnection] = []  # the last is the one most recently used
        self._open = 0  # idle, busy, and being opened
        self._waiters: deque[asyncio.Future[UpstreamConnection | None]] = deque()
        self._reaper: Timer | None = None
        self._closed = False

    # --- taking -----------------------------------------------------------------------------------------

    def take(self) -> UpstreamConnection | None:
        """An idle connection, at once."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                return connection
        return None

    async def acquire(self, attempt: Attempt) -> UpstreamConnection:
        """A connection, within the attempt's limits.

        Raises:
            ConnectFailed, TlsFailed, ConnectTimeout, DeadlineExceeded, ConnectionReset: none can be opened.
            PoolExhausted: too many calls wait already.
        """
        while True:
            connection = self.take()
            if connection is not None:
                return connection
            if self._open < self.max_connections:
                return await self.open(attempt)
            connection = await self._wait(attempt)
            if connection is not None and not connection.closed:
                return connection

    async def _wait(self, attempt: Attempt) -> UpstreamConnection | None:
        if len(self._waiters) >= self.max_connections * _QUEUE_PER_CONNECTION:
            raise PoolExhausted(retry_after=1.0)
        waiter: asyncio.Future[UpstreamConnection | None] = self.clock.loop.create_future()
        self._waiters.append(waiter)
        attempt.waiter = waiter
        began = self.clock.now()
        try:
            return await waiter
        except BaseException:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                connection = waiter.result()  # it was handed over in the same moment
                if connection is not None:
                    self.release(connection)
                else:
                    self._wake()
            raise
        finally:
            attempt.waiter = None
            attempt.exchange.waited += self.clock.now() - began

    async def open(self, attempt: Attempt) -> UpstreamConnection:
        """A new connection. Raises as acquire does."""
        self._open += 1
        began = self.clock.now()
        limit = cap(attempt.connect_limit, attempt.exchange.deadline - began)
        late = self._said(f"did not accept a connection in {limit.seconds:.3g} s")
        try:
            error = DeadlineExceeded(late) if limit.by_total else ConnectTimeout(late)
            return self._still_open(await self.clock.wait(self._connect(), limit.seconds, error))
        except BaseException:
            self._open -= 1
            self._wake()
            raise
        finally:
            attempt.exchange.waited += self.clock.now() - began

    async def _connect(self) -> UpstreamConnection:
        at = self.endpoint
        connection = UpstreamConnection(self)
        try:
            sock = await self._dial()
            try:
                await aiofastnet.create_connection(
                    self.clock.loop,
                    lambda: connection,  # type: ignore[type-var]  # a protocol by its methods
                    sock=sock,
                    ssl=at.tls,
                    server_hostname=(at.server_name or at.host) if at.tls else None,
                    ssl_incoming_bio_size=_TLS_BUFFER if at.tls else None,
                    ssl_outgoing_bio_size=_TLS_BUFFER if at.tls else None,
                )
            except BaseException:
                if connection.transport is not None:
                    connection.transport.abort()  # before its socket: another may get its number at once
                sock.close()
                raise
        except OSError as error:
            raise self._failure(error) from None
        return connection

    async def _dial(self) -> socket.socket:
        at = self.endpoint
        if at.way.proxy is not None and at.tls is None:
            return await dial_proxy(self.clock, at.host, at.port, at.way.proxy, at.way.choose)
        sock, early = await dial(self.clock, at.host, at.port, at.way)
        if early:
            sock.close()
            raise ConnectFailed(self._said("spoke before it was spoken to, as nothing that speaks TLS does"))
        return sock

    def _still_open(self, connection: UpstreamConnection) -> UpstreamConnection:
        """Whoever began a call on a closed connection would never hear of it."""
        if connection.closed:
            raise ConnectionReset(self._said("closed a connection as soon as it was open"))
        return connection

    def _failure(self, error: OSError) -> ConnectFailed:
        match error:
            case ssl.SSLCertVerificationError():
                return TlsFailed(self._said(f"shows a certificate that is not acceptable: {error.verify_message}"))
            case ssl.SSLError():
                return TlsFailed(self._said(f"failed the TLS handshake: {error.reason or error}"))
            case socket.gaierror():
                return ConnectFailed(self._said(f"has no address: {error.strerror}"))
            case _:
                return ConnectFailed(self._said(f"cannot be reached: {error.strerror or error}"))

    def _said(self, what: str) -> str:
        return f"The upstream {self.endpoint.host}:{self.endpoint.port} {what}."

    # --- giving back (upstream.Home) --------------------------------------------------------------------

    def release(self, connection: UpstreamConnection) -> None:
        """See upstream.Home."""
        if self._closed or self._open > self.max_connections:
            connection.abort()
            return
        waiters = self._waiters
        while waiters:
            waiter = waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        connection.idle_since = self.clock.now()
        self._idle.append(connection)
        if self._reaper is None:
            self._reaper = self.clock.about(connection.idle_since + self.idle_seconds, self._reap)

    def forget(self, connection: UpstreamConnection) -> None:
        """See upstream.Home."""
        self._open -= 1
        if connection in self._idle:
            self._idle.remove(connection)
        self._wake()

    def _wake(self) -> None:
        """There may be room for a waiter to open a connection."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _reap(self) -> None:
        self._reaper = None
        limit = self.clock.now() - self.idle_seconds
        for connection in [each for each in self._idle if each.idle_since <= limit]:
            connection.abort()
        if self._idle:
            self._reaper = self.clock.about(self._idle[0].idle_since + self.idle_seconds, self._reap)

    def close(self) -> None:
        """Close idle connections, now; busy ones when they are given back."""
        self._closed = True
        if self._reaper is not None:
            self._reaper.cancel()
        for connection in list(self._idle):
            connection.abort()

    def counts(self) -> dict[str, int]:
        """Connections by state, and calls that wait for one."""
        idle = len(self._idle)
        return {"idle": idle, "busy": self._open - idle, "waiting": len(self._waiters)}

    def __repr__(self) -> str:
        return f"<Pool {self.endpoint.host}:{self.endpoint.port} {self.counts()}>"


class Upstream:
    """The last Send of a chain: one attempt on one connection of a pool."""

    __slots__ = ("_declared_safe", "_dress", "_hop", "_origin", "_pool", "_proxy", "_via")

    def __init__(
        self, pool: Pool, via: bytes, *, declared_safe: bool, dress: Callable[[Request], Request] | None = None
    ) -> None:
        self._pool = pool
        self._via = via
        self._declared_safe = declared_safe
        self._dress = dress  # makes of the agent's request what is sent
        self._proxy = pool.endpoint.way.proxy if pool.endpoint.tls is None else None
        self._origin = self._hop = b""
        if self._proxy is not None:
            self._origin, self._hop = b"http://" + pool.endpoint.authority, credentials(self._proxy)

    async def __call__(self, attempt: Attempt) -> Response:
        """Send and await the final headers. Raises UpstreamError, PoolExhausted, EgressDenied, PlaceholderMisused."""
        pool, exchange = self._pool, attempt.exchange
        request = exchange.request if self._dress is None else self._dress(exchange.request)
        connection = pool.take() or await pool.acquire(attempt)
        head = encode_request_head(request, pool.endpoint.authority, self._via, self._origin, self._hop)
        reused, written = connection.uses > 0, exchange.written
        try:
            response = await self._on(connection, attempt, head)
        except ConnectionReset:
            # The upstream may have closed a kept connection just before it was used again (RFC 9112, 9.3.1).
            if not reused or connection.received or not self._may_resend(attempt):
                raise
            exchange.lost = True
            response = await self._on(await pool.open(attempt), attempt, head)
        if self._proxy is not None and response.status == 407:
            response.discard()
            attempt.written, exchange.written = False, written  # it went no further
            raise refusal(407, pool.endpoint.authority.decode("latin-1"), self._proxy)
        return response

    @staticmethod
    async def _on(connection: UpstreamConnection, attempt: Attempt, head: bytes) -> Response:
        attempt.waiter = future = connection.start(attempt, head)
        try:
            return await future
        except BaseException:
            connection.leave(attempt)
            raise
        finally:
            attempt.waiter = None

    def _may_resend(self, attempt: Attempt) -> bool:
        request = attempt.exchange.request
        return (request.stream is None or request.stream.replayable) and safe_to_resend(
            written=True,
            method=request.method,
            honoured_key=attempt.exchange.honoured,
            declared=self._declared_safe,
        )
