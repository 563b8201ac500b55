"""Cache-Control as thousands of hands write it, and its targeted kin as one RFC has it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.directives import LONGEST, Directives, parse_cache_control, parse_targeted

SECONDS = ("max_age", "s_maxage", "stale_if_error", "stale_while_revalidate", "min_fresh", "max_stale")
FLAGS = (
    "no_store", "no_cache", "private", "public", "must_revalidate", "proxy_revalidate", "must_understand", "immutable",
    "no_transform", "only_if_cached",
)  # fmt: skip


def said(*values: bytes) -> Directives:
    return parse_cache_control(values)


def targeted(*values: bytes) -> Directives:
    found = parse_targeted(values)
    assert found is not None
    return found


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag_is_there_or_not(name: str) -> None:
    """In any case, with or without an argument, among others; and in a targeted field."""
    directive = name.replace("_", "-").encode()
    for text in (directive, directive.upper(), b" , a=b," + directive + b"\t,", directive + b"="):
        found = said(text)
        assert [flag for flag in FLAGS if getattr(found, flag)] == [name]
    assert getattr(targeted(directive), name)


@pytest.mark.parametrize("name", SECONDS)
@pytest.mark.parametrize(
    ("argument", "seconds"),
    [
        (b"0", 0.0),
        (b"3600", 3600.0),
        (b"0060", 60.0),
        (b'"3600"', 3600.0),
        (b'"\\3600"', 3600.0),
        (b"2147483648", LONGEST),
        (b"9999999999", LONGEST),
        (b"9" * 5000, LONGEST),
        (b"0" * 50 + b"7", 7.0),
    ],
)
def test_seconds_are_digits_quoted_or_not(name: str, argument: bytes, seconds: float) -> None:
    """RFC 9111, 1.2.2 and 5.2: a quoted argument means the same; what is too long is 2^31."""
    directive = name.replace("_", "-").encode()
    assert getattr(said(directive + b"=" + argument), name) == seconds
    assert getattr(said(directive.upper() + b"=" + argument), name) == seconds


@pytest.mark.parametrize(
    "member",
    [
        b"%b", b"%b=", b"%b=-1", b"%b=1.5", b"%b=a1", b"%b=1a", b"%b='1'", b'%b="1', b'%b=""', b"%b =1", b"%b= 1",
        b"%b=1 2", b"%b=1;2", b"%b==1", b"%b=+1", b"%b=\xb2", b'%b="1"2',
    ],
)  # fmt: skip
def test_an_argument_that_is_no_seconds_counts_against_using_the_answer(member: bytes) -> None:
    """RFC 9111, 4.2.1: invalid freshness is no freshness; an invalid permission is none."""
    for name in (b"max-age", b"s-maxage"):
        assert getattr(said(member % name), name.replace(b"-", b"_").decode()) == 0.0
    for name in (b"stale-if-error", b"stale-while-revalidate", b"min-fresh"):
        assert getattr(said(member % name), name.replace(b"-", b"_").decode()) is None
    assert said(member % b"max-stale").max_stale == (math.inf if member == b"%b" else None)


def test_the_first_of_a_repeated_directive_counts() -> None:
    """RFC 9111, 4.2.1; also if it came in another line, and if it is invalid."""
    assert said(b"max-age=1, max-age=3600").max_age == 1.0
    assert said(b"max-age=3600", b"max-age=1").max_age == 3600.0
    assert said(b"max-age=x, max-age=3600").max_age == 0.0


def test_what_is_in_quotes_is_no_directive() -> None:
    """An extension's argument may hold anything, escaped quotes included."""
    found = said(b'ext="max-age=3600, no-store, \\", public", max-age=1')
    assert (found.max_age, found.no_store, found.public) == (1.0, False, False)


def test_a_quote_that_never_closes_hides_nothing() -> None:
    """It would be a way to smuggle a no-store past the cache."""
    found = said(b'ext="abc, no-store, max-age=5')
    assert (found.no_store, found.max_age) == (True, 5.0)
    assert said(b'a="b", c="\\", no-store').no_store


