"""RFC 9110, section 9.3.2: HEAD, out of the stored answer to a GET and past the cache."""

from __future__ import annotations

from typing import Final

import pytest

from tests.conformance.conftest import BOTH
from tests.conformance.origin import ok
from tests.conformance.steps import Play, Steps, cases, forwarded, hit

FRESH: Final = ok("Cache-Control: max-age=600", 'ETag: "a"', "Foo: 1", body="0123456789")

CASES: Final[dict[str, Steps]] = {
    "the stored answer to a GET answers it": [
        forwarded(FRESH),
        hit(method="HEAD", shows=("Foo: 1", 'ETag: "a"', "Content-Length: 10")),
    ],
    "a condition on it": [forwarded(FRESH), hit('If-None-Match: "a"', method="HEAD", status=304)],
    "its answer does not answer a GET": [
        forwarded(FRESH, method="HEAD"),
        forwarded(FRESH),
    ],
    "it reaches the origin as what it is": [
        forwarded(FRESH, method="HEAD", shows=("Content-Length: 10",)),
        forwarded(FRESH, method="GET"),
        hit(method="HEAD"),
    ],
    "a stale answer does not answer it": [
        forwarded(ok("Cache-Control: max-age=60", "Age: 100")),
        forwarded(ok(), method="HEAD"),
    ],
    "for another variant it goes on": [
        forwarded(ok("Cache-Control: max-age=600", "Vary: Foo"), "Foo: 1"),
        hit("Foo: 1", method="HEAD"),
        forwarded(ok(), "Foo: 2", method="HEAD"),
    ],
}


@pytest.mark.parametrize("api", BOTH)
@cases(CASES)
def test_section_9_3_2_head(play: Play, api: str, steps: Steps) -> None:
    """HEAD gets the fields that a GET would, and never a body."""
    play(api, steps)
