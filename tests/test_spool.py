"""Tests of bodies that are held here for one reader each, at its own pace."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxy.clock import Clock
from proxy.model import Ending, Headers, Sink, Stream
from proxy.spool import SLICE, Replay, Spool
from proxy.wire.body import HIGH_WATER, Body
from tests.support import virtual
from tests.support.transports import BodySource
from tests.support.virtual import VirtualLoop, clock_of

PATTERN = b"".join(b"%08d" % number for number in range(200_000))
MOODS = ("take", "pause", "pause and resume", "abandon")


class Reading:
    """A sink that does what its mood says whenever it is given something."""

    def __init__(self, stream: Stream, mood: str = "take") -> None:
        self.stream = stream
        self.mood = mood
        self.pieces: list[bytes] = []
        self.ends: list[Ending] = []
        self.trailers: Headers | None = None

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)

    def write(self, data: bytes) -> None:
        assert data
        self.pieces.append(data)
        if self.mood.startswith("pause"):
            self.stream.pause()
        if self.mood == "pause and resume":
            self.stream.resume()
        if self.mood == "abandon":
            self.stream.abandon()

    def finish(self, trailers: Headers | None) -> None:
        self.trailers = trailers
        self.ends.append(Ending.COMPLETE)

    def fail(self, ending: Ending) -> None:
        self.ends.append(ending)


class Upstream:
    """A model.Stream driven by hand; ``eager`` is delivered as soon as it is resumed, or attached to."""

    def __init__(self, length: int | None = None) -> None:
        self.length = length
        self.progress = 0.0
        self.limits: list[tuple[float | None, float | None]] = []
        self.paused = False
        self.abandoned = False
        self.ended = False
        self.replayable = False
        self.eager: list[bytes] = []
        self.came = b""
        self._sink: Sink | None = None

    def feed(self, data: bytes) -> None:
        assert self._sink is not None
        self.came += data
        self._sink.write(data)

    def finish(self, trailers: Headers | None = None) -> None:
        self.ended = True
        assert self._sink is not None
        self._sink.finish(trailers)

    def fail(self, ending: Ending) -> None:
        self.ended = True
        assert self._sink is not None
        self._sink.fail(ending)

    def attach(self, sink: Sink) -> None:
        self._sink = sink
        self.resume()

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False
        while self.eager and not self.paused and not self.ended:
            self.feed(self.eager.pop())

    def abandon(self) -> None:
        assert not self.ended
        self.abandoned = True
        self.fail(Ending.ABANDONED)  # which a wire.Body would not say; the spool must not mind

    def keep(self, limit: int) -> None:
        raise NotImplementedError

    def limit(self, *, idle: float | None, whole: float | None) -> None:
        self.limits.append((idle, whole))


class Owner:
    """Who made the spool: hears what it is told, and notes the state it sees then."""

    def __init__(self, spool: Spool) -> None:
        self.settled: list[tuple[str, bytes]] = []
        self.gone: list[str] = []
        self.ends: list[Ending] = []
        spool.on_settled = lambda: self.settled.append((spool.state, spool.body))
        spool.on_reader_gone = lambda: self.gone.append(spool.state)
        spool.reader.on_end = self.ends.append


def still() -> Clock:
    """A clock that nobody turns."""
    loop = VirtualLoop()
    loop.close()
    return clock_of(loop)


def made(limit: int = 100, length: int | None = None) -> tuple[Spool, Upstream, Owner]:
    source = Upstream(length)
    spool = Spool(source, limit, None, still())
    owner = Owner(spool)
    source.attach(spool)
    return spool, source, owner


def reading(spool: Spool, mood: str = "take") -> Reading:
    sink = Reading(spool.reader, mood)
    spool.reader.attach(sink)
    return sink


# --- Replay ----------------------------------------------------------------------------------------------


def test_a_replay_gives_all_in_slices_and_ends() -> None:
    """A reader that is never full has the whole body when attach returns."""
    body, ends = PATTERN[: 2 * SLICE + 5], list[Ending]()
    replay = Replay(body, None, still())
    replay.on_end = ends.append
    sink = Reading(replay)
    assert (replay.length, replay.replayable, replay.ended) == (2 * SLICE + 5, True, False)
    replay.attach(sink)
    assert [len(piece) for piece in sink.pieces] == [SLICE, SLICE, 5]
    assert (sink.data, sink.ends, sink.trailers, ends) == (body, [Ending.COMPLETE], None, [Ending.COMPLETE])
    assert (replay.replayable, replay.ended) == (False, True)


def test_a_replay_of_nothing_only_ends() -> None:
    """An empty chunk would be the last one of a chunked answer: none is written."""
    replay = Replay(b"", None, still())
    sink = Reading(replay)
    replay.attach(sink)
    assert (sink.pieces, sink.ends) == ([], [Ending.COMPLETE])


def test_a_small_body_is_shared_by_its_readers() -> None:
    """What fits into a slice is not copied for anybody."""
    body = PATTERN[:SLICE]
    sinks = [Reading(Replay(body, None, still())) for _ in range(3)]
    for sink in sinks:
        sink.stream.attach(sink)
    assert all(sink.pieces[0] is body for sink in sinks)


def test_a_full_reader_gets_no_more_until_it_resumes() -> None:
    """Back-pressure holds between slices, and what was taken is not given twice."""
    replay = Replay(PATTERN[: 3 * SLICE], None, still())
    sink = Reading(replay, "pause")
    replay.attach(sink)
    assert (len(sink.data), sink.ends) == (SLICE, [])
    replay.resume()
    assert len(sink.data) == 2 * SLICE
    assert repr(replay) == f"<Replay paused given={2 * SLICE} held={SLICE}>"
    sink.mood = "take"
    replay.resume()
    assert (sink.data, sink.ends) == (PATTERN[: 3 * SLICE], [Ending.COMPLETE])


def test_a_reader_that_is_full_after_the_last_slice_ends_when_it_resumes() -> None:
    """The end comes behind the last byte, under the same back-pressure."""
    replay = Replay(b"all", None, still())
    sink = Reading(replay, "pause")
    replay.attach(sink)
    assert (sink.data, sink.ends) == (b"all", [])
    replay.resume()
    replay.resume()
    assert sink.ends == [Ending.COMPLETE]


def test_pausing_and_resuming_inside_write_does_not_recurse() -> None:
    """A sink may empty its buffer at once, a thousand slices long."""
    replay = Replay(bytes(1_000 * SLICE), None, still())
    sink = Reading(replay, "pause and resume")
    replay.attach(sink)
    assert (len(sink.pieces), sink.ends) == (1_000, [Ending.COMPLETE])


@pytest.mark.parametrize("inside", [False, True])
def test_an_abandoned_replay_says_nothing_more_to_its_sink(inside: bool) -> None:
    """Who leaves, also in the middle of a write, needs no telling; who asked for the end learns of it once."""
    ends = list[Ending]()
    replay = Replay(PATTERN[: 3 * SLICE], None, still())
    replay.on_end = ends.append
    sink = Reading(replay, "abandon" if inside else "pause")
    replay.attach(sink)
    replay.abandon()
    replay.resume()
    replay.pause()
    assert (len(sink.data), sink.ends, ends) == (SLICE, [], [Ending.ABANDONED])
    assert (replay.left, replay.ended) == (True, True)
    assert repr(replay) == f"<Replay abandoned given={SLICE} held=0>"


def test_a_sink_that_comes_after_the_end_gets_no_body() -> None:
    """It must not take an empty body for a complete one."""
    replay = Replay(b"gone", None, still())
    replay.abandon()
    sink = Reading(replay)
    replay.attach(sink)
    assert (sink.data, sink.ends) == (b"", [Ending.ABANDONED])


def test_a_write_that_raises_leaves_the_rest_for_the_next() -> None:
    """A transport that was closed under us costs this call, not the state of the outlet."""
    replay = Replay(PATTERN[: 2 * SLICE], None, still())

    class Closed(Reading):
        def write(self, data: bytes) -> None:
            raise RuntimeError("closed")

    with pytest.raises(RuntimeError, match="closed"):
        replay.attach(Closed(replay))
    sink = Reading(replay)
    replay.attach(sink)
    assert (sink.data, sink.ends) == (PATTERN[SLICE : 2 * SLICE], [Ending.COMPLETE])


def test_a_reader_that_takes_nothing_is_given_up() -> None:
    """A full reader has ``idle`` seconds to take something; each time it does, it has them again."""

    async def scenario(clock: Clock) -> None:
        replay = Replay(PATTERN[: 3 * SLICE], 10.0, clock)
        sink = Reading(replay, "pause")
        replay.attach(sink)
        await clock.sleep(9.0)
        replay.resume()
        await clock.sleep(9.0)
        assert not replay.ended
        await clock.sleep(3.0)
        assert (sink.ends, len(sink.data), replay.left) == ([Ending.ABANDONED], 2 * SLICE, True)

    virtual.run(scenario)


def test_the_reader_of_a_replay_may_take_its_time_where_no_limit_is_set() -> None:
    """``idle`` off means that nobody is given up; nor does a limit meant for a sender apply."""

    async def scenario(clock: Clock) -> None:
        replay = Replay(b"here", None, clock)
        replay.limit(idle=1.0, whole=1.0)
        replay.keep(10)
        sink = Reading(replay, "pause")
        replay.attach(sink)
        await clock.sleep(10_000.0)
        replay.resume()
        assert sink.ends == [Ending.COMPLETE]

    virtual.run(scenario)


@pytest.mark.parametrize("leave", [Replay.resume, Replay.abandon])
def test_an_ended_replay_leaves_no_timer(leave: Callable[[Replay], None]) -> None:
    """Its timer goes with it, so that nothing holds the body."""

    async def scenario(clock: Clock) -> None:
        replay = Replay(b"here", 10.0, clock)
        replay.attach(Reading(replay, "pause"))
        leave(replay)
        assert not any(clock._coarse._slots)

    virtual.run(scenario)


@given(st.integers(0, 400_000), st.lists(st.sampled_from(MOODS[:3]), max_size=12))
def test_a_replay_reaches_its_reader_whole(size: int, moods: list[str]) -> None:
    """Whatever a sink does that does not leave, it gets each byte once and in order."""
    replay = Replay(PATTERN[:size], None, still())
    sink = Reading(replay, moods[0] if moods else "take")
    replay.attach(sink)
    for mood in [*moods, "take"]:
        sink.mood = mood
        replay.resume()
    assert (sink.data, sink.ends) == (PATTERN[:size], [Ending.COMPLETE])
    assert all(len(piece) <= SLICE for piece in sink.pieces)


# --- Spool: as long as everything fits -------------------------------------------------------------------


def test_the_reader_gets_the_bytes_as_they_come_and_the_owner_all_at_the_end() -> None:
    """Nothing is held back, and the body is kept whole; the owner hears of it before the reader does."""
    spool, source, owner = made(length=6)
    sink = reading(spool)
    source.feed(b"abc")
    assert (sink.data, spool.state, spool.reader.length) == (b"abc", "filling", 6)
    source.feed(b"def")
    source.finish(Headers.of((b"Digest", b"x")))
    assert (sink.data, sink.ends, sink.trailers) == (b"abcdef", [Ending.COMPLETE], Headers.of((b"Digest", b"x")))
    assert (owner.settled, owner.ends, owner.gone) == ([("complete", b"abcdef")], [Ending.COMPLETE], [])
    assert (spool.body, spool.ending, spool.reader_gone) == (b"abcdef", Ending.COMPLETE, False)


def test_a_slow_reader_stalls_nobody() -> None:
    """What it lags behind is kept anyway: the upstream is never paused for it, and the body completes without it."""
    spool, source, owner = made()
    sink = reading(spool, "pause")
    for _ in range(10):
        source.feed(b"0123456789")
        assert not source.paused
    source.finish()
    assert (owner.settled, sink.data, sink.ends) == ([("complete", b"0123456789" * 10)], b"0123456789", [])
    sink.mood = "take"
    spool.reader.resume()
    assert (sink.data, sink.ends) == (spool.body, [Ending.COMPLETE])


def test_a_complete_body_is_held_once() -> None:
    """Once all is here, the pieces are let go: the reader takes the rest from the body that others share."""
    spool, source, _ = made()
    reading(spool, "pause")
    for _ in range(3):
        source.feed(b"0123456789")
    source.finish()
    assert [id(held) for held in spool.reader._backlog] == [id(spool.body)]
    assert spool._chunks == []
    assert repr(spool) == "<Spool complete came=30 <Reader paused given=10 held=20>>"


def test_a_reader_that_comes_when_all_is_here() -> None:
    """Everything waits for it, and the end too."""
    spool, source, _ = made()
    source.feed(b"abc")
    source.finish(Headers.of((b"T", b"1")))
    assert (spool.state, spool.reader.ended) == ("complete", False)
    sink = reading(spool)
    assert (sink.data, sink.ends, sink.trailers) == (b"abc", [Ending.COMPLETE], Headers.of((b"T", b"1")))


def test_an_empty_body() -> None:
    """No byte, but complete, also with a limit of none."""
    spool, source, owner = made(limit=0)
    sink = reading(spool)
    source.feed(b"")
    source.finish()
    assert (owner.settled, sink.pieces, sink.ends) == ([("complete", b"")], [], [Ending.COMPLETE])


@pytest.mark.parametrize("ending", [Ending.BROKEN, Ending.STALLED, Ending.ABANDONED])
def test_a_source_that_fails_fails_the_reader_behind_what_came(ending: Ending) -> None:
    """The reader gets what came, then learns that the end will never come; nothing is kept."""
    spool, source, owner = made()
    sink = reading(spool, "pause")
    source.feed(b"abc")
    source.feed(b"def")
    source.fail(ending)
    assert (owner.settled, sink.ends, spool.ending) == ([("broken", b"")], [], ending)
    spool.reader.resume()
    spool.reader.resume()
    assert (sink.data, sink.ends, owner.ends, owner.gone) == (b"abcdef", [ending], [ending], [])


def test_a_reader_that_comes_after_the_failure() -> None:
    """It is told like any other."""
    spool, source, _ = made()
    source.feed(b"abc")
    source.fail(Ending.BROKEN)
    sink = reading(spool)
    assert (sink.data, sink.ends) == (b"abc", [Ending.BROKEN])


def test_when_the_last_byte_came_is_known_from_the_source() -> None:
    """The reader's progress is the sender's."""
    spool, source, _ = made()
    source.progress = 7.0
    source.feed(b"a")
    assert spool.reader.progress == 7.0


def test_the_limits_of_the_reader_are_those_of_the_source() -> None:
    """Who limits the answer means the upstream; after its end there is nothing to limit."""
    spool, source, _ = made()
    spool.reader.limit(idle=5.0, whole=None)
    source.finish()
    spool.reader.limit(idle=6.0, whole=None)
    reading(spool)
    spool.reader.limit(idle=7.0, whole=None)
    assert source.limits == [(5.0, None)]


# --- Spool: more than fits -------------------------------------------------------------------------------


def test_more_than_the_limit_is_passed_through() -> None:
    """One byte too many: nothing is kept, the owner is told at once, and the reader gets everything."""
    spool, source, owner = made(limit=4)
    sink = reading(spool)
    source.feed(b"abcd")
    assert spool.state == "filling"
    source.feed(b"e")
    assert (spool.state, owner.settled, spool._chunks) == ("overflowed", [("overflowed", b"")], [])
    source.feed(b"f")
    source.finish(Headers.of((b"T", b"1")))
    assert (sink.data, sink.ends, sink.trailers) == (b"abcdef", [Ending.COMPLETE], Headers.of((b"T", b"1")))
    assert (spool.state, spool.ending, spool.body, len(owner.settled)) == ("overflowed", Ending.COMPLETE, b"", 1)


def test_what_was_passed_through_may_break() -> None:
    """The state stays, the ending tells."""
    spool, source, owner = made(limit=2)
    sink = reading(spool)
    source.feed(b"abc")
    source.fail(Ending.BROKEN)
    assert (sink.data, sink.ends) == (b"abc", [Ending.BROKEN])
    assert (spool.state, spool.ending, len(owner.settled)) == ("overflowed", Ending.BROKEN, 1)


def test_the_pace_is_the_readers_after_the_limit() -> None:
    """A reader that is full pauses the source, not before; taking the backlog resumes it."""
    spool, source, _ = made(limit=4)
    sink = reading(spool, "pause")
    source.feed(b"ab")
    source.feed(b"cd")
    assert not source.paused
    source.feed(b"ef")
    assert (source.paused, sink.data, repr(spool.reader)) == (True, b"ab", "<Reader paused given=2 held=4>")
    spool.reader.resume()
    assert (source.paused, sink.data) == (True, b"abcd")
    sink.mood = "take"
    spool.reader.resume()
    assert (source.paused, sink.data) == (False, b"abcdef")
    spool.reader.pause()
    assert source.paused
    spool.reader.resume()
    source.feed(b"gh")
    assert (source.paused, sink.data) == (False, b"abcdefgh")


def test_an_overflow_waits_for_a_reader_that_is_not_there_yet() -> None:
    """Without a sink the source is paused, as a body of the wire would be; attaching resumes it."""
    spool, source, _ = made(limit=2)
    source.feed(b"abc")
    assert (source.paused, repr(spool.reader)) == (True, "<Reader waiting given=0 held=3>")
    sink = reading(spool)
    assert (source.paused, sink.data, repr(spool.reader)) == (False, b"abc", "<Reader open given=3 held=0>")


def test_an_eager_source_is_read_without_recursion() -> None:
    """Resuming may deliver at once; the order of the bytes and the back-pressure hold."""
    spool, source, _ = made(limit=0)
    source.feed(b"0000")
    source.eager = [b"%04d" % number for number in range(2_000, 0, -1)]
    sink = reading(spool, "pause and resume")
    assert (sink.data, source.eager) == (b"".join(b"%04d" % number for number in range(2_001)), [])


# --- Spool: readers that leave ---------------------------------------------------------------------------


def test_filling_goes_on_without_a_reader() -> None:
    """The owner is told, does nothing, and gets its body."""
    spool, source, owner = made()
    sink = reading(spool)
    source.feed(b"abc")
    spool.reader.abandon()
    spool.reader.abandon()
    assert (owner.gone, owner.ends, spool.reader_gone, source.abandoned) == (
        ["filling"], [Ending.ABANDONED], True, False,
    )  # fmt: skip
    source.feed(b"def")
    source.finish()
    assert (owner.settled, sink.data, sink.ends) == ([("complete", b"abcdef")], b"abc", [])


def test_a_full_reader_that_leaves_does_not_leave_the_source_paused() -> None:
    """Filling goes on at once."""
    spool, source, owner = made()
    reading(spool, "pause")
    source.feed(b"abc")
    spool.reader.abandon()
    source.feed(b"def")
    source.finish()
    assert (source.paused, owner.settled) == (False, [("complete", b"abcdef")])


def test_an_overflow_that_nobody_reads_is_abandoned() -> None:
    """It can neither be kept nor given to anybody."""
    spool, source, owner = made(limit=4)
    reading(spool)
    spool.reader.abandon()
    source.feed(b"abcd")
    assert not source.abandoned
    source.feed(b"e")
    assert (source.abandoned, spool.state, spool.ending) == (True, "overflowed", Ending.ABANDONED)
    assert (owner.settled, owner.gone) == ([("overflowed", b"")], ["filling"])


def test_a_reader_that_leaves_after_the_overflow_takes_the_source_along() -> None:
    """The rest has no other use."""
    spool, source, owner = made(limit=4)
    reading(spool)
    source.feed(b"abcde")
    spool.reader.abandon()
    assert (source.abandoned, spool.state, spool.ending) == (True, "overflowed", Ending.ABANDONED)
    assert (len(owner.settled), owner.gone, owner.ends) == (1, ["overflowed"], [Ending.ABANDONED])


def test_a_reader_that_leaves_inside_the_write_that_overflows() -> None:
    """The source is abandoned once, from within its own write."""
    spool, source, owner = made(limit=4)
    reading(spool, "abandon")
    source.feed(b"abcde")
    source.feed(b"which a source may still have had")
    source.finish()
    assert (source.abandoned, spool.ending, len(owner.settled), len(owner.gone)) == (True, Ending.ABANDONED, 1, 1)


def test_a_reader_that_leaves_when_all_has_come() -> None:
    """There is nothing to stop any more; the body stays."""
    spool, source, owner = made()
    reading(spool, "pause")
    source.feed(b"abc")
    source.finish()
    spool.reader.abandon()
    assert (source.abandoned, spool.body, owner.gone) == (False, b"abc", ["complete"])


def test_the_owner_may_abandon_when_the_reader_is_gone() -> None:
    """The upstream is stopped, and the state says that there will be no body."""
    spool, source, owner = made()
    spool.on_reader_gone = spool.abandon
    reading(spool)
    source.feed(b"abc")
    spool.reader.abandon()
    spool.abandon()
    assert (source.abandoned, spool.state, spool.ending) == (True, "broken", Ending.ABANDONED)
    assert (owner.settled, owner.ends) == ([("broken", b"")], [Ending.ABANDONED])


def test_abandoning_under_a_reader_fails_it_behind_what_came() -> None:
    """The owner's word is final: the reader gets no more than has come, and cannot take it for all."""
    spool, source, owner = made()
    sink = reading(spool)
    source.feed(b"abc")
    spool.abandon()
    assert (sink.data, sink.ends, owner.gone, spool.reader_gone) == (b"abc", [Ending.ABANDONED], [], False)


