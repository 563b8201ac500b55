"""Tests of chain.py: the order is the documented one, what is not used is not there, and keys hold no secrets."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy import chain
from proxy.chain import credential_of, key_of, link
from proxy.clock import Clock
from proxy.config.settings import Api, Policies, Route
from proxy.core.breaker import BreakerSettings
from proxy.core.bucket import RateSettings
from proxy.core.cache import CacheSettings
from proxy.core.fallback import FallbackSettings
from proxy.core.idempotency import IdempotencySettings
from proxy.core.placeholders import Credential
from proxy.core.retry import RetrySettings
from proxy.core.routing import Match
from proxy.model import Response
from proxy.policies.attempts import Attempts, Retry
from proxy.policies.breaker import BreakerPolicy
from proxy.policies.cache import Cache
from proxy.policies.fallback import Fallback
from proxy.policies.idempotency import Idempotency
from proxy.policies.invalidation import Invalidation
from proxy.policies.observe import Observe
from proxy.policies.ratelimit import RateLimit
from proxy.policies.timeouts import TimeoutPolicy
from tests.support.script import Rig, Script, answers

NAMES = {
    Observe: "observe",
    Fallback: "fallback",
    Idempotency: "idempotency",
    Cache: "cache",
    Invalidation: "invalidation",
    Attempts: "attempts",
    Retry: "attempts",
    BreakerPolicy: "breaker",
    RateLimit: "rate limit",
    TimeoutPolicy: "timeouts",
}
API = Api("vendor", "http", "vendor.example", 8080)


def order(rig: Rig, chosen: Policies) -> list[str]:
    """The names of what a chain is linked from, outermost first."""
    linker = chain._Linker(rig.parts, API, "default", chosen)
    linked = [linker.observe(), *linker.exchange_policies(), linker.attempts(), *linker.attempt_policies()]
    return [NAMES[type(each)] for each in linked]


def policies(**changes: Any) -> Policies:
    everything: dict[str, Any] = {
        "breaker": BreakerSettings(),
        "retry": RetrySettings(),
        "rate_limit": RateSettings(rate=1.0),
        "cache": CacheSettings(),
        "idempotency": IdempotencySettings(),
    }
    return Policies(**(everything | changes))


async def test_the_order_is_the_documented_one(rig: Rig) -> None:
    """The first line of the module's table, and the one of the documentation, are what is linked."""
    root = Path(__file__).parents[2]
    for page in ("proxy/chain.py", "docs/architecture.md"):
        text = (root / page).read_text(encoding="utf-8")
        documented = re.search(r"^    (observe > .*) > upstream$", text, re.MULTILINE)
        assert documented is not None
        assert order(rig, policies()) == documented[1].split(" > ")


@pytest.mark.parametrize(
    ("absent", "name"),
    [
        ("breaker", "breaker"),
        ("rate_limit", "rate limit"),
        ("retry", None),
        ("idempotency", "idempotency"),
        ("cache", "cache"),
        ("cache", "invalidation"),
    ],
)
async def test_a_policy_that_is_not_used_is_not_there(rig: Rig, absent: str, name: str | None) -> None:
    """It costs nothing; an exchange still becomes one attempt without ``retry``."""
    linked = order(rig, policies(**{absent: None}))
    assert name not in linked
    assert "attempts" in linked


async def test_fallback_stands_where_it_has_something_to_serve(rig: Rig) -> None:
    """A list of its own, or what a cache may have at hand; nothing else."""
    assert "fallback" in order(rig, policies())
    assert "fallback" in order(rig, policies(cache=None, fallback=FallbackSettings()))
    assert "fallback" not in order(rig, policies(cache=None))


async def test_writes_of_an_api_that_caches_invalidate_on_every_route(rig: Rig) -> None:
    """A route without a cache may change what another route has stored."""
    caching = Route("search", Match(), policies())
    api = replace(API, routes=(caching,))
    linker = chain._Linker(rig.parts, api, "default", policies(cache=None, idempotency=None))
    assert [type(each) for each in linker.exchange_policies()] == [Invalidation]


async def test_a_chain_alone_falls_back_to_no_other_api(rig: Rig) -> None:
    """Only a runtime knows other apis."""
    with pytest.raises(LookupError, match="vendor has no fallback to backup here"):
        chain.nowhere("backup", rig.exchange())


async def test_a_linked_chain_serves(rig: Rig, clock: Clock) -> None:
    """All of it together, once."""
    upstream = Script(clock, answers(200, body=b"x"))
    linked = link(rig.parts, API, "default", policies(), upstream)
    response: Response = await linked.proceed(rig.exchange())
    assert (response.status, response.body, upstream.calls) == (200, b"x", 1)
    assert (linked.api, linked.route) == ("vendor", "default")


# --- what routes share --------------------------------------------------------------------------------------


