"""Tests of policies/ratelimit.py: tokens, waits, refusals, keys."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.clock import Clock
from proxy.core.bucket import RateSettings
from proxy.core.retry import RetrySettings
from proxy.core.timeouts import Timeouts
from proxy.errors import CallError, ConnectionReset, EgressDenied, PlaceholderMisused, PoolExhausted, RateLimited
from tests.support.script import Rig, Script, answers, fails, hangs


def limit(**settings: Any) -> RateSettings:
    """Ten calls a second, one at a time."""
    return RateSettings(**({"rate": 10.0, "burst": 1, "quota": 10} | settings))


def decisions(rig: Rig) -> dict[Any, float]:
    return rig.samples("backstay_ratelimit_decisions_total", "decision")


async def test_a_call_over_the_limit_is_refused_with_what_the_agent_must_know(rig: Rig, clock: Clock) -> None:
    """429 with the exact wait, and the quota in RateLimit and RateLimit-Policy; nothing reaches the upstream."""
    upstream = Script(clock, answers())
    proceed = rig.link(upstream, rate_limit=limit())
    await proceed(rig.exchange())
    with pytest.raises(RateLimited, match="10 calls in 1 s") as caught:
        await proceed(rig.exchange())
    assert caught.value.status == 429
    assert caught.value.retry_after == pytest.approx(0.1)
    assert dict(caught.value.headers()) == {
        b"RateLimit-Policy": b'"default";q=10;w=1',
        b"RateLimit": b'"default";r=0;t=1',
    }
    assert upstream.calls == 1
    assert decisions(rig) == {"allowed": 1, "limited": 1}


async def test_a_call_may_wait_for_its_token(rig: Rig, clock: Clock) -> None:
    """With ``wait`` calls leave at the rate, in the order of their coming; the wait is none of our overhead."""
    upstream = Script(clock, answers())
    proceed = rig.link(upstream, rate_limit=limit(wait=1.0))
    exchanges = [rig.exchange() for _ in range(4)]
    await asyncio.gather(*(proceed(exchange) for exchange in exchanges))
    began = exchanges[0].started
    assert upstream.at == pytest.approx([began, began + 0.1, began + 0.2, began + 0.3])
    assert [attempt.exchange for attempt in upstream.attempts] == exchanges
    assert [exchange.waited for exchange in exchanges] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert decisions(rig) == {"allowed": 1, "delayed": 3}


async def test_no_wait_is_longer_than_the_setting(rig: Rig, clock: Clock) -> None:
    """Who would have to wait longer is refused at once."""
    proceed = rig.link(Script(clock, answers()), rate_limit=limit(wait=0.15))
    began = clock.now()
    seen = await asyncio.gather(*(rig.call(proceed) for _ in range(3)))
    assert seen == [200, 200, "rate_limited"]
    assert clock.now() == pytest.approx(began + 0.1)


async def test_no_wait_ends_past_the_deadline(rig: Rig, clock: Clock) -> None:
    """The total is the ceiling of this wait too."""
    proceed = rig.link(Script(clock, answers()), rate_limit=limit(rate=1.0, wait=60.0), timeout=Timeouts(total=0.5))
    assert [await rig.call(proceed), await rig.call(proceed)] == [200, "rate_limited"]


@pytest.mark.parametrize("key", ["header:X-Tenant", "credential"])
async def test_each_key_has_its_own_bucket(rig: Rig, clock: Clock, key: str) -> None:
    """Tenants do not spend each other's tokens."""
    proceed = rig.link(Script(clock, answers()), rate_limit=limit(key=key))
    for tenant in (b"one", b"two"):
        fields = ((b"X-Tenant", tenant), (b"Authorization", b"Bearer " + tenant))
        assert (await proceed(rig.exchange(b"GET", *fields))).status == 200
        with pytest.raises(RateLimited):
            await proceed(rig.exchange(b"GET", *fields))


async def test_every_attempt_spends_a_token(rig: Rig, clock: Clock) -> None:
    """A retry costs the vendor's quota as much as a first try; the agent gets the last answer that was paid for."""
    upstream = Script(clock, answers(503))
    proceed = rig.link(upstream, rate_limit=limit(burst=2), retry=RetrySettings(base=0.0))
    assert await rig.call(proceed) == 503
    assert upstream.calls == 2
    assert await rig.call(proceed) == "rate_limited"


@pytest.mark.parametrize("error", [PoolExhausted(), PlaceholderMisused(), EgressDenied()])
async def test_a_refusal_further_in_gives_the_token_back(rig: Rig, clock: Clock, error: CallError) -> None:
    """Nothing was sent, so nothing is spent."""
    proceed = rig.link(Script(clock, fails(error, sent=False), answers()), rate_limit=limit())
    assert [await rig.call(proceed), await rig.call(proceed)] == [error.reason, 200]


async def test_an_error_of_the_upstream_keeps_the_token(rig: Rig, clock: Clock) -> None:
    """The vendor has counted the call."""
    proceed = rig.link(Script(clock, fails(ConnectionReset())), rate_limit=limit())
    assert [await rig.call(proceed), await rig.call(proceed)] == ["reset", "rate_limited"]


async def test_who_leaves_while_waiting_frees_its_place(rig: Rig, clock: Clock) -> None:
    """A queue of agents that have given up does not keep the next one waiting."""
    upstream = Script(clock, answers())
    proceed = rig.link(upstream, rate_limit=limit(rate=1.0, wait=30.0))
    await rig.call(proceed)
    gone = [clock.loop.create_task(rig.call(proceed)) for _ in range(20)]
    await asyncio.sleep(0.5)
    for task in gone:
        task.cancel()
    await asyncio.wait(gone)
    began = clock.now()
    await rig.call(proceed)
    assert clock.now() - began == pytest.approx(0.5)


async def test_who_leaves_after_the_call_was_sent_has_spent_its_token(rig: Rig, clock: Clock) -> None:
    """The vendor has counted it."""
    proceed = rig.link(Script(clock, hangs()), rate_limit=limit())
    task = clock.loop.create_task(rig.call(proceed))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait({task})
    assert await rig.call(proceed) == "rate_limited"


async def test_in_shadow_a_call_that_had_no_token_gives_none_back(rig: Rig, clock: Clock) -> None:
    """Else a full pool would make the bucket look fuller than it is."""
    upstream = Script(clock, answers(), fails(PoolExhausted(), sent=False), answers())
    proceed = rig.link(upstream, rate_limit=limit(mode="shadow"))
    for _ in range(3):
        await rig.call(proceed)
    assert rig.samples("backstay_shadow_decisions_total", "decision") == {"limited": 2}


@pytest.mark.parametrize(("wait", "decision"), [(0.0, "limited"), (60.0, "delayed")])
async def test_in_shadow_every_call_passes_at_once(rig: Rig, clock: Clock, wait: float, decision: str) -> None:
    """And what would have been done to it is counted."""
    proceed = rig.link(Script(clock, answers()), rate_limit=limit(mode="shadow", wait=wait))
    began = clock.now()
    assert [await rig.call(proceed) for _ in range(3)] == [200, 200, 200]
    assert clock.now() == began
    assert decisions(rig) == {"allowed": 1}
    assert rig.samples("backstay_shadow_decisions_total", "policy", "decision") == {("rate_limit", decision): 2}
