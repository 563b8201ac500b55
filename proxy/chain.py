"""The order in which policies stand, and the linking of a chain for each route. Used by app.py.

    observe > fallback > idempotency > cache > invalidation > attempts > breaker > rate limit > timeouts > upstream

=============  ========  =====================================================================================
observe        exchange  outermost and always: one outcome, one sample, one log line for every request
fallback       exchange  sees every refusal below it; the only one that serves a stale answer for a failure
idempotency    exchange  outside the limits: a replay costs the vendor nothing; once for all attempts of a call
cache          exchange  outside the limits: a hit costs the vendor nothing, so it costs no token, asks no breaker
invalidation   exchange  inside the cache, which lets writes pass: so that a hit does not pay for it
attempts       bridge    turns an exchange into attempts, and is the one place where they settle
breaker        attempt   first, since its refusal is instant; inside retry, so that each try counts
rate limit     attempt   each try spends the vendor's quota; behind the breaker, so a refusal spends none
timeouts       attempt   last, so that waiting for a token is never taken for a slow vendor
=============  ========  =====================================================================================

concurrency will stand between breaker and rate limit, fault last. A policy that a route does not use is not in its
chain, and costs nothing. Chains are linked once, when the configuration is loaded.
"""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from proxy import keyed
from proxy.core.classify import Classifier
from proxy.core.credentials import CREDENTIALS
from proxy.core.fallback import FallbackSettings
from proxy.core.upstream_key import UpstreamKey
from proxy.core.vendors import vendor_of
from proxy.fetch import Fetcher, Means
from proxy.model import Chain
from proxy.policies.attempts import Attempts, Retry
from proxy.policies.breaker import BreakerPolicy
from proxy.policies.cache import Cache
from proxy.policies.fallback import Fallback
from proxy.policies.idempotency import Idempotency
from proxy.policies.invalidation import Invalidation
from proxy.policies.observe import Observe
from proxy.policies.ratelimit import RateLimit
from proxy.policies.timeouts import TimeoutPolicy
from proxy.shelves import seen_with
from proxy.telemetry.requests import AttemptMetrics, RequestMetrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.config.settings import Api, Policies
    from proxy.core.breaker import BreakerSettings
    from proxy.core.bucket import RateSettings
    from proxy.core.cache import CacheSettings
    from proxy.core.idempotency import IdempotencySettings
    from proxy.model import AttemptPolicy, Exchange, ExchangePolicy, Proceed, Send
    from proxy.state import Parts

Elsewhere: TypeAlias = "Callable[[str, Exchange], tuple[Exchange, Proceed]]"
"""The same call at another api, by its name: a branch of the exchange, and what answers it."""

_IDEMPOTENCY_RESULTS: Final = (
    "first", "joined", "replayed", "resent", "unknown", "in_progress", "mismatch", "not_kept", "key_missing",
    "key_malformed", "no_key", "no_scope", "oversized", "refused", "unprotected",
)  # fmt: skip
_CACHE_RESULTS: Final = ("hit", "miss", "stale", "revalidated", "coalesced", "bypass", "refreshed")


def nowhere(api: str, exchange: Exchange) -> tuple[Exchange, Proceed]:
    """The Elsewhere of a chain that stands alone. Raises LookupError."""
    raise LookupError(f"{exchange.api} has no fallback to {api} here")


def link(
    parts: Parts, api: Api, route: str, policies: Policies, upstream: Send, *, elsewhere: Elsewhere = nowhere
) -> Chain:
    """Link the chain of one route of one api."""
    linker = _Linker(parts, api, route, policies, elsewhere=elsewhere)
    send = upstream
    for attempt_policy in reversed(list(linker.attempt_policies())):
        send = _before_send(attempt_policy, send)
    inner = _bridge(linker.attempts(), send)
    for exchange_policy in reversed(list(linker.exchange_policies())):
        inner = _before_proceed(exchange_policy, inner)
    instant = policies.cache is not None
    return Chain(api.name, route, _before_proceed(linker.observe(), inner), inner, instant)


def _before_send(policy: AttemptPolicy, send: Send) -> Send:
    return lambda attempt: policy(attempt, send)


