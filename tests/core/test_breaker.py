"""What opens a circuit, what does not, and what can be done to it and seen of it from outside.

Its way back is in test_breaker_recovery.py; test_breaker_machine.py searches for what no rule foresaw.
"""

from __future__ import annotations

import json

import pytest

from proxy.core.breaker import Breaker, BreakerSettings, Refused, State, Ticket
from proxy.model import Verdict
from tests.core.circuit import (
    FAILURE,
    IGNORED,
    ONE_ROW,
    SUCCESS,
    THROTTLED,
    Log,
    admitted,
    call,
    is_open,
    opened,
    refused,
)

# --- CLOSED


def test_opens_at_consecutive_failures_whatever_min_calls_says() -> None:
    """The third failure in a row opens, and refusals carry the exact seconds left."""
    breaker = Breaker(BreakerSettings(consecutive=3, open=30.0))
    for second in range(3):
        call(breaker, second, FAILURE)
    assert breaker.admit(12.0, 0.0) == Refused(retry_after=2.0 + 0.8 * 30.0 - 12.0)


def test_a_success_ends_the_row() -> None:
    """Two failures, a success, two failures: three in a row never came."""
    breaker = Breaker(BreakerSettings(consecutive=3))
    for second, verdict in enumerate([FAILURE, FAILURE, SUCCESS, FAILURE, FAILURE]):
        call(breaker, second, verdict)
    assert breaker.state is State.CLOSED


def test_a_row_within_a_second_of_a_success_is_mere_chance() -> None:
    """Under load five failures come in a row by chance; without a success for a second they are an outage."""
    breaker = Breaker(BreakerSettings(consecutive=5, error_ratio=None))
    call(breaker, 0.0, SUCCESS)
    for step in range(1, 10):
        call(breaker, step / 10, FAILURE)
    assert breaker.state is State.CLOSED
    call(breaker, 1.0, FAILURE)
    assert is_open(breaker)


def test_opens_at_the_error_ratio_once_there_are_enough_calls() -> None:
    """Five of ten is half, four of nine means nothing yet; only bad news opens."""
    breaker = Breaker(BreakerSettings(consecutive=None, error_ratio=0.5, min_calls=10))
    for step in range(9):
        call(breaker, step / 100, FAILURE if step % 2 else SUCCESS)
    assert breaker.state is State.CLOSED
    call(breaker, 0.1, FAILURE)
    assert is_open(breaker)


def test_stays_closed_below_the_error_ratio() -> None:
    """Four failures of ten are not half."""
    breaker = Breaker(BreakerSettings(consecutive=None, error_ratio=0.5, min_calls=10))
    for step in range(10):
        call(breaker, step / 100, FAILURE if step >= 6 else SUCCESS)
    assert breaker.state is State.CLOSED


def test_a_success_never_opens() -> None:
    """The call that completes ``min_calls`` is good news, although the ratio is met."""
    breaker = Breaker(BreakerSettings(consecutive=None, error_ratio=0.5, min_calls=10))
    for step, verdict in enumerate([FAILURE] * 9 + [SUCCESS]):
        call(breaker, step / 100, verdict)
    assert breaker.state is State.CLOSED


def test_failures_that_have_left_the_window_count_no_more() -> None:
    """Nine failures half a minute ago and one now are one failure."""
    breaker = Breaker(BreakerSettings(consecutive=None, window=30.0, min_calls=10))
    for _ in range(9):
        call(breaker, 0.0, FAILURE)
    call(breaker, 30.0, FAILURE)
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize("verdict", [THROTTLED, IGNORED])
def test_throttled_and_ignored_leave_the_breaker_alone(verdict: Verdict) -> None:
    """They are no calls of the window, and neither end nor lengthen a row."""
    breaker = Breaker(BreakerSettings(consecutive=3))
    for second, each in enumerate([FAILURE, verdict, FAILURE, verdict]):
        call(breaker, second, each)
    snapshot = breaker.snapshot(4.0)
    assert (snapshot["calls"], snapshot["failures_in_a_row"]) == (2, 2)
    call(breaker, 4.0, FAILURE)
    assert is_open(breaker)


