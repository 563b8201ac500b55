"""Tests of policies/idempotency.py: which calls it minds, what is replayed, and what each answer makes of a record.

Beside it are tests of calls under way at once (test_idempotency_twins.py), of lost ones (.._lost.py), of those of other
processes and of a ledger that is away (.._elsewhere.py), of requests with a body (.._bodies.py), of streams and broken
answers (.._answers.py), of derived keys (.._derived.py) and of shadow mode (.._shadow.py).
"""

from __future__ import annotations

from typing import Any

import pytest

from proxy.clock import Clock
from proxy.core.idempotency import Answer, State, StoreErrors
from proxy.core.retry import DO_NOT_REPEAT
from proxy.errors import ConnectFailed
from tests.support.keyed import KEY, STRIPE, Till
from tests.support.script import Rig, answers, fails

CREATED = answers(
    201, (b"Date", b"Mon, 01 Jan 2024 00:00:00 GMT"), (b"Set-Cookie", b"a"), (b"Set-Cookie", b"b"), body=b"1"
)


# --- which calls ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS"])
async def test_a_safe_method_passes_untouched(rig: Rig, method: bytes) -> None:
    """A key on a read means nothing, however often it comes, and whatever it is."""
    till = Till(rig, answers(200), require=True)
    assert [(await till.pay(method=method, key=b"\xff")).outcome for _ in range(2)] == ["forwarded"] * 2
    assert (till.vendor.calls, till.counted, await till.state()) == (2, {}, None)


async def test_a_websocket_passes_untouched(rig: Rig) -> None:
    """What is opened is a connection; what happens on it is not ours to tell apart."""
    till = Till(rig, answers(200))
    exchange = till.exchange()
    exchange.request.upgrade = True
    await till.proceed(exchange)
    assert (till.counted, exchange.effect) == ({}, None)


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH", b"DELETE", b"PURCHASE"])
async def test_a_call_is_made_once(rig: Rig, method: bytes) -> None:
    """The same call with the same key again has the answer of the first."""
    till = Till(rig, CREATED)
    first, second = await till.pay(method=method), await till.pay(method=method)
    assert (first.status, second.status, first.body, second.body) == (201, 201, b"1", b"1")
    assert (first.outcome, second.outcome, till.vendor.calls) == ("forwarded", "replayed", 1)
    assert till.counted == {"first": 1, "replayed": 1}


async def test_a_replay_is_the_answer_as_it_came_and_says_so(rig: Rig) -> None:
    """Its date too: that is when it was carried out. The first answer says nothing of all this."""
    till = Till(rig, CREATED)
    first, second = await till.pay(), await till.pay()
    assert [name for name, _ in first.headers] == [b"Date", b"Set-Cookie", b"Set-Cookie"]
    assert list(second.headers) == [
        *first.headers,
        (b"Idempotent-Replayed", b"true"),
        (b"Backstay-Outcome", b"replayed"),
    ]


async def test_other_keys_are_other_calls(rig: Rig) -> None:
    """Nothing but the key makes two calls one."""
    till = Till(rig, answers(201))
    for key in (b"one", b"two", b'"one"', b"ONE"):
        await till.pay(key=key)
    assert (till.vendor.calls, till.counted) == (4, {"first": 4})


async def test_without_a_key_each_call_is_made(rig: Rig) -> None:
    """They are counted, so that an operator sees what is not protected."""
    till = Till(rig, answers(201))
    for _ in range(2):
        await till.pay(key=None)
    assert (till.vendor.calls, till.counted) == (2, {"no_key": 2})


async def test_a_key_that_is_required(rig: Rig) -> None:
    """Without one nothing is sent, and the field to send is named."""
    till = Till(rig, answers(201), require=True, header=b"x-once")
    missing = await till.pay()
    assert (missing.status, missing.reason, till.vendor.calls) == (400, "key_missing", 0)
    assert "x-once" in str(missing.error)
    assert (await till.pay((b"X-Once", b"k"))).status == 201
    assert till.counted == {"key_missing": 1, "first": 1}


@pytest.mark.parametrize("fields", [[(KEY, b"")], [(KEY, b"k" * 256)], [(KEY, b"a\xe9")], [(KEY, b"a"), (KEY, b"a")]])
async def test_a_key_that_cannot_be_compared(rig: Rig, fields: Any) -> None:
    """Nothing is sent; a key that is read in another way than it was meant is worse than none."""
    till = Till(rig, answers(201))
    malformed = await till.pay(*fields, key=None)
    assert (malformed.status, malformed.reason, till.vendor.calls) == (400, "key_malformed", 0)
    assert till.counted == {"key_malformed": 1}


