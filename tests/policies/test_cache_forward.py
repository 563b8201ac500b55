"""Tests of policies/cache.py and fetch.py: what goes forward, what is asked, and what becomes of what is stored."""

from __future__ import annotations

import pytest

from proxy.clock import Clock
from proxy.errors import ConnectionReset
from proxy.model import Attempt, Headers, Response
from tests.policies.conftest import OpenShop
from tests.support.caching import ETAG, FRESH, UNCACHED, Failing, Torrent, aged, flows, whole
from tests.support.script import Rig, Step, answers, fails

ONE = answers(200, FRESH, ETAG, body=b"one")
TWO = answers(200, FRESH, (b"ETag", b'"2"'), body=b"two")
GOOD = answers(304, FRESH, ETAG)
REVALIDATED = "backstay; fwd=stale; fwd-status=304; stored"


# --- validation (RFC 9111, 4.3) -----------------------------------------------------------------------------


async def test_a_stale_answer_is_validated(shop: OpenShop) -> None:
    """A 304 makes it fresh again, with the fields that the 304 brings; the body is not sent again."""
    at = shop(ONE, answers(304, FRESH, ETAG, (b"X-New", b"yes")))
    await aged(at)
    got = await at.get()
    assert (got.status, got.body, got.header(b"x-new"), got.header(b"age")) == (200, b"one", b"yes", b"0")
    assert (got.outcome, got.header(b"backstay-outcome"), got.cache) == ("hit", b"hit", REVALIDATED)
    assert at.asked[1].get(b"if-none-match") == b'"1"'
    assert (await at.get()).header(b"x-new") == b"yes"
    assert at.counted == {"miss": 1, "revalidated": 1, "hit": 1}


async def test_a_validation_costs_an_attempt(shop: OpenShop) -> None:
    """The exchange has the account of the call that was made for it."""
    at = shop(ONE, answers(304, FRESH, ETAG, after=0.5))
    await aged(at)
    got = await at.get()
    assert (got.exchange.attempts, round(got.exchange.upstream_seconds, 6), got.exchange.waited) == (1, 0.5, 0.0)
    assert got.exchange.written


async def test_another_answer_takes_the_place_of_a_stale_one(shop: OpenShop) -> None:
    """The vendor says 200: it is forwarded, and stored."""
    at = shop(ONE, TWO)
    await aged(at)
    got = await at.get()
    assert (got.body, got.outcome, got.cache) == (b"two", "forwarded", "backstay; fwd=stale; fwd-status=200; stored")
    assert ((await at.get()).body, at.counted) == (b"two", {"miss": 2, "hit": 1})


async def test_a_304_about_another_version_is_not_believed(shop: OpenShop) -> None:
    """It is asked again without conditions (4.3.4: only the stored answer that it names is updated)."""
    at = shop(ONE, answers(304, (b"ETag", b'"7"')), TWO)
    await aged(at)
    got = await at.get()
    assert (got.body, got.exchange.attempts) == (b"two", 2)
    assert at.asked[2].get(b"if-none-match") is None
    assert at.counted == {"miss": 2}


async def test_a_304_may_forbid_to_store(shop: OpenShop) -> None:
    """The caller has its answer, the next one asks the vendor."""
    at = shop(ONE, answers(304, UNCACHED, ETAG), TWO)
    await aged(at)
    assert (await at.get()).body == b"one"
    assert (await at.get()).body == b"two"


async def test_the_agents_own_condition_is_answered_after_ours(shop: OpenShop) -> None:
    """It has version 1, and so have we: the vendor is asked about ours, the agent learns that nothing has changed."""
    at = shop(ONE, GOOD)
    await aged(at)
    got = await at.get((b"If-None-Match", b'"1", "0"'))
    assert (got.status, got.outcome, got.cache) == (304, "hit", REVALIDATED)
    assert at.asked[1].get(b"if-none-match") == b'"1"'


async def test_a_304_that_answers_the_agents_condition_passes(shop: OpenShop) -> None:
    """Where nothing is stored the condition is the vendor's to judge; nothing can be made of its 304."""
    at = shop(answers(304, ETAG))
    got = await at.get((b"If-None-Match", b'"1"'))
    assert (got.status, got.cache) == (304, "backstay; fwd=uri-miss; fwd-status=304; detail=status")


