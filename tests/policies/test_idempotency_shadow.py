"""Tests of ``mode: shadow``: calls pass as they are, and what would have been done with them is counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from proxy.clock import Clock
from proxy.core.idempotency import Derive, State
from proxy.core.retry import RetrySettings
from proxy.errors import ConnectionReset
from tests.support.caching import Torrent, flows
from tests.support.keyed import KEY, STRIPE, TRACE, Till, gated
from tests.support.remote import Plan, Remote, fails, held, slow
from tests.support.script import Rig, Step, answers
from tests.support.script import fails as breaks
from tests.support.virtual import turn

LOST = breaks(ConnectionReset())


def shadow(rig: Rig, *steps: Step, **more: object) -> Till:
    return Till(rig, *steps, mode="shadow", **more)  # type: ignore[arg-type]


async def test_what_would_have_been_replayed_is_made(rig: Rig) -> None:
    """Each answer is its own, and nothing is said on it."""
    till = shadow(rig, answers(201, body=b"1"), answers(202, body=b"2"))
    got = [await till.pay() for _ in range(2)]
    assert [(each.status, each.body, each.outcome, list(each.headers)) for each in got] == [
        (201, b"1", "forwarded", []),
        (202, b"2", "forwarded", []),
    ]
    assert till.shadowed == {"replay": 1}


@pytest.mark.parametrize(
    ("steps", "body"), [([answers(201)], b"other"), ([answers(500)], b"amount=1"), ([LOST], b"amount=1")]
)
async def test_what_would_have_been_refused_is_made(rig: Rig, steps: list[Step], body: bytes) -> None:
    """A key that stands for another call, and a call of which nobody knows."""
    till = shadow(rig, *steps, answers(201))
    first = await till.pay()
    assert [name for name, _ in first.headers] == []
    assert ((await till.pay(body=body)).status, till.shadowed) == (201, {"refuse": 1})


@pytest.mark.parametrize(
    ("settings", "fields", "key"),
    [
        ({"require": True}, [], None),
        ({}, [(KEY, b"one")], b"two"),
        ({"derive": Derive(), "max_body": 2}, [TRACE], None),
    ],
    ids=["missing", "malformed", "too large"],
)
async def test_a_key_that_would_have_been_refused_passes(
    rig: Rig, settings: dict[str, object], fields: list[tuple[bytes, bytes]], key: bytes | None
) -> None:
    """That is what an operator wants to know before it is enforced."""
    till = shadow(rig, answers(201), **settings)
    assert ((await till.pay(*fields, key=key)).status, till.shadowed) == (201, {"refuse": 1})


async def test_what_would_have_waited_is_made(rig: Rig, clock: Clock) -> None:
    """For a call here, or in another process."""
    remote, gate = Remote(clock), asyncio.Event()
    till = shadow(rig, gated(gate, answers(201)), answers(202), store=remote)
    other = shadow(Rig(clock), answers(203), store=remote)
    first = till.begin()
    await turn(6)
    assert ((await till.pay()).status, (await other.pay()).status, first.waits) == (202, 203, True)
    assert (till.shadowed, other.shadowed) == ({"join": 1}, {"wait": 1})
    gate.set()
    assert (await first).status == 201


async def test_a_call_without_a_key_passes(rig: Rig) -> None:
    """As ever."""
    till = shadow(rig, answers(201))
    assert ((await till.pay(key=None)).status, till.counted, till.shadowed) == (201, {"no_key": 1}, {})


async def test_no_key_is_sent_and_nothing_is_made_again_for_its_sake(rig: Rig) -> None:
    """What the vendor gets is what it got before."""
    till = shadow(rig, LOST, answers(201), host=STRIPE, header=b"x-once", policies={"retry": RetrySettings()})
    paying = till.begin((b"X-Once", b"k"), key=None)
    assert ((await paying).reason, till.vendor.calls) == ("reset", 1)
    assert (KEY.lower() in till.sent[0], paying.exchange.effect, await till.state()) == (False, None, State.UNKNOWN)


@pytest.mark.parametrize("how", ["away", "fails"])
async def test_a_ledger_that_is_away_costs_nothing(rig: Rig, clock: Clock, how: str) -> None:
    """It would have been refused."""
    remote = Remote(clock)
    till = shadow(rig, answers(201), store=remote)
    if how == "away":
        remote.go()
    remote.plan("reserve", fails)
    assert ((await till.pay()).status, till.shadowed, len(till.ledger)) == (201, {"refuse": 1}, 0)
    assert rig.samples("backstay_store_errors_total", "store", "mode") == {("memory", "closed"): 1}


@pytest.mark.parametrize("plan", [held, slow])
async def test_an_agent_that_leaves_while_the_store_is_asked(
    rig: Rig, clock: Clock, plan: Callable[[asyncio.Event], Plan]
) -> None:
    """Nothing is sent, and nothing stays reserved."""
    remote, gate = Remote(clock), asyncio.Event()
    till = shadow(rig, answers(201), store=remote)
    remote.plan("reserve", plan(gate))
    paying = till.begin()
    await turn(6)
    paying.leave()
    await turn(6)
    gate.set()
    await turn(6)
    assert (till.vendor.calls, await till.state(), len(till.ledger)) == (0, None, 0)


async def test_an_agent_that_leaves_ends_its_call(rig: Rig, clock: Clock) -> None:
    """As it did before: neither the call nor its stream goes on for nobody."""
    flow = Torrent(clock)
    till = shadow(rig, gated(asyncio.Event(), answers(201)), flows(flow))
    first = till.begin()
    await turn(6)
    first.leave()
    await turn(6)
    assert (first.task.cancelled(), await till.state()) == (True, State.UNKNOWN)
    got = await till.pay(key=b"two")
    flow.feed(b"ab")
    got.leave()
    assert (flow.over, flow.source.abandoned) == (True, True)
    assert (till.ledger.owned, len(till.ledger)) == (0, 0)


async def test_a_stream_is_taken_down(rig: Rig, clock: Clock) -> None:
    """The agent gets it as it comes."""
    flow = Torrent(clock)
    till = shadow(rig, flows(flow))
    got = await till.pay()
    flow.feed(b"ab")
    flow.finish()
    assert (got.body, await till.state()) == (b"ab", State.DONE)
