"""Tests of policies/fallback.py where the api that is asked instead makes its calls once."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.fallback import Static, ToApi
from proxy.core.retry import DO_NOT_REPEAT
from proxy.errors import ConnectFailed, ConnectionReset
from proxy.wire.rescue import rescue
from tests.support.keyed import STRIPE, Till
from tests.support.script import Rig, Step, answers, fails

LOST = fails(ConnectionReset())
UNREACHED = fails(ConnectFailed(), sent=False)


def tills(rig: Rig, elsewhere: Step, *here: Step, **settings: Any) -> tuple[Till, Till]:
    """A route that falls back to another api, and that api's; an answer of the operator's comes last."""
    backup = Till(rig, elsewhere, api="backup", host=STRIPE, **settings)
    steps = (ToApi("backup"), Static(200, (), "sorry"))
    return Till(rig, *(here or (UNREACHED,)), fallback=steps, others=(backup,)), backup


@pytest.mark.parametrize("on_unknown", ["refuse", "resend"])
async def test_nothing_stands_in_for_what_was_lost_elsewhere(rig: Rig, on_unknown: str) -> None:
    """Nor may it be repeated, whatever holds there: it would be made here."""
    till, _ = tills(rig, LOST, on_unknown=on_unknown)
    paying = till.begin()
    await paying
    assert paying.got.reason == "reset"
    assert paying.got.error is not None
    told = rescue(paying.got.error, paying.exchange)
    assert b'"outcome": "unknown"' in told.body
    assert {name: told.headers.get(name) for name, _ in DO_NOT_REPEAT} == dict(DO_NOT_REPEAT)


@pytest.mark.parametrize("on_unknown", ["refuse", "resend"])
async def test_an_answer_that_leaves_it_open_is_the_answer(rig: Rig, on_unknown: str) -> None:
    """A 500 of the other api may have been carried out."""
    till, backup = tills(rig, answers(500, body=b"oops"), on_unknown=on_unknown)
    got = await till.pay()
    assert (got.status, got.body, got.exchange.outcome) == (500, b"oops", "fallback")
    assert got.response is not None
    assert {name: got.response.headers.get(name) for name, _ in DO_NOT_REPEAT} == dict(DO_NOT_REPEAT)
    assert backup.vendor.calls == 1


@pytest.mark.parametrize("step", [UNREACHED, answers(503), answers(429)])
async def test_what_was_not_done_elsewhere_either_may_be_replaced(rig: Rig, step: Step) -> None:
    """It is known that nothing has happened."""
    till, _ = tills(rig, step)
    assert (await till.pay()).body == b"sorry"


async def test_what_is_refused_elsewhere_is_for_the_agent(rig: Rig) -> None:
    """The second time the other api knows that nobody knows: still nothing stands in for that."""
    till, backup = tills(rig, LOST)
    await till.pay()
    again = till.begin()
    await again
    assert (again.got.reason, backup.vendor.calls) == ("outcome_unknown", 1)