def test_every_rule_can_be_off() -> None:
    """With no rule the circuit never opens."""
    breaker = Breaker(BreakerSettings(consecutive=None, error_ratio=None))
    for second in range(100):
        call(breaker, second / 10, FAILURE)
    assert breaker.state is State.CLOSED


def test_one_ticket_serves_all_calls_unless_slow_calls_are_watched() -> None:
    """On the hot path admission allocates nothing."""
    plain, watching = Breaker(BreakerSettings()), Breaker(BreakerSettings(slow_call=2.0))
    assert plain.admit(1.0, 0.1) is plain.admit(2.0, 0.2)
    assert watching.admit(1.0, 0.1) is not watching.admit(1.0, 0.1)


def test_giving_back_a_call_counts_nothing() -> None:
    """A call that was refused further in has told nothing of the upstream, in either kind of breaker."""
    for breaker in (Breaker(BreakerSettings()), Breaker(BreakerSettings(slow_call=1.0))):
        ticket = admitted(breaker, 0.0)
        breaker.start(ticket, 0.0)
        breaker.give_back(ticket, 0.5)
        breaker.tick(5.0)
        assert breaker.snapshot(5.0)["calls"] == 0


# --- slow calls


def test_slow_answers_open_at_their_ratio() -> None:
    """Eight of ten answers above ``slow_call`` open, even if each is good."""
    breaker = Breaker(BreakerSettings(slow_call=1.0, slow_ratio=0.8, min_calls=10))
    for step, took in enumerate([2.0, 2.0, 0.5, 2.0, 2.0, 0.5, 2.0, 2.0, 2.0]):
        call(breaker, step, SUCCESS, took=took)
    assert breaker.state is State.CLOSED
    call(breaker, 9.0, SUCCESS, took=2.0)
    assert is_open(breaker)


def test_a_slow_call_is_one_call_of_the_window() -> None:
    """It is counted when it becomes slow, and not again when it ends; its failure is."""
    breaker = Breaker(BreakerSettings(slow_call=1.0))
    call(breaker, 0.0, FAILURE, took=2.0)
    snapshot = breaker.snapshot(2.0)
    assert (snapshot["calls"], snapshot["failures"], snapshot["slow"]) == (1, 1, 1)


def test_a_call_in_flight_is_slow_once() -> None:
    """A tick counts it when its time is up; later ticks and its late answer do not."""
    breaker = Breaker(BreakerSettings(slow_call=1.0))
    ticket = admitted(breaker, 0.0)
    breaker.start(ticket, 0.5)
    for now, slow in [(1.5, 0), (1.51, 1), (4.0, 1)]:
        breaker.tick(now)
        assert breaker.snapshot(now)["slow"] == slow
    breaker.answered(ticket, SUCCESS, 5.0)
    breaker.settle(ticket, SUCCESS, 6.0)
    assert (breaker.snapshot(6.0)["slow"], breaker.snapshot(6.0)["calls"]) == (1, 1)


def test_waiting_before_the_start_is_not_slowness() -> None:
    """A ticket's clock runs from the first byte of its request, not from its admission."""
    breaker = Breaker(BreakerSettings(slow_call=1.0))
    ticket = admitted(breaker, 0.0)
    breaker.start(ticket, 30.0)
    breaker.answered(ticket, SUCCESS, 30.9)
    breaker.settle(ticket, SUCCESS, 60.0)
    assert breaker.snapshot(60.0)["slow"] == 0


def test_a_call_that_its_agent_left_after_slow_call_was_slow() -> None:
    """An agent that gave up waiting says as much as an answer that came late; a throttled answer does not."""
    breaker = Breaker(BreakerSettings(slow_call=1.0))
    for verdict in (IGNORED, THROTTLED):
        ticket = admitted(breaker, 0.0)
        breaker.start(ticket, 0.0)
        breaker.settle(ticket, verdict, 3.0)
    assert breaker.snapshot(3.0)["slow"] == 1


def test_a_hang_after_a_healthy_minute_opens_within_slow_call_and_a_second() -> None:
    """At 50 calls a second the circuit opens within 3 s of the first hang, though the window is full of good calls."""
    log = Log()
    breaker = Breaker(BreakerSettings(slow_call=2.0), log.append)
    for step in range(3000):
        call(breaker, step / 50, SUCCESS, took=0.01)
    for step in range(150):
        now = 60.0 + step / 50
        if isinstance(ticket := breaker.admit(now, 0.5), Ticket):
            breaker.start(ticket, now)
        if step % 12 == 0:
            breaker.tick(now)
    assert log.steps() == [("closed", "open", "hanging")]
    assert log[0].at < 62.5


