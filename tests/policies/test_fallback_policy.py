"""Tests of policies/fallback.py: what the agent gets where its call would end in an error."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.clock import Clock
from proxy.core.bucket import RateSettings
from proxy.core.classify import Classifier, ClassifySettings
from proxy.core.fallback import FallbackSettings, ServeStale, Static, Step, ToApi
from proxy.core.retry import RetrySettings
from proxy.core.timeouts import Timeouts
from proxy.errors import (
    BodyTooLarge,
    CallError,
    CircuitOpen,
    ConnectFailed,
    ConnectionReset,
    Internal,
    NotCached,
    PoolExhausted,
    ProtocolError,
    Timeout,
)
from proxy.model import Ending, Exchange, Headers, Proceed, Response, Stale
from proxy.policies.attempts import Attempts
from proxy.policies.fallback import Fallback
from tests.support import virtual
from tests.support.script import Flow, Rig, Script, answers, fails, hangs, streams
from tests.support.script import Step as Act

SORRY: Final = Static(200, (), '{"why": "${reason}", "again": ${retry_after}}')
BACKUP: Final = ToApi("backup")
DOWN: Final = answers(503, (b"Retry-After", b"7"), body=b"down")
LOST: Final = fails(ConnectionReset())
UNREACHED: Final = fails(ConnectFailed(), sent=False)


class Route:
    """A route with a list of what to try, its vendor, and the vendors of the other apis."""

    def __init__(
        self,
        rig: Rig,
        *steps: Step,
        vendor: Act,
        others: dict[str, Act] | None = None,
        failure: tuple[tuple[int, int], ...] = ((500, 599),),
        rate_limited: bool = False,
        safe: bool = False,
        **policies: Any,
    ) -> None:
        self.rig = rig
        self.kinds: list[str] = []  # as counted
        self.branches: list[Exchange] = []
        self.vendor = Script(rig.clock, vendor)
        self.others = {name: Script(rig.clock, act) for name, act in (others or {}).items()}
        self._proceed = rig.link(self.vendor, **policies) if policies else self._attempt
        classifier = Classifier(ClassifySettings(failure=failure))
        self._attempts = Attempts(rig.clock, classifier)
        self._fallback = Fallback(
            rig.clock,
            FallbackSettings(steps),
            classifier,
            self.kinds.append,
            rate_limited=rate_limited,
            elsewhere=self._elsewhere,
            declared_safe=safe,
        )

    async def _attempt(self, exchange: Exchange) -> Response:
        """Without observe, which in truth stands outside, and would take a dropped answer for the one that was given."""
        return await self._attempts(exchange, self.vendor)

    def _elsewhere(self, api: str, exchange: Exchange) -> tuple[Exchange, Proceed]:
        branch = exchange.branch(exchange.request)
        branch.api = api
        self.branches.append(branch)
        return branch, self.rig.link(self.others[api])

    async def __call__(self, exchange: Exchange) -> Response:
        return await self._fallback(exchange, self._proceed)

    async def see(self, exchange: Exchange) -> int | str:
        """What the agent sees: a status, or the reason of an error."""
        try:
            return (await self(exchange)).status
        except CallError as error:
            return error.reason


def hang_stale(exchange: Exchange, *, permitted: bool) -> None:
    """As the cache does it."""

    def answer(reason: str) -> Response:
        return Response(200, Headers.of((b"Backstay-Outcome", b"stale"), (b"X-Why", reason.encode())), body=b"old")

    exchange.stale = Stale(answer, 60.0, permitted=permitted)


# --- what is replaced ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 302, 404, 429])
async def test_what_is_no_failure_passes_untouched(rig: Rig, status: int) -> None:
    """A 404 is the vendor's word, and a 429 is between the agent and the vendor."""
    exchange = rig.exchange()
    hang_stale(exchange, permitted=True)
    route = Route(rig, SORRY, vendor=answers(status, (b"X-A", b"1")))
    response = await route(exchange)
    assert (response.status, list(response.headers)) == (status, [(b"X-A", b"1")])
    assert (exchange.outcome, route.kinds) == ("forwarded", [])