async def test_a_key_that_stands_for_another_call(rig: Rig) -> None:
    """It is refused, and the first call keeps its answer."""
    till = Till(rig, answers(201))
    await till.pay()
    reused = await till.pay(body=b"amount=2")
    assert (reused.status, reused.reason, till.vendor.calls) == (422, "key_reused", 1)
    assert (await till.pay()).outcome == "replayed"
    assert till.counted == {"first": 1, "mismatch": 1, "replayed": 1}


@pytest.mark.parametrize(
    ("parts", "more", "status"),
    [
        (("method", "path", "query", "body"), {"target": b"/v1/pay?a=1"}, 422),
        (("method", "path", "query", "body"), {"method": b"PUT"}, 422),
        (("method", "path"), {"target": b"/v1/pay?a=1", "body": b"other"}, 201),
        (("method", "path"), {"target": b"/v1/refund"}, 422),
    ],
)
async def test_what_a_key_stands_for_is_the_operators_to_say(
    rig: Rig, parts: tuple[str, ...], more: dict[str, Any], status: int
) -> None:
    """``fingerprint`` names the parts that have to be the same."""
    till = Till(rig, answers(201), fingerprint=parts)
    await till.pay()
    assert (await till.pay(**more)).status == status


async def test_a_header_may_be_a_part_of_what_a_key_stands_for(rig: Rig) -> None:
    """Such as the account that a call is for."""
    till = Till(rig, answers(201), fingerprint=("body", "header:x-account"))
    await till.pay((b"X-Account", b"a"))
    assert (await till.pay((b"X-Account", b"b"))).reason == "key_reused"
    assert (await till.pay((b"x-account", b"a"))).outcome == "replayed"


@pytest.mark.parametrize(
    ("scope", "fields", "calls"),
    [
        ("api", [(b"Authorization", b"a"), (b"Authorization", b"b")], 1),
        ("credential", [(b"Authorization", b"a"), (b"Authorization", b"b")], 2),
        ("credential", [(b"X-Tenant", b"a"), (b"X-Tenant", b"b")], 1),
        ("header:x-tenant", [(b"X-Tenant", b"a"), (b"X-Tenant", b"b")], 2),
        ("header:x-tenant", [(b"Authorization", b"a"), (b"Authorization", b"b")], 1),
    ],
)
async def test_whose_keys_are_told_apart(rig: Rig, scope: str, fields: list[tuple[bytes, bytes]], calls: int) -> None:
    """By default nobody's: tokens rotate, and a key must not change with them."""
    till = Till(rig, answers(201), scope=scope)
    for each in (*fields, *fields):
        await till.pay(each)
    assert till.vendor.calls == calls


async def test_routes_of_an_api_know_the_same_calls_and_other_apis_do_not(rig: Rig) -> None:
    """A key is of an api, whichever route it comes through."""
    one, other = Till(rig, answers(201), route="pay"), Till(rig, answers(201), route="refund")
    elsewhere = Till(rig, answers(201), api="bank")
    await one.pay()
    assert [(await till.pay()).outcome for till in (other, elsewhere)] == ["replayed", "forwarded"]


async def test_a_record_is_kept_for_its_time(rig: Rig, clock: Clock) -> None:
    """After ``retain`` the same key is another call."""
    till = Till(rig, answers(201), retain=3600.0)
    await till.pay()
    await clock.sleep(3599.0)
    assert (await till.pay()).outcome == "replayed"
    await clock.sleep(2.0)
    assert (await till.pay()).outcome == "forwarded"


async def test_what_an_operator_sees_of_a_call(rig: Rig) -> None:
    """The subject of a record is the call, with the agent's key as it came."""
    till = Till(rig, answers(201, body=b"1"), route="pay")
    await till.pay(target=b"/v1/pay?x=%20", method=b"PUT")
    record = await till.record()
    assert record is not None
    assert record.subject == ("vendor", "pay", "PUT", "/v1/pay?x=%20", "one")
    assert record.answer == Answer(201, b"", (), b"1")


# --- how it ends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 204, 303, 400, 402, 404, 422])
async def test_a_final_answer_is_kept(rig: Rig, status: int) -> None:
    """Errors of the agent's own too: the same call would have the same error."""
    till = Till(rig, answers(status, body=b"x"), answers(599))
    assert [(await till.pay()).status for _ in range(2)] == [status, status]
    assert (till.vendor.calls, await till.state()) == (1, State.DONE)


