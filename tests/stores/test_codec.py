"""Answers written down, and what is believed of what is read. The other side may be anybody who can write there."""

from __future__ import annotations

import json
import math
import os
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.stored import Stored, Variants
from proxy.model import Headers
from proxy.stores.base import IDENT, Value, digest_of
from proxy.stores.codec import HEAVY, Malformed, beginning, decode, decode_head, encode, is_heavy
from tests.support.answers import KIB, MIB, answer, same

DIGEST = digest_of("key")
FRAME = struct.Struct(">4sBII")

tokens = st.from_regex(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}", fullmatch=True)
values = st.binary(max_size=40).map(lambda raw: raw.translate(None, b"\r\n\0"))
times = st.floats(allow_nan=False, allow_infinity=False)
names = tokens.filter(lambda name: name.lower() not in {b"connection", b"transfer-encoding", b"content-length"})
answers = st.builds(
    Stored,
    status=st.integers(200, 599),
    reason=values,
    headers=st.lists(st.tuples(names, values), max_size=8).map(lambda pairs: Headers.of(*pairs)),
    body=st.one_of(st.binary(max_size=2_000), st.binary(min_size=1, max_size=8).map(lambda raw: raw * 1_000)),
    requested_at=times,
    received_at=times,
    initial_age=times,
    vary=st.lists(st.tuples(tokens, st.none() | values), max_size=3).map(tuple),
    api=st.text(max_size=20),
    route=st.text(max_size=20),
    method=tokens,
    target=st.binary(min_size=1).map(lambda raw: b"/" + bytes(c for c in raw if c > 32 and c != 127)),
)
records = st.builds(
    Variants,
    nonce=st.text(max_size=40),
    sets=st.lists(st.lists(tokens, max_size=3).map(tuple), max_size=3).map(tuple),
    keys=st.lists(st.text(max_size=20), max_size=5).map(tuple),
)


def frame(head: Any, body: bytes = b"{}", *, how: int = 0, length: int | None = None, magic: bytes = b"BSC1") -> bytes:
    """A writing by hand."""
    lines = head if isinstance(head, bytes) else json.dumps(head).encode()
    return FRAME.pack(magic, how, len(lines), len(body) if length is None else length) + lines + body


def head_of(data: bytes) -> dict[str, Any]:
    head: dict[str, Any] = json.loads(data[FRAME.size : beginning(data)])
    return head


# --- what is written comes back ---


@given(answers | records)
def test_what_is_written_can_be_read(value: Value) -> None:
    """Every answer and every record of variants that there can be."""
    read = decode(encode(DIGEST, value), DIGEST, MIB)
    assert read == value if isinstance(value, Variants) else same(read, value)


@given(answers)
def test_a_head_can_be_read_without_its_body(stored: Stored) -> None:
    """From as many bytes as its beginning says, with the whole size."""
    data = encode(DIGEST, stored)
    read = decode_head(data[: beginning(data)], DIGEST)
    assert isinstance(read, Stored)
    assert (read.headers, read.size, read.body) == (stored.headers, stored.size, b"")


def test_the_head_of_a_record_of_variants_is_all_of_it() -> None:
    """It has no body."""
    variants = Variants("nonce", (), ("key",))
    assert decode_head(encode(DIGEST, variants), DIGEST) == variants


def test_the_facts_that_settings_make_are_not_written() -> None:
    """What is read is not fresh until somebody derives that it is."""
    stored = answer()
    stored.fresh_until, stored.no_cache = math.inf, False
    read = decode(encode(DIGEST, stored), DIGEST, MIB)
    assert isinstance(read, Stored)
    assert (read.settings, read.fresh_until, read.no_cache) == (None, -math.inf, True)


