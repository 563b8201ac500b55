"""A request body that has to be known before the call is made. Used by policies that look into it.

It is collected up to a limit. One that is larger, or never complete, stays a stream, and whoever sends the request
gets all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.model import Headers

if TYPE_CHECKING:
    from asyncio import Future

    from proxy.clock import Clock
    from proxy.model import Ending, Exchange, Stream

_ALL: Final = 1 << 62  # bytes


async def gather(exchange: Exchange, limit: int, clock: Clock) -> bool:
    """Make ``exchange.request.body`` the whole body, if it has at most ``limit`` bytes; False if it has more."""
    request = exchange.request
    stream = request.stream
    if stream is None:
        return len(request.body) <= limit
    if stream.length is not None and stream.length > limit:
        return False
    if request.expects_continue and exchange.inform is not None:
        exchange.inform(100, Headers())  # nobody else will: the upstream is not asked yet
    stream.keep(_ALL)
    collector = _Collector(stream, limit, clock.loop.create_future())
    stream.attach(collector)
    if not await collector.done:
        return False
    request.body, request.stream = b"".join(collector.pieces), None
    return True


class _Collector:
    """A model.Sink."""

    __slots__ = ("_limit", "_size", "_stream", "done", "pieces")

    def __init__(self, stream: Stream, limit: int, done: Future[bool]) -> None:
        self._stream = stream
        self._limit = limit
        self._size = 0
        self.pieces: list[bytes] = []
        self.done = done  # whether all is here

    def write(self, data: bytes) -> None:
        """See model.Sink."""
        self.pieces.append(data)
        self._size += len(data)
        if self._size > self._limit:
            self._stream.pause()  # the rest is for whoever sends it on
            self._settle(whole=False)

    def finish(self, trailers: Headers | None) -> None:
        """See model.Sink. Trailers are dropped (RFC 9110, 6.5.1)."""
        del trailers
        self._settle(whole=self._size <= self._limit)

    def fail(self, ending: Ending) -> None:
        """See model.Sink: whoever sends it on learns the same."""
        del ending
        self._settle(whole=False)

    def _settle(self, *, whole: bool) -> None:
        if not self.done.done():
            self.done.set_result(whole)