def _before_proceed(policy: ExchangePolicy, proceed: Proceed) -> Proceed:
    return lambda exchange: policy(exchange, proceed)


def _bridge(attempts: Attempts, send: Send) -> Proceed:
    return lambda exchange: attempts(exchange, send)


class _Linker:
    """Makes the policies of one route."""

    def __init__(
        self, parts: Parts, api: Api, route: str, policies: Policies, *, elsewhere: Elsewhere = nowhere
    ) -> None:
        self._parts = parts
        self._api = api
        self._route = route
        self._policies = policies
        self._elsewhere = elsewhere
        self._declared_safe = policies.retry is not None and policies.retry.safe

    def observe(self) -> Observe:
        """The outermost policy."""
        parts, names = self._parts, {"api": self._api.name}
        metrics = RequestMetrics(parts.registry, self._api.name, self._route)
        inflight = parts.registry.gauge("backstay_inflight_requests", **names)
        return Observe(parts.clock, metrics, parts.access, inflight, self._policies.timeout.total)

    def exchange_policies(self) -> list[ExchangePolicy]:
        """The exchange stage within observe, outermost first."""
        policies: list[ExchangePolicy] = []
        if self._policies.fallback is not None or self._policies.cache is not None:
            policies.append(self._fallback(self._policies.fallback or FallbackSettings()))
        if self._policies.idempotency is not None:
            policies.append(self._idempotency(self._policies.idempotency))
        if self._policies.cache is not None:
            policies.append(self._cache(self._policies.cache))
        if caches := self._caches_of_api():
            policies.append(self._invalidation(caches))
        return policies

    def _fallback(self, settings: FallbackSettings) -> Fallback:
        rate_limit, names = self._policies.rate_limit, {"api": self._api.name, "route": self._route}
        count = {
            kind: self._parts.registry.counter("backstay_fallbacks_total", **names, kind=kind)
            for kind in ("stale", "api", "static", "none")
        }
        return Fallback(
            self._parts.clock,
            settings,
            Classifier(self._policies.classify),
            lambda kind: count[kind].inc(),
            rate_limited=rate_limit is not None and rate_limit.fallback,
            elsewhere=self._elsewhere,
            declared_safe=self._declared_safe,
        )

    def _cache(self, settings: CacheSettings) -> Cache:
        registry, names = self._parts.registry, {"api": self._api.name, "route": self._route}
        shelves = self._parts.survivors.shelves
        means = Means(
            self._parts.clock,
            settings,
            shelf=shelves.shelf(self._api, settings),
            flights=shelves.flights,
            loners=shelves.loners,
            idle=self._policies.timeout.idle,
        )
        count = {
            result: registry.counter("backstay_cache_requests_total", **names, result=result)
            for result in _CACHE_RESULTS
        }
        stale_age = registry.histogram("backstay_cache_stale_age_seconds", **names)
        return Cache(means, Fetcher(means, Classifier(self._policies.classify)), count, stale_age)

    def _idempotency(self, settings: IdempotencySettings) -> Idempotency:
        registry, names = self._parts.registry, {"api": self._api.name, "route": self._route}
        count = {
            result: registry.counter("backstay_idempotency_requests_total", **names, result=result)
            for result in _IDEMPOTENCY_RESULTS
        }
        errors = registry.counter("backstay_store_errors_total", store=settings.store, mode=settings.on_store_error)
        means = keyed.Means(
            self._parts.clock,
            settings,
            self._parts.survivors.ledgers.ledger(settings.store),
            UpstreamKey(settings, vendor_of(self._api.host)),
            scope=self._scope_of_keys(settings.scope),
            idle=self._policies.timeout.idle,
            count=count,
            count_error=errors.inc,
            shadow=self._shadow("idempotency"),
        )
        return Idempotency(means)

    def _scope_of_keys(self, scope: str) -> Callable[[Exchange], str]:
        """Who shares keys: agents without a credential of their own are told apart by those that are set for them."""
        if scope == "api":
            return _everybody
        own = seen_with(self._api) if scope == "credential" else ""
        told = key_of(scope)
        return (lambda exchange: told(exchange) + own) if own else told

    def _caches_of_api(self) -> list[CacheSettings]:
        """One for each shelf that the routes of the api have."""
        policies = [self._policies, self._api.policies, *(route.policies for route in self._api.routes)]
        settings = [each.cache for each in policies if each.cache is not None]
        return list({(each.store, each.mode, each.scope): each for each in settings}.values())

    def _invalidation(self, caches: list[CacheSettings]) -> Invalidation:
        api, shelves = self._api, self._parts.survivors.shelves
        origin = (api.scheme, api.host.encode(), api.port)
        return Invalidation([shelves.shelf(api, each) for each in caches], shelves.flights, origin)

    def attempts(self) -> Attempts:
        """The bridge."""
        clock, classifier = self._parts.clock, Classifier(self._policies.classify)
        metrics = AttemptMetrics(self._parts.registry, self._api.name, self._route)
        settings = self._policies.retry
        if settings is None:
            return Attempts(clock, classifier, metrics)
        budget = self._parts.survivors.budget(self._scopes("api"), settings.budget)
        shadow = self._shadow("retry")
        return Retry(clock, classifier, metrics, settings, budget, count=self._count_retry, shadow=shadow)

    def attempt_policies(self) -> list[AttemptPolicy]:
        """The attempt stage, outermost first."""
        policies: list[AttemptPolicy] = []
        if self._policies.breaker is not None:
            policies.append(self._breaker(self._policies.breaker))
        if self._policies.rate_limit is not None:
            policies.append(self._rate_limit(self._policies.rate_limit))
        policies.append(TimeoutPolicy(self._parts.clock, self._policies.timeout))
        return policies

    def _breaker(self, settings: BreakerSettings) -> BreakerPolicy:
        breaker = self._parts.survivors.breaker(self._scopes(settings.scope), settings)
        shadow = self._shadow("breaker") if settings.mode == "shadow" else None
        return BreakerPolicy(self._parts.clock, breaker, declared_safe=self._declared_safe, shadow=shadow)

    def _rate_limit(self, settings: RateSettings) -> RateLimit:
        scope = "route" if settings.key == "route" else "api"
        buckets = self._parts.survivors.bucket(self._scopes(scope), settings)
        counts = {
            decision: self._parts.registry.counter(
                "backstay_ratelimit_decisions_total", api=self._api.name, route=self._route, decision=decision
            )
            for decision in ("allowed", "delayed", "limited")
        }
        shadow = self._shadow("rate_limit") if settings.mode == "shadow" else None
        key = None if settings.key in ("api", "route") else key_of(settings.key)
        return RateLimit(self._parts.clock, settings, buckets, counts, key=key, shadow=shadow)

    def _scopes(self, widest: str) -> list[str]:
        """The names under which this route may share state with others, widest first."""
        names = {
            "host": f"{self._api.host}:{self._api.port}",
            "api": self._api.name,
            "route": f"{self._api.name}/{self._route}",
        }
        return list(names.values())[list(names).index(widest) :]

    def _shadow(self, policy: str) -> Callable[[str], None]:
        def count(decision: str) -> None:
            self._parts.registry.counter(
                "backstay_shadow_decisions_total", api=self._api.name, policy=policy, decision=decision
            ).inc()

        return count

    def _count_retry(self, reason: str, result: str) -> None:
        self._parts.registry.counter(
            "backstay_retries_total", api=self._api.name, route=self._route, reason=reason, result=result
        ).inc()


def key_of(kind: str) -> Callable[[Exchange], str]:
    """What a keyed policy tells calls apart by: ``credential`` or ``header:NAME``."""
    if kind == "credential":
        return credential_of
    return partial(_header_of, kind.removeprefix("header:").lower().encode())


def credential_of(exchange: Exchange) -> str:
    """A hash of the caller's credentials: no key, metric or log may hold them as they are."""
    if exchange.credential is None:
        digest = hashlib.sha256()
        for lower, _, value in exchange.request.headers.fields:
            if lower in CREDENTIALS:
                digest.update(lower + b"\0" + value + b"\0")
        exchange.credential = digest.hexdigest()[:32]
    return exchange.credential


def _everybody(exchange: Exchange) -> str:
    """One scope for all calls of an api."""
    del exchange
    return ""


def _header_of(lower: bytes, exchange: Exchange) -> str:
    return (exchange.request.headers.get(lower) or b"").decode("latin-1")
