"""The rules of a spool, whatever happens in whatever order."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxy.model import Ending
from proxy.spool import SLICE
from tests.support.spooling import MOODS, PATTERN, Reading, made, reading


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
