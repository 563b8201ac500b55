"""The body of a request as it comes in: cut out of the bytes, counted, and passed on or past. Used by server.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.errors import BodyTooLarge
from proxy.model import Ending
from proxy.wire.framing import reader_for

if TYPE_CHECKING:
    from proxy.model import Headers
    from proxy.wire.body import Body


class Intake:
    """One body. ``limit`` is the most bytes it may have, None for any number."""

    __slots__ = ("_limit", "_reader", "body", "complete", "received")

    def __init__(self, length: int, trailer_limit: int, limit: int | None) -> None:
        self._reader = reader_for(length, trailer_limit)
        self._limit = limit
        self.received = 0  # bytes of payload
        self.complete = False
        self.body: Body | None = None  # whom to pass it on to, unless all of it came with the head

    @property
    def trailers(self) -> Headers | None:
        """What came behind a chunked body."""
        return self._reader.trailers

    def cut(self, data: bytes) -> tuple[bytes, bytes]:
        """(payload, bytes behind the body). Raises Malformed, BodyTooLarge."""
        payload, self.complete, rest = self._reader.feed(data)
        self.received += len(payload)
        if self._limit is not None and self.received > self._limit:
            raise BodyTooLarge
        return payload, rest

    def pass_on(self, payload: bytes) -> None:
        """Give ``payload`` to the body, and its end if this is all."""
        body = self.body
        if body is None:
            return
        if payload:
            body.feed(payload)
        if self.complete:
            body.finish(self._reader.trailers)

    def forsake(self) -> None:
        """Nobody wants the rest; ``cut`` still finds its end."""
        body, self.body = self.body, None
        if body is not None and not body.ended:
            body.detach()
            body.fail(Ending.ABANDONED)

    def __repr__(self) -> str:
        return f"<Intake {'complete' if self.complete else 'open'} received={self.received}>"
