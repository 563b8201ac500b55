"""Tests of answers: streams, those that are too large to be kept, and those that break off."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.clock import Clock
from proxy.core.fallback import Static
from proxy.core.idempotency import State
from proxy.model import Ending
from tests.support.caching import Torrent, flows
from tests.support.keyed import Till
from tests.support.script import Rig, answers
from tests.support.virtual import turn

SMALL = 10  # bytes of a request that are looked at, and of an answer that are kept


def small(rig: Rig, *steps: Any, **more: Any) -> Till:
    return Till(rig, *steps, max_body=SMALL, **more)


async def test_an_answer_that_streams_is_kept(rig: Rig, clock: Clock) -> None:
    """The agent gets its pieces as they come, without a word of ours."""
    flow = Torrent(clock)
    till = small(rig, flows(flow, (b"X", b"y")))
    first = await till.pay()
    for piece in (b"abc", b"def"):
        flow.feed(piece)
        await turn()
        assert first.body.endswith(piece)
    flow.finish()
    again = await till.pay()
    assert (first.ending, list(first.headers)) == (Ending.COMPLETE, [(b"X", b"y")])
    assert (again.body, again.header(b"x"), again.header(b"idempotent-replayed")) == (b"abcdef", b"y", b"true")


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_that_is_too_large_is_not_kept_but_its_status_is(
    rig: Rig, clock: Clock, streamed: bool
) -> None:
    """It was carried out: that is what whoever repeats it is told."""
    flow = Torrent(clock)
    till = small(rig, flows(flow, status=202) if streamed else answers(202, body=b"eleven byte"))
    first = await till.pay()
    if streamed:
        flow.feed(b"eleven byte")
        flow.finish()
    again = await till.pay()
    assert (first.status, first.body) == (202, b"eleven byte")
    assert (again.status, again.reason) == (409, "answer_not_kept")
    assert "answered 202" in str(again.error)
    assert (till.vendor.calls, till.counted) == (1, {"first": 1, "not_kept": 1})


async def test_an_answer_that_has_made_room_is_not_kept_any_more(rig: Rig) -> None:
    """Its record is."""
    till = Till(rig, answers(201, body=b"x" * 500))
    await till.pay()
    till.ledger.store.limit = 1  # type: ignore[misc]
    assert (await till.pay()).reason == "answer_not_kept"


@pytest.mark.parametrize(
    ("status", "ending", "state"),
    [
        (200, Ending.BROKEN, State.UNKNOWN),
        (200, Ending.STALLED, State.UNKNOWN),
        (404, Ending.BROKEN, State.UNKNOWN),
        (500, Ending.BROKEN, State.UNKNOWN),
        (500, Ending.COMPLETE, State.UNKNOWN),
        (503, Ending.BROKEN, None),
        (503, Ending.COMPLETE, None),
    ],
)
async def test_an_answer_that_breaks_off(
    rig: Rig, clock: Clock, status: int, ending: Ending, state: State | None
) -> None:
    """It does not say what was done, unless its status says that nothing was."""
    flow = Torrent(clock)
    till = small(rig, flows(flow, status=status))
    got = await till.pay()
    flow.feed(b"ab")
    if ending is Ending.COMPLETE:
        flow.finish()
    else:
        flow.body.fail(ending)
    await turn()
    assert (got.body, got.ending, await till.state()) == (b"ab", ending, state)


async def test_an_answer_that_had_broken_off_before_anybody_looked(rig: Rig, clock: Clock) -> None:
    """The same."""
    flow = Torrent(clock)
    flow.feed(b"ab")
    flow.breaks()
    till = small(rig, flows(flow))
    got = await till.pay()
    assert (got.body, got.ending, await till.state()) == (b"ab", Ending.BROKEN, State.UNKNOWN)


@pytest.mark.parametrize("size", [4, 40])
async def test_an_agent_that_leaves_within_an_answer(rig: Rig, clock: Clock, size: int) -> None:
    """It is taken to its end, whether or not it can be kept: that it was carried out is known then."""
    flow = Torrent(clock)
    till = small(rig, flows(flow))
    got = await till.pay()
    flow.feed(b"x" * (size // 2))
    got.leave()
    flow.feed(b"x" * (size // 2))
    assert (flow.over, flow.reading, till.ledger.owned) == (False, True, 1)
    flow.finish()
    assert (await till.state(), till.ledger.owned) == (State.DONE, 0)
    assert (await till.pay()).reason == ("" if size == 4 else "answer_not_kept")


async def test_an_agent_that_is_slow_holds_up_what_cannot_be_kept(rig: Rig, clock: Clock) -> None:
    """What can be is taken at the vendor's pace."""
    flow = Torrent(clock)
    till = small(rig, flows(flow))
    paying = till.begin(room=1)
    got = await paying
    flow.feed(b"12345")
    flow.feed(b"67890")
    assert flow.reading
    flow.feed(b"!")
    assert not flow.reading
    assert got.reading is not None
    got.reading.take()
    assert (got.body, flow.reading) == (b"1234567890!", True)
    flow.finish()


async def test_an_answer_that_is_given_up_by_a_policy_is_taken_to_its_end(rig: Rig, clock: Clock) -> None:
    """A 503 that something else stands in for: the key is free when it is over."""
    flow = Torrent(clock)
    till = small(rig, flows(flow, status=503), answers(201), fallback=(Static(200, (), "sorry"),))
    assert (await till.pay()).body == b"sorry"
    assert (await till.state(), flow.over) == (State.RUNNING, False)
    flow.finish()
    assert await till.state() is None
    assert (await till.pay()).status == 201


async def test_nothing_of_a_call_stays_but_its_record(rig: Rig, clock: Clock) -> None:
    """No task, no timer but the one that looks after leases, which ends with the last of them."""
    flow = Torrent(clock)
    till = small(rig, flows(flow))
    first, second = till.begin(), till.begin()
    await turn(6)
    flow.feed(b"ab")
    flow.finish()
    await first
    await second
    await clock.sleep(20.0)
    assert (len(till.ledger), till.ledger.busy, clock._tasks) == (0, 0, set())
    assert [timer for wheel in (clock._fine, clock._coarse) for slot in wheel._slots for timer in slot] == []
    assert rig.samples("backstay_inflight_requests", "api") == {}
