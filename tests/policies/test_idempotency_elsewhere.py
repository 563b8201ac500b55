"""Tests of calls that another process makes, and of a ledger that does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from proxy.clock import Clock
from proxy.core.fallback import Static
from proxy.core.idempotency import State
from proxy.core.timeouts import Timeouts
from proxy.errors import ConnectionReset
from tests.support.caching import Torrent, flows
from tests.support.keyed import STRIPE, Till, gated, unsent
from tests.support.remote import Plan, Remote, fails, full, held, loses, slow
from tests.support.script import Rig, Step, answers, hangs
from tests.support.script import fails as breaks
from tests.support.virtual import clock_of, turn

ERRORS = "backstay_store_errors_total"
TOTAL = {"timeout": Timeouts(total=10.0)}


@pytest.fixture
def remote(clock: Clock) -> Remote:
    return Remote(clock)


@pytest.fixture
def gate() -> asyncio.Event:
    return asyncio.Event()


class Pods:
    """Two processes on one store, and the calls of each."""

    def __init__(self, clock: Clock, remote: Remote, one: Step, other: Step, **settings: Any) -> None:
        self.one = Till(Rig(clock), one, store=remote, policies=TOTAL, **settings)
        self.other = Till(Rig(clock), other, store=remote, policies=TOTAL, **settings)

    @property
    def calls(self) -> tuple[int, int]:
        return self.one.vendor.calls, self.other.vendor.calls


# --- made elsewhere -----------------------------------------------------------------------------------------------


async def test_a_call_that_is_made_elsewhere_is_waited_for(clock: Clock, remote: Remote) -> None:
    """Its answer is replayed as soon as there is one; twins there wait for the one that asks."""
    pods = Pods(clock, remote, answers(201, after=3.0, body=b"1"), answers(500))
    first = pods.one.begin()
    await turn(6)
    paying = [pods.other.begin() for _ in range(3)]
    got = [await each for each in paying]
    assert [(each.status, each.body, each.outcome) for each in got] == [(201, b"1", "replayed")] * 3
    assert (pods.calls, (await first).outcome) == ((1, 0), "forwarded")
    assert clock.now() == pytest.approx(1003.25, abs=0.25)
    assert paying[0].exchange.waited == pytest.approx(3.25, abs=0.25)
    assert pods.other.counted == {"replayed": 1, "joined": 2}


async def test_it_is_asked_for_again_less_and_less_often(clock: Clock, remote: Remote) -> None:
    """Soon at first, then twice a second."""
    pods = Pods(clock, remote, hangs(), answers(500))
    pods.one.begin()
    await turn(6)
    pods.other.begin()
    asked = []
    for _ in range(10):
        await clock.sleep(0.999)
        asked.append(remote.asked.count("reserve"))
    steps = [later - earlier for earlier, later in zip([1, *asked], asked, strict=False)]
    assert 6 <= steps[0] <= 10
    assert all(2 <= step <= 4 for step in steps[2:])


async def test_processes_do_not_ask_in_step(remote: Remote) -> None:
    """By chance, from half of the pause to all of it."""
    times: list[float] = []
    for chance in (0.0, 0.999):
        clock = clock_of(chance=lambda chance=chance: chance)  # type: ignore[misc]
        store = Remote(clock)
        pods = Pods(clock, store, hangs(), answers(500))
        paying = [pods.one.begin()]
        await turn(6)
        began = clock.now()
        paying.append(pods.other.begin())
        while store.asked.count("reserve") < 3:
            await clock.sleep(0.001)
        times.append(clock.now() - began)
        for each in paying:
            each.task.cancel()
        await clock.stop()
    assert times == pytest.approx([0.01, 0.02], abs=0.003)


async def test_it_is_waited_for_as_long_as_a_call_may_take(clock: Clock, remote: Remote) -> None:
    """No question comes after the deadline."""
    pods = Pods(clock, remote, hangs(), answers(500))
    first = pods.one.begin()
    await turn(6)
    late = await pods.other.pay()
    assert (late.status, late.reason) == (409, "in_progress")
    assert late.error is not None
    assert late.error.retry_after == 1.0
    assert 1009.0 <= clock.now() <= 1010.0
    assert pods.other.counted == {"in_progress": 1}
    assert len(pods.other.ledger) == 0
    first.task.cancel()


async def test_one_that_was_released_elsewhere_is_made_here(clock: Clock, remote: Remote, gate: asyncio.Event) -> None:
    """By the one that asks."""
    pods = Pods(clock, remote, gated(gate, answers(429)), answers(201))
    first = pods.one.begin()
    await turn(6)
    second = pods.other.begin()
    await clock.sleep(1.0)
    gate.set()
    assert ((await first).status, (await second).status, pods.calls) == (429, 201, (1, 1))
    assert pods.other.counted == {"first": 1}


async def test_one_that_was_lost_elsewhere_is_not_made_here(clock: Clock, remote: Remote) -> None:
    """Nobody knows what became of it."""
    pods = Pods(clock, remote, answers(500, after=1.0), answers(201))
    pods.one.begin()
    await turn(6)
    assert ((await pods.other.pay()).reason, pods.calls) == ("outcome_unknown", (1, 0))


async def test_one_whose_process_has_died_is_unknown(clock: Clock, remote: Remote) -> None:
    """Its lease is over: where the key is honoured it is made again."""
    pods = Pods(clock, remote, hangs(), answers(201), lease=2.0)
    first = pods.one.begin()
    await turn(6)
    (call,) = pods.one.ledger
    call.owned = False  # it is renewed no more
    assert (await pods.other.pay()).reason == "outcome_unknown"
    honouring = Till(Rig(clock), answers(201), store=remote, host=STRIPE, on_unknown="resend")
    assert (await honouring.pay()).status == 201
    assert honouring.counted == {"resent": 1}
    first.task.cancel()


async def test_other_contents_are_told_apart_elsewhere(clock: Clock, remote: Remote) -> None:
    """At once, and so are those that come with them."""
    pods = Pods(clock, remote, answers(201, after=5.0), answers(201))
    pods.one.begin()
    await turn(6)
    remote.plan("reserve", held(gate := asyncio.Event()))
    paying = [pods.other.begin(body=b"other") for _ in range(2)]
    await turn(6)
    gate.set()
    assert [(await each).reason for each in paying] == ["key_reused", "key_reused"]
    assert (clock.now(), pods.other.counted) == (1000.0, {"mismatch": 1, "joined": 1})


@pytest.mark.parametrize("leaves_with", ["a question under way", "no question under way"])
async def test_an_agent_may_leave_while_its_process_asks(
    clock: Clock, remote: Remote, gate: asyncio.Event, leaves_with: str
) -> None:
    """Another one of the same process goes on asking."""
    pods = Pods(clock, remote, answers(201, after=3.0), answers(500))
    pods.one.begin()
    await turn(6)
    first, second = pods.other.begin(), pods.other.begin()
    await clock.sleep(0.5)
    if leaves_with == "a question under way":
        remote.plan("reserve", held(gate))
        await clock.sleep(0.4)
    first.leave()
    await turn(6)
    gate.set()
    assert ((await second).status, (await second).outcome, first.task.cancelled()) == (201, "replayed", True)


@pytest.mark.parametrize("on_store_error", ["closed", "open"])
async def test_a_call_that_is_known_to_be_under_way_is_not_made_because_the_store_goes_away(
    clock: Clock, remote: Remote, on_store_error: str
) -> None:
    """It is asked for until the store is back: what it said before it went was no doubt."""
    pods = Pods(clock, remote, answers(201, after=6.0), answers(500), on_store_error=on_store_error)
    pods.one.begin()
    await turn(6)
    paying = pods.other.begin()
    await clock.sleep(1.0)
    remote.plan("reserve", fails, loses)
    await clock.sleep(1.1)
    remote.go()
    await clock.sleep(2.0)
    remote.come()
    got = await paying
    assert (got.status, got.outcome, pods.calls) == (201, "replayed", (1, 0))
    assert pods.other.rig.samples(ERRORS, "store", "mode")["memory", on_store_error] >= 4


async def test_a_store_that_stays_away_ends_the_wait_in_time(clock: Clock, remote: Remote) -> None:
    """The call is under way, as far as anybody knows."""
    pods = Pods(clock, remote, hangs(), answers(500), on_store_error="open")
    first = pods.one.begin()
    await turn(6)
    paying = pods.other.begin()
    await clock.sleep(1.0)
    remote.go()
    assert ((await paying).reason, pods.calls) == ("in_progress", (1, 0))
    first.task.cancel()


# --- a ledger that does not answer --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["away", "fails", "loses", "full"])
async def test_without_its_ledger_no_call_is_made(clock: Clock, rig: Rig, remote: Remote, how: str) -> None:
    """It is refused with Retry-After; those who wait for the one that asked are too. Later it is made once."""
    till = Till(rig, answers(201), store=remote)
    if how == "away":
        remote.go()
    else:
        remote.plan("reserve", {"fails": fails, "loses": loses, "full": full}[how])
    paying = [till.begin() for _ in range(2)]
    got = [await each for each in paying]
    assert [(each.status, each.reason) for each in got] == [(503, "ledger_down")] * 2
    for each in got:
        assert each.error is not None
        assert each.error.retry_after == 1.0
        assert "Nothing was sent." in str(each.error)
    asked = 2 if how == "away" else 1  # what is known to be away refuses each at once
    assert (till.vendor.calls, rig.samples(ERRORS, "store", "mode")) == (0, {("memory", "closed"): asked})
    assert till.counted["refused"] == 2
    remote.come()
    await clock.sleep(1.0)
    assert [(await till.pay()).status for _ in range(2)] == [201, 201]
    assert till.vendor.calls == 1


async def test_nothing_stands_in_for_a_call_that_was_refused_for_want_of_a_ledger(rig: Rig, remote: Remote) -> None:
    """It may have been made before: whatever stood in for it, the agent would take for its outcome."""
    till = Till(rig, answers(201), store=remote, fallback=(Static(200, (), "sorry"),))
    remote.go()
    assert (await till.pay()).reason == "ledger_down"


@pytest.mark.parametrize("plan", [fails, loses])
async def test_an_operator_may_prefer_to_risk_a_second_time(clock: Clock, rig: Rig, remote: Remote, plan: Plan) -> None:
    """Calls pass unprotected, and counted; at least this process makes none twice, nor forgets one."""
    till = Till(rig, answers(201, body=b"1", after=2.0), answers(500), store=remote, on_store_error="open")
    remote.plan("reserve", plan)
    first = till.begin()
    await clock.sleep(1.0)
    second = till.begin()
    assert [(await each).body for each in (first, second)] == [b"1", b"1"]
    await clock.sleep(1.0)
    assert (await till.pay()).body == b"1"
    assert (till.vendor.calls, till.counted) == (1, {"unprotected": 1, "joined": 1, "replayed": 1})
    assert rig.samples(ERRORS, "store", "mode") == {("memory", "open"): 1}


async def test_an_answer_that_came_while_the_ledger_was_away_is_known_to_this_process(
    clock: Clock, rig: Rig, remote: Remote
) -> None:
    """And to every other one once it is back."""
    till = Till(rig, answers(201, body=b"1"), answers(500), store=remote, on_store_error="open")
    remote.go()
    await till.pay()
    await clock.sleep(60.0)
    assert (await till.pay()).body == b"1"
    remote.come()
    await clock.sleep(1.0)
    other = Till(Rig(clock), answers(500), store=remote)
    assert ((await other.pay()).body, till.counted) == (b"1", {"unprotected": 1, "joined": 1})


async def test_a_call_that_passes_unprotected_goes_on_without_its_agent(
    rig: Rig, remote: Remote, gate: asyncio.Event
) -> None:
    """The process does not end before it has."""
    till = Till(rig, gated(gate, answers(201)), store=remote, on_store_error="open")
    remote.go()
    paying = till.begin()
    await turn(6)
    paying.leave()
    await turn(6)
    assert (paying.waits, till.ledger.owned) == (True, 1)
    gate.set()
    assert (await paying).status == 201
    assert till.ledger.owned == 0


async def test_what_is_lost_unprotected_is_refused_by_this_process(rig: Rig, remote: Remote) -> None:
    """It is not made a second time because the ledger is still away."""
    till = Till(rig, breaks(ConnectionReset()), answers(201), store=remote, on_store_error="open")
    remote.go()
    assert [(await till.pay()).reason for _ in range(2)] == ["reset", "outcome_unknown"]
    assert till.vendor.calls == 1


@pytest.mark.parametrize("plan", [held, slow])
async def test_an_agent_that_leaves_while_a_slow_store_is_asked(
    rig: Rig, remote: Remote, gate: asyncio.Event, plan: Callable[[asyncio.Event], Plan]
) -> None:
    """Nothing is sent, and the key is free again."""
    till = Till(rig, answers(201), store=remote)
    remote.plan("reserve", plan(gate))
    paying = till.begin()
    await turn(6)
    paying.leave()
    await turn(6)
    gate.set()
    await turn(6)
    assert (paying.task.cancelled(), till.vendor.calls, await till.state(), len(till.ledger)) == (True, 0, None, 0)
    assert (await till.pay()).status == 201


async def test_an_agent_that_leaves_before_anything_was_sent_frees_the_key(
    rig: Rig, remote: Remote, gate: asyncio.Event
) -> None:
    """Though the store is away just then: it is told when it is back."""
    till = Till(rig, unsent(gate, answers(500)), answers(201), store=remote)
    paying = till.begin()
    await turn(6)
    remote.plan("finish released", fails)
    paying.leave()
    await turn(6)
    assert await till.state() is State.RUNNING
    got = await till.pay()
    assert (got.status, till.vendor.calls) == (201, 2)


async def test_the_end_of_a_call_does_not_wait_for_the_store(rig: Rig, remote: Remote, gate: asyncio.Event) -> None:
    """The agent has its answer; who comes meanwhile has it too."""
    till = Till(rig, answers(201, body=b"1"), store=remote)
    remote.plan("finish done", held(gate))
    assert (await till.pay()).body == b"1"
    assert ((await till.pay()).outcome, await till.state()) == ("replayed", State.RUNNING)
    gate.set()
    await turn(6)
    assert (await till.state(), remote.asked) == (State.DONE, ["reserve", "finish done"])


async def test_a_stream_that_outlasts_its_lease_is_renewed(clock: Clock, remote: Remote) -> None:
    """However long it takes, nobody takes it for lost."""
    flow = Torrent(clock)
    till = Till(Rig(clock), flows(flow), store=remote, lease=2.0, policies={"timeout": Timeouts(stream=None)})
    first = till.begin()
    await turn(6)
    for _ in range(20):
        flow.feed(b"x")
        await clock.sleep(1.0)
        assert remote.unknown == 0
    flow.finish()
    assert (await first).body == b"x" * 20
    await turn(6)
    assert await till.state() is State.DONE
