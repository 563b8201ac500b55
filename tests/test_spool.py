"""Tests of a body that is kept while its reader gets it."""

from __future__ import annotations

import pytest

from proxy.clock import Clock
from proxy.model import Ending, Headers
from proxy.spool import Spool
from proxy.wire.body import HIGH_WATER, Body
from tests.support import virtual
from tests.support.spooling import PATTERN, Owner, Upstream, made, reading, still
from tests.support.transports import BodySource

# --- as long as everything fits --------------------------------------------------------------------------


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


# --- more than fits --------------------------------------------------------------------------------------


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


# --- readers that leave ----------------------------------------------------------------------------------


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


# --- on a body of the wire -------------------------------------------------------------------------------


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
