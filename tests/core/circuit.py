"""Drives a breaker through calls, for the tests of its rules."""

from __future__ import annotations

from typing import Final

from proxy.core.breaker import Breaker, BreakerSettings, Refused, State, Ticket, Transition
from proxy.model import Verdict

SUCCESS: Final = Verdict.SUCCESS
FAILURE: Final = Verdict.FAILURE
THROTTLED: Final = Verdict.THROTTLED
IGNORED: Final = Verdict.IGNORED
ONE_ROW: Final = BreakerSettings(consecutive=1, error_ratio=None, probes=1)


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