def test_the_owner_may_abandon_when_told_of_the_overflow() -> None:
    """From within the callback: the reader gets what came, then fails."""
    spool, source, _ = made(limit=2)
    spool.on_settled = spool.abandon
    sink = reading(spool)
    source.feed(b"ab")
    source.feed(b"cd")
    assert (source.abandoned, sink.data, sink.ends) == (True, b"ab", [Ending.ABANDONED])


def test_a_reader_that_takes_nothing_is_given_up_while_filling_goes_on() -> None:
    """The same rule as for a replay; the owner hears of it as of any reader that left."""

    async def scenario(clock: Clock) -> None:
        source = Upstream()
        spool = Spool(source, 100, 10.0, clock)
        owner = Owner(spool)
        source.attach(spool)
        sink = reading(spool, "pause")
        source.feed(b"abc")
        await clock.sleep(12.0)
        assert (sink.ends, owner.gone, source.abandoned) == ([Ending.ABANDONED], ["filling"], False)
        source.finish()
        assert owner.settled == [("complete", b"abc")]

    virtual.run(scenario)


def test_a_reader_that_takes_nothing_of_the_backlog_is_given_up() -> None:
    """Its idle rule outlives the source."""

    async def scenario(clock: Clock) -> None:
        source = Upstream()
        spool = Spool(source, 100, 10.0, clock)
        source.attach(spool)
        sink = reading(spool, "pause")
        source.feed(b"abc")
        source.feed(b"def")
        source.finish()
        await clock.sleep(12.0)
        assert (sink.data, sink.ends, spool.body) == (b"abc", [Ending.ABANDONED], b"abcdef")

    virtual.run(scenario)


