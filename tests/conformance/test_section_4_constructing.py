"""RFC 9111, section 4: when a stored answer may be used."""

from __future__ import annotations

from typing import Final

import pytest

from tests.conformance.conftest import BOTH
from tests.conformance.origin import ok, says, unmodified
from tests.conformance.steps import Play, Steps, cases, forwarded, hit, validated

FRESH: Final = ok("Cache-Control: max-age=60")

USED: Final[dict[str, Steps]] = {
    "as often as it is asked for": [forwarded(FRESH), hit(), hit(), hit()],
    "for the same query": [forwarded(FRESH, path="?a=1&b=2"), hit(path="?a=1&b=2")],
    "whatever other fields the request has": [
        forwarded(FRESH, "Foo: 1"),
        hit("Foo: 2", "Accept: text/plain", "User-Agent: other"),
    ],
    "with the status that it came with": [
        forwarded(says(404, "Cache-Control: max-age=60")),
        hit(status=404),
    ],
    "with an Age that replaces the one it came with": [
        forwarded(ok("Cache-Control: max-age=600", "Age: 100"), shows=("Age: 100",)),
        hit(age=100),
    ],
    "with the Date that it came with": [
        forwarded(ok("Cache-Control: max-age=60", "Date: {-10}")),
        hit(shows=("Date",), age=10),
    ],
}

NOT_USED: Final[dict[str, Steps]] = {
    "for another query": [forwarded(FRESH, path="?a=1"), forwarded(ok(), path="?a=2"), forwarded(ok())],
    "for the query in another order": [forwarded(FRESH, path="?a=1&b=2"), forwarded(ok(), path="?b=2&a=1")],
    "for another path": [forwarded(FRESH, path="/a"), forwarded(ok(), path="/b")],
    "for a path in other letters": [forwarded(FRESH, path="/a"), forwarded(ok(), path="/A")],
    "for the path with a slash": [forwarded(FRESH, path="/a"), forwarded(ok(), path="/a/")],
    "for another method": [forwarded(FRESH), forwarded(ok(), method="POST", content=b"x")],
    "for OPTIONS": [forwarded(FRESH), forwarded(ok(), method="OPTIONS")],
    "once it is stale and has no validator": [
        forwarded(ok("Cache-Control: max-age=60", "Age: 100")),
        forwarded(ok(), unsent=("If-None-Match", "If-Modified-Since")),
    ],
    "without validation, if it says no-cache": [
        forwarded(ok("Cache-Control: no-cache, max-age=60", 'ETag: "a"')),
        validated(unmodified('ETag: "a"')),
        validated(unmodified('ETag: "a"')),
    ],
    "without validation, if the request says no-cache": [
        forwarded(ok("Cache-Control: max-age=60", 'ETag: "a"')),
        validated(unmodified('ETag: "a"'), "Cache-Control: no-cache"),
    ],
}


@pytest.mark.parametrize("api", BOTH)
@cases(USED)
def test_section_4_uses_a_stored_answer(play: Play, api: str, steps: Steps) -> None:
    """A fresh answer that matches is used, without a word to the origin, and says how old it is."""
    play(api, steps)


@pytest.mark.parametrize("api", BOTH)
@cases(NOT_USED)
def test_section_4_does_not_use_a_stored_answer(play: Play, api: str, steps: Steps) -> None:
    """Another target or method, staleness and no-cache each send the request on."""
    play(api, steps)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "FOO"])
def test_section_4_unsafe_requests_are_written_through(play: Play, method: str) -> None:
    """An answer is never generated for a request that may change something."""
    again = forwarded(FRESH, method=method, content=b"x")
    play("shared", [forwarded(FRESH), again, again])


def test_section_4_the_request_as_it_came_is_forwarded(play: Play) -> None:
    """Fields of the agent's reach the origin; the cache adds no condition of its own where nothing is stored."""
    play(
        "shared",
        [forwarded(ok(), "Accept: a/b", "Foo: 1", sent=("Accept: a/b", "Foo: 1"), unsent=("If-None-Match",))],
    )
