"""Every row of the table of core/idempotency.py, how long a record is kept, and how a call ends."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.idempotency import (
    RELEASING,
    Answer,
    Claim,
    Concluded,
    Conclusion,
    Found,
    IdempotencySettings,
    Record,
    State,
    StoreErrors,
    Subject,
    concluded,
    expired,
    finish,
    leaves_doubt,
    released,
    renew,
    reserve,
    settle,
    state_at,
)

NOW: Final = 100.0
LEASE: Final = 60.0
RETAIN: Final = 3600.0
OWNER: Final = "1-1"
OTHER: Final = "1-2"
NOBODY: Final = ""
ANSWER: Final = Answer(201, b"Created", ((b"Content-Type", b"text/plain"),), b"paid")
FACTS: Final = (
    "answer", "created", "doubt", "fingerprint", "ident", "lease_until", "nonce", "number", "retain", "state",
    "status", "subject", "token", "until", "windowed",
)  # fmt: skip
KINDS: Final = {"absent", "running", "lapsed", "done", "unknown", "running in doubt", "unknown in doubt"}

DONE: Final = Conclusion(Concluded.DONE, status=201, answer=ANSWER)
RELEASED: Final = Conclusion(Concluded.RELEASED, status=429)
UNKNOWN: Final = Conclusion(Concluded.UNKNOWN, status=500)


def a_claim(
    token: str = OTHER, *, fingerprint: str = "f", resend: bool = False, window: float = 0.0, nonce: str = "n2"
) -> Claim:
    subject = Subject("stripe", "charges", "POST", "/v1/charges", "k")
    return Claim("0" * 32, token, fingerprint, LEASE, RETAIN, window, nonce, resend, subject)


def a_record(kind: str, *, window: float = 0.0, fingerprint: str = "f") -> Record | None:
    """What OWNER has brought about by NOW."""
    if kind == "absent":
        return None
    record = reserve(None, a_claim(OWNER, fingerprint=fingerprint, window=window, nonce="n1"), NOW - 1.0).record
    if kind.endswith("in doubt"):
        finish(record, OWNER, UNKNOWN, NOW)
        reserve(record, a_claim(OWNER, fingerprint=fingerprint, resend=True), NOW)
    if kind.startswith("lapsed"):
        record.lease_until = NOW
    if kind.startswith("done"):
        finish(record, OWNER, DONE, NOW)
    if kind.startswith("unknown"):
        finish(record, OWNER, UNKNOWN, NOW)
    return record


def there(kind: str, *, window: float = 0.0, fingerprint: str = "f") -> Record:
    record = a_record(kind, window=window, fingerprint=fingerprint)
    assert record is not None
    return record


def facts(record: Record | None) -> dict[str, Any]:
    return {} if record is None else {name: getattr(record, name) for name in FACTS}


def kind_of(record: Record | None) -> str:
    """One of KINDS, as others see it."""
    if record is None:
        return "absent"
    if record.state is State.RUNNING and state_at(record, NOW) is State.UNKNOWN:
        return "lapsed"
    return f"{record.state.value}{' in doubt' * (record.doubt and record.state is not State.DONE)}"


def told(record: Record | None, token: str, conclusion: Conclusion) -> tuple[bool, Record | None]:
    """Finish as a store does it: a record that was released is forgotten."""
    if not finish(record, token, conclusion, NOW):
        return False, record
    assert record is not None
    return True, None if released(record, conclusion) else record


# --- reserve ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "token", "resend", "found", "then"),
    [
        ("absent", OTHER, False, Found.OWNED, "running"),
        ("absent", OTHER, True, Found.OWNED, "running"),
        ("running", OWNER, False, Found.OWNED, "the same"),
        ("running", OTHER, False, Found.RUNNING, "the same"),
        ("running", OTHER, True, Found.RUNNING, "the same"),
        ("running in doubt", OWNER, True, Found.OWNED, "the same"),
        ("running in doubt", OTHER, True, Found.RUNNING, "the same"),
        ("done", OWNER, False, Found.DONE, "the same"),
        ("done", OTHER, False, Found.DONE, "the same"),
        ("done", OTHER, True, Found.DONE, "the same"),
        ("lapsed", OWNER, False, Found.OWNED, "the same"),
        ("lapsed", OWNER, True, Found.OWNED, "the same"),
        ("lapsed", OTHER, False, Found.UNKNOWN, "the same"),
        ("lapsed", OTHER, True, Found.OWNED, "running in doubt"),
        ("unknown", OWNER, False, Found.UNKNOWN, "the same"),
        ("unknown", OTHER, False, Found.UNKNOWN, "the same"),
        ("unknown", OTHER, True, Found.OWNED, "running in doubt"),
        ("unknown in doubt", OTHER, False, Found.UNKNOWN, "the same"),
        ("unknown in doubt", OTHER, True, Found.OWNED, "running in doubt"),
    ],
)
def test_reserve(kind: str, token: str, resend: bool, found: Found, then: str) -> None:
    """What each state makes of it, and what the caller learns; OWNED with a change is the caller's own."""
    record = a_record(kind)
    before = facts(record)
    answer = reserve(record, a_claim(token, resend=resend), NOW)
    assert answer.found is found
    if then == "the same":
        assert answer.record is record
        assert facts(record) == before
    else:
        assert (kind_of(answer.record), answer.record.token) == (then, token)
        assert answer.record.lease_until == NOW + LEASE


