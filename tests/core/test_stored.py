"""What a cache holds."""

from __future__ import annotations

import tracemalloc

import pytest

from proxy.core.cache import Use, decide, stale_forbidden, stale_permitted
from proxy.core.stored import MAX_SETS, MAX_VARIANTS, Stored, Variants, weight
from proxy.model import Headers
from tests.core.answers import NOTHING, PRIVATE, WALL, fields

HEAD = 'Cache-Control: max-age=60\nDate: Sun, 06 Nov 1994 08:49:37 GMT\nContent-Type: application/json\nETag: "%d"'


def bare(text: str = HEAD) -> Stored:
    """As a store gives it back: without the facts that depend on settings."""
    return Stored(
        status=200,
        reason=b"OK",
        headers=fields(text),
        body=b"hello",
        requested_at=WALL,
        received_at=WALL,
        api="weather",
    )


def test_without_its_facts_an_answer_is_not_used() -> None:
    """A fact that is forgotten must not make a stale answer look fresh."""
    stored = bare()
    assert stored.settings is None
    assert stored.no_cache
    assert stale_forbidden(stored, NOTHING)


def test_the_facts_are_found_when_they_are_asked_for() -> None:
    """A reload or another pod has other settings; the answer is judged by those in force."""
    assert decide(bare(), NOTHING, PRIVATE, WALL + 1.0) is Use.FRESH
    assert stale_permitted(bare(), NOTHING, PRIVATE, WALL + 61.0)


def test_an_answer_shows_what_it_is() -> None:
    """For logs and failing tests."""
    stored = bare()
    decide(stored, NOTHING, PRIVATE, WALL)
    assert repr(stored) == f"<Stored weather/ GET b'/' 200 5 bytes, fresh until {WALL + 60.0:.3f}>"


def test_variants_are_bounded() -> None:
    """Callers choose the values of their fields, so the record of variants forgets: the oldest first."""
    sets = tuple((b"a%d" % number,) for number in range(9))
    keys = tuple(f"k{number}" for number in range(99))
    variants = Variants("n", sets, keys)
    assert variants.sets == sets[:MAX_SETS]
    assert variants.keys == keys[:MAX_VARIANTS]
    assert repr(Variants("n", ((b"a",),), ("k",))) == "<Variants n 1 by ((b'a',),)>"


def test_variants_are_equal_if_all_of_them_is() -> None:
    """For the tests of the stores."""
    assert Variants("n") == Variants("n")
    assert Variants("n") != Variants("m")
    assert Variants("n") != "n"


@pytest.mark.parametrize("body", [100, 5000])
def test_the_size_is_what_memory_it_costs(body: int) -> None:
    """limits.memory.cache is a promise about the process, so the estimate must come close, from above."""
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    kept = [
        Stored(
            status=200,
            reason=b"OK",
            headers=Headers(fields(HEAD % number).fields),
            body=bytes(body + number % 2),
            requested_at=WALL + number,
            received_at=WALL + number,
            api="weather",
        )
        for number in range(500)
    ]
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    real, told = (after - before) / 500, sum(stored.size for stored in kept) / 500
    assert real <= told <= real + 1500.0


def test_the_weight_of_fields() -> None:
    """Each costs its bytes and what Python keeps around them."""
    assert weight(Headers()) == 0
    assert weight(Headers.of((b"A", b"bc"))) == weight(Headers.of((b"A", b"b"))) + 1
