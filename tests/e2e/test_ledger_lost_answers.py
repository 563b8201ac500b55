"""A vendor that carries calls out and loses its answers: agents learn that nobody knows, and nothing is sent twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.e2e.conftest import Start
from tests.support.crowd import Got, read_answer
from tests.support.ledger import (
    Bank,
    Behaviour,
    drops,
    ended,
    fails,
    hangs,
    pay,
    payment,
    replayed,
    settle,
    truncates,
    unsettled,
    wait_unknown,
)
from tests.support.process import Document, Sidecar, document, wait_until

WAYS: Final[dict[str, Behaviour]] = {
    "dropped": drops,
    "truncated": truncates,
    "hanging": hangs,
    "failed": fails(500, done=True),
}
ERRORS: Final = {"dropped": (502, "reset"), "hanging": (504, "timeout"), "failed": (500, "")}
INSTEAD: Final = {"status": 200, "body": "instead"}
HANGING: Final = {"name": "hanging", "match": {"paths": ["/pay/hanging*"]}, "timeout": {"first_byte": "300ms"}}


def paying(bank: Bank, **idempotency: Any) -> Document:
    bank.fields["Connection"] = "close"  # a reset of a kept connection may be an old goodbye
    policies = {"breaker": False, "fallback": [INSTEAD], "routes": [HANGING]}
    return {"url": bank.url, "idempotency": idempotency, **policies}


@pytest.fixture(scope="module")
def careful() -> Iterator[Bank]:
    with Bank(honours=True) as bank:
        yield bank


@pytest.fixture(scope="module")
def sidecar(bank: Bank, careful: Bank, share: Start) -> Sidecar:
    """One api whose vendor knows no keys, and one whose vendor does."""
    sure = paying(careful, upstream="honours", on_unknown="resend")
    return share(document({"bank": paying(bank, upstream="ignores"), "sure": sure}))


def first(sidecar: Sidecar, path: str, key: str) -> Got:
    """What the caller gets whose answer is lost; a part of one too."""
    with sidecar.connect() as agent:
        agent.sendall(payment(path, key))
        return read_answer(agent)


def assert_lost(got: Got, way: str) -> None:
    """It is an error that nothing stands in for, or an answer that breaks off."""
    if way == "truncated":
        assert (got.status, got.whole) == (200, False)
    else:
        assert (got.status, got.outcome, got.whole) == (*ERRORS[way], True)


@pytest.mark.parametrize("way", WAYS)
def test_a_lost_answer_is_not_asked_for_again(sidecar: Sidecar, bank: Bank, way: str) -> None:
    """The caller and its SDK are told not to repeat it; who does so all the same gets 409."""
    bank.plan(f"/pay/{way}", WAYS[way])
    got = first(sidecar, f"/bank/pay/{way}", way)
    assert_lost(got, way)
    if way != "truncated":
        assert got.field("X-Should-Retry") == got.field("Stripe-Should-Retry") == "false"
    wait_unknown(sidecar, way)
    for _ in range(2):
        answer = pay(sidecar, f"/bank/pay/{way}", way)
        assert ended(answer) == (409, "outcome_unknown")
        assert answer.headers["x-should-retry"] == "false"
        assert "retry-after" not in answer.headers
        assert str(answer.json()["advice"])
    assert len(bank.requests(f"/pay/{way}")) == len(bank.paid(f"/pay/{way}")) == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_vendor_that_knows_the_key_is_asked_again(sidecar: Sidecar, careful: Bank, way: str) -> None:
    """Once, with the same key: what it answers then is the answer of the first call, and is kept."""
    careful.plan(f"/pay/{way}", WAYS[way])
    got = first(sidecar, f"/sure/pay/{way}", f"sure-{way}")
    assert_lost(got, way)
    assert got.field("X-Should-Retry") != "false"
    wait_unknown(sidecar, f"sure-{way}")
    again = pay(sidecar, f"/sure/pay/{way}", f"sure-{way}")
    assert (ended(again), again.headers["x-bank-replayed"]) == ((200, ""), "true")
    (commit,) = careful.paid(f"/pay/{way}")
    assert again.content == commit.result
    later = pay(sidecar, f"/sure/pay/{way}", f"sure-{way}")
    assert (replayed(later), later.content) == (True, commit.result)
    assert [asked.key for asked in careful.requests(f"/pay/{way}")] == [f"sure-{way}"] * 2


@pytest.mark.parametrize(("status", "body"), [(429, b'{"error": {"message": "status 429"}}'), (503, b"instead")])
def test_what_was_not_carried_out_may_be_repeated(sidecar: Sidecar, bank: Bank, status: int, body: bytes) -> None:
    """A vendor that says so ends nothing: what may stand in for a failure does, and the repeat is the first call."""
    path = f"/pay/refused-{status}"
    bank.plan(path, fails(status))
    assert first(sidecar, f"/bank{path}", path).body == body
    assert path not in {record["key"] for record in unsettled(sidecar)}
    assert ended(pay(sidecar, f"/bank{path}", path)) == (200, "")
    assert len(bank.paid(path)) == 1


def test_a_refusal_is_an_answer(sidecar: Sidecar, bank: Bank) -> None:
    """A 402 is the end of the call: the repeat gets it as well."""
    bank.plan("/pay/poor", fails(402))
    assert first(sidecar, "/bank/pay/poor", "poor").status == 402
    answer = pay(sidecar, "/bank/pay/poor", "poor")
    assert (answer.status_code, replayed(answer)) == (402, True)
    assert len(bank.requests("/pay/poor")) == 1


def test_a_person_says_that_it_was_carried_out(sidecar: Sidecar, bank: Bank) -> None:
    """Its repeats are told so from then on; the answer is not known to anybody."""
    bank.plan("/pay/found", drops)
    first(sidecar, "/bank/pay/found", "found")
    settle(sidecar, "found", "done")
    assert ended(pay(sidecar, "/bank/pay/found", "found")) == (409, "answer_not_kept")
    assert len(bank.requests("/pay/found")) == 1
    assert "found" not in {record["key"] for record in unsettled(sidecar)}


def test_a_person_says_that_it_was_not_carried_out(sidecar: Sidecar, bank: Bank) -> None:
    """Its repeat is made."""
    bank.plan("/pay/missing", fails(500))
    assert first(sidecar, "/bank/pay/missing", "missing").status == 500
    settle(sidecar, "missing", "absent")
    assert ended(pay(sidecar, "/bank/pay/missing", "missing")) == (200, "")
    assert len(bank.paid("/pay/missing")) == 1


def test_unknown_outcomes_are_counted(sidecar: Sidecar, bank: Bank) -> None:
    """What waits for people shows in a metric, until they have settled it."""
    bank.plan("/pay/counted", drops)
    first(sidecar, "/bank/pay/counted", "counted")
    wait_unknown(sidecar, "counted")
    name = "backstay_idempotency_unknown_records"
    count = len(unsettled(sidecar))
    wait_until(lambda: sidecar.value(name) == count, "the metric")
    settle(sidecar, "counted", "done")
    wait_until(lambda: sidecar.value(name) == count - 1, "the metric")