@pytest.mark.parametrize(
    ("act", "body"),
    [
        (answers(500), b'{"why": "500", "again": 0}'),
        (DOWN, b'{"why": "503", "again": 7}'),
        (LOST, b'{"why": "reset", "again": 0}'),
        (UNREACHED, b'{"why": "connect", "again": 0}'),
        (fails(ProtocolError()), b'{"why": "protocol", "again": 0}'),
        (fails(Timeout()), b'{"why": "timeout", "again": 0}'),
        (fails(CircuitOpen(retry_after=2.4), sent=False), b'{"why": "circuit_open", "again": 3}'),
        (fails(PoolExhausted(), sent=False), b'{"why": "pool_exhausted", "again": 0}'),
    ],
)
async def test_every_failure_has_the_operators_answer(rig: Rig, act: Act, body: bytes) -> None:
    """An error answer, an error and a refusal alike; the answer says what went wrong, and is marked."""
    exchange = rig.exchange()
    route = Route(rig, SORRY, vendor=act)
    response = await route(exchange)
    assert (response.status, response.body) == (200, body)
    assert response.headers.get(b"backstay-outcome") == b"fallback"
    assert exchange.outcome == "fallback"
    assert exchange.reason.encode() in body
    assert route.kinds == ["static"]


@pytest.mark.parametrize("error", [BodyTooLarge(), NotCached(), Internal()])
async def test_what_must_be_seen_is_not_replaced(rig: Rig, error: CallError) -> None:
    """The agent's own fault, its own wish and a defect of ours go up as they are, and are counted nowhere."""
    exchange = rig.exchange()
    hang_stale(exchange, permitted=True)
    route = Route(rig, SORRY, vendor=fails(error, sent=False))
    with pytest.raises(type(error)) as caught:
        await route(exchange)
    assert caught.value is error
    assert route.kinds == []


@pytest.mark.parametrize(("rate_limited", "seen"), [(False, ["rate_limited"]), (True, [200])])
async def test_our_rate_limit_is_replaced_on_demand(rig: Rig, rate_limited: bool, seen: list[int | str]) -> None:
    """``rate_limit.fallback``."""
    limit = RateSettings(rate=1.0, burst=1)
    route = Route(rig, SORRY, vendor=answers(204), rate_limited=rate_limited, rate_limit=limit)
    assert [await route.see(rig.exchange()) for _ in range(2)] == [204, *seen]


async def test_a_route_may_say_what_a_failure_is(rig: Rig) -> None:
    """``classify``: one definition for the breaker and for this."""
    assert await Route(rig, SORRY, vendor=answers(404), failure=((404, 404),)).see(rig.exchange()) == 200
    assert await Route(rig, SORRY, vendor=answers(500), failure=((404, 404),)).see(rig.exchange()) == 500


async def test_a_retry_comes_first(rig: Rig) -> None:
    """What another attempt mends needs no replacement; what none mends has one."""
    route = Route(rig, SORRY, vendor=DOWN, retry=RetrySettings(attempts=2, max=10.0))
    assert await route.see(rig.exchange()) == 200
    assert (route.vendor.calls, route.kinds) == (2, ["static"])


# --- stale --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [(), (SORRY,), (BACKUP, ServeStale())])
@pytest.mark.parametrize(("act", "reason"), [(DOWN, "503"), (LOST, "reset")])
async def test_a_permitted_stale_answer_is_served_unasked(
    rig: Rig, steps: tuple[Step, ...], act: Act, reason: str
) -> None:
    """First of all, whatever is listed; it knows why it is served."""
    exchange = rig.exchange()
    hang_stale(exchange, permitted=True)
    route = Route(rig, *steps, vendor=act)
    response = await route(exchange)
    assert (response.body, response.headers.get(b"x-why")) == (b"old", reason.encode())
    assert (exchange.outcome, exchange.reason) == ("stale", reason)
    assert (route.kinds, route.branches) == (["stale"], [])


@pytest.mark.parametrize(
    ("steps", "kind"), [((ServeStale(), BACKUP, SORRY), "stale"), ((SORRY, ServeStale()), "static"), ((), "none")]
)
async def test_any_other_stale_answer_is_served_where_it_is_listed(
    rig: Rig, steps: tuple[Step, ...], kind: str
) -> None:
    """At its place, or not at all."""
    exchange = rig.exchange()
    hang_stale(exchange, permitted=False)
    route = Route(rig, *steps, vendor=LOST)
    assert await route.see(exchange) == ("reset" if kind == "none" else 200)
    assert route.kinds == [kind]


async def test_a_listed_stale_answer_that_is_not_there_is_passed_over(rig: Rig) -> None:
    """The next on the list is tried."""
    route = Route(rig, ServeStale(), SORRY, vendor=LOST)
    assert await route.see(rig.exchange()) == 200
    assert route.kinds == ["static"]


# --- nothing ------------------------------------------------------------------------------------------------


