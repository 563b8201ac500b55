"""A stale answer at hand while its successor is on the way: who waits, for how long, and what the call then brings."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from proxy.core.retry import RetrySettings
from proxy.core.timeouts import Timeouts
from proxy.errors import ConnectionReset
from tests.policies.conftest import OpenShop
from tests.support.caching import ETAG, FRESH, Torrent, aged, flows, whole
from tests.support.script import Rig, Step, answers, fails
from tests.support.virtual import turn

OLD = answers(200, FRESH, ETAG, body=b"old")
NEW = answers(200, FRESH, body=b"new")
LATE = answers(200, FRESH, body=b"new", after=5.0)
REFRESHED = (b"Cache-Control", b"max-age=60, stale-while-revalidate=30")
STRICT = (b"Cache-Control", b"max-age=60, must-revalidate")


@pytest.fixture(autouse=True)
async def nothing_left(rig: Rig) -> AsyncIterator[None]:
    """After each of these, nothing can be joined any more."""
    yield
    await turn(9)
    assert list(rig.survivors.shelves.flights) == []


# --- stale_wait ---------------------------------------------------------------------------------------------


async def test_those_who_come_later_join_and_wait_the_rest(shop: OpenShop) -> None:
    """The wait is counted from the call's begin; whoever comes after that gets the stale answer at once."""
    at = shop(OLD, LATE)
    await aged(at)
    first = at.ask()
    await at.clock.sleep(1.5)
    waits, began = [], at.clock.now()
    for asking in (first, at.ask()):
        assert ((await asking).body, asking.got.outcome) == (b"old", "stale")
        waits.append(at.clock.now() - began)
    third = await at.get()
    assert (waits[1] < 0.6, at.clock.now() - began < 0.7, third.outcome) == (True, True, "stale")
    await at.clock.sleep(5.0)
    assert (at.vendor.calls, at.counted["stale"]) == (2, 3)


async def test_an_answer_within_the_wait_is_everybodys(shop: OpenShop) -> None:
    """The stale one is not needed."""
    at = shop(OLD, answers(200, FRESH, body=b"new", after=1.0))
    await aged(at)
    got = [await each for each in (at.ask(), at.ask())]
    assert [(each.body, each.outcome) for each in got] == [(b"new", "forwarded"), (b"new", "coalesced")]
    assert at.counted == {"miss": 2, "coalesced": 1}


async def test_the_reason_is_the_time_and_no_failure_of_the_vendor(shop: OpenShop) -> None:
    """So says the answer; the attempt settles by itself, as the success that it becomes."""
    at = shop(OLD, LATE)
    await aged(at)
    got = await at.get()
    assert (got.exchange.reason, got.cache) == ("timeout", "backstay; fwd=stale; ttl=-4; detail=timeout")
    assert [attempt.verdict for attempt in at.vendor.attempts][1:] == [None]
    await at.clock.sleep(5.0)
    assert [verdict.value for verdict in at.vendor.verdicts] == ["success"] * 2


@pytest.mark.parametrize("step", [answers(503, after=5.0), fails(ConnectionReset(), after=5.0)])
async def test_a_failure_that_comes_too_late_reaches_nobody(shop: OpenShop, step: Step) -> None:
    """What is stored stays, and the next caller asks again: one attempt each, whatever retry says."""
    at = shop(OLD, step, NEW, retry=RetrySettings())
    await aged(at)
    assert (await at.get()).body == b"old"
    await at.clock.sleep(5.0)
    assert at.vendor.calls == 2
    assert (await at.get()).body == b"new"


async def test_without_a_stale_answer_all_attempts_are_made(shop: OpenShop) -> None:
    """Then the agent has nothing else."""
    at = shop(answers(503), answers(503), NEW, retry=RetrySettings(budget=1.0))
    assert ((await at.get()).body, at.vendor.calls) == (b"new", 3)


async def test_the_caller_may_leave_and_the_call_goes_on(shop: OpenShop) -> None:
    """Only once its wait was cut is the call wanted behind everybody's back; before, it ends with its last caller."""
    at = shop(OLD, answers(200, FRESH, body=b"lost", after=5.0), LATE)
    await aged(at)
    asking = at.ask()
    await turn(9)
    asking.leave()
    await turn(9)
    assert at.vendor.running == 0
    await at.get()
    assert at.vendor.running == 1
    await at.clock.sleep(5.0)
    assert ((await at.get()).body, at.vendor.calls) == (b"new", 3)


async def test_a_late_answer_that_streams_is_stored_though_nobody_reads(shop: OpenShop, rig: Rig) -> None:
    """Its headers find the caller gone."""
    body = Torrent(rig.clock)
    at = shop(OLD, flows(body, FRESH, after=5.0))
    await aged(at)
    await at.get()
    await at.clock.sleep(5.0)
    whole(body, b"new ", b"body")
    await turn(9)
    assert ((await at.get()).body, at.vendor.calls) == (b"new body", 2)


@pytest.mark.parametrize("kind", [FRESH, STRICT])
async def test_what_may_not_be_served_stale_cuts_no_wait(shop: OpenShop, kind: tuple[bytes, bytes]) -> None:
    """Forbidden by the vendor, or not allowed by the operator: the caller waits for the new one."""
    at = shop(answers(200, kind, ETAG, body=b"old"), LATE, cache={"stale_if_error": None})
    await aged(at)
    began = at.clock.now()
    assert ((await at.get()).body, round(at.clock.now() - began, 3)) == (b"new", 5.0)


