"""Tests of calls that come again while the first is under way in the same process: one is made, the others wait."""

from __future__ import annotations

import asyncio

import pytest

from proxy.clock import Clock
from proxy.core.fallback import Static, ToApi
from proxy.core.idempotency import State
from proxy.core.timeouts import Timeouts
from proxy.errors import BadRequest, CircuitOpen, ConnectFailed, ConnectionReset, RateLimited
from tests.support.caching import Torrent, flows
from tests.support.keyed import Till, gated, unsent
from tests.support.remote import Remote, held, slow
from tests.support.script import Rig, Step, answers, fails, hangs
from tests.support.virtual import turn

SORRY = Static(200, (), "sorry")
ALICE, BOB = (b"Authorization", b"alice"), (b"Authorization", b"bob")


@pytest.fixture
def gate() -> asyncio.Event:
    return asyncio.Event()


async def test_one_of_many_is_made_and_all_have_its_answer(rig: Rig, gate: asyncio.Event) -> None:
    """Those who wait cost the store nothing."""
    remote = Remote(rig.clock)
    till = Till(rig, gated(gate, answers(201, body=b"1")), store=remote)
    paying = [till.begin() for _ in range(50)]
    await turn(10)
    assert (till.vendor.calls, remote.asked) == (1, ["reserve"])
    gate.set()
    got = [await each for each in paying]
    assert {(each.status, each.body) for each in got} == {(201, b"1")}
    assert [each.outcome for each in got] == ["forwarded"] + ["replayed"] * 49
    assert got[1].header(b"idempotent-replayed") == b"true"
    assert till.counted == {"first": 1, "joined": 49}


async def test_the_time_that_a_twin_waits_is_not_ours(rig: Rig) -> None:
    """It waits on purpose."""
    till = Till(rig, answers(201, after=2.0))
    _, second = till.begin(), till.begin()
    await second
    assert second.exchange.waited == pytest.approx(2.0)


async def test_a_twin_with_other_contents_does_not_wait(rig: Rig, clock: Clock) -> None:
    """It is refused at once."""
    till = Till(rig, answers(201, after=2.0))
    till.begin()
    await turn()
    assert (await till.pay(body=b"other")).reason == "key_reused"
    assert (clock.now(), till.counted) == (1000.0, {"first": 1, "mismatch": 1})


async def test_a_twin_waits_as_long_as_its_call_may_take(rig: Rig, clock: Clock) -> None:
    """Then it is told to come again; the first call, which began later to be answered, goes on."""
    flow = Torrent(clock)
    till = Till(rig, flows(flow), policies={"timeout": Timeouts(total=5.0)})
    first, second = till.begin(), till.begin()
    await second
    assert (second.got.status, second.got.reason) == (409, "in_progress")
    assert second.got.error is not None
    assert second.got.error.retry_after == 1.0
    assert clock.now() == pytest.approx(1005.0, abs=0.1)
    flow.feed(b"1")
    flow.finish()
    await turn()
    assert (first.got.body, (await till.pay()).body) == (b"1", b"1")
    assert till.counted == {"first": 1, "in_progress": 1, "replayed": 1}


async def test_an_answer_that_comes_in_the_last_moment_is_the_answer(rig: Rig, clock: Clock) -> None:
    """It was there before the time was over, if only just."""
    flow = Torrent(clock)
    till = Till(rig, flows(flow), policies={"timeout": Timeouts(total=5.0)})
    till.begin()
    await turn(6)
    flow.feed(b"1")
    clock.at(clock.now() + 5.0, flow.finish)
    second = till.begin()
    assert ((await second).body, till.counted) == (b"1", {"first": 1, "joined": 1})


async def test_a_twin_of_a_stream_has_it_when_it_is_whole(rig: Rig, clock: Clock) -> None:
    """The first gets its pieces as they come."""
    flow = Torrent(clock)
    till = Till(rig, flows(flow, (b"X", b"y")))
    first, second = till.begin(), till.begin()
    await turn(6)
    flow.feed(b"ab")
    await turn()
    assert (first.got.body, second.waits) == (b"ab", True)
    flow.feed(b"cd")
    flow.finish()
    await turn(6)
    assert (second.got.body, second.got.header(b"x")) == (b"abcd", b"y")


