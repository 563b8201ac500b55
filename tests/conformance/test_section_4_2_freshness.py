"""RFC 9111, sections 4.2, 4.2.1 and 4.2.2: how long an answer is fresh."""

from __future__ import annotations

from typing import Final

import pytest

from tests.conformance.conftest import BOTH
from tests.conformance.origin import ok, says, unmodified
from tests.conformance.steps import Play, Steps, cases, forwarded, hit, validated

FRESH: Final[dict[str, Steps]] = {
    "max-age above the age": [forwarded(ok("Cache-Control: max-age=200", "Age: 100")), hit(age=100)],
    "max-age before Expires": [forwarded(ok("Cache-Control: max-age=60", "Expires: {-60}")), hit()],
    "max-age before an Expires that is no date": [forwarded(ok("Cache-Control: max-age=60", "Expires: 0")), hit()],
    "max-age of 2 to the 31": [forwarded(ok("Cache-Control: max-age=2147483648")), hit()],
    "max-age beyond any integer": [forwarded(ok("Cache-Control: max-age=99999999999999999999")), hit()],
    "max-age in other letters": [forwarded(ok("Cache-Control: MaX-aGe=60")), hit()],
    "max-age in quotes": [forwarded(ok('Cache-Control: max-age="60"')), hit()],
    "max-age with leading zeroes": [forwarded(ok("Cache-Control: max-age=0000060")), hit()],
    "max-age in a second line": [forwarded(ok("Cache-Control: foo", "Cache-Control: max-age=60")), hit()],
    "max-age among empty members": [forwarded(ok("Cache-Control: ,, max-age=60,")), hit()],
    "max-age beside a quoted string with a directive in it": [
        forwarded(ok('Cache-Control: foo="no-store, max-age=0", max-age=60')),
        hit(),
    ],
    "max-age beside a quoted string with a quote in it": [
        forwarded(ok('Cache-Control: foo="\\", no-store", max-age=60')),
        hit(),
    ],
    "Expires later than Date": [forwarded(ok("Expires: {+60}")), hit()],
    "Expires later than Date, by clocks of its own": [
        forwarded(ok("Date: {+3600}", "Expires: {+3660}")),
        hit(),
    ],
    "Expires without Date": [forwarded(ok("Expires: {+60}", dated=False)), hit()],
    "a tenth of the time since Last-Modified": [
        forwarded(ok("Last-Modified: {-10000}", "Age: 500")),
        hit(age=500),
    ],
}

STALE: Final[dict[str, Steps]] = {
    "max-age below the age": [forwarded(ok("Cache-Control: max-age=60", "Age: 100")), forwarded(ok())],
    "max-age equal to the age": [forwarded(ok("Cache-Control: max-age=60", "Age: 60")), forwarded(ok())],
    "max-age of nought": [forwarded(ok("Cache-Control: max-age=0")), forwarded(ok())],
    "max-age of nought with Expires to come": [
        forwarded(ok("Cache-Control: max-age=0", "Expires: {+60}")),
        forwarded(ok()),
    ],
    "max-age that is no number": [forwarded(ok("Cache-Control: max-age=abc", "Expires: {+60}")), forwarded(ok())],
    "max-age that is negative": [forwarded(ok("Cache-Control: max-age=-60")), forwarded(ok())],
    "max-age with a fraction": [forwarded(ok("Cache-Control: max-age=60.5")), forwarded(ok())],
    "a max-age that is another directive": [forwarded(ok("Cache-Control: x-max-age=60")), forwarded(ok())],
    "a max-age within a quoted string": [forwarded(ok('Cache-Control: foo="max-age=60"')), forwarded(ok())],
    "Expires in the past": [forwarded(ok("Expires: {-60}")), forwarded(ok())],
    "Expires equal to Date": [forwarded(ok("Expires: {+0}", "Date: {+0}")), forwarded(ok())],
    "Expires before Date, by clocks of its own": [
        forwarded(ok("Date: {+7200}", "Expires: {+3600}")),
        forwarded(ok()),
    ],
    "Expires below the age": [forwarded(ok("Expires: {+60}", "Age: 100")), forwarded(ok())],
    "less than the age since Last-Modified": [
        forwarded(ok("Last-Modified: {-1000}", "Age: 500")),
        validated(unmodified("Last-Modified: {-1000}")),
    ],
    "a Last-Modified beside a lifetime that has passed": [
        forwarded(ok("Cache-Control: max-age=0", "Last-Modified: {-100000}")),
        validated(unmodified("Last-Modified: {-100000}")),
    ],
    "a Last-Modified to come": [
        forwarded(ok("Last-Modified: {+3600}")),
        forwarded(ok()),
    ],
    "nothing but a tag": [forwarded(ok('ETag: "a"')), validated(unmodified('ETag: "a"'))],
}


