"""Tests of ledger.py: who waits for a call, and what its store is told, and when."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from proxy.clock import Clock
from proxy.core.idempotency import Conclusion, Found, State
from proxy.errors import ConnectFailed
from proxy.ledger import RELEASED, Call, Failed, Ledger
from proxy.model import Headers, Response
from proxy.stores.base import StoreError
from proxy.stores.ledger import LedgerFull
from proxy.stores.ledger_memory import MemoryLedger
from tests.support import virtual
from tests.support.desk import DONE, GIVEN_BACK, UNKNOWN, Desk, follow, scene
from tests.support.remote import Plan, claim, fails, full, held, loses, slow
from tests.support.virtual import turn


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "backstay")


# --- those who wait -----------------------------------------------------------------------------------------------


def test_those_who_wait_get_the_landing_and_those_who_come_later_too() -> None:
    """The first landing is the landing; who has left, or was cancelled, is given nothing."""

    async def scenario(clock: Clock) -> None:
        call = Call(claim())
        first, gone, cancelled = follow(call), follow(call), follow(call)
        assert repr(call) == "<Call aaaaaaaa asking, 3 waiting>"
        call.leave(gone)
        call.leave(gone)
        cancelled.cancel()
        waited = call.awaited
        call.land(DONE)
        call.land(RELEASED)
        assert (waited, call.awaited) == (True, False)
        assert (first.result(), follow(call).result(), gone.done()) == (DONE, DONE, False)
        assert repr(call) == "<Call aaaaaaaa landed, 0 waiting>"

    virtual.run(scenario)


def test_landings_show_themselves() -> None:
    """For logs, and for those who look."""
    assert repr(RELEASED) == "<Released>"
    assert repr(Failed(ConnectFailed("no route"), None, "")) == "<Failed ConnectFailed('no route')>"
    assert repr(Failed(None, Response(429, Headers()), "")) == "<Failed <Response 429 Ending.COMPLETE>>"


# --- the table ----------------------------------------------------------------------------------------------------


def test_a_call_is_found_while_it_is_under_way() -> None:
    """By its name; what has another call in its place by now is left alone."""

    async def scenario(desk: Desk) -> None:
        call = desk.open()
        assert (desk.ledger.find("a" * 32), desk.ledger.find("b" * 32)) == (call, None)
        assert (list(desk.ledger), len(desk.ledger)) == ([call], 1)
        assert repr(desk.ledger) == "<Ledger in remote, 1 under way, 0 owed>"
        other = desk.open()
        desk.ledger.close(call, RELEASED)
        assert (desk.ledger.find("a" * 32), call.landing) == (other, RELEASED)
        desk.ledger.close(other, RELEASED)
        assert len(desk.ledger) == 0

    scene(scenario)


def test_tokens_are_of_one_reservation_each() -> None:
    """They begin with the epoch of the process."""

    async def scenario(desk: Desk) -> None:
        assert [desk.ledger.token() for _ in range(17)][-2:] == ["e-16", "e-17"]

    scene(scenario)


# --- reserving ----------------------------------------------------------------------------------------------------


def test_memory_is_asked_and_told_without_a_task() -> None:
    """Nothing of it waits."""

    async def scenario(clock: Clock) -> None:
        ledger = Ledger(MemoryLedger(1 << 20, clock.now), clock, "e")
        call = ledger.open(claim("a" * 32, ledger.token()))
        assert (await ledger.reserve(call)).found is Found.OWNED
        assert (call.owned, call.reserved, ledger.owned, ledger.busy) == (True, True, 1, 1)
        assert repr(call) == "<Call aaaaaaaa owned, 0 waiting>"
        call.land(DONE)
        ledger.finish(call, DONE)
        assert (len(ledger), ledger.busy, clock._tasks) == (0, 0, set())
        record = await ledger.store.look("a" * 32)
        assert record is not None
        assert record.state is State.DONE

    virtual.run(scenario)


def test_memory_that_is_full_refuses_and_is_owed_nothing() -> None:
    """What was refused was not reserved."""

    async def scenario(clock: Clock) -> None:
        ledger = Ledger(MemoryLedger(10, clock.now), clock, "e")
        call = ledger.open(claim())
        with pytest.raises(LedgerFull):
            await ledger.reserve(call)
        ledger.close(call, RELEASED)
        assert repr(ledger) == "<Ledger in memory, 0 under way, 0 owed>"

    virtual.run(scenario)


def test_what_somebody_else_makes_is_not_owned() -> None:
    """Nor is it renewed."""

    async def scenario(desk: Desk) -> None:
        await desk.remote.records.reserve(claim("a" * 32, "other"))
        call = desk.open()
        assert (await desk.ledger.reserve(call)).found is Found.RUNNING
        await desk.clock.sleep(100.0)
        assert (call.owned, desk.ledger.busy, desk.remote.asked) == (False, 0, ["reserve"])

    scene(scenario)


def test_a_store_that_is_away_is_not_asked() -> None:
    """It says why, and is owed nothing."""

    async def scenario(desk: Desk) -> None:
        desk.remote.go()
        call = desk.open()
        with pytest.raises(StoreError, match="remote: reserve: away"):
            await desk.ledger.reserve(call)
        desk.ledger.close(call, RELEASED)
        assert desk.remote.asked == []
        assert repr(desk.ledger).endswith("0 owed>")

    scene(scenario)


@pytest.mark.parametrize("plan", [fails, loses])
def test_a_reservation_whose_answer_was_lost_is_given_back(plan: Plan) -> None:
    """Should it have been made, the key is free again as soon as the store can be told, and not after the lease."""

    async def scenario(desk: Desk) -> None:
        desk.remote.plan("reserve", plan)
        call = desk.open()
        with pytest.raises(StoreError):
            await desk.ledger.reserve(call)
        desk.ledger.close(call, RELEASED)
        assert repr(desk.ledger) == "<Ledger in remote, 0 under way, 1 owed>"
        await desk.clock.sleep(0.6)
        assert await desk.state() is None
        assert (desk.remote.asked, repr(desk.ledger)[-7:]) == (["reserve", "finish released"], "0 owed>")

    scene(scenario)


def test_a_full_store_is_owed_nothing() -> None:
    """It has refused."""

    async def scenario(desk: Desk) -> None:
        desk.remote.plan("reserve", full)
        call = desk.open()
        with pytest.raises(LedgerFull):
            await desk.ledger.reserve(call)
        desk.ledger.close(call, RELEASED)
        await desk.clock.sleep(5.0)
        assert desk.remote.asked == ["reserve"]

    scene(scenario)


def test_a_reservation_that_was_asked_for_again_is_not_given_back() -> None:
    """Its answer has come after all."""

    async def scenario(desk: Desk) -> None:
        desk.remote.plan("reserve", loses)
        call = desk.open()
        with pytest.raises(StoreError):
            await desk.ledger.reserve(call)
        assert (await desk.ledger.reserve(call)).found is Found.OWNED
        await desk.clock.sleep(5.0)
        assert (await desk.state(), call.owned) == (State.RUNNING, True)
        await desk.end(call, DONE)
        assert await desk.state() is State.DONE

    scene(scenario)


def test_what_was_answered_at_last_is_not_given_back() -> None:
    """It is somebody else's."""

    async def scenario(desk: Desk) -> None:
        await desk.remote.records.reserve(claim("a" * 32, "other"))
        desk.remote.plan("reserve", loses)
        call = desk.open()
        with pytest.raises(StoreError):
            await desk.ledger.reserve(call)
        assert (await desk.ledger.reserve(call)).found is Found.RUNNING
        desk.ledger.close(call, RELEASED)
        assert repr(desk.ledger) == "<Ledger in remote, 0 under way, 0 owed>"

    scene(scenario)


