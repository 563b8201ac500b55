"""Tests of start lines and field sections; what the rules mean for a whole request is in test_request_rules.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.head import Malformed, parse_fields, parse_request_line, parse_status_line

NAMES = st.text(st.sampled_from("abcXYZ019!#$%&'*+-.^_`|~"), min_size=1, max_size=12).map(str.encode)
VALUES = st.binary(max_size=30).map(lambda raw: bytes(byte for byte in raw if byte > 0x20 and byte != 0x7F))


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (b"GET / HTTP/1.1", (b"GET", b"/", False)),
        (b"PURGE /%41?b#c HTTP/1.0", (b"PURGE", b"/%41?b#c", True)),
        (b"M-SEARCH * HTTP/1.1", (b"M-SEARCH", b"*", False)),
    ],
)
def test_request_lines(line: bytes, parts: tuple[bytes, bytes, bool]) -> None:
    """Any token is a method; the target is taken as it came."""
    assert parse_request_line(line) == parts


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (b"HTTP/1.1 200 OK", (200, b"OK", False)),
        (b"HTTP/1.0 404", (404, b"", True)),
        (b"HTTP/1.1 500 ", (500, b"", False)),
        (b"HTTP/1.1 299 a\tb \xff", (299, b"a\tb \xff", False)),
    ],
)
def test_status_lines(line: bytes, parts: tuple[int, bytes, bool]) -> None:
    """A reason may be missing, and hold any text."""
    assert parse_status_line(line) == parts


def test_what_is_remembered_is_short() -> None:
    """A status line has a bound; a long list field is parsed like a short one, though it is not remembered."""
    with pytest.raises(Malformed, match="too long"):
        parse_status_line(b"HTTP/1.1 200 " + b"x" * 500)
    fields = parse_fields(b"\r\nConnection: close, " + b"a" * 200 + b"\r\n\r\n")
    assert fields.tokens(b"connection") == [b"close", b"a" * 200]


@given(st.binary(max_size=60))
def test_any_line_is_parsed_or_malformed(line: bytes) -> None:
    """Nothing but Malformed is ever raised, and what is accepted has no byte that would frame something else."""
    for parse in (parse_request_line, parse_status_line):
        try:
            parts = parse(line)
        except Malformed:
            continue
        assert not {b"\r", b"\n", b"\x00"} & {
            bytes([byte]) for part in parts[:2] if isinstance(part, bytes) for byte in part
        }


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8))
def test_fields_survive(pairs: list[tuple[bytes, bytes]]) -> None:
    """Names keep their case, fields their order and repetition; only those of the hop are set aside."""
    pairs = [(b"X-" + name, value) for name, value in pairs]
    section = b"\r\n" + b"".join(b"%b: %b\r\n" % pair for pair in pairs) + b"\r\n"
    fields = parse_fields(section)
    assert [(name, value) for _, name, value in fields.end_to_end] == pairs
    assert [lower for lower, _, _ in fields.end_to_end] == [name.lower() for name, _ in pairs]
    assert fields.aside == {}


@given(st.binary(max_size=80))
def test_any_section_is_parsed_or_malformed(raw: bytes) -> None:
    """Nothing but Malformed is ever raised."""
    try:
        fields = parse_fields(b"\r\n" + raw + b"\r\n\r\n")
    except Malformed:
        return
    for _, name, value in fields.end_to_end:
        assert not set(b"\r\n\x00") & set(name + value)


def test_an_empty_value_is_not_glued_to_the_next_name() -> None:
    """A field without a value is a field; the next one is another."""
    fields = parse_fields(b"\r\nX:\r\nContent-Length: 5\r\nY: \r\n\r\n")
    assert [(name, value) for _, name, value in fields.end_to_end] == [
        (b"X", b""),
        (b"Content-Length", b"5"),
        (b"Y", b""),
    ]
    assert fields.aside == {b"content-length": b"5"}


def test_what_is_set_aside() -> None:
    """Fields of the hop are not forwarded; repeated ones are joined, so that none hides behind another."""
    fields = parse_fields(
        b"\r\nConnection: A,b \r\nconnection: c\r\nHost: h\r\nVia: 1.1 x\r\n"
        b"Expect: e\r\nKeep-Alive: 1\r\nUpgrade: u\r\n\r\n"
    )
    assert fields.tokens(b"connection") == [b"a", b"b", b"c"]
    assert fields.tokens(b"te") == []
    assert [lower for lower, _, _ in fields.end_to_end] == [b"via", b"expect"]
    assert fields.aside[b"host"] == b"h"


def test_nominated_fields_are_dropped() -> None:
    """Connection takes away the fields it names, but neither the framing nor the host."""
    fields = parse_fields(b"\r\nX: 1\r\nContent-Length: 3\r\nY: 2\r\n\r\n")
    assert [name for name, _ in fields.headers([b"x", b"content-length", b"host"])] == [b"Content-Length", b"Y"]
    assert [name for name, _ in fields.headers([b"close", b"keep-alive"])] == [b"X", b"Content-Length", b"Y"]


def test_an_upgrade_does_not_stop_the_parser() -> None:
    """All fields behind Upgrade are read."""
    fields = parse_fields(b"\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nX: 1\r\n\r\n")
    assert [name for _, name, _ in fields.end_to_end] == [b"X"]
