"""Bodies that are held here, handed to one reader each at its own pace. Used by cache and ledger.

    upstream's stream ──> Spool ──> Reader ──> the agent that waits for it
                            └─ body ─> the store ─> Replay ──> each agent that asks later

A reader is a model.Stream: the sink that attaches to it gets slices, pauses and resumes. What it has not taken
costs no copy, since the slices are cut as they are taken. The sender here is memory, so that the only one who can
be slow is the reader: one that takes nothing for ``idle`` seconds is given up, as ABANDONED.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from proxy.model import Ending

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.clock import Clock, Timer
    from proxy.model import Headers, Response, Sink, Stream

SLICE: Final = 64 * 1024  # bytes given to a sink at once, at most


def _nothing() -> None:
    """The callback of nobody."""


class Outlet:
    """What is held for one sink. Its owner pushes and closes; the other methods are those of model.Stream."""

    __slots__ = (
        "_backlog", "_clock", "_ended", "_giving", "_idle", "_last", "_offset", "_paused", "_sink",
        "_timer", "_trailers", "given", "left", "length", "on_end", "progress",
    )  # fmt: skip

    def __init__(self, length: int | None, idle: float | None, clock: Clock) -> None:
        self.length = length
        self.progress = clock.now()  # when the last byte came
        self.on_end: Callable[[Ending], None] | None = None
        self.given = 0  # bytes that the sink has
        self.left = False  # the reader went away, or took nothing for too long
        self._idle = idle
        self._clock = clock
        self._timer: Timer | None = None  # set while the sink is full
        self._sink: Sink | None = None
        self._backlog: deque[bytes] = deque()  # pushed, but not yet given
        self._offset = 0  # of the first byte in the first of them that was not given
        self._last: Ending | None = None  # what the sink is told after the backlog
        self._trailers: Headers | None = None
        self._paused = False
        self._giving = False
        self._ended: Ending | None = None  # for the reader

    # --- the owner --------------------------------------------------------------------------------------

    def push(self, data: bytes) -> None:
        """More of the body; ignored if nobody wants it any more."""
        if data and self._ended is None:  # an empty chunk would look like the last one
            self._backlog.append(data)
            self._give()

    def close(self, ending: Ending, trailers: Headers | None) -> None:
        """No more will come; the sink is told so once it has the backlog."""
        self._last, self._trailers = ending, trailers
        self._give()

    def share(self, body: bytes) -> None:
        """Hold ``body``, the whole of what was pushed, in place of its pieces."""
        self._backlog.clear()
        self._offset = 0
        if self.given < len(body) and self._ended is None:
            self._backlog.append(body)
            self._offset = self.given

    @property
    def choked(self) -> bool:
        """Whether what is pushed now has to wait."""
        return self._paused or self._sink is None or bool(self._backlog)

    # --- the sink ---------------------------------------------------------------------------------------

    def attach(self, sink: Sink) -> None:
        """See model.Stream; one sink, once: what comes after the end gets no body, and is told so."""
        if self._ended is None:
            self._sink = sink
            self.resume()
        else:
            sink.fail(Ending.ABANDONED)

    def pause(self) -> None:
        """See model.Stream."""
        if self._paused or self._ended is not None:
            return
        self._paused = True
        if self._idle is not None:
            self._timer = self._clock.about(self._clock.now() + self._idle, self._give_up)

    def resume(self) -> None:
        """See model.Stream."""
        self._paused = False
        self._disarm()
        self._give()

    def abandon(self) -> None:
        """See model.Stream."""
        self._sink = None
        self._give_up()

    def keep(self, limit: int) -> None:
        """See model.Stream: nothing to do, for answers are not sent again."""

    def limit(self, *, idle: float | None, whole: float | None) -> None:
        """See model.Stream: nothing to do, for these are limits of a sender, and here it is memory."""

    @property
    def ended(self) -> bool:
        """Whether the reader has all, or will get no more."""
        return self._ended is not None

    @property
    def replayable(self) -> bool:
        """Whether another sink would get the whole body."""
        return self.given == 0

    # --- inside -----------------------------------------------------------------------------------------

    def _give(self) -> None:
        """Give what there is until the sink is full, which it may say, and take back, while it is given some."""
        if self._giving:
            return  # the loop that is under way sees what has changed
        self._giving = True
        try:
            while self._backlog and self._sink is not None and not self._paused:
                self._sink.write(self._cut())
        finally:
            self._giving = False
        if self._last is not None and not self.choked:
            self._end(self._last)

    def _cut(self) -> bytes:
        first, start = self._backlog[0], self._offset
        if len(first) - start > SLICE:
            piece = first[start : start + SLICE]
            self._offset += SLICE
        else:
            piece = first[start:] if start else first
            self._backlog.popleft()
            self._offset = 0
        self.given += len(piece)
        return piece

    def _give_up(self) -> None:
        """The reader is gone, or as good as that."""
        if self._ended is None:
            self.left = True
            self._end(Ending.ABANDONED)

    def _end(self, ending: Ending) -> None:
        self._ended = ending
        self._backlog.clear()
        self._offset = 0
        self._disarm()
        sink, self._sink = self._sink, None
        if sink is not None and ending is Ending.COMPLETE:
            sink.finish(self._trailers)
        elif sink is not None:
            sink.fail(ending)
        on_end, self.on_end = self.on_end, None
        if on_end is not None:
            on_end(ending)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __repr__(self) -> str:
        state = self._ended.value if self._ended else "paused" if self._paused else "open" if self._sink else "waiting"
        held = sum(map(len, self._backlog)) - self._offset
        return f"<{type(self).__name__} {state} given={self.given} held={held}>"


class Replay(Outlet):
    """A complete body for one reader; any number of them share the same bytes."""

    __slots__ = ()

    def __init__(self, body: bytes, idle: float | None, clock: Clock) -> None:
        super().__init__(len(body), idle, clock)
        self.share(body)
        self._last = Ending.COMPLETE


def shared(response: Response, idle: float | None, clock: Clock) -> Response:
    """The same answer, with a large body as a stream: slow readers of the same bytes share one copy."""
    if len(response.body) > SLICE:
        replay = Replay(response.body, idle, clock)
        response.body, response.stream, response.ending = b"", replay, None
        replay.on_end = response.end
    return response


class Reader(Outlet):
    """The one for whom a spool is filled."""

    __slots__ = ("_spool",)

    def __init__(self, spool: Spool, length: int | None, idle: float | None, clock: Clock) -> None:
        super().__init__(length, idle, clock)
        self._spool: Spool | None = spool

    def pause(self) -> None:
        """See model.Stream."""
        super().pause()
        if self._spool is not None:
            self._spool.pace()

    def resume(self) -> None:
        """See model.Stream."""
        super().resume()
        if self._spool is not None:
            self._spool.pace()

    def limit(self, *, idle: float | None, whole: float | None) -> None:
        """See model.Stream: a limit of the sender, which is the upstream."""
        if self._spool is not None:
            self._spool.limit(idle=idle, whole=whole)

    def _end(self, ending: Ending) -> None:
        super()._end(ending)
        spool, self._spool = self._spool, None  # they hold each other: leave the collector no cycle
        if spool is not None and self.left:
            spool.forsake()


class Spool:
    """Keeps a body while its reader gets it. A model.Sink: its owner sets the callbacks and attaches it to the source.

    filling ──> complete    all came and is here: ``body``
       │ └────> broken      it will never be complete: ``ending`` says how it ended
       └──────> overflowed  more than ``limit`` bytes came: nothing is kept, the reader gets the rest as it comes

    While it is filling, a slow reader holds nobody up: what it lags behind is kept anyway. Once that cannot be
    kept, the reader's pace is the source's. If the reader leaves, filling goes on unless the owner abandons it;
    what overflows without a reader is abandoned here, unless its owner wants to know how it ends (``thorough``).
    """

    __slots__ = (
        "_chunks", "_limit", "_size", "_source", "body", "ending", "on_reader_gone", "on_settled", "reader", "state",
        "thorough",
    )  # fmt: skip

    def __init__(self, source: Stream, limit: int, idle: float | None, clock: Clock) -> None:
        self.state = "filling"
        self.body = b""  # all of it, once complete
        self.ending: Ending | None = None  # of the source
        self.on_settled: Callable[[], None] = _nothing  # called once, when the state is filling no longer
        self.on_reader_gone: Callable[[], None] = _nothing  # called once, if the reader leaves before it has all
        self.thorough = False  # what nobody reads, and cannot be kept, is taken to its end all the same
        self.reader = Reader(self, source.length, idle, clock)
        self._source: Stream | None = source  # until it has ended
        self._limit = limit  # bytes
        self._chunks: list[bytes] = []
        self._size = 0

    # --- the source -------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """See model.Sink."""
        if self._source is None:
            return  # abandoned, perhaps while the source was giving
        self.reader.progress = self._source.progress
        if self.state == "filling":
            self._retain(data)
        if self.state == "overflowed" and self.reader.left:
            self._go_unread()
        else:
            self.reader.push(data)
            self.pace()

    def finish(self, trailers: Headers | None) -> None:
        """See model.Sink."""
        if self._source is not None:
            self._over(Ending.COMPLETE, trailers)

    def fail(self, ending: Ending) -> None:
        """See model.Sink."""
        if self._source is not None:
            self._over(ending, None)

    def _retain(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= self._limit:
            self._chunks.append(data)
        else:
            self._settle("overflowed")

    def _over(self, ending: Ending, trailers: Headers | None) -> None:
        self._source, self.ending = None, ending
        if self.state == "filling" and ending is Ending.COMPLETE:
            self.body = b"".join(self._chunks)
            self.reader.share(self.body)
            self._settle("complete")
        elif self.state == "filling":
            self._settle("broken")
        self.reader.close(ending, trailers)

    def _settle(self, state: str) -> None:
        """Leave ``filling``; the owner hears of it before the reader does."""
        self.state, self._chunks = state, []
        on_settled, self.on_settled = self.on_settled, _nothing
        on_settled()

    # --- the owner --------------------------------------------------------------------------------------

    @property
    def reader_gone(self) -> bool:
        """Whether the reader left before it had all."""
        return self.reader.left

    def abandon(self) -> None:
        """Nobody wants the rest: stop the source. A reader that is still there gets what came, and fails."""
        source = self._source
        if source is not None:
            self._source = None  # first: the source may say that it failed
            source.abandon()
            self._over(Ending.ABANDONED, None)

    # --- the reader -------------------------------------------------------------------------------------

    def pace(self) -> None:
        """What is not kept comes as fast as the reader takes it."""
        if self.state != "overflowed" or self._source is None:
            return
        if self.reader.choked:
            self._source.pause()
        else:
            self._source.resume()

    def limit(self, *, idle: float | None, whole: float | None) -> None:
        """See model.Stream: the limits of the source."""
        if self._source is not None:
            self._source.limit(idle=idle, whole=whole)

    def forsake(self) -> None:
        """The reader has left."""
        on_reader_gone, self.on_reader_gone = self.on_reader_gone, _nothing
        on_reader_gone()
        if self.state == "overflowed":
            self._go_unread()

    def _go_unread(self) -> None:
        if not self.thorough:
            self.abandon()
        elif self._source is not None:
            self._source.resume()  # it may have been held up for the reader

    def __repr__(self) -> str:
        return f"<Spool {self.state} came={self._size} {self.reader!r}>"
