"""Tests of ledger.py: what a store that is away is owed, and calls that are made although it is."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from proxy.core.idempotency import Answer, Conclusion, State
from proxy.stores.base import StoreError
from tests.support.desk import DONE, GIVEN_BACK, UNKNOWN, Desk, opened, scene
from tests.support.remote import Plan, Remote, claim, fails, full, held, loses, slow
from tests.support.virtual import turn


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "backstay")


# --- what is owed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("conclusion", [DONE, UNKNOWN], ids=["done", "unknown"])
def test_what_could_not_be_told_is_told_when_the_store_is_back(conclusion: Conclusion) -> None:
    """Until then at least this process knows: the call stays in its table, with its landing."""

    async def scenario(desk: Desk) -> None:
        call = await desk.reserved()
        desk.remote.go()
        await desk.end(call, conclusion)
        await desk.clock.sleep(600.0)
        found = desk.ledger.find("a" * 32)
        assert found is call
        assert (found.landing, desk.ledger.busy, len(desk.errors)) == (conclusion, 0, 1)
        asked = len(desk.remote.asked)
        desk.remote.come()
        await desk.clock.sleep(1.0)
        assert len(desk.remote.asked) == asked + 1, "it was asked again only once it was up"
        assert (await desk.state() is not State.RUNNING, len(desk.ledger)) == (True, 0)
        assert repr(desk.ledger).endswith("0 owed>")

    scene(scenario)


def test_a_release_that_could_not_be_told_bars_nobody_here() -> None:
    """Those who come find no call; the store is told all the same."""

    async def scenario(desk: Desk) -> None:
        call = await desk.reserved()
        desk.remote.plan("finish released", fails)
        await desk.end(call, GIVEN_BACK)
        assert (desk.ledger.find("a" * 32), await desk.state()) == (None, State.RUNNING)
        await desk.clock.sleep(1.0)
        assert await desk.state() is None

    scene(scenario)


def test_a_store_that_goes_away_again_is_told_the_rest_later() -> None:
    """What it has been told is not told again."""

    async def scenario(desk: Desk) -> None:
        calls = [await desk.reserved(letter * 32) for letter in "abc"]
        desk.remote.go()
        for call in calls:
            await desk.end(call, DONE)

        async def goes(store: Remote, what: str, work: Any) -> Any:
            store.go()
            raise StoreError(store.name, what, "away")

        desk.remote.come()
        desk.remote.asked.clear()
        desk.remote.plan("finish done", slow(opened()), goes)
        await desk.clock.sleep(1.0)
        assert (desk.remote.asked, len(desk.ledger)) == (["finish done"] * 2, 2)
        desk.remote.come()
        await desk.clock.sleep(1.0)
        assert (desk.remote.asked, len(desk.ledger)) == (["finish done"] * 4, 0)

    scene(scenario)


def test_one_that_is_refused_does_not_hold_up_the_others() -> None:
    """A full disk takes no answer, and may well take the releases that would make room."""

    async def scenario(desk: Desk) -> None:
        calls = [await desk.reserved(letter * 32) for letter in "ab"]
        desk.remote.plan("finish done", *[fails] * 4)
        desk.remote.plan("finish released", fails)
        await desk.end(calls[0], DONE)
        await desk.end(calls[1], GIVEN_BACK)
        await desk.clock.sleep(0.6)
        assert (await desk.state("a" * 32), await desk.state("b" * 32)) == (State.RUNNING, None)
        await desk.clock.sleep(2.0)
        assert await desk.state("a" * 32) is State.DONE

    scene(scenario)


def test_what_is_owed_anew_while_it_is_told_is_told_as_well() -> None:
    """The last word counts, and is not taken for told because an earlier one was."""

    async def scenario(desk: Desk) -> None:
        gate = asyncio.Event()
        call = await desk.reserved()
        desk.remote.plan("finish unknown", fails, held(gate))
        await desk.end(call, UNKNOWN)
        await desk.clock.sleep(0.6)
        desk.remote.plan("finish done", fails)
        desk.ledger.finish(call, DONE)
        await turn(5)
        gate.set()
        await desk.clock.sleep(1.0)
        assert (await desk.state(), len(desk.ledger)) == (State.DONE, 0)

    scene(scenario)


def test_answers_that_are_owed_take_no_more_than_their_room() -> None:
    """One too many is owed, and held for who asks meanwhile, as done, without its body."""

    async def scenario(desk: Desk) -> None:
        size = 9 << 20

        def done(size: int) -> Conclusion:
            return DONE._replace(answer=Answer(201, b"Created", (), b"x" * size))

        calls = [await desk.reserved(letter * 32) for letter in "abc"]
        desk.remote.go()
        for call, answer in zip(calls, (done(size), done(size), done(7 << 20)), strict=True):
            await desk.end(call, answer)
        kept = [each.landing.answer for each in calls if isinstance(each.landing, Conclusion)]
        assert [answer is not None for answer in kept] == [True, False, True]
        desk.remote.come()
        await desk.clock.sleep(1.0)
        records = [await desk.remote.look(letter * 32) for letter in "abc"]
        assert {record.state for record in records if record is not None} == {State.DONE}
        call = await desk.reserved("d" * 32)
        desk.remote.go()
        await desk.end(call, done(size))
        assert isinstance(call.landing, Conclusion)
        assert call.landing.answer is not None, "there is room again"

    scene(scenario)


def test_no_more_is_owed_than_can_be_told() -> None:
    """The oldest are given up: their records become unknown by themselves."""

    async def scenario(desk: Desk) -> None:
        desk.remote.records.limit = 1 << 30
        calls = [await desk.reserved(f"{number:032x}") for number in range(10_002)]
        desk.remote.go()
        for call in calls:
            call.land(UNKNOWN)
            desk.ledger.finish(call, UNKNOWN)
        await turn(5)
        assert repr(desk.ledger) == "<Ledger in remote, 10000 under way, 10000 owed>"
        assert [desk.ledger.find(call.claim.ident) for call in calls[:3]] == [None, None, calls[2]]

    scene(scenario)


# --- calls that were made without a reservation ---------------------------------------------------------------------


@pytest.mark.parametrize("plan", [fails, loses])
def test_a_call_that_is_made_all_the_same_is_known_here_and_told_at_its_end(
    plan: Plan, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is told meanwhile that it was released; at the end it is recorded, reserved or not."""

    async def scenario(desk: Desk) -> None:
        desk.remote.plan("reserve", plan)
        call = desk.open()
        with pytest.raises(StoreError):
            await desk.ledger.reserve(call)
        desk.ledger.own(call)
        await desk.clock.sleep(100.0)
        assert (desk.ledger.find("a" * 32), desk.ledger.owned) == (call, 1)
        assert "finish released" not in desk.remote.asked
        await desk.end(call, DONE)
        record = await desk.remote.look("a" * 32)
        assert record is not None
        assert (record.state, record.answer, len(desk.ledger)) == (State.DONE, DONE.answer, 0)

    scene(scenario)
    assert caplog.records == [], "nobody has settled what was not reserved"


