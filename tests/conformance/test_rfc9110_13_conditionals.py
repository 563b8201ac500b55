"""RFC 9110, section 13, and RFC 9111, 4.3.2: an agent's conditions against what is stored."""

from __future__ import annotations

from typing import Final

import pytest

from tests.conformance.conftest import BOTH
from tests.conformance.origin import Answer, ok, says, unmodified
from tests.conformance.steps import Play, Step, Steps, cases, forwarded, hit, validated


def tagged(tag: str, *fields: str) -> Step:
    """A fresh answer with this tag, stored."""
    return forwarded(ok("Cache-Control: max-age=600", f"ETag: {tag}", *fields))


def dated(*fields: str) -> Step:
    """A fresh answer with a Last-Modified, stored."""
    return forwarded(ok("Cache-Control: max-age=600", "Last-Modified: Tue, 15 Nov 1994 12:45:26 GMT", *fields))


SAME: Final = hit  # a whole answer


def same(*asks: str, **more: object) -> Step:
    """The agent has it already."""
    return hit(*asks, status=304, **more)


CASES: Final[dict[str, Steps]] = {
    # 13.1.2
    "the tag that is stored": [tagged('"a"'), same('If-None-Match: "a"', shows=('ETag: "a"',))],
    "another tag": [tagged('"a"'), hit('If-None-Match: "b"')],
    "one of several tags": [tagged('"a"'), same('If-None-Match: "b", "a", "c"')],
    "one of several lines": [tagged('"a"'), same('If-None-Match: "b"', 'If-None-Match: "a"')],
    "tags without a space between": [tagged('"a"'), same('If-None-Match: "b","a"')],
    "a tag with a comma in it": [tagged('"a,b"'), same('If-None-Match: "x", "a,b"')],
    "the star": [tagged('"a"'), same("If-None-Match: *")],
    "the star, without a tag": [dated(), same("If-None-Match: *")],
    "weak against strong": [tagged('"a"'), same('If-None-Match: W/"a"')],
    "strong against weak": [tagged('W/"a"'), same('If-None-Match: "a"')],
    "weak against weak": [tagged('W/"a"'), same('If-None-Match: W/"a"')],
    "tags are the same in the same letters only": [tagged('"a"'), hit('If-None-Match: "A"')],
    "a tag where none is stored": [dated(), hit('If-None-Match: "a"')],
    # 13.1.3
    "the time that is stored": [dated(), same("If-Modified-Since: Tue, 15 Nov 1994 12:45:26 GMT")],
    "a later time": [dated(), same("If-Modified-Since: Tue, 15 Nov 1995 12:45:26 GMT")],
    "an earlier time": [dated(), hit("If-Modified-Since: Tue, 15 Nov 1993 12:45:26 GMT")],
    "a time in an obsolete form": [dated(), same("If-Modified-Since: Tuesday, 15-Nov-94 12:45:26 GMT")],
    "a time that is none": [dated(), hit("If-Modified-Since: yesterday")],
    "a later time than Date, where no Last-Modified is stored": [
        forwarded(ok("Cache-Control: max-age=600", "Date: {-100}")),
        same("If-Modified-Since: {-50}"),
    ],
    # 13.2.2
    "a tag outranks a time: same": [
        tagged('"a"', "Last-Modified: Tue, 15 Nov 1994 12:45:26 GMT"),
        same('If-None-Match: "a"', "If-Modified-Since: Tue, 15 Nov 1993 12:45:26 GMT"),
    ],
    "a tag outranks a time: another": [
        tagged('"a"', "Last-Modified: Tue, 15 Nov 1994 12:45:26 GMT"),
        hit('If-None-Match: "b"', "If-Modified-Since: Tue, 15 Nov 1995 12:45:26 GMT"),
    ],
    "conditions are for answers that would be 200": [
        forwarded(says(404, "Cache-Control: max-age=600", 'ETag: "a"')),
        hit('If-None-Match: "a"', status=404),
    ],
    # 9111, 4.3.2: what cannot be told from what is stored goes to the origin
    "nothing stored": [
        forwarded(unmodified('ETag: "a"'), 'If-None-Match: "a"', sent=('If-None-Match: "a"',)),
        forwarded(ok()),
    ],
    "nothing stored, by time": [
        forwarded(unmodified(), "If-Modified-Since: {-50}", sent=("If-Modified-Since",)),
        forwarded(ok()),
    ],
    "a 304 to the agent's own condition is not stored": [
        forwarded(unmodified("Cache-Control: max-age=600", 'ETag: "a"'), 'If-None-Match: "a"'),
        forwarded(ok()),
    ],
    "the whole answer to a condition is stored": [
        forwarded(ok("Cache-Control: max-age=600", 'ETag: "b"'), 'If-None-Match: "a"'),
        hit(),
    ],
}