@pytest.mark.parametrize(
    ("body", "fields", "smaller"),
    [
        (b"x" * 1023, (), False),
        (b"x" * 1024, (), True),
        (os.urandom(4 * KIB), (), False),
        (b"x" * 4 * KIB, ((b"Content-Encoding", b"br"),), False),
    ],
    ids=["small", "large", "random", "compressed by the vendor"],
)
def test_a_body_is_deflated_where_that_helps(
    body: bytes, fields: tuple[tuple[bytes, bytes], ...], *, smaller: bool
) -> None:
    """From a KiB on, unless it is compressed already or does not become smaller."""
    data = encode(DIGEST, answer(body, fields=fields))
    assert (len(data) < len(body)) == smaller


@pytest.mark.parametrize(
    ("body", "heavy"), [(b"x" * HEAVY, False), (b"x" * (HEAVY + 1), True), (os.urandom(HEAVY + 1), False)]
)
def test_what_takes_long_to_inflate_is_known_before(body: bytes, *, heavy: bool) -> None:
    """By the length of the body, if it is deflated at all."""
    assert is_heavy(encode(DIGEST, answer(body))) == heavy
    assert not is_heavy(b"short")


# --- what is not believed ---


def test_what_was_written_under_another_key_is_refused() -> None:
    """Whoever mixed them up: a caller never sees another's answer."""
    data = encode(digest_of("another key"), answer())
    with pytest.raises(Malformed, match="another key"):
        decode(data, DIGEST, MIB)
    with pytest.raises(Malformed, match="another key"):
        decode_head(data, DIGEST)


def test_the_beginning_of_the_digest_is_enough_to_look() -> None:
    """The admin API knows no more than the ident."""
    assert same(decode(encode(DIGEST, answer()), DIGEST[:IDENT], MIB), answer())


@given(st.data())
@settings(max_examples=200)
def test_damage_is_refused_or_harmless(data: st.DataObject) -> None:
    """A cut or a changed byte: Malformed, or an answer that can be sent; nothing else is raised."""
    written = bytearray(encode(DIGEST, answer(b"x" * 1_100)))
    at = data.draw(st.integers(0, len(written) - 1))
    if data.draw(st.booleans()):
        del written[at:]
    else:
        written[at] = data.draw(st.integers(0, 255))
    try:
        read = decode(bytes(written), DIGEST, MIB)
    except Malformed:
        return
    assert isinstance(read, Stored)
    assert len(read.body) == 1_100
    assert not any(byte in value for _, value in read.headers for byte in (b"\r", b"\n", b"\0"))


@given(st.binary(max_size=200))
def test_anything_at_all_is_refused(data: bytes) -> None:
    """Bytes of somebody else's."""
    for junk in (data, b"BSC1" + data, frame(data)):
        with pytest.raises(Malformed):
            decode(junk, DIGEST, MIB)
        with pytest.raises(Malformed):
            decode_head(junk, DIGEST)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("key", 1), ("key", None), ("status", "200"), ("status", True), ("status", 199), ("status", 600),
        ("status", 200.0), ("reason", "O\r\nK"), ("reason", None), ("reason", "\u20ac"),
        ("headers", [["Date", "x\r\nSet-Cookie: y"]]), ("headers", [["Date", "x\0"]]), ("headers", [["Da te", "x"]]),
        ("headers", [["", "x"]]), ("headers", [["Date:", "x"]]), ("headers", [["Date"]]), ("headers", [["Date", 1]]),
        ("headers", [["Transfer-Encoding", "chunked"]]), ("headers", [["connection", "close"]]), ("headers", 7),
        ("headers", [["Content-Length", "3"]]), ("headers", [["Content-Length", "2"], ["content-length", "20"]]),
        ("headers", [["Content-Length", "+2"]]), ("headers", [["Content-Length", "9" * 5_000]]),
        ("requested_at", "1"), ("requested_at", True), ("received_at", None), ("received_at", math.nan),
        ("received_at", math.inf), ("initial_age", 10**400), ("vary", [["accept", 1]]), ("vary", [["a b", None]]),
        ("vary", "ab"), ("api", 1), ("route", None), ("method", "GE T"), ("method", ""), ("target", ""),
        ("target", "/a b"), ("target", "/a\r\nb"), ("nonce", 1),
    ],
)  # fmt: skip
def test_what_an_answer_cannot_contain_is_refused(name: str, value: object) -> None:
    """Each part has its form; above all, nothing can break out of a field."""
    head = head_of(encode(DIGEST, answer())) | {name: value}
    with pytest.raises(Malformed):
        decode(frame(head), DIGEST, MIB)


