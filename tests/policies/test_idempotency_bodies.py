"""Tests of requests with a body: those that are held to be looked at, those that are too large, and broken ones."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.clock import Clock
from proxy.core.idempotency import State
from proxy.errors import AgentGone, BadRequest, ConnectionReset
from proxy.model import Ending, Headers
from tests.support.caching import Torrent
from tests.support.keyed import Paying, Till, gated, takes, unsent
from tests.support.remote import Remote
from tests.support.script import Rig, Step, answers, fails
from tests.support.virtual import turn

SMALL = 10  # bytes of a request that are looked at, and of an answer that are kept
ALICE, BOB = (b"Authorization", b"alice"), (b"Authorization", b"bob")
LARGE, OTHER = b"twenty bytes of body", b"twenty other bytes.."


def small(rig: Rig, *steps: Any, **more: Any) -> Till:
    return Till(rig, *steps, max_body=SMALL, **more)


def upload(clock: Clock, *pieces: bytes, length: int | None = None, whole: bool = True) -> Torrent:
    """A request body of which these pieces have come."""
    torrent = Torrent(clock, length)
    for piece in pieces:
        torrent.feed(piece)
    if whole:
        torrent.finish()
    return torrent


def in_two(clock: Clock, body: bytes = LARGE, *, announced: bool = False) -> Torrent:
    """All of a body that is too large to be held."""
    return upload(clock, body[:6], body[6:], length=len(body) if announced else None)


# --- a request that can be held -----------------------------------------------------------------------------------


async def test_a_request_that_is_small_enough_is_held_and_then_sent(rig: Rig, clock: Clock) -> None:
    """It does not matter in how many pieces it comes; the vendor gets it as a whole."""
    received: list[bytes] = []
    till = small(rig, takes(received))
    torrent = upload(clock, b"12345", whole=False)
    paying = till.begin(stream=torrent)
    await turn(6)
    assert till.vendor.calls == 0
    torrent.feed(b"67890")
    torrent.finish()
    assert ((await paying).status, received, paying.exchange.request.stream) == (201, [b"1234567890"], None)
    assert (await till.pay(body=b"1234567890")).outcome == "replayed"
    assert (await till.pay(stream=upload(clock, b"1234567890"))).outcome == "replayed"
    assert (await till.pay(stream=upload(clock, b"1234567891"))).reason == "key_reused"


async def test_a_request_that_never_comes_whole_is_not_looked_at(rig: Rig, clock: Clock) -> None:
    """The upstream gets no complete request; whoever sends it on says why."""
    received: list[bytes] = []
    till = small(rig, takes(received))
    torrent = upload(clock, b"123", whole=False)
    paying = till.begin(stream=torrent)
    await turn(6)
    torrent.body.fail(Ending.BROKEN, BadRequest())
    assert ((await paying).reason, received, await till.state(), till.counted) == ("bad_request", [], None, {})


# --- a request that cannot be held --------------------------------------------------------------------------------


@pytest.mark.parametrize("announced", [False, True])
async def test_a_large_request_is_known_by_its_key_and_compared_at_its_end(
    rig: Rig, clock: Clock, announced: bool
) -> None:
    """It is sent as it comes; the same again is read to its end, and then told from another one."""
    received: list[bytes] = []
    till = small(rig, takes(received, body=b"1"))
    first = await till.pay(stream=in_two(clock, announced=announced))
    assert (first.status, received) == (201, [LARGE])
    record = await till.record()
    assert record is not None
    assert len(record.fingerprint) == 32
    assert (await till.pay(stream=in_two(clock, announced=announced))).outcome == "replayed"
    assert (await till.pay(stream=in_two(clock, OTHER, announced=announced))).reason == "key_reused"
    assert (await till.pay(body=LARGE)).outcome == "replayed", "all of it came with the head"
    assert till.vendor.calls == 1
    assert till.counted == {"first": 1, "replayed": 2, "mismatch": 1}


async def test_a_large_request_is_sent_before_all_of_it_has_come(rig: Rig, clock: Clock) -> None:
    """And back-pressure reaches the agent meanwhile."""
    received: list[bytes] = []
    till = small(rig, takes(received))
    torrent = upload(clock, b"x" * 11, whole=False)
    paying = till.begin(stream=torrent)
    await turn(6)
    assert till.vendor.calls == 1
    torrent.feed(b"y")
    torrent.finish()
    assert ((await paying).status, received) == (201, [b"x" * 11 + b"y"])


async def test_an_answer_that_comes_before_the_request_is_over(rig: Rig, clock: Clock) -> None:
    """It is the answer to that key, whatever was still to come."""
    flow = Torrent(clock)
    till = small(rig, answers(413, body=b"no"), answers(201))
    paying = till.begin(stream=flow)
    flow.feed(LARGE)
    assert ((await paying).status, await till.state()) == (413, State.DONE)
    record = await till.record()
    assert record is not None
    assert record.fingerprint == ""
    assert [(await till.pay(body=body)).status for body in (LARGE, b"other")] == [413, 413]


async def test_a_fingerprint_without_the_body_does_not_wait_for_it(rig: Rig, clock: Clock) -> None:
    """Nor is the body of the same call again read."""
    received: list[bytes] = []
    till = small(rig, takes(received), fingerprint=("method", "path"))
    assert (await till.pay(stream=in_two(clock))).status == 201
    unread = upload(clock, b"x", whole=False)
    assert (await till.pay(stream=unread)).outcome == "replayed"
    assert not unread.over


@pytest.mark.parametrize("lost", [False, True])
async def test_an_upload_that_breaks_off_leaves_it_unknown(rig: Rig, clock: Clock, lost: bool) -> None:
    """The vendor has a part of it. One that could not be sent was not carried out."""
    till = small(rig, takes([]) if lost else answers(429))
    torrent = upload(clock, LARGE, whole=False)
    paying = till.begin(stream=torrent)
    await turn(6)
    paying.leave()
    torrent.body.fail(Ending.ABANDONED, AgentGone())
    got = await paying
    assert (got.reason or got.status, await till.state()) == (("agent_gone", State.UNKNOWN) if lost else (429, None))


async def test_what_was_lost_when_all_of_it_had_come_is_compared_too(rig: Rig, clock: Clock) -> None:
    """Another call under that key is not taken for it."""

    async def step(at: Clock, attempt: Any) -> Any:
        await takes([])(at, attempt)
        return await fails(ConnectionReset())(at, attempt)

    till = small(rig, step)
    assert (await till.pay(stream=in_two(clock))).reason == "reset"
    assert (await till.pay(stream=in_two(clock))).reason == "outcome_unknown"
    assert (await till.pay(stream=in_two(clock, OTHER))).reason == "key_reused"


async def test_the_agent_is_asked_for_its_body(rig: Rig, clock: Clock) -> None:
    """It waits for 100 Continue, which nobody else would send: the upstream is not asked yet, or never will be."""
    till = small(rig, takes([]))
    informed: list[int] = []
    for _ in range(2):
        torrent = Torrent(clock)
        exchange = till.exchange(stream=torrent)
        exchange.request.expects_continue = True

        def inform(status: int, headers: Headers, torrent: Torrent = torrent) -> None:
            informed.append(status)
            if not torrent.over:
                torrent.feed(LARGE)
                torrent.finish()

        exchange.inform = inform
        await Paying(till, exchange, float("inf"))
    assert set(informed) == {100}
    assert till.counted == {"first": 1, "replayed": 1}


# --- large requests that come again at once -----------------------------------------------------------------------


async def test_a_large_twin_is_read_while_it_waits(rig: Rig, clock: Clock) -> None:
    """Its body will not be sent; it is compared when all is known."""
    gate = asyncio.Event()
    till = small(rig, gated(gate, takes([], body=b"1")))
    paying = [till.begin(stream=in_two(clock, body)) for body in (LARGE, LARGE, OTHER)]
    paying.append(till.begin(body=OTHER))
    await turn(6)
    gate.set()
    got = [await each for each in paying]
    assert [each.reason or each.outcome for each in got] == ["forwarded", "replayed", "key_reused", "key_reused"]
    assert till.counted == {"first": 1, "joined": 1, "mismatch": 2}


async def test_a_large_twin_of_a_small_one_is_another_call(rig: Rig, clock: Clock) -> None:
    """As soon as it is known what it is."""
    gate = asyncio.Event()
    till = small(rig, gated(gate, answers(201)))
    first = till.begin(body=b"small")
    await turn()
    second = till.begin(stream=in_two(clock))
    await turn(6)
    gate.set()
    assert ((await first).status, (await second).reason) == (201, "key_reused")


@pytest.mark.parametrize(
    ("second", "leaves", "seen"),
    [(ALICE, False, 503), (BOB, False, "in_progress"), (ALICE, True, "in_progress"), (BOB, True, "in_progress")],
)
async def test_a_large_twin_cannot_take_over(
    rig: Rig, clock: Clock, second: tuple[bytes, bytes], leaves: bool, seen: int | str
) -> None:
    """Its body has been read. It is told to come again, unless what became of the first is an answer for it too."""
    gate = asyncio.Event()
    till = small(rig, unsent(gate, answers(503, body=b"busy")), answers(201))
    paying = [till.begin(whose, stream=in_two(clock)) for whose in (ALICE, second)]
    await turn(6)
    if leaves:
        paying[0].leave()
    gate.set()
    got = await paying[1]
    assert (got.reason or got.status, till.vendor.calls) == (seen, 1)
    assert (await till.pay(second, stream=in_two(clock))).status == 201


@pytest.mark.parametrize("known", [False, True])
async def test_a_body_that_cannot_be_compared_has_no_answer(rig: Rig, clock: Clock, known: bool) -> None:
    """It breaks off: nobody can say that it is the same call."""
    gate = asyncio.Event()
    till = small(rig, gated(gate, answers(201)))
    first = till.begin()
    await turn(6)
    if known:
        gate.set()
        await first
    torrent = upload(clock, LARGE, whole=False)
    second = till.begin(stream=torrent)
    await turn(6)
    torrent.body.fail(Ending.STALLED)
    got = await second
    gate.set()
    assert (got.status, got.reason, (await first).status) == (408, "request_timeout", 201)


@pytest.mark.parametrize(
    ("step", "seen", "state"), [(answers(429), "in_progress", None), (answers(201), "replayed", State.DONE)]
)
async def test_a_large_one_that_is_made_elsewhere_is_not_made_here(
    rig: Rig, clock: Clock, step: Step, seen: str, state: State | None
) -> None:
    """Its body was read to be compared. What was reserved for it is given back at once."""
    remote, gate = Remote(clock), asyncio.Event()
    there, here = small(Rig(clock), gated(gate, step), store=remote), small(rig, answers(500), store=remote)
    there.begin(stream=in_two(clock))
    await turn(6)
    second = here.begin(stream=in_two(clock))
    await clock.sleep(1.0)
    gate.set()
    got = await second
    await turn(6)
    assert (got.reason or got.outcome, here.vendor.calls, here.counted) == (seen, 0, {seen: 1})
    assert (await here.state(), here.ledger.busy) == (state, 0)


async def test_a_key_of_another_small_call_is_reused_by_a_large_one(rig: Rig, clock: Clock) -> None:
    """The record has what the first was; the body of the second is read to see that it is another."""
    till = small(rig, answers(201))
    await till.pay(body=b"small")
    assert (await till.pay(stream=in_two(clock))).reason == "key_reused"
