"""RFC 9111, section 3.5: answers to requests that carry credentials."""

from __future__ import annotations

from typing import Final

import pytest

from tests.conformance.origin import ok, unmodified
from tests.conformance.steps import Play, Steps, cases, forwarded, hit, validated

ONE: Final = "Authorization: Bearer one"
TWO: Final = "Authorization: Bearer two"

SHARED: Final[dict[str, Steps]] = {
    "max-age alone is not enough": [
        forwarded(ok("Cache-Control: max-age=60"), ONE),
        forwarded(ok("Cache-Control: max-age=60"), ONE),
        forwarded(ok()),
    ],
    "Expires alone is not enough": [forwarded(ok("Expires: {+60}"), ONE), forwarded(ok(), ONE)],
    "a heuristic is not enough": [forwarded(ok("Last-Modified: {-100000}"), ONE), forwarded(ok(), ONE)],
    "public allows it": [forwarded(ok("Cache-Control: public, max-age=60"), ONE), hit(ONE), hit(TWO), hit()],
    "must-revalidate allows it": [
        forwarded(ok("Cache-Control: max-age=60, must-revalidate"), ONE),
        hit(ONE),
        hit(TWO),
        hit(),
    ],
    "s-maxage allows it": [forwarded(ok("Cache-Control: s-maxage=60"), ONE), hit(ONE), hit(TWO), hit()],
    "s-maxage=0 allows it to be validated": [
        forwarded(ok("Cache-Control: s-maxage=0", 'ETag: "a"'), ONE),
        validated(unmodified('ETag: "a"'), TWO),
    ],
    "an answer to a request without credentials serves those with them": [
        forwarded(ok("Cache-Control: max-age=60")),
        hit(ONE),
    ],
}

CREDENTIALS: Final = (
    ("Authorization: Bearer one", "Authorization: Bearer two"),
    ("Authorization: Basic YQ==", "Authorization: Basic Yg=="),
    ("Cookie: session=1", "Cookie: session=2"),
    ("X-Api-Key: 1", "X-Api-Key: 2"),
    ("Api-Key: 1", "Api-Key: 2"),
    ("Proxy-Authorization: Basic YQ==", "Proxy-Authorization: Basic Yg=="),
)


@cases(SHARED)
def test_section_3_5_a_shared_cache_needs_the_origins_word(play: Play, steps: Steps) -> None:
    """A shared cache stores the answer to a request with Authorization only where the answer says that it may."""
    play("shared", steps)


def test_section_3_5_the_operators_ttl_is_not_the_origins_word(play: Play) -> None:
    """In mode ttl too, a shared cache does not give one caller's answer to all."""
    play("ttl-shared", [forwarded(ok(), ONE), forwarded(ok(), ONE), forwarded(ok())])


@pytest.mark.parametrize(("one", "two"), CREDENTIALS[:5], ids=lambda line: line.partition(":")[0])
@pytest.mark.parametrize("api", ["credential", "ttl"])
def test_section_3_5_a_partition_for_each_caller(play: Play, api: str, one: str, two: str) -> None:
    """By default each caller has a private cache of its own: what one may see is never given to another."""
    answer = ok("Cache-Control: max-age=60")
    play(
        api,
        [
            forwarded(answer, one),
            hit(one),
            forwarded(answer, two),
            hit(two, source=3),
            forwarded(answer),
            hit(source=5),
            hit(one, source=1),
        ],
    )


def test_section_3_5_public_does_not_join_partitions(play: Play) -> None:
    """``public`` is for shared caches; the operator has not asked for one."""
    answer = ok("Cache-Control: public, max-age=60")
    play("credential", [forwarded(answer, ONE), forwarded(answer, TWO), hit(ONE, source=1), hit(TWO, source=2)])
