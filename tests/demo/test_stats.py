"""proxy/demo/stats.py: log lines become figures."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.demo.schedule import Phase, Schedule
from proxy.demo.stats import Call, Record, figures, parse, percentile, strip

SCHEDULE = Schedule(1, 45)
DOWN = SCHEDULE.span(Phase.OUTAGE).start
BACK = SCHEDULE.span(Phase.OUTAGE).end


def call(at: float, wait: float = 0.05, status: int = 200, **more: object) -> Call:
    return Call(number=int(at * 10), at=at, wait=wait, status=status, **more)  # type: ignore[arg-type]


def line(**more: object) -> str:
    return json.dumps({"call": 3, "at": 0.3, "wait": 0.05, "status": 200, "error": "", **more})


def test_a_log_line_becomes_a_call() -> None:
    """The fields that matter survive."""
    assert parse(line()) == Call(number=3, at=0.3, wait=0.05, status=200)


def test_a_problem_in_the_body_is_kept() -> None:
    """The reason and the advice of RFC 9457 answers are for the verdict."""
    problem = {"reason": "circuit_open", "advice": "wait"}
    assert parse(line(status=503, body=json.dumps(problem))).problem == problem


@pytest.mark.parametrize("body", ["", "<html>", "[1]", '{"error": "vendor"}'])
def test_any_other_body_is_no_problem(body: str) -> None:
    """The vendor's own errors are not taken for Backstay's."""
    assert parse(line(status=503, body=body)).problem is None


@pytest.mark.parametrize(("status", "ok"), [(200, True), (204, True), (0, False), (302, False), (503, False)])
def test_a_call_is_good_if_its_status_is_2xx(status: int, ok: bool) -> None:
    """No answer counts as failed."""
    assert call(0, status=status).ok is ok


def test_figures_of_some_calls() -> None:
    """Failures, mean and percentiles include the calls that failed: the agent waited for them too."""
    found = figures([call(0, wait=0.1), call(1, wait=0.2), call(2, wait=9.9, status=0)])
    assert (found.calls, found.failed, found.p50, found.p99, found.worst) == (3, 1, 0.2, 9.9, 9.9)
    assert found.mean == pytest.approx(3.4)
    assert found.ratio == pytest.approx(2 / 3)
    assert found.as_json()["success_ratio"] == 0.6667


def test_figures_of_no_calls_are_unknown() -> None:
    """There is no percentile of nothing, and no division by it."""
    found = figures([])
    assert (found.ratio, found.p50, found.p99, found.worst, found.mean) == (None,) * 5
    assert found.as_json()["success_ratio"] is None


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(0.01, 1))
def test_percentile_is_the_smallest_value_that_covers_the_share(values: list[float], share: float) -> None:
    """Nearest rank, as its definition says."""
    ordered = sorted(values)
    found = percentile(ordered, share)
    assert found is not None
    assert sum(value <= found for value in ordered) >= math.ceil(share * len(ordered))
    assert sum(value < found for value in ordered) < math.ceil(share * len(ordered))


def test_record_sorts_calls_into_the_phases_in_which_they_started() -> None:
    """A call that began in the outage belongs to it, whenever it ended."""
    record = Record(SCHEDULE)
    record.calls = [call(1), call(20, wait=10, status=0), call(40)]
    assert record.figures(Phase.OUTAGE).failed == 1
    assert record.figures(Phase.RECOVERED).failed == 0
    assert record.figures().calls == 3


def test_record_takes_log_lines() -> None:
    """Bytes of a pipe are as good as text."""
    record = Record(Schedule(1))
    record.add(line().encode())
    assert record.calls == [Call(number=3, at=0.3, wait=0.05, status=200)]


def test_waiting_is_what_was_started_and_has_not_ended() -> None:
    """Two of the eleven calls of the first second have ended."""
    record = Record(Schedule(1, 45), [call(0), call(0.1)])
    assert record.waiting(1.0) == 9
    assert record.waiting(0.0) == 0


def test_served_again_is_the_first_good_answer_after_the_outage() -> None:
    """It is measured from the vendor's recovery to the agent's answer."""
    record = Record(SCHEDULE, [call(20), call(BACK + 0.1, status=503), call(BACK + 1, wait=0.5), call(BACK + 2)])
    assert record.served_again() == pytest.approx(1.5)
    assert record.settled() == pytest.approx(1)


def test_an_agent_that_is_not_served_again_says_so() -> None:
    """None is not zero."""
    record = Record(SCHEDULE, [call(20), call(BACK + 2, status=503)])
    assert record.served_again() is None
    assert record.settled() is None


def test_the_problem_shown_is_that_of_the_open_circuit() -> None:
    """Others are shown only if there is none; problems outside the outage never."""
    timeout, opened = {"reason": "timeout"}, {"reason": "circuit_open"}
    record = Record(SCHEDULE, [call(5, status=504, problem={"reason": "reset"})])
    assert record.problem() is None
    record.calls.append(call(DOWN + 1, status=504, problem=timeout))
    assert record.problem() == timeout
    record.calls.append(call(DOWN + 2, status=503, problem=opened))
    assert record.problem() == opened


def test_strip_gives_the_share_of_good_calls_in_each_slice() -> None:
    """Slices without a call are unknown; a call that starts late belongs to the last slice."""
    calls = [call(1), call(2, status=0), call(44), call(45.2)]
    assert strip(calls, Schedule(1, 45), 3) == [0.5, None, 1]
