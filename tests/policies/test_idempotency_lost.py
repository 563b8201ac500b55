"""Tests of calls of which nobody knows whether they were carried out: what is told, and what is tried again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.clock import Clock
from proxy.core.fallback import Static, ToApi
from proxy.core.idempotency import State, StoreErrors
from proxy.core.retry import DO_NOT_REPEAT, RetrySettings
from proxy.core.timeouts import Timeouts
from proxy.errors import CircuitOpen, ConnectFailed, ConnectionReset, ProtocolError, Timeout
from tests.support.keyed import KEY, STRIPE, Till, gated
from tests.support.script import Rig, Step, answers, fails, hangs
from tests.support.virtual import turn

LOST = fails(ConnectionReset())
UNREACHED = fails(ConnectFailed(), sent=False)
SORRY = Static(200, (), "sorry")
AGAIN = {"retry": RetrySettings(budget=None)}


def outcome_of(paying: Any) -> tuple[str, bool]:
    """(what the agent is told, whether it is told that the outcome is not known)."""
    effect = paying.exchange.effect
    return paying.got.reason or paying.got.status, effect is not None and effect.unknown


@pytest.mark.parametrize("error", [ConnectionReset(), Timeout(), ProtocolError()])
async def test_a_lost_answer_is_not_made_good_by_another_call(rig: Rig, error: Exception) -> None:
    """The agent gets the error, and whoever repeats the call that nobody knows."""
    till = Till(rig, fails(error), answers(201))
    first, again = till.begin(), till.begin()
    await first
    await again
    assert first.got.error is error
    assert outcome_of(first) == (error.reason, True)
    later = till.begin()
    await later
    for each in (again, later):
        assert outcome_of(each) == ("outcome_unknown", True)
        assert each.got.status == 409
        assert each.got.error is not None
        assert each.got.error.retry_after is None
        assert "gave no answer" in str(each.got.error)
    assert (till.vendor.calls, await till.state()) == (1, State.UNKNOWN)
    assert till.counted == {"first": 1, "unknown": 2}


async def test_a_call_that_takes_too_long_is_lost(rig: Rig) -> None:
    """Its total is over: it was sent, and what becomes of it nobody will know."""
    till = Till(rig, hangs(), policies={"timeout": Timeouts(first_byte=None, total=5.0)})
    paying = till.begin()
    await paying
    assert outcome_of(paying) == ("deadline", True)
    assert await till.state() is State.UNKNOWN


async def test_a_defect_of_ours_leaves_it_unknown_once_it_is_sent(rig: Rig) -> None:
    """Whatever it was, the vendor has the call."""
    till = Till(rig, fails(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        await till.pay()
    assert await till.state() is State.UNKNOWN


async def test_a_process_that_is_told_to_end_leaves_it_unknown(rig: Rig) -> None:
    """A call that is cut has been sent."""
    till = Till(rig, hangs())
    paying = till.begin()
    await turn(6)
    paying.task.cancel()
    await turn(6)
    assert await till.state() is State.UNKNOWN


async def test_what_was_lost_with_another_body_is_told_apart(rig: Rig) -> None:
    """A key stays with its call, known or not."""
    till = Till(rig, LOST)
    await till.pay()
    assert (await till.pay(body=b"other")).reason == "key_reused"


async def test_what_was_lost_is_forgotten_in_its_time(rig: Rig, clock: Clock) -> None:
    """``retain``: a person has had as long to look."""
    till = Till(rig, LOST, answers(201), retain=3600.0)
    await till.pay()
    await clock.sleep(3601.0)
    assert (await till.pay()).status == 201


@pytest.mark.parametrize(("done", "reason"), [(True, "answer_not_kept"), (False, "")])
async def test_a_person_may_end_the_doubt(rig: Rig, done: bool, reason: str) -> None:
    """It was carried out: nobody sends it again. It was not: it is sent."""
    till = Till(rig, LOST, answers(201))
    await till.pay()
    record = await till.record()
    assert record is not None
    assert await till.ledger.settle(record.ident, done=done)
    got = await till.pay()
    assert (got.reason, till.vendor.calls) == (reason, 1 if done else 2)
    if done:
        assert "A person" in str(got.error)


# --- other attempts of the same call ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "settings", "calls"),
    [
        (STRIPE, {}, 2),
        (STRIPE, {"upstream": "ignores"}, 1),
        ("vendor.example", {}, 1),
        ("vendor.example", {"upstream": "honours"}, 2),
        ("vendor.example", {"upstream": "honours", "upstream_header": None}, 2),  # the agent's own is sent
        ("vendor.example", {"upstream_header": b"X-Once"}, 1),  # which proves nothing
    ],
)
async def test_a_lost_attempt_is_made_again_where_the_key_is_honoured(
    rig: Rig, host: str, settings: dict[str, Any], calls: int
) -> None:
    """With the same key. A field that nobody vouches for makes nothing safe."""
    till = Till(rig, LOST, answers(201), host=host, policies=AGAIN, **settings)
    got = await till.pay()
    assert (till.vendor.calls, got.status) == (calls, 201 if calls == 2 else 502)
    assert till.keys == [b"one"] * calls
    assert await till.state() is (State.DONE if calls == 2 else State.UNKNOWN)


@pytest.mark.parametrize(
    ("steps", "seen", "state"),
    [
        ([answers(503), answers(503), answers(503)], 503, None),
        ([answers(503), UNREACHED, UNREACHED], "connect", None),
        ([answers(503), UNREACHED, answers(404)], 404, State.DONE),
        ([LOST, answers(503), answers(503)], 503, State.UNKNOWN),
        ([LOST, answers(503), answers(200)], 200, State.DONE),
        ([LOST, answers(429)], 429, State.UNKNOWN),
        ([LOST, UNREACHED, UNREACHED], "connect", State.UNKNOWN),
        ([LOST, fails(CircuitOpen(), sent=False)], "circuit_open", State.UNKNOWN),
        ([answers(502), answers(503), answers(503)], 503, State.UNKNOWN),
        ([answers(502), fails(CircuitOpen(), sent=False)], 502, State.UNKNOWN),
        ([answers(503), fails(CircuitOpen(), sent=False)], 503, None),
        ([answers(502), answers(502), answers(402)], 402, State.DONE),
    ],
)
async def test_what_all_attempts_together_say(
    rig: Rig, steps: list[Step], seen: int | str, state: State | None
) -> None:
    """That the last one did nothing does not tell what became of one before it."""
    till = Till(rig, *steps, host=STRIPE, policies=AGAIN)
    paying = till.begin()
    await paying
    assert outcome_of(paying) == (seen, state is State.UNKNOWN)
    assert (till.vendor.calls, await till.state()) == (len(steps), state)


async def test_an_answer_that_is_not_known_is_not_to_be_repeated(rig: Rig) -> None:
    """SDKs would send a 503 again: after a lost attempt it is no promise."""
    till = Till(rig, LOST, answers(503, (b"Retry-After", b"9")), host=STRIPE, policies=AGAIN)
    got = await till.pay()
    assert [field for field in got.headers if field in DO_NOT_REPEAT] == list(DO_NOT_REPEAT)


async def test_the_operators_word_decides_after_a_lost_attempt_too(rig: Rig) -> None:
    """A vendor that answers a known key by 409 has carried the call out: ``store_errors``."""
    till = Till(rig, LOST, answers(409), host=STRIPE, policies=AGAIN, store_errors=StoreErrors(done=((409, 409),)))
    assert ((await till.pay()).status, await till.state()) == (409, State.DONE)


# --- what may stand in for it -------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [LOST, answers(500), answers(504), fails(Timeout())])
async def test_nothing_stands_in_for_what_may_have_been_done(rig: Rig, step: Step) -> None:
    """The agent would take it for the outcome; another api would do it a second time."""
    backup = Till(rig, answers(201), api="backup", ledgered=False)
    till = Till(rig, step, fallback=(ToApi("backup"), SORRY), others=(backup,))
    paying = till.begin()
    await paying
    assert paying.got.body != b"sorry" if paying.got.response is not None else True
    assert (outcome_of(paying)[1], backup.vendor.calls) == (True, 0)
    assert (await till.pay()).reason == "outcome_unknown"


@pytest.mark.parametrize("step", [UNREACHED, answers(503)])
async def test_what_was_not_done_may_be_replaced(rig: Rig, step: Step) -> None:
    """Without its key: that was for this vendor alone."""
    backup = Till(rig, answers(201, body=b"elsewhere"), api="backup", ledgered=False)
    till = Till(rig, step, host=STRIPE, header=b"x-once", fallback=(ToApi("backup"), SORRY), others=(backup,))
    paying = till.begin((b"X-Once", b"k"), key=None)
    await paying
    assert paying.got.body == (b"elsewhere" if step is UNREACHED else b"sorry")
    assert till.sent[0].get(KEY.lower()) == b"k"
    assert [list(sent) for sent in backup.sent] == ([[(b"X-Once", b"k")]] if step is UNREACHED else [])


# --- on_unknown: resend -------------------------------------------------------------------------------------------


def resending(rig: Rig, *steps: Step, **more: Any) -> Till:
    return Till(rig, *steps, **({"host": STRIPE, "on_unknown": "resend"} | more))


async def test_it_is_made_again_with_the_same_key(rig: Rig) -> None:
    """By whoever repeats it, where the vendor honours the key; SDKs may do so by themselves."""
    till = resending(rig, answers(500), answers(201))
    first, second = await till.pay(), await till.pay()
    assert (first.status, list(first.headers), second.status) == (500, [], 201)
    assert (till.keys, await till.state()) == ([b"one", b"one"], State.DONE)
    assert till.counted == {"first": 1, "resent": 1}


async def test_those_who_waited_for_a_lost_one_are_told_to_repeat_it(rig: Rig) -> None:
    """The first makes it again, the others wait for that one."""
    gate = asyncio.Event()
    till = resending(rig, gated(gate, LOST), answers(201, after=1.0))
    paying = [till.begin() for _ in range(3)]
    await turn(6)
    gate.set()
    got = [await each for each in paying]
    assert [each.reason for each in got] == ["reset", "outcome_unknown", "outcome_unknown"]
    assert [each.exchange.effect.repeatable for each in paying if each.exchange.effect is not None] == [True] * 3
    assert got[1].error is not None
    assert got[1].error.retry_after == 1.0
    again = [till.begin() for _ in range(3)]
    assert [(await each).status for each in again] == [201] * 3
    assert till.counted == {"first": 1, "unknown": 2, "resent": 1, "joined": 2}


@pytest.mark.parametrize("step", [UNREACHED, answers(503), answers(429), LOST])
async def test_that_it_was_not_done_this_time_tells_nothing_of_the_first(rig: Rig, step: Step) -> None:
    """It stays unknown, nothing stands in for it, and no other api is asked."""
    backup = Till(rig, answers(201), api="backup", ledgered=False)
    till = resending(rig, LOST, step, answers(201), fallback=(ToApi("backup"), SORRY), others=(backup,))
    await till.pay()
    again = till.begin()
    await again
    assert (outcome_of(again)[1], backup.vendor.calls) == (True, 0)
    assert again.got.response is None or again.got.body != b"sorry"
    assert await till.state() is State.UNKNOWN
    assert ((await till.pay()).status, await till.state()) == (201, State.DONE)


async def test_those_who_wait_for_a_second_try_learn_that_it_is_not_known(rig: Rig) -> None:
    """Not that it failed: it may have been carried out the first time."""
    gate = asyncio.Event()
    till = resending(rig, LOST, gated(gate, answers(503)))
    await till.pay()
    paying = [till.begin() for _ in range(2)]
    await turn(6)
    gate.set()
    assert [(await each).reason or each.got.status for each in paying] == [503, "outcome_unknown"]


@pytest.mark.parametrize(
    ("more", "fields", "key"),
    [
        ({"host": "vendor.example"}, [], b"one"),  # nobody vouches for it
        ({"host": "api-m.paypal.com"}, [], b"one"),  # not on this path
        ({"host": "pal-test.adyen.com"}, [], b"k" * 65),  # longer than it takes
        ({"header": b"x-once"}, [(b"X-Once", b"one")], b"made up by an SDK"),  # another one is sent
        ({"upstream_header": None, "header": b"x-once"}, [(b"X-Once", b"one")], None),  # none is sent
        ({"on_unknown": "refuse"}, [], b"one"),
    ],
)
async def test_it_is_not_made_again_where_that_might_do_it_twice(
    rig: Rig, more: dict[str, Any], fields: list[tuple[bytes, bytes]], key: bytes | None
) -> None:
    """The vendor has to get the same key, and to honour it on this call."""
    till = resending(rig, LOST, answers(201), **more)
    await till.pay(*fields, key=key)
    got = await till.pay(*fields, key=key)
    assert (got.reason, till.vendor.calls) == ("outcome_unknown", 1)
    assert got.error is not None
    assert got.error.retry_after is None


async def test_it_is_not_made_again_when_the_vendor_has_forgotten_its_key(rig: Rig, clock: Clock) -> None:
    """Stripe names a day; nor is anybody told that it could be repeated."""
    till = resending(rig, LOST, answers(201), retain=7 * 86400.0)
    await till.pay()
    await clock.sleep(86400.0)
    again = till.begin()
    await again
    assert (outcome_of(again), till.vendor.calls) == (("outcome_unknown", True), 1)
    assert again.exchange.effect is not None
    assert not again.exchange.effect.repeatable
    assert (await till.state(), len(till.ledger)) == (State.UNKNOWN, 0)
    assert till.counted == {"first": 1, "unknown": 1}


async def test_the_operators_word_has_no_end(rig: Rig, clock: Clock) -> None:
    """``upstream: honours`` names no time."""
    till = resending(rig, LOST, answers(201), host="vendor.example", upstream="honours", retain=7 * 86400.0)
    await till.pay()
    await clock.sleep(6 * 86400.0)
    assert (await till.pay()).status == 201
