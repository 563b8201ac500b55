"""The beginning of a captured connection: holds what comes until it can be told whose it is. Used by capture.py."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final, cast

from proxy.core.first_bytes import First, Kind, look
from proxy.wire.server import HEAD_SECONDS

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from proxy.clock import Clock
    from proxy.wire.listener import Listener
    from proxy.wire.server import AgentConnection

HELD: Final = 64 * 1024  # bytes, before anybody is found who takes them
_HESITATION: Final = 2.0  # seconds within a word that might become a method; then it was a message of its own
_TLS: Final = 0x16
_OPAQUE: Final = First(Kind.OPAQUE)
_MORE: Final = First(Kind.MORE)


class Opening:
    """See the module. An asyncio.BufferedProtocol by its methods, and a listener.Held.

    ``on_made`` is called when the connection is made, ``on_lost`` if it ends while it is still held here.
    """

    def __init__(self, listener: Listener, on_made: Callable[[], None], on_lost: Callable[[], None]) -> None:
        self._listener = listener
        self._clock: Clock = listener.clock
        self._on_made = on_made
        self._on_lost = on_lost
        self._news: asyncio.Future[None] | None = None  # done when there is more to look at
        self._spoken = False  # the other side has something to say
        self._began = self._clock.now()  # when the first byte came
        self._most = max(HELD, listener.header_limit)
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)  # until connection_made
        self.data = b""  # all that has come
        self.ended = False  # the agent will say no more
        self.held = False  # here
        self.deadline = inf  # while it is looked at; whatever else it waits for has limits of its own

    # --- the transport's calls --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self.transport = cast("asyncio.Transport", transport)
        self.held = self._listener.enter(self)
        if self.held:
            self._on_made()
        else:
            self._listener.leave(self)
            self.transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:
        """See asyncio.BufferedProtocol: one buffer serves all connections, since it is emptied before the next read."""
        del sizehint
        return self._listener.scratch

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio.BufferedProtocol."""
        self.data_received(bytes(self._listener.scratch[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Bytes of the agent's have come."""
        if not self.data:
            self._began = self._clock.now()
        self.data += data
        if len(self.data) > self._most:
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """See asyncio.Protocol: who has said something may still want to hear; who has not is gone."""
        self.ended = True
        self._wake()
        return bool(self.data)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        del exc
        self.release()
        self._on_lost()

    def pause_writing(self) -> None:
        """See asyncio.Protocol: next to nothing is written here."""

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""

    # --- looking ----------------------------------------------------------------------------------------

    async def look(self, *, whole: bool, patience: float | None) -> First | None:
        """What the agent begins with, with a whole HTTP head if that is asked for.

        None if the other side has spoken, or if there is not a byte for ``patience`` seconds. An agent that begins and
        does not go on is cut.
        """
        try:
            while not self._spoken:
                first = look(self.data, self._listener.header_limit) if self.data else _MORE
                if first.kind is not Kind.MORE and (first.kind is not Kind.HTTP1 or first.whole or not whole):
                    return first
                if self.ended or len(self.data) > self._most:
                    return _OPAQUE
                if self.data:
                    self.deadline = self._began + HEAD_SECONDS
                hesitates = first.kind is Kind.MORE and self.data and self.data[0] != _TLS
                if not await self._more(_HESITATION if hesitates else None if self.data else patience):
                    return _OPAQUE if hesitates else None
        finally:
            self.deadline = inf
        return None

    async def _more(self, seconds: float | None) -> bool:
        """Wait for news; False if there is none for so long."""
        before = (len(self.data), self.ended, self._spoken)
        self._news = news = self._clock.loop.create_future()
        timer = None if seconds is None else self._clock.at(self._clock.now() + seconds, self._wake)
        try:
            await news
        finally:
            self._news = None
            if timer is not None:
                timer.cancel()
        return before != (len(self.data), self.ended, self._spoken)

    def other_side_spoke(self) -> None:
        """It will not wait for the agent."""
        self._spoken = True
        self._wake()

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    # --- listener.Held ----------------------------------------------------------------------------------

    @property
    def at_rest(self) -> bool:
        """See listener.Held."""
        return not self.held

    def expire(self) -> None:
        """See listener.Held: it took too long to say what it is."""
        self.shut()

    def shut(self) -> None:
        """See listener.Held."""
        self.release()
        self.transport.abort()

    def release(self) -> None:
        """It is held here no longer."""
        if self.held:
            self.held, self.deadline = False, inf
            self._listener.leave(self)

    def give_to(self, connection: AgentConnection) -> None:
        """It is another protocol's from here on, and is read again."""
        transport = self.transport
        transport.set_protocol(connection)  # type: ignore[arg-type]  # a protocol by its methods
        connection.connection_made(transport)
        transport.resume_reading()

    def __repr__(self) -> str:
        return f"<Opening {'held' if self.held else 'released'} {len(self.data)} bytes>"
