"""Reads that share a call, where it gets narrow: who leaves when, what cannot be shared, and what a body does to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from proxy.core.timeouts import Timeouts
from proxy.errors import ConnectionReset, PlaceholderMisused, RateLimited
from proxy.model import Ending
from tests.policies.conftest import OpenShop
from tests.support.caching import ETAG, FRESH, UNCACHED, Failing, Shop, Torrent, aged, flows, whole
from tests.support.script import Rig, answers, fails
from tests.support.virtual import turn

ONE = answers(200, FRESH, body=b"one", after=1.0)
TWO = answers(200, FRESH, body=b"two")
MUST_ASK = (b"Cache-Control", b"no-cache")
BY_LANGUAGE = (b"Vary", b"Accept-Language")
ENGLISH = (b"Accept-Language", b"en")
GERMAN = (b"Accept-Language", b"de")


@pytest.fixture(autouse=True)
async def nothing_left(rig: Rig) -> AsyncIterator[None]:
    """After each of these, nothing can be joined any more."""
    yield
    await turn(9)
    assert list(rig.survivors.shelves.flights) == []


async def test_each_follower_has_an_error_of_its_own(shop: OpenShop) -> None:
    """With all that the first one's says: when to come back, and of which limit it was."""
    error = RateLimited("Too many.", retry_after=7.0, limit=5, window=1.0)
    at = shop(fails(error, after=1.0, sent=False))
    first, second = at.ask(), at.ask()
    got = [(await each).error for each in (first, second)]
    assert got[0] is error
    assert got[1] is not error
    assert isinstance(got[1], RateLimited)
    assert (got[1].detail, got[1].retry_after, got[1].headers()) == ("Too many.", 7.0, error.headers())
    assert (at.vendor.calls, second.exchange.cache_status) == (1, b"backstay; fwd=uri-miss; collapsed")


async def test_after_a_failure_the_next_read_is_a_new_call(shop: OpenShop) -> None:
    """A failure is for those who waited for it, and makes no loner of the key."""
    at = shop(fails(ConnectionReset(), after=1.0), ONE)
    assert [(await each).status for each in (at.ask(), at.ask())] == [502, 502]
    assert [(await each).body for each in (at.ask(), at.ask())] == [b"one", b"one"]
    assert at.vendor.calls == 2


async def test_a_fault_in_the_first_request_is_its_own(shop: OpenShop) -> None:
    """Whoever waits for it may have asked without that fault, and goes by itself."""
    at = shop(fails(PlaceholderMisused(), after=1.0, sent=False), TWO)
    first, second = at.ask(), at.ask()
    assert ((await first).reason, (await second).body) == ("placeholder_misused", b"two")
    assert at.vendor.calls == 2


async def test_a_defect_of_ours_leaves_nobody_waiting(shop: OpenShop) -> None:
    """Both get an error that names no upstream."""
    at = shop(fails(RuntimeError("a defect"), after=1.0), TWO)
    assert [(await each).reason for each in (at.ask(), at.ask())] == ["internal", "internal"]
    assert (await at.get()).body == b"two"


# --- who leaves when ----------------------------------------------------------------------------------------


async def test_whoever_comes_as_the_last_one_leaves_begins_anew(shop: OpenShop) -> None:
    """A call that is being ended is not one to join."""
    at = shop(ONE, TWO)
    first = at.ask()
    await turn(5)
    first.leave()
    second = at.ask()
    assert ((await second).status, second.got.body) == (200, b"two")
    assert at.vendor.calls == 2


async def test_a_follower_that_leaves_costs_the_others_nothing(shop: OpenShop) -> None:
    """The first has its answer, the other follower its copy."""
    at = shop(ONE)
    first, second, third = at.ask(), at.ask(), at.ask()
    await turn(5)
    second.leave()
    assert [(await each).body for each in (first, third)] == [b"one", b"one"]
    assert second.task.cancelled()


