"""The circuit breaker, rule by rule; tests/core/test_breaker_machine.py searches for what no rule foresaw."""

from __future__ import annotations

import json

import pytest

from proxy.core.breaker import Breaker, BreakerSettings, Refused, State, Ticket, Transition
from proxy.model import Verdict

SUCCESS, FAILURE, THROTTLED, IGNORED = Verdict.SUCCESS, Verdict.FAILURE, Verdict.THROTTLED, Verdict.IGNORED
ONE_ROW = BreakerSettings(consecutive=1, error_ratio=None, probes=1)


class Log(list[Transition]):
    """Collects transitions."""

    def steps(self) -> list[tuple[str, str, str]]:
        return [(step.frm.value, step.to.value, step.reason) for step in self]


def admitted(breaker: Breaker, now: float, *, chance: float = 0.0, safe: bool = True) -> Ticket:
    ticket = breaker.admit(now, chance, safe=safe)
    assert isinstance(ticket, Ticket), ticket
    return ticket


def refused(breaker: Breaker, now: float, *, chance: float = 0.0, safe: bool = True, may_probe: bool = True) -> float:
    refusal = breaker.admit(now, chance, safe=safe, may_probe=may_probe)
    assert isinstance(refusal, Refused), refusal
    return refusal.retry_after


def call(breaker: Breaker, now: float, verdict: Verdict, *, took: float = 0.0, chance: float = 0.0) -> Ticket:
    """One whole call that is admitted at ``now``."""
    ticket = admitted(breaker, now, chance=chance)
    breaker.start(ticket, now)
    breaker.answered(ticket, verdict, now + took)
    breaker.settle(ticket, verdict, now + took)
    return ticket


def is_open(breaker: Breaker) -> bool:
    return breaker.state is State.OPEN


def opened(settings: BreakerSettings = ONE_ROW, *, now: float = 0.0) -> Breaker:
    """A breaker that has just opened, for 0.8 times its nominal time."""
    breaker = Breaker(settings)
    call(breaker, now, FAILURE)
    assert is_open(breaker)
    return breaker


def in_ramp(*, ramp: float = 10.0, now: float = 0.0) -> Breaker:
    """A breaker whose ramp began at ``now + 10``."""
    breaker = opened(BreakerSettings(consecutive=1, probes=1, ramp=ramp), now=now)
    call(breaker, now + 10.0, SUCCESS)
    return breaker


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


# --- OPEN


def test_open_lasts_twice_as_long_at_each_failed_probe_and_never_past_its_limit() -> None:
    """10, 20, 40, 60, 60 seconds, of which the jitter takes 4 to 20 %."""
    for chance, share in [(0.0, 0.8), (0.5, 0.88), (0.9999, 0.96)]:
        breaker = Breaker(ONE_ROW)
        now, pauses = 0.0, []
        for _ in range(5):
            call(breaker, now, FAILURE, chance=chance)
            pauses.append(refused(breaker, now))
            now += pauses[-1]
        assert pauses == pytest.approx([share * nominal for nominal in (10, 20, 40, 60, 60)], rel=1e-4)


def test_the_wait_for_a_probe_is_taken_off_the_next_pause() -> None:
    """If the agent came 4 s after the pause, the next one is 4 s shorter; if it came late, by a half at most."""
    for late, rest in [(4.0, 16.0 - 4.0), (100.0, 8.0)]:
        breaker = opened()
        call(breaker, 8.0 + late, FAILURE)
        assert refused(breaker, 8.0 + late) == pytest.approx(rest)


@pytest.mark.parametrize(("asked", "kept"), [(120.0, 120.0), (4000.0, 300.0), (1.0, 8.0)])
def test_a_retry_after_of_the_upstream_extends_the_pause(asked: float, kept: float) -> None:
    """The upstream is believed for five minutes at most, and never shortens the pause."""
    breaker = Breaker(ONE_ROW)
    breaker.settle(admitted(breaker, 0.0), FAILURE, 0.0, retry_after=asked)
    assert refused(breaker, 0.0) == kept


