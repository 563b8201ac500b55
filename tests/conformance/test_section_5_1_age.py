"""RFC 9111, section 5.1: the Age field, as it comes."""

from __future__ import annotations

from typing import Final

import pytest

from tests.conformance.conftest import BOTH
from tests.conformance.origin import ok
from tests.conformance.steps import Play, forwarded, hit

IGNORED: Final = ("abc", "-100", "100.5", "+100", "100s", '"100"', "", "0x64", "1e2", "100;foo=bar", "{-100}")
STALE: Final = (("100",), ("0100",), ("100, 0",), ("100", "0"), ("2147483648",), ("99999999999999999999",))
FRESH: Final = (("0",), ("0, 100",), ("0", "100"), ("00",))


@pytest.mark.parametrize("value", IGNORED)
@pytest.mark.parametrize("api", BOTH)
def test_section_5_1_an_age_that_is_no_number_is_ignored(play: Play, api: str, value: str) -> None:
    """A value that is not a non-negative integer says nothing."""
    play(api, [forwarded(ok("Cache-Control: max-age=60", f"Age: {value}")), hit(age=0)])


@pytest.mark.parametrize("lines", STALE, ids="|".join)
def test_section_5_1_an_age_above_the_lifetime(play: Play, lines: tuple[str, ...]) -> None:
    """The first member counts, however large it is."""
    play("shared", [forwarded(ok("Cache-Control: max-age=60", *(f"Age: {line}" for line in lines))), forwarded(ok())])


@pytest.mark.parametrize("lines", FRESH, ids="|".join)
def test_section_5_1_an_age_below_the_lifetime(play: Play, lines: tuple[str, ...]) -> None:
    """Members behind the first do not count."""
    play("shared", [forwarded(ok("Cache-Control: max-age=60", *(f"Age: {line}" for line in lines))), hit()])


def test_section_5_1_there_is_one_age(play: Play) -> None:
    """The field that came is replaced, not joined."""
    play("shared", [forwarded(ok("Cache-Control: max-age=600", "Age: 100", "Age: 200")), hit(age=100)])