def link_two(rig: Rig, clock: Clock, api: Policies, route: Policies) -> None:
    """The calls of an api that no route matches, and one route, as the runtime links them."""
    for name, chosen in (("default", api), ("search", route)):
        link(rig.parts, API, name, chosen, Script(clock, answers()))


async def test_routes_with_the_same_rules_share(rig: Rig, clock: Clock) -> None:
    """One circuit, one bucket and one budget for the whole api; a different mode or wait is no different rule."""
    link_two(
        rig,
        clock,
        policies(),
        policies(breaker=BreakerSettings(mode="shadow"), rate_limit=RateSettings(rate=1.0, wait=3.0)),
    )
    for table in (rig.survivors.breakers, rig.survivors.buckets, rig.survivors.budgets):
        assert list(table) == ["vendor"]


async def test_a_route_with_its_own_rules_has_its_own_state(rig: Rig, clock: Clock) -> None:
    """An override is neither ignored nor forced upon the rest of the api."""
    own = policies(
        breaker=BreakerSettings(consecutive=1), rate_limit=RateSettings(rate=5.0), retry=RetrySettings(budget=None)
    )
    link_two(rig, clock, policies(), own)
    survivors = rig.survivors
    assert [survivors.breakers[name].settings.consecutive for name in ("vendor", "vendor/search")] == [5, 1]
    assert [survivors.buckets[name].settings.rate for name in ("vendor", "vendor/search")] == [1.0, 5.0]
    assert [survivors.budgets[name].share for name in ("vendor", "vendor/search")] == [0.2, None]


@pytest.mark.parametrize(
    ("scope", "names"),
    [("host", ["vendor.example:8080"]), ("api", ["vendor"]), ("route", ["vendor/default", "vendor/search"])],
)
async def test_the_scope_of_a_circuit_is_its_name(rig: Rig, clock: Clock, scope: Any, names: list[str]) -> None:
    """Which is what the metrics and the admin API call it."""
    chosen = policies(breaker=BreakerSettings(scope=scope))
    link_two(rig, clock, chosen, chosen)
    assert list(rig.survivors.breakers) == names


async def test_a_limit_by_route_is_not_shared(rig: Rig, clock: Clock) -> None:
    """``key: route``."""
    chosen = policies(rate_limit=RateSettings(rate=1.0, key="route"))
    link_two(rig, clock, chosen, chosen)
    assert list(rig.survivors.buckets) == ["vendor/default", "vendor/search"]


# --- keys ---------------------------------------------------------------------------------------------------

SECRET = b"sk-live-0123456789"


@pytest.mark.parametrize("name", [b"Authorization", b"X-Api-Key", b"API-Key", b"Cookie", b"x-goog-api-key"])
async def test_a_credential_is_told_apart_and_never_shown(rig: Rig, name: bytes) -> None:
    """The same secret is the same key, another is another, and no part of it is in the key."""
    key = key_of("credential")(rig.exchange(b"GET", (name, SECRET)))
    assert key == credential_of(rig.exchange(b"POST", (name.lower(), SECRET)))
    assert key != credential_of(rig.exchange(b"GET", (name, SECRET + b"0")))
    assert key != credential_of(rig.exchange())
    assert re.fullmatch("[0-9a-f]{32}", key)


async def test_the_same_secret_in_another_field_is_another_credential(rig: Rig) -> None:
    """Names count, and so do boundaries between fields."""
    keys = {
        credential_of(rig.exchange(b"GET", (b"Authorization", SECRET))),
        credential_of(rig.exchange(b"GET", (b"X-Api-Key", SECRET))),
        credential_of(rig.exchange(b"GET", (b"Authorization", SECRET), (b"X-Api-Key", b""))),
    }
    assert len(keys) == 3


async def test_a_credential_is_hashed_once(rig: Rig) -> None:
    """It is asked for by every policy that is keyed by it."""
    exchange = rig.exchange(b"GET", (b"Authorization", SECRET))
    first = credential_of(exchange)
    exchange.request.headers.remove(b"authorization")
    assert credential_of(exchange) == first == exchange.credential


async def test_keys_are_told_apart_by_the_credentials_that_are_set_for_agents(rig: Rig) -> None:
    """Two pods that share a store and hold other secrets do not share keys, though their agents send none."""
    exchange = rig.exchange()
    scopes = [
        chain._Linker(rig.parts, replace(API, credentials=given), "default", policies())._scope_of_keys(scope)(exchange)
        for given in ((), (Credential(b"Authorization", b"one"),), (Credential(b"Authorization", b"two"),))
        for scope in ("credential", "api")
    ]
    assert len({*scopes[::2]}) == 3
    assert {*scopes[1::2]} == {""}


async def test_a_header_may_be_the_key(rig: Rig) -> None:
    """In any case of its name; a call without it has the empty key."""
    key = key_of("header:X-Tenant")
    assert key(rig.exchange(b"GET", (b"x-tenant", b"caf\xe9"))) == "caf\xe9"
    assert key(rig.exchange()) == ""
