"""RFC 9111, section 5.2.2: directives of answers."""

from __future__ import annotations

from typing import Final

import pytest

from tests.conformance.conftest import BOTH
from tests.conformance.origin import ok, says, unmodified
from tests.conformance.steps import Play, Steps, aged, cases, forwarded, hit, validated

TAG: Final = 'ETag: "a"'

ALIKE: Final[dict[str, Steps]] = {
    # 5.2.2.1
    "max-age": [forwarded(ok("Cache-Control: max-age=60")), hit()],
    # 5.2.2.2
    "must-revalidate while fresh": [forwarded(ok("Cache-Control: max-age=60, must-revalidate")), hit()],
    "must-revalidate once stale": [
        forwarded(ok("Cache-Control: max-age=60, must-revalidate", "Age: 100", TAG)),
        validated(unmodified(TAG)),
    ],
    # 5.2.2.3
    "must-understand with a status that is understood": [
        forwarded(ok("Cache-Control: max-age=60, must-understand")),
        hit(),
    ],
    # 5.2.2.4
    "no-cache": [forwarded(ok("Cache-Control: max-age=60, no-cache", TAG)), validated(unmodified(TAG))],
    "no-cache in other letters": [forwarded(ok("Cache-Control: max-age=60, No-CaChE", TAG)), validated(unmodified())],
    "no-cache without a validator": [forwarded(ok("Cache-Control: max-age=60, no-cache")), forwarded(ok())],
    # 5.2.2.5
    "no-store": [forwarded(ok("Cache-Control: max-age=60, no-store", TAG)), forwarded(ok(), unsent=("If-None-Match",))],
    # 5.2.2.6
    "no-transform": [
        forwarded(ok("Cache-Control: max-age=60, no-transform")),
        hit(shows=("Cache-Control: max-age=60, no-transform",)),
    ],
    # 5.2.2.9
    "public": [forwarded(ok("Cache-Control: max-age=60, public")), hit()],
    # RFC 8246
    "immutable": [forwarded(ok("Cache-Control: max-age=60, immutable")), hit()],
    # 5.2.3
    "an unknown one with a value in quotes": [forwarded(ok('Cache-Control: foo="a, b", max-age=60')), hit()],
    "spaces around them": [forwarded(ok("Cache-Control:   max-age=60  ,   foo ")), hit()],
    "a tab around them": [forwarded(ok("Cache-Control: foo,\tmax-age=60")), hit()],
}

DIFFERENT: Final[dict[str, tuple[Steps, Steps]]] = {
    "private": (
        [forwarded(ok("Cache-Control: max-age=60, private")), forwarded(ok())],
        [forwarded(ok("Cache-Control: max-age=60, private")), hit()],
    ),
    "private in other letters": (
        [forwarded(ok("Cache-Control: max-age=60, PrIvAtE")), forwarded(ok())],
        [forwarded(ok("Cache-Control: max-age=60, PrIvAtE")), hit()],
    ),
    "private with s-maxage": (
        [forwarded(ok("Cache-Control: s-maxage=60, private")), forwarded(ok())],
        [forwarded(ok("Cache-Control: s-maxage=60, private, max-age=0")), forwarded(ok())],
    ),
    "private for a field": (
        [forwarded(ok('Cache-Control: max-age=60, private="A"', "A: 1")), hit(hides=("A",))],
        [forwarded(ok('Cache-Control: max-age=60, private="A"', "A: 1")), hit(shows=("A: 1",))],
    ),
    "s-maxage": (
        [forwarded(ok("Cache-Control: s-maxage=60, max-age=0")), hit()],
        [forwarded(ok("Cache-Control: s-maxage=60, max-age=0")), forwarded(ok())],
    ),
    "s-maxage of nought": (
        [forwarded(ok("Cache-Control: s-maxage=0, max-age=60", TAG)), validated(unmodified(TAG))],
        [forwarded(ok("Cache-Control: s-maxage=0, max-age=60", TAG)), hit()],
    ),
    "s-maxage alone": (
        [forwarded(ok("Cache-Control: s-maxage=60")), hit()],
        [forwarded(ok("Cache-Control: s-maxage=60")), forwarded(ok())],
    ),
    "proxy-revalidate once stale": (
        [
            forwarded(ok("Cache-Control: max-age=60, proxy-revalidate", "Age: 100")),
            forwarded(ok(), "Cache-Control: max-stale"),
        ],
        [
            forwarded(ok("Cache-Control: max-age=60, proxy-revalidate", "Age: 100")),
            aged("Cache-Control: max-stale"),
        ],
    ),
}


@pytest.mark.parametrize("api", BOTH)
@cases(ALIKE)
def test_section_5_2_2_response_directives(play: Play, api: str, steps: Steps) -> None:
    """Directives that mean the same to every cache."""
    play(api, steps)


@pytest.mark.parametrize("steps", [*DIFFERENT.values()], ids=[name.replace(" ", "-") for name in DIFFERENT])
def test_section_5_2_2_directives_for_shared_caches(play: Play, steps: tuple[Steps, Steps]) -> None:
    """Directives that mean one thing to a shared cache, and another or nothing to a private one."""
    for api, own in zip(BOTH, steps, strict=True):
        play(api, own)


@pytest.mark.parametrize("status", [299, 499])
def test_section_5_2_2_3_must_understand_overrides_no_store_only_with_understanding(play: Play, status: int) -> None:
    """A cache that knows the status ignores no-store; one that does not stores nothing."""
    both = "Cache-Control: max-age=60, no-store, must-understand"
    play("shared", [forwarded(ok(both)), hit()])
    play("shared", [forwarded(says(status, both)), forwarded(ok())])


def test_section_5_2_2_4_no_cache_for_a_field_lets_the_rest_be_used(play: Play) -> None:
    """Qualified, it speaks of the fields that it names."""
    answer = ok('Cache-Control: max-age=60, no-cache="Set-Cookie"', "Set-Cookie: a=b", "Foo: 1")
    play("shared", [forwarded(answer, shows=("Set-Cookie: a=b",)), hit(hides=("Set-Cookie",), shows=("Foo: 1",))])


def test_section_5_2_2_the_operator_outranks_the_vendor_in_mode_ttl(play: Play) -> None:
    """``mode: ttl`` is for vendors that say nothing, or what is wrong."""
    for line in ("no-store", "no-cache", "private", "max-age=0", "max-age=0, must-revalidate", "s-maxage=0"):
        play("ttl", [forwarded(ok(f"Cache-Control: {line}", "Expires: 0")), hit()])
    play("ttl", [forwarded(ok()), hit()])
    play("ttl", [forwarded(ok("Cache-Control: max-age=600", "Date: {-100}")), hit(age=100)])