@pytest.mark.parametrize(("last_fast_at", "state"), [(0.0, State.OPEN), (0.2, State.CLOSED)])
def test_a_hang_is_min_calls_slow_ones_and_a_second_without_a_fast_one(last_fast_at: float, state: State) -> None:
    """A short hiccup of a fast upstream is no hang, however many calls are in it."""
    breaker = Breaker(BreakerSettings(slow_call=0.5, min_calls=4))
    for _ in range(20):
        call(breaker, 0.0, SUCCESS, took=last_fast_at)
    tickets = [admitted(breaker, 0.3) for _ in range(4)]
    for ticket in tickets[:-1]:
        breaker.start(ticket, 0.3)
    breaker.tick(1.0)
    breaker.start(tickets[-1], 0.3)
    assert breaker.state is State.CLOSED
    breaker.tick(1.0)
    assert breaker.state is state


def test_an_answer_at_the_limit_is_not_slow() -> None:
    """Slow is above ``slow_call``."""
    breaker = Breaker(BreakerSettings(slow_call=1.0))
    call(breaker, 0.0, SUCCESS, took=1.0)
    assert breaker.snapshot(1.0)["slow"] == 0


def test_a_fast_answer_ends_the_row_of_slow_calls() -> None:
    """Slow calls among fast ones are judged by their ratio, not as a hang."""
    breaker = Breaker(BreakerSettings(slow_call=1.0, min_calls=3))
    for step in range(12):
        call(breaker, step * 3.0, SUCCESS, took=2.0 if step % 3 else 0.1)
    assert breaker.state is State.CLOSED


def test_streams_of_two_minutes_trip_nothing_under_the_defaults() -> None:
    """A first byte after 40 s and a stream of two minutes are how model vendors work."""
    breaker = Breaker(BreakerSettings())
    tickets = [admitted(breaker, second) for second in range(50)]
    for second, ticket in enumerate(tickets):
        breaker.start(ticket, second)
        breaker.answered(ticket, SUCCESS, second + 40.0)
        breaker.tick(second + 41.0)
    for second, ticket in enumerate(tickets):
        breaker.settle(ticket, SUCCESS, second + 160.0)
    assert breaker.state is State.CLOSED


# --- the operator


def test_forced_open_refuses_and_returns_through_half_open() -> None:
    """Nobody knows how the upstream is when the operator lets go, so it is probed."""
    breaker = Breaker(BreakerSettings())
    breaker.force(State.FORCED_OPEN, 0.0)
    assert refused(breaker, 100.0) == 60.0
    breaker.force(None, 101.0)
    assert admitted(breaker, 101.0).probe


def test_disabled_admits_everything_and_counts_nothing() -> None:
    """Not even a hundred failures, reported in any way, change it; letting go closes it afresh."""
    breaker = Breaker(BreakerSettings(slow_call=1.0))
    breaker.force(State.DISABLED, 0.0)
    for second in range(100):
        call(breaker, second, FAILURE if second % 2 else SUCCESS, took=2.0)
    assert (breaker.state, breaker.snapshot(100.0)["calls"]) == (State.DISABLED, 0)
    breaker.force(None, 100.0)
    assert breaker.state is State.CLOSED


def test_the_operator_may_close_an_open_circuit() -> None:
    """Closed by hand it starts afresh; what it is already, or does by itself, needs no transition."""
    log = Log()
    breaker = Breaker(ONE_ROW, log.append)
    call(breaker, 0.0, FAILURE)
    breaker.force(None, 0.5)
    for _ in range(2):
        breaker.force(State.CLOSED, 1.0)
    assert log.steps() == [("closed", "open", "consecutive"), ("open", "closed", "forced")]
    admitted(breaker, 1.0)


@pytest.mark.parametrize("state", [State.OPEN, State.HALF_OPEN, State.RAMP])
def test_only_the_rules_enter_the_other_states(state: State) -> None:
    """An operator has no use for them."""
    with pytest.raises(ValueError, match="cannot be forced"):
        Breaker(BreakerSettings()).force(state, 0.0)


