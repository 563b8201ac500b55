"""How an open circuit finds its way back: OPEN, HALF_OPEN, RAMP."""

from __future__ import annotations

import pytest

from proxy.core.breaker import Breaker, BreakerSettings, State, Ticket
from tests.core.circuit import (
    FAILURE,
    IGNORED,
    ONE_ROW,
    SUCCESS,
    THROTTLED,
    Log,
    admitted,
    call,
    in_ramp,
    is_open,
    opened,
    refused,
)

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
