"""Tests of policies/observe.py: whatever happens, one outcome, one sample, at most one line."""

from __future__ import annotations

import asyncio
import json

import pytest

from proxy.clock import Clock
from proxy.core.timeouts import Timeouts
from proxy.errors import AgentGone, BadRequest, CallError, CircuitOpen, ConnectionReset, Internal
from proxy.model import Ending, Exchange
from tests.support.script import Flow, Rig, Script, answers, fails, hangs, streams
from tests.support.virtual import turn

BY = ("outcome", "code", "reason")


def assert_one(rig: Rig, outcome: str, code: str, reason: str) -> None:
    """One sample, one line, nothing in flight."""
    assert rig.samples("backstay_requests_total", *BY) == {(outcome, code, reason): 1}
    assert rig.samples("backstay_request_duration_seconds", "outcome") == {outcome: 1}
    assert rig.samples("backstay_inflight_requests", "api") == {}
    assert [(json.loads(line)["outcome"], json.loads(line)["reason"]) for line in rig.lines] == [(outcome, reason)]


async def test_an_answer_is_counted_with_its_code(rig: Rig, clock: Clock) -> None:
    """A whole answer is one forwarded request, whatever its status."""
    proceed = rig.link(Script(clock, answers(404)))
    await proceed(rig.exchange())
    assert_one(rig, "forwarded", "404", "")


@pytest.mark.parametrize(
    ("error", "outcome", "code"),
    [
        (BadRequest(), "rejected", "400"),
        (CircuitOpen(), "refused", "503"),
        (ConnectionReset(), "failed", "502"),
        (AgentGone(), "abandoned", "499"),
        (Internal(), "refused", "500"),
    ],
)
async def test_an_error_is_counted_by_who_is_at_fault(
    rig: Rig, clock: Clock, error: CallError, outcome: str, code: str
) -> None:
    """The agent's own fault is rejected, ours refused, the upstream's failed; the error itself goes on."""
    proceed = rig.link(Script(clock, fails(error)))
    with pytest.raises(CallError) as caught:
        await proceed(rig.exchange())
    assert caught.value is error
    assert_one(rig, outcome, code, error.reason)


async def test_a_cancelled_call_is_abandoned(rig: Rig, clock: Clock) -> None:
    """An agent that goes away before the answer leaves one sample behind, and the cancellation goes on."""
    proceed = rig.link(Script(clock, hangs()))
    task = clock.loop.create_task(rig.call(proceed))
    await turn()
    assert rig.samples("backstay_inflight_requests", "api") == {"vendor": 1}
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert_one(rig, "abandoned", "499", "agent_gone")


async def test_a_defect_is_counted_and_goes_on(rig: Rig, clock: Clock) -> None:
    """An exception that is none of ours is an internal error in the metrics."""
    proceed = rig.link(Script(clock, fails(ZeroDivisionError("a defect"))))
    with pytest.raises(ZeroDivisionError):
        await proceed(rig.exchange())
    assert_one(rig, "refused", "500", "internal")


@pytest.mark.parametrize(
    ("ending", "outcome", "reason"),
    [
        (Ending.COMPLETE, "forwarded", ""),
        (Ending.BROKEN, "broken", "broken"),
        (Ending.STALLED, "broken", "stalled"),
        (Ending.ABANDONED, "abandoned", "abandoned"),
    ],
)
async def test_a_stream_is_counted_at_its_end(
    rig: Rig, clock: Clock, ending: Ending, outcome: str, reason: str
) -> None:
    """A body that still comes is in flight until it ends; how it ends is its outcome."""
    flow = Flow()
    proceed = rig.link(Script(clock, streams(flow)))
    await proceed(rig.exchange())
    assert rig.samples("backstay_requests_total", *BY) == {}
    assert rig.samples("backstay_inflight_requests", "api") == {"vendor": 1}
    flow.end(ending)
    flow.end(Ending.BROKEN)  # a second end changes nothing
    assert_one(rig, outcome, "200", reason)


async def test_the_deadline_runs_from_the_requests_headers(rig: Rig, clock: Clock) -> None:
    """The exchange's deadline is its start plus timeout.total, however long it has waited to be served."""
    exchange = rig.exchange()
    await asyncio.sleep(1.0)
    proceed = rig.link(Script(clock, answers()), timeout=Timeouts(total=7.0))
    await proceed(exchange)
    assert exchange.deadline == exchange.started + 7.0


async def test_overhead_is_what_neither_the_upstream_nor_a_wait_took(rig: Rig, clock: Clock) -> None:
    """Of 3.5 s, 3 s were the upstream's and 0.5 s are ours."""

    async def served(exchange: Exchange) -> None:
        await asyncio.sleep(0.5)  # ours
        await proceed(exchange)

    proceed = rig.link(Script(clock, answers(after=3.0)))
    await served(rig.exchange())
    line = json.loads(rig.lines[0])
    assert (line["first_byte_ms"], line["upstream_ms"], line["overhead_ms"]) == (3500.0, 3000.0, 500.0)


async def test_only_what_is_asked_for_is_logged(clock: Clock) -> None:
    """With access: errors a plain forward leaves no line, a failure one."""
    rig = Rig(clock, access="errors")
    proceed = rig.link(Script(clock, answers(), fails(ConnectionReset())))
    assert [await rig.call(proceed), await rig.call(proceed)] == [200, "reset"]
    assert [json.loads(line)["reason"] for line in rig.lines] == ["reset"]
