"""Identical reads under way are one call: who gets what when it ends, and who may leave."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.clock import Clock
from proxy.core.coalesce import ALONE_SECONDS
from proxy.errors import CircuitOpen, ConnectionReset
from proxy.model import Ending
from tests.support.caching import FRESH, UNCACHED, Shop, Torrent, flows
from tests.support.script import Step, answers, fails
from tests.support.virtual import turn

OpenShop = Callable[..., Shop]


async def test_one_call_for_all(shop: OpenShop) -> None:
    """The one who began it gets the answer, the others a copy that says so."""
    at = shop(answers(200, FRESH, body=b"one", after=1.0))
    everybody = [at.ask() for _ in range(100)]
    got = [await each for each in everybody]
    assert {each.body for each in got} == {b"one"}
    assert [each.outcome for each in got] == ["forwarded"] + ["coalesced"] * 99
    assert got[1].cache == "backstay; fwd=uri-miss; fwd-status=200; collapsed"
    assert (at.vendor.calls, at.counted["miss"], at.counted["coalesced"]) == (1, 1, 99)


@pytest.mark.parametrize(
    ("step", "status", "reason"),
    [
        (fails(ConnectionReset(), after=1.0), 502, "reset"),
        (fails(CircuitOpen(retry_after=5.0), after=1.0, sent=False), 503, "circuit_open"),
        (answers(503, body=b"down", after=1.0), 503, ""),
        (answers(429, after=1.0), 429, ""),
    ],
)
async def test_a_failure_is_shared_and_nobody_asks_again(shop: OpenShop, step: Step, status: int, reason: str) -> None:
    """That would be the storm: everybody gets it, the vendor had one call."""
    at = shop(step)
    everybody = [at.ask() for _ in range(20)]
    got = [await each for each in everybody]
    assert {(each.status, each.reason) for each in got} == {(status, reason)}
    assert at.vendor.calls == 1


async def test_what_is_of_no_use_to_others_lets_them_go(shop: OpenShop) -> None:
    """Each goes by itself; for a while later reads of the key do not even wait, then they do again."""
    at = shop(answers(200, UNCACHED, body=b"mine", after=1.0))
    for each in [at.ask() for _ in range(3)]:
        await each
    assert at.vendor.calls == 3
    for each in [at.ask() for _ in range(2)]:
        await each
    assert (at.vendor.calls, at.vendor.peak) == (5, 2)
    await at.clock.sleep(ALONE_SECONDS)
    alone = [at.ask() for _ in range(2)]
    await turn()
    assert at.vendor.running == 1
    for each in alone:
        await each


async def test_an_answer_that_each_use_must_validate_serves_one(shop: OpenShop) -> None:
    """RFC 9111, 5.2.2.4: those who wait ask by themselves."""
    at = shop(answers(200, (b"Cache-Control", b"no-cache"), (b"ETag", b'"1"'), body=b"x", after=1.0))
    for each in [at.ask() for _ in range(3)]:
        await each
    assert at.vendor.calls == 3


async def test_the_call_goes_on_while_others_wait_for_it(shop: OpenShop) -> None:
    """The one who began it may leave."""
    at = shop(answers(200, FRESH, body=b"one", after=1.0))
    first, second = at.ask(), at.ask()
    await turn()
    first.leave()
    assert ((await second).body, at.vendor.calls) == (b"one", 1)


async def test_the_call_ends_when_nobody_wants_it(shop: OpenShop) -> None:
    """Neither the one who began it nor those who waited."""
    at = shop(answers(200, FRESH, body=b"one", after=1.0))
    everybody = [at.ask() for _ in range(3)]
    await turn()
    for each in everybody:
        each.leave()
    await turn(5)
    assert (at.vendor.running, at.flights) == (0, 0)


async def test_a_slow_reader_stalls_nobody(shop: OpenShop, clock: Clock) -> None:
    """Others get the whole body although the one who began it takes none of it, or leaves in its middle."""
    body = Torrent(clock)
    at = shop(flows(body, FRESH))
    first = at.ask(room=1)
    await turn(9)
    body.feed(b"half ")
    second = at.ask()
    await turn()
    body.feed(b"and half")
    body.finish()
    assert (await second).body == b"half and half"
    first.got.leave()
    assert (await at.get()).outcome == "hit"


async def test_a_body_that_breaks_off_is_everybodys_failure(shop: OpenShop, clock: Clock) -> None:
    """The first has its beginning; the others are told, and nothing is stored."""
    body = Torrent(clock)
    at = shop(flows(body, FRESH), answers(200, FRESH, body=b"again"))
    first, second = at.ask(), at.ask()
    await turn(9)
    body.feed(b"half")
    body.breaks()
    assert ((await first).ending, (await second).reason) == (Ending.BROKEN, "reset")
    assert (await at.get()).outcome == "forwarded"


@pytest.mark.parametrize("length", [None, 3000])
async def test_too_large_to_share(shop: OpenShop, clock: Clock, length: int | None) -> None:
    """As its length or its bytes show: the first gets it as it comes, the others go by themselves."""
    body = Torrent(clock, length)
    at = shop(flows(body, FRESH), answers(200, FRESH, body=b"small"), cache={"max_object": 2000})
    first, second = at.ask(), at.ask()
    await turn(9)
    body.feed(b"x" * 3000)
    body.finish()
    assert (len((await first).body), (await second).body, at.vendor.calls) == (3000, b"small", 2)


async def test_another_variant_is_another_call(shop: OpenShop) -> None:
    """Those who waited with other fields begin again, together."""
    vary = (b"Vary", b"Accept-Language")
    at = shop(answers(200, FRESH, vary, body=b"en", after=1.0), answers(200, FRESH, vary, body=b"de", after=1.0))
    languages = [b"en", b"en", b"de", b"de", b"de"]
    everybody = [at.ask((b"Accept-Language", language)) for language in languages]
    assert [(await each).body for each in everybody] == languages
    assert at.vendor.calls == 2