@pytest.mark.parametrize("name", ["key", "status", "headers", "received_at", "vary", "target"])
def test_every_part_must_be_there(name: str) -> None:
    """An answer without one is none."""
    head = head_of(encode(DIGEST, answer()))
    del head[name]
    with pytest.raises(Malformed):
        decode(frame(head), DIGEST, MIB)


@pytest.mark.parametrize(
    "change", [{"nonce": 1}, {"sets": [["a b"]]}, {"sets": [1]}, {"sets": None}, {"keys": [1]}, {"keys": None}]
)
def test_a_record_of_variants_has_a_form_too(change: dict[str, Any]) -> None:
    """Fields by their names, keys as text."""
    head = head_of(encode(DIGEST, Variants("nonce", ((b"accept",),), ("k",)))) | change
    with pytest.raises(Malformed):
        decode(frame(head, b""), DIGEST, MIB)


def test_the_answer_to_a_head_has_a_length_and_no_body() -> None:
    """Its Content-Length speaks of the body of a GET."""
    head = head_of(encode(DIGEST, answer(method=b"HEAD"))) | {"headers": [["Content-Length", "1000"]]}
    read = decode(frame(head, b""), DIGEST, MIB)
    assert isinstance(read, Stored)
    assert read.body == b""


@pytest.mark.parametrize(
    "data",
    [
        frame(head_of(encode(DIGEST, answer())), magic=b"BSC2"),
        frame(head_of(encode(DIGEST, answer())), how=2),
        frame(head_of(encode(DIGEST, answer())), b"{} "),
        frame(head_of(encode(DIGEST, answer())), b"{}", length=3),
        FRAME.pack(b"BSC1", 0, 1 << 31, 0),
        frame(b"[" * 100_000),
        frame(["key"]),
        frame(b'{"key": "\xff"}'),
    ],
    ids=["magic", "how", "field length", "body length", "head length", "nesting", "list", "encoding"],
)
def test_the_frame_has_a_form(data: bytes) -> None:
    """What does not fit together is refused."""
    with pytest.raises(Malformed):
        decode(data, DIGEST, MIB)


def test_a_body_over_the_cap_is_refused_before_it_is_inflated() -> None:
    """A pod with a larger max_object may share the server."""
    with pytest.raises(Malformed, match="a body of 5000 bytes"):
        decode(encode(DIGEST, answer(b"x" * 5_000)), DIGEST, 4_999)


@pytest.mark.parametrize("announced", [0, 10, 9_999, 10_001])
def test_a_deflated_body_becomes_what_was_announced(announced: int) -> None:
    """Neither more, however much it would become, nor less."""
    head = head_of(encode(DIGEST, answer(b"x" * 10_000)))
    data = frame(head, zlib.compress(b"x" * 10_000), how=1, length=announced)
    with pytest.raises(Malformed):
        decode(data, DIGEST, MIB)


@pytest.mark.parametrize("tail", [b"more", zlib.compress(b"more")])
def test_nothing_follows_a_deflated_body(tail: bytes) -> None:
    """What is left over was not written by us."""
    head = head_of(encode(DIGEST, answer(b"x" * 10_000)))
    with pytest.raises(Malformed, match="does not end"):
        decode(frame(head, zlib.compress(b"x" * 10_000) + tail, how=1, length=10_000), DIGEST, MIB)