@pytest.mark.parametrize("api", BOTH)
@cases(FRESH)
def test_section_4_2_fresh(play: Play, api: str, steps: Steps) -> None:
    """An answer is fresh while its age is below its lifetime: max-age, then Expires less Date, then a guess."""
    play(api, steps)


@pytest.mark.parametrize("api", BOTH)
@cases(STALE)
def test_section_4_2_stale(play: Play, api: str, steps: Steps) -> None:
    """An answer is stale once its age reaches its lifetime; what is malformed counts as stale."""
    play(api, steps)


def test_section_4_2_1_s_maxage_is_for_shared_caches(play: Play) -> None:
    """A shared cache takes s-maxage before max-age and Expires; a private one does not know it."""
    longer = ok("Cache-Control: max-age=60, s-maxage=600", "Age: 100", 'ETag: "a"')
    shorter = ok("Cache-Control: s-maxage=60, max-age=600", "Age: 100", "Expires: {+600}", 'ETag: "a"')
    play("shared", [forwarded(longer), hit()])
    play("shared", [forwarded(shorter), validated(unmodified('ETag: "a"'))])
    play("credential", [forwarded(longer), validated(unmodified('ETag: "a"'))])
    play("credential", [forwarded(shorter), hit()])


@pytest.mark.parametrize("values", ["max-age=60, max-age=0", "max-age=60, max-age=100"])
def test_section_4_2_1_of_a_repeated_directive_the_first_counts(play: Play, values: str) -> None:
    """A cache may take the first, or take the answer as stale; here it is the first."""
    play("shared", [forwarded(ok(f"Cache-Control: {values}")), hit()])
    play("shared", [forwarded(ok(f"Cache-Control: {values}", "Age: 80")), forwarded(ok())])


@pytest.mark.parametrize("status", [201, 202, 302, 303, 307, 400, 418])
def test_section_4_2_2_no_guess_for_other_statuses(play: Play, status: int) -> None:
    """Statuses that are not heuristically cacheable need explicit freshness."""
    play("shared", [forwarded(says(status, "Last-Modified: {-100000}")), forwarded(ok())])


def test_section_4_2_2_public_allows_a_guess_for_any_status(play: Play) -> None:
    """``public`` makes an answer cacheable whose status is not."""
    play("shared", [forwarded(says(400, "Cache-Control: public", "Last-Modified: {-100000}")), hit(status=400)])


@pytest.mark.parametrize("api", BOTH)
def test_section_4_2_2_a_guess_is_bounded(play: Play, api: str) -> None:
    """A year without a change promises no month: a day at most, as is usual."""
    ancient = ok("Last-Modified: {-311040000}", "Age: 86500", 'ETag: "a"')
    play(api, [forwarded(ancient), validated(unmodified('ETag: "a"'))])


def test_section_4_2_2_a_guess_for_a_query(play: Play) -> None:
    """A query does not forbid a guess (RFC 9111 has dropped the rule of RFC 2616)."""
    play("shared", [forwarded(ok("Last-Modified: {-100000}"), path="?a=1"), hit(path="?a=1")])