async def test_the_first_leaves_before_the_headers_of_a_stream(shop: OpenShop, rig: Rig) -> None:
    """The body is gathered for the one who waits, and is stored."""
    body = Torrent(rig.clock)
    at = shop(flows(body, FRESH, after=1.0))
    first, second = at.ask(), at.ask()
    await turn(5)
    first.leave()
    await rig.clock.sleep(2.0)
    whole(body, b"all of ", b"it")
    assert ((await second).body, second.got.outcome) == (b"all of it", "coalesced")
    assert ((await at.get()).outcome, at.vendor.calls) == ("hit", 1)


@pytest.mark.parametrize("kind", [FRESH, UNCACHED])
@pytest.mark.parametrize("turns", range(8))
async def test_the_first_leaves_as_its_answer_comes(
    shop: OpenShop, rig: Rig, turns: int, kind: tuple[bytes, bytes]
) -> None:
    """In whichever turn of the loop: the vendor's stream is let go, or it would hold its connection for ever."""
    body = Torrent(rig.clock)
    at = shop(flows(body, kind, after=1.0))
    first = at.ask()
    await rig.clock.sleep(1.0)
    await turn(turns)
    first.leave()
    await turn(9)
    if not first.task.cancelled():  # it had its answer
        first.got.leave()
    assert body.over


async def test_the_first_leaves_in_mid_body(shop: OpenShop, rig: Rig) -> None:
    """It costs the one who waits nothing."""
    body = Torrent(rig.clock)
    at = shop(flows(body, FRESH))
    first, second = at.ask(), at.ask()
    await turn(9)
    body.feed(b"all of ")
    first.got.leave()
    assert (first.got.ending, body.over) == (Ending.ABANDONED, False)
    whole(body, b"it")
    assert (await second).body == b"all of it"


async def test_all_leave_in_mid_body(shop: OpenShop, rig: Rig) -> None:
    """Then the vendor is told to stop, whoever is the last; nothing is stored."""
    body = Torrent(rig.clock)
    at = shop(flows(body, FRESH), TWO)
    first, second = at.ask(), at.ask()
    await turn(9)
    body.feed(b"all of ")
    first.got.leave()
    second.leave()
    await turn(9)
    assert (body.over, at.flights) == (True, 0)
    assert (await at.get()).body == b"two"


async def test_the_only_one_leaves_in_mid_body(shop: OpenShop, rig: Rig) -> None:
    """The vendor is told at once."""
    body = Torrent(rig.clock)
    at = shop(flows(body, FRESH))
    first = at.ask()
    await turn(9)
    body.feed(b"all of ")
    first.got.leave()
    assert (body.over, at.flights) == (True, 0)


async def test_a_follower_has_a_deadline_of_its_own(shop: OpenShop) -> None:
    """On a route that allows less time; the first waits on, and has its answer."""
    slow = shop(answers(200, FRESH, body=b"one", after=10.0))
    hasty = shop(vendor=slow.vendor, route="hasty", timeout=Timeouts(total=3.0))
    first, second = slow.ask(), hasty.ask()
    assert ((await second).status, second.got.reason) == (504, "deadline")
    assert 3.0 <= slow.clock.now() - second.exchange.started < 3.1
    assert ((await first).body, slow.vendor.calls) == (b"one", 1)


async def test_past_its_deadline_a_follower_keeps_no_call_alive(shop: OpenShop) -> None:
    """The first has left meanwhile: nobody wants the call any more."""
    slow = shop(answers(200, FRESH, body=b"one", after=10.0))
    hasty = shop(vendor=slow.vendor, route="hasty", timeout=Timeouts(total=3.0))
    first, second = slow.ask(), hasty.ask()
    await turn(5)
    first.leave()
    await second
    await turn(5)
    assert slow.vendor.running == 0


