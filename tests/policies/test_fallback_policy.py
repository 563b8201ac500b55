"""Tests of policies/fallback.py: what the agent gets where its call would end in an error."""

from __future__ import annotations

import contextlib
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.clock import Clock
from proxy.core.bucket import RateSettings
from proxy.core.fallback import ServeStale, Static, Step, ToApi
from proxy.core.retry import RetrySettings
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
from proxy.model import Response
from tests.support import virtual
from tests.support.fallback import BACKUP, DOWN, LOST, SORRY, UNREACHED, Route, hang_stale
from tests.support.properties import examples
from tests.support.script import Flow, Rig, answers, fails, streams
from tests.support.script import Step as Act

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


@settings(max_examples=examples(200), deadline=None)
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
