"""Tests of clock.py: timers that are coarse but never early, waits with an end, tasks that are looked after."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.clock import Clock, Timer
from proxy.errors import Timeout
from tests.support import virtual


async def rings(clock: Clock, delays: list[float], wheel: str) -> list[tuple[float, float]]:
    """(delay asked for, delay had) for each timer, in the order of ringing."""
    set_timer: Callable[..., object] = clock.at if wheel == "fine" else clock.about
    began = clock.now()
    rung: list[tuple[float, float]] = []

    def ring(delay: float) -> None:
        rung.append((delay, clock.now() - began))

    for delay in delays:
        set_timer(began + delay, partial(ring, delay))
    await asyncio.sleep(max(delays, default=0.0) + 3.0)
    return rung


@pytest.mark.parametrize(("wheel", "tick"), [("fine", 0.02), ("coarse", 1.0)])
@given(ticks=st.lists(st.floats(0.0, 1300.0), max_size=20))
@settings(deadline=None, max_examples=30)
def test_every_timer_rings_once_within_two_ticks_and_never_early(wheel: str, tick: float, ticks: list[float]) -> None:
    """However far away: the wheel has 512 slots, and what is further waits for another turn."""
    delays = [each * tick for each in ticks]
    rung = virtual.run(partial(rings, delays=delays, wheel=wheel))
    assert sorted(delay for delay, _ in rung) == sorted(delays)
    for asked, had in rung:
        assert asked - 1e-6 <= had <= asked + 2 * tick + 1e-6


def test_a_cancelled_timer_never_rings() -> None:
    """Cancelling again, or after the ring, is harmless; the wheel stops turning when nothing is set."""

    async def scenario(clock: Clock) -> list[str]:
        rung: list[str] = []
        timer = clock.at(clock.now() + 1.0, lambda: rung.append("cancelled"))
        other = clock.at(clock.now() + 1.0, lambda: rung.append("kept"))
        timer.cancel()
        timer.cancel()
        await asyncio.sleep(2.0)
        other.cancel()
        assert clock._fine._handle is None
        return rung

    assert virtual.run(scenario) == ["kept"]


def test_a_timer_may_cancel_its_neighbour() -> None:
    """Of two that are due in the same moment, the second does not ring if the first says so."""

    async def scenario(clock: Clock) -> list[str]:
        rung: list[str] = []
        timers: dict[str, Timer] = {}

        def ring(name: str, other: str) -> None:
            rung.append(name)
            timers[other].cancel()

        for name, other in (("first", "second"), ("second", "first")):
            timers[name] = clock.at(virtual.START + 1.0, partial(ring, name, other))
        await asyncio.sleep(2.0)
        return rung

    assert virtual.run(scenario) == ["first"]


def test_a_timer_may_set_another() -> None:
    """As idle limits do."""

    async def scenario(clock: Clock) -> list[float]:
        rung: list[float] = []

        def ring() -> None:
            rung.append(round(clock.now() - virtual.START))
            if len(rung) < 3:
                clock.at(clock.now() + 10.0, ring)

        clock.at(clock.now() + 10.0, ring)
        await asyncio.sleep(60.0)
        return rung

    assert virtual.run(scenario) == [10, 20, 30]


def test_a_loop_that_was_held_up_rings_all_that_is_due() -> None:
    """Also what lay several turns of the wheel back."""

    async def scenario(clock: Clock) -> int:
        rung: list[float] = []
        for delay in (0.1, 5.0, 50.0):
            clock.at(clock.now() + delay, partial(rung.append, delay))
        assert isinstance(clock.loop, virtual.VirtualLoop)
        clock.loop.advance(100.0)
        await asyncio.sleep(0.1)
        return len(rung)

    assert virtual.run(scenario) == 3


# --- waits --------------------------------------------------------------------------------------------------


def test_a_wait_has_an_end() -> None:
    """Which is the error that was given; what comes in time is returned."""

    async def scenario(clock: Clock) -> None:
        never: asyncio.Future[str] = clock.loop.create_future()
        with pytest.raises(Timeout, match="too late"):
            await clock.wait(never, 5.0, Timeout("too late"))
        assert clock.now() == virtual.START + 5.0
        assert await clock.wait(asyncio.sleep(1.0, "in time"), 5.0, Timeout()) == "in time"

    virtual.run(scenario)


def test_a_cancellation_that_meets_the_result_is_not_swallowed() -> None:
    """An agent that leaves in the moment of the answer has left."""

    async def scenario(clock: Clock) -> bool:
        result: asyncio.Future[str] = clock.loop.create_future()
        task = clock.spawn(clock.wait(result, 5.0, Timeout()), "waits")
        await virtual.turn()
        result.set_result("here")
        task.cancel()
        await asyncio.wait({task})
        return task.cancelled()

    assert virtual.run(scenario)


# --- tasks --------------------------------------------------------------------------------------------------


def test_a_task_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody awaits it; a task that ends or is cancelled is no news."""

    async def broken() -> None:
        raise ZeroDivisionError("a defect")

    async def scenario(clock: Clock) -> None:
        clock.spawn(broken(), "sweep")
        clock.spawn(asyncio.sleep(0.0), "fine")
        clock.spawn(asyncio.sleep(99.0), "cancelled").cancel()
        await virtual.turn()

    logger = logging.getLogger("backstay")
    before, logger.propagate = logger.propagate, True
    virtual.run(scenario)
    logger.propagate = before
    assert [record.getMessage() for record in caplog.records] == ["task sweep failed"]


def test_stop_ends_every_task_and_waits_for_it() -> None:
    """What a task has to clean up is cleaned up."""

    async def scenario(clock: Clock) -> list[str]:
        cleaned: list[str] = []

        async def works() -> None:
            try:
                await asyncio.sleep(99.0)
            finally:
                await asyncio.sleep(0.5)
                cleaned.append("up")

        clock.spawn(works(), "works")
        await virtual.turn()
        await clock.stop()
        return cleaned

    assert virtual.run(scenario) == ["up"]
