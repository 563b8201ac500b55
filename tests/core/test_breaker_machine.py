"""A state machine that does to a breaker whatever shells, operators and reloads may, in any order."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from proxy.core.breaker import Breaker, BreakerSettings, Refused, State, Ticket, Transition
from proxy.model import Verdict

EDGES: Final = {
    (State.CLOSED, State.OPEN),
    (State.OPEN, State.HALF_OPEN),
    (State.HALF_OPEN, State.OPEN),
    (State.HALF_OPEN, State.RAMP),
    (State.HALF_OPEN, State.CLOSED),
    (State.RAMP, State.OPEN),
    (State.RAMP, State.CLOSED),
}

settings = st.builds(
    BreakerSettings,
    window=st.floats(0.5, 10.0),
    min_calls=st.integers(1, 6),
    error_ratio=st.none() | st.floats(0.1, 1.0),
    consecutive=st.none() | st.integers(1, 4),
    slow_call=st.none() | st.floats(0.1, 3.0),
    slow_ratio=st.floats(0.1, 1.0),
    open=st.floats(0.1, 20.0),
    max_open=st.floats(20.0, 60.0),
    probes=st.integers(1, 4),
    ramp=st.just(0.0) | st.floats(0.1, 10.0),
)
verdicts = st.sampled_from(Verdict)
asked = st.none() | st.floats(0.0, 1000.0)
chances = st.floats(0.0, 1.0, exclude_max=True)


class BreakerMachine(RuleBasedStateMachine):
    """Whatever happens: legal transitions, bounded permits and pauses, no power of the past, no dead end."""

    tickets: Bundle[Ticket] = Bundle("tickets")

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.log: list[Transition] = []
        self.breaker = Breaker(BreakerSettings(min_calls=3, consecutive=2), self.log.append, now=self.now)
        self.probes: set[Ticket] = set()

    @rule(seconds=st.floats(0.0, 30.0))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(target=tickets, chance=chances, safe=st.booleans(), may_probe=st.booleans())
    def admit(self, chance: float, safe: bool, may_probe: bool) -> Ticket:
        answer = self.breaker.admit(self.now, chance, safe=safe, may_probe=may_probe)
        if isinstance(answer, Refused):
            assert 0.0 < answer.retry_after <= 300.0
            assert self.breaker.state not in {State.CLOSED, State.DISABLED}
            return multiple()  # type: ignore[return-value]  # Hypothesis' way to add nothing
        assert self.breaker.state not in {State.OPEN, State.FORCED_OPEN}
        assert answer.probe is (self.breaker.state is State.HALF_OPEN)
        assert may_probe or not answer.probe
        return answer

    def _report(self, ticket: Ticket, act: str, verdict: Verdict, retry_after: float | None) -> None:
        before, late = len(self.log), ticket.epoch != self.breaker._epoch
        match act:
            case "start":
                self.breaker.start(ticket, self.now)
            case "answered":
                self.breaker.answered(ticket, verdict, self.now, retry_after)
            case "settle":
                self.breaker.settle(ticket, verdict, self.now, retry_after)
            case _:
                self.breaker.give_back(ticket, self.now)
        assert not late or len(self.log) == before

    @rule(ticket=tickets, verdict=verdicts, retry_after=asked)
    def whole_call(self, ticket: Ticket, verdict: Verdict, retry_after: float | None) -> None:
        for act in ("start", "answered", "settle"):
            self._report(ticket, act, verdict, retry_after)

    @rule(
        ticket=tickets,
        act=st.sampled_from(["start", "answered", "settle", "give_back"]),
        verdict=verdicts,
        retry_after=asked,
    )
    def part_of_a_call(self, ticket: Ticket, act: str, verdict: Verdict, retry_after: float | None) -> None:
        self._report(ticket, act, verdict, retry_after)

    @rule()
    def tick(self) -> None:
        self.breaker.tick(self.now)

    @rule(state=st.sampled_from([None, State.CLOSED, State.FORCED_OPEN, State.DISABLED]))
    def force(self, state: State | None) -> None:
        self.breaker.force(state, self.now)
        assert state is None or self.breaker.state is state

    @rule(new=settings)
    def reload(self, new: BreakerSettings) -> None:
        before = len(self.log)
        self.breaker.reconfigure(new, self.now)
        assert len(self.log) == before

    @invariant()
    def transitions_are_those_of_the_table(self) -> None:
        for step in self.log:
            assert step.reason == "forced" or (step.frm, step.to) in EDGES
        assert [step.frm for step in self.log[1:]] == [step.to for step in self.log[:-1]]

    @invariant()
    def what_is_held_is_bounded(self) -> None:
        snapshot = self.breaker.snapshot(self.now)
        assert (snapshot["probes_out"] > 0) <= (self.breaker.state is State.HALF_OPEN)
        assert snapshot["calls"] >= 0
        assert repr(self.breaker)
        if self.breaker.state is State.OPEN:
            assert snapshot["retry_after"] <= 300.0

    def teardown(self) -> None:
        """However it went, a healthy upstream is served in the end by itself."""
        self.breaker.force(None, self.now)
        self.now += 300.0
        for _ in range(40):
            self.now += 1.0
            answer = self.breaker.admit(self.now, 0.99)
            if isinstance(answer, Ticket):
                self.breaker.start(answer, self.now)
                self.breaker.answered(answer, Verdict.SUCCESS, self.now)
                self.breaker.settle(answer, Verdict.SUCCESS, self.now)
            self.breaker.tick(self.now)
        assert self.breaker.state is State.CLOSED


class PermitMachine(RuleBasedStateMachine):
    """Half-open under a storm of callers that answer, vanish, or never come back."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.breaker = Breaker(BreakerSettings(consecutive=1, probes=3, max_open=60.0))
        self.out: list[Ticket] = []
        self.breaker.settle(self._take(), Verdict.FAILURE, 0.0)
        self.now = 10.0

    def _take(self) -> Ticket:
        ticket = self.breaker.admit(self.now, 0.0)
        assert isinstance(ticket, Ticket)
        return ticket

    @rule(callers=st.integers(1, 50))
    def storm(self, callers: int) -> None:
        for _ in range(callers):
            if isinstance(ticket := self.breaker.admit(self.now, 0.0), Ticket) and ticket.probe:
                self.out.append(ticket)

    @rule(choice=st.integers(0, 1000), verdict=verdicts)
    def one_ends(self, choice: int, verdict: Verdict) -> None:
        if self.out:
            self.breaker.settle(self.out.pop(choice % len(self.out)), verdict, self.now)

    @rule(seconds=st.floats(0.0, 5.0))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.out = [ticket for ticket in self.out if self.now < ticket.admitted + 60.0]
        if self.breaker.state is not State.HALF_OPEN:
            self.out = []  # probes of an earlier half-open: no longer ours to bound

    @invariant()
    def never_more_probes_than_permits(self) -> None:
        current = [ticket for ticket in self.out if ticket.epoch == self.breaker._epoch]
        assert len(current) <= 3


TestBreakerMachine = BreakerMachine.TestCase
TestPermitMachine = PermitMachine.TestCase