def test_a_spool_and_its_reader_let_go_of_each_other() -> None:
    """Both are freed when the last of them is dropped: no work for the collector."""
    spool, source, _ = made()
    reading(spool)
    source.finish()
    assert (spool.reader._spool, spool.reader._sink, spool._source) == (None, None, None)


# --- Spool: on a body of the wire ------------------------------------------------------------------------


def test_on_a_body_of_the_wire() -> None:
    """What came before the spool was attached is kept too; after the overflow the connection is paused and resumed."""
    clock, connection = still(), BodySource()
    body = Body(connection, None, clock)
    body.feed(PATTERN[: HIGH_WATER + 1])
    spool = Spool(body, HIGH_WATER + 1, None, clock)
    body.attach(spool)
    sink = reading(spool, "pause")
    assert (connection.reading, spool.state) == (True, "filling")
    body.feed(PATTERN[HIGH_WATER + 1 : HIGH_WATER + 9])
    assert (connection.reading, spool.state) == (False, "overflowed")
    sink.mood = "take"
    spool.reader.resume()
    body.finish(None)
    assert (connection.reading, sink.data, sink.ends) == (True, PATTERN[: HIGH_WATER + 9], [Ending.COMPLETE])


def test_a_body_of_the_wire_that_is_abandoned() -> None:
    """It tells its sink nothing, so the spool has to know by itself."""
    clock, connection = still(), BodySource()
    body = Body(connection, None, clock)
    spool = Spool(body, 10, None, clock)
    owner = Owner(spool)
    body.attach(spool)
    body.feed(b"abc")
    spool.abandon()
    assert (connection.abandoned, body.ended, spool.state, owner.settled) == (True, True, "broken", [("broken", b"")])


