"""Tests of ledger.py: what a person may settle while this process knows more of the call than its store."""

from __future__ import annotations

import asyncio

import pytest

from proxy.core.idempotency import Found, State
from proxy.ledger import RELEASED
from tests.support.desk import DONE, UNKNOWN, Desk, scene
from tests.support.remote import claim, held, slow
from tests.support.virtual import turn


@pytest.mark.parametrize("done", [True, False])
def test_nobody_settles_a_call_that_this_process_is_making(done: bool) -> None:
    """Its store was away for longer than its lease, and takes it for lost: a twin would be made beside it."""

    async def scenario(desk: Desk) -> None:
        call = await desk.reserved()
        desk.remote.go()
        await desk.clock.sleep(61.0)
        desk.remote.come()
        assert len(await desk.remote.unsettled(api=None, limit=9)) == 1
        assert not await desk.ledger.settle("a" * 32, done=done)
        assert desk.ledger.find("a" * 32) is call
        await desk.clock.sleep(20.0)
        assert await desk.remote.unsettled(api=None, limit=9) == []
        await desk.end(call, DONE)
        assert await desk.state() is State.DONE

    scene(scenario)


def test_nobody_settles_what_is_known_to_be_done() -> None:
    """The store has still to be told."""

    async def scenario(desk: Desk) -> None:
        call = await desk.reserved(lease=0.1)
        desk.remote.go()
        await desk.end(call, DONE)
        await desk.clock.sleep(1.1)
        desk.remote.come()
        assert not await desk.ledger.settle("a" * 32, done=False)
        assert call.landing is DONE
        await desk.clock.sleep(1.0)
        record = await desk.remote.look("a" * 32)
        assert record is not None
        assert record.answer == DONE.answer

    scene(scenario)


def test_what_nobody_knows_may_be_settled_before_the_store_is_told_so() -> None:
    """That it was not known is not said after that."""

    async def scenario(desk: Desk) -> None:
        call = await desk.reserved(lease=0.1)
        desk.remote.go()
        await desk.end(call, UNKNOWN)
        await desk.clock.sleep(1.1)
        desk.remote.come()
        assert await desk.ledger.settle("a" * 32, done=True)
        assert desk.ledger.find("a" * 32) is None
        await desk.clock.sleep(1.0)
        assert await desk.state() is State.DONE

    scene(scenario)


def test_a_call_that_begins_while_an_older_one_is_settled_stays_in_the_table() -> None:
    """Else its lease would not be renewed, nor its end be waited for."""

    async def scenario(desk: Desk) -> None:
        lost = await desk.reserved()
        await desk.end(lost, UNKNOWN)
        gate = asyncio.Event()
        desk.remote.plan("settle", held(gate))
        settling = desk.clock.loop.create_task(desk.ledger.settle("a" * 32, done=False))
        await turn()
        asking = desk.ledger.open(claim("a" * 32, desk.ledger.token(), resend=True))
        assert (await desk.ledger.reserve(asking)).found is Found.OWNED
        gate.set()
        assert not await settling
        assert desk.ledger.find("a" * 32) is asking
        desk.ledger.close(asking, RELEASED)

    scene(scenario)


def test_a_call_that_becomes_this_process_s_while_it_is_settled_stays_in_the_table() -> None:
    """It was asked for elsewhere until then."""

    async def scenario(desk: Desk) -> None:
        await desk.remote.records.reserve(claim("a" * 32, "other", lease=1.0))
        call, gate = desk.open(), asyncio.Event()
        await desk.clock.sleep(1.0)
        desk.remote.plan("settle", slow(gate))
        settling = desk.clock.loop.create_task(desk.ledger.settle("a" * 32, done=False))
        await turn()
        assert (await desk.ledger.reserve(call)).found is Found.OWNED
        gate.set()
        assert await settling
        assert desk.ledger.find("a" * 32) is call

    scene(scenario)