def test_the_retry_after_of_a_probe_counts_at_its_headers_and_at_its_end() -> None:
    """A probe re-opens at its headers; whichever event carries the Retry-After is heard, the last word only once."""
    breaker = opened()
    probe = admitted(breaker, 8.0)
    breaker.answered(probe, FAILURE, 8.0, retry_after=50.0)
    assert refused(breaker, 8.0) == 50.0
    breaker.settle(probe, FAILURE, 10.0, retry_after=70.0)
    assert refused(breaker, 10.0) == 70.0


def test_a_late_result_moves_no_newer_state() -> None:
    """Calls that were admitted before the circuit opened change nothing, and do not close it either."""
    breaker = Breaker(BreakerSettings(consecutive=1, probes=1, slow_call=5.0))
    late = [admitted(breaker, 0.0) for _ in range(6)]
    call(breaker, 0.0, FAILURE)
    before = breaker.snapshot(1.0)
    breaker.start(late[0], 1.0)
    breaker.answered(late[1], FAILURE, 1.0, retry_after=200.0)
    breaker.settle(late[2], FAILURE, 1.0, retry_after=200.0)
    breaker.settle(late[3], SUCCESS, 1.0)
    breaker.give_back(late[4], 1.0)
    breaker.tick(1.0)
    assert breaker.snapshot(1.0) == before
    admitted(breaker, 8.0)


# --- HALF_OPEN


def test_a_thousand_callers_share_the_permits() -> None:
    """No more than ``probes`` are out at once, also as permits come back one by one."""
    breaker = opened(BreakerSettings(consecutive=1, probes=3))
    out = [ticket for _ in range(1000) if isinstance(ticket := breaker.admit(8.0, 0.5), Ticket)]
    assert len(out) == 3
    breaker.settle(out[0], IGNORED, 8.1)
    again = [ticket for _ in range(1000) if isinstance(ticket := breaker.admit(8.2, 0.5), Ticket)]
    assert len(again) == 1
    assert refused(breaker, 8.3) == 1.0


def test_probes_that_passed_use_up_the_permits() -> None:
    """Three probes are three calls in all, not three at a time."""
    breaker = opened(BreakerSettings(consecutive=1, probes=3))
    call(breaker, 8.0, SUCCESS)
    admitted(breaker, 8.0)
    admitted(breaker, 8.0)
    assert refused(breaker, 8.0) == 1.0


def test_a_throttled_probe_has_been_answered() -> None:
    """A 429 proves that the upstream is there."""
    breaker = opened()
    call(breaker, 8.0, THROTTLED)
    assert breaker.state is State.RAMP


def test_a_probe_settles_at_its_headers() -> None:
    """The circuit need not wait for the end of a long stream, and does not hear of it either."""
    breaker = opened(BreakerSettings(consecutive=1, probes=2))
    probe = admitted(breaker, 8.0)
    breaker.start(probe, 8.0)
    breaker.answered(probe, SUCCESS, 8.1)
    breaker.settle(probe, FAILURE, 8.2)
    assert (breaker.state, breaker.snapshot(8.2)["probes_passed"]) == (State.HALF_OPEN, 1)


def test_one_failed_probe_reopens() -> None:
    """Two good probes do not outvote a bad one."""
    breaker = opened(BreakerSettings(consecutive=1, probes=3))
    call(breaker, 8.0, SUCCESS)
    call(breaker, 8.0, SUCCESS)
    breaker.settle(admitted(breaker, 8.0), FAILURE, 8.0)
    assert is_open(breaker)


def test_a_slow_probe_reopens_while_it_is_still_in_flight() -> None:
    """A probe that hangs is a bad one as soon as it is slow, by a tick or by its headers."""
    for by_tick in (True, False):
        log = Log()
        breaker = Breaker(BreakerSettings(consecutive=1, slow_call=2.0), log.append)
        call(breaker, 0.0, FAILURE)
        probe = admitted(breaker, 8.0)
        breaker.start(probe, 8.0)
        if by_tick:
            breaker.tick(10.5)
        else:
            breaker.answered(probe, SUCCESS, 10.5)
        assert log.steps()[-1] == ("half_open", "open", "probe_slow")


