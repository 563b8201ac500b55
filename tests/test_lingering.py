"""Tests of lingering.py: how long is served on after SIGTERM, and when the agent has ended; in virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import pytest

from proxy.clock import Clock
from proxy.lingering import Lingering
from tests.support import virtual

T = TypeVar("T")
LIMIT = 30.0
MOST = LIMIT - 5.0  # the rest is the drain's


@dataclass
class Calls:
    """The agent's calls, as the listener has them."""

    begun: int = 0
    under_way: int = 0


@dataclass
class Scene:
    clock: Clock
    calls: Calls
    processes: list[int]  # of the agent, at each look; the last one holds

    def lingering(self, linger: float = 0.0) -> Lingering:
        return Lingering(self.clock, self.calls, linger, self._look if self.processes else None)

    def _look(self) -> int:
        return self.processes.pop(0) if len(self.processes) > 1 else self.processes[0]

    def at(self, seconds: float, **calls: int) -> None:
        """What the listener will have, so many seconds from now."""
        self.clock.at(self.clock.now() + seconds, lambda: vars(self.calls).update(calls))

    async def took(self, work: Awaitable[None]) -> float:
        before = self.clock.now()
        await work
        return self.clock.now() - before


def scene(scenario: Callable[[Scene], Awaitable[T]], *processes: int) -> T:
    return virtual.run(lambda clock: scenario(Scene(clock, Calls(), list(processes))))


def test_whoever_asked_for_nothing_is_not_kept_waiting() -> None:
    """Without a flag the drain begins at once, even with calls under way."""

    async def scenario(scene: Scene) -> float:
        scene.calls.under_way = 3
        return await scene.took(scene.lingering().stay(LIMIT))

    assert scene(scenario) == 0.0


def test_silence_is_waited_for_from_the_signal_on() -> None:
    """What was before does not count: an agent may just have been about to call."""

    async def scenario(scene: Scene) -> float:
        lingering = scene.lingering(5.0)
        await scene.clock.sleep(100.0)
        return await scene.took(lingering.stay(LIMIT))

    assert scene(scenario) == pytest.approx(5.0, abs=0.2)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([(4.0, {"begun": 1})], 9.0),  # too short to be seen, but counted
        ([(1.0, {"under_way": 1}), (11.0, {"under_way": 0})], 16.0),  # a stream, or a call whose agent has left
        ([(each / 2, {"begun": each}) for each in range(1, 200)], MOST),  # an agent that goes on and on
        ([(1.0, {"under_way": 1})], MOST),  # a stream without end
    ],
    ids=["a short call", "a long one", "calls without end", "a stream without end"],
)
def test_each_call_begins_the_wait_anew(changes: list[tuple[float, dict[str, int]]], expected: float) -> None:
    """Until the limit, of which the drain keeps its part."""

    async def scenario(scene: Scene) -> float:
        for seconds, calls in changes:
            scene.at(seconds, **calls)
        return await scene.took(scene.lingering(5.0).stay(LIMIT))

    assert scene(scenario) == pytest.approx(expected, abs=0.3)


def test_a_short_limit_is_shared_with_the_drain() -> None:
    """Half of it: agents that go on have to be told to leave."""

    async def scenario(scene: Scene) -> float:
        return await scene.took(scene.lingering(60.0).stay(4.0))

    assert scene(scenario) == pytest.approx(2.0, abs=0.2)


def test_an_agent_that_is_there_is_waited_for_however_silent_it_is() -> None:
    """It may call again as long as it lives; once it has ended, nobody can."""

    async def scenario(scene: Scene) -> float:
        return await scene.took(scene.lingering(1.0).stay(LIMIT))

    assert scene(scenario, *[2] * 100, 0) == pytest.approx(10.0, abs=0.3)


def test_an_agent_that_does_not_end_is_not_waited_for_without_end() -> None:
    """The limit holds for it, too."""

    async def scenario(scene: Scene) -> float:
        return await scene.took(scene.lingering().stay(LIMIT))

    assert scene(scenario, 1) == pytest.approx(MOST, abs=0.3)


def test_an_agent_that_was_never_seen_is_judged_by_its_calls() -> None:
    """It may run where its processes cannot be seen, or not have started."""

    async def scenario(scene: Scene) -> float:
        return await scene.took(scene.lingering(5.0).stay(LIMIT))

    assert scene(scenario, 0) == pytest.approx(5.0, abs=0.2)


def test_an_agent_that_has_ended_is_not_waited_for() -> None:
    """Backstay has been told by its end, or was about to be."""

    async def scenario(scene: Scene) -> float:
        lingering = scene.lingering(5.0)
        await lingering.deserted()
        return await scene.took(lingering.stay(LIMIT))

    assert scene(scenario, 1, 0) == 0.0


@pytest.mark.parametrize(
    ("processes", "seconds"),
    [
        ((0,) * 100 + (1,) * 10 + (0,), 55.0 + 2.0),  # it starts late: an image is pulled
        ((1, 0, 0, 1, 1, 0), 2.5 + 2.0),  # one container has ended before the next began
    ],
    ids=["late", "one by one"],
)
def test_the_agent_has_ended_once_it_was_seen_and_is_away_for_two_seconds(
    processes: tuple[int, ...], seconds: float
) -> None:
    """Not before it has started, nor between two of its containers."""

    async def scenario(scene: Scene) -> float:
        lingering = scene.lingering()
        took = await scene.took(lingering.deserted())
        assert repr(lingering) == "<Lingering 0 s, agent seen>"
        return took

    assert scene(scenario, *processes) == pytest.approx(seconds, abs=0.6)
