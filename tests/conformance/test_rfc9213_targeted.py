"""RFC 9213: control that is targeted at some caches: CDN-Cache-Control, and Backstay-Cache-Control before it."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from tests.conformance.origin import ok, unmodified
from tests.conformance.steps import Play, Steps, cases, forwarded, hit, validated

TAG: Final = 'ETag: "a"'

CASES: Final[dict[str, Steps]] = {
    "it makes fresh what Cache-Control does not": [
        forwarded(ok("@: max-age=60", "Cache-Control: no-store")),
        hit(),
    ],
    "it makes stale what Cache-Control does not": [
        forwarded(ok("@: max-age=0", "Cache-Control: max-age=60", TAG)),
        validated(unmodified(TAG)),
    ],
    "it outranks Expires": [forwarded(ok("@: max-age=60", "Expires: {-60}")), hit()],
    "its no-store counts": [forwarded(ok("@: no-store", "Cache-Control: max-age=60")), forwarded(ok())],
    "its private counts": [forwarded(ok("@: private", "Cache-Control: max-age=60")), forwarded(ok())],
    "its no-cache counts": [
        forwarded(ok("@: no-cache", "Cache-Control: max-age=60", TAG)),
        validated(unmodified(TAG)),
    ],
    "its s-maxage outranks its max-age": [forwarded(ok("@: max-age=0, s-maxage=60")), hit()],
    "the age counts against it": [forwarded(ok("@: max-age=60", "Age: 100")), forwarded(ok())],
    "an unknown member is ignored": [forwarded(ok("@: foo, max-age=60, bar=baz;a=1")), hit()],
    "parameters of a member are ignored": [forwarded(ok("@: max-age=60;foo=1")), hit()],
    "the last of a repeated member counts": [forwarded(ok("@: max-age=0, max-age=60")), hit()],
    "several lines are one": [forwarded(ok("@: foo", "@: max-age=60")), hit()],
    "a member of the wrong type is ignored": [
        forwarded(ok('@: max-age="60", no-cache', "Cache-Control: max-age=60", TAG)),
        validated(unmodified(TAG)),
    ],
    "if it is empty, Cache-Control counts": [forwarded(ok("@: ", "Cache-Control: max-age=60")), hit()],
    "if it cannot be parsed, Cache-Control counts": [
        forwarded(ok("@: max-age=60=", "Cache-Control: no-store")),
        forwarded(ok()),
    ],
    "in other letters it cannot be parsed": [
        forwarded(ok("@: MAX-AGE=60", "Cache-Control: no-store")),
        forwarded(ok()),
    ],
    "it is passed on": [
        forwarded(ok("@: max-age=60"), shows=("@: max-age=60",)),
        hit(shows=("@: max-age=60",)),
    ],
}


def targeted(steps: Steps, name: str) -> Steps:
    """The steps with the field in the place of the ``@``."""

    def lines(given: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name + line[1:] if line.startswith("@:") else line for line in given)

    return [
        replace(
            step,
            answer=step.answer and replace(step.answer, fields=lines(step.answer.fields)),
            shows=lines(step.shows),
        )
        for step in steps
    ]


@pytest.mark.parametrize("name", ["CDN-Cache-Control", "Backstay-Cache-Control"])
@cases(CASES)
def test_section_2_targeted_control(play: Play, name: str, steps: Steps) -> None:
    """A targeted field that parses replaces Cache-Control and Expires; one that does not counts for nothing."""
    play("shared", targeted(steps, name))


def test_section_2_2_ours_comes_before_that_of_all_cdns(play: Play) -> None:
    """The first field of the list that is there and valid is the one that counts."""
    play("shared", [forwarded(ok("CDN-Cache-Control: no-store", "Backstay-Cache-Control: max-age=60")), hit()])
    play(
        "shared", [forwarded(ok("CDN-Cache-Control: max-age=60", "Backstay-Cache-Control: no-store")), forwarded(ok())]
    )
    play("shared", [forwarded(ok("CDN-Cache-Control: max-age=60", "Backstay-Cache-Control: =")), hit()])


def test_section_2_1_other_targets_are_not_ours(play: Play) -> None:
    """A field for somebody else's cache changes nothing."""
    play("shared", [forwarded(ok("Other-Cache-Control: no-store", "Cache-Control: max-age=60")), hit()])
    play("shared", [forwarded(ok("Surrogate-Control: no-store", "Cache-Control: max-age=60")), hit()])
