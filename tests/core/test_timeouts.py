"""The total is the ceiling of every other limit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.timeouts import Cap, Timeouts, cap, due


@pytest.mark.parametrize(
    ("limit", "remaining", "expected"),
    [
        (2.0, 300.0, Cap(2.0, by_total=False)),
        (60.0, 5.0, Cap(5.0, by_total=True)),
        (None, 5.0, Cap(5.0, by_total=True)),
        (2.0, 2.0, Cap(2.0, by_total=False)),
        (2.0, -1.0, Cap(0.0, by_total=True)),
    ],
)
def test_a_wait_is_cut_by_its_own_limit_or_by_what_is_left(
    limit: float | None, remaining: float, expected: Cap
) -> None:
    """Whose limit it was decides whether the upstream is to blame."""
    assert cap(limit, remaining) == expected


@given(limit=st.none() | st.floats(0.0, 1e6), remaining=st.floats(-1e6, 1e6))
def test_no_wait_is_longer_than_what_is_left(limit: float | None, remaining: float) -> None:
    """Nor ever negative."""
    seconds, by_total = cap(limit, remaining)
    assert 0.0 <= seconds <= max(remaining, 0.0)
    assert by_total or seconds == limit


def test_an_attempt_is_due_at_its_limit_or_at_the_deadline() -> None:
    """Whichever is first; without a limit of its own, at the deadline."""
    assert due(Timeouts(first_byte=60.0), 10.0, 300.0) == 70.0
    assert due(Timeouts(first_byte=60.0), 10.0, 30.0) == 30.0
    assert due(Timeouts(first_byte=None), 10.0, 300.0) == 300.0