def test_a_probe_whose_caller_vanishes_frees_its_permit() -> None:
    """Whether it settles as IGNORED or is given back, the next caller gets the permit."""
    breaker = opened()
    breaker.settle(admitted(breaker, 8.0), IGNORED, 8.1)
    returned = admitted(breaker, 8.2)
    breaker.give_back(returned, 8.3)
    breaker.settle(returned, FAILURE, 8.3)
    assert admitted(breaker, 8.4).probe


def test_a_lost_permit_comes_back_by_itself() -> None:
    """Half-open cannot get stuck: after ``max_open`` from the start of its call the permit is free."""
    breaker = opened()
    breaker.start(admitted(breaker, 8.0), 10.0)
    assert (breaker.wants_tick, refused(breaker, 69.9)) == (True, 1.0)
    breaker.tick(70.0)
    assert not breaker.wants_tick
    assert admitted(breaker, 70.0).probe


def test_hedges_and_second_attempts_take_no_permit() -> None:
    """An exchange takes at most one permit, and a hedge takes none."""
    breaker = opened()
    assert refused(breaker, 8.0, may_probe=False) == 1.0
    assert breaker.snapshot(8.0)["probes_out"] == 0


def test_unsafe_calls_probe_only_if_no_safe_one_has_come_for_two_seconds() -> None:
    """A read is risked before a payment."""
    breaker = opened(BreakerSettings(consecutive=1, probes=3))
    assert refused(breaker, 9.0, safe=False) == pytest.approx(1.0)
    call(breaker, 9.5, SUCCESS)
    assert refused(breaker, 11.0, safe=False) == pytest.approx(0.5)
    assert admitted(breaker, 11.5, safe=False).probe


# --- RAMP


def test_ramp_admits_a_share_that_grows_to_all() -> None:
    """Half way through, half of the calls are admitted; then the circuit is closed."""
    breaker = in_ramp()
    admitted(breaker, 15.0, chance=0.4)
    assert refused(breaker, 15.0, chance=0.5) == 1.0
    assert breaker.wants_tick
    admitted(breaker, 20.0, chance=0.99)
    assert breaker.state is State.CLOSED


def test_ramp_admits_one_call_a_second_always() -> None:
    """A seldom caller never feels the ramp; a refusal says when the next second begins."""
    breaker = in_ramp()
    admitted(breaker, 10.0, chance=0.99)
    assert refused(breaker, 10.6, chance=0.99) == pytest.approx(0.4)
    returned = admitted(breaker, 11.0, chance=0.99)
    breaker.give_back(returned, 11.1)
    admitted(breaker, 11.2, chance=0.99)


def test_giving_back_an_earlier_call_of_the_ramp_frees_no_later_second() -> None:
    """Only the call that took the second can give it back."""
    breaker = in_ramp()
    first = admitted(breaker, 10.0, chance=0.99)
    admitted(breaker, 11.0, chance=0.99)
    breaker.give_back(first, 11.1)
    assert refused(breaker, 11.2, chance=0.99) == pytest.approx(0.8)


def test_a_failure_in_the_ramp_is_a_re_trip() -> None:
    """The pause after it is twice the first one; a ramp that ends resets that."""
    breaker = in_ramp()
    call(breaker, 11.0, FAILURE)
    assert refused(breaker, 11.0) == pytest.approx(16.0)
    call(breaker, 27.0, SUCCESS)
    breaker.tick(37.0)
    assert breaker.state is State.CLOSED
    call(breaker, 37.0, FAILURE)
    assert refused(breaker, 37.0) == pytest.approx(8.0)


def test_without_a_ramp_the_circuit_closes_at_once() -> None:
    """``ramp: 0s`` leaves it out."""
    assert in_ramp(ramp=0.0).state is State.CLOSED


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
