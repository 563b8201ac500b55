"""RFC 9111, section 5.2.1: directives of requests; section 5.4: Pragma."""

from __future__ import annotations

from typing import Final

import pytest

from tests.conformance.conftest import BOTH
from tests.conformance.origin import SILENCE, ok, says, unmodified
from tests.conformance.steps import Play, Steps, aged, cases, forwarded, hit, refused, stale, validated

FRESH: Final = ok("Cache-Control: max-age=600")
AGED: Final = ok("Cache-Control: max-age=600", "Age: 100")
STALE: Final = ok("Cache-Control: max-age=60", "Age: 100")

CASES: Final[dict[str, Steps]] = {
    # 5.2.1.1
    "max-age below the age": [forwarded(AGED), forwarded(ok(), "Cache-Control: max-age=50")],
    "max-age above the age": [forwarded(AGED), hit("Cache-Control: max-age=500")],
    "max-age of nought": [forwarded(FRESH), forwarded(ok(), "Cache-Control: max-age=0")],
    "max-age of nought, with a validator": [
        forwarded(ok("Cache-Control: max-age=600", 'ETag: "a"')),
        validated(unmodified('ETag: "a"'), "Cache-Control: max-age=0"),
        hit(),
    ],
    "max-age in quotes": [forwarded(AGED), forwarded(ok(), 'Cache-Control: max-age="50"')],
    "max-age in other letters": [forwarded(AGED), forwarded(ok(), "Cache-Control: MAX-AGE=50")],
    "max-age makes nothing fresh that is stale": [forwarded(STALE), forwarded(ok(), "Cache-Control: max-age=500")],
    # 5.2.1.2
    "max-stale without a value": [forwarded(STALE), aged("Cache-Control: max-stale", age=100)],
    "max-stale above the staleness": [forwarded(STALE), aged("Cache-Control: max-stale=100", age=100)],
    "max-stale below the staleness": [forwarded(STALE), forwarded(ok(), "Cache-Control: max-stale=20")],
    "max-stale and must-revalidate": [
        forwarded(ok("Cache-Control: max-age=60, must-revalidate", "Age: 100")),
        forwarded(ok(), "Cache-Control: max-stale"),
    ],
    "max-stale and no-cache of the answer": [
        forwarded(ok("Cache-Control: no-cache", 'ETag: "a"')),
        forwarded(ok(), "Cache-Control: max-stale"),
    ],
    "max-stale with max-age below the age": [
        forwarded(AGED),
        forwarded(ok(), "Cache-Control: max-age=50, max-stale=20"),
    ],
    # 5.2.1.3
    "min-fresh above what is left": [forwarded(AGED), forwarded(ok(), "Cache-Control: min-fresh=550")],
    "min-fresh below what is left": [forwarded(AGED), hit("Cache-Control: min-fresh=400")],
    # 5.2.1.4
    "no-cache": [forwarded(FRESH), forwarded(ok(), "Cache-Control: no-cache")],
    "no-cache with a validator": [
        forwarded(ok("Cache-Control: max-age=600", 'ETag: "a"')),
        validated(unmodified('ETag: "a"'), "Cache-Control: no-cache", sent=("Cache-Control: no-cache",)),
        hit(),
    ],
    "no-cache stores the new answer": [
        forwarded(FRESH),
        forwarded(FRESH, "Cache-Control: no-cache"),
        hit(source=2),
    ],
    # 5.2.1.5
    "no-store: the answer is not stored": [forwarded(FRESH, "Cache-Control: no-store"), forwarded(ok())],
    "no-store: what is stored may be used": [forwarded(FRESH), hit("Cache-Control: no-store"), hit()],
    # 5.2.1.6
    "no-transform is passed on": [
        forwarded(FRESH, "Cache-Control: no-transform", sent=("Cache-Control: no-transform",)),
        hit("Cache-Control: no-transform"),
    ],
    # 5.2.1.7
    "only-if-cached with a fresh answer": [forwarded(FRESH), hit("Cache-Control: only-if-cached")],
    "only-if-cached with nothing": [refused(504, "Cache-Control: only-if-cached")],
    "only-if-cached with a stale answer": [forwarded(STALE), refused(504, "Cache-Control: only-if-cached")],
    "only-if-cached with a stale answer that the request takes": [
        forwarded(STALE),
        aged("Cache-Control: only-if-cached, max-stale"),
    ],
    "only-if-cached for another variant": [
        forwarded(ok("Cache-Control: max-age=600", "Vary: Foo"), "Foo: 1"),
        refused(504, "Cache-Control: only-if-cached", "Foo: 2"),
        hit("Cache-Control: only-if-cached", "Foo: 1"),
    ],
    # 5.2.3
    "a directive that nobody knows": [forwarded(FRESH), hit("Cache-Control: foo, bar=baz")],
    "directives in several lines": [forwarded(AGED), forwarded(ok(), "Cache-Control: foo", "Cache-Control: no-cache")],
    # 5.4
    "Pragma: no-cache without Cache-Control": [forwarded(FRESH), forwarded(ok(), "Pragma: no-cache")],
    "Pragma: no-cache with Cache-Control": [
        forwarded(FRESH),
        hit("Pragma: no-cache", "Cache-Control: max-age=500"),
    ],
    "Pragma with another word": [forwarded(FRESH), hit("Pragma: foo")],
}


@pytest.mark.parametrize("api", BOTH)
@cases(CASES)
def test_section_5_2_1_request_directives(play: Play, api: str, steps: Steps) -> None:
    """What a request says about the answers that it would take."""
    play(api, steps)


def test_section_5_4_pragma_of_an_answer_means_nothing(play: Play) -> None:
    """Only requests ever had a Pragma with a meaning."""
    play("shared", [forwarded(ok("Cache-Control: max-age=60", "Pragma: no-cache")), hit()])
    play("shared", [forwarded(ok("Last-Modified: {-100000}", "Pragma: no-cache")), hit()])


def test_section_5_2_1_the_request_outranks_leave_to_serve_stale(play: Play) -> None:
    """An agent that says no-cache gets the failure; one that says nothing gets the stale answer."""
    play("shared", [forwarded(STALE), forwarded(says(503), "Cache-Control: no-cache"), stale(says(503), source=1)])


@pytest.mark.parametrize("directive", ["no-cache", "max-age=0"])
def test_section_5_2_1_directives_count_in_mode_ttl_too(play: Play, directive: str) -> None:
    """The operator overrides the vendor, not the agent."""
    play("ttl", [forwarded(ok()), hit(), forwarded(ok(), f"Cache-Control: {directive}"), hit(source=3)])


def test_section_5_2_1_only_if_cached_does_not_try_an_origin_that_is_gone(play: Play) -> None:
    """The 504 is ours and says so to whoever reads it."""
    agent = play.agent("shared")
    agent.script.answer = SILENCE
    got = agent.send(refused(504, "Cache-Control: only-if-cached"))
    assert (got.status, agent.script.asked) == (504, [])
    assert got.joined("Content-Type") == "application/problem+json"
    agent.close()
