"""The order in which policies stand, and the linking of a chain for each route. Used by app.py.

    observe > attempts (retry) > breaker > rate limit > timeouts > upstream

=============  ========  =====================================================================================
observe        exchange  outermost and always: one outcome, one sample, one log line for every request
attempts       bridge    turns an exchange into attempts, and is the one place where they settle
breaker        attempt   first, since its refusal is instant; inside retry, so that each try counts
rate limit     attempt   each try spends the vendor's quota; behind the breaker, so a refusal spends none
timeouts       attempt   last, so that waiting for a token is never taken for a slow vendor
=============  ========  =====================================================================================

fallback, idempotency and cache will stand between observe and attempts (a replay or a hit costs the vendor
nothing), concurrency between breaker and rate limit, fault last. A policy that a route does not use is not in
its chain, and costs nothing. Chains are linked once, when the configuration is loaded.
"""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING

from proxy.core.classify import Classifier
from proxy.model import Chain
from proxy.policies.attempts import Attempts, Retry
from proxy.policies.breaker import BreakerPolicy
from proxy.policies.observe import Observe
from proxy.policies.ratelimit import RateLimit
from proxy.policies.timeouts import TimeoutPolicy
from proxy.telemetry.requests import RequestMetrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.config.settings import Api, Policies
    from proxy.core.breaker import BreakerSettings
    from proxy.core.bucket import RateSettings
    from proxy.model import AttemptPolicy, Exchange, ExchangePolicy, Proceed, Send
    from proxy.state import Parts

_CREDENTIAL_FIELDS = frozenset(
    {b"authorization", b"cookie", b"x-api-key", b"api-key", b"x-goog-api-key", b"x-auth-token", b"proxy-authorization"}
)


def link(parts: Parts, api: Api, route: str, policies: Policies, upstream: Send) -> Chain:
    """Link the chain of one route of one api."""
    linker = _Linker(parts, api, route, policies)
    send = upstream
    for attempt_policy in reversed(list(linker.attempt_policies())):
        send = _before_send(attempt_policy, send)
    proceed = _bridge(linker.attempts(), send)
    for exchange_policy in reversed(list(linker.exchange_policies())):
        proceed = _before_proceed(exchange_policy, proceed)
    return Chain(api.name, route, proceed)


def _before_send(policy: AttemptPolicy, send: Send) -> Send:
    return lambda attempt: policy(attempt, send)


def _before_proceed(policy: ExchangePolicy, proceed: Proceed) -> Proceed:
    return lambda exchange: policy(exchange, proceed)


def _bridge(attempts: Attempts, send: Send) -> Proceed:
    return lambda exchange: attempts(exchange, send)


class _Linker:
    """Makes the policies of one route."""

    def __init__(self, parts: Parts, api: Api, route: str, policies: Policies) -> None:
        self._parts = parts
        self._api = api
        self._route = route
        self._policies = policies
        self._declared_safe = policies.retry is not None and policies.retry.safe

    def exchange_policies(self) -> list[ExchangePolicy]:
        """The exchange stage, outermost first."""
        parts, names = self._parts, {"api": self._api.name}
        metrics = RequestMetrics(parts.registry, self._api.name, self._route)
        inflight = parts.registry.gauge("backstay_inflight_requests", **names)
        return [Observe(parts.clock, metrics, parts.access, inflight, self._policies.timeout.total)]

    def attempts(self) -> Attempts:
        """The bridge."""
        classifier, settings = Classifier(self._policies.classify), self._policies.retry
        if settings is None:
            return Attempts(self._parts.clock, classifier)
        budget = self._parts.survivors.budget(self._scopes("api"), settings.budget)
        return Retry(
            self._parts.clock, classifier, settings, budget, count=self._count_retry, shadow=self._shadow("retry")
        )

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
            if lower in _CREDENTIAL_FIELDS:
                digest.update(lower + b"\0" + value + b"\0")
        exchange.credential = digest.hexdigest()[:32]
    return exchange.credential


def _header_of(lower: bytes, exchange: Exchange) -> str:
    return (exchange.request.headers.get(lower) or b"").decode("latin-1")