@pytest.mark.parametrize("kind", sorted(KINDS - {"absent"}))
@pytest.mark.parametrize("token", [OWNER, OTHER])
@pytest.mark.parametrize("resend", [False, True])
def test_reserve_for_another_call(kind: str, token: str, resend: bool) -> None:
    """A key stands for what it came with first, in every state and to everybody."""
    record = there(kind)
    before = facts(record)
    answer = reserve(record, a_claim(token, fingerprint="g", resend=resend), NOW)
    assert (answer.found, answer.record) == (Found.MISMATCH, record)
    assert facts(record) == before


@pytest.mark.parametrize(("kept", "claimed"), [("", "f"), ("f", ""), ("", "")])
def test_a_fingerprint_that_is_not_known_is_no_other(kept: str, claimed: str) -> None:
    """The body is too large to be looked at before it passes."""
    record = there("done", fingerprint=kept)
    assert reserve(record, a_claim(fingerprint=claimed), NOW).found is Found.DONE
    assert record.fingerprint == kept


def test_a_new_record_is_what_was_claimed() -> None:
    """From now on, under the nonce of the claim, and in no doubt."""
    record = reserve(None, a_claim(OWNER, nonce="n1"), NOW).record
    assert (record.ident, record.token, record.fingerprint, record.nonce) == ("0" * 32, OWNER, "f", "n1")
    assert (record.number, record.state, record.doubt, record.status, record.answer) == (
        1, State.RUNNING, False, 0, None,
    )  # fmt: skip
    assert (record.created, record.lease_until, record.until) == (NOW, NOW + LEASE, NOW + RETAIN)
    assert record.subject.target == "/v1/charges"
    assert repr(record) == "<Record 00000000 running by 1-1, 1>"


def test_a_call_made_again_keeps_its_nonce_and_is_counted() -> None:
    """The upstream has to see the same key; whoever looks sees that it was made twice."""
    record = there("unknown")
    until = record.until
    reserve(record, a_claim(resend=True, nonce="n2"), NOW + 5.0)
    assert (record.nonce, record.number, record.doubt, record.until) == ("n1", 2, True, until)


def test_a_call_made_again_gives_the_fingerprint_that_was_not_known() -> None:
    """From then on the key stands for that call; one that was known stays."""
    record = there("unknown", fingerprint="")
    assert reserve(record, a_claim(fingerprint="f", resend=True), NOW).found is Found.OWNED
    assert reserve(record, a_claim(fingerprint="g"), NOW).found is Found.MISMATCH
    known = there("unknown")
    reserve(known, a_claim(fingerprint="", resend=True), NOW)
    assert known.fingerprint == "f"