async def test_whoever_leaves_while_the_store_is_slow_leaves_no_body_behind(shop: OpenShop, rig: Rig) -> None:
    """The answer has come, but nobody has it yet: it must not wait for a reader that never comes."""
    store, body = Failing(rig.clock), Torrent(rig.clock)
    at = shop(answers(200, FRESH, ETAG, body=b"old"), flows(body, UNCACHED), store=store)
    await aged(at)
    store.gates["delete"] = asyncio.Event()
    asking = at.ask()
    await rig.clock.sleep(0.1)
    asking.leave()
    await turn(9)
    assert (store.done[-1], body.over) == ("delete", True)


# --- what cannot be shared ----------------------------------------------------------------------------------


async def test_a_loner_is_one_key_of_one_caller(shop: OpenShop) -> None:
    """Others of the same caller, and the same of others, are still one call."""
    at = shop(answers(200, UNCACHED, after=1.0), ONE)
    await at.get()
    others = [at.ask(target=b"/v1/else") for _ in range(2)]
    for each in others + [at.ask((b"Authorization", b"bob")) for _ in range(2)]:
        await each
    assert (at.vendor.calls, at.counted["coalesced"]) == (3, 2)


@pytest.mark.parametrize("length", [None, 3000])
async def test_a_failure_too_large_to_share_is_told_to_all(shop: OpenShop, rig: Rig, length: int | None) -> None:
    """The first has all of it; the others learn what it was, and do not send it again."""
    body = Torrent(rig.clock, length)
    at = shop(flows(body, status=503), cache={"max_object": 2000})
    first, second = at.ask(), at.ask()
    await turn(9)
    whole(body, b"x" * 3000)
    assert ((await first).status, len(first.got.body), (await second).reason) == (503, 3000, "upstream")
    assert "answered 503" in str(second.got.error)
    assert at.vendor.calls == 1


async def test_a_failure_that_streams_is_copied_for_all(shop: OpenShop, rig: Rig) -> None:
    """Once it is complete, and it is not stored."""
    body = Torrent(rig.clock)
    at = shop(flows(body, FRESH, status=503), TWO)
    first, second = at.ask(), at.ask()
    await turn(9)
    whole(body, b"down")
    assert [(each.status, each.body) for each in (await first, await second)] == [(503, b"down")] * 2
    assert second.got.cache == "backstay; fwd=uri-miss; fwd-status=503; collapsed"
    assert (await at.get()).body == b"two"


async def test_too_large_for_one_who_has_gone(shop: OpenShop, rig: Rig) -> None:
    """With a follower still there, the call ends where it overflows, and the follower goes by itself."""
    body = Torrent(rig.clock)
    at = shop(flows(body, FRESH), TWO, cache={"max_object": 2000})
    first, second = at.ask(), at.ask()
    await turn(9)
    first.got.leave()
    body.feed(b"x" * 3000)
    assert ((await second).body, body.over) == (b"two", True)


async def test_what_each_use_must_validate_lets_the_others_go_at_its_headers(shop: OpenShop, rig: Rig) -> None:
    """They do not wait for a body that is not theirs; it is stored all the same."""
    body = Torrent(rig.clock)
    at = shop(flows(body, MUST_ASK, ETAG), TWO)
    first, second = at.ask(), at.ask()
    await turn(9)
    assert (second.got.body, body.over) == (b"two", False)
    whole(body, b"one")
    assert (await first).body == b"one"
    await turn(9)
    await at.get()
    assert at.asked[-1].get(b"if-none-match") == b'"1"'


async def test_a_variant_that_is_not_stored_tells_the_others_nothing(shop: OpenShop, rig: Rig) -> None:
    """They may all be different: each goes by itself."""
    at = shop(answers(200, FRESH, BY_LANGUAGE, body=b"en", after=1.0), ONE, store=Failing(rig.clock, "put"))
    first, *others = at.ask(ENGLISH), at.ask(GERMAN), at.ask(GERMAN)
    assert (await first).body == b"en"
    assert [(await each).body for each in others] == [b"one", b"one"]
    assert (at.vendor.calls, at.vendor.peak) == (3, 2)


