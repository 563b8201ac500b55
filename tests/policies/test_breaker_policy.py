"""Tests of policies/breaker.py: what the circuit is told of each attempt, and whom it keeps out."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.clock import Clock
from proxy.core.breaker import Breaker, BreakerSettings, State
from proxy.core.bucket import RateSettings
from proxy.core.retry import RetrySettings
from proxy.errors import CallError, CircuitOpen, ConnectionReset, PoolExhausted
from proxy.model import Effect, Ending
from tests.support.script import Flow, Rig, Script, answers, fails, hangs, streams
from tests.support.virtual import turn


def settings(**changes: Any) -> BreakerSettings:
    """Opens at the second failure in a row for ten seconds, and closes after one good probe."""
    return BreakerSettings(
        **({"consecutive": 2, "error_ratio": None, "open": 10.0, "probes": 1, "ramp": 0.0} | changes)
    )


def circuit(rig: Rig) -> Breaker:
    return rig.survivors.breakers["vendor"]


async def to_half_open(rig: Rig, upstream: Script, **changes: Any) -> Any:
    """A chain whose circuit has opened, and whose pause is over; ``upstream`` goes on behind two failures."""
    upstream.steps[:0] = [answers(503), answers(503)]
    proceed = rig.link(upstream, breaker=settings(**changes))
    await rig.call(proceed)
    await rig.call(proceed)
    assert circuit(rig).state is State.OPEN
    await asyncio.sleep(10.0)
    return proceed


# --- who is kept out ----------------------------------------------------------------------------------------


async def test_an_open_circuit_refuses_with_the_seconds_left(rig: Rig, clock: Clock) -> None:
    """Exactly, and nothing reaches the upstream; with the chance at one half OPEN lasts 8.8 of its 10 s."""
    upstream = Script(clock, answers(503))
    proceed = rig.link(upstream, breaker=settings())
    await rig.call(proceed)
    await rig.call(proceed)
    await asyncio.sleep(2.0)
    with pytest.raises(CircuitOpen, match=r"in 6\.8 s") as caught:
        await proceed(rig.exchange())
    assert caught.value.retry_after == pytest.approx(6.8)
    assert upstream.calls == 2


async def test_an_upstreams_retry_after_extends_the_pause(rig: Rig, clock: Clock) -> None:
    """What a 503 asks for is believed."""
    proceed = rig.link(Script(clock, answers(503, (b"Retry-After", b"42"))), breaker=settings())
    await rig.call(proceed)
    await rig.call(proceed)
    with pytest.raises(CircuitOpen) as caught:
        await proceed(rig.exchange())
    assert caught.value.retry_after == pytest.approx(42.0)


async def test_a_circuit_that_is_forced_open_does_not_blame_the_vendor(rig: Rig, clock: Clock) -> None:
    """Nothing failed: the operator keeps calls from it, and no moment is promised."""
    upstream = Script(clock, answers(200))
    proceed = rig.link(upstream, breaker=settings())
    circuit(rig).force(State.FORCED_OPEN, clock.now())
    assert await rig.call(proceed) == "circuit_forced_open"
    assert upstream.calls == 0


async def test_a_good_probe_closes_the_circuit(rig: Rig, clock: Clock) -> None:
    """At its headers: the stream behind them may last for minutes."""
    flow = Flow()
    proceed = await to_half_open(rig, Script(clock, streams(flow)))
    await proceed(rig.exchange())
    assert circuit(rig).state is State.CLOSED
    flow.end(Ending.COMPLETE)


async def test_a_failed_probe_opens_it_again(rig: Rig, clock: Clock) -> None:
    """For longer than before."""
    proceed = await to_half_open(rig, Script(clock, fails(ConnectionReset())))
    assert [await rig.call(proceed), await rig.call(proceed)] == ["reset", "circuit_open"]
    assert circuit(rig).state is State.OPEN


async def test_an_exchange_probes_at_most_once(rig: Rig, clock: Clock) -> None:
    """Its retry does not become a second probe: it is refused, and the agent sees what the probe was answered."""
    upstream = Script(clock, answers(429), answers(200))
    await to_half_open(rig, upstream, probes=3)
    proceed = rig.link(
        upstream, breaker=settings(probes=3), retry=RetrySettings(when=frozenset({"429"}), base=0.0, attempts=2)
    )
    assert await rig.call(proceed) == 429
    assert upstream.calls == 3


async def test_a_thousand_callers_on_a_half_open_circuit_are_three_probes(rig: Rig, clock: Clock) -> None:
    """Never more than ``probes`` at once, nor in all before they have passed."""
    upstream = Script(clock, answers(200, after=1.0))
    proceed = await to_half_open(rig, upstream, probes=3)
    seen = await asyncio.gather(*(rig.call(proceed) for _ in range(1000)))
    assert seen.count(200) == 3
    assert seen.count("circuit_open") == 997
    assert upstream.peak == 3


async def test_a_probe_whose_caller_vanishes_frees_its_permit(rig: Rig, clock: Clock) -> None:
    """The next caller probes in its place."""
    proceed = await to_half_open(rig, Script(clock, hangs(), answers(200)))
    task = clock.loop.create_task(rig.call(proceed))
    await turn()
    assert await rig.call(proceed) == "circuit_open"
    task.cancel()
    await asyncio.wait({task})
    assert await rig.call(proceed) == 200
    assert circuit(rig).state is State.CLOSED


@pytest.mark.parametrize("further_in", ["pool", "rate limit"])
async def test_a_probe_refused_further_in_frees_its_permit(rig: Rig, clock: Clock, further_in: str) -> None:
    """Our own refusal is never fed to the breaker."""
    refused = fails(PoolExhausted(), sent=False)
    upstream = Script(clock, refused, answers(200)) if further_in == "pool" else Script(clock, answers(200))
    proceed = await to_half_open(rig, upstream)
    if further_in == "rate limit":
        scarce = rig.link(upstream, breaker=settings(), rate_limit=RateSettings(rate=0.001, burst=1))
        rig.survivors.buckets["vendor"].get("", clock.now()).take(clock.now(), 0.0)
        assert await rig.call(scarce) == "rate_limited"
    else:
        assert await rig.call(proceed) == "pool_exhausted"
    assert circuit(rig).state is State.HALF_OPEN
    assert await rig.call(proceed) == 200


async def test_a_ramp_that_was_refused_further_in_admits_another(rig: Rig, clock: Clock) -> None:
    """The one call a second that RAMP lets through in any case must have been sent to count."""
    upstream = Script(clock, answers(200), fails(PoolExhausted(), sent=False), answers(200))
    proceed = await to_half_open(rig, upstream, ramp=1000.0)
    assert await rig.call(proceed) == 200
    assert circuit(rig).state is State.RAMP
    assert [await rig.call(proceed) for _ in range(3)] == ["pool_exhausted", 200, "circuit_open"]


async def test_an_unsafe_call_probes_only_if_no_safe_one_came(rig: Rig, clock: Clock) -> None:
    """A POST waits two seconds for a GET to go ahead."""
    proceed = await to_half_open(rig, Script(clock, answers(200)))  # 1.2 s after the pause
    assert await rig.call(proceed, b"POST") == "circuit_open"
    await asyncio.sleep(0.9)
    assert await rig.call(proceed, b"POST") == 200


async def test_a_call_that_was_declared_safe_probes_like_a_safe_one(rig: Rig, clock: Clock) -> None:
    """``retry.safe`` says so."""
    upstream = Script(clock, answers(503), answers(503), answers(200))
    proceed = rig.link(upstream, breaker=settings())
    declared = rig.link(upstream, breaker=settings(), retry=RetrySettings(safe=True, attempts=1))
    await rig.call(proceed)
    await rig.call(proceed)
    await asyncio.sleep(8.8)
    assert await rig.call(declared, b"POST") == 200


@pytest.mark.parametrize(("honoured", "seen"), [(True, 200), (False, "circuit_open")])
async def test_a_call_whose_key_is_honoured_probes_like_a_safe_one(
    rig: Rig, clock: Clock, honoured: bool, seen: int | str
) -> None:
    """It does no harm if it is lost: it can be made again."""
    proceed = await to_half_open(rig, Script(clock, answers(200)))
    exchange = rig.exchange(b"POST")
    exchange.effect = Effect(honoured=honoured, repeatable=False)
    try:
        got: int | str = (await proceed(exchange)).status
    except CallError as error:
        got = error.reason
    assert got == seen


# --- what it is told ----------------------------------------------------------------------------------------


async def test_a_stream_that_breaks_is_a_failure_at_its_end(rig: Rig, clock: Clock) -> None:
    """Good headers do not make up for it."""
    first, second = Flow(), Flow()
    proceed = rig.link(Script(clock, streams(first), streams(second)), breaker=settings())
    await proceed(rig.exchange())
    await proceed(rig.exchange())
    first.end(Ending.BROKEN)
    assert circuit(rig).state is State.CLOSED
    second.end(Ending.BROKEN)
    assert circuit(rig).state is State.OPEN


async def test_an_agent_that_leaves_a_stream_is_no_failure(rig: Rig, clock: Clock) -> None:
    """However many of them leave."""
    flows = [Flow() for _ in range(5)]
    proceed = rig.link(Script(clock, *(streams(flow) for flow in flows)), breaker=settings())
    for flow in flows:
        await proceed(rig.exchange())
        flow.end(Ending.ABANDONED)
    assert circuit(rig).state is State.CLOSED


async def test_throttling_leaves_the_circuit_alone(rig: Rig, clock: Clock) -> None:
    """A vendor that says 429 is well."""
    proceed = rig.link(Script(clock, answers(429)), breaker=settings())
    for _ in range(10):
        await rig.call(proceed)
    assert circuit(rig).state is State.CLOSED


async def test_waiting_for_a_token_is_not_taken_for_slowness(rig: Rig, clock: Clock) -> None:
    """The clock of a slow call starts when it is sent."""
    breaker = settings(slow_call=0.5, min_calls=1, slow_ratio=0.1)
    limit = RateSettings(rate=1.0, burst=1, wait=10.0)
    proceed = rig.link(Script(clock, answers(after=0.1)), breaker=breaker, rate_limit=limit)
    assert await asyncio.gather(*(rig.call(proceed) for _ in range(5))) == [200] * 5
    assert circuit(rig).state is State.CLOSED


async def test_time_to_the_headers_is_what_slow_means(rig: Rig, clock: Clock) -> None:
    """One answer after 0.6 s opens a circuit whose limit is 0.5 s; how long its body takes does not matter."""
    flow = Flow()
    breaker = settings(slow_call=0.5, min_calls=2, slow_ratio=0.5)
    proceed = rig.link(Script(clock, streams(flow, after=0.1), answers(after=0.6)), breaker=breaker)
    await proceed(rig.exchange())
    await asyncio.sleep(5.0)
    flow.end(Ending.COMPLETE)
    assert circuit(rig).state is State.CLOSED
    await rig.call(proceed)
    assert circuit(rig).state is State.OPEN


async def test_routes_share_a_circuit_or_have_their_own(rig: Rig, clock: Clock) -> None:
    """``scope``."""
    upstream = Script(clock, answers(503))
    for scope, seen in (("api", "circuit_open"), ("route", 503), ("host", "circuit_open")):
        rig.survivors.breakers.clear()
        one = rig.link(upstream, route="one", breaker=settings(scope=scope))
        two = rig.link(upstream, route="two", breaker=settings(scope=scope))
        await rig.call(one)
        await rig.call(one)
        assert await rig.call(two) == seen


async def test_every_transition_is_counted_with_its_reason(rig: Rig, clock: Clock) -> None:
    """And the state shows as a gauge."""
    proceed = await to_half_open(rig, Script(clock, answers(200)))
    assert rig.samples("backstay_breaker_state", "breaker", "state") == {("vendor", "open"): 1}
    await rig.call(proceed)
    assert rig.samples("backstay_breaker_transitions_total", "from", "to", "reason") == {
        ("closed", "open", "consecutive"): 1,
        ("open", "half_open", "pause_over"): 1,
        ("half_open", "closed", "probes_passed"): 1,
    }


# --- shadow -------------------------------------------------------------------------------------------------


async def test_in_shadow_every_call_passes(rig: Rig, clock: Clock) -> None:
    """What would have been refused is counted; the circuit goes its way by the calls it would have admitted."""
    upstream = Script(clock, answers(503), answers(503), answers(503), answers(200))
    proceed = rig.link(upstream, breaker=settings(mode="shadow"))
    assert [await rig.call(proceed) for _ in range(4)] == [503, 503, 503, 200]
    assert rig.samples("backstay_shadow_decisions_total", "policy", "decision") == {("breaker", "refused"): 2}
    assert circuit(rig).state is State.OPEN
    await asyncio.sleep(10.0)
    await rig.call(proceed)
    assert circuit(rig).state is State.CLOSED