async def test_a_condition_without_a_validator_of_ours_goes_by_itself(shop: OpenShop) -> None:
    """The 304 would be no answer for others: nobody waits for it, and later reads are shared as before."""
    at = shop(answers(200, FRESH, body=b"one"), answers(304, after=1.0), answers(200, FRESH, body=b"two", after=1.0))
    await aged(at)
    first, *others = at.ask((b"If-None-Match", b'"0"')), at.ask(), at.ask()
    assert ((await first).status, [(await other).body for other in others]) == (304, [b"two", b"two"])
    assert at.vendor.calls == 3


async def test_an_interim_answer_is_passed_on_to_the_one_who_asked(shop: OpenShop) -> None:
    """103 Early Hints while the call is made."""
    hinted: list[int] = []

    async def hints(clock: Clock, attempt: Attempt) -> Response:
        assert attempt.exchange.inform is not None
        attempt.exchange.inform(103, Headers())
        return await ONE(clock, attempt)

    at = shop(hints)
    exchange = at.exchange(b"GET")
    exchange.inform = lambda status, _: hinted.append(status)
    assert ((await at.serve(exchange)).body, hinted) == (b"one", [103])


# --- what drops what is stored ------------------------------------------------------------------------------


@pytest.mark.parametrize("newer", [answers(200, UNCACHED), answers(404, UNCACHED), answers(401), answers(302)])
async def test_an_answer_that_cannot_be_stored_drops_what_was(shop: OpenShop, newer: Step) -> None:
    """What is stored is not the answer any more, even if it were fresh."""
    at = shop(ONE, newer, TWO)
    await at.get()
    await at.get((b"Cache-Control", b"no-cache"))
    assert ((await at.get()).body, at.vendor.calls) == (b"two", 3)


@pytest.mark.parametrize("moment", [answers(503), answers(429), answers(408), fails(ConnectionReset())])
async def test_an_error_of_the_moment_drops_nothing(shop: OpenShop, moment: Step) -> None:
    """What is stored and fresh stays so."""
    at = shop(ONE, moment)
    await at.get()
    await at.get((b"Cache-Control", b"no-cache"))
    assert ((await at.get()).body, at.counted) == (b"one", {"miss": 2, "hit": 1})


async def test_a_head_makes_what_is_stored_fresh_again(shop: OpenShop) -> None:
    """If it says that nothing has changed (4.3.5)."""
    at = shop(ONE, answers(200, FRESH, ETAG, (b"Content-Length", b"3"), (b"X-New", b"yes")))
    await aged(at)
    head = await at.get(method=b"HEAD")
    assert (head.status, head.outcome, head.cache) == (200, "forwarded", "backstay; fwd=stale; fwd-status=200")
    got = await at.get()
    assert (got.outcome, got.body, got.header(b"x-new")) == ("hit", b"one", b"yes")


@pytest.mark.parametrize(
    "changed", [answers(200, FRESH, (b"ETag", b'"2"')), answers(200, FRESH, ETAG, (b"Content-Length", b"9"))]
)
async def test_a_head_that_shows_another_version_drops_it(shop: OpenShop, changed: Step) -> None:
    """Another tag, or another length."""
    at = shop(ONE, changed, TWO)
    await aged(at)
    await at.get(method=b"HEAD")
    assert ((await at.get()).cache, at.vendor.calls) == ("backstay; fwd=uri-miss; fwd-status=200; stored", 3)


async def test_a_head_stores_nothing(shop: OpenShop) -> None:
    """There is no body to store; and an error of the moment changes nothing."""
    at = shop(answers(200, FRESH, ETAG), ONE, answers(503))
    assert (await at.get(method=b"HEAD")).cache == "backstay; fwd=uri-miss; fwd-status=200"
    await aged(at)
    assert (await at.get(method=b"HEAD")).outcome == "stale"
    assert at.store.count == 1


# --- variants (4.1) -----------------------------------------------------------------------------------------

VARY = (b"Vary", b"Accept-Language")
EN, DE, FR = ((b"Accept-Language", language) for language in (b"en", b"de", b"fr"))


