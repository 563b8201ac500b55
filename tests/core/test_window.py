"""The sliding window, against a plain list of everything that was recorded."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.window import Window

Event = tuple[float, int, int, int]

events = st.lists(
    st.tuples(st.floats(0.0, 40.0), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)),
    max_size=40,
)


def totals(window: Window) -> tuple[int, int, int]:
    return window.calls, window.failures, window.slow


def expected(recorded: list[Event], now: float, seconds: int) -> tuple[int, int, int]:
    recent = [counts for at, *counts in recorded if int(at) > int(now) - seconds]
    calls, failures, slow = (sum(counts[kind] for counts in recent) for kind in range(3))
    return calls, failures, slow


@given(steps=events, seconds=st.integers(1, 12))
def test_holds_exactly_the_last_seconds(steps: list[Event], seconds: int) -> None:
    """The totals are those of the current second and the whole seconds before it, whatever the gaps."""
    window, now, recorded = Window(seconds), 0.0, list[Event]()
    for gap, calls, failures, slow in steps:
        now += gap
        window.record(now, calls, failures, slow)
        recorded.append((now, calls, failures, slow))
        assert totals(window) == expected(recorded, now, seconds)


@given(steps=events, before=st.integers(1, 12), after=st.integers(1, 12))
def test_a_resize_keeps_what_is_recent_enough(steps: list[Event], before: int, after: int) -> None:
    """A shorter window forgets its oldest seconds, a longer one starts with what the shorter one had."""
    window, now, recorded = Window(before), 0.0, list[Event]()
    for gap, calls, failures, slow in steps:
        now += gap / 8
        window.record(now, calls, failures, slow)
        recorded.append((now, calls, failures, slow))
    window.resize(after, now)
    assert totals(window) == expected(recorded, now, min(before, after))
    window.record(now + 1, 1, 1, 1)
    recorded = [event for event in recorded if int(event[0]) > int(now) - min(before, after)] + [(now + 1, 1, 1, 1)]
    assert totals(window) == expected(recorded, now + 1, after)


@given(gaps=st.lists(st.floats(0.0, 3.0), max_size=30))
def test_success_is_a_shorter_way_to_record_a_good_call(gaps: list[float]) -> None:
    """The hot path and the general one count alike."""
    short, long, now = Window(5), Window(5), 0.0
    for gap in gaps:
        now += gap
        short.success(now)
        long.record(now, 1, 0, 0)
        assert totals(short) == totals(long)


def test_part_of_a_second_is_a_whole_bucket() -> None:
    """A window of 1.5 s covers two buckets, and one of nothing at all still covers the current second."""
    window, tiny = Window(1.5), Window(0.0)
    for second in range(4):
        window.record(second, 1, 0, 0)
        tiny.record(second, 1, 0, 0)
    assert (window.calls, tiny.calls) == (math.ceil(1.5), 1)


def test_a_time_of_the_past_counts_as_the_present() -> None:
    """Events that are reported late are not lost."""
    window = Window(3)
    window.record(10.0, 1, 0, 0)
    window.record(2.0, 1, 1, 0)
    window.advance(12.9)
    assert totals(window) == (2, 1, 0)


def test_a_resize_to_the_same_length_changes_nothing() -> None:
    """A reload that does not touch the window keeps its counts."""
    window = Window(3)
    window.record(1.0, 2, 1, 1)
    window.resize(2.5, 1.0)
    assert totals(window) == (2, 1, 1)


def test_clear_forgets_everything_and_repr_shows_the_counts() -> None:
    """After clear the window is as new."""
    window = Window(3)
    window.record(1.0, 2, 1, 1)
    assert repr(window) == "<Window 3s calls=2 failures=1 slow=1>"
    window.clear()
    assert totals(window) == (0, 0, 0)
