"""A request body that has to be known before the call is made, or instead of it. Used by policies that look into it.

It is collected up to a limit. One that is larger, or never complete, stays a stream, and whoever sends the request
gets all of it.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

from proxy.model import Headers

if TYPE_CHECKING:
    from asyncio import Future

    from proxy.clock import Clock
    from proxy.model import Ending, Exchange, Stream

_ALL: Final = 1 << 62  # bytes


class Gathered(enum.Enum):
    """How much of a body there is."""

    WHOLE = "whole"  # all of it, as ``request.body``
    LARGER = "larger"  # more than the limit: it is a stream still
    BROKEN = "broken"  # it will never be complete: whoever sends it on learns why


async def gather(exchange: Exchange, limit: int, clock: Clock) -> Gathered:
    """Make ``exchange.request.body`` the whole body, if it has at most ``limit`` bytes."""
    request = exchange.request
    stream = request.stream
    if stream is None:
        return Gathered.WHOLE if len(request.body) <= limit else Gathered.LARGER
    if stream.length is not None and stream.length > limit:
        return Gathered.LARGER
    _invite(exchange)
    stream.keep(_ALL)
    collector = _Collector(stream, limit, clock.loop.create_future())
    stream.attach(collector)
    gathered = await collector.done
    if gathered is Gathered.WHOLE:
        request.body, request.stream = b"".join(collector.pieces), None
    else:
        stream.keep(0)  # the next who is attached gets what is kept, and it is not kept for yet another
        stream.detach()  # until then nobody has asked for more, and no time counts against the agent
    return gathered


async def exhaust(exchange: Exchange, clock: Clock) -> Gathered:
    """Take all of a body, if it is a stream still, and let it go: who taps it has seen it. WHOLE, or BROKEN."""
    stream = exchange.request.stream
    if stream is None:
        return Gathered.WHOLE
    _invite(exchange)
    stream.keep(0)
    drain = _Collector(stream, _ALL, clock.loop.create_future())
    drain.holds = False
    stream.attach(drain)
    return await drain.done


def _invite(exchange: Exchange) -> None:
    """Nobody else will say that the body is wanted: the upstream is not asked yet."""
    if exchange.request.expects_continue and exchange.inform is not None:
        exchange.inform(100, Headers())


class _Collector:
    """A model.Sink."""

    __slots__ = ("_limit", "_size", "_stream", "done", "holds", "pieces")

    def __init__(self, stream: Stream, limit: int, done: Future[Gathered]) -> None:
        self._stream = stream
        self._limit = limit  # bytes
        self._size = 0
        self.holds = True  # what it takes
        self.pieces: list[bytes] = []
        self.done = done

    def write(self, data: bytes) -> None:
        """See model.Sink."""
        if self.holds:
            self.pieces.append(data)
        self._size += len(data)
        if self._size > self._limit:
            self._stream.pause()  # the rest is for whoever sends it on
            self._settle(Gathered.LARGER)

    def finish(self, trailers: Headers | None) -> None:
        """See model.Sink. Trailers are dropped (RFC 9110, 6.5.1)."""
        del trailers
        self._settle(Gathered.WHOLE if self._size <= self._limit else Gathered.LARGER)

    def fail(self, ending: Ending) -> None:
        """See model.Sink: whoever sends it on learns the same."""
        del ending
        self._settle(Gathered.BROKEN)

    def _settle(self, gathered: Gathered) -> None:
        if not self.done.done():
            self.done.set_result(gathered)