@pytest.mark.parametrize("plan", [held, slow])
def test_whoever_asks_may_go_while_the_store_is_at_it(plan: Callable[[asyncio.Event], Plan]) -> None:
    """What it reserves for them then is given back at once."""

    async def scenario(desk: Desk) -> None:
        gate = asyncio.Event()
        desk.remote.plan("reserve", plan(gate))
        call = desk.open()
        asking = desk.clock.loop.create_task(desk.ledger.reserve(call))
        await turn(3)
        asking.cancel()
        await turn(3)
        assert (asking.cancelled(), desk.ledger.busy) == (True, 1)
        desk.ledger.close(call, RELEASED)
        gate.set()
        await turn(6)
        assert (await desk.state(), desk.ledger.busy, call.owned) == (None, 0, False)
        assert desk.remote.asked == ["reserve", "finish released"]

    scene(scenario)


def test_what_is_given_back_to_a_store_that_is_away_is_owed() -> None:
    """It is told when it is back."""

    async def scenario(desk: Desk) -> None:
        desk.remote.plan("reserve", loses)
        call = desk.open()
        asking = desk.clock.loop.create_task(desk.ledger.reserve(call))
        await turn(1)
        asking.cancel()
        desk.remote.plan("finish released", fails, fails)
        await desk.clock.sleep(0.7)
        assert await desk.state() is State.RUNNING
        await desk.clock.sleep(0.5)
        assert await desk.state() is None

    scene(scenario)


