"""Tests of a spool whose owner wants to know how the body ends, and of answers whose readers share one body."""

from __future__ import annotations

import pytest

from proxy.clock import Clock
from proxy.model import Ending, Headers, Response
from proxy.spool import SLICE, Replay, Spool, shared
from proxy.wire.body import HIGH_WATER, Body
from tests.support import virtual
from tests.support.spooling import PATTERN, Owner, Reading, Upstream, made, reading, still
from tests.support.transports import BodySource


def thorough(limit: int = 4) -> tuple[Spool, Upstream, Owner]:
    spool, source, owner = made(limit)
    spool.thorough = True
    return spool, source, owner


# --- what nobody reads ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [Ending.COMPLETE, Ending.BROKEN, Ending.STALLED])
def test_what_nobody_reads_is_taken_to_its_end(ending: Ending) -> None:
    """Though it cannot be kept: how it ended is known then."""
    spool, source, owner = thorough()
    reading(spool)
    spool.reader.abandon()
    for _ in range(3):
        source.feed(b"abc")
        assert not source.paused
    source.finish() if ending is Ending.COMPLETE else source.fail(ending)
    assert (spool.state, spool.ending, source.abandoned) == ("overflowed", ending, False)
    assert (owner.settled, owner.gone, owner.ends) == ([("overflowed", b"")], ["filling"], [Ending.ABANDONED])
    assert repr(spool).startswith("<Spool overflowed came=6")


def test_a_reader_that_leaves_while_it_holds_the_source_up() -> None:
    """The rest comes at once, and goes nowhere."""
    spool, source, owner = thorough()
    sink = reading(spool, "pause")
    source.feed(b"abcde")
    source.feed(b"f")
    assert source.paused
    source.eager = [b"hi", b"g"]
    spool.reader.abandon()
    assert (source.paused, source.came, sink.data) == (False, b"abcdefghi", b"abcde")
    source.finish()
    assert (spool.ending, spool.body, owner.gone) == (Ending.COMPLETE, b"", ["overflowed"])


def test_a_reader_that_leaves_from_within_the_write_that_overflows() -> None:
    """The same."""
    spool, source, _ = thorough()
    sink = reading(spool, "abandon")
    source.feed(b"abcde")
    source.feed(b"fg")
    source.finish()
    assert (sink.data, spool.ending, source.abandoned) == (b"abcde", Ending.COMPLETE, False)


def test_a_reader_that_leaves_when_all_has_come_leaves_nothing_to_be_taken() -> None:
    """The source is over."""
    spool, source, owner = thorough()
    reading(spool, "pause")
    source.feed(b"abcde")
    source.feed(b"f")
    source.finish()
    spool.reader.abandon()
    assert (spool.ending, source.abandoned, owner.gone) == (Ending.COMPLETE, False, ["overflowed"])


def test_what_fits_is_kept_as_ever() -> None:
    """With a reader or without one."""
    spool, source, owner = thorough()
    reading(spool)
    source.feed(b"ab")
    spool.reader.abandon()
    source.feed(b"cd")
    source.finish()
    assert (spool.body, owner.settled) == (b"abcd", [("complete", b"abcd")])


def test_a_reader_that_is_slow_still_sets_the_pace() -> None:
    """For as long as it is there."""
    spool, source, _ = thorough()
    sink = reading(spool, "pause")
    source.feed(b"abcde")
    assert source.paused
    sink.mood = "take"
    spool.reader.resume()
    assert (source.paused, sink.data) == (False, b"abcde")


def test_the_owner_may_abandon_it_all_the_same() -> None:
    """Its word is final."""
    spool, source, owner = thorough()
    spool.reader.abandon()
    source.feed(b"abcde")
    spool.abandon()
    assert (source.abandoned, spool.ending, owner.ends) == (True, Ending.ABANDONED, [Ending.ABANDONED])


def test_on_a_body_of_the_wire_nothing_is_held_for_nobody() -> None:
    """The connection goes on reading, and what it reads is let go."""
    clock, connection = still(), BodySource()
    body = Body(connection, None, clock)
    spool = Spool(body, 4, None, clock)
    spool.thorough = True
    body.attach(spool)
    reading(spool, "pause")
    body.feed(b"abcde")
    assert not connection.reading
    spool.reader.abandon()
    for _ in range(4):
        body.feed(b"x" * HIGH_WATER)
        assert connection.reading
    body.finish(None)
    assert (spool.ending, connection.abandoned) == (Ending.COMPLETE, False)


# --- one body for many readers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "streams"), [(0, False), (SLICE, False), (SLICE + 1, True)])
def test_a_large_answer_becomes_a_stream(size: int, streams: bool) -> None:
    """Slow readers of the same bytes share one copy; a small one stays as it is."""
    body = PATTERN[:size]
    answer = Response(200, Headers.of((b"X", b"y")), b"OK", body)
    response = shared(answer, None, still())
    assert response is answer
    assert (response.stream is not None, response.body) == (streams, b"" if streams else body)
    assert response.ending is (None if streams else Ending.COMPLETE)
    if response.stream is not None:
        assert isinstance(response.stream, Replay)
        sink = Reading(response.stream)
        response.stream.attach(sink)
        assert (sink.data, response.ending, list(response.headers)) == (body, Ending.COMPLETE, [(b"X", b"y")])


def test_who_takes_nothing_of_a_large_answer_is_given_up() -> None:
    """Nobody holds it for ever."""

    async def scenario(clock: Clock) -> None:
        response = shared(Response(200, Headers(), b"", PATTERN[: 2 * SLICE]), 10.0, clock)
        assert response.stream is not None
        response.stream.attach(Reading(response.stream, "pause"))
        await clock.sleep(12.0)
        assert response.ending is Ending.ABANDONED

    virtual.run(scenario)