# --- reload


def test_a_reload_closes_no_open_circuit() -> None:
    """The end of the pause stays as it is; the next one goes by the new settings."""
    breaker = opened()
    breaker.reconfigure(BreakerSettings(open=1.0, max_open=5.0, probes=1), 1.0)
    assert refused(breaker, 1.0) == 7.0
    call(breaker, 8.0, FAILURE)
    assert refused(breaker, 8.0) == pytest.approx(0.8 * 5.0)


def test_a_reload_keeps_the_counts_and_goes_by_the_new_rules() -> None:
    """Two failures under the old limit of five trip the new one of three at the next; then comes the new pause."""
    breaker = Breaker(BreakerSettings())
    call(breaker, 0.0, FAILURE)
    call(breaker, 1.0, FAILURE)
    breaker.reconfigure(BreakerSettings(consecutive=3, open=1.0, window=5.0), 2.0)
    assert breaker.snapshot(2.0)["calls"] == 2
    call(breaker, 2.0, FAILURE)
    assert refused(breaker, 2.0) == pytest.approx(0.8)


def test_fewer_probes_after_a_reload_leave_no_circuit_half_open() -> None:
    """Two of three have passed, now one would do: the next one closes it."""
    breaker = opened(BreakerSettings(consecutive=1, probes=3))
    call(breaker, 8.0, SUCCESS)
    call(breaker, 8.0, SUCCESS)
    breaker.reconfigure(BreakerSettings(probes=1, ramp=0.0), 9.0)
    call(breaker, 9.0, SUCCESS)
    assert breaker.state is State.CLOSED


def test_slow_calls_can_be_watched_and_left_alone_by_a_reload() -> None:
    """Calls in flight at the change are judged by no limit, and counted all the same."""
    breaker = Breaker(BreakerSettings(slow_call=1.0))
    watched = admitted(breaker, 0.0)
    breaker.start(watched, 0.0)
    breaker.reconfigure(BreakerSettings(), 1.0)
    shared = admitted(breaker, 1.0)
    breaker.reconfigure(BreakerSettings(slow_call=1.0), 2.0)
    breaker.tick(9.0)
    for ticket in (watched, shared):
        breaker.settle(ticket, SUCCESS, 9.0)
    assert (breaker.snapshot(9.0)["calls"], breaker.snapshot(9.0)["slow"]) == (2, 0)


# --- what can be seen


def test_every_transition_is_reported_with_its_reason() -> None:
    """A whole outage reads as a sentence."""
    log = Log()
    breaker = Breaker(ONE_ROW, log.append)
    call(breaker, 0.0, FAILURE)
    call(breaker, 8.0, FAILURE)
    call(breaker, 24.0, SUCCESS)
    breaker.tick(34.0)
    assert log.steps() == [
        ("closed", "open", "consecutive"),
        ("open", "half_open", "pause_over"),
        ("half_open", "open", "probe_failed"),
        ("open", "half_open", "pause_over"),
        ("half_open", "ramp", "probes_passed"),
        ("ramp", "closed", "ramp_over"),
    ]
    assert [step.at for step in log] == [0.0, 8.0, 8.0, 24.0, 24.0, 34.0]


def test_the_snapshot_is_json_and_says_what_matters() -> None:
    """An operator sees the seconds left while it is open, and the share during a ramp."""
    breaker = opened()
    assert (breaker.snapshot(2.0)["retry_after"], breaker.snapshot(9.0)["retry_after"]) == (6.0, 0.0)
    call(breaker, 8.0, SUCCESS)
    snapshot = breaker.snapshot(10.5)
    assert (snapshot["state"], snapshot["share"], snapshot["for"]) == ("ramp", 0.25, 2.5)
    assert json.loads(json.dumps(snapshot)) == snapshot


def test_repr_shows_the_state() -> None:
    """A log line tells the state, the row and the window."""
    breaker = Breaker(BreakerSettings())
    call(breaker, 0.0, FAILURE)
    assert repr(breaker) == "<Breaker closed epoch=0 streak=1 <Window 30s calls=1 failures=1 slow=0>>"