async def test_variants_are_stored_beside_each_other(shop: OpenShop) -> None:
    """Each request gets the one for its own fields."""
    at = shop(answers(200, FRESH, VARY, body=b"hello"), answers(200, FRESH, VARY, body=b"hallo"))
    await at.get(EN)
    assert (await at.get(DE)).cache == "backstay; fwd=vary-miss; fwd-status=200; stored"
    assert [(await at.get(language)).body for language in (EN, DE, EN)] == [b"hello", b"hallo", b"hello"]
    assert at.counted == {"miss": 2, "hit": 3}


async def test_a_variant_is_validated_by_its_own_tag(shop: OpenShop) -> None:
    """And the others stay."""
    at = shop(
        answers(200, FRESH, VARY, ETAG, body=b"hello"),
        answers(200, (b"Cache-Control", b"max-age=300"), VARY, (b"ETag", b'"2"'), body=b"hallo"),
        answers(304, FRESH, VARY, ETAG),
    )
    await at.get(EN)
    await at.get(DE)
    await at.clock.sleep(70.0)
    assert ((await at.get(EN)).body, at.asked[2].get(b"if-none-match")) == (b"hello", b'"1"')
    assert [(await at.get(each)).outcome for each in (EN, DE)] == ["hit", "hit"]


async def test_a_variant_that_lives_shortly_takes_no_other_with_it(shop: OpenShop) -> None:
    """The record of the variants stays as long as any of them may."""
    brief = (b"Cache-Control", b"max-age=2")
    at = shop(
        answers(200, (b"Cache-Control", b"max-age=300"), VARY, body=b"hello"),
        answers(200, brief, VARY, body=b"hallo"),
        cache={"stale_if_error": None},
    )
    await at.get(EN)
    await at.get(DE)
    await at.clock.sleep(30.0)
    assert (await at.get(EN)).outcome == "hit"


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_an_answer_may_begin_to_vary(shop: OpenShop, method: bytes) -> None:
    """What confirms it confirms it for this caller's language, and for no other (3.2, 4.1)."""
    confirms = answers(304 if method == b"GET" else 200, FRESH, ETAG, VARY)
    at = shop(ONE, confirms, TWO)
    await aged(at)
    await at.get(EN, method=method)
    assert [(await at.get(language)).body for language in (EN, DE)] == [b"one", b"two"]


async def test_an_operator_may_know_better_what_answers_vary_by(shop: OpenShop) -> None:
    """cache.vary: a field on which they depend although the vendor is silent."""
    at = shop(ONE, TWO, cache={"vary": (b"accept-language",)})
    assert [(await at.get(language)).body for language in (EN, DE, EN)] == [b"one", b"two", b"one"]


async def test_an_answer_that_varies_no_more_takes_the_place_of_all(shop: OpenShop) -> None:
    """Its variants are deleted."""
    at = shop(answers(200, FRESH, VARY, body=b"hello"), TWO)
    await at.get(EN)
    await at.get(FR)
    assert ((await at.get(EN)).body, at.store.count) == (b"two", 1)


# --- ranges (RFC 9110, 14) ----------------------------------------------------------------------------------


async def test_a_range_of_what_is_not_stored_passes_unharmed(shop: OpenShop) -> None:
    """With its condition; a part is never stored, and what was stored stays."""
    at = shop(answers(206, FRESH, ETAG, (b"Content-Range", b"bytes 0-0/3"), body=b"o"), ONE, answers(206, body=b"n"))
    asks = (b"Range", b"bytes=0-0"), (b"If-Range", b'"1"')
    got = await at.get(*asks)
    assert (got.status, got.body, got.cache) == (206, b"o", "backstay; fwd=partial; fwd-status=206; detail=partial")
    assert [at.asked[0].get(name) for name in (b"range", b"if-range")] == [b"bytes=0-0", b'"1"']
    await at.get()
    assert (await at.get((b"Range", b"bytes=1-1"), (b"Cache-Control", b"no-cache"))).body == b"n"
    assert (await at.get()).outcome == "hit"


async def test_a_whole_answer_to_a_range_is_stored(shop: OpenShop) -> None:
    """A vendor may ignore Range."""
    at = shop(ONE)
    assert ((await at.get((b"Range", b"bytes=0-0"))).status, (await at.get()).outcome) == (200, "hit")


