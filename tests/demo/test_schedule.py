"""proxy/demo/schedule.py: the same seed tells the same story, and the shares are as announced."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.demo.schedule import Fate, Kind, Phase, Schedule

durations = st.floats(min_value=5, max_value=3600)


@given(duration=durations)
def test_phases_follow_each_other_without_a_gap_and_fill_the_duration(duration: float) -> None:
    """Every moment belongs to exactly one phase, in the order of the plot."""
    spans = Schedule(1, duration).spans
    assert [span.phase.value for span in spans] == ["healthy", "flaky", "healthy", "outage", "recovered"]
    assert spans[0].start == 0
    assert all(before.end == after.start for before, after in pairwise(spans))
    assert spans[-1].end == pytest.approx(duration)


@pytest.mark.parametrize(("duration", "outage"), [(45, 20), (90, 20), (9, 4)])
def test_outage_lasts_20_seconds_and_less_in_a_shorter_story(duration: float, outage: float) -> None:
    """A longer story has no longer outage."""
    assert Schedule(1, duration).span(Phase.OUTAGE).length == pytest.approx(outage)


@given(duration=durations, share=st.floats(min_value=0, max_value=1, exclude_max=True))
def test_phase_at_finds_the_span_that_holds_the_moment(duration: float, share: float) -> None:
    """phase_at and spans agree."""
    schedule = Schedule(1, duration)
    for span in schedule.spans:
        moment = span.start + share * span.length
        if moment < span.end:
            assert schedule.phase_at(moment) is span.phase


def test_the_vendor_stays_recovered_after_the_end() -> None:
    """Late requests are answered."""
    assert Schedule(1, 45).phase_at(99) is Phase.RECOVERED


def test_agents_make_ten_calls_a_second_and_more_in_a_short_story() -> None:
    """A short story still has something to count."""
    assert Schedule(1, 45).calls == 450
    assert Schedule(1, 45).reads == 225
    assert Schedule(1, 45).every == pytest.approx(0.1)
    assert Schedule(1, 6).calls == 150


def test_patience_is_the_usual_client_timeout_and_shrinks_with_the_story() -> None:
    """A six-second story does not end with ten seconds of waiting."""
    assert Schedule(1, 45).patience == 10
    assert Schedule(1, 100).patience == 10
    assert Schedule(1, 9).patience == pytest.approx(2)


def test_started_counts_the_calls_that_are_due() -> None:
    """The first call starts at once, and none after the last."""
    schedule = Schedule(1, 45)
    assert [schedule.started(moment) for moment in (-1, 0, 0.15, 1000)] == [0, 1, 2, 450]


@given(seed=st.integers(), call=st.integers(0, 1000), visit=st.integers(0, 10), moment=st.floats(0, 60))
def test_the_same_seed_gives_the_same_fate(seed: int, call: int, visit: int, moment: float) -> None:
    """Two vendors of one seed treat a call alike."""
    assert Schedule(seed).fate(call, visit, moment) == Schedule(seed).fate(call, visit, moment)


def test_a_retry_draws_again() -> None:
    """The second coming of a call is not doomed by the first."""
    schedule = Schedule(1)
    moment = schedule.span(Phase.FLAKY).start
    failed = [call for call in range(1000) if schedule.fate(call, 0, moment).kind is not Kind.ANSWER]
    again = sum(schedule.fate(call, 1, moment).kind is Kind.ANSWER for call in failed)
    assert again > 0.7 * len(failed)


def test_a_flaky_vendor_errs_12_percent_and_hangs_5_percent() -> None:
    """The shares are those that the screen announces."""
    fates = [fate_in(Phase.FLAKY, call) for call in range(5000)]
    kinds = Counter(fate.kind for fate in fates)
    late = sum(fate.kind is Kind.ANSWER and fate.delay > 0.4 for fate in fates)
    assert kinds[Kind.ERROR] / 5000 == pytest.approx(0.12, abs=0.02)
    assert kinds[Kind.HANG] / 5000 == pytest.approx(0.05, abs=0.01)
    assert late / 5000 == pytest.approx(0.04, abs=0.01)


@pytest.mark.parametrize("phase", [Phase.HEALTHY, Phase.RECOVERED])
def test_a_healthy_vendor_answers_every_call_soon(phase: Phase) -> None:
    """Outside trouble there is no noise that could be taken for it."""
    for call in range(500):
        fate = fate_in(phase, call)
        assert fate.kind is Kind.ANSWER
        assert 0.02 <= fate.delay < 0.06


def test_nothing_is_answered_well_in_the_outage() -> None:
    """Half of the requests are refused, half hang."""
    kinds = Counter(fate_in(Phase.OUTAGE, call).kind for call in range(2000))
    assert kinds[Kind.ANSWER] == 0
    assert kinds[Kind.HANG] / 2000 == pytest.approx(0.5, abs=0.05)


def fate_in(phase: Phase, call: int) -> Fate:
    schedule = Schedule(3)
    return schedule.fate(call, 0, schedule.span(phase).start)
