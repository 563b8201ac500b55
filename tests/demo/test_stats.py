"""proxy/demo/stats.py: log lines become figures."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.demo.schedule import Phase, Schedule
from proxy.demo.stats import Call, Read, Record, figures, parse, percentile, read_figures, strip

SCHEDULE = Schedule(1, 45)
DOWN = SCHEDULE.span(Phase.OUTAGE).start
BACK = SCHEDULE.span(Phase.OUTAGE).end


def call(at: float, wait: float = 0.05, status: int = 200, **more: object) -> Call:
    return Call(number=int(at * 10), at=at, wait=wait, status=status, **more)  # type: ignore[arg-type]


def line(**more: object) -> str:
    return json.dumps({"call": 3, "at": 0.3, "wait": 0.05, "status": 200, "error": "", **more})


def a_call(line: str) -> Call:
    found = parse(line)
    assert isinstance(found, Call)
    return found


def test_a_log_line_becomes_a_call() -> None:
    """The fields that matter survive."""
    assert parse(line()) == Call(number=3, at=0.3, wait=0.05, status=200)


def test_a_problem_in_the_body_is_kept() -> None:
    """The reason and the advice of RFC 9457 answers are for the verdict."""
    problem = {"reason": "circuit_open", "advice": "wait"}
    assert a_call(line(status=503, body=json.dumps(problem))).problem == problem


MARKS = {"cache-status": "cdn; hit, backstay; fwd=stale; ttl=-4; detail=circuit_open", "Backstay-Outcome": "stale"}


def read_line(headers: dict[str, str], body: str = '{"as_of": 2.5}', status: int = 200) -> str:
    return json.dumps(
        {"read": 3, "at": 7.5, "wait": 0.5, "status": status, "error": "", "body": body, "headers": headers}
    )


def a_read(line: str) -> Read:
    found = parse(line)
    assert isinstance(found, Read)
    return found


def test_a_log_line_of_a_read_becomes_a_read() -> None:
    """What the fields say of its age is kept, whatever the case of their names."""
    found = a_read(read_line({"AGE": "5", **MARKS}))
    assert found == Read(3, 7.5, 0.5, 200, "stale", MARKS["cache-status"], age=5.0, as_of=2.5)
    assert (found.ok, found.stale, found.passed_off) == (True, True, False)


@pytest.mark.parametrize("missing", ["cache-status", "Backstay-Outcome"])
def test_a_mark_is_in_both_fields(missing: str) -> None:
    """An old answer with half a mark is passed off as fresh, as one without any is."""
    found = a_read(read_line({name: value for name, value in MARKS.items() if name != missing}))
    assert (found.stale, found.passed_off) == (False, True)


def test_an_error_is_no_old_answer() -> None:
    """Whatever it is marked with."""
    found = a_read(read_line(MARKS, body="", status=503))
    assert (found.ok, found.stale, found.passed_off) == (False, False, False)


@pytest.mark.parametrize(("as_of", "passed_off"), [(7.9, False), (6.1, False), (5.9, True)])
def test_an_answer_that_is_not_marked_may_be_as_old_as_the_vendor_allows(as_of: float, passed_off: bool) -> None:
    """It was had at second 8; dates of HTTP are off by a second."""
    assert a_read(read_line({}, body=json.dumps({"as_of": as_of}))).passed_off is passed_off


def test_figures_of_some_reads() -> None:
    """Each read is one of four things; the oldest is the one whose Age says so."""
    old = [a_read(read_line({"Age": age, **MARKS})) for age in ("5", "9")]
    fresh, failed = Read(0, 1.0, 0.1, 200, as_of=1.0), Read(0, 2.0, 10.0, 0)
    found = read_figures([*old, fresh, failed, a_read(read_line({}))])
    assert (found.reads, found.fresh, found.stale, found.passed_off, found.failed) == (5, 1, 2, 1, 1)
    assert (found.oldest, found.worst) == (9.0, 10.0)
    assert found.as_json()["stale"] == 2
    assert read_figures([]).as_json()["oldest"] is None


def test_record_keeps_reads_apart_from_calls() -> None:
    """They have figures of their own, by phase as well."""
    record = Record(SCHEDULE)
    record.add(read_line(MARKS))
    record.add(line())
    assert (len(record.calls), record.read_figures().stale) == (1, 1)
    assert (record.read_figures(Phase.FLAKY).reads, record.read_figures(Phase.OUTAGE).reads) == (1, 0)


def test_fresh_again_is_the_first_fresh_read_after_the_outage() -> None:
    """Old ones and errors do not count, and none is not zero."""
    old = Read(1, BACK + 0.1, 0.1, 200, "stale", MARKS["cache-status"])
    record = Record(SCHEDULE, reads=[Read(0, 20.0, 0.1, 200, as_of=20.0), old, Read(2, BACK + 0.2, 0.1, 503)])
    assert record.fresh_again() is None
    record.reads.append(Read(3, BACK + 1.0, 0.5, 200, as_of=BACK + 1.4))
    assert record.fresh_again() == pytest.approx(1.5)


@pytest.mark.parametrize("body", ["", "<html>", "[1]", '{"error": "vendor"}'])
def test_any_other_body_is_no_problem(body: str) -> None:
    """The vendor's own errors are not taken for Backstay's."""
    assert a_call(line(status=503, body=body)).problem is None


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