async def test_a_range_of_a_stale_answer_is_not_validated(shop: OpenShop) -> None:
    """The vendor's 206 must be one for this request."""
    at = shop(ONE, answers(206, body=b"n"))
    await aged(at)
    assert (await at.get((b"Range", b"bytes=1-1"))).body == b"n"
    assert at.asked[1].get(b"if-none-match") is None


# --- bodies that are a part of the question -----------------------------------------------------------------

BY_BODY = {"key_body": True}


async def test_reads_by_post_are_told_apart_by_their_bodies(shop: OpenShop) -> None:
    """key_body: the same question has the same answer."""
    at = shop(ONE, TWO, cache=BY_BODY)
    bodies = [(await at.get(method=b"POST", body=body)).body for body in (b"?", b"!", b"?", b"!")]
    assert (bodies, at.counted) == ([b"one", b"two", b"one", b"two"], {"miss": 2, "hit": 2})


async def test_a_body_that_streams_is_collected(shop: OpenShop, rig: Rig) -> None:
    """The vendor gets it whole."""
    at = shop(ONE, cache=BY_BODY)
    asking = at.ask(method=b"POST", stream=(body := Torrent(rig.clock)))
    await rig.clock.sleep(1.0)
    assert at.vendor.calls == 0
    whole(body, b"?", b"!")
    assert (await asking).body == b"one"
    request = at.vendor.attempts[0].exchange.request
    assert (request.body, request.stream) == (b"?!", None)
    assert (await at.get(method=b"POST", body=b"?!")).outcome == "hit"


async def test_a_body_that_is_too_large_passes_as_it_comes(shop: OpenShop, rig: Rig) -> None:
    """At its announced length nothing is collected; else what was comes first, and no more of it is kept."""
    at = shop(ONE, cache={**BY_BODY, "max_object": 10})
    for length in (11, None):
        body = Torrent(rig.clock, length)
        body.feed(b"x" * 11)
        got = await at.get(method=b"POST", stream=body)
        assert (got.body, got.cache) == (b"one", "backstay; fwd=bypass; fwd-status=200")
        assert at.vendor.attempts[-1].exchange.request.stream is body.body
        whole(body)
    assert at.counted == {"bypass": 2}
    assert (await at.get(method=b"POST", body=b"x" * 11)).cache == "backstay; fwd=bypass; fwd-status=200"


async def test_a_body_that_breaks_off_is_the_vendors_to_refuse(shop: OpenShop, rig: Rig) -> None:
    """It passes, and whoever sends it learns how it ended."""
    at = shop(ONE, cache=BY_BODY)
    asking = at.ask(method=b"POST", stream=(body := Torrent(rig.clock)))
    await rig.clock.sleep(1.0)
    body.breaks()
    assert (await asking).cache == "backstay; fwd=bypass; fwd-status=200"


async def test_an_agent_that_waits_for_100_is_told_to_go_on(shop: OpenShop, rig: Rig) -> None:
    """Who collects the body has to ask for it (RFC 9110, 10.1.1)."""
    at, told = shop(ONE, cache=BY_BODY), list[int]()
    exchange = at.exchange(b"POST", (b"Expect", b"100-continue"), stream=(body := Torrent(rig.clock)))
    exchange.request.expects_continue = True
    exchange.inform = lambda status, _: told.append(status)
    serving = rig.clock.loop.create_task(at.serve(exchange))
    await rig.clock.sleep(1.0)
    assert told == [100]
    whole(body, b"?")
    assert (await serving).body == b"one"


# --- what forwarding costs ----------------------------------------------------------------------------------


async def test_a_store_that_waits_takes_no_connection_with_it(shop: OpenShop, rig: Rig) -> None:
    """An agent that leaves while what was stored is dropped: the vendor's stream is let go."""
    torrent, store = Torrent(rig.clock), Failing(rig.clock)
    at = shop(ONE, flows(torrent, UNCACHED), store=store)
    await aged(at)
    store.hold("delete")
    asking = at.ask()
    await rig.clock.sleep(1.0)
    asking.leave()
    await rig.clock.sleep(1.0)
    assert torrent.source.abandoned
