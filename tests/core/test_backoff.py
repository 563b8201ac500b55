"""Full jitter."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.backoff import full_jitter


def test_the_ceiling_doubles_up_to_its_own() -> None:
    """50 ms, 100 ms, 200 ms, and never above 2 s."""
    assert [full_jitter(0.05, 2.0, retry, 0.5) for retry in (1, 2, 3, 10)] == [0.025, 0.05, 0.1, 1.0]


@given(
    base=st.floats(0.0, 10.0),
    ceiling=st.floats(0.0, 60.0),
    retry=st.integers(1, 10**9),
    chance=st.floats(0.0, 1.0, exclude_max=True),
)
def test_a_wait_is_between_nothing_and_the_ceiling(base: float, ceiling: float, retry: int, chance: float) -> None:
    """Whatever the number of the retry, nothing overflows."""
    assert 0.0 <= full_jitter(base, ceiling, retry, chance) <= ceiling
