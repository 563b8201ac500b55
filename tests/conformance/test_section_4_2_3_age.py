"""RFC 9111, section 4.2.3: how old an answer is; section 4.2.4: what is stale is not used without leave."""

from __future__ import annotations

from typing import Final

import pytest

from tests.conformance.conftest import BOTH
from tests.conformance.origin import SILENCE, ok, says, unmodified
from tests.conformance.steps import Play, Steps, cases, forwarded, hit, stale, validated

AGES: Final[dict[str, Steps]] = {
    "nought, if the origin itself answered now": [forwarded(ok("Cache-Control: max-age=600")), hit(age=0)],
    "its Age": [forwarded(ok("Cache-Control: max-age=600", "Age: 100")), hit(age=100)],
    "the time since its Date": [forwarded(ok("Cache-Control: max-age=600", "Date: {-100}")), hit(age=100)],
    "the larger, if it is the Age": [
        forwarded(ok("Cache-Control: max-age=600", "Date: {-100}", "Age: 200")),
        hit(age=200),
    ],
    "the larger, if it is the time since Date": [
        forwarded(ok("Cache-Control: max-age=600", "Date: {-200}", "Age: 100")),
        hit(age=200),
    ],
    "never below nought": [forwarded(ok("Cache-Control: max-age=600", "Date: {+100}")), hit(age=0)],
    "counted from now, without a Date": [forwarded(ok("Cache-Control: max-age=600", dated=False)), hit(age=0)],
    "counted from now, with a Date that is none": [
        forwarded(ok("Cache-Control: max-age=600", "Date: yesterday")),
        hit(age=0),
    ],
    "counted anew after validation": [
        forwarded(ok("Cache-Control: max-age=60", "Age: 100", 'ETag: "a"')),
        validated(unmodified("Cache-Control: max-age=60", 'ETag: "a"')),
        hit(age=0),
    ],
    "the Age of the 304 that validated it": [
        forwarded(ok("Cache-Control: max-age=60", "Age: 100", 'ETag: "a"')),
        validated(unmodified("Cache-Control: max-age=60", 'ETag: "a"', "Age: 30")),
        hit(age=30),
    ],
}

STALE: Final = ok("Cache-Control: max-age=60", "Age: 100")
FORBIDDEN: Final = ("must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=60")


@pytest.mark.parametrize("api", BOTH)
@cases(AGES)
def test_section_4_2_3_age(play: Play, api: str, steps: Steps) -> None:
    """The age is what Age says or what Date implies, whichever is more, and the time since."""
    play(api, steps)


@pytest.mark.parametrize("api", BOTH)
def test_section_4_2_3_the_time_since_date_uses_up_freshness(play: Play, api: str) -> None:
    """An answer that was on its way for long is not fresh for its whole lifetime."""
    play(api, [forwarded(ok("Cache-Control: max-age=60", "Date: {-100}")), forwarded(ok())])


@pytest.mark.parametrize("api", BOTH)
def test_section_4_2_4_a_stale_answer_is_not_used_while_the_origin_answers(play: Play, api: str) -> None:
    """An origin that can be reached is asked."""
    play(api, [forwarded(STALE), forwarded(ok())])


@pytest.mark.parametrize("trouble", [SILENCE, says(500), says(502), says(503), says(504)], ids=lambda each: each.status)
@pytest.mark.parametrize("api", BOTH)
def test_section_4_2_4_a_stale_answer_is_better_than_none(play: Play, api: str, trouble: object) -> None:
    """Where the operator allows it, an origin that fails is replaced by what it last said."""
    play(api, [forwarded(STALE), stale(trouble, age=100), stale(trouble, age=100)])  # type: ignore[arg-type]


@pytest.mark.parametrize("directive", FORBIDDEN)
def test_section_4_2_4_directives_forbid_it(play: Play, directive: str) -> None:
    """Neither a failing origin nor the operator's leave outranks these in a shared cache."""
    answer = ok(f"Cache-Control: max-age=60, {directive}", "Age: 100")
    play("shared", [forwarded(answer), forwarded(says(503))])


@pytest.mark.parametrize("directive", FORBIDDEN)
def test_section_4_2_4_an_origin_that_is_silent_is_an_error_then(play: Play, directive: str) -> None:
    """With must-revalidate and its like, an origin that cannot be reached is a gateway's error."""
    agent = play.agent("shared")
    agent.script.answer = ok(f"Cache-Control: max-age=60, {directive}", "Age: 100")
    agent.send(forwarded(agent.script.answer))
    agent.script.answer = SILENCE
    got = agent.send(forwarded(SILENCE))
    assert got.status in {502, 504}
    assert got.cache_status.startswith("backstay; fwd=")
    agent.close()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 429])
def test_section_4_2_4_an_answer_of_the_origin_is_no_failure(play: Play, status: int) -> None:
    """A refusal is what the origin wants to say now."""
    play("shared", [forwarded(STALE), forwarded(says(status))])


def test_section_4_2_4_leave_can_be_taken_back(play: Play) -> None:
    """With ``stale_if_error: off`` an error is an error, unless the answer itself carries the permission."""
    play("strict", [forwarded(STALE), forwarded(says(503))])
    play("strict", [forwarded(ok("Cache-Control: max-age=60, stale-if-error=600", "Age: 100")), stale(says(503))])