# --- Spool: everything in any order ----------------------------------------------------------------------


class SpoolMachine(RuleBasedStateMachine):
    """A source that heeds pauses, a reader of changing mood, an owner that may abandon: in any order."""

    @initialize(limit=st.sampled_from([0, 3, 50, 100_000]), attach_late=st.booleans())
    def make(self, limit: int, attach_late: bool) -> None:
        self.limit = limit
        self.spool, self.source, self.owner = made(limit)
        self.sink: Reading | None = None if attach_late else reading(self.spool)
        self.longest = 0

    def _chunk(self, size: int, ahead: int = 0) -> bytes:
        self.longest = max(self.longest, size)
        start = len(self.source.came) + ahead
        return PATTERN[start : start + size]

    @precondition(lambda self: not self.source.ended and not self.source.paused)
    @rule(size=st.sampled_from([2, 3, 20, 70_000]))
    def feed(self, size: int) -> None:
        self.source.feed(self._chunk(size))

    @precondition(lambda self: not self.source.ended and self.source.paused and not self.source.eager)
    @rule(size=st.sampled_from([2, 70_000]), count=st.integers(1, 3))
    def have_more_ready(self, size: int, count: int) -> None:
        self.source.eager = [self._chunk(size, size * number) for number in reversed(range(count))]

    @precondition(lambda self: not self.source.ended and not self.source.eager)
    @rule(ending=st.sampled_from([Ending.COMPLETE, Ending.COMPLETE, Ending.BROKEN, Ending.STALLED]))
    def end(self, ending: Ending) -> None:
        if ending is Ending.COMPLETE:
            self.source.finish()
        else:
            self.source.fail(ending)

    @rule(mood=st.sampled_from(MOODS))
    def feel(self, mood: str) -> None:
        if self.sink is not None:
            self.sink.mood = mood

    @precondition(lambda self: self.sink is None)
    @rule(mood=st.sampled_from(MOODS))
    def attach(self, mood: str) -> None:
        self.sink = Reading(self.spool.reader, mood)
        self.spool.reader.attach(self.sink)

    @rule()
    def pause(self) -> None:
        self.spool.reader.pause()

    @rule()
    def resume(self) -> None:
        self.spool.reader.resume()

    @rule()
    def reader_abandons(self) -> None:
        self.spool.reader.abandon()

    @rule()
    def owner_abandons(self) -> None:
        self.spool.abandon()

    @invariant()
    def reader_has_a_prefix_and_knows_when_it_is_all(self) -> None:
        sink, source = self.sink, self.source
        if sink is None:
            return
        data = sink.data
        assert source.came.startswith(data)
        assert len(sink.ends) <= 1
        assert all(len(piece) <= SLICE for piece in sink.pieces)
        if sink.ends == [Ending.COMPLETE]:
            assert (data, self.spool.ending) == (source.came, Ending.COMPLETE)

    @invariant()
    def what_is_held_is_bounded(self) -> None:
        spool = self.spool
        held = {id(chunk): len(chunk) for chunk in (*spool._chunks, *spool.reader._backlog, spool.body)}
        assert sum(held.values()) <= self.limit + self.longest

    @invariant()
    def everybody_is_told_once(self) -> None:
        spool, owner = self.spool, self.owner
        assert len(owner.settled) == (spool.state != "filling")
        assert len(owner.gone) == spool.reader_gone
        assert len(owner.ends) == spool.reader.ended
        assert (spool.ending is not None) == self.source.ended

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        spool, reader, source = self.spool, self.spool.reader, self.source
        if spool.state == "filling":
            assert not source.paused
        elif spool.state == "complete":
            assert spool.body == source.came
        if not source.ended:
            assert not (spool.state == "overflowed" and spool.reader_gone)
            assert source.paused == (spool.state == "overflowed" and reader.choked)
        if not reader.ended and not reader.choked:
            assert not reader._backlog
            assert not source.ended

    def teardown(self) -> None:
        if not hasattr(self, "spool"):
            return
        if self.sink is not None:
            self.sink.mood = "take"
        self.spool.reader.resume()
        if self.source.ended and self.sink is not None:
            assert self.spool.reader.ended


TestSpoolMachine = SpoolMachine.TestCase