# --- renew --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "token", "learns", "then"),
    [
        ("absent", OWNER, False, "absent"),
        ("running", OWNER, True, "running"),
        ("running in doubt", OWNER, True, "running in doubt"),
        ("lapsed", OWNER, True, "running"),
        ("unknown", OWNER, False, "the same"),
        ("unknown in doubt", OWNER, False, "the same"),
        ("done", OWNER, False, "the same"),
        ("running", OTHER, False, "the same"),
        ("lapsed", OTHER, False, "the same"),
        ("unknown", OTHER, False, "the same"),
        ("done", OTHER, False, "the same"),
        ("running", NOBODY, False, "the same"),
    ],
)
def test_renew(kind: str, token: str, learns: bool, then: str) -> None:
    """Only the owner has a lease to renew, and is believed even if it is late; not once it has told how it ended."""
    record = a_record(kind)
    before = facts(record)
    assert renew(record, token, 30.0, NOW) is learns
    assert facts(record) == before if then == "the same" else kind_of(record) == then
    assert record is None or not learns or record.lease_until == NOW + 30.0


# --- finish -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "conclusion", "then"),
    [
        ("running", DONE, "done"),
        ("running", RELEASED, "absent"),
        ("running", UNKNOWN, "unknown"),
        ("running in doubt", DONE, "done"),
        ("running in doubt", RELEASED, "unknown in doubt"),
        ("running in doubt", UNKNOWN, "unknown in doubt"),
        ("lapsed", DONE, "done"),
        ("lapsed", RELEASED, "absent"),
        ("lapsed", UNKNOWN, "unknown"),
        ("unknown", DONE, "done"),
        ("unknown", RELEASED, "absent"),
        ("unknown", UNKNOWN, "unknown"),
        ("unknown in doubt", DONE, "done"),
        ("unknown in doubt", RELEASED, "unknown in doubt"),
        ("unknown in doubt", UNKNOWN, "unknown in doubt"),
        ("done", DONE, "the same"),
        ("done", RELEASED, "the same"),
        ("done", UNKNOWN, "the same"),
    ],
)
def test_finish(kind: str, conclusion: Conclusion, then: str) -> None:
    """What the owner tells is true, on time or late; only what is done is done."""
    record = there(kind)
    before = facts(record)
    learns, left = told(record, OWNER, conclusion)
    assert learns
    if then == "the same":
        assert left is record
        assert facts(record) == before
    else:
        assert kind_of(left) == then


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("conclusion", [DONE, RELEASED, UNKNOWN], ids=["done", "released", "unknown"])
@pytest.mark.parametrize("token", [OTHER, NOBODY])
def test_finish_by_anybody_else(kind: str, conclusion: Conclusion, token: str) -> None:
    """A token fences: who owns it no more has nothing to say."""
    record = a_record(kind)
    before = facts(record)
    assert told(record, token, conclusion) == (False, record)
    assert facts(record) == before


def test_an_earlier_owner_is_not_heard() -> None:
    """Another has taken over; what becomes of the first call is that one's to find out."""
    record = there("lapsed")
    reserve(record, a_claim(resend=True), NOW)
    assert told(record, OWNER, DONE) == (False, record)
    assert not renew(record, OWNER, LEASE, NOW)
    assert (record.token, record.state) == (OTHER, State.RUNNING)


def test_finish_keeps_the_answer_or_at_least_its_status() -> None:
    """Of a call that is done; of one that is not known the status helps whoever has to find out."""
    done, large, unknown = there("running"), there("running"), there("running")
    finish(done, OWNER, DONE, NOW)
    finish(large, OWNER, Conclusion(Concluded.DONE, status=201), NOW)
    finish(unknown, OWNER, UNKNOWN, NOW)
    assert [(each.status, each.answer) for each in (done, large, unknown)] == [(201, ANSWER), (201, None), (500, None)]


def test_finish_may_tell_the_fingerprint() -> None:
    """If it was not known at the beginning; else the first stays."""
    late, early = there("running", fingerprint=""), there("running")
    for record in (late, early):
        finish(record, OWNER, Conclusion(Concluded.DONE, "late"), NOW)
    assert (late.fingerprint, early.fingerprint) == ("late", "f")