@pytest.mark.parametrize("status", [401, 403, 407, 408, 409, 421, 425, 429, 503])
async def test_an_answer_that_says_that_nothing_was_done_releases_the_key(rig: Rig, status: int) -> None:
    """The next try is made."""
    till = Till(rig, answers(status), answers(201))
    assert [(await till.pay()).status for _ in range(2)] == [status, 201]
    assert till.counted == {"first": 2}


async def test_an_error_before_anything_was_sent_releases_the_key(rig: Rig) -> None:
    """The next try is made, and the error is the agent's to see."""
    till = Till(rig, fails(ConnectFailed(), sent=False), answers(201))
    assert (await till.pay()).reason == "connect"
    assert await till.state() is None
    assert (await till.pay()).status == 201


@pytest.mark.parametrize(
    ("rules", "status", "state"),
    [
        (StoreErrors(released=((500, 502),)), 502, None),
        (StoreErrors(done=((409, 409),)), 409, State.DONE),
        (StoreErrors(unknown=((404, 404),)), 404, State.UNKNOWN),
    ],
)
async def test_a_vendor_may_mean_something_else(rig: Rig, rules: StoreErrors, status: int, state: State | None) -> None:
    """``store_errors`` is the operator's word for it."""
    till = Till(rig, answers(status), store_errors=rules)
    await till.pay()
    assert await till.state() is state


@pytest.mark.parametrize("status", [500, 502, 504])
async def test_an_error_of_the_vendors_leaves_it_unknown(rig: Rig, status: int) -> None:
    """It may have been carried out: the answer passes as it came, and SDKs are told not to repeat the call."""
    till = Till(rig, answers(status, (b"X-Should-Retry", b"true"), body=b"oops"))
    first, second = await till.pay(), await till.pay()
    assert (first.status, first.body, list(first.headers)) == (status, b"oops", list(DO_NOT_REPEAT))
    assert (second.status, second.reason, till.vendor.calls) == (409, "outcome_unknown", 1)
    assert f"answered {status}" in str(second.error)
    assert till.counted == {"first": 1, "unknown": 1}
    assert await till.state() is State.UNKNOWN


async def test_an_answer_that_a_policy_gave_releases_the_key(rig: Rig) -> None:
    """Nothing was sent, so nothing was carried out."""

    async def gives(clock: Clock, attempt: Any) -> Any:
        response = await answers(200, body=b"of ours")(clock, attempt)
        attempt.exchange.written = False
        return response

    till = Till(rig, gives)
    assert ((await till.pay()).status, await till.state()) == (200, None)


# --- the upstream's key -------------------------------------------------------------------------------------------


async def test_a_vendor_that_honours_keys_gets_it_under_its_own_name(rig: Rig) -> None:
    """Whatever the agent calls it."""
    till = Till(rig, answers(201), host=STRIPE, header=b"x-once")
    await till.pay((b"X-Once", b"k"), key=None)
    assert list(till.sent[0]) == [(b"X-Once", b"k"), (KEY, b"k")]


async def test_the_vendors_own_name_is_a_key_too(rig: Rig) -> None:
    """SDKs send it unasked; a route's ``header`` comes first."""
    till = Till(rig, answers(201), host=STRIPE, header=b"x-once")
    await till.pay()
    assert (await till.pay()).outcome == "replayed"
    assert (await till.pay((b"X-Once", b"two"))).outcome == "forwarded"
    assert [list(sent) for sent in till.sent] == [[(KEY, b"one")], [(KEY, b"one"), (b"X-Once", b"two")]]


async def test_an_upstream_that_nobody_vouches_for_gets_what_the_agent_sent(rig: Rig) -> None:
    """And no key of ours."""
    till = Till(rig, answers(201), header=b"x-once")
    await till.pay((b"X-Once", b"k"), key=None)
    assert list(till.sent[0]) == [(b"X-Once", b"k")]


async def test_the_request_is_the_agents_again_after_the_call(rig: Rig) -> None:
    """An api that is asked instead must not get what was meant for this one."""
    till = Till(rig, answers(201), fails(ConnectFailed(), sent=False), host=STRIPE, header=b"x-once")
    for key in (b"k", b"other"):
        paying = till.begin((b"X-Once", key), key=None)
        await paying
        assert list(paying.exchange.request.headers) == [(b"X-Once", key)]