def test_one_that_ended_while_the_store_was_away_is_recorded_when_it_is_back() -> None:
    """With the answer; until then this process has it."""

    async def scenario(desk: Desk) -> None:
        desk.remote.go()
        call = desk.open()
        desk.ledger.own(call)
        await desk.end(call, DONE)
        assert desk.ledger.find("a" * 32) is call
        desk.remote.come()
        await desk.clock.sleep(1.0)
        assert (await desk.state(), len(desk.ledger)) == (State.DONE, 0)

    scene(scenario)


def test_one_that_another_process_has_made_too_is_left_to_that(caplog: pytest.LogCaptureFixture) -> None:
    """It was the risk."""

    async def scenario(desk: Desk) -> None:
        desk.remote.go()
        call = desk.open()
        desk.ledger.own(call)
        await desk.remote.records.reserve(claim("a" * 32, "other"))
        await desk.end(call, DONE)
        desk.remote.come()
        await desk.clock.sleep(1.0)
        record = await desk.remote.look("a" * 32)
        assert record is not None
        assert (record.state, record.token, len(desk.ledger)) == (State.RUNNING, "other", 0)

    scene(scenario)
    assert caplog.records == []


def test_one_for_which_there_is_no_room_is_forgotten() -> None:
    """A full ledger is not asked again and again; what was released need not be recorded."""

    async def scenario(desk: Desk) -> None:
        for ident, conclusion in (("a" * 32, DONE), ("b" * 32, GIVEN_BACK)):
            call = desk.open(ident)
            desk.ledger.own(call)
            desk.remote.plan("reserve", full)
            await desk.end(call, conclusion)
        await desk.clock.sleep(5.0)
        assert desk.remote.asked == ["finish done", "reserve", "finish released"]
        assert repr(desk.ledger) == "<Ledger in remote, 0 under way, 0 owed>"

    scene(scenario)
