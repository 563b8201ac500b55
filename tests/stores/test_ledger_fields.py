"""What is written of a record comes back as it was, and nothing else is believed."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.idempotency import Answer, Record, State, Subject
from proxy.stores.ledger_fields import Malformed, answer_of, record_of, subject_of

IDENT = "0123456789abcdef" * 2
SUBJECT = Subject("pay", "charges", "POST", "/v1/charges", "k")
ANSWER = Answer(201, b"Created", ((b"Content-Type", b"text/plain"), (b"Content-Length", b"4")), b"paid")

TEXT = st.text(max_size=20)
NAMES = st.from_regex(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+", fullmatch=True)
CONTENTS = st.binary(max_size=20).map(lambda raw: raw.translate(None, b"\r\n\0"))
HEADERS = st.lists(st.tuples(NAMES.map(lambda name: b"X-" + name), CONTENTS), max_size=4).map(tuple)
ANSWERS = st.builds(Answer, st.integers(100, 599), CONTENTS, HEADERS, st.binary(max_size=50))


def fields(changed: Mapping[str, bytes] = MappingProxyType({}), *, subject: Subject = SUBJECT) -> bytes:
    """As lua/ledger.lua gives them."""
    usual = {
        "subject": subject_of(IDENT, subject).encode(), "fingerprint": b"f", "nonce": b"n1", "token": b"e1-1",
        "number": b"2", "state": b"done", "doubt": b"1", "created": b"1700000000.250000",
        "lease_until": b"1700000060.250000", "windowed": b"0", "retain": b"86400.000000",
        "kept_until": b"1700086400.250000", "status": b"201",
    }  # fmt: skip
    return b"\n".join({**usual, **changed}.values())


def sealed(status: object = 200, reason: object = "OK", fields: object = (), body: bytes = b"") -> bytes:
    """An answer with such a head, as somebody would write it who knows how."""
    head = json.dumps([status, reason, fields]).encode()
    rest = struct.pack(">I", len(head)) + head + body
    return hashlib.sha256(IDENT.encode() + rest).digest()[:16] + rest


def with_answer(data: bytes) -> Record:
    return record_of(IDENT, fields(), data)


def test_a_record_comes_back() -> None:
    """All of it."""
    record = record_of(IDENT, fields(), answer_of(IDENT, ANSWER))
    assert (record.ident, record.subject, record.answer) == (IDENT, SUBJECT, ANSWER)
    assert (record.fingerprint, record.nonce, record.token, record.number) == ("f", "n1", "e1-1", 2)
    assert (record.state, record.doubt, record.windowed, record.status) == (State.DONE, True, False, 201)
    assert (record.created, record.lease_until) == (1_700_000_000.25, 1_700_000_060.25)
    assert (record.retain, record.until) == (86_400.0, 1_700_086_400.25)


@settings(deadline=None)
@given(subject=st.builds(Subject, TEXT, TEXT, TEXT, TEXT, TEXT), answer=ANSWERS)
def test_whatever_an_answer_holds_comes_back(subject: Subject, answer: Answer) -> None:
    """Byte for byte."""
    record = record_of(IDENT, fields(subject=subject), answer_of(IDENT, answer))
    assert (record.subject, record.answer) == (subject, answer)


def test_an_answer_may_be_left_out() -> None:
    """In a list, and where there is none."""
    assert record_of(IDENT, fields()).answer is None
    assert record_of(IDENT, fields({"status": b"0"})).status == 0


@settings(deadline=None)
@given(place=st.integers(0, len(answer_of(IDENT, ANSWER)) - 1), flipped=st.integers(1, 255))
def test_no_byte_of_an_answer_can_change_unseen(place: int, flipped: int) -> None:
    """Whatever happened to it on the way."""
    data = bytearray(answer_of(IDENT, ANSWER))
    data[place] ^= flipped
    with pytest.raises(Malformed):
        with_answer(bytes(data))


@settings(deadline=None)
@given(length=st.integers(0, len(answer_of(IDENT, ANSWER)) - 1))
def test_an_answer_that_was_cut_is_none(length: int) -> None:
    """A part of a body is no body."""
    with pytest.raises(Malformed):
        with_answer(answer_of(IDENT, ANSWER)[:length])


def test_an_answer_of_another_record_is_none() -> None:
    """Nobody gets what is not theirs."""
    with pytest.raises(Malformed, match="another record's"):
        with_answer(answer_of("f" * 32, ANSWER))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (sealed(status=99), "status 99"),
        (sealed(status=600), "status 600"),
        (sealed(status=True), "status True"),
        (sealed(reason="OK\r\nX: y"), "no place"),
        (sealed(reason=1), "no text"),
        (sealed(fields=[["X", "y\r\nZ: z"]]), "no place"),
        (sealed(fields=[["X y", "z"]]), "no place"),
        (sealed(fields=[["X", "\u20ac"]]), "latin-1"),
        (sealed(fields=[["Transfer-Encoding", "chunked"]]), "is not kept"),
        (sealed(fields=[["connection", "close"]]), "is not kept"),
        (sealed(fields=[["Content-Length", "5"]], body=b"paid"), "Content-Length 5 with 4 bytes"),
        (sealed(fields=[["X"]]), "unpack"),
        (sealed(fields=7), "int"),
    ],
)
def test_what_an_answer_cannot_hold_is_not_believed(data: bytes, why: str) -> None:
    """Though it was sealed as it should: it would be written to an agent's connection."""
    with pytest.raises(Malformed, match=why):
        with_answer(data)


def test_the_length_of_another_answer_is_no_framing() -> None:
    """A 304 tells of the answer that it stands for (RFC 9110, 15.4.5)."""
    assert with_answer(sealed(304, fields=[["Content-Length", "5"]])).answer is not None


@pytest.mark.parametrize(
    "changed",
    [
        {"token": b"e1-1\n"},
        {"fingerprint": b"\xff"},
        {"number": b"two"},
        {"state": b"asleep"},
        {"doubt": b"yes"},
        {"created": b"inf"},
        {"retain": b""},
        {"status": b"1000"},
        {"subject": b"{"},
        {"subject": b"[" * 100_000},
        {"subject": json.dumps([IDENT, "pay"]).encode()},
        {"subject": json.dumps([IDENT, "pay", "charges", "POST", "/", None]).encode()},
    ],
)
def test_what_is_no_record_is_not_believed(changed: dict[str, bytes]) -> None:
    """With one error for all of it."""
    with pytest.raises(Malformed, match="no record of a call"):
        record_of(IDENT, fields(changed))


@pytest.mark.parametrize("length", [0, 5, 12])
def test_a_part_of_a_record_is_none(length: int) -> None:
    """As another version might write it."""
    with pytest.raises(Malformed, match="no record of a call"):
        record_of(IDENT, b"\n".join(fields().split(b"\n")[:length]))


def test_a_record_under_another_name_is_not_believed() -> None:
    """It says whose it is."""
    with pytest.raises(Malformed, match="written under another name"):
        record_of("f" * 32, fields())
