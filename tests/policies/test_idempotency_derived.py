"""Tests of keys that are derived from calls which bring none: within which scope, for how long, and what is sent."""

from __future__ import annotations

import re
from typing import Any

import pytest

from proxy.clock import Clock
from proxy.core.idempotency import Derive
from proxy.core.retry import RetrySettings
from proxy.errors import ConnectionReset
from tests.support.caching import Torrent
from tests.support.keyed import KEY, PAYMENT, STRIPE, TRACE, Till
from tests.support.script import Rig, Step, answers, fails

OTHER_TRACE = (b"traceparent", b"00-1bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
SAME_TRACE = (b"traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-aaaaaaaaaaaaaaaa-00")


def deriving(rig: Rig, *steps: Step, derive: dict[str, Any] | None = None, **more: Any) -> Till:
    return Till(rig, *steps, derive=Derive(**(derive or {})), **({"host": STRIPE} | more))


async def test_the_same_call_in_the_same_trace_is_made_once(rig: Rig) -> None:
    """Other contents, another trace or none are other calls."""
    till = deriving(rig, answers(201, body=b"1"))
    first = await till.pay(TRACE, key=None)
    again = await till.pay(SAME_TRACE, key=None)
    assert (first.outcome, again.outcome, again.body) == ("forwarded", "replayed", b"1")
    assert (await till.pay(TRACE, key=None, body=b"other")).outcome == "forwarded"
    assert (await till.pay(TRACE, key=None, target=b"/v1/pay?x")).outcome == "forwarded"
    assert (await till.pay(OTHER_TRACE, key=None)).outcome == "forwarded"
    assert [(await till.pay(key=None)).outcome for _ in range(2)] == ["forwarded"] * 2
    assert till.counted == {"first": 4, "replayed": 1, "no_scope": 2}


async def test_a_scope_may_be_a_field(rig: Rig) -> None:
    """Such as the number of an order."""
    till = deriving(rig, answers(201), derive={"scope": "header:X-Order"})
    for number in (b"1", b"1", b"2"):
        await till.pay((b"X-Order", number), key=None)
    assert (till.vendor.calls, till.counted) == (2, {"first": 2, "replayed": 1})


async def test_what_a_key_is_derived_from_is_the_operators_to_say(rig: Rig) -> None:
    """A body that differs in each try, such as by a time, is left out."""
    till = deriving(rig, answers(201), derive={"parts": ("method", "path")})
    assert [(await till.pay(TRACE, key=None, body=body)).status for body in (b"1", b"2")] == [201, 201]
    assert till.vendor.calls == 1


async def test_the_agents_own_key_comes_first(rig: Rig) -> None:
    """Nothing is derived beside it; the two are never the same call."""
    till = deriving(rig, answers(201))
    for key in (b"one", None):
        await till.pay(TRACE, key=key)
    assert (till.vendor.calls, till.keys[0]) == (2, b"one")


async def test_a_key_that_is_required_may_be_derived(rig: Rig) -> None:
    """If the call tells enough."""
    till = deriving(rig, answers(201), require=True)
    assert (await till.pay(TRACE, key=None)).status == 201
    assert (await till.pay(key=None)).reason == "key_missing"


async def test_the_vendor_gets_a_key_that_tells_nothing(rig: Rig) -> None:
    """It is of the alphabet that all vendors take; the agent sees nothing of it."""
    till = deriving(rig, answers(201))
    paying = till.begin(TRACE, key=None)
    await paying
    assert re.fullmatch(rb"bs-[0-9a-f]{32}", till.keys[0] or b"")
    assert list(paying.exchange.request.headers) == [TRACE]
    record = await till.record()
    assert record is not None
    assert record.subject.key == ""


async def test_a_lost_attempt_is_made_again_with_the_same_derived_key(rig: Rig) -> None:
    """The vendor honours it like any other."""
    till = deriving(rig, fails(ConnectionReset()), answers(201), policies={"retry": RetrySettings()})
    assert (await till.pay(TRACE, key=None)).status == 201
    assert len(till.keys) == 2
    assert len(set(till.keys)) == 1


async def test_a_lost_call_is_made_again_with_the_same_derived_key(rig: Rig) -> None:
    """It is of the record, not of the try."""
    till = deriving(rig, fails(ConnectionReset()), answers(201), on_unknown="resend")
    assert [(await till.pay(TRACE, key=None)).status for _ in range(2)] == [502, 201]
    assert len(set(till.keys)) == 1


async def test_after_the_window_the_same_call_is_another_one(rig: Rig, clock: Clock) -> None:
    """It runs from the first use, whatever was repeated meanwhile; the vendor gets another key."""
    till = deriving(rig, answers(201), derive={"window": 600.0})
    await till.pay(TRACE, key=None)
    for _ in range(2):
        await clock.sleep(299.0)
        assert (await till.pay(TRACE, key=None)).outcome == "replayed"
    await clock.sleep(3.0)
    assert (await till.pay(TRACE, key=None)).outcome == "forwarded"
    assert len(set(till.keys)) == 2


async def test_the_window_is_not_of_keys_that_are_given(rig: Rig, clock: Clock) -> None:
    """Those are kept for ``retain``."""
    till = deriving(rig, answers(201), derive={"window": 60.0})
    await till.pay(TRACE)
    await clock.sleep(120.0)
    assert (await till.pay(TRACE)).outcome == "replayed"


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_body_that_is_too_large_to_derive_from_is_refused(rig: Rig, clock: Clock, streamed: bool) -> None:
    """Nothing is sent: without its body nobody knows which call it is."""
    torrent = Torrent(clock) if streamed else None
    if torrent is not None:
        torrent.feed(PAYMENT)
    till = deriving(rig, answers(201), max_body=4)
    refused = await till.pay(TRACE, key=None, stream=torrent)
    assert (refused.status, refused.reason, till.vendor.calls) == (413, "body_too_large", 0)
    assert "4 bytes" in str(refused.error)
    assert till.counted == {"oversized": 1}
    assert (await till.pay(TRACE)).status == 201, "with a key of its own it is made"


async def test_a_body_that_breaks_off_has_no_key(rig: Rig, clock: Clock) -> None:
    """The upstream gets no complete request; whoever sends it on says why."""
    torrent = Torrent(clock)
    torrent.feed(b"am")
    torrent.breaks()
    till = deriving(rig, answers(400))
    assert ((await till.pay(TRACE, key=None, stream=torrent)).status, till.counted) == (400, {})


async def test_an_upstream_that_nobody_vouches_for_gets_no_derived_key(rig: Rig) -> None:
    """The call is made once all the same."""
    till = deriving(rig, answers(201), host="vendor.example")
    for _ in range(2):
        await till.pay(TRACE, key=None)
    assert (till.vendor.calls, KEY.lower() in till.sent[0]) == (1, False)
