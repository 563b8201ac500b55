"""Tests of a complete body that is given to one reader at its own pace."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.clock import Clock
from proxy.model import Ending
from proxy.spool import SLICE, Replay
from tests.support import virtual
from tests.support.spooling import MOODS, PATTERN, Reading, still


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
