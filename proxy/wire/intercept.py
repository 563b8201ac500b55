"""TLS ended on behalf of an api's host, under a certificate of our own authority. Called by capture.py.

The first bytes have been read already: they are put into TLS by hand. HTTP inside is served by an AgentConnection, as
everywhere. An agent that does not trust the authority says so with an alert, or by leaving as soon as it has seen
the certificate: both are counted, and told with what to do about it.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import TYPE_CHECKING, Any, Final

from aiofastnet.ssl_transport import SSLBufferedProtocol, SSLProtocol, SSLTransport_Transport

from proxy.errors import Internal, Overloaded
from proxy.wire.mint import MintBusy
from proxy.wire.server import HANDSHAKE_SECONDS, AgentConnection

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.clock import Clock
    from proxy.wire.bound import BoundDoor
    from proxy.wire.mint import Mint
    from proxy.wire.opening import Opening

_log = logging.getLogger("backstay.intercept")

_SHUTDOWN_SECONDS: Final = 2.0
_TLS_BUFFER: Final = 64 * 1024  # bytes each way, as in pool.py
_QUICK: Final = 1.0  # seconds in which a client that checks certificates after the handshake has left again
_OLD: Final = "TLS 1.2 or later is needed, with a cipher that OpenSSL still has"
_SAID_AGAIN: Final = 60.0  # seconds until the same is logged once more
_DISTRUST: Final = ("UNKNOWN_CA", "CERTIFICATE", "ACCESS_DENIED")  # parts of the alerts' names (RFC 8446, 6.2)
_REMEDY: Final = (
    "give it the variables that `backstay env` prints, or, if it pins certificates, add the host to egress.pass_through"
)


class Interceptor:
    """Ends TLS with what ``mint`` makes; ``count`` is told the api of whoever does not trust that."""

    def __init__(self, clock: Clock, mint: Mint, count: Callable[[str], None]) -> None:
        self._clock = clock
        self._mint = mint
        self._count = count
        self._said: dict[
            tuple[str, str], float
        ] = {}  # api -> when its last failure was logged; names are configured ones

    async def context(self, name: str) -> ssl.SSLContext:
        """What proves us to be ``name``. Raises Overloaded, or Internal: the authority signs nothing for it."""
        context = self._mint.ready(name)
        if context is not None:
            return context
        try:
            return await self._mint.context(name)
        except MintBusy:
            raise Overloaded("Too many new hosts are asked for at once.", retry_after=1.0) from None
        except ValueError as error:
            raise Internal(f"There is no certificate for {name}: {error}.") from None

    def terminate(self, opening: Opening, context: ssl.SSLContext, door: BoundDoor, host: str) -> None:
        """Begin the handshake, of which all that ``opening`` holds has come; HTTP is served when it is complete."""
        transport, done = opening.transport, self._clock.loop.create_future()
        tls = SSLTransport_Transport(
            self._clock.loop,
            AgentConnection(door),
            context,
            server_side=True,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
            ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
            ssl_incoming_bio_size=_TLS_BUFFER,
            ssl_outgoing_bio_size=_TLS_BUFFER,
            waiter=done,
        )

        def over(future: asyncio.Future[None]) -> None:
            opening.release()
            if (error := future.exception()) is not None:
                self._failed(door.api, host, error)

        def complete() -> None:
            opening.release()  # its place is the connection's now
            made = self._clock.now()
            door.on_leave = lambda: self._left(door, host, made)

        done.add_done_callback(over)
        door.on_enter = complete
        opening.deadline = self._clock.now() + HANDSHAKE_SECONDS
        below = _below(tls, transport, done)
        transport.set_protocol(below)
        below.connection_made(transport)
        _feed(below, opening.data, transport)
        transport.resume_reading()
        if opening.ended:
            below.eof_received()

    def _failed(self, api: str, host: str, error: BaseException) -> None:
        reason = str(getattr(error, "reason", "") or "")
        if isinstance(error, ConnectionResetError):
            self._distrusted(api, host, "closed in the middle of the handshake")
        elif any(word in reason for word in _DISTRUST):
            self._distrusted(api, host, reason)
        elif self._due(api, "failed"):
            extra = {"api": api, "host": host, "why": reason or str(error), "remedy": _OLD}
            _log.warning("the TLS handshake with an agent failed", extra=extra)

    def _left(self, door: BoundDoor, host: str, made: float) -> None:
        """Some clients check the certificate only behind the handshake, and leave without a request."""
        if not door.asked and not door.draining and self._clock.now() - made < _QUICK:
            self._distrusted(door.api, host, "closed behind the handshake, without a request")

    def _distrusted(self, api: str, host: str, how: str) -> None:
        self._count(api)
        if self._due(api, "distrusted"):
            _log.warning(
                "an agent does not trust the intercepting certificate",
                extra={"api": api, "host": host, "how": how, "remedy": _REMEDY},
            )

    def _due(self, api: str, what: str) -> bool:
        """Whether it has not been said for a while."""
        now = self._clock.now()
        if now < self._said.get((api, what), now):
            return False
        self._said[api, what] = now + _SAID_AGAIN
        return True


class _Ends:
    """What reads the connection for TLS, which tells ``done`` of an agent that leaves in the middle of the handshake.

    That is a failure of ours for aiofastnet (1.2).
    """

    done: asyncio.Future[None]
    below: asyncio.Transport

    def eof_received(self) -> object:
        """See asyncio.Protocol."""
        if self.done.done():
            return super().eof_received()  # type: ignore[misc]
        self.done.set_exception(ConnectionResetError())
        self.below.abort()
        return None


class _Buffered(_Ends, SSLBufferedProtocol):  # type: ignore[misc]
    """Where OpenSSL is used directly."""


class _Plain(_Ends, SSLProtocol, asyncio.Protocol):  # type: ignore[misc]
    """Where it is used by the ssl module; for uvloop, only an asyncio.Protocol is none that has a buffer."""


def _below(tls: SSLTransport_Transport, transport: asyncio.Transport, done: asyncio.Future[None]) -> Any:
    below = (_Buffered if isinstance(tls.get_tls_protocol(), SSLBufferedProtocol) else _Plain)(tls)
    below.done, below.below = done, transport
    return below


def _feed(below: Any, early: bytes, transport: asyncio.Transport) -> None:
    """Let TLS read what was read before it began; ``below`` is a buffered protocol where OpenSSL is used directly."""
    if not below.is_buffered_protocol():
        below.data_received(early)
        return
    rest = memoryview(early)
    while rest and not transport.is_closing():
        room = below.get_buffer(len(rest))
        taken = min(len(room), len(rest))
        room[:taken] = rest[:taken]
        below.buffer_updated(taken)
        rest = rest[taken:]
