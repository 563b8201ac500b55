"""Breaker, retry and budget together, in the outage that they are there for; no clock but arithmetic."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.breaker import Breaker, BreakerSettings, Refused
from proxy.core.budget import Budget
from proxy.core.retry import Again, RetrySettings, decide
from proxy.model import Verdict

OUTAGE = 60.0


@dataclass
class Agent:
    """An agent that calls through ``retry: {}`` and the default breaker an upstream that is down for a minute."""

    chances: list[float]
    breaker: Breaker = field(default_factory=lambda: Breaker(BreakerSettings()))
    budget: Budget = field(default_factory=lambda: Budget(RetrySettings().budget))
    attempts: list[float] = field(default_factory=list)  # in the outage
    served: list[float] = field(default_factory=list)
    longest: float = 0.0

    def _chance(self) -> float:
        self.chances.append(self.chances.pop(0))
        return self.chances[0]

    def call(self, start: float) -> None:
        now, number, probed = start, 1, False
        self.budget.deposit(now)
        while not isinstance(ticket := self.breaker.admit(now, self._chance(), may_probe=not probed), Refused):
            probed = probed or ticket.probe
            verdict = Verdict.FAILURE if now < OUTAGE else Verdict.SUCCESS
            self.breaker.start(ticket, now)
            self.breaker.answered(ticket, verdict, now)
            self.breaker.settle(ticket, verdict, now)
            if verdict is Verdict.SUCCESS:
                self.served.append(now)
                break
            self.attempts.append(now)
            decision = decide(
                RetrySettings(),
                attempt_number=number,
                reason="503",
                safe=True,
                retry_after=None,
                remaining=start + 300.0 - now,
                chance=self._chance(),
            )
            if not isinstance(decision, Again) or not self.budget.withdraw(now):
                break
            now, number = now + decision.delay, number + 1
        self.longest = max(self.longest, now - start)


@given(chances=st.lists(st.floats(0.0, 1.0, exclude_max=True), min_size=1, max_size=40))
def test_a_minutes_outage_costs_seven_attempts_and_ends_within_seconds(chances: list[float]) -> None:
    """One call every 4 s: five attempts open the circuit, two probe it, and the third probe is served by 75 s."""
    agent = Agent(chances)
    for step in range(40):
        agent.call(step * 4.0)
    assert len(agent.attempts) == 7
    assert agent.served[0] <= 75.0
    assert agent.longest <= 1.0


@given(
    chances=st.lists(st.floats(0.0, 1.0, exclude_max=True), min_size=1, max_size=40),
    phase=st.floats(0.0, 4.0),
    gap=st.floats(0.1, 10.0),
)
def test_at_any_rhythm_an_outage_stays_cheap_and_ends(chances: list[float], phase: float, gap: float) -> None:
    """At most eight attempts while it lasts, and served again before the longest pause is over twice."""
    agent = Agent(chances)
    for step in range(int(200.0 / gap)):
        agent.call(phase + step * gap)
    assert len(agent.attempts) <= 8
    assert agent.served[0] <= OUTAGE + 60.0 + gap


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_after_the_outage_every_call_is_served(chance: float) -> None:
    """A seldom caller feels neither the probes nor the ramp."""
    agent = Agent([chance])
    for step in range(100):
        agent.call(step * 4.0)
    first = agent.served[0]
    assert agent.served == [step * 4.0 for step in range(100) if step * 4.0 >= first]
