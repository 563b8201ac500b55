"""Every file in config/ loads, and says what its comments say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from proxy.config.explain import explain
from proxy.config.keys import keys_of
from proxy.config.load import load
from proxy.config.schema import Document, Route, Step
from proxy.config.settings import Address, Api, Config, Policies, TlsIntercept
from proxy.config.validate import inner_model
from proxy.core.egress import EgressSettings, Via, judge_unresolved, passes_through
from proxy.core.fallback import FallbackSettings, ServeStale, Static, ToApi, render
from proxy.core.freshness import CacheSettings
from proxy.core.idempotency import Derive, IdempotencySettings, StoreErrors
from proxy.core.retry import RetrySettings
from proxy.core.vendors import vendor_of

EXAMPLES = sorted(Path("config").glob("*.yaml"))


def example(name: str) -> Config:
    return load([Path("config") / f"{name}.yaml"], {})


def route(api: Api, name: str) -> Policies:
    return next(route.policies for route in api.routes if route.name == name)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_it_loads(path: Path) -> None:
    """Without any environment, so that it can be tried as it is."""
    config = load([path], {})
    assert config.apis
    for api in config.apis:
        assert api.mount is not None or config.tls_intercept is not None
        assert f" {api.name} " in explain(config, "GET", f"{api.mount or f'https://{api.host}'}/x")


def test_the_least_is_ten_lines() -> None:
    """A newcomer reads it at a glance."""
    assert len(Path("config/minimal.yaml").read_text().splitlines()) == 10
    (api,) = example("minimal").apis
    assert api.policies == Policies()


def paths_of(model: type[BaseModel], path: str = "") -> Iterator[str]:
    for name, field in keys_of(model).items():
        here = f"{path}.{name}".lstrip(".")
        inner = inner_model(field.annotation)
        if inner is None or inner in {Route, Step}:
            yield here
        else:
            yield from paths_of(inner, here)


def test_the_full_example_has_every_key() -> None:
    """Every key that this version takes, except those that defaults and routes repeat."""
    origins = [re.sub(r"\.routes\.\w+", "", path) for path in example("full").origins]
    keys = [key.replace(".credentials.", ".credentials.authorization.") for key in paths_of(Document)]
    known = {key.replace("apis.", "apis.stripe.") for key in keys if not key.startswith("defaults.")}
    assert known - {"apis.stripe.routes"} <= {*origins}


def test_the_full_example_states_the_defaults() -> None:
    """Whoever copies a line from it changes nothing."""
    full = example("full")
    api, _ = full.apis
    assert (full.listen, full.limits, full.drain_timeout) == (Config().listen, Config().limits, Config().drain_timeout)
    assert (api.policies.timeout, api.policies.breaker) == (Policies().timeout, Policies().breaker)
    assert (api.policies.retry, api.policies.classify) == (RetrySettings(), Policies().classify)
    assert (api.policies.cache, api.policies.idempotency) == (CacheSettings(), IdempotencySettings())
    assert (full.stores_shared, full.stores_ledger) == (None, None)
    assert (full.upstream_proxy, full.egress, full.tls_intercept) == (None, EgressSettings(), TlsIntercept())


def test_the_full_example_has_every_step() -> None:
    """A stale answer, another api, and an answer of one's own with all that it may have; none for a payment."""
    stripe, backup = example("full").apis
    assert stripe.policies.fallback is not None
    kinds = [type(step) for step in stripe.policies.fallback.steps]
    assert kinds == [ServeStale, ToApi, Static]
    assert route(stripe, "charges").fallback is None
    assert backup.policies.fallback is None


def test_a_model_vendor_may_stream_for_long() -> None:
    """No cap on a stream, patience for the first token, and a question may be asked twice."""
    (api,) = example("llm").apis
    completions = route(api, "completions")
    assert completions.timeout.stream is None
    assert completions.timeout.first_byte == 120.0
    assert completions.retry is not None
    assert completions.retry.safe
    assert completions.rate_limit == api.policies.rate_limit


def test_payments_happen_once() -> None:
    """They are written down on a disk, and sent again only to a vendor that keeps keys, for as long as it does."""
    config = example("payments")
    stripe, mail = config.apis
    vendor = vendor_of(stripe.host)
    charges = route(stripe, "charges")
    assert (config.stores_ledger, config.limits.disk_ledger) == ("/var/lib/backstay/ledger.db", 1 << 30)
    assert charges.idempotency == IdempotencySettings(require=True, on_unknown="resend", store="ledger")
    assert vendor is not None
    assert charges.idempotency.retain <= vendor.remembers
    routes = [given.policies for api in (stripe, mail) for given in api.routes]
    for given in (stripe.policies, mail.policies, *routes):
        assert given.idempotency is not None
        assert given.retry is not None
        assert not given.retry.safe


