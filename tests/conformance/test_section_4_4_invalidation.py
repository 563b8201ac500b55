"""RFC 9111, section 4.4: a request that changed something makes what is stored unusable."""

from __future__ import annotations

from typing import Final

import pytest

from tests.conformance.conftest import BOTH
from tests.conformance.origin import ok, says
from tests.conformance.steps import Play, forwarded, hit

FRESH: Final = ok("Cache-Control: max-age=60")
UNSAFE: Final = ("POST", "PUT", "DELETE", "PATCH", "FOO")


@pytest.mark.parametrize("status", [200, 201, 204, 303])
@pytest.mark.parametrize("method", UNSAFE)
@pytest.mark.parametrize("api", [*BOTH, "ttl"])
def test_section_4_4_a_change_invalidates_its_target(play: Play, api: str, method: str, status: int) -> None:
    """An answer that is no error to an unsafe or unknown method, and the target is asked for anew."""
    play(api, [forwarded(FRESH), forwarded(says(status), method=method, content=b"x"), forwarded(ok())])


@pytest.mark.parametrize("status", [400, 404, 409, 500, 503])
@pytest.mark.parametrize("method", UNSAFE)
def test_section_4_4_an_error_invalidates_nothing(play: Play, method: str, status: int) -> None:
    """What failed changed nothing."""
    play("shared", [forwarded(FRESH), forwarded(says(status), method=method, content=b"x"), hit(source=1)])


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH"])
def test_section_4_4_a_safe_request_invalidates_nothing(play: Play, method: str) -> None:
    """Methods that are registered as safe change nothing."""
    play("shared", [forwarded(FRESH), forwarded(ok(), method=method), hit(source=1)])


@pytest.mark.parametrize("name", ["Location", "Content-Location"])
@pytest.mark.parametrize("form", ["{origin}{path}/other", "{path}/other", "other"])
@pytest.mark.parametrize("api", BOTH)
def test_section_4_4_what_the_answer_names_is_invalidated_too(play: Play, api: str, form: str, name: str) -> None:
    """Location and Content-Location of the same origin, whether absolute or relative."""
    play(
        api,
        [
            forwarded(FRESH, path="/other"),
            forwarded(says(201, f"{name}: {form}"), method="POST", path="/here", content=b"x"),
            forwarded(ok(), path="/other"),
        ],
    )


@pytest.mark.parametrize("name", ["Location", "Content-Location"])
@pytest.mark.parametrize("place", ["http://elsewhere.example{path}/other", "http://127.0.0.1:1{path}/other"])
def test_section_4_4_another_origin_is_none_of_its_business(play: Play, place: str, name: str) -> None:
    """No origin can have the answers of another one dropped."""
    play(
        "shared",
        [
            forwarded(FRESH, path="/other"),
            forwarded(says(201, f"{name}: {place}"), method="POST", path="/here", content=b"x"),
            hit(path="/other", source=1),
        ],
    )


def test_section_4_4_other_targets_stay(play: Play) -> None:
    """Only the target itself is invalidated, by path and query."""
    play(
        "shared",
        [
            forwarded(FRESH, path="/a"),
            forwarded(FRESH, path="/a?b=1"),
            forwarded(ok(), method="POST", path="/a", content=b"x"),
            hit(path="/a?b=1", source=2),
            forwarded(ok(), path="/a"),
        ],
    )


def test_section_4_4_every_variant_is_invalidated(play: Play) -> None:
    """What was stored for other requests to the target is not used again either."""
    variant = ok("Cache-Control: max-age=60", "Vary: Foo")
    play(
        "shared",
        [
            forwarded(variant, "Foo: 1"),
            forwarded(variant, "Foo: 2"),
            forwarded(ok(), "Foo: 1", method="PUT", content=b"x"),
            forwarded(ok(), "Foo: 1"),
            forwarded(ok(), "Foo: 2"),
        ],
    )


def test_section_4_4_a_change_by_one_caller_invalidates_what_that_caller_sees(play: Play) -> None:
    """In partitions, the caller's own next read is not an old one."""
    play(
        "credential",
        [
            forwarded(FRESH, "Authorization: Bearer one"),
            forwarded(ok(), "Authorization: Bearer one", method="POST", content=b"x"),
            forwarded(ok(), "Authorization: Bearer one"),
        ],
    )