async def test_a_change_in_mid_flight_keeps_its_answer_out(shop: OpenShop) -> None:
    """A write of the caller's makes unsure what comes: those who asked before get it, and nobody later."""
    at = shop(ONE, answers(204), TWO)
    first, second = at.ask(), at.ask()
    await turn(5)
    await at.get(method=b"PUT")
    assert [(await each).body for each in (first, second)] == [b"one", b"one"]
    assert (await at.get()).body == b"two"


@pytest.mark.parametrize(
    "field", [(b"Range", b"bytes=0-1"), (b"If-None-Match", b'"1"'), (b"Cache-Control", b"no-cache")]
)
async def test_what_is_asked_in_particular_is_asked_alone(shop: OpenShop, field: tuple[bytes, bytes]) -> None:
    """Its answer may be a part, or a 304, or has to be newer than what is under way; nobody waits for it."""
    at = shop(ONE)
    everybody = [at.ask(), at.ask(field), at.ask(field)]
    assert [(await each).outcome for each in everybody] == ["forwarded"] * 3
    why = "partial" if field[0] == b"Range" else "uri-miss"
    assert everybody[1].got.cache.startswith(f"backstay; fwd={why}; fwd-status=200")
    assert at.vendor.calls == 3


# --- HEAD ---------------------------------------------------------------------------------------------------


async def heads(at: Shop, *fields: tuple[bytes, bytes]) -> list[bytes | None]:
    """What each of these, at once, is told of the length."""
    asking = [at.ask(field, method=b"HEAD") for field in fields]
    return [(await each).header(b"content-length") for each in asking]


def head(length: bytes, *fields: tuple[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
    return (b"Content-Length", length), *fields


async def test_heads_share_a_call_of_their_own(shop: OpenShop) -> None:
    """Not that of a GET, which would have them wait for a body."""
    at = shop(answers(200, *head(b"3", FRESH), after=1.0))
    assert await heads(at, ENGLISH, ENGLISH, GERMAN) == [b"3"] * 3
    assert (at.vendor.calls, at.counted) == (1, {"miss": 1, "coalesced": 2})


async def test_heads_of_other_variants_are_other_calls(shop: OpenShop) -> None:
    """What Vary says holds for them too (RFC 9111, 4.1)."""
    at = shop(answers(200, *head(b"3", FRESH, BY_LANGUAGE), after=1.0), answers(200, *head(b"4", FRESH, BY_LANGUAGE)))
    assert await heads(at, ENGLISH, GERMAN, ENGLISH) == [b"3", b"4", b"3"]
    assert at.vendor.calls == 2


async def test_heads_that_must_be_validated_are_not_shared(shop: OpenShop) -> None:
    """RFC 9111, 5.2.2.4 again."""
    at = shop(answers(200, *head(b"3", MUST_ASK, ETAG), after=1.0))
    assert await heads(at, ENGLISH, ENGLISH) == [b"3"] * 2
    assert at.vendor.calls == 2


@pytest.mark.parametrize(("length", "outcome"), [(b"3", "hit"), (b"4", "forwarded")])
async def test_a_head_says_whether_what_is_stored_is_good(shop: OpenShop, length: bytes, outcome: str) -> None:
    """RFC 9111, 4.3.5: it is fresh again, or forgotten."""
    at = shop(answers(200, *head(b"3", FRESH), body=b"one"), answers(200, *head(length, FRESH)), TWO)
    await aged(at)
    await at.get(method=b"HEAD")
    assert (await at.get()).outcome == outcome


async def test_a_head_that_fails_says_nothing_of_what_is_stored(shop: OpenShop) -> None:
    """It is served instead, without its body."""
    at = shop(answers(200, FRESH, body=b"one"), answers(503))
    await aged(at)
    got = await at.get(method=b"HEAD")
    assert (got.status, got.body, got.outcome) == (200, b"", "stale")
    assert (await at.get()).body == b"one"