def test_qualified_no_cache_and_private_name_fields() -> None:
    """RFC 9111, 5.2.2.4 and 5.2.2.7: only these fields are meant; several add up."""
    found = said(b'no-cache="Set-Cookie, X-A ,,", private=x-b, no-cache=x-c')
    assert not found.no_cache
    assert found.no_cache_fields == {b"set-cookie", b"x-a", b"x-c"}
    assert not found.private
    assert found.private_fields == {b"x-b"}


@pytest.mark.parametrize("text", [b"private", b"private=", b'private=""', b'private=" ,"', b'private, private="x"'])
def test_without_a_field_the_whole_answer_is_meant(text: bytes) -> None:
    """The stronger reading counts."""
    assert said(text).private


def test_what_nobody_knows_is_skipped() -> None:
    """RFC 9111, 5.2.3."""
    assert repr(said(b'community="UCI", s-max-age=1, maxage=2, , =, ;max-age=3')) == "<Directives >"
    assert repr(said(b"max-age=5, public, no-cache")) == "<Directives public no_cache max_age=5>"


def test_a_targeted_field_is_a_dictionary() -> None:
    """RFC 9213, 2.1: typed members, the last of a repeated one, parameters ignored."""
    found = targeted(b'max-age=60;x=1, s-maxage=1, s-maxage=30, no-cache="X-A", private, must-revalidate, ext=1')
    assert (found.max_age, found.s_maxage) == (60.0, 30.0)
    assert found.no_cache_fields == {b"x-a"}
    assert found.private
    assert found.must_revalidate
    assert not found.no_cache
    assert targeted(b"max-age=999999999999").max_age == LONGEST


@pytest.mark.parametrize("argument", [b'"60"', b"60.0", b"abc", b"?1", b"(60)", b"-60", b"@60"])
def test_a_member_of_the_wrong_type_is_ignored(argument: bytes) -> None:
    """RFC 9213, 2.1: nothing is coerced."""
    found = targeted(b"max-age=" + argument + b", no-store=" + argument.replace(b"?1", b"?0") + b", private=1")
    assert (found.max_age, found.no_store, found.private) == (None, False, False)


@pytest.mark.parametrize("text", [b"", b" ", b"max-age=60,", b"MAX-AGE=60", b"max-age=60, &&&"])
def test_a_targeted_field_that_cannot_be_read_is_absent(text: bytes) -> None:
    """RFC 9213, 2.1: so that Cache-Control counts."""
    assert parse_targeted([text]) is None


PIECES = (b"max-age", b"s-maxage", b"no-cache", b"private", b"=", b",", b'"', b"\\", b" ", b"-1", b"60", b"x")
TEXT = st.lists(st.sampled_from(PIECES) | st.binary(max_size=4), max_size=12).map(b"".join)


@given(st.lists(TEXT, max_size=3))
def test_no_bytes_break_the_parsers_or_yield_negative_seconds(values: list[bytes]) -> None:
    """A vendor may send anything."""
    for found in (parse_cache_control(values), parse_targeted(values)):
        seconds = [getattr(found, name) for name in SECONDS] if found is not None else []
        assert all(value is None or 0.0 <= value <= LONGEST or value == math.inf for value in seconds)


@given(TEXT, st.sampled_from([b"no-store", b"no-cache", b"private", b"must-revalidate"]))
def test_nothing_behind_a_restriction_takes_it_back(text: bytes, restriction: bytes) -> None:
    """A no-store that is a member of its own is always heard."""
    assert getattr(said(restriction, text.replace(b'"', b"")), restriction.replace(b"-", b"_").decode())


def test_the_parsers_take_linear_time() -> None:
    """The longest header there may be, made to make a parser look back, is read at once (the test's limit is 60 s)."""
    for text in (b'"\\' * 30_000, b'"' * 60_001, b'a="' + b"\\" * 60_000, b"(" * 60_000, b"a=(" + b"1 " * 30_000):
        said(b"x=" + text)
        parse_targeted([b"x=" + text])
