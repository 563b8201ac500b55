"""Tests of which reads share one call upstream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.coalesce import ALONE_SECONDS, Loners, shares
from proxy.model import Verdict


@pytest.mark.parametrize(
    ("verdict", "why_not", "shared"),
    [
        (Verdict.SUCCESS, "", True),
        (Verdict.SUCCESS, "private", False),
        (Verdict.FAILURE, "status", True),
        (Verdict.THROTTLED, "status", True),
        (Verdict.IGNORED, "status", False),
        (Verdict.IGNORED, "", True),
    ],
)
def test_what_others_get(verdict: Verdict, why_not: str, *, shared: bool) -> None:
    """What may be stored is shared, and so is every failure: nobody sends it again."""
    assert shares(verdict, why_not) is shared


def test_a_key_is_left_alone_for_a_while() -> None:
    """An answer that was no use to others: the next reads go each by itself, and later together again."""
    loners = Loners()
    loners.add("a", now=100.0)
    assert loners.has("a", now=100.0)
    assert loners.has("a", now=99.9 + ALONE_SECONDS)
    assert not loners.has("b", now=100.0)
    assert not loners.has("a", now=100.0 + ALONE_SECONDS)
    assert len(loners) == 0
    assert repr(loners) == "<Loners 0>"


@given(st.lists(st.sampled_from("abcdefgh"), max_size=40))
def test_there_are_never_more_than_the_bound_and_the_last_are_kept(keys: list[str]) -> None:
    """Whatever callers ask for, the table is bounded; what was added last is in it."""
    loners = Loners(largest=3)
    for key in keys:
        loners.add(key, now=0.0)
        assert len(loners) <= 3
        assert loners.has(key, now=1.0)
    assert all(loners.has(key, now=1.0) for key in list(dict.fromkeys(reversed(keys)))[:3])