def test_a_process_that_ends_while_it_asks_gives_nothing_back() -> None:
    """There is nobody left who could: the lease says when the call may be asked about."""

    async def scenario(desk: Desk) -> None:
        desk.remote.plan("reserve", slow(asyncio.Event()))
        asking = desk.clock.loop.create_task(desk.ledger.reserve(desk.open()))
        await turn(3)
        asking.cancel()
        await desk.clock.stop()
        await turn(3)
        assert (asking.cancelled(), desk.remote.asked) == (True, ["reserve"])

    scene(scenario)


# --- finishing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conclusion", "state"), [(DONE, State.DONE), (UNKNOWN, State.UNKNOWN), (GIVEN_BACK, None)], ids=str
)
def test_the_store_learns_how_a_call_ended(conclusion: Conclusion, state: State | None) -> None:
    """And the call leaves the table."""

    async def scenario(desk: Desk) -> None:
        call = await desk.reserved()
        await desk.end(call, conclusion)
        assert (await desk.state(), len(desk.ledger), desk.ledger.busy) == (state, 0, 0)

    scene(scenario)


def test_who_comes_after_a_release_asks_anew_at_once() -> None:
    """Not only when the store has been told; those who come after another end still find it until then."""

    async def scenario(desk: Desk) -> None:
        released, other = await desk.reserved("a" * 32), await desk.reserved("b" * 32)
        for call, conclusion in ((released, GIVEN_BACK), (other, DONE)):
            call.land(conclusion if conclusion is DONE else RELEASED)
            desk.ledger.finish(call, conclusion)
        assert (desk.ledger.find("a" * 32), desk.ledger.find("b" * 32)) == (None, other)
        assert (desk.ledger.owned, desk.ledger.busy) == (0, 2)
        await turn(5)
        assert (len(desk.ledger), desk.ledger.busy) == (0, 0)

    scene(scenario)


def test_an_end_that_comes_too_late_is_said_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Somebody has settled the call meanwhile, or it was forgotten: what its owner says changes nothing."""

    async def scenario(desk: Desk) -> None:
        call = await desk.reserved(lease=0.5)
        await desk.clock.sleep(0.5)
        call.owned = False
        await desk.clock.sleep(1.0)
        assert await desk.ledger.settle("a" * 32, done=True)
        await desk.end(call, UNKNOWN)
        assert await desk.state() is State.DONE

    scene(scenario)
    assert [each.getMessage() for each in caplog.records] == ["a call ended that was not this process's any more"]
    assert caplog.records[0].__dict__["ended"] == "unknown"


# --- people, and the end ------------------------------------------------------------------------------------------


def test_what_a_person_has_settled_is_asked_for_anew() -> None:
    """What this process still knew of it is not true any more."""

    async def scenario(desk: Desk) -> None:
        call = await desk.reserved(lease=0.1)
        call.owned = False
        assert not await desk.ledger.settle("a" * 32, done=False)
        assert desk.ledger.find("a" * 32) is call
        await desk.clock.sleep(1.0)
        assert await desk.ledger.settle("a" * 32, done=False)
        assert (desk.ledger.find("a" * 32), await desk.state()) == (None, None)
        assert not await desk.ledger.settle("a" * 32, done=False)

    scene(scenario)


@pytest.mark.parametrize(("up", "state"), [(True, State.DONE), (False, State.RUNNING)])
def test_the_store_is_told_what_it_is_owed_before_it_is_closed(up: bool, state: State) -> None:
    """If it can be told."""

    async def scenario(desk: Desk) -> None:
        call = await desk.reserved()
        desk.remote.go()
        await desk.end(call, DONE)
        if up:
            desk.remote.come()
        await desk.ledger.shut()
        assert (await desk.state(), desk.remote.closed) == (state, True)
        await turn()
        assert desk.clock._tasks == set()

    scene(scenario)


def test_a_ledger_that_owes_nothing_is_closed() -> None:
    """Nothing is told."""

    async def scenario(desk: Desk) -> None:
        await desk.ledger.shut()
        assert (desk.remote.closed, desk.remote.asked) == (True, [])

    scene(scenario)