STALE: Final[dict[str, Steps]] = {
    "validated, the agent has it already": [
        forwarded(ok("Cache-Control: max-age=60", "Age: 100", 'ETag: "a"')),
        validated(unmodified("Cache-Control: max-age=60", 'ETag: "a"'), 'If-None-Match: "a"', status=304),
        hit(),
    ],
    "validated, the agent has another": [
        forwarded(ok("Cache-Control: max-age=60", "Age: 100", 'ETag: "a"')),
        validated(unmodified("Cache-Control: max-age=60", 'ETag: "a"'), 'If-None-Match: "b"', sent=("If-None-Match",)),
        hit(),
    ],
    "replaced, the agent has the old one": [
        forwarded(ok("Cache-Control: max-age=60", "Age: 100", 'ETag: "a"')),
        forwarded(ok("Cache-Control: max-age=60", 'ETag: "b"'), 'If-None-Match: "a"'),
        hit(source=2),
    ],
    "the agent has the time that is stored": [
        forwarded(ok("Cache-Control: max-age=60", "Age: 100", "Last-Modified: Tue, 15 Nov 1994 12:45:26 GMT")),
        validated(
            unmodified("Cache-Control: max-age=60"),
            "If-Modified-Since: Tue, 15 Nov 1994 12:45:26 GMT",
            status=304,
        ),
        hit(),
    ],
}

IN_304: Final = (
    "Cache-Control: max-age=600",
    "Content-Location: /a",
    "Date: {-5}",
    'ETag: "a"',
    "Expires: {+99}",
    "Vary: Foo",
)


@pytest.mark.parametrize("api", BOTH)
@cases(CASES)
def test_section_13_conditions(play: Play, api: str, steps: Steps) -> None:
    """A fresh stored answer satisfies a condition without the origin: 304, or the whole of it."""
    play(api, steps)


@pytest.mark.parametrize("api", BOTH)
@cases(STALE)
def test_section_13_conditions_on_a_stale_answer(play: Play, api: str, steps: Steps) -> None:
    """The origin is asked about what is stored, and then the agent's condition about what came of that."""
    play(api, steps)


def test_section_15_4_5_a_304_carries_what_a_200_would_have(play: Play) -> None:
    """The fields that a cache on the way needs are in the 304; it has no body, and no length of one."""
    stored = ok(*IN_304)
    names = tuple(line.partition(":")[0] for line in IN_304)
    play("shared", [forwarded(stored), same('If-None-Match: "a"', shows=names, age=5, hides=("Content-Type",))])


@pytest.mark.parametrize("line", ['If-Match: "a"', 'If-Match: "b"', "If-Unmodified-Since: {-50}"])
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_section_13_1_1_preconditions_are_for_the_origin(play: Play, method: str, line: str) -> None:
    """If-Match and If-Unmodified-Since guard a change: what is stored cannot tell whether they hold."""
    play(
        "shared",
        [
            tagged('"a"'),
            forwarded(
                says(412), line, method=method, content=b"x" if method == "PUT" else b"", sent=(line.partition(":")[0],)
            ),
        ],
    )


def test_section_13_unsafe_methods_with_conditions_pass(play: Play) -> None:
    """A condition on a change is the origin's to judge, and reaches it as it came."""
    answer: Answer = says(412)
    play(
        "shared",
        [tagged('"a"'), forwarded(answer, "If-None-Match: *", method="PUT", content=b"x", sent=("If-None-Match: *",))],
    )
