"""Tests of policies/fallback.py: when another api is asked, and what becomes of its answer."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from proxy.clock import Clock
from proxy.core.fallback import ServeStale, ToApi
from proxy.core.retry import RetrySettings
from proxy.core.timeouts import Timeouts
from proxy.errors import BodyTooLarge, CircuitOpen, EgressDenied, Internal, PlaceholderMisused
from proxy.model import Ending, Headers, Response
from tests.support.fallback import BACKUP, DOWN, LOST, SORRY, UNREACHED, Route
from tests.support.script import Flow, Rig, answers, fails, hangs, streams
from tests.support.script import Step as Act

# --- its answer ---------------------------------------------------------------------------------------------


async def test_another_api_answers_instead(rig: Rig) -> None:
    """Marked, whatever that api said of its outcome, and on this call's account."""
    other = answers(201, (b"Backstay-Outcome", b"hit"), after=0.5, body=b"from elsewhere")
    route = Route(rig, BACKUP, SORRY, vendor=answers(503, after=0.25), others={"backup": other})
    exchange = rig.exchange()
    response = await route(exchange)
    assert (response.status, response.body) == (201, b"from elsewhere")
    assert list(response.headers) == [(b"Backstay-Outcome", b"fallback")]
    assert (exchange.outcome, exchange.reason, route.kinds) == ("fallback", "503", ["api"])
    assert exchange.attempts == 2
    assert exchange.upstream_seconds == pytest.approx(0.75)


async def test_an_answer_is_held_until_another_is_in_hand(rig: Rig, clock: Clock) -> None:
    """Only then is the rest of the vendor's own error answer not wanted any more."""
    flow = Flow()
    route = Route(rig, BACKUP, vendor=streams(flow, 503), others={"backup": answers(200, after=1.0)})
    task = clock.loop.create_task(route.see(rig.exchange()))
    await asyncio.sleep(0.5)
    held = not flow.abandoned
    assert await task == 200
    assert held
    assert flow.abandoned


@pytest.mark.parametrize(
    "failed",
    [
        LOST,
        answers(502),
        answers(429),
        fails(CircuitOpen(), sent=False),
        fails(PlaceholderMisused(), sent=False),  # the agent's placeholder is for the api that it called
        fails(EgressDenied(), sent=False),
    ],
)
async def test_an_api_that_cannot_help_either_is_passed_over(rig: Rig, failed: Act) -> None:
    """An error, a failure, or an api that will not: the next on the list is tried."""
    others = {"backup": failed, "third": answers(200, body=b"third")}
    route = Route(rig, BACKUP, ToApi("third"), vendor=DOWN, others=others)
    assert (await route(rig.exchange())).body == b"third"
    assert route.kinds == ["api"]


async def test_the_error_answer_of_another_api_is_not_read(rig: Rig) -> None:
    """What nobody will get is stopped at once."""
    flow = Flow()
    route = Route(rig, BACKUP, SORRY, vendor=LOST, others={"backup": streams(flow, 500)})
    assert await route.see(rig.exchange()) == 200
    assert flow.abandoned


async def test_what_another_api_has_only_as_a_stale_answer_stays_stale(rig: Rig) -> None:
    """The model must know that it is old, wherever it came from."""

    async def serve_stale(clock: Clock, attempt: Any) -> Response:
        attempt.exchange.outcome = "stale"
        return Response(200, Headers.of((b"Backstay-Outcome", b"stale")), body=b"old")

    route = Route(rig, BACKUP, vendor=LOST, others={"backup": serve_stale})
    exchange = rig.exchange()
    response = await route(exchange)
    assert (response.headers.get(b"backstay-outcome"), exchange.outcome) == (b"stale", "stale")
    assert route.kinds == ["api"]


# --- when it may be asked -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "act", "safe", "asked"),
    [
        (b"GET", LOST, False, True),
        (b"PUT", DOWN, False, True),
        (b"POST", UNREACHED, False, True),
        (b"POST", LOST, False, False),
        (b"POST", DOWN, False, False),
        (b"POST", DOWN, True, True),
    ],
)
async def test_another_api_is_asked_only_if_nothing_is_done_twice(
    rig: Rig, method: bytes, act: Act, safe: bool, asked: bool
) -> None:
    """Who charges a card at two vendors has charged it twice."""
    route = Route(rig, BACKUP, SORRY, vendor=act, others={"backup": answers(201)}, safe=safe)
    assert await route.see(rig.exchange(method)) == (201 if asked else 200)
    assert route.others["backup"].calls == int(asked)


