"""The three forms of a date, and much that is none of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.http_date import parse, render

WALL = 784_111_777.0


@pytest.mark.parametrize(
    "value",
    [
        b"Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sunday, 06-Nov-94 08:49:37 GMT",
        b"Sun Nov  6 08:49:37 1994",
        b"Sun Nov 06 08:49:37 1994",
        b" \tSun, 06 Nov 1994 08:49:37 GMT ",
        b"sun, 06 NOV 1994 08:49:37 gmt",
        b"SUNDAY, 06-nov-94 08:49:37 Gmt",
    ],
)
def test_a_date_comes_in_three_forms_and_any_case(value: bytes) -> None:
    """RFC 9110, 5.6.7; RFC 9111, 4.2 has caches read it in any case."""
    assert parse(value) == WALL


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"0",
        b"-1",
        b"never",
        b"784111777",
        b"Sun, 06 Nov 1994 08:49:37",
        b"Sun, 06 Nov 1994 08:49:37 UTC",
        b"Sun, 06 Nov 1994 08:49:37 AEST",
        b"Sun, 06 Nov 1994 08:49:37 +0000",
        b"Sun, 06 Nov 1994 09:49:37 +0100",
        b"Sun, 6 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 94 08:49:37 GMT",
        b"Sun, 06-Nov-1994 08:49:37 GMT",
        b"Sunday, 06-Nov-1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 8:49:37 GMT",
        b"Sun, 06 Nov 1994 08.49.37 GMT",
        b"Sun 06 Nov 1994 08:49:37 GMT",
        b"06 Nov 1994 08:49:37 GMT",
        b"Sun,  06 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov  1994 08:49:37 GMT",
        b"Son, 06 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nuv 1994 08:49:37 GMT",
        b"Sun, 31 Feb 1994 08:49:37 GMT",
        b"Sun, 06 Nov 0000 08:49:37 GMT",
        b"Sun, 06 Nov 1994 24:00:00 GMT",
        b"Sun, 06 Nov 1994 08:49:61 GMT",
        b"Sun Nov   6 08:49:37 1994",
        b"Sun Nov  6 08:49:37 1994 GMT",
        b"Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:3\u00b2 GMT".encode(),
        b" " * 60 + b"Sun, 06 Nov 1994 08:49:37 GMT",
    ],
)
def test_whatever_else_there_is_is_no_date(value: bytes) -> None:
    """A date that is guessed wrongly would make an answer fresh that is not."""
    assert parse(value) is None


@pytest.mark.parametrize(("year", "full"), [(b"00", b"2000"), (b"69", b"2069"), (b"70", b"1970"), (b"99", b"1999")])
def test_two_digits_of_a_year_are_of_this_century_or_the_last(year: bytes, full: bytes) -> None:
    """What would be far ahead has been (RFC 9110, 5.6.7)."""
    assert parse(b"Sunday, 06-Nov-" + year + b" 08:49:37 GMT") == parse(b"Sun, 06 Nov " + full + b" 08:49:37 GMT")


def test_a_leap_second_is_the_first_of_the_next_minute() -> None:
    """The grammar has a second 60; the calendar of computers has none."""
    leap = parse(b"Sat, 31 Dec 2016 23:59:60 GMT")
    assert leap == parse(b"Sun, 01 Jan 2017 00:00:00 GMT")


def test_a_date_goes_in_one_form() -> None:
    """A sender writes IMF-fixdate only, in whole seconds."""
    assert render(WALL + 0.9) == b"Sun, 06 Nov 1994 08:49:37 GMT"
    assert render(-5.0) == b"Thu, 01 Jan 1970 00:00:00 GMT"
    assert render(1e300) == b"Fri, 31 Dec 9999 23:59:59 GMT"


@given(st.integers(0, 253_402_300_799))
def test_what_is_written_is_read_again(second: int) -> None:
    """Each second from 1970 to 9999 has one IMF-fixdate."""
    assert parse(render(float(second))) == float(second)


@given(st.binary(max_size=80))
def test_no_bytes_break_the_reader(value: bytes) -> None:
    """A vendor may send anything."""
    assert parse(value) is None or value.strip()