# --- agents that leave --------------------------------------------------------------------------------------------


async def test_a_first_that_leaves_before_anything_was_sent(rig: Rig, gate: asyncio.Event) -> None:
    """One of those who wait takes over; the others wait for that one."""
    till = Till(rig, unsent(gate, answers(500)), answers(201, after=1.0))
    first, *others = [till.begin() for _ in range(4)]
    await turn(6)
    first.leave()
    await turn(6)
    assert till.vendor.calls == 2
    assert [(await each).status for each in others] == [201] * 3
    assert till.counted == {"first": 2, "joined": 2}


async def test_a_first_that_leaves_once_it_is_sent(rig: Rig, gate: asyncio.Event) -> None:
    """It runs on for those who wait, and for who asks later."""
    till = Till(rig, gated(gate, answers(201, body=b"1")))
    first, second = till.begin(), till.begin()
    await turn(6)
    first.leave()
    await turn(6)
    assert (first.waits, second.waits) == (True, True)
    gate.set()
    assert [(await second).body, (await till.pay()).body] == [b"1", b"1"]
    assert till.vendor.calls == 1


@pytest.mark.parametrize("reserved", [False, True])
async def test_a_first_that_leaves_while_the_store_is_asked(rig: Rig, gate: asyncio.Event, reserved: bool) -> None:
    """What was reserved for it is given back, and another one makes the call."""
    remote = Remote(rig.clock)
    till = Till(rig, answers(201), store=remote)
    remote.plan("reserve", slow(gate) if reserved else held(gate))
    first, second = till.begin(), till.begin()
    await turn(6)
    first.leave()
    await turn(6)
    gate.set()
    assert (await second).status == 201
    await turn(6)
    assert (till.vendor.calls, till.counted, await till.state()) == (1, {"first": 1}, State.DONE)


async def test_twins_that_leave_are_not_waited_for(rig: Rig, gate: asyncio.Event) -> None:
    """Nor does anything of them stay."""
    till = Till(rig, gated(gate, answers(201)))
    _, second, third = [till.begin() for _ in range(3)]
    await turn()
    second.leave()
    await turn()
    (call,) = till.ledger
    assert repr(call).endswith("owned, 1 waiting>")
    gate.set()
    assert (await third).status == 201
    assert [len(till.ledger), till.ledger.owned] == [0, 0]


async def test_a_twin_that_leaves_as_the_first_lands(rig: Rig, gate: asyncio.Event) -> None:
    """Nothing is given to somebody who is gone."""
    till = Till(rig, gated(gate, answers(201)))
    first, second = till.begin(), till.begin()
    await turn()
    gate.set()
    second.leave()
    assert (await first).status == 201
    await turn()
    assert second.task.cancelled()


# --- calls that were not carried out ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectFailed(), "connect"),
        (CircuitOpen(retry_after=9.0), "circuit_open"),
        (RateLimited("x", retry_after=3.0, limit=1, window=1.0), "rate_limited"),
    ],
)
async def test_a_failure_is_the_failure_of_all(rig: Rig, gate: asyncio.Event, error: Exception, reason: str) -> None:
    """What the first could not do, those who waited for it could not either: they do not come down on it in turn."""
    till = Till(rig, unsent(gate, fails(error, sent=False)))
    paying = [till.begin() for _ in range(3)]
    await turn(6)
    gate.set()
    got = [await each for each in paying]
    assert [each.reason for each in got] == [reason] * 3
    assert len({id(each.error) for each in got}) == 3, "each has an error of its own"
    assert {getattr(each.error, "retry_after", None) for each in got} == {error.retry_after}  # type: ignore[attr-defined]
    assert (till.vendor.calls, till.counted) == (1, {"first": 1, "joined": 2})


async def test_a_fault_of_one_agents_request_is_not_the_failure_of_others(rig: Rig, gate: asyncio.Event) -> None:
    """Whose own may be good."""
    till = Till(rig, unsent(gate, fails(BadRequest(), sent=False)), answers(201))
    first, second = till.begin(), till.begin()
    await turn(6)
    gate.set()
    assert ((await first).reason, (await second).status) == ("bad_request", 201)


