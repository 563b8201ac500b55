"""Tests of policies/fallback.py where a call may have been carried out: nothing stands in for its answer."""

from __future__ import annotations

import asyncio

import pytest

from proxy.core.fallback import Static, Step, ToApi
from proxy.core.idempotency import State
from proxy.errors import (
    AnswerNotKept,
    CallError,
    InProgress,
    KeyMalformed,
    KeyMissing,
    KeyReused,
    LedgerDown,
    OutcomeUnknown,
)
from proxy.model import Effect
from tests.support.fallback import BACKUP, DOWN, LOST, SORRY, UNREACHED, Route, hang_stale
from tests.support.keyed import Till, gated
from tests.support.script import Flow, Rig, answers, fails, streams
from tests.support.script import Step as Act
from tests.support.virtual import turn


def effect(*, unknown: bool) -> Effect:
    made = Effect(honoured=False, repeatable=False)
    made.unknown = unknown
    return made


@pytest.mark.parametrize("step", [BACKUP, SORRY])
@pytest.mark.parametrize(("act", "seen"), [(LOST, "reset"), (DOWN, 503), (answers(500), 500)])
@pytest.mark.parametrize("method", [b"POST", b"PUT"])
async def test_what_may_have_been_carried_out_is_not_replaced(
    rig: Rig, step: Step, act: Act, seen: int | str, method: bytes
) -> None:
    """Neither by another api, which would do it again, nor by an answer that would be taken for the outcome."""
    route = Route(rig, step, vendor=act, others={"backup": answers(200)})
    exchange = rig.exchange(method)
    exchange.effect = effect(unknown=True)
    assert (await route.see(exchange), route.kinds, exchange.outcome) == (seen, [], "forwarded")


async def test_nor_by_what_was_stored(rig: Rig) -> None:
    """However permitted."""
    route = Route(rig, vendor=LOST)
    exchange = rig.exchange(b"POST")
    exchange.effect = effect(unknown=True)
    hang_stale(exchange, permitted=True)
    assert (await route.see(exchange), route.kinds) == ("reset", [])


async def test_an_answer_of_the_vendors_is_left_to_come(rig: Rig) -> None:
    """It is neither held nor dropped."""
    flow = Flow()
    route = Route(rig, SORRY, vendor=streams(flow, 500))
    exchange = rig.exchange(b"POST")
    exchange.effect = effect(unknown=True)
    response = await route(exchange)
    assert (response.stream, flow.abandoned) == (flow, False)


@pytest.mark.parametrize(("act", "kinds"), [(UNREACHED, ["api"]), (DOWN, ["static"]), (LOST, ["static"])])
async def test_what_is_known_may_be_replaced(rig: Rig, act: Act, kinds: list[str]) -> None:
    """That a ledger has a record of it changes nothing by itself."""
    route = Route(rig, BACKUP, SORRY, vendor=act, others={"backup": answers(200)})
    exchange = rig.exchange(b"POST")
    exchange.effect = effect(unknown=False)
    assert (await route.see(exchange), route.kinds) == (200, kinds)


@pytest.mark.parametrize(
    "error",
    [KeyMissing(), KeyMalformed(), KeyReused(), InProgress(), OutcomeUnknown(), AnswerNotKept(), LedgerDown()],
    ids=lambda error: error.reason,
)
async def test_what_a_ledger_says_is_for_the_agent(rig: Rig, error: CallError) -> None:
    """It alone can mend it, or has to know."""
    route = Route(rig, ToApi("backup"), Static(200), vendor=fails(error, sent=False), others={"backup": answers(200)})
    assert (await route.see(rig.exchange(b"POST")), route.kinds) == (error.reason, [])


@pytest.mark.parametrize(("act", "seen"), [(LOST, "reset"), (answers(500), 500)])
async def test_what_another_api_may_have_carried_out_is_not_replaced_either(
    rig: Rig, act: Act, seen: int | str
) -> None:
    """Its ledger does not know; the agent has to."""
    backup = Till(rig, act, api="backup")
    till = Till(rig, UNREACHED, fallback=(BACKUP, SORRY), others=(backup,))
    paying = till.begin()
    got = await paying
    assert (got.reason or got.status) == seen
    assert paying.exchange.effect is not None
    assert paying.exchange.effect.unknown


async def test_what_another_api_is_carrying_out_goes_on_without_its_agent(rig: Rig) -> None:
    """Once it is sent, there as here."""
    gate = asyncio.Event()
    backup = Till(rig, gated(gate, answers(201)), api="backup")
    till = Till(rig, UNREACHED, fallback=(BACKUP,), others=(backup,))
    paying = till.begin()
    await turn(10)
    assert paying.exchange.persistent
    paying.leave()
    gate.set()
    await turn(10)
    assert backup.counted == {"first": 1}
    assert await backup.state() is State.DONE
