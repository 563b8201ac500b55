"""Tests of gather.py: a body that is collected up to a limit, and goes on as it came where it is larger, or broken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.clock import Clock
from proxy.errors import BadRequest
from proxy.gather import Gathered, _Collector, exhaust, gather
from proxy.model import Ending, Exchange, Headers
from proxy.wire.body import HIGH_WATER
from tests.support import virtual
from tests.support.caching import Reading, Torrent
from tests.support.keyed import call_of
from tests.support.virtual import turn


def streaming(clock: Clock, *pieces: bytes, length: int | None = None, whole: bool = False) -> tuple[Exchange, Torrent]:
    """A call of whose body these pieces have come."""
    torrent = Torrent(clock, length)
    for piece in pieces:
        torrent.feed(piece)
    if whole:
        torrent.finish()
    return call_of(clock, body=b"", stream=torrent), torrent


def sent_on(exchange: Exchange) -> Reading:
    """What the upstream gets of the body."""
    assert exchange.request.stream is not None
    return Reading(exchange.request.stream)


@pytest.mark.parametrize(("limit", "gathered"), [(4, Gathered.WHOLE), (3, Gathered.LARGER)])
def test_a_body_that_came_with_the_head(limit: int, gathered: Gathered) -> None:
    """There is nothing to wait for."""

    async def scenario(clock: Clock) -> None:
        exchange = call_of(clock, body=b"body")
        assert (await gather(exchange, limit, clock), exchange.request.body) == (gathered, b"body")

    virtual.run(scenario)


@given(
    pieces=st.lists(st.binary(min_size=1, max_size=6), max_size=6), limit=st.integers(0, 20), early=st.integers(0, 6)
)
def test_whatever_the_pieces_all_of_it_is_here_or_goes_on(pieces: list[bytes], limit: int, early: int) -> None:
    """Some of it may have come before; what is larger reaches the upstream whole, and in its order."""

    async def scenario(clock: Clock) -> None:
        exchange, torrent = streaming(clock, *pieces[:early])
        gathering, left = clock.loop.create_task(gather(exchange, limit, clock)), pieces[early:]
        await turn()
        while left and torrent.reading:
            torrent.feed(left.pop(0))
            await turn()
        if not left:
            torrent.finish()
        body = b"".join(pieces)
        if len(body) <= limit:
            assert await gathering is Gathered.WHOLE
            assert (exchange.request.body, exchange.request.stream) == (body, None)
            return
        assert await gathering is Gathered.LARGER
        upstream = sent_on(exchange)
        for piece in left:
            torrent.feed(piece)
        torrent.finish()
        assert (upstream.data, upstream.ending) == (body, Ending.COMPLETE)

    virtual.run(scenario)


def test_a_body_that_is_announced_as_larger_is_not_touched() -> None:
    """Nor is it asked for: that is for whoever sends it on."""

    async def scenario(clock: Clock) -> None:
        exchange, torrent = streaming(clock, b"ab", length=11)
        exchange.request.expects_continue = True
        exchange.inform = _never
        assert await gather(exchange, 10, clock) is Gathered.LARGER
        assert (torrent.body.replayable, torrent.reading) == (True, True)

    virtual.run(scenario)


def _never(status: int, headers: Headers) -> None:
    raise AssertionError("the agent was told to go on")


def test_what_is_larger_waits_for_whoever_sends_it_on() -> None:
    """The agent is held up meanwhile, and goes on then; it is not kept for yet another."""

    async def scenario(clock: Clock) -> None:
        exchange, torrent = streaming(clock, b"abc")
        assert await gather(exchange, 2, clock) is Gathered.LARGER
        assert not torrent.reading
        upstream = sent_on(exchange)
        torrent.feed(b"d")
        torrent.finish()
        assert (upstream.data, torrent.reading, torrent.body.replayable) == (b"abcd", True, False)

    virtual.run(scenario)


def test_no_time_counts_while_what_is_larger_waits() -> None:
    """The agent was told to wait: it is not given up for that."""

    async def scenario(clock: Clock) -> None:
        exchange, torrent = streaming(clock, b"abc")
        torrent.body.limit(idle=10.0, whole=None)
        assert await gather(exchange, 2, clock) is Gathered.LARGER
        await clock.sleep(60.0)
        assert (torrent.over, sent_on(exchange).data) == (False, b"abc")

    virtual.run(scenario)


def test_more_than_a_watermark_may_be_gathered() -> None:
    """The agent is asked for all of it."""

    async def scenario(clock: Clock) -> None:
        exchange, torrent = streaming(clock, b"x" * (HIGH_WATER + 1))
        assert not torrent.reading
        gathering = clock.loop.create_task(gather(exchange, 3 * HIGH_WATER, clock))
        await turn()
        assert torrent.reading
        torrent.feed(b"y" * HIGH_WATER)
        torrent.finish()
        assert await gathering is Gathered.WHOLE
        assert len(exchange.request.body) == 2 * HIGH_WATER + 1

    virtual.run(scenario)


@pytest.mark.parametrize("ending", [Ending.BROKEN, Ending.STALLED, Ending.ABANDONED])
@pytest.mark.parametrize("before", [False, True])
def test_what_breaks_off_is_for_whoever_sends_it_on(ending: Ending, before: bool) -> None:
    """They get what came, and learn the same."""

    async def scenario(clock: Clock) -> None:
        exchange, torrent = streaming(clock, b"ab")
        gathering = None if before else clock.loop.create_task(gather(exchange, 10, clock))
        await turn()
        torrent.body.fail(ending, BadRequest())
        gathered = await (gather(exchange, 10, clock) if gathering is None else gathering)
        upstream = sent_on(exchange)
        assert (gathered, upstream.data, upstream.ending) == (Gathered.BROKEN, b"ab", ending)

    virtual.run(scenario)


def test_what_ends_with_the_piece_that_was_too_much_is_larger_all_the_same() -> None:
    """The first word counts; the end is for whoever sends it on."""

    async def scenario(clock: Clock) -> None:
        for ending in (Ending.COMPLETE, Ending.BROKEN):
            exchange, torrent = streaming(clock, b"ab")
            gathering = clock.loop.create_task(gather(exchange, 2, clock))
            await turn()
            torrent.feed(b"cd")
            torrent.finish() if ending is Ending.COMPLETE else torrent.breaks()
            assert await gathering is Gathered.LARGER
            upstream = sent_on(exchange)
            assert (upstream.data, upstream.ending) == (b"abcd", ending)

    virtual.run(scenario)


@pytest.mark.parametrize("expects", [False, True])
def test_an_agent_that_waits_to_be_asked_is_asked(expects: bool) -> None:
    """Expect: 100-continue; nobody else would, since the upstream is not asked yet."""

    async def scenario(clock: Clock) -> None:
        told: list[int] = []
        for each in (gather, exhaust):
            exchange, _ = streaming(clock, b"ab", whole=True)
            exchange.request.expects_continue = expects
            exchange.inform = lambda status, headers: told.append(status)
            await (gather(exchange, 10, clock) if each is gather else exhaust(exchange, clock))
        assert told == [100, 100] * expects

    virtual.run(scenario)


def test_an_agent_that_cannot_be_told_is_waited_for() -> None:
    """A call of our own has nobody to inform."""

    async def scenario(clock: Clock) -> None:
        exchange, _ = streaming(clock, b"ab", whole=True)
        exchange.request.expects_continue = True
        assert await gather(exchange, 10, clock) is Gathered.WHOLE

    virtual.run(scenario)


# --- exhausting ---------------------------------------------------------------------------------------------------


def test_a_body_that_is_exhausted_is_held_by_nobody() -> None:
    """Who taps it has seen all of it; what had been kept for another is let go as well."""

    async def scenario(clock: Clock) -> None:
        exchange, torrent = streaming(clock, b"abc")
        seen: list[bytes] = []
        assert await gather(exchange, 2, clock) is Gathered.LARGER
        torrent.body.tap(seen.append)
        exhausting = clock.loop.create_task(exhaust(exchange, clock))
        await turn()
        assert torrent.reading
        torrent.feed(b"d" * HIGH_WATER)
        torrent.feed(b"e")
        taker = torrent.body._sink
        assert isinstance(taker, _Collector)
        assert (torrent.body._kept_size, taker.pieces) == (0, [])
        torrent.finish()
        assert await exhausting is Gathered.WHOLE
        assert b"".join(seen) == b"abc" + b"d" * HIGH_WATER + b"e"
        assert sent_on(exchange).data == b""

    virtual.run(scenario)


def test_there_may_be_nothing_to_exhaust() -> None:
    """The body is here as a whole."""

    async def scenario(clock: Clock) -> None:
        assert await exhaust(call_of(clock), clock) is Gathered.WHOLE

    virtual.run(scenario)


def test_a_body_that_breaks_off_while_it_is_exhausted() -> None:
    """It was not seen as a whole."""

    async def scenario(clock: Clock) -> None:
        exchange, torrent = streaming(clock, b"abc")
        exhausting = clock.loop.create_task(exhaust(exchange, clock))
        await turn()
        torrent.breaks()
        assert await exhausting is Gathered.BROKEN

    virtual.run(scenario)