async def test_what_was_written_elsewhere_counts_too(rig: Rig) -> None:
    """A call that never left, and then was lost at the second api, is not sent to a third."""
    route = Route(rig, BACKUP, ToApi("third"), vendor=UNREACHED, others={"backup": LOST, "third": answers(201)})
    exchange = rig.exchange(b"POST")
    assert await route.see(exchange) == "connect"
    assert exchange.written
    assert route.others["third"].calls == 0


async def test_there_must_be_time_left(rig: Rig) -> None:
    """A call that used up its total is not begun again; the operator's answer takes no time."""
    route = Route(rig, BACKUP, SORRY, vendor=hangs(), others={"backup": hangs()}, timeout=Timeouts(total=1.0))
    exchange = rig.exchange()
    assert await route.see(exchange) == 200
    assert (route.branches, exchange.reason) == ([], "deadline")


async def test_another_api_has_what_is_left_of_the_time(rig: Rig, clock: Clock) -> None:
    """A branch has the deadline of its exchange."""
    others = {"backup": hangs()}
    route = Route(
        rig, BACKUP, SORRY, vendor=answers(503, after=299.0), others=others, timeout=Timeouts(first_byte=None)
    )
    exchange = rig.exchange()
    assert await route.see(exchange) == 200
    assert clock.now() == pytest.approx(exchange.started + 300.0, abs=0.1)


@pytest.mark.parametrize(("replayable", "asked"), [(True, 1), (False, 0)])
async def test_a_body_must_have_been_kept_whole(rig: Rig, replayable: bool, asked: int) -> None:
    """It is asked for before the first attempt, and in vain if it was too long."""
    flow = Flow(replayable=replayable)
    route = Route(rig, BACKUP, SORRY, vendor=LOST, others={"backup": answers(201)})
    await route(rig.exchange(b"PUT", stream=flow))
    assert (flow.kept, route.others["backup"].calls) == (65536, asked)


async def test_a_retry_says_how_much_of_a_body_is_kept(rig: Rig) -> None:
    """``retry.replay_body`` holds for both."""
    flow = Flow()
    route = Route(rig, BACKUP, vendor=answers(200), retry=RetrySettings(replay_body=1234))
    await route(rig.exchange(b"PUT", stream=flow))
    assert flow.kept == 1234


async def test_no_body_is_kept_where_no_api_is_listed(rig: Rig) -> None:
    """It would cost memory for nothing."""
    flow = Flow()
    await Route(rig, ServeStale(), SORRY, vendor=answers(200))(rig.exchange(b"PUT", stream=flow))
    assert flow.kept is None


@pytest.mark.parametrize(
    ("upload_ended", "answer_ended", "asked"), [(False, False, 0), (True, False, 1), (False, True, 1), (True, True, 1)]
)
async def test_a_body_has_one_writer_at_a_time(rig: Rig, upload_ended: bool, answer_ended: bool, asked: int) -> None:
    """A vendor that sends an error in the midst of the upload, and is not done with it, still holds the body."""
    upload, answer = Flow(), Flow()
    upload.ended = upload_ended

    async def early(clock: Clock, attempt: Any) -> Response:
        response = await streams(answer, 503)(clock, attempt)
        if answer_ended:
            answer.end(Ending.COMPLETE)
        return response

    route = Route(rig, BACKUP, SORRY, vendor=early, others={"backup": answers(201)})
    await route(rig.exchange(b"PUT", stream=upload))
    assert route.others["backup"].calls == asked


# --- ends ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [BodyTooLarge(), Internal(), ZeroDivisionError()])
async def test_what_must_be_seen_is_seen_from_another_api_too(rig: Rig, error: Exception) -> None:
    """The rest of the list does not cover it up, and nothing is left behind."""
    flow = Flow()
    route = Route(rig, BACKUP, SORRY, vendor=streams(flow, 503), others={"backup": fails(error)})
    exchange = rig.exchange()
    with pytest.raises(type(error)):
        await route(exchange)
    assert flow.abandoned
    assert (exchange.attempts, route.kinds) == (2, [])


async def test_an_agent_that_leaves_leaves_nothing_behind(rig: Rig, clock: Clock) -> None:
    """The answer that was held is stopped, the other api's attempt ends, and its time is charged."""
    flow = Flow()
    route = Route(rig, BACKUP, SORRY, vendor=streams(flow, 503), others={"backup": hangs()})
    exchange = rig.exchange()
    task = clock.loop.create_task(route.see(exchange))
    await asyncio.sleep(4.0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert flow.abandoned
    assert (route.others["backup"].running, route.kinds) == (0, [])
    assert exchange.upstream_seconds == pytest.approx(4.0)