async def test_a_defect_is_not_the_failure_of_others(rig: Rig, gate: asyncio.Event) -> None:
    """It costs the call that met it."""
    till = Till(rig, unsent(gate, fails(ZeroDivisionError(), sent=False)), answers(201))
    first, second = till.begin(), till.begin()
    await turn(6)
    gate.set()
    assert (await second).status == 201
    assert isinstance(first.task.exception(), ZeroDivisionError)


def busy(gate: asyncio.Event, clock: Clock, *, streamed: bool) -> Step:
    """A 429 with a body."""
    if not streamed:
        return gated(gate, answers(429, (b"Retry-After", b"3"), body=b"busy"))
    flow = Torrent(clock)
    flow.feed(b"busy")
    flow.finish()
    return gated(gate, flows(flow, (b"Retry-After", b"3"), status=429))


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_that_nothing_was_done_is_shared_with_the_same_caller(
    rig: Rig, clock: Clock, gate: asyncio.Event, streamed: bool
) -> None:
    """One of another caller makes the call itself: what holds for one credential says nothing of another."""
    till = Till(rig, busy(gate, clock, streamed=streamed), answers(201, after=1.0))
    paying = [till.begin(whose) for whose in (ALICE, ALICE, BOB, BOB)]
    await turn(6)
    gate.set()
    got = [await each for each in paying]
    assert [each.status for each in got] == [429, 429, 201, 201]
    assert [each.outcome for each in got] == ["forwarded", "coalesced", "forwarded", "replayed"]
    assert (got[1].body, got[1].header(b"retry-after"), got[1].header(b"backstay-outcome")) == (
        b"busy",
        b"3",
        b"coalesced",
    )
    assert b"backstay-outcome" not in got[0].headers
    assert (till.vendor.calls, till.counted) == (2, {"first": 2, "joined": 2})


async def test_what_came_back_cut_is_not_shared(rig: Rig, clock: Clock) -> None:
    """A 503 that breaks off says that nothing was done, and no more: those who wait see for themselves."""
    flow = Torrent(clock)
    till = Till(rig, flows(flow, status=503), answers(201))
    first, second = till.begin(), till.begin()
    await turn(6)
    flow.feed(b"do")
    flow.breaks()
    assert ((await first).status, (await second).status, till.vendor.calls) == (503, 201, 2)


async def test_what_comes_after_a_failure_is_a_new_call(rig: Rig) -> None:
    """Only those who were waiting share it."""
    till = Till(rig, answers(503), answers(201))
    assert [(await till.pay()).status for _ in range(2)] == [503, 201]


# --- what may stand in for an answer ------------------------------------------------------------------------------


async def test_a_twin_is_never_taken_to_another_api(rig: Rig, gate: asyncio.Event) -> None:
    """The first may be: two who go there are two calls. What the operator has written is for all."""
    backup = Till(rig, answers(201, body=b"elsewhere"), api="backup", ledgered=False)
    till = Till(
        rig,
        unsent(gate, fails(ConnectFailed(), sent=False)),
        fallback=(ToApi("backup"), SORRY),
        others=(backup,),
    )
    paying = [till.begin() for _ in range(3)]
    await turn(6)
    gate.set()
    assert [(await each).body for each in paying] == [b"elsewhere", b"sorry", b"sorry"]
    assert backup.vendor.calls == 1


async def test_nothing_stands_in_for_a_call_that_was_lost(rig: Rig, gate: asyncio.Event) -> None:
    """Neither for the first nor for those who waited for it."""
    till = Till(rig, gated(gate, fails(ConnectionReset())), fallback=(SORRY,))
    paying = [till.begin() for _ in range(2)]
    await turn(6)
    gate.set()
    assert [(await each).reason for each in paying] == ["reset", "outcome_unknown"]
    assert till.counted == {"first": 1, "unknown": 1}


async def test_an_agent_may_leave_while_it_waits_for_ever(rig: Rig) -> None:
    """A first that hangs holds those who wait only while they want to."""
    till = Till(rig, hangs())
    first, second = till.begin(), till.begin()
    await turn()
    second.leave()
    await turn()
    assert (second.task.cancelled(), first.waits) == (True, True)
    first.task.cancel()
    await turn()
    assert await till.state() is State.UNKNOWN