# --- settle -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "learns", "then"),
    [
        ("absent", False, "absent"),
        ("running", False, "the same"),
        ("running in doubt", False, "the same"),
        ("done", False, "the same"),
        ("lapsed", True, "done"),
        ("unknown", True, "done"),
        ("unknown in doubt", True, "done"),
    ],
)
def test_settle_as_done(kind: str, learns: bool, then: str) -> None:
    """A person ends a doubt, and nothing else; what is settled has no answer, no owner, and time to be asked for."""
    record = a_record(kind)
    before = facts(record)
    assert settle(record, NOW) is learns
    assert facts(record) == before if then == "the same" else kind_of(record) == then
    if record is not None and learns:
        assert (record.token, record.status, record.answer, record.until) == (NOBODY, 0, None, NOW + RETAIN)
        assert told(record, OWNER, UNKNOWN) == (False, record)
        assert repr(record) == f"<Record 00000000 done by a person, {record.number}>"


# --- time ---------------------------------------------------------------------------------------------------


def test_a_silent_owner_leaves_a_doubt() -> None:
    """From the moment on in which its lease is over; what was told does not change by itself."""
    record = there("running")
    assert state_at(record, record.lease_until - 0.001) is State.RUNNING
    assert state_at(record, record.lease_until) is State.UNKNOWN
    assert record.state is State.RUNNING
    assert [state_at(there(kind), 1e9) for kind in ("done", "unknown")] == [State.DONE, State.UNKNOWN]


@pytest.mark.parametrize("kind", ["done", "unknown"])
def test_a_record_is_forgotten_after_retain(kind: str) -> None:
    """Counted from the last that its owner has said; then the key is free, for any call."""
    record = there(kind)
    assert not expired(record, NOW + RETAIN - 0.001)
    assert expired(record, NOW + RETAIN)
    reserved = reserve(record, a_claim(fingerprint="g"), NOW + RETAIN)
    assert (reserved.found, reserved.record.nonce, reserved.record.number) == (Found.OWNED, "n2", 1)
    assert reserved.record is not record


def test_a_word_of_the_owner_holds_a_record() -> None:
    """Each of renew, finish and settle begins retain anew."""
    for act in ("renew", "finish", "settle"):
        record = there("lapsed")
        match act:
            case "renew":
                renew(record, OWNER, LEASE, NOW + 50.0)
            case "finish":
                finish(record, OWNER, UNKNOWN, NOW + 50.0)
            case _:
                settle(record, NOW + 50.0)
        assert record.until == NOW + 50.0 + RETAIN


def test_a_window_runs_from_the_first_use_alone() -> None:
    """However long the call took: a derived key is legal again at a time that one can tell in advance."""
    record = there("running", window=600.0)
    began = record.created
    renew(record, OWNER, LEASE, NOW + 50.0)
    finish(record, OWNER, UNKNOWN, NOW + 60.0)
    reserve(record, a_claim(resend=True, window=999.0), NOW + 70.0)
    finish(record, OTHER, DONE, NOW + 80.0)
    assert (record.until, record.windowed) == (began + 600.0, True)
    assert not expired(record, began + 599.0)
    assert expired(record, began + 600.0)


def test_nothing_is_forgotten_while_its_owner_has_a_lease() -> None:
    """A window that is over does not free a call that is being made."""
    record = there("running", window=10.0)
    renew(record, OWNER, 1000.0, NOW)
    assert not expired(record, NOW + 999.0)
    assert reserve(record, a_claim(), NOW + 999.0).found is Found.RUNNING
    assert expired(record, NOW + 1000.0)
    assert reserve(record, a_claim(), NOW + 1000.0).found is Found.OWNED


