"""A body on its way from one connection to the other, under back-pressure. Used by server.py and upstream.py.

The receiving connection feeds it; a sink (the other connection) is attached once, or, for a request body
that is kept for another try, several times. Until a sink is attached, and whenever the sink asks for a
pause, at most one watermark of bytes is held, and the sender's transport is paused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from proxy.model import Ending

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.clock import Clock, Timer
    from proxy.errors import CallError
    from proxy.model import Headers, Sink

HIGH_WATER: Final = 64 * 1024


class Source(Protocol):
    """The connection that a body comes from."""

    def pause_body(self) -> None:
        """Read no more for now."""

    def resume_body(self) -> None:
        """Read again."""

    def abandon_body(self) -> None:
        """Nobody wants the rest."""


class Body:
    """See the module. Implements model.Upload."""

    __slots__ = (
        "_clock", "_ended", "_idle", "_keep", "_kept", "_kept_size", "_overflowed", "_paused", "_pending", "_sink",
        "_size", "_source", "_tap", "_timer", "_until", "error", "length", "on_end", "progress", "trailers",
    )  # fmt: skip

    def __init__(self, source: Source, length: int | None, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self.length = length
        self._sink: Sink | None = None
        self._pending: list[bytes] = []  # come, but not yet given to a sink
        self._size = 0
        self._paused = False
        self._ended: Ending | None = None
        self.trailers: Headers | None = None
        self.error: CallError | None = None
        self.on_end: Callable[[Ending], None] | None = None
        self._keep = 0  # how many bytes may be kept for another sink
        self._kept: list[bytes] = []  # given to a sink, and kept
        self._kept_size = 0
        self._overflowed = False  # bytes were given away that were not kept
        self._tap: Callable[[bytes], None] | None = None
        self.progress = clock.now()  # when the last byte came
        self._timer: Timer | None = None
        self._idle: float | None = None
        self._until: float | None = None

    # --- the receiving connection ---------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """A piece has come."""
        if self._timer is not None:
            self.progress = self._clock.now()
        if self._tap is not None:
            self._tap(data)
        if self._sink is not None:
            self._give(data)
            return
        self._pending.append(data)
        self._size += len(data)
        if self._size > HIGH_WATER and not self._paused:
            self.pause()

    def finish(self, trailers: Headers | None) -> None:
        """The last piece has come."""
        self.trailers = trailers
        self._end(Ending.COMPLETE)

    def fail(self, ending: Ending, error: CallError | None = None) -> None:
        """No more will come; ``error`` says why, if it is more than the ending tells."""
        if self._ended is None:
            self.error = error
        self._end(ending)

    def _end(self, ending: Ending) -> None:
        if self._ended is not None:
            return
        self._ended = ending
        self.resume()  # the source goes on to other messages
        if self._timer is not None:
            self._timer.cancel()
        sink, self._sink = self._sink, None  # it may hold all that came, and the answer holds this body
        if sink is not None:
            self._tell(sink)
        on_end, self.on_end = self.on_end, None  # it is the answer's: leave the collector no cycle
        if on_end is not None:
            on_end(ending)

    # --- the sink --------------------------------------------------------------------------------------

    def attach(self, sink: Sink) -> None:
        """Give ``sink`` what was kept and what is pending, then all that comes."""
        self._sink = sink
        self.resume()  # before it is given anything, since it may be full by the end
        kept, self._kept, self._kept_size = self._kept, [], 0
        pending, self._pending, self._size = self._pending, [], 0
        for data in kept + pending:
            if self._sink is not sink:
                return  # it wants no more, and has said so in the meantime
            self._give(data)
        if self._ended is not None and self._sink is sink:
            self._sink = None
            self._tell(sink)

    def detach(self) -> None:
        """Stop giving; what comes from now on waits for another sink."""
        self._sink = None

    def _give(self, data: bytes) -> None:
        if self._keep and not self._overflowed:
            self._kept.append(data)
            self._kept_size += len(data)
            if self._kept_size > self._keep:
                self._kept, self._overflowed = [], True
        else:
            self._overflowed = True
        sink = self._sink
        assert sink is not None  # noqa: S101 - feed and attach checked
        sink.write(data)

    def _tell(self, sink: Sink) -> None:
        if self._ended is Ending.COMPLETE:
            sink.finish(self.trailers)
        elif self._ended is not None:
            sink.fail(self._ended)

    def pause(self) -> None:
        """The sink's buffer is full."""
        if not self._paused and self._ended is None:
            self._paused = True
            self._source.pause_body()

    def resume(self) -> None:
        """The sink takes bytes again."""
        if self._paused:
            self._paused = False
            self.progress = self._clock.now()
            self._source.resume_body()

    def keep(self, limit: int) -> None:
        """Keep up to ``limit`` bytes for another sink."""
        self._keep = limit

    def tap(self, listener: Callable[[bytes], None]) -> None:
        """See model.Upload."""
        for data in self._kept + self._pending:
            listener(data)
        self._tap = listener

    @property
    def complete(self) -> bool:
        """See model.Upload."""
        return self._ended is Ending.COMPLETE

    @property
    def replayable(self) -> bool:
        """Whether another sink would get the whole body."""
        return not self._overflowed

    @property
    def ended(self) -> bool:
        """Whether the last piece has come, or none will."""
        return self._ended is not None

    def abandon(self) -> None:
        """Nobody wants the rest."""
        if self._ended is None:
            self._sink = None
            self._source.abandon_body()
            self._end(Ending.ABANDONED)

    # --- limits ----------------------------------------------------------------------------------------

    def limit(self, *, idle: float | None, whole: float | None) -> None:
        """End as STALLED after ``idle`` seconds without a byte, or ``whole`` seconds from now."""
        if self._ended is not None or (idle is None and whole is None):
            return
        now = self.progress = self._clock.now()
        self._idle, self._until = idle, None if whole is None else now + whole
        self._arm()

    def _arm(self) -> None:
        due = [] if self._idle is None else [self.progress + self._idle]
        if self._until is not None:
            due.append(self._until)
        self._timer = self._clock.at(min(due), self._check)

    def _check(self) -> None:
        now = self._clock.now()
        if self._paused and self._sink is None:
            self.progress = now  # nobody has asked for it yet, and the sender was told to wait
        idle_out = self._idle is not None and now - self.progress >= self._idle
        if idle_out or (self._until is not None and now >= self._until):
            # A sink that took nothing for so long is the one at fault, not the sender.
            ending = Ending.ABANDONED if self._paused else Ending.STALLED
            self._source.abandon_body()
            self._end(ending)
        else:
            self._arm()

    def __repr__(self) -> str:
        state = self._ended.value if self._ended else "paused" if self._paused else "open"
        return f"<Body {state} pending={self._size} kept={self._kept_size}>"