async def test_a_deadline_before_the_wait_is_over_is_a_failure_like_others(shop: OpenShop) -> None:
    """The stale answer stands in for it, for the first and for who joined."""
    at = shop(OLD, LATE, timeout=Timeouts(total=1.0))
    await aged(at)
    got = [await each for each in (at.ask(), at.ask())]
    assert [(each.body, each.exchange.reason) for each in got] == [(b"old", "deadline")] * 2
    assert at.vendor.running == 0


# --- stale-while-revalidate ---------------------------------------------------------------------------------


async def test_a_refresh_is_one_for_each_key(shop: OpenShop) -> None:
    """Other keys, and other callers of the same, have their own."""
    at = shop(answers(200, REFRESHED, body=b"x", after=1.0))
    asks = [((), b"/v1/a"), ((), b"/v1/b"), (((b"Authorization", b"bob"),), b"/v1/a")]
    for fields, target in asks:
        await at.get(*fields, target=target)
    await at.clock.sleep(61.0)
    for fields, target in asks * 3:
        assert (await at.get(*fields, target=target)).outcome == "stale"
    await at.clock.sleep(2.0)
    assert (at.vendor.calls, at.counted["refreshed"]) == (6, 3)


async def test_a_refresh_that_fails_leaves_what_is_stored(shop: OpenShop) -> None:
    """The next caller begins another; nobody learns of it, and it is tried once."""
    at = shop(answers(200, REFRESHED, body=b"old"), answers(503), NEW, retry=RetrySettings())
    await aged(at)
    for _ in range(2):
        assert (await at.get()).outcome == "stale"
        await turn(9)
    assert ((await at.get()).body, at.vendor.calls, at.counted["refreshed"]) == (b"new", 3, 2)


async def test_a_refresh_is_joined_by_those_who_have_to_wait(shop: OpenShop) -> None:
    """Those who come when the grace is over do not send another call."""
    at = shop(answers(200, REFRESHED, body=b"old"), answers(200, FRESH, body=b"new", after=1.0))
    await aged(at, 89.5)
    assert (await at.get()).outcome == "stale"
    await at.clock.sleep(0.6)
    got = await at.get()
    assert (got.body, got.outcome, at.vendor.calls) == (b"new", "coalesced", 2)


async def test_a_refresh_asks_whether_it_has_changed(shop: OpenShop) -> None:
    """A 304 is enough; it is asked for the agent's own fields."""
    at = shop(answers(200, REFRESHED, ETAG, body=b"old"), answers(304, REFRESHED, ETAG))
    await aged(at)
    await at.get((b"X-Trace", b"7"))
    await turn(9)
    assert (at.asked[1].get(b"if-none-match"), at.asked[1].get(b"x-trace")) == (b'"1"', b"7")
    assert ((await at.get()).outcome, at.counted["refreshed"]) == ("hit", 1)


# --- 304 ----------------------------------------------------------------------------------------------------


async def test_a_304_is_for_all_who_waited(shop: OpenShop) -> None:
    """Each has what is stored, as fresh as it is now."""
    at = shop(OLD, answers(304, FRESH, ETAG, after=1.0))
    await aged(at)
    got = [await each for each in (at.ask(), at.ask())]
    assert [(each.status, each.body, each.outcome) for each in got] == [
        (200, b"old", "hit"),
        (200, b"old", "coalesced"),
    ]
    assert got[0].cache == "backstay; fwd=stale; fwd-status=304; stored"
    assert (at.vendor.calls, at.counted) == (2, {"miss": 1, "revalidated": 1, "coalesced": 1})


async def test_a_304_for_an_agent_that_has_it_already(shop: OpenShop) -> None:
    """The vendor is asked by what is stored, the agent answered by what it asked."""
    at = shop(OLD, answers(304, FRESH, ETAG))
    await aged(at)
    same = await at.get((b"If-None-Match", b'"1"'))
    other = await at.get((b"If-None-Match", b'"2"'))
    assert (same.status, other.status, other.body, at.vendor.calls) == (304, 200, b"old", 2)


async def test_a_304_that_comes_late_refreshes_too(shop: OpenShop) -> None:
    """The caller has the stale answer by then, the next one a hit."""
    at = shop(OLD, answers(304, FRESH, ETAG, after=5.0))
    await aged(at)
    assert (await at.get()).outcome == "stale"
    await at.clock.sleep(5.0)
    assert ((await at.get()).outcome, at.vendor.calls) == ("hit", 2)


async def test_a_304_that_forbids_to_store_is_for_one(shop: OpenShop) -> None:
    """Who waited goes by itself, and so does who comes next."""
    at = shop(OLD, answers(304, (b"Cache-Control", b"no-store"), ETAG, after=1.0), NEW)
    await aged(at)
    first, second = at.ask(), at.ask()
    assert ((await first).body, (await second).body, second.got.outcome) == (b"old", b"new", "forwarded")
    assert at.vendor.calls == 3


async def test_a_304_about_another_version_makes_all_wait_for_the_answer(shop: OpenShop) -> None:
    """It is asked for once, for all of them."""
    at = shop(OLD, answers(304, (b"ETag", b'"2"')), answers(200, FRESH, body=b"new", after=1.0))
    await aged(at)
    got = [await each for each in (at.ask(), at.ask())]
    assert [each.body for each in got] == [b"new", b"new"]
    assert (at.vendor.calls, got[0].exchange.attempts, got[1].exchange.attempts) == (3, 2, 0)


async def test_asking_again_in_vain_is_a_failure_like_others(shop: OpenShop) -> None:
    """What is stored stands in for it, though the vendor seems to have another version."""
    at = shop(OLD, answers(304, (b"ETag", b'"2"')), fails(ConnectionReset()))
    await aged(at)
    got = await at.get()
    assert (got.body, got.outcome, got.exchange.reason, at.vendor.calls) == (b"old", "stale", "reset", 3)
