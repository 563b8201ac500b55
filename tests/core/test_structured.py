"""Dictionaries of Structured Fields: what is one, and what is in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.structured import OTHER, Value, dictionary


@pytest.mark.parametrize(
    ("text", "members"),
    [
        (b"max-age=60", {b"max-age": 60}),
        (b"max-age=-60", {b"max-age": -60}),
        (b"  a=1 \t,\t b=2  ", {b"a": 1, b"b": 2}),
        (b"a, b=?1, c=?0", {b"a": True, b"b": True, b"c": False}),
        (b'a="x, y", b="\\"\\\\"', {b"a": b"x, y", b"b": b'"\\'}),
        (b'a=tok/en:*, b=1.5, c=:aGk=:, d=@1659578233, e=%"f%c3%bc"', dict.fromkeys(b"a b c d e".split(), OTHER)),
        (b'a=(1 "x" ?0;p=1), b=(), c=( t );q', dict.fromkeys(b"a b c".split(), OTHER)),
        (b'a=1;x;y="z"; q=1.5, b;p', {b"a": 1, b"b": True}),
        (b"a=1, a=2, a", {b"a": True}),
        (b"*k_1.2-*=1", {b"*k_1.2-*": 1}),
        (b"a=999999999999999", {b"a": 999_999_999_999_999}),
        (b"", {}),
        (b"   ", {}),
    ],
)
def test_the_members_of_a_dictionary(text: bytes, members: dict[bytes, Value]) -> None:
    """RFC 9651, 3.2: keys, values or true, parameters that are skipped, and the last of a repeated key."""
    assert dictionary([text]) == members


@pytest.mark.parametrize(
    "text",
    [
        b"a=1,",
        b",a=1",
        b"a=1,,b=2",
        b"a=1 b=2",
        b"a=1;",
        b"a =1",
        b"a= 1",
        b"a=1 ;x",
        b"Max-Age=60",
        b"1a=1",
        b"a=&",
        b"a=1, &&&&&",
        b"a='x'",
        b'a="x',
        b'a="\xfc"',
        b'a="\\n"',
        b"a=1234567890123456",
        b"a=1.",
        b"a=1.2345",
        b"a=1.2.3",
        b"a=--1",
        b"a=?2",
        b"a=?",
        b"a=:a-b:",
        b"a=@1.5",
        b'a=%"%C3"',
        b"a=(1 2",
        b"a=(1,2)",
        b"a=((1))",
        b'a=("x""y")',
        b"\ta=1",
        b"a=1\t",
    ],
)
def test_what_is_no_dictionary_counts_for_nothing(text: bytes) -> None:
    """RFC 9651, 4.2: one fault, and the whole field is ignored."""
    assert dictionary([text]) is None


def test_lines_are_one_field() -> None:
    """RFC 9651, 4.2: lines are joined by commas, so an empty one among others is a fault."""
    assert dictionary([b"a=1", b"b", b"a=2"]) == {b"a": 2, b"b": True}
    assert dictionary([b"a=1", b""]) is None
    assert dictionary([]) == {}


@given(st.lists(st.binary(max_size=40) | st.text('ab=";,()?1\\ :%@.-', max_size=40).map(str.encode), max_size=3))
def test_no_bytes_break_the_parser(values: list[bytes]) -> None:
    """It tells members or nothing."""
    members = dictionary(values)
    assert members is None or all(members)


@given(
    st.dictionaries(st.from_regex(r"[a-z*][a-z0-9_.*-]{0,8}", fullmatch=True), st.integers(-(10**15) + 1, 10**15 - 1))
)
def test_integers_survive(members: dict[str, int]) -> None:
    """What is written as the RFC has it is read as it was meant."""
    text = ", ".join(f"{key}={value}" for key, value in members.items())
    assert dictionary([text.encode()]) == {key.encode(): value for key, value in members.items()}
