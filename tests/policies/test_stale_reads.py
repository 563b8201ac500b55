"""A stale answer: when it stands in for a failure, how long a caller waits for a better one, how it is refreshed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.core.fallback import FallbackSettings, ServeStale
from proxy.core.retry import RetrySettings
from proxy.errors import ConnectionReset
from tests.support.caching import ETAG, FRESH, Shop, aged
from tests.support.script import answers, fails
from tests.support.virtual import turn

OpenShop = Callable[..., Shop]
OLD = answers(200, FRESH, ETAG, body=b"old")


@pytest.mark.parametrize(
    ("failure", "member"),
    [
        (answers(503), 'backstay; fwd=stale; fwd-status=503; ttl=-1; detail="503"'),
        (fails(ConnectionReset()), "backstay; fwd=stale; ttl=-1; detail=reset"),
    ],
)
async def test_it_stands_in_for_a_failure(shop: OpenShop, failure: object, member: str) -> None:
    """Marked as what it is, after one attempt, and counted once."""
    at = shop(OLD, failure, retry=RetrySettings())
    await aged(at)
    got = await at.get()
    assert (got.status, got.body, got.outcome, got.cache) == (200, b"old", "stale", member)
    assert (got.header(b"backstay-outcome"), got.header(b"age")) == (b"stale", b"61")
    assert (at.vendor.calls, at.counted["stale"], at.counted["miss"]) == (2, 1, 1)


async def test_a_caller_waits_for_a_while_and_the_call_goes_on(shop: OpenShop) -> None:
    """The answer that comes late refreshes what is stored; who comes meanwhile gets the stale one at once."""
    at = shop(OLD, answers(200, FRESH, body=b"new", after=5.0))
    await aged(at)
    began = at.clock.now()
    first = await at.get()
    waited = at.clock.now() - began
    second = await at.get()
    assert (first.body, second.body) == (b"old", b"old")
    assert 2.0 <= waited < 2.1
    assert at.clock.now() - began - waited < 0.1
    await at.clock.sleep(5.0)
    assert ((await at.get()).body, at.vendor.calls) == (b"new", 2)


async def test_followers_get_it_too(shop: OpenShop) -> None:
    """All who wait for the same call when it fails."""
    at = shop(OLD, fails(ConnectionReset(), after=1.0))
    await aged(at)
    everybody = [at.ask() for _ in range(10)]
    assert {((await each).body, (await each).outcome) for each in everybody} == {(b"old", "stale")}
    assert (at.vendor.calls, at.counted["stale"]) == (2, 10)


async def test_what_must_be_validated_is_never_served_stale(shop: OpenShop) -> None:
    """RFC 9111, 5.2.2.2: the failure is the answer."""
    strict = answers(200, (b"Cache-Control", b"max-age=60, must-revalidate"), ETAG, body=b"old")
    at = shop(strict, answers(503), fallback=FallbackSettings((ServeStale(),)))
    await aged(at)
    assert (await at.get()).status == 503


async def test_beyond_stale_if_error_it_is_served_only_where_it_is_listed(shop: OpenShop) -> None:
    """However old, if the operator asks for it."""
    cache = {"stale_if_error": 10.0}
    unasked = shop(OLD, answers(503), cache=cache)
    await aged(unasked, 90.0)
    assert (await unasked.get()).status == 503
    listed = shop(OLD, answers(503), cache=cache, fallback=FallbackSettings((ServeStale(),)), route="listed")
    assert (await listed.get()).body == b"old"


async def test_it_is_refreshed_behind_once(shop: OpenShop) -> None:
    """Within stale-while-revalidate nobody waits, and however many ask, one call is made."""
    kind = (b"Cache-Control", b"max-age=60, stale-while-revalidate=30")
    at = shop(answers(200, kind, body=b"old"), answers(200, kind, body=b"new", after=1.0))
    await aged(at)
    got = [await at.get() for _ in range(5)]
    assert {(each.body, each.outcome) for each in got} == {(b"old", "stale")}
    assert got[0].cache == "backstay; hit; ttl=-1; detail=stale-while-revalidate"
    await at.clock.sleep(2.0)
    assert ((await at.get()).body, at.vendor.calls, at.counted["refreshed"]) == (b"new", 2, 1)


async def test_a_304_makes_it_fresh_again(shop: OpenShop) -> None:
    """RFC 9111, 4.3.4: the vendor is asked with our condition, the agent gets what is stored."""
    at = shop(OLD, answers(304, (b"Cache-Control", b"max-age=600"), ETAG))
    await aged(at)
    got = await at.get()
    assert (got.status, got.body, got.outcome) == (200, b"old", "hit")
    assert at.asked[1].get(b"if-none-match") == b'"1"'
    await at.clock.sleep(300.0)
    assert ((await at.get()).outcome, at.counted["revalidated"], at.vendor.calls) == ("hit", 1, 2)


async def test_a_304_about_another_version_is_not_believed(shop: OpenShop) -> None:
    """The vendor is asked for the answer itself, without a condition."""
    at = shop(OLD, answers(304, (b"ETag", b'"2"')), answers(200, FRESH, body=b"new"))
    await aged(at)
    assert (await at.get()).body == b"new"
    assert at.asked[2].get(b"if-none-match") is None


async def test_a_304_may_forbid_to_store_what_it_confirms(shop: OpenShop) -> None:
    """It is served once more, and forgotten."""
    at = shop(OLD, answers(304, (b"Cache-Control", b"no-store"), ETAG), answers(200, FRESH, body=b"new"))
    await aged(at)
    assert (await at.get()).body == b"old"
    assert (await at.get()).body == b"new"


@pytest.mark.parametrize(("status", "left"), [(404, False), (403, False), (400, True), (429, True)])
async def test_an_answer_that_is_not_stored_may_end_what_is(shop: OpenShop, status: int, *, left: bool) -> None:
    """A later outage must not bring back what is gone, or denied; an error of the moment ends nothing."""
    at = shop(OLD, answers(status, (b"Cache-Control", b"no-store")), fails(ConnectionReset()))
    await aged(at)
    assert (await at.get()).status == status
    await turn()
    assert ((await at.get()).outcome == "stale") is left
