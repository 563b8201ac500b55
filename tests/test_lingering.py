"""Tests of lingering.py: how long is served on after SIGTERM, and when the agent has ended; in virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import pytest

from proxy.clock import Clock
from proxy.lingering import Lingering
from proxy.neighbours import Company
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
    processes: list[Company]  # beside Backstay's, at each look; the last one holds

    def lingering(self, linger: float = 0.0) -> Lingering:
        return Lingering(self.clock, self.calls, linger, self._look if self.processes else None)

    def _look(self) -> Company:
        return self.processes.pop(0) if len(self.processes) > 1 else self.processes[0]

    def at(self, seconds: float, **calls: int) -> None:
        """What the listener will have, so many seconds from now."""
        self.clock.at(self.clock.now() + seconds, lambda: vars(self.calls).update(calls))

    async def took(self, work: Awaitable[None]) -> float:
        before = self.clock.now()
        await work
        return self.clock.now() - before


def scene(scenario: Callable[[Scene], Awaitable[T]], *running: int) -> T:
    """``running``: how many processes of the agent there are, at each look."""
    processes = [Company(each, starting=0) for each in running]
    return virtual.run(lambda clock: scenario(Scene(clock, Calls(), processes)))


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


@dataclass
class Pod:
    """What there is beside Backstay at which time: ``running`` and ``starting`` have first and last moments."""

    clock: Clock
    running: tuple[tuple[float, float], ...] = ()
    starting: tuple[tuple[float, float], ...] = ()

    def company(self) -> Company:
        return Company(self._at(self.running), self._at(self.starting))

    def _at(self, spans: tuple[tuple[float, float], ...]) -> int:
        now = self.clock.now() - virtual.START
        return sum(first <= now < last for first, last in spans)


def ends(
    running: tuple[tuple[float, float], ...], starting: tuple[tuple[float, float], ...] = (), *, within: float = 1000.0
) -> float | None:
    """After how many seconds the agent has ended; None: not ``within`` so many."""

    async def scenario(clock: Clock) -> float | None:
        lingering = Lingering(clock, Calls(), 0.0, Pod(clock, running, starting).company)
        try:
            await clock.wait(lingering.deserted(), within, TimeoutError())
        except TimeoutError:
            return None
        assert repr(lingering) == f"<Lingering 0 s{', agent seen' * bool(running)}>"
        return clock.now() - virtual.START

    return virtual.run(scenario)


@pytest.mark.parametrize(
    ("running", "last"),
    [
        (((50.0, 55.0),), 55.0),  # it starts late: an image is pulled
        (((5.1, 5.15),), 5.15),  # it fails at once
        (((1.0, 2.0), (11.5, 13.0)), 13.0),  # one container has ended before the image of the next was there
    ],
    ids=["late", "short", "one by one"],
)
def test_the_agent_has_ended_once_it_was_seen_and_is_away_for_ten_seconds(
    running: tuple[tuple[float, float], ...], last: float
) -> None:
    """Not before it has started, nor between two of its containers."""
    assert ends(running) == pytest.approx(last + 10.0, abs=0.6)


@pytest.mark.parametrize(
    ("running", "starting", "last"),
    [
        ((), ((5.0, 5.05),), 305.0),  # a program that is not there, or that fails within a look
        (((200.0, 201.0),), ((1.0, 1.05),), 211.0),  # a hook of ours, and then the image of the agent is pulled
        (((1.0, 2.0),), ((11.0, 11.6),), 21.5),  # the next container
    ],
    ids=["failed", "a hook", "the next"],
)
def test_a_runtime_that_starts_something_may_be_all_that_is_seen(
    running: tuple[tuple[float, float], ...], starting: tuple[tuple[float, float], ...], last: float
) -> None:
    """It is no agent yet, but there may have been one: then five minutes are waited, not for ever."""
    assert ends(running, starting) == pytest.approx(last, abs=0.6)


def test_an_agent_that_has_not_come_is_waited_for() -> None:
    """However long its image takes."""
    assert ends(()) is None
