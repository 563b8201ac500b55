"""RFC 9111, section 4.1: answers that depend on fields of the request."""

from __future__ import annotations

from typing import Final

import pytest

from tests.conformance.conftest import BOTH
from tests.conformance.origin import Answer, ok, unmodified
from tests.conformance.steps import Play, Steps, cases, forwarded, hit, validated


def vary(*lines: str) -> Answer:
    """A fresh answer with these lines of Vary."""
    return ok("Cache-Control: max-age=60", *(f"Vary: {line}" for line in lines))


CASES: Final[dict[str, Steps]] = {
    "the same value is a match": [forwarded(vary("Foo"), "Foo: 1"), hit("Foo: 1")],
    "another value is none": [forwarded(vary("Foo"), "Foo: 1"), forwarded(ok(), "Foo: 2")],
    "a value where there was none is none": [forwarded(vary("Foo")), forwarded(ok(), "Foo: 1")],
    "no value where there was one is none": [forwarded(vary("Foo"), "Foo: 1"), forwarded(ok())],
    "an empty value is not an absent one": [forwarded(vary("Foo"), "Foo: "), forwarded(ok())],
    "absent in both is a match": [forwarded(vary("Foo")), hit()],
    "names are the same in any letters": [forwarded(vary("fOO"), "Foo: 1"), hit("FOO: 1"), forwarded(ok(), "foo: 2")],
    "values are not": [forwarded(vary("Foo"), "Foo: a"), forwarded(ok(), "Foo: A")],
    "fields that are not named do not count": [forwarded(vary("Foo"), "Foo: 1", "Bar: 1"), hit("Foo: 1", "Bar: 2")],
    "all of several must match": [
        forwarded(vary("Foo, Bar"), "Foo: 1", "Bar: 2"),
        hit("Foo: 1", "Bar: 2"),
        forwarded(ok(), "Foo: 1", "Bar: 3"),
        forwarded(ok(), "Foo: 2", "Bar: 2"),
        forwarded(ok(), "Foo: 1"),
    ],
    "the order of fields does not count": [
        forwarded(vary("Foo, Bar, Baz"), "Foo: 1", "Bar: 2", "Baz: 3"),
        hit("Baz: 3", "Foo: 1", "Bar: 2"),
    ],
    "several lines of Vary are one": [
        forwarded(vary("Foo", "Bar"), "Foo: 1", "Bar: 2"),
        hit("Foo: 1", "Bar: 2"),
        forwarded(ok(), "Foo: 1", "Bar: 3"),
    ],
    "empty members of Vary mean nothing": [forwarded(vary(", Foo,, "), "Foo: 1"), hit("Foo: 1"), forwarded(ok())],
    "an empty Vary means nothing": [forwarded(vary(""), "Foo: 1"), hit("Foo: 2")],
    "the star matches nothing": [forwarded(vary("*"), "Foo: 1"), forwarded(ok(), "Foo: 1")],
    "a star among names matches nothing": [forwarded(vary("Foo, *"), "Foo: 1"), forwarded(ok(), "Foo: 1")],
    "a star before names matches nothing": [forwarded(vary("*, Foo"), "Foo: 1"), forwarded(ok(), "Foo: 1")],
    "a star in a line of its own matches nothing": [forwarded(vary("Foo", "*"), "Foo: 1"), forwarded(ok(), "Foo: 1")],
    "lines of a field are one list": [forwarded(vary("Foo"), "Foo: 1, 2"), hit("Foo: 1", "Foo: 2")],
    "whitespace around members does not count": [forwarded(vary("Foo"), "Foo: 1,2"), hit("Foo:  1 ,   2 ")],
    "two variants are kept side by side": [
        forwarded(vary("Foo"), "Foo: 1"),
        forwarded(vary("Foo"), "Foo: 2"),
        hit("Foo: 1", source=1),
        hit("Foo: 2", source=2),
        hit("Foo: 1", source=1),
    ],
    "variants with different Vary are kept side by side": [
        forwarded(vary("Foo"), "Foo: 1", "Bar: 1"),
        forwarded(vary("Foo, Bar"), "Foo: 2", "Bar: 1"),
        hit("Foo: 1", "Bar: 9", source=1),
        hit("Foo: 2", "Bar: 1", source=2),
        forwarded(ok(), "Foo: 2", "Bar: 2"),
    ],
    "of two that match, the later is used": [
        forwarded(vary("Foo"), "Foo: 1", "Bar: 1"),
        forwarded(vary("Bar"), "Foo: 2", "Bar: 1", "Cache-Control: no-cache"),
        hit("Foo: 1", "Bar: 1", source=2),
    ],
    "an answer without Vary matches all from then on": [
        forwarded(vary("Foo"), "Foo: 1"),
        forwarded(ok("Cache-Control: max-age=60"), "Foo: 2"),
        hit("Foo: 3", source=2),
    ],
    "each variant is validated by its own tag": [
        forwarded(ok("Cache-Control: max-age=60", "Age: 100", "Vary: Foo", 'ETag: "one"'), "Foo: 1"),
        forwarded(ok("Cache-Control: max-age=60", "Age: 100", "Vary: Foo", 'ETag: "two"'), "Foo: 2"),
        validated(
            unmodified("Cache-Control: max-age=60", 'ETag: "one"'), "Foo: 1", source=1, sent=('If-None-Match: "one"',)
        ),
        validated(
            unmodified("Cache-Control: max-age=60", 'ETag: "two"'), "Foo: 2", source=2, sent=('If-None-Match: "two"',)
        ),
        hit("Foo: 1", source=1),
    ],
}


@pytest.mark.parametrize("api", BOTH)
@cases(CASES)
def test_section_4_1_vary(play: Play, api: str, steps: Steps) -> None:
    """A stored answer is used only for requests whose named fields are those of the request that it answered."""
    play(api, steps)


def test_section_4_1_many_variants(play: Play) -> None:
    """A field with many values keeps as many answers."""
    values = [*range(1, 31)]
    play(
        "shared",
        [
            *(forwarded(vary("Foo"), f"Foo: {value}") for value in values),
            *(hit(f"Foo: {value}", source=value) for value in values),
        ],
    )


def test_section_4_1_vary_counts_in_mode_ttl_too(play: Play) -> None:
    """The operator says how long an answer is fresh, not whom it is for."""
    play("ttl", [forwarded(ok("Vary: Foo"), "Foo: 1"), hit("Foo: 1"), forwarded(ok("Vary: *"), "Foo: 2")])
