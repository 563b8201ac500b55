"""The retry budget, against a list of all that happened."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from proxy.core.budget import Budget


def spend(budget: Budget, now: float) -> int:
    """How many retries fit at ``now``."""
    count = 0
    while count < 1000 and budget.withdraw(now):
        count += 1
    return count


def test_three_retries_in_ten_seconds_whatever_the_traffic() -> None:
    """An agent that calls once in a while is retried at all; ten seconds later it is again."""
    budget = Budget(0.2)
    budget.deposit(0.0)
    assert [spend(budget, now) for now in (0.0, 9.9, 10.0)] == [3, 0, 3]


def test_a_fifth_of_the_calls_under_load() -> None:
    """A hundred calls allow twenty retries."""
    budget = Budget(0.2)
    for step in range(100):
        budget.deposit(step / 100)
    assert spend(budget, 1.0) == 20


def test_without_a_share_there_is_no_limit() -> None:
    """``budget: off``."""
    budget = Budget(None)
    assert (spend(budget, 0.0), budget.ratio(0.0)) == (1000, 0.0)


def test_the_ratio_says_how_much_is_spent() -> None:
    """Nothing, a third of the floor, all; and the repr shows the counts."""
    budget, ratios = Budget(0.2), list[float]()
    budget.deposit(0.0)
    for _ in range(3):
        ratios.append(budget.ratio(0.0))
        budget.withdraw(0.0)
    assert [*ratios, budget.ratio(0.0)] == [0.0, 1 / 3, 2 / 3, 1.0]
    assert repr(budget) == "<Budget share=0.2 calls=1 retries=3>"


class BudgetMachine(RuleBasedStateMachine):
    """However calls and retries come, in no ten seconds are there more retries than allowed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.budget = Budget(0.2)
        self.calls: list[float] = []
        self.retries: list[float] = []

    def _recent(self, times: list[float]) -> int:
        return sum(int(at) > int(self.now) - 10 for at in times)

    @rule(seconds=st.floats(0.0, 6.0))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(count=st.integers(1, 30))
    def deposit(self, count: int) -> None:
        for _ in range(count):
            self.budget.deposit(self.now)
            self.calls.append(self.now)

    @rule()
    def withdraw(self) -> None:
        fits = self._recent(self.retries) + 1 <= max(3.0, 0.2 * self._recent(self.calls)) + 1e-6
        assert self.budget.withdraw(self.now) == fits
        if fits:
            self.retries.append(self.now)

    @invariant()
    def the_ratio_is_that_of_the_list(self) -> None:
        allowed = max(3.0, 0.2 * self._recent(self.calls))
        assert abs(self.budget.ratio(self.now) - self._recent(self.retries) / allowed) < 1e-9


TestBudgetMachine = BudgetMachine.TestCase
