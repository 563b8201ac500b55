"""Tests of policies/attempts.py: when an attempt settles, and when there is another one."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from proxy.clock import Clock
from proxy.core.classify import ClassifySettings
from proxy.core.retry import DO_NOT_REPEAT, RetrySettings
from proxy.core.timeouts import Timeouts
from proxy.errors import (
    AgentGone,
    CallError,
    CircuitOpen,
    ConnectFailed,
    ConnectionReset,
    DeadlineExceeded,
    PoolExhausted,
    ProtocolError,
    RateLimited,
    Timeout,
    TlsFailed,
)
from proxy.model import Ending, Headers, Response, Stale, Verdict
from tests.support.script import Flow, Rig, Script, Step, answers, fails, hangs, streams
from tests.support.virtual import turn


def retries(rig: Rig) -> dict[Any, float]:
    return rig.samples("backstay_retries_total", "reason", "result")


# --- one attempt, one verdict -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "verdict"),
    [
        (answers(200), Verdict.SUCCESS),
        (answers(404), Verdict.SUCCESS),
        (answers(429), Verdict.THROTTLED),
        (answers(500), Verdict.FAILURE),
        (answers(503, (b"Retry-After", b"9")), Verdict.FAILURE),
        (fails(ConnectFailed(), sent=False), Verdict.FAILURE),
        (fails(ConnectionReset()), Verdict.FAILURE),
        (fails(ProtocolError()), Verdict.FAILURE),
        (fails(Timeout()), Verdict.FAILURE),
        (fails(DeadlineExceeded()), Verdict.IGNORED),
        (fails(CircuitOpen(), sent=False), Verdict.IGNORED),
        (fails(AgentGone()), Verdict.IGNORED),
        (fails(ZeroDivisionError()), Verdict.IGNORED),
    ],
)
@pytest.mark.parametrize("retry", [None, RetrySettings(attempts=1)])
async def test_every_end_is_one_verdict(
    rig: Rig, clock: Clock, step: Step, verdict: Verdict, retry: RetrySettings | None
) -> None:
    """An attempt settles exactly once, by the one classifier, with retry and without."""
    upstream = Script(clock, step)
    with contextlib.suppress(ZeroDivisionError):
        await rig.call(rig.link(upstream, retry=retry))
    assert upstream.verdicts == [verdict]


async def test_a_cancelled_attempt_says_nothing_about_the_upstream(rig: Rig, clock: Clock) -> None:
    """The agent went away: IGNORED, and what was spent waiting is charged all the same."""
    upstream = Script(clock, hangs())
    exchange = rig.exchange()
    task = asyncio.ensure_future(rig.link(upstream)(exchange))
    await asyncio.sleep(4.0)
    task.cancel()
    await asyncio.wait({task})
    assert upstream.verdicts == [Verdict.IGNORED]
    assert exchange.upstream_seconds == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("status", "ending", "verdict"),
    [
        (200, Ending.COMPLETE, Verdict.SUCCESS),
        (200, Ending.BROKEN, Verdict.FAILURE),
        (200, Ending.STALLED, Verdict.FAILURE),
        (200, Ending.ABANDONED, Verdict.IGNORED),
        (500, Ending.ABANDONED, Verdict.FAILURE),
    ],
)
async def test_a_stream_settles_at_its_end(
    rig: Rig, clock: Clock, status: int, ending: Ending, verdict: Verdict
) -> None:
    """A stream that dies at token 500 is a failure; an agent that leaves in its midst is none."""
    flow = Flow()
    upstream = Script(clock, streams(flow, status))
    await rig.link(upstream)(rig.exchange())
    assert upstream.verdicts == []
    flow.end(ending)
    assert upstream.verdicts == [verdict]


async def test_a_throttled_stream_settles_at_its_headers(rig: Rig, clock: Clock) -> None:
    """A 429 has said all that it has to say."""
    flow = Flow()
    upstream = Script(clock, streams(flow, 429))
    await rig.link(upstream)(rig.exchange())
    flow.end(Ending.BROKEN)
    assert upstream.verdicts == [Verdict.THROTTLED]


async def test_a_route_may_classify_for_itself(rig: Rig, clock: Clock) -> None:
    """``classify`` adds and removes."""
    upstream = Script(clock, answers(404), answers(501))
    proceed = rig.link(upstream, classify=ClassifySettings(failure=((404, 404), (500, 599)), ignore=((501, 501),)))
    await rig.call(proceed)
    await rig.call(proceed)
    assert upstream.verdicts == [Verdict.FAILURE, Verdict.IGNORED]


# --- another attempt ----------------------------------------------------------------------------------------


async def test_a_failure_is_tried_again_with_a_growing_wait(rig: Rig, clock: Clock) -> None:
    """With the chance at one half the waits are half of 50 ms and of 100 ms; each try has its own verdict."""
    upstream = Script(clock, answers(503), fails(ConnectionReset()), answers(200))
    exchange = rig.exchange()
    response = await rig.link(upstream, retry=RetrySettings())(exchange)
    assert response.status == 200
    assert upstream.at == pytest.approx([exchange.started, exchange.started + 0.025, exchange.started + 0.075])
    assert upstream.verdicts == [Verdict.FAILURE, Verdict.FAILURE, Verdict.SUCCESS]
    assert exchange.attempts == 3
    assert exchange.waited == pytest.approx(0.075)
    assert retries(rig) == {("503", "retried"): 1, ("reset", "retried"): 1}


async def test_the_time_upstream_is_the_sum_over_attempts(rig: Rig, clock: Clock) -> None:
    """A wait between two tries is none of it."""
    upstream = Script(clock, fails(ConnectionReset(), after=0.5), answers(200, after=0.25))
    exchange = rig.exchange()
    await rig.link(upstream, retry=RetrySettings())(exchange)
    assert exchange.upstream_seconds == pytest.approx(0.75)


async def test_the_last_answer_is_given_as_it_came_and_not_to_be_repeated(rig: Rig, clock: Clock) -> None:
    """SDKs are told in their dialects not to multiply the attempts made here, whatever the upstream said."""
    upstream = Script(clock, answers(503, (b"X-Should-Retry", b"true"), (b"X-A", b"1"), body=b"down"))
    response = await rig.link(upstream, retry=RetrySettings())(rig.exchange())
    assert (response.status, response.body, upstream.calls) == (503, b"down", 3)
    assert list(response.headers) == [(b"X-A", b"1"), *DO_NOT_REPEAT]
    assert retries(rig) == {("503", "retried"): 2, ("503", "attempts"): 1}


async def test_the_last_error_goes_up(rig: Rig, clock: Clock) -> None:
    """The one of the last attempt, not of the first."""
    upstream = Script(clock, fails(ConnectFailed(), sent=False), fails(ConnectionReset("the last")))
    with pytest.raises(ConnectionReset, match="the last"):
        await rig.link(upstream, retry=RetrySettings(attempts=2))(rig.exchange())


@pytest.mark.parametrize(
    ("step", "seen"),
    [
        (answers(404), 404),
        (answers(429), 429),
        (answers(500), 500),
        (fails(TlsFailed(), sent=False), "tls"),
        (fails(ProtocolError()), "protocol"),
        (fails(DeadlineExceeded()), "deadline"),
        (fails(CircuitOpen(), sent=False), "circuit_open"),
    ],
)
async def test_what_is_not_listed_is_not_tried_again(rig: Rig, clock: Clock, step: Step, seen: int | str) -> None:
    """Nor counted as a decision."""
    upstream = Script(clock, step)
    assert await rig.call(rig.link(upstream, retry=RetrySettings())) == seen
    assert upstream.calls == 1
    assert retries(rig) == {}


async def test_an_answer_that_is_not_listed_is_left_as_it_is(rig: Rig, clock: Clock) -> None:
    """Whether to repeat a 429 is between the agent and the vendor."""
    upstream = Script(clock, answers(429, (b"Retry-After", b"1")))
    response = await rig.link(upstream, retry=RetrySettings())(rig.exchange())
    assert list(response.headers) == [(b"Retry-After", b"1")]


async def test_a_throttled_call_is_tried_again_if_the_operator_says_so(rig: Rig, clock: Clock) -> None:
    """``when`` may name any status."""
    upstream = Script(clock, answers(429, (b"Retry-After", b"1")), answers(200))
    assert await rig.call(rig.link(upstream, retry=RetrySettings(when=frozenset({"429"})))) == 200
    assert upstream.at[1] - upstream.at[0] >= 1.0


@pytest.mark.parametrize(("method", "step"), [(b"PUT", answers(503)), (b"POST", fails(ConnectFailed(), sent=False))])
async def test_what_is_safe_is_sent_again(rig: Rig, clock: Clock, method: bytes, step: Step) -> None:
    """Idempotent methods, and what was never written."""
    upstream = Script(clock, step)
    await rig.call(rig.link(upstream, retry=RetrySettings()), method)
    assert upstream.calls == 3


@pytest.mark.parametrize("step", [answers(503), fails(ConnectionReset())])
async def test_what_may_have_been_done_is_not_sent_again(rig: Rig, clock: Clock, step: Step) -> None:
    """Unless the operator declares that it may."""
    upstream = Script(clock, step)
    await rig.call(rig.link(upstream, retry=RetrySettings()), b"POST")
    assert upstream.calls == 1
    assert {result for _, result in retries(rig)} == {"unsafe"}
    await rig.call(rig.link(upstream, retry=RetrySettings(safe=True)), b"POST")
    assert upstream.calls == 1 + 3


async def test_written_is_remembered_over_all_attempts(rig: Rig, clock: Clock) -> None:
    """A refused connection after a reset does not make a POST unwritten again."""
    upstream = Script(
        clock, fails(ConnectFailed(), sent=False), fails(ConnectionReset()), fails(ConnectFailed(), sent=False)
    )
    assert await rig.call(rig.link(upstream, retry=RetrySettings(attempts=5)), b"POST") == "reset"
    assert upstream.calls == 2


@pytest.mark.parametrize(("replayable", "calls"), [(True, 3), (False, 1)])
async def test_a_body_must_have_been_kept_whole(rig: Rig, clock: Clock, replayable: bool, calls: int) -> None:
    """The stream is asked to keep ``replay_body`` bytes; what is longer is sent once."""
    upstream = Script(clock, answers(503))
    flow = Flow(replayable=replayable)
    await rig.link(upstream, retry=RetrySettings(replay_body=1234))(rig.exchange(b"PUT", stream=flow))
    assert (flow.kept, upstream.calls) == (1234, calls)


async def test_the_budget_bounds_the_retries_of_an_api(rig: Rig, clock: Clock) -> None:
    """Three retries in ten seconds for a seldom caller, and then each call is one attempt."""
    upstream = Script(clock, answers(503))
    proceed = rig.link(upstream, retry=RetrySettings(attempts=2))
    for _ in range(6):
        await rig.call(proceed)
    assert upstream.calls == 6 + 3
    assert retries(rig) == {("503", "retried"): 3, ("503", "attempts"): 3, ("503", "budget"): 3}
    await asyncio.sleep(11.0)
    await rig.call(proceed)
    assert upstream.calls == 9 + 2


async def test_without_a_budget_every_call_may_be_tried_again(rig: Rig, clock: Clock) -> None:
    """``budget: off``."""
    upstream = Script(clock, answers(503))
    proceed = rig.link(upstream, retry=RetrySettings(attempts=2, budget=None))
    for _ in range(50):
        await rig.call(proceed)
    assert upstream.calls == 100


async def test_a_refusal_that_asks_for_a_pause_is_obeyed(rig: Rig, clock: Clock) -> None:
    """Never earlier than the upstream asked, in any of its dialects."""
    upstream = Script(clock, answers(503, (b"retry-after-ms", b"1500")), answers(200))
    await rig.call(rig.link(upstream, retry=RetrySettings()))
    assert 1.5 <= upstream.at[1] - upstream.at[0] <= 2.0


async def test_a_pause_above_the_longest_wait_is_the_agents(rig: Rig, clock: Clock) -> None:
    """It gets the answer with its Retry-After at once, marked as not to be repeated by an SDK on its own."""
    upstream = Script(clock, answers(503, (b"Retry-After", b"3")))
    exchange = rig.exchange()
    response = await rig.link(upstream, retry=RetrySettings(max=2.0))(exchange)
    assert clock.now() == exchange.started
    assert list(response.headers) == [(b"Retry-After", b"3"), *DO_NOT_REPEAT]
    assert retries(rig) == {("503", "retry_after"): 1}


async def test_no_wait_ends_past_the_deadline(rig: Rig, clock: Clock) -> None:
    """With 1 s in all, a pause of 1.5 s is not begun."""
    upstream = Script(clock, answers(503, (b"Retry-After", b"1.5")))
    proceed = rig.link(upstream, retry=RetrySettings(), timeout=Timeouts(total=1.0))
    exchange = rig.exchange()
    assert (await proceed(exchange)).status == 503
    assert clock.now() == exchange.started
    assert retries(rig) == {("503", "deadline"): 1}


async def test_a_stream_that_is_given_up_is_stopped(rig: Rig, clock: Clock) -> None:
    """The body of a 503 that is tried again is not read to its end; its verdict stays FAILURE."""
    flow = Flow()
    upstream = Script(clock, streams(flow, 503), answers(200))
    assert await rig.call(rig.link(upstream, retry=RetrySettings())) == 200
    assert flow.abandoned
    assert upstream.verdicts == [Verdict.FAILURE, Verdict.SUCCESS]


async def test_a_stream_that_has_begun_is_never_tried_again(rig: Rig, clock: Clock) -> None:
    """What the agent has seen cannot be taken back."""
    flow = Flow()
    upstream = Script(clock, streams(flow))
    await rig.link(upstream, retry=RetrySettings())(rig.exchange())
    flow.end(Ending.BROKEN)
    await turn()
    assert upstream.calls == 1


async def test_an_agent_that_leaves_in_a_pause_ends_the_call(rig: Rig, clock: Clock) -> None:
    """Nothing is sent for nobody."""
    upstream = Script(clock, answers(503, (b"Retry-After", b"2")))
    task = clock.loop.create_task(rig.call(rig.link(upstream, retry=RetrySettings(max=5.0))))
    await asyncio.sleep(1.0)
    task.cancel()
    await asyncio.wait({task})
    await asyncio.sleep(5.0)
    assert upstream.calls == 1


# --- a refusal of ours behind an answer of the vendor's -------------------------------------------------------


@pytest.mark.parametrize(
    "refusal",
    [
        CircuitOpen(retry_after=9.0),
        PoolExhausted(),
        RateLimited("Full.", retry_after=1.0, limit=10, window=1.0),
    ],
)
async def test_what_the_vendor_said_outranks_our_refusal_to_ask_again(
    rig: Rig, clock: Clock, refusal: CallError
) -> None:
    """The circuit opened between two attempts: the agent gets the whole answer to the first, not to be repeated."""
    upstream = Script(clock, answers(503, (b"X-A", b"1"), body=b"down"), fails(refusal, sent=False))
    exchange = rig.exchange()
    response = await rig.link(upstream, retry=RetrySettings())(exchange)
    assert (response.status, response.body, exchange.attempts) == (503, b"down", 1)
    assert list(response.headers) == [(b"X-A", b"1"), *DO_NOT_REPEAT]


async def test_the_latest_whole_answer_is_the_one_that_outranks(rig: Rig, clock: Clock) -> None:
    """Also across an attempt that had none."""
    steps = (answers(503), answers(502), fails(ConnectionReset()), fails(CircuitOpen(), sent=False))
    assert await rig.call(rig.link(Script(clock, *steps), retry=RetrySettings(attempts=5))) == 502


async def test_an_answer_that_was_cut_short_outranks_nothing(rig: Rig, clock: Clock) -> None:
    """Its body was stopped for the sake of the next attempt; there is nothing of it to be given."""
    flow = Flow()
    upstream = Script(clock, streams(flow, 503), fails(CircuitOpen(), sent=False))
    assert await rig.call(rig.link(upstream, retry=RetrySettings())) == "circuit_open"
    assert flow.abandoned


async def test_an_answer_does_not_outrank_what_the_vendor_did_later(rig: Rig, clock: Clock) -> None:
    """The last attempt was made, and may have been carried out: its end is the news."""
    upstream = Script(clock, answers(503), fails(ConnectionReset()))
    assert await rig.call(rig.link(upstream, retry=RetrySettings(attempts=2))) == "reset"


# --- what is counted ----------------------------------------------------------------------------------------


def attempts(rig: Rig) -> dict[Any, float]:
    return rig.samples("backstay_attempts_total", "try", "verdict")


@pytest.mark.parametrize(
    ("steps", "counted"),
    [
        ([answers(200)], {("first", "success"): 1}),
        ([answers(503), answers(200)], {("first", "failure"): 1, ("again", "success"): 1}),
        ([answers(503)] * 3, {("first", "failure"): 1, ("again", "failure"): 2}),
        ([fails(ConnectFailed(), sent=False), answers(404)], {("first", "failure"): 1, ("again", "success"): 1}),
        ([answers(429)], {("first", "throttled"): 1}),
        ([fails(AgentGone())], {("first", "ignored"): 1}),
        ([fails(CircuitOpen(), sent=False)], {}),
        ([answers(503), fails(CircuitOpen(), sent=False)], {("first", "failure"): 1}),
    ],
)
async def test_tries_are_counted_by_their_verdict(
    rig: Rig, clock: Clock, steps: list[Step], counted: dict[Any, float]
) -> None:
    """First tries tell how the vendor is, later ones what they mended; what a policy refused is none."""
    await rig.call(rig.link(Script(clock, *steps), retry=RetrySettings(attempts=3)))
    assert attempts(rig) == counted


async def test_a_stream_is_counted_at_its_end(rig: Rig, clock: Clock) -> None:
    """Good headers are no success yet."""
    flow = Flow()
    await rig.link(Script(clock, streams(flow)))(rig.exchange())
    assert attempts(rig) == {}
    flow.end(Ending.BROKEN)
    assert attempts(rig) == {("first", "failure"): 1}


# --- a stale answer at hand -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "seen"), [(answers(503), 503), (fails(ConnectFailed(), sent=False), "connect")])
async def test_with_a_stale_answer_at_hand_there_is_one_attempt(
    rig: Rig, clock: Clock, step: Step, seen: int | str
) -> None:
    """The agent need not wait for a vendor that is failing, nor the vendor bear a second call."""
    upstream = Script(clock, step)
    exchange = rig.exchange()
    exchange.stale = Stale(lambda _: Response(200, Headers()), 60.0, permitted=True)
    try:
        ended: int | str = (await rig.link(upstream, retry=RetrySettings())(exchange)).status
    except CallError as error:
        ended = error.reason
    assert (upstream.calls, ended) == (1, seen)
    assert list(retries(rig)) == [(str(seen), "stale")]


# --- shadow -------------------------------------------------------------------------------------------------


async def test_in_shadow_the_answer_passes_as_it_came(rig: Rig, clock: Clock) -> None:
    """One attempt, untouched fields, and a count of the retry that would have been."""
    upstream = Script(clock, answers(503, (b"X-Should-Retry", b"true")))
    response = await rig.link(upstream, retry=RetrySettings(mode="shadow"))(rig.exchange())
    assert list(response.headers) == [(b"X-Should-Retry", b"true")]
    assert upstream.calls == 1
    assert retries(rig) == {}
    assert rig.samples("backstay_shadow_decisions_total", "policy", "decision") == {("retry", "retry"): 1}


async def test_in_shadow_nothing_is_decided_that_would_not_be_retried(rig: Rig, clock: Clock) -> None:
    """Neither counted nor marked: a POST passes as it came, and so does an error."""
    upstream = Script(clock, answers(503), fails(ConnectionReset()))
    proceed = rig.link(upstream, retry=RetrySettings(mode="shadow"))
    assert list((await proceed(rig.exchange(b"POST"))).headers) == []
    with pytest.raises(CallError):
        await proceed(rig.exchange(b"POST"))
    assert retries(rig) == {}
    assert rig.samples("backstay_shadow_decisions_total", "policy", "decision") == {}
