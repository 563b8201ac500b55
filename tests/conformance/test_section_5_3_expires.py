"""RFC 9111, section 5.3: the Expires field, as it comes, and the dates of RFC 9110, 5.6.7."""

from __future__ import annotations

from typing import Final

import pytest

from tests.conformance.conftest import BOTH
from tests.conformance.origin import ok
from tests.conformance.steps import Play, forwarded, hit

VALID: Final = (
    "{+3600}",
    "{+3600:rfc850}",
    "{+3600:asctime}",
    "Thu, 18 Aug 2050 02:01:18 GMT",
    "thu, 18 aug 2050 02:01:18 gmt",
    "THU, 18 AUG 2050 02:01:18 GMT",
    "Thu, 18 Aug 2050 23:59:60 GMT",
)

INVALID: Final = (
    "0",
    "-1",
    "",
    "abc",
    "Thu, 18 Aug 2050 02:01:18 UTC",
    "Thu, 18 Aug 2050 02:01:18 PDT",
    "Thu, 18 Aug 2050 02:01:18 +0100",
    "Thu, 18 Aug 2050 02:01:18",
    "Thu, 18 Aug 2050 02:01 GMT",
    "Thu, 18 Aug 50 02:01:18 GMT",
    "Thu, 18  Aug  2050 02:01:18 GMT",
    "Thu 18 Aug 2050 02:01:18 GMT",
    "Thu, 18-Aug-2050 02:01:18 GMT",
    "Thu, 18 Aug 2050 2:01:18 GMT",
    "Thu, 18 Aug 2050 02:1:18 GMT",
    "Thu, 18 Aug 2050 25:01:18 GMT",
    "Thu, 18 Aug 2050 02:61:18 GMT",
    "Thu, 32 Aug 2050 02:01:18 GMT",
    "Thu, 18 Foo 2050 02:01:18 GMT",
    "2050-08-18T02:01:18Z",
    "2539620078",
)


@pytest.mark.parametrize("value", VALID)
@pytest.mark.parametrize("api", BOTH)
def test_section_5_3_a_date_to_come_is_fresh(play: Play, api: str, value: str) -> None:
    """In each of the three forms, and in any letters (RFC 9111, 4.2)."""
    play(api, [forwarded(ok(f"Expires: {value}")), hit()])


@pytest.mark.parametrize("value", INVALID)
def test_section_5_3_what_is_no_date_is_in_the_past(play: Play, value: str) -> None:
    """Nought above all; and nothing is guessed then."""
    play("shared", [forwarded(ok(f"Expires: {value}", "Last-Modified: {-100000}")), forwarded(ok())])


@pytest.mark.parametrize("value", ["0", "{-3600}", "{-3600:rfc850}", "{-3600:asctime}"])
def test_section_5_3_max_age_outranks_it(play: Play, value: str) -> None:
    """Expires is ignored beside max-age, whatever it says."""
    play("shared", [forwarded(ok("Cache-Control: max-age=60", f"Expires: {value}")), hit(shows=("Expires",))])


def test_section_5_3_s_maxage_outranks_it_in_a_shared_cache_only(play: Play) -> None:
    """A private cache does not know s-maxage, and so goes by Expires."""
    answer = ok("Cache-Control: s-maxage=60", "Expires: {-60}")
    play("shared", [forwarded(answer), hit()])
    play("credential", [forwarded(answer), forwarded(answer)])


def test_section_5_3_the_two_digits_of_a_year_are_of_this_century(play: Play) -> None:
    """A year that seems more than 50 years ahead is one of the past (RFC 9110, 5.6.7)."""
    play("shared", [forwarded(ok("Expires: Sunday, 06-Nov-94 08:49:37 GMT")), forwarded(ok())])
