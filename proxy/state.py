"""What outlives a reload: breakers, budgets, buckets, pools, stores, each under its name. Used by chain.py and app.py.

A reload links new chains to the same objects and gives them their new settings, so that no open circuit closes,
no bucket refills and no connection is lost because a file changed. What no chain names any more is dropped.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from proxy.core.breaker import Breaker, BreakerSettings, State, Transition
from proxy.core.bucket import Buckets, RateSettings
from proxy.core.budget import Budget
from proxy.core.egress import EgressSettings
from proxy.guard import Guard
from proxy.ledgers import Ledgers
from proxy.shelves import Shelves

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from proxy.clock import Clock
    from proxy.config.settings import UpstreamProxy
    from proxy.telemetry.log import AccessLog
    from proxy.telemetry.metrics import Registry
    from proxy.wire.pool import Endpoint, Pool

_log = logging.getLogger("backstay")

_KEYS_PER_LIMIT: Final = 10_000
_PASSING: Final = 256  # destinations that no api names, with connections that may be kept
_BARRED: Final = frozenset({State.OPEN, State.FORCED_OPEN})


@dataclass(frozen=True, slots=True)
class Parts:
    """What chains are linked from."""

    clock: Clock
    registry: Registry
    survivors: Survivors
    access: AccessLog
    scratch: memoryview  # the one read buffer of the wire


class Survivors:
    """See the module. ``breaker``, ``budget``, ``bucket`` and ``pool`` give the object of a name, made or updated."""

    def __init__(self, clock: Clock, registry: Registry) -> None:
        self._clock = clock
        self._registry = registry
        self.breakers: dict[str, Breaker] = {}
        self.budgets: dict[str, Budget] = {}
        self.buckets: dict[str, Buckets] = {}
        self.pools: dict[str, Pool] = {}
        self.guard = Guard(clock, registry, EgressSettings())
        self._passing: dict[tuple[bytes, bytes, UpstreamProxy | None], Pool] = {}  # the least used first
        self.shelves = Shelves(clock, registry)
        self.ledgers = Ledgers(clock, registry)
        self._used: dict[tuple[str, str], object] = {}  # (kind, name) -> the rules it goes by, in the present linking
        self.evicted: dict[str, Callable[[], int]] = {}  # what bounded tables elsewhere dropped, by what it was
        self._evicted = 0  # by buckets that were dropped: a counter does not fall
        registry.computed("backstay_breaker_state", self._breaker_states)
        registry.computed("backstay_upstream_connections", self._connections)
        registry.computed("backstay_retry_budget_ratio", self._budget_ratios)
        registry.computed("backstay_evictions_total", self._evictions)
        registry.computed("backstay_dependency_up", self._up)

    def _claim(self, kind: str, names: Sequence[str], rules: object) -> str:
        """The first of ``names``, widest first, that goes by these rules or by none yet; the last may be set anew.

        One circuit or bucket has one set of rules: a route that overrides those of its api gets its own.
        """
        for name in names:
            if self._used.setdefault((kind, name), rules) == rules:
                return name
        self._used[kind, names[-1]] = rules
        return names[-1]

    def breaker(self, names: Sequence[str], settings: BreakerSettings) -> Breaker:
        """The breaker of a scope, or of the next narrower one if other rules hold for that."""
        name = self._claim("breaker", names, replace(settings, scope="api", mode="enforce"))
        now = self._clock.now()
        if (breaker := self.breakers.get(name)) is not None:
            breaker.reconfigure(settings, now)
            return breaker

        def count(change: Transition) -> None:
            labels: Any = {"from": change.frm.value, "to": change.to.value}
            self._registry.counter(
                "backstay_breaker_transitions_total", breaker=name, reason=change.reason, **labels
            ).inc()
            level = logging.WARNING if change.to in _BARRED else logging.INFO
            _log.log(level, "breaker changed state", extra={"breaker": name, "reason": change.reason, **labels})

        breaker = self.breakers[name] = Breaker(settings, count, now=now)
        return breaker

    def budget(self, names: Sequence[str], ratio: float | None) -> Budget:
        """The retry budget of an api, or of a route whose budget is another."""
        name = self._claim("budget", names, ratio)
        if (budget := self.budgets.get(name)) is None:
            budget = self.budgets[name] = Budget(ratio)
        budget.share = ratio
        return budget

    def bucket(self, names: Sequence[str], settings: RateSettings) -> Buckets:
        """The buckets of an api's rate limit, or of a route whose limit is another."""
        name = self._claim("buckets", names, (settings.key, settings.rate, settings.burst))
        if (buckets := self.buckets.get(name)) is None:
            buckets = self.buckets[name] = Buckets(settings, _KEYS_PER_LIMIT)
        buckets.reconfigure(settings, self._clock.now())
        return buckets

    def pool(self, name: str, made: Pool) -> Pool:
        """The pool of an api: the old one with new bounds, unless it leads elsewhere now."""
        self._claim("pool", [name], None)
        pool = self.pools.get(name)
        if pool is not None and _same(pool.endpoint, made.endpoint):
            pool.max_connections, pool.idle_seconds = made.max_connections, made.idle_seconds
            pool.header_limit = made.header_limit
            return pool
        if pool is not None:
            pool.close()
        self.pools[name] = made
        return made

    def passing(self, key: tuple[bytes, bytes, UpstreamProxy | None], make: Callable[[], Pool]) -> Pool:
        """The pool of a destination that no api names."""
        pool = self._passing.pop(key, None) or make()
        self._passing[key] = pool
        if len(self._passing) > _PASSING:
            self._passing.pop(next(iter(self._passing))).close()
        return pool

    def close_pools(self) -> None:
        """Close what is idle, now, and the rest as it ends."""
        for pool in (*self.pools.values(), *self._passing.values()):
            pool.close()
        self._passing = {}

    def drop_unused(self) -> None:
        """Forget what was not asked for since the last call: the new configuration does not name it."""
        self.shelves.drop_unused()
        self.ledgers.drop_unused()
        for pool in self._passing.values():
            pool.close()  # the way out may be another now
        self._passing = {}
        used, self._used = self._used, {}
        for name in [name for name in self.pools if ("pool", name) not in used]:
            self.pools.pop(name).close()
        self._evicted += sum(each.evictions for name, each in self.buckets.items() if ("buckets", name) not in used)
        for kind, table in (("breaker", self.breakers), ("budget", self.budgets), ("buckets", self.buckets)):
            for name in [name for name in table if (kind, name) not in used]:
                del table[name]

    def tick(self) -> None:
        """Let time pass for the breakers that wait for it."""
        now = self._clock.now()
        for breaker in self.breakers.values():
            if breaker.wants_tick:
                breaker.tick(now)

    def _breaker_states(self) -> Iterator[tuple[dict[str, str], float]]:
        for name, breaker in self.breakers.items():
            for state in State:
                yield {"breaker": name, "state": state.value}, float(breaker.state is state)

    def _connections(self) -> Iterator[tuple[dict[str, str], float]]:
        for name, pool in self.pools.items():
            for state, count in pool.counts().items():
                yield {"api": name, "state": state}, count

    def _budget_ratios(self) -> Iterator[tuple[dict[str, str], float]]:
        now = self._clock.now()
        for name, budget in self.budgets.items():
            yield {"budget": name}, max(1.0 - budget.ratio(now), 0.0)

    def _evictions(self) -> Iterator[tuple[dict[str, str], float]]:
        present = sum(buckets.evictions for buckets in self.buckets.values())
        yield {"what": "rate_limit_keys"}, self._evicted + present
        yield {"what": "cache_entries"}, self.shelves.evictions
        yield {"what": "idempotency_bodies"}, self.ledgers.evictions
        for what, count in self.evicted.items():
            yield {"what": what}, count()

    def _up(self) -> Iterator[tuple[dict[str, str], float]]:
        yield from self.shelves.up()
        yield from self.ledgers.up()


def _same(old: Endpoint, new: Endpoint) -> bool:
    """Whether connections to ``old`` may serve ``new``; contexts are compared by what they were made from."""
    return _place(old) == _place(new)


def _place(of: Endpoint) -> tuple[object, ...]:
    return of.host, of.port, of.server_name, of.identity, of.way.proxy
