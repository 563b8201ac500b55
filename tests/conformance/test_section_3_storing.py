"""RFC 9111, section 3: which answers a cache stores."""

from __future__ import annotations

from typing import Final

import pytest

from tests.conformance.conftest import BOTH
from tests.conformance.origin import ok, says
from tests.conformance.steps import Play, Steps, cases, forwarded, hit

FRESH: Final = ok("Cache-Control: max-age=60")

STORED: Final[dict[str, Steps]] = {
    "with max-age": [forwarded(FRESH), hit()],
    "with Expires": [forwarded(ok("Expires: {+60}")), hit()],
    "with public and a time by which freshness is guessed": [
        forwarded(ok("Cache-Control: public", "Last-Modified: {-100000}")),
        hit(),
    ],
    "with a directive that nobody knows beside": [forwarded(ok("Cache-Control: max-age=60, foo, bar=1")), hit()],
    "with must-understand and a status that is understood": [
        forwarded(ok("Cache-Control: max-age=60, no-store, must-understand")),
        hit(),
    ],
    "of a request with a query": [forwarded(FRESH, path="?a=1"), hit(path="?a=1")],
    "whose body is chunked": [forwarded(ok("Cache-Control: max-age=60", framing="chunked")), hit()],
    "whose body ends with the connection": [forwarded(ok("Cache-Control: max-age=60", framing="close")), hit()],
    "whose body is empty": [forwarded(ok("Cache-Control: max-age=60", body="")), hit()],
    "with Content-Disposition: attachment": [
        forwarded(ok("Cache-Control: max-age=60", "Content-Disposition: attachment")),
        hit(),
    ],
}

NOT_STORED: Final[dict[str, Steps]] = {
    "with no-store": [forwarded(ok("Cache-Control: no-store, max-age=60")), forwarded(ok())],
    "with no-store in other letters": [forwarded(ok("Cache-Control: No-StOrE, max-age=60")), forwarded(ok())],
    "with no-store in a second line": [
        forwarded(ok("Cache-Control: max-age=60", "Cache-Control: no-store")),
        forwarded(ok()),
    ],
    "of a request with no-store": [forwarded(FRESH, "Cache-Control: no-store"), forwarded(ok())],
    "with must-understand and a status that is not understood": [
        forwarded(says(299, "Cache-Control: max-age=60, must-understand")),
        forwarded(ok()),
    ],
    "without freshness and without a validator": [forwarded(ok()), forwarded(ok())],
    "with a status that nobody may guess about": [
        forwarded(says(302, "Location: /", "Last-Modified: {-100000}")),
        forwarded(ok()),
    ],
    "with Vary: *": [forwarded(ok("Cache-Control: max-age=60", "Vary: *")), forwarded(ok())],
}


@pytest.mark.parametrize("api", BOTH)
@cases(STORED)
def test_section_3_stores(play: Play, api: str, steps: Steps) -> None:
    """An answer is stored where nothing forbids it and something says how long it is fresh."""
    play(api, steps)


@pytest.mark.parametrize("api", BOTH)
@cases(NOT_STORED)
def test_section_3_does_not_store(play: Play, api: str, steps: Steps) -> None:
    """An answer is not stored where the request, the answer or its status forbids it, or nothing allows it."""
    play(api, steps)


@pytest.mark.parametrize("status", [200, 203, 204, 300, 301, 308, 404, 405, 410, 414])
def test_section_3_stores_by_a_heuristic(play: Play, status: int) -> None:
    """Statuses that RFC 9110, 15.1, names are stored without explicit freshness."""
    play("shared", [forwarded(says(status, "Last-Modified: {-100000}")), hit(status=status)])


@pytest.mark.parametrize(
    "status", [200, 203, 204, 299, 300, 301, 302, 303, 307, 308, 400, 404, 405, 410, 414, 418, 499]
)
def test_section_3_stores_final_statuses_with_explicit_freshness(play: Play, status: int) -> None:
    """Explicit freshness makes any final answer storable, a status that nobody knows included."""
    play("shared", [forwarded(says(status, "Cache-Control: max-age=60")), hit(status=status)])


@pytest.mark.parametrize("status", [401, 403, 407, 429, 500, 502, 503, 504, 599])
@pytest.mark.parametrize("api", [*BOTH, "ttl"])
def test_section_3_never_stores_a_refusal_or_a_failure(play: Play, api: str, status: int) -> None:
    """Storing is never required: an agent is better off when the next call finds out that all is well again."""
    play(api, [forwarded(says(status, "Cache-Control: max-age=60")), forwarded(ok())])


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "FOO"])
@pytest.mark.parametrize("api", [*BOTH, "ttl"])
def test_section_3_stores_only_methods_that_it_understands(play: Play, api: str, method: str) -> None:
    """The answer to anything but a GET or a HEAD is not used again, neither for it nor for a GET."""
    again = forwarded(FRESH, method=method)
    play(api, [again, again, forwarded(FRESH), hit()])


def test_section_3_private_answers_are_stored_by_a_private_cache_only(play: Play) -> None:
    """``private`` forbids a shared cache to store, and allows a private one to."""
    private = ok("Cache-Control: private, max-age=60")
    play("shared", [forwarded(private), forwarded(private)])
    play("credential", [forwarded(private), hit()])


def test_section_3_a_later_answer_replaces_the_stored_one(play: Play) -> None:
    """The latest answer is the one that is used."""
    play(
        "shared",
        [forwarded(FRESH), forwarded(FRESH, "Cache-Control: no-cache"), hit(source=2), hit(source=2)],
    )


@pytest.mark.parametrize("asks", ["no-cache", "no-cache, no-store"])
def test_section_3_an_answer_that_may_not_be_stored_ends_the_stored_one(play: Play, asks: str) -> None:
    """Once a later answer is known, the one before it is not used any more."""
    newer = ok("Cache-Control: no-store")
    play("shared", [forwarded(FRESH), forwarded(newer, f"Cache-Control: {asks}"), forwarded(ok())])


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_section_3_what_is_too_large_is_passed_and_not_stored(play: Play, framing: str) -> None:
    """``max_object`` is what one answer may take of the store; a larger one flows through unharmed."""
    large = ok("Cache-Control: max-age=60", body="x" * (1024 * 1024 + 1), framing=framing)
    play("shared", [forwarded(large), forwarded(large)])


@pytest.mark.parametrize("api", ["shared", "ttl-shared"])
def test_section_7_3_cookies_that_are_set_for_one_caller_reach_no_other(play: Play, api: str) -> None:
    """A shared cache gives out nobody's Set-Cookie, unless the origin says how long all may use the answer."""
    play(api, [forwarded(ok("Last-Modified: {-100000}", "Set-Cookie: a=b")), forwarded(ok())])


def test_section_7_3_a_cookie_with_explicit_freshness_is_stored_as_any_field(play: Play) -> None:
    """Set-Cookie does not inhibit caching (RFC 6265, 3)."""
    play("shared", [forwarded(ok("Cache-Control: max-age=60", "Set-Cookie: a=b")), hit(shows=("Set-Cookie: a=b",))])
