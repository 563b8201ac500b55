"""Tests of state.py: what a reload keeps, renews and drops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from proxy.clock import Clock
from proxy.config.settings import UpstreamProxy
from proxy.core.breaker import BreakerSettings, State, Ticket
from proxy.core.bucket import Limited, RateSettings
from proxy.model import Verdict
from proxy.state import Survivors
from proxy.telemetry.metrics import Registry
from proxy.wire.dial import Way
from proxy.wire.pool import Endpoint, Pool
from tests.support.script import Rig


@pytest.fixture
async def survivors(clock: Clock) -> Survivors:
    return Survivors(clock, Registry())


def a_pool(clock: Clock, *, at: Endpoint | None = None, size: int = 10) -> Pool:
    endpoint = at or Endpoint("vendor.example", 443, identity="one")
    return Pool(clock, endpoint, memoryview(b""), max_connections=size, idle_seconds=60.0, header_limit=1000)


def open_circuit(survivors: Survivors, clock: Clock) -> Any:
    breaker = survivors.breaker(["vendor"], BreakerSettings(consecutive=1))
    ticket = breaker.admit(clock.now(), 0.5)
    assert isinstance(ticket, Ticket)
    breaker.settle(ticket, Verdict.FAILURE, clock.now())
    assert breaker.state is State.OPEN
    return breaker


async def test_an_open_circuit_stays_open(survivors: Survivors, clock: Clock) -> None:
    """New settings apply from the next decision; the state does not change because a file did."""
    breaker = open_circuit(survivors, clock)
    survivors.drop_unused()
    again = survivors.breaker(["vendor"], BreakerSettings(consecutive=9))
    assert again is breaker
    assert again.state is State.OPEN
    assert again.settings.consecutive == 9


async def test_a_bucket_is_not_refilled(survivors: Survivors, clock: Clock) -> None:
    """Tokens that are spent stay spent, whatever the new rate."""
    limit = RateSettings(rate=0.01, burst=1)
    survivors.bucket(["vendor"], limit).get("", clock.now()).take(clock.now(), 0.0)
    survivors.drop_unused()
    again = survivors.bucket(["vendor"], replace(limit, rate=0.02)).get("", clock.now())
    assert isinstance(again.take(clock.now(), 0.0), Limited)


async def test_a_budget_keeps_its_counts(survivors: Survivors, clock: Clock) -> None:
    """A reload in an outage is no licence to retry."""
    budget = survivors.budget(["vendor"], 0.2)
    while budget.withdraw(clock.now()):
        pass
    survivors.drop_unused()
    again = survivors.budget(["vendor"], 0.3)
    assert again is budget
    assert again.share == 0.3
    assert not again.withdraw(clock.now())


async def test_a_pool_that_leads_to_the_same_place_is_kept(survivors: Survivors, clock: Clock) -> None:
    """With its connections and new bounds."""
    pool = survivors.pool("vendor", a_pool(clock))
    survivors.drop_unused()
    made = Pool(clock, a_pool(clock).endpoint, memoryview(b""), max_connections=3, idle_seconds=5.0, header_limit=2000)
    assert survivors.pool("vendor", made) is pool
    assert (pool.max_connections, pool.idle_seconds, pool.header_limit) == (3, 5.0, 2000)


@pytest.mark.parametrize(
    "at",
    [
        Endpoint("other.example", 443, identity="one"),
        Endpoint("vendor.example", 8443, identity="one"),
        Endpoint("vendor.example", 443, server_name="other", identity="one"),
        Endpoint("vendor.example", 443, identity="two"),  # the contents of a TLS file have changed
        Endpoint("vendor.example", 443, identity="one", way=Way(proxy=UpstreamProxy("proxy.example", 3128))),
    ],
)
async def test_a_pool_that_leads_elsewhere_is_replaced(survivors: Survivors, clock: Clock, at: Endpoint) -> None:
    """Nothing that was opened to the old place serves the new one."""
    old = survivors.pool("vendor", a_pool(clock))
    new = a_pool(clock, at=at)
    assert survivors.pool("vendor", new) is new
    assert survivors.pools == {"vendor": new}
    assert old._closed


async def test_what_is_not_named_any_more_is_dropped(survivors: Survivors, clock: Clock) -> None:
    """State does not grow with the number of reloads."""
    for name in ("old", "kept"):
        survivors.breaker([name], BreakerSettings())
        survivors.bucket([name], RateSettings(rate=1.0))
        survivors.budget([name], 0.2)
        survivors.pool(name, a_pool(clock))
    old = survivors.pools["old"]
    survivors.drop_unused()
    survivors.breaker(["kept"], BreakerSettings())
    survivors.bucket(["kept"], RateSettings(rate=1.0))
    survivors.budget(["kept"], 0.2)
    survivors.pool("kept", a_pool(clock))
    survivors.drop_unused()
    for table in (survivors.breakers, survivors.buckets, survivors.budgets, survivors.pools):
        assert list(table) == ["kept"]
    assert old._closed


async def test_other_rules_take_a_narrower_name(survivors: Survivors) -> None:
    """The widest name goes to the rules that come first; the narrowest is set anew if it must."""
    names = ["host:80", "api", "api/route"]
    assert survivors.breaker(names, BreakerSettings(consecutive=1)) is survivors.breakers["host:80"]
    assert survivors.breaker(names, BreakerSettings(consecutive=2)) is survivors.breakers["api"]
    assert survivors.breaker(names, BreakerSettings(consecutive=1)) is survivors.breakers["host:80"]
    assert survivors.breaker(["api"], BreakerSettings(consecutive=3)) is survivors.breakers["api"]
    assert survivors.breakers["api"].settings.consecutive == 3


async def test_a_tick_lets_time_pass_for_who_waits_for_it(survivors: Survivors, clock: Clock) -> None:
    """A ramp that is over ends without a call; a closed circuit is left alone."""
    survivors.breaker(["idle"], BreakerSettings())
    breaker = survivors.breaker(["vendor"], BreakerSettings(probes=1, ramp=1e-9))
    breaker.force(State.FORCED_OPEN, clock.now())
    breaker.force(None, clock.now())
    ticket = breaker.admit(clock.now(), 0.5)
    assert isinstance(ticket, Ticket)
    breaker.answered(ticket, Verdict.SUCCESS, clock.now())
    assert breaker.wants_tick
    survivors.tick()
    assert breaker.state is State.CLOSED


async def test_the_operator_reads_what_a_circuit_does(
    survivors: Survivors, clock: Clock, logged: Callable[[], str]
) -> None:
    """A line for each change of its state, louder where calls are refused."""
    breaker = open_circuit(survivors, clock)
    breaker.force(State.CLOSED, clock.now())
    assert logged().splitlines() == ["WARNING breaker changed state", "INFO breaker changed state"]


async def test_state_shows_in_the_metrics(rig: Rig, clock: Clock) -> None:
    """Read at each scrape: circuits, connections, what is left of budgets, keys that were forgotten."""
    open_circuit(rig.survivors, clock)
    rig.survivors.pool("vendor", a_pool(clock))
    budget = rig.survivors.budget(["vendor"], 0.2)
    budget.withdraw(clock.now())
    buckets = rig.survivors.bucket(["vendor"], RateSettings(rate=1.0, key="credential"))
    for key in range(10_001):
        buckets.get(str(key), clock.now())
    assert rig.samples("backstay_breaker_state", "breaker", "state") == {("vendor", "open"): 1}
    assert rig.samples("backstay_breaker_transitions_total", "to", "reason") == {("open", "consecutive"): 1}
    assert rig.samples("backstay_retry_budget_ratio", "budget") == {"vendor": pytest.approx(2 / 3)}
    assert rig.samples("backstay_evictions_total", "what") == {"rate_limit_keys": 1}
    rig.survivors.drop_unused()
    rig.survivors.drop_unused()
    assert rig.survivors.buckets == {}
    assert rig.samples("backstay_evictions_total", "what") == {"rate_limit_keys": 1}  # a counter does not fall
    rig.survivors.pool("vendor", a_pool(clock))
    names = [family.name for family in rig.registry.families()]
    assert "backstay_upstream_connections" in names
