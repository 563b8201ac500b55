"""Tests of ledger.py: for how long a call that this process makes is renewed."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.support.desk import DONE, Desk, opened, scene
from tests.support.remote import fails, held
from tests.support.virtual import turn


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "backstay")


def test_a_call_is_renewed_until_it_has_ended() -> None:
    """However long it takes; then nothing of it stays."""

    async def scenario(desk: Desk) -> None:
        call = await desk.reserved(lease=60.0)
        for _ in range(10):
            await desk.clock.sleep(20.0)
            record = await desk.remote.look("a" * 32)
            assert record is not None
            assert record.lease_until > desk.clock.now() + 20.0
        await desk.end(call, DONE)
        desk.remote.asked.clear()
        await desk.clock.sleep(300.0)
        assert (desk.remote.asked, desk.ledger._timer) == ([], None)

    scene(scenario)


def test_the_shortest_lease_is_renewed_in_time() -> None:
    """Whether it comes first or last; those that are longer are renewed as seldom as they need."""

    async def scenario(desk: Desk) -> None:
        await desk.reserved("a" * 32, lease=60.0)
        await desk.reserved("b" * 32, lease=1.0)
        await desk.reserved("c" * 32, lease=0.6)
        for _ in range(100):
            await desk.clock.sleep(0.1)
            assert desk.remote.unknown == 0
        assert 20 <= desk.remote.asked.count("renew") <= 100

    scene(scenario)


def test_a_renewal_that_fails_is_tried_again_before_the_lease_is_over() -> None:
    """One failure costs nothing."""

    async def scenario(desk: Desk) -> None:
        await desk.reserved(lease=60.0)
        desk.remote.plan("renew", fails)
        await desk.clock.sleep(50.0)
        record = await desk.remote.look("a" * 32)
        assert record is not None
        assert record.lease_until >= 1000.0 + 80.0

    scene(scenario)


def test_a_call_that_ends_while_others_are_renewed_is_not_renewed() -> None:
    """Each is looked at when its turn comes."""

    async def scenario(desk: Desk) -> None:
        gate = asyncio.Event()
        calls = [await desk.reserved(letter * 32) for letter in "ab"]
        desk.remote.plan("renew", held(gate))
        await desk.clock.sleep(21.0)
        await desk.end(calls[1], DONE)
        gate.set()
        await turn(5)
        assert desk.remote.asked.count("renew") == 1

    scene(scenario)


def test_a_call_that_somebody_else_has_settled_is_said_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """It is under way all the same; not so one that has ended meanwhile."""

    async def scenario(desk: Desk) -> None:
        gate = asyncio.Event()
        calls = [await desk.reserved(letter * 32) for letter in "ab"]
        for call in calls:
            await desk.remote.records.finish(call.claim.ident, call.claim.token, DONE)
        desk.remote.plan("renew", held(opened()), held(gate))
        await desk.clock.sleep(21.0)
        calls[1].owned = False
        gate.set()
        await turn(5)

    scene(scenario)
    assert [each.getMessage() for each in caplog.records] == ["a call under way was settled by somebody else"]