async def test_the_vendors_own_error_is_given_as_it_came(rig: Rig) -> None:
    """Where nothing better is to be had; its body flows on."""
    flow = Flow()
    route = Route(rig, BACKUP, vendor=streams(flow, 500), others={"backup": LOST})
    exchange = rig.exchange()
    response = await route(exchange)
    assert response is flow.response
    assert not flow.abandoned
    assert list(response.headers) == []
    assert (exchange.outcome, exchange.reason, route.kinds) == ("forwarded", "", ["none"])


async def test_an_error_goes_up_again_as_it_was(rig: Rig) -> None:
    """Not the one of the api that was asked instead."""
    error = ConnectionReset("the first")
    route = Route(rig, BACKUP, vendor=fails(error), others={"backup": fails(ConnectFailed(), sent=False)})
    with pytest.raises(ConnectionReset) as caught:
        await route(rig.exchange())
    assert caught.value is error
    assert route.kinds == ["none"]


# --- another api --------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("failed", [LOST, answers(502), answers(429), fails(CircuitOpen(), sent=False)])
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


# --- when another api may be asked --------------------------------------------------------------------------


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


# --- what the cache had to say ------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [b"", b"backstay;fwd=miss"])
@pytest.mark.parametrize("step", [SORRY, BACKUP])
async def test_an_answer_in_place_of_another_says_that_the_cache_was_asked(rig: Rig, status: bytes, step: Step) -> None:
    """After what the other api's caches said (RFC 9211, 2)."""
    theirs = (b"Cache-Status", b"cdn;hit")
    route = Route(rig, step, vendor=LOST, others={"backup": answers(200, theirs)})
    exchange = rig.exchange()
    exchange.cache_status = status
    response = await route(exchange)
    members = [value for lower, _, value in response.headers.fields if lower == b"cache-status"]
    assert members == [b"cdn;hit"] * (step is BACKUP) + [status] * bool(status)


# --- all of it ----------------------------------------------------------------------------------------------

STATUSES: Final = {"good": 200, "throttled": 429, "failing": 503}
ERRORS: Final = {"lost": ConnectionReset(), "refused": CircuitOpen()}
WORDS: Final = st.sampled_from([*STATUSES, *ERRORS])
OUTCOMES: Final = {"api": "fallback", "static": "fallback", "stale": "stale"}


def act_of(word: str, flow: Flow) -> Act:
    return streams(flow, STATUSES[word]) if word in STATUSES else fails(ERRORS[word], sent=word != "refused")


def expected(vendor: str, stale: bool | None, steps: list[Step], others: dict[str, str], method: bytes) -> str:
    """The kind of what is served, by the rules in words."""
    if vendor in {"good", "throttled"}:
        return "own"
    if stale:
        return "stale"
    written = vendor != "refused"
    for step in steps:
        if isinstance(step, Static):
            return "static"
        if isinstance(step, ServeStale):
            if stale is not None:
                return "stale"
        elif not written or method == b"GET":
            if others[step.api] == "good":
                return "api"
            written |= others[step.api] != "refused"
    return "none"


@settings(max_examples=200, deadline=None)
@given(
    vendor=WORDS,
    stale=st.sampled_from([None, False, True]),
    steps=st.lists(st.sampled_from([ServeStale(), ToApi("a"), ToApi("b"), SORRY]), max_size=4),
    others=st.fixed_dictionaries({"a": WORDS, "b": WORDS}),
    method=st.sampled_from([b"GET", b"POST"]),
)
def test_the_first_that_can_be_had_is_served_and_nothing_else_is_left_open(
    vendor: str, stale: bool | None, steps: list[Step], others: dict[str, str], method: bytes
) -> None:
    """Any vendor, any list: one count, and of all answers only the one that is served still flows."""
    kind = expected(vendor, stale, steps, others, method)

    async def scenario(clock: Clock) -> None:
        flows: list[Flow] = []

        def act(word: str) -> Act:
            flows.append(Flow())
            return act_of(word, flows[-1])

        route = Route(Rig(clock), *steps, vendor=act(vendor), others={name: act(word) for name, word in others.items()})
        exchange = route.rig.exchange(method)
        if stale is not None:
            hang_stale(exchange, permitted=stale)
        served: Response | None = None
        with contextlib.suppress(CallError):
            served = await route(exchange)
        assert route.kinds == ([] if kind == "own" else [kind])
        assert exchange.outcome == OUTCOMES.get(kind, "forwarded")
        assert (served is None) == (kind == "none" and vendor in ERRORS)
        left = [flow.response for flow in flows if flow.response is not None and not flow.ended]
        assert left == ([] if served is None or served.stream is None else [served])

    virtual.run(scenario)
