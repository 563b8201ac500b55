"""Tests of policies/attempts.py: what of a call is in the dark, and what a key that is honoured makes safe."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.clock import Clock
from proxy.core.retry import RetrySettings
from proxy.errors import (
    AgentGone,
    CircuitOpen,
    ConnectFailed,
    ConnectionReset,
    DeadlineExceeded,
    PoolExhausted,
    Timeout,
)
from proxy.model import Effect
from tests.support.script import Flow, Rig, Script, Step, answers, fails, hangs, streams

LOST = fails(ConnectionReset())
UNREACHED = fails(ConnectFailed(), sent=False)
REFUSED = fails(CircuitOpen(), sent=False)
DOUBTING = Effect(honoured=True, repeatable=False, doubtful={502: True, 504: True}.__contains__)


@pytest.mark.parametrize(
    ("step", "lost"),
    [
        (answers(200), False),
        (answers(500), False),
        (answers(503), False),
        (LOST, True),
        (fails(Timeout()), True),
        (fails(DeadlineExceeded()), True),
        (fails(AgentGone()), True),
        (fails(ZeroDivisionError()), True),
        (UNREACHED, False),
        (REFUSED, False),
        (fails(PoolExhausted(), sent=False), False),
        (fails(ZeroDivisionError(), sent=False), False),
    ],
)
@pytest.mark.parametrize("retry", [None, RetrySettings(attempts=1)])
async def test_an_attempt_that_was_sent_and_had_no_answer_is_lost(
    rig: Rig, clock: Clock, step: Step, lost: bool, retry: RetrySettings | None
) -> None:
    """An answer, whatever it says, is none: what it says of the call is the ledger's to judge."""
    exchange = rig.exchange(b"POST")
    await asyncio.gather(rig.link(Script(clock, step), retry=retry)(exchange), return_exceptions=True)
    assert exchange.lost is lost


@pytest.mark.parametrize(("sent", "lost"), [(True, True), (False, False)])
async def test_an_attempt_that_is_cut_is_lost_if_it_was_sent(rig: Rig, clock: Clock, sent: bool, lost: bool) -> None:
    """Its agent left."""
    exchange = rig.exchange(b"POST")
    task = asyncio.ensure_future(rig.link(Script(clock, hangs(sent=sent)))(exchange))
    await asyncio.sleep(1.0)
    task.cancel()
    await asyncio.wait({task})
    assert exchange.lost is lost


@pytest.mark.parametrize(
    ("steps", "seen", "lost"),
    [
        ([answers(503), answers(200)], 200, False),
        ([answers(503), UNREACHED], "connect", False),
        ([answers(502), answers(200)], 200, True),
        ([answers(504), answers(503)], 503, True),
        ([answers(502), REFUSED], 502, True),
        ([LOST, answers(200)], 200, True),
        ([LOST, answers(503)], 503, True),
        ([UNREACHED, answers(503)], 503, False),
        ([UNREACHED, LOST], "reset", True),
    ],
)
async def test_what_was_given_up_for_another_attempt_may_leave_a_doubt(
    rig: Rig, clock: Clock, steps: list[Step], seen: int | str, lost: bool
) -> None:
    """A 503 says that nothing was done; what else does is the ledger's to say."""
    exchange = rig.exchange(b"POST")
    exchange.effect = DOUBTING
    proceed = rig.link(Script(clock, *steps), retry=RetrySettings(attempts=2))
    (got,) = await asyncio.gather(proceed(exchange), return_exceptions=True)
    assert getattr(got, "reason" if isinstance(seen, str) else "status", None) == seen
    assert exchange.lost is lost


async def test_a_stream_that_is_given_up_may_leave_a_doubt_too(rig: Rig, clock: Clock) -> None:
    """Its status has said so. Where no ledger asks, nothing is taken down."""
    for effect, lost in ((DOUBTING, True), (None, False)):
        exchange = rig.exchange(b"PUT")
        exchange.effect = effect
        await rig.link(Script(clock, streams(Flow(), 502), answers(200)), retry=RetrySettings())(exchange)
        assert exchange.lost is lost


@pytest.mark.parametrize("step", [LOST, answers(503), answers(504)])
@pytest.mark.parametrize(
    ("effect", "calls"),
    [
        (None, 1),
        (Effect(honoured=False, repeatable=True), 1),  # the agent may repeat it; here nobody does
        (Effect(honoured=True, repeatable=False), 3),
    ],
)
async def test_a_key_that_is_honoured_makes_another_attempt_safe(
    rig: Rig, clock: Clock, step: Step, effect: Effect | None, calls: int
) -> None:
    """The vendor will not carry it out twice."""
    upstream = Script(clock, step)
    exchange = rig.exchange(b"POST")
    exchange.effect = effect
    await asyncio.gather(rig.link(upstream, retry=RetrySettings())(exchange), return_exceptions=True)
    assert upstream.calls == calls


@pytest.mark.parametrize(("replayable", "calls"), [(True, 3), (False, 1)])
async def test_a_key_does_not_bring_back_a_body(rig: Rig, clock: Clock, replayable: bool, calls: int) -> None:
    """It must have been kept whole."""
    upstream = Script(clock, answers(503))
    exchange = rig.exchange(b"POST", stream=Flow(replayable=replayable))
    exchange.effect = Effect(honoured=True, repeatable=False)
    await rig.link(upstream, retry=RetrySettings())(exchange)
    assert upstream.calls == calls


async def test_a_first_attempt_that_was_lost_makes_a_later_answer_no_less_of_an_answer(rig: Rig, clock: Clock) -> None:
    """It stays lost; the ledger knows what that means."""
    exchange: Any = rig.exchange(b"POST")
    exchange.effect = Effect(honoured=True, repeatable=False)
    proceed = rig.link(Script(clock, LOST, answers(503), answers(429)), retry=RetrySettings())
    response = await proceed(exchange)
    assert (response.status, exchange.lost, exchange.attempts) == (429, True, 3)
