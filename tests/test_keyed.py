"""Tests of keyed.py: which key a call has, what is reserved for it, and what of its body is looked at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from proxy.clock import Clock
from proxy.core import idempotency_key
from proxy.core.fingerprint import Fingerprint
from proxy.core.idempotency import Claim, Derive, Subject
from proxy.errors import BodyTooLarge, KeyMalformed, KeyMissing, RequestTimeout
from proxy.keyed import Asked, Keys, Means
from proxy.model import Ending
from proxy.stores.ledger_memory import MemoryLedger
from tests.support import virtual
from tests.support.caching import Torrent
from tests.support.keyed import KEY, PAYMENT, STRIPE, TRACE, Counts, call_of, means_of
from tests.support.virtual import turn

T = TypeVar("T")

ONE = (KEY, b"one")
GIVEN = idempotency_key.ident("vendor", "everybody", b"one", derived=False)


class Desk:
    """Keys of one route."""

    def __init__(self, clock: Clock, **settings: Any) -> None:
        self.clock = clock
        self.means: Means = means_of(clock, MemoryLedger(1 << 20, clock.now), **settings)
        self.keys = Keys(self.means)

    async def ask(self, *fields: tuple[bytes, bytes], **more: Any) -> Asked | None:
        return await self.keys.ask(call_of(self.clock, *fields, **more))

    async def claim(self, *fields: tuple[bytes, bytes], **more: Any) -> Claim:
        exchange = call_of(self.clock, *fields, **more)
        asked = await self.keys.ask(exchange)
        assert asked is not None
        return self.keys.claim(exchange, asked)

    def torrent(self, *pieces: bytes, length: int | None = None, whole: bool = True) -> Torrent:
        torrent = Torrent(self.clock, length)
        for piece in pieces:
            torrent.feed(piece)
        if whole:
            torrent.finish()
        return torrent

    @property
    def counted(self) -> dict[str, float]:
        counts = self.means.count
        assert isinstance(counts, Counts)
        return counts.seen


def scene(scenario: Callable[[Desk], Awaitable[T]], **settings: Any) -> T:
    return virtual.run(lambda clock: scenario(Desk(clock, **settings)))


def fingerprint(clock: Clock, *fields: tuple[bytes, bytes], body: bytes = PAYMENT) -> str:
    return Fingerprint(("method", "path", "query", "body")).of(call_of(clock, *fields, body=body).request)


# --- keys ---------------------------------------------------------------------------------------------------------


def test_a_key_that_is_given() -> None:
    """The record is called after it, the scope and the api; it goes upstream as it is."""

    async def scenario(desk: Desk) -> None:
        asked = await desk.ask(ONE)
        assert asked is not None
        assert (asked.ident, asked.key, asked.derived, asked.spent) == (GIVEN, b"one", False, False)
        assert asked.fingerprint == asked.compare() == fingerprint(desk.clock)
        assert asked.upstream_key("nonce") == b"one"
        assert repr(asked) == f"<Asked {GIVEN[:8]} given>"

    scene(scenario)


def test_a_key_that_is_derived() -> None:
    """It goes upstream with the nonce of the record."""

    async def scenario(desk: Desk) -> None:
        asked, other = await desk.ask(TRACE), await desk.ask(TRACE, body=b"other")
        assert asked is not None
        assert other is not None
        assert (asked.key, asked.derived, asked.ident != other.ident) == (b"", True, True)
        assert asked.upstream_key("n") == idempotency_key.upstream_key(asked.ident, "n") != asked.upstream_key("m")
        assert repr(asked) == f"<Asked {asked.ident[:8]} derived>"

    scene(scenario, derive=Derive())


@pytest.mark.parametrize(
    ("settings", "fields", "counted"),
    [
        ({}, [], {"no_key": 1}),
        ({}, [TRACE], {"no_key": 1}),
        ({"derive": Derive()}, [], {"no_scope": 1}),
        ({"derive": Derive(scope="header:x-order")}, [TRACE], {"no_scope": 1}),
    ],
)
def test_a_call_without_a_key(
    settings: dict[str, Any], fields: list[tuple[bytes, bytes]], counted: dict[str, float]
) -> None:
    """It passes, and is counted; where a key is demanded it is refused."""

    async def passes(desk: Desk) -> None:
        assert (await desk.ask(*fields), desk.counted) == (None, counted)

    async def refused(desk: Desk) -> None:
        with pytest.raises(KeyMissing, match="idempotency-key"):
            await desk.ask(*fields)
        assert desk.counted == {"key_missing": 1}

    scene(passes, **settings)
    scene(refused, require=True, **settings)


def test_a_key_that_is_malformed() -> None:
    """Though another could be derived."""

    async def scenario(desk: Desk) -> None:
        with pytest.raises(KeyMalformed):
            await desk.ask((KEY, b""), TRACE)
        assert desk.counted == {"key_malformed": 1}

    scene(scenario, derive=Derive())


# --- claims -------------------------------------------------------------------------------------------------------


def test_what_is_reserved() -> None:
    """All that a store has to know, under a token of its own."""

    async def scenario(desk: Desk) -> None:
        one, two = await desk.claim(ONE), await desk.claim(ONE)
        subject = Subject("vendor", "default", "POST", "/v1/pay", "one")
        prints = fingerprint(desk.clock)
        assert one == (GIVEN, one.token, prints, 5.0, 7.0, 0.0, one.token, False, subject)
        assert one.token != two.token

    scene(scenario, lease=5.0, retain=7.0, derive=Derive(window=3.0))


def test_what_is_reserved_for_a_derived_key() -> None:
    """The window counts, and there is no key to be seen."""

    async def scenario(desk: Desk) -> None:
        claim = await desk.claim(TRACE)
        assert (claim.window, claim.subject.key) == (3.0, "")

    scene(scenario, derive=Derive(window=3.0))


@pytest.mark.parametrize(
    ("settings", "more", "resend"),
    [
        ({"host": STRIPE, "on_unknown": "resend"}, {}, True),
        ({"host": STRIPE}, {}, False),
        ({"on_unknown": "resend"}, {}, False),
        ({"host": STRIPE, "on_unknown": "resend"}, {"method": b"PUT"}, False),
        ({"upstream": "honours", "on_unknown": "resend"}, {"method": b"PUT"}, True),
    ],
)
def test_what_may_be_made_again(settings: dict[str, Any], more: dict[str, Any], resend: bool) -> None:
    """Where the operator says so, and the upstream honours the key of such a call; a derived one as well."""

    async def scenario(desk: Desk) -> None:
        assert [(await desk.claim(field, **more)).resend for field in (ONE, TRACE)] == [resend] * 2

    scene(scenario, derive=Derive(), **settings)


# --- bodies -------------------------------------------------------------------------------------------------------


def test_a_body_that_is_small_enough_is_held() -> None:
    """The fingerprint is that of one that came with the head."""

    async def scenario(desk: Desk) -> None:
        exchange = call_of(desk.clock, ONE, body=b"", stream=desk.torrent(b"amount", b"=1"))
        asked = await desk.keys.ask(exchange)
        assert asked is not None
        assert (exchange.request.stream, exchange.request.body) == (None, PAYMENT)
        assert asked.fingerprint == fingerprint(desk.clock)

    scene(scenario, max_body=8)


def test_a_large_body_that_came_with_the_head_is_known() -> None:
    """There is nothing to wait for."""

    async def scenario(desk: Desk) -> None:
        asked = await desk.ask(ONE)
        assert asked is not None
        assert asked.fingerprint == fingerprint(desk.clock)

    scene(scenario, max_body=7)


@pytest.mark.parametrize("length", [8, None])
def test_a_large_body_is_known_once_it_has_passed(length: int | None) -> None:
    """Until then its fingerprint is not known; then it is the same as ever."""

    async def scenario(desk: Desk) -> None:
        torrent = desk.torrent(b"amount", b"=", length=length, whole=False)
        asked = await desk.ask(ONE, body=b"", stream=torrent)
        assert asked is not None
        assert (asked.fingerprint, asked.compare()) == ("", "")
        torrent.feed(b"1")
        assert asked.compare() == ""
        torrent.finish()
        assert asked.compare() == asked.compare() == fingerprint(desk.clock)

    scene(scenario, max_body=4)


def test_a_large_body_is_spent_to_be_compared() -> None:
    """Once; one that is known already is left as it is."""

    async def scenario(desk: Desk) -> None:
        exchange = call_of(desk.clock, ONE, body=b"", stream=desk.torrent(b"amount", b"=1"))
        asked = await desk.keys.ask(exchange)
        assert asked is not None
        for _ in range(2):
            await asked.spend(exchange, desk.clock)
        assert (asked.spent, asked.compare()) == (True, fingerprint(desk.clock))
        known = await desk.ask(ONE, body=b"1")
        assert known is not None
        await known.spend(exchange, desk.clock)
        assert not known.spent

    scene(scenario, max_body=4)


@pytest.mark.parametrize("ending", [Ending.BROKEN, Ending.STALLED, Ending.ABANDONED])
def test_a_large_body_that_breaks_off_cannot_be_compared(ending: Ending) -> None:
    """The agent is to send it again."""

    async def scenario(desk: Desk) -> None:
        torrent = desk.torrent(b"amount", whole=False)
        exchange = call_of(desk.clock, ONE, body=b"", stream=torrent)
        asked = await desk.keys.ask(exchange)
        assert asked is not None
        spending = desk.clock.loop.create_task(asked.spend(exchange, desk.clock))
        await turn()
        torrent.body.fail(ending)
        with pytest.raises(RequestTimeout):
            await spending
        assert asked.compare() == ""

    scene(scenario, max_body=4)


@pytest.mark.parametrize("fields", [[ONE], [TRACE]])
def test_a_body_that_breaks_off_has_no_key(fields: list[tuple[bytes, bytes]]) -> None:
    """The call passes as it is: whoever sends it on learns why."""

    async def scenario(desk: Desk) -> None:
        torrent = desk.torrent(b"am", whole=False)
        torrent.breaks()
        assert (await desk.ask(*fields, body=b"", stream=torrent), desk.counted) == (None, {})

    scene(scenario, derive=Derive())


def test_a_body_that_is_too_large_to_derive_from() -> None:
    """With the limit, so that the agent knows."""

    async def scenario(desk: Desk) -> None:
        with pytest.raises(BodyTooLarge, match="4 bytes"):
            await desk.ask(TRACE)
        assert desk.counted == {"oversized": 1}

    scene(scenario, derive=Derive(), max_body=4)


def test_a_body_that_tells_nothing_apart_is_not_waited_for() -> None:
    """Neither for a key that is given nor for a derived one."""

    async def scenario(desk: Desk) -> None:
        for field in (ONE, TRACE):
            torrent = desk.torrent(b"amount", whole=False)
            asked = await desk.ask(field, body=b"", stream=torrent)
            assert asked is not None
            assert (len(asked.fingerprint), torrent.reading, torrent.body.replayable) == (32, True, True)

    scene(scenario, fingerprint=("method",), derive=Derive(parts=("method",)), max_body=4)
