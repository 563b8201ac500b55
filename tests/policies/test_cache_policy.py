"""Tests of policies/cache.py: which requests are the cache's, what is served of what is stored, and what is counted."""

from __future__ import annotations

import pytest

from proxy.errors import ConnectFailed
from proxy.model import Ending
from tests.policies.conftest import OpenShop
from tests.support.caching import ETAG, FRESH, UNCACHED, Failing, Torrent, aged, flows, whole
from tests.support.script import Rig, answers, fails

ONE = answers(200, FRESH, ETAG, body=b"one")
TWO = answers(200, FRESH, body=b"two")
ALICE = (b"Authorization", b"Bearer alice")
BOB = (b"Authorization", b"Bearer bob")


# --- from what is stored ------------------------------------------------------------------------------------


async def test_the_second_is_a_hit(shop: OpenShop) -> None:
    """It has what the first had, says how old that is and for how long it holds, and costs the vendor nothing."""
    at = shop(ONE, TWO)
    first = await at.get()
    await at.clock.sleep(10.0)
    second = await at.get()
    assert (first.body, first.outcome, first.cache) == (
        b"one",
        "forwarded",
        "backstay; fwd=uri-miss; fwd-status=200; stored",
    )
    assert (second.body, second.outcome, second.cache) == (b"one", "hit", "backstay; hit; ttl=50")
    assert (second.header(b"age"), second.header(b"backstay-outcome")) == (b"10", b"hit")
    assert (at.counted, at.vendor.calls) == ({"miss": 1, "hit": 1}, 1)
    assert (second.exchange.attempts, second.exchange.upstream_seconds) == (0, 0.0)


async def test_what_is_stored_is_for_its_own_target(shop: OpenShop) -> None:
    """Targets are told apart byte by byte."""
    at = shop(ONE, TWO)
    await at.get(target=b"/v1/a")
    assert (await at.get(target=b"/v1/A")).body == b"two"
    assert (await at.get(target=b"/v1/a")).body == b"one"


async def test_callers_have_answers_of_their_own(shop: OpenShop) -> None:
    """Whoever has other credentials asks the vendor; without any is a caller too."""
    at = shop(ONE, TWO, answers(200, FRESH, body=b"three"))
    assert [(await at.get(*who)).body for who in ((ALICE,), (BOB,), (), (ALICE,), (BOB,), ())] == [
        b"one", b"two", b"three", b"one", b"two", b"three",
    ]  # fmt: skip


async def test_in_scope_shared_all_share_what_is_public(shop: OpenShop) -> None:
    """With Authorization only what the answer permits (RFC 9111, 3.5)."""
    at = shop(answers(200, (b"Cache-Control", b"public, max-age=60"), body=b"public"), TWO, cache={"scope": "shared"})
    await at.get(ALICE)
    assert ((await at.get(BOB)).body, (await at.get()).outcome) == (b"public", "hit")
    assert (await at.get(ALICE, target=b"/v1/else")).cache.endswith("detail=authorization")
    assert (await at.get(BOB, target=b"/v1/else")).outcome == "forwarded"


async def test_a_head_is_answered_from_a_get(shop: OpenShop) -> None:
    """The fields, and no body."""
    at = shop(ONE)
    await at.get()
    got = await at.get(method=b"HEAD")
    assert (got.status, got.body, got.outcome, got.header(b"content-length")) == (200, b"", "hit", b"3")


async def test_conditions_and_ranges_are_answered_from_what_is_stored(shop: OpenShop) -> None:
    """A 304 and a part of the body are hits like others."""
    at = shop(ONE)
    await at.get()
    unchanged = await at.get((b"If-None-Match", b'"1"'))
    part = await at.get((b"Range", b"bytes=1-"))
    assert (unchanged.status, unchanged.outcome, part.status, part.body, part.outcome) == (
        304,
        "hit",
        206,
        b"ne",
        "hit",
    )


async def test_a_large_answer_is_given_out_slice_by_slice(shop: OpenShop) -> None:
    """A slow reader holds no copy of its own; and its exchange ends when it has all."""
    body = bytes(200_000)
    at = shop(answers(200, FRESH, body=body))
    await at.get()
    asking = at.ask(room=1000)
    got = await asking
    assert (len(got.body), got.ending, got.outcome) == (65536, None, "hit")
    assert at.rig.samples("backstay_inflight_requests", "api") == {"vendor": 1}
    assert got.reading is not None
    got.reading.take()
    assert (got.body, got.ending) == (body, Ending.COMPLETE)
    assert (await at.get(method=b"HEAD")).body == b""


async def test_a_precondition_is_the_vendors_to_judge(shop: OpenShop) -> None:
    """If-Match asks about the vendor's own state (RFC 9110, 13.1.1); its 412 says nothing of what is stored."""
    at = shop(ONE, answers(412))
    await at.get()
    assert (await at.get((b"If-Match", b'"2"'))).status == 412
    assert (await at.get()).outcome == "hit"


@pytest.mark.parametrize(
    ("asks", "outcome", "cache"),
    [
        (b"max-age=5", "forwarded", "backstay; fwd=request; fwd-status=200; stored"),
        (b"min-fresh=55", "forwarded", "backstay; fwd=request; fwd-status=200; stored"),
        (b"no-cache", "forwarded", "backstay; fwd=request; fwd-status=200; stored"),
        (b"no-store", "hit", "backstay; hit; ttl=50"),
        (b"max-age=15", "hit", "backstay; hit; ttl=50"),
    ],
)
async def test_a_request_may_ask_for_something_newer(shop: OpenShop, asks: bytes, outcome: str, cache: str) -> None:
    """RFC 9111, 5.2.1."""
    at = shop(answers(200, FRESH, body=b"one"), TWO)
    await at.get()
    await at.clock.sleep(10.0)
    got = await at.get((b"Cache-Control", asks))
    assert (got.outcome, got.cache) == (outcome, cache)