# --- how a call ended ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statuses", "alone", "after_a_lost_one"),
    [
        ((200, 201, 202, 204, 301, 304, 399), Concluded.DONE, Concluded.DONE),
        ((400, 402, 404, 405, 410, 413, 422, 451, 499), Concluded.DONE, Concluded.DONE),
        ((401, 403, 407, 408, 409, 421, 425, 429, 503), Concluded.RELEASED, Concluded.UNKNOWN),
        ((500, 501, 502, 504, 520, 529, 599), Concluded.UNKNOWN, Concluded.UNKNOWN),
    ],
)
def test_how_a_status_ends_a_call(statuses: tuple[int, ...], alone: Concluded, after_a_lost_one: Concluded) -> None:
    """Whether it was carried out; that this try was not says nothing of one before it that was lost."""
    rules = StoreErrors()
    assert {concluded(rules, status, lost=False) for status in statuses} == {alone}
    assert {concluded(rules, status, lost=True) for status in statuses} == {after_a_lost_one}


@pytest.mark.parametrize(
    ("rules", "status", "alone", "after_a_lost_one"),
    [
        (StoreErrors(done=((500, 501),)), 500, Concluded.DONE, Concluded.DONE),
        (StoreErrors(done=((500, 501),)), 502, Concluded.UNKNOWN, Concluded.UNKNOWN),
        (StoreErrors(done=((409, 409),)), 409, Concluded.DONE, Concluded.DONE),
        (StoreErrors(released=((500, 599),)), 502, Concluded.RELEASED, Concluded.UNKNOWN),
        (StoreErrors(released=((400, 404), (422, 422))), 422, Concluded.RELEASED, Concluded.UNKNOWN),
        (StoreErrors(unknown=((429, 429),)), 429, Concluded.UNKNOWN, Concluded.UNKNOWN),
        (StoreErrors(unknown=((400, 499),)), 404, Concluded.UNKNOWN, Concluded.UNKNOWN),
        (StoreErrors(done=((200, 599),), released=((200, 599),), unknown=((200, 599),)), 200, *[Concluded.DONE] * 2),
        (StoreErrors(unknown=((200, 599),)), 399, Concluded.DONE, Concluded.DONE),
        (StoreErrors(done=((400, 599),), unknown=((500, 599),)), 500, Concluded.UNKNOWN, Concluded.UNKNOWN),
        (StoreErrors(done=((400, 599),), released=((400, 599),)), 429, Concluded.DONE, Concluded.DONE),
    ],
)
def test_store_errors_say_otherwise(
    rules: StoreErrors, status: int, alone: Concluded, after_a_lost_one: Concluded
) -> None:
    """From 400 on, both ends of a range included; where two say something, the more careful one counts."""
    assert concluded(rules, status, lost=False) is alone
    assert concluded(rules, status, lost=True) is after_a_lost_one


@given(status=st.integers(100, 999), low=st.integers(100, 999), high=st.integers(100, 999), lost=st.booleans())
def test_a_call_after_a_lost_one_is_never_released(status: int, low: int, high: int, lost: bool) -> None:
    """Whatever the operator says of statuses: one that is not known is not free."""
    for rules in (StoreErrors(), StoreErrors(released=((low, high),)), StoreErrors(unknown=((low, high),))):
        what = concluded(rules, status, lost=lost)
        assert not lost or what is not Concluded.RELEASED
        assert status >= 400 or what is Concluded.DONE


def test_what_an_answer_that_is_given_up_leaves_open() -> None:
    """Only a status that says that nothing was done ends the doubt, be it the operator who says so."""
    plain = StoreErrors()
    assert [status for status in range(100, 600) if not leaves_doubt(plain, status)] == sorted(RELEASING)
    ours = StoreErrors(released=((500, 500),), unknown=((429, 429),), done=((503, 503),))
    assert [leaves_doubt(ours, status) for status in (500, 429, 503)] == [False, True, True]


def test_settings_are_careful_by_default() -> None:
    """A doubt is not resolved by a second call, nor a store that is away by none; equal ones are equal on a reload."""
    settings = IdempotencySettings()
    assert (settings.on_unknown, settings.on_store_error, settings.mode) == ("refuse", "closed", "enforce")
    assert settings == IdempotencySettings()