def test_a_mail_that_is_written_again_is_the_same_mail() -> None:
    """Within one run of the agent, and a quarter of an hour; what may have gone out is never sent again."""
    _, mail = example("payments").apis
    assert mail.policies.idempotency == IdempotencySettings(upstream="ignores", store="ledger")
    assert route(mail, "send").idempotency == IdempotencySettings(
        derive=Derive(("path", "body"), "header:x-run-id", 900.0),
        upstream="ignores",
        store_errors=StoreErrors(done=((409, 409),), released=((500, 500),)),
        store="ledger",
    )


def test_a_quota_is_waited_for() -> None:
    """A public API with one call a second, per subscription."""
    search, _ = example("search-api").apis
    limit: Any = search.policies.rate_limit
    assert (limit.rate, limit.burst, limit.wait, limit.key) == (1.0, 1, 10.0, "header:x-subscription-token")
    assert search.base_path == "/res/v1"


def test_reads_are_carried_through_an_outage() -> None:
    """By the vendor's rules, by a time of one's own, or by the body; writes have no stand-in."""
    (api,) = example("cached-reads").apis
    directory, search, writes = (route(api, name) for name in ("directory", "search", "writes"))
    assert api.policies.cache == CacheSettings(stale_if_error=86400.0, stale_wait=1.0, max_object=4 << 20)
    assert api.policies.fallback == FallbackSettings((ServeStale(),)) == directory.fallback
    assert directory.cache is not None
    assert (directory.cache.mode, directory.cache.ttl, directory.cache.stale_if_error) == ("ttl", 600.0, 86400.0)
    assert search.cache is not None
    assert (search.cache.key_body, search.cache.vary) == (True, (b"accept-language",))
    assert (writes.fallback, writes.cache) == (None, api.policies.cache)


def test_an_outage_has_an_answer_in_the_vendor_s_own_form() -> None:
    """The empty result of a search parses, and tells the model what to do instead."""
    (api,) = example("cached-reads").apis
    settings: Any = route(api, "search").fallback
    answer = render(settings.steps[1], "notes", "circuit_open", 14.2)
    said = json.loads(answer.body)
    assert (said["results"], said["degraded"]) == ([], True)
    assert said["notice"].startswith("notes is away (circuit_open). Do not search again for 15 s;")
    assert answer.headers.get(b"content-type") == b"application/json"
    assert answer.headers.get(b"x-degraded") == b"circuit_open"


def test_an_agent_is_caught_and_holds_no_key() -> None:
    """Its calls are intercepted, but for one that pins; what it may hold is swapped, or not even that is needed."""
    config = example("captured")
    openai, search, payments = config.apis
    assert config.listen.transparent == Address("127.0.0.1", 7071)
    assert config.tls_intercept == TlsIntercept()
    assert [each.placeholder for each in openai.credentials] == [b"bs_openai_key"]
    assert [(each.name, each.query, each.placeholder) for each in search.credentials] == [(b"key", True, None)]
    assert [passes_through(config.egress, api.host) for api in config.apis] == [False, False, True]
    assert (openai.mount, payments.mount, payments.credentials) == (None, "/payments", ())


@pytest.mark.parametrize(
    ("host", "port", "rule"),
    [
        ("pypi.org", 443, "allow: pypi.org"),
        ("files.pythonhosted.org", 443, "allow: *.pythonhosted.org"),
        ("10.20.1.2", 5432, "allow: 10.20.0.0/16:5432"),
        ("10.20.1.2", 80, "private_networks"),
        ("www.example.com", 443, "deny: *.example.com"),
        ("elsewhere.test", 443, "unlisted"),
        ("169.254.169.254", 80, "metadata"),
    ],
)
def test_an_agent_that_is_caught_gets_no_further_than_it_may(host: str, port: int, rule: str) -> None:
    """What is listed, and nothing else."""
    decision = judge_unresolved(example("captured").egress, host, port, Via.FORWARD)
    assert (decision.rule, decision.verdict) == (rule, "allow" if rule.startswith("allow") else "deny")


def test_pods_share_what_they_have_asked() -> None:
    """Each api in the way that suits it; the url comes from the environment, and is never shown."""
    config = load([Path("config/shared-redis.yaml")], {"REDIS_URL": "rediss://:s3cret@redis.internal:6379/0"})
    rates, crm = config.apis
    assert config.stores_shared == "rediss://:s3cret@redis.internal:6379/0"
    assert "s3cret" not in f"{config} {config.effective}"
    assert rates.policies.cache == CacheSettings(scope="shared", stale_if_error=21600.0, store="shared")
    assert rates.policies.rate_limit is not None
    assert rates.policies.rate_limit.fallback
    assert crm.policies.cache == CacheSettings(mode="ttl", ttl=120.0, store="shared")
    assert route(crm, "exports").cache is None


def test_pods_share_what_they_have_carried_out() -> None:
    """Each credential has its own keys, since what one tenant has done is no other's to see."""
    _, crm = example("shared-redis").apis
    once = IdempotencySettings(require=True, scope="credential", retain=259200.0, store="shared")
    assert (crm.policies.idempotency, route(crm, "deals").idempotency) == (None, once)