async def test_a_request_may_be_content_with_something_older(shop: OpenShop) -> None:
    """max-stale (5.2.1.2): served as what it is."""
    at = shop(ONE)
    await aged(at, 70.0)
    got = await at.get((b"Cache-Control", b"max-stale=20"))
    assert (got.body, got.outcome, got.cache) == (b"one", "stale", "backstay; hit; ttl=-10; detail=max-stale")
    assert (got.exchange.reason, got.header(b"backstay-outcome"), at.vendor.calls) == ("max-stale", b"stale", 1)
    assert at.counted == {"miss": 1, "stale": 1}
    assert at.rig.samples("backstay_cache_stale_age_seconds", "route") == {"default": 1}


async def test_only_if_cached(shop: OpenShop) -> None:
    """What is stored, or a 504 (5.2.1.7); the vendor is not asked, and it is a miss that is counted."""
    at = shop(ONE)
    only = (b"Cache-Control", b"only-if-cached")
    got = await at.get(only)
    assert (got.status, got.reason, got.cache, at.vendor.calls) == (504, "only_if_cached", "backstay; fwd=uri-miss", 0)
    await at.get()
    assert (await at.get(only)).outcome == "hit"
    assert at.counted == {"miss": 2, "hit": 1}


async def test_the_operators_ttl_overrides_the_vendor(shop: OpenShop) -> None:
    """mode: ttl."""
    at = shop(answers(200, UNCACHED, body=b"one"), TWO, cache={"mode": "ttl", "ttl": 5.0})
    await at.get()
    assert (await at.get()).cache == "backstay; hit; ttl=5"
    await at.clock.sleep(40.0)
    assert (await at.get()).body == b"two"


async def test_rules_that_change_hold_for_what_is_stored(shop: OpenShop) -> None:
    """A reload may make another ttl of the same shelf: what is stored is judged anew."""
    at = shop(ONE, cache={"mode": "ttl", "ttl": 5.0})
    await aged(at, 8.0)
    later = shop(TWO, cache={"mode": "ttl", "ttl": 60.0})
    assert ((await later.get()).outcome, later.vendor.calls) == ("hit", 0)


# --- requests that are not for it ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", [b"POST", b"OPTIONS", b"PURGE"])
async def test_other_methods_pass(shop: OpenShop, method: bytes) -> None:
    """And the answer says why."""
    at = shop(ONE)
    got = await at.get(method=method)
    assert (got.outcome, got.cache) == ("forwarded", "backstay; fwd=method; fwd-status=200")
    assert (at.counted, at.flights) == ({"bypass": 1}, 0)


async def test_a_read_with_a_body_passes(shop: OpenShop) -> None:
    """Nobody knows what it asks for (RFC 9110, 9.3.1)."""
    at = shop(ONE)
    for _ in range(2):
        assert (await at.get(body=b"?")).cache == "backstay; fwd=bypass; fwd-status=200"
    assert (at.vendor.calls, at.counted) == (2, {"bypass": 2})


async def test_a_websocket_passes(shop: OpenShop) -> None:
    """A tunnel has no fields to add to."""
    at = shop(ONE)
    exchange = at.exchange(b"GET")
    exchange.request.upgrade = True
    got = await at.serve(exchange)
    assert (got.cache, at.counted) == ("backstay; fwd=method; fwd-status=200", {"bypass": 1})


async def test_what_passes_and_fails_says_so_too(shop: OpenShop) -> None:
    """Cache-Status stands on errors of ours as well."""
    at = shop(fails(ConnectFailed()))
    got = await at.get(method=b"POST")
    assert (got.reason, got.cache, at.counted) == ("connect", "backstay; fwd=method", {"bypass": 1})


# --- a store that fails -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("broken", "errors"), [("get", 2), ("put", 2)])
async def test_a_store_that_fails_costs_answers_and_no_calls(
    shop: OpenShop, rig: Rig, broken: str, errors: int
) -> None:
    """Every call is forwarded as if there were no cache; what failed is counted."""
    at = shop(ONE, store=Failing(rig.clock, broken))
    assert [(await at.get()).outcome for _ in range(2)] == ["forwarded", "forwarded"]
    assert rig.samples("backstay_store_errors_total", "store", "mode") == {("memory", "open"): errors}
    assert at.counted == {"miss": 2}


async def test_a_store_that_fails_at_the_end_of_a_stream(shop: OpenShop, rig: Rig) -> None:
    """Who waited for it gets the answer all the same."""
    torrent = Torrent(rig.clock)
    at = shop(flows(torrent, FRESH), store=Failing(rig.clock, "put"))
    leader, follower = at.ask(), at.ask()
    await leader
    whole(torrent, b"one")
    assert ((await follower).body, leader.got.body, at.vendor.calls) == (b"one", b"one", 1)


async def test_the_same_bytes_of_another_kind_are_another_question(shop: OpenShop) -> None:
    """With key_body, what tells how a body is read is a part of the key."""
    at = shop(answers(200, FRESH, body=b"one"), answers(200, FRESH, body=b"two"), cache={"key_body": True})
    json, form = ((b"Content-Type", kind) for kind in (b"application/json", b"application/x-www-form-urlencoded"))
    got = [await at.get(kind, method=b"POST", body=b"1") for kind in (json, form, json)]
    assert [(each.body, each.outcome) for each in got] == [
        (b"one", "forwarded"),
        (b"two", "forwarded"),
        (b"one", "hit"),
    ]
