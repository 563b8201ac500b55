"""Tests of time, timers and tasks, in virtual time."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.clock import Clock, Wheel
from proxy.errors import Timeout
from tests.support import virtual

_FINE = 0.02
_COARSE = 1.0


@given(st.lists(st.floats(0.0, 60.0), max_size=20))
def test_timers_ring_never_early_and_at_most_a_tick_late(delays: list[float]) -> None:
    """Whatever is set: each callback is made once, in time, also far beyond one turn of the wheel."""

    async def scenario(clock: Clock) -> list[tuple[float, float]]:
        rung: list[tuple[float, float]] = []
        for delay in delays:
            when = clock.now() + delay
            clock.at(when, lambda when=when: rung.append((when, clock.now())))  # type: ignore[misc]
        await clock.sleep(62.0)
        return rung

    rung = virtual.run(scenario)
    assert len(rung) == len(delays)
    assert all(when <= at <= when + 2 * _FINE for when, at in rung)


def test_coarse_timers() -> None:
    """``about`` is exact to a second or two, and beyond one turn of its wheel too."""

    async def scenario(clock: Clock) -> None:
        rung: list[float] = []
        for delay in (0.5, 10.0, 600.0):
            clock.about(clock.now() + delay, lambda: rung.append(clock.now() - virtual.START))
        await clock.sleep(700.0)
        assert all(due <= at <= due + 2 * _COARSE for due, at in zip((0.5, 10.0, 600.0), rung, strict=True))

    virtual.run(scenario)


def test_a_cancelled_timer_is_silent() -> None:
    """Cancelling twice, or after the call, is harmless."""

    async def scenario(clock: Clock) -> None:
        rung: list[str] = []
        early = clock.at(clock.now() + 1.0, lambda: rung.append("early"))
        late = clock.at(clock.now() + 2.0, lambda: rung.append("late"))
        late.cancel()
        late.cancel()
        await clock.sleep(3.0)
        early.cancel()
        assert rung == ["early"]

    virtual.run(scenario)


def test_a_timer_may_cancel_and_set_others() -> None:
    """Callbacks that touch the wheel they are called from are part of the deal."""

    async def scenario(clock: Clock) -> None:
        rung: list[str] = []
        when = clock.now() + 1.0

        def first() -> None:
            rung.append("first")
            victim.cancel()
            clock.at(clock.now() - 1.0, lambda: rung.append("again"))

        clock.at(when, first)
        victim = clock.at(when, lambda: rung.append("victim"))
        await clock.sleep(2.0)
        assert rung == ["first", "again"]

    virtual.run(scenario)


def test_a_timer_that_raises_does_not_stop_the_others() -> None:
    """One defective callback must not take the clock away from everybody."""

    async def scenario(clock: Clock) -> None:
        rung: list[str] = []
        unhandled: list[object] = []
        clock.loop.set_exception_handler(lambda _, context: unhandled.append(context["exception"]))
        when = clock.now() + 1.0

        def defective() -> None:
            raise ZeroDivisionError

        clock.at(when, defective)
        clock.at(when, lambda: rung.append("same tick"))
        clock.at(when + 5.0, lambda: rung.append("later"))
        await clock.sleep(7.0)
        assert rung == ["same tick", "later"]
        assert [type(each) for each in unhandled] == [ZeroDivisionError]

    virtual.run(scenario)


def test_a_loop_that_was_blocked_catches_up() -> None:
    """After a pause longer than a turn of the wheel, everything that is due rings, once."""

    async def scenario(clock: Clock) -> None:
        rung: list[float] = []
        for delay in (0.5, 5.0, 19.0, 25.0):
            clock.at(clock.now() + delay, lambda delay=delay: rung.append(delay))  # type: ignore[misc]
        clock.loop.advance(20.0)  # type: ignore[attr-defined]
        await clock.sleep(0.1)
        assert sorted(rung) == [0.5, 5.0, 19.0]
        await clock.sleep(10.0)
        assert sorted(rung) == [0.5, 5.0, 19.0, 25.0]

    virtual.run(scenario)


def test_a_wheel_without_timers_does_not_turn() -> None:
    """An idle process is not woken fifty times a second."""

    async def scenario(clock: Clock) -> None:
        wheel = Wheel(clock.loop, clock.now, tick=0.5)
        timer = wheel.at(clock.now() + 1.0, lambda: None)
        assert wheel._handle is not None
        timer.cancel()
        await clock.sleep(2.0)
        assert wheel._handle is None

    virtual.run(scenario)


# --- waits -----------------------------------------------------------------------------------------------


def test_wait_returns_what_it_waited_for() -> None:
    """A wait that ends in time is transparent."""

    async def work(clock: Clock) -> str:
        await clock.sleep(1.0)
        return "done"

    async def scenario(clock: Clock) -> None:
        assert await clock.wait(work(clock), 2.0, Timeout()) == "done"

    virtual.run(scenario)


def test_wait_that_runs_out() -> None:
    """The given error is raised at the limit, and what was waited for is cancelled."""

    async def scenario(clock: Clock) -> None:
        cancelled: list[float] = []

        async def work() -> None:
            try:
                await clock.sleep(10.0)
            finally:
                cancelled.append(clock.now())

        error = Timeout("too long")
        with pytest.raises(Timeout, match="too long") as raised:
            await clock.wait(work(), 2.0, error)
        assert raised.value is error
        assert cancelled == [virtual.START + 2.0]

    virtual.run(scenario)


def test_a_cancelled_wait_is_cancelled() -> None:
    """A cancellation that comes together with the result is not swallowed."""

    async def scenario(clock: Clock) -> None:
        future: asyncio.Future[str] = clock.loop.create_future()
        task = clock.spawn(clock.wait(future, 5.0, Timeout()), "wait")
        await virtual.turn()
        future.set_result("at the same moment")
        task.cancel()
        await virtual.turn()
        assert task.cancelled()

    virtual.run(scenario)


# --- tasks -----------------------------------------------------------------------------------------------


def test_a_task_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody awaits a spawned task: its failure has to be seen all the same."""

    async def fail() -> None:
        raise ZeroDivisionError

    async def scenario(clock: Clock) -> None:
        clock.spawn(fail(), "division")
        await virtual.turn()

    with caplog.at_level(logging.ERROR):
        virtual.run(scenario)
    assert caplog.messages == ["task division failed"]


def test_stop_cancels_what_was_spawned(caplog: pytest.LogCaptureFixture) -> None:
    """The end waits for the clean-up of every task; being cancelled is no failure."""

    async def scenario(clock: Clock) -> None:
        ended: list[int] = []

        async def work(number: int) -> None:
            try:
                await clock.sleep(1000.0)
            finally:
                await asyncio.sleep(0)
                ended.append(number)

        for number in range(3):
            clock.spawn(work(number), f"work {number}")
        await virtual.turn()
        await clock.stop()
        assert sorted(ended) == [0, 1, 2]

    virtual.run(scenario)
    assert caplog.messages == []


async def test_the_real_clock() -> None:
    """By default time, wall and chance are the system's."""
    clock = Clock(asyncio.get_running_loop())
    assert abs(clock.now() - time.monotonic()) < 5.0
    assert abs(clock.wall() - time.time()) < 5.0
    assert 0.0 <= clock.chance() < 1.0


def test_work_that_needs_no_wait_costs_no_task() -> None:
    """It has ended when ``begin`` returns."""

    async def scenario(clock: Clock) -> None:
        done: list[str] = []

        async def work() -> None:
            done.append("at once")

        assert clock.begin(work()) is None
        assert done == ["at once"]

    virtual.run(scenario)


def test_work_that_waits_goes_on_as_a_task() -> None:
    """It runs to its first wait at once; a limit of time may be the first thing that it meets."""

    async def scenario(clock: Clock) -> None:
        done: list[object] = []
        answer: asyncio.Future[str] = clock.loop.create_future()

        async def work() -> None:
            done.append("begun")
            done.append(await clock.wait(answer, 5.0, Timeout("late")))
            await clock.sleep(1.0)
            done.append(asyncio.current_task())

        task = clock.begin(work())
        assert done == ["begun"]
        answer.set_result("answer")
        assert task is not None
        await task
        assert done == ["begun", "answer", task]

    virtual.run(scenario)


def test_work_may_be_cancelled_before_its_task_has_taken_over() -> None:
    """The cancellation comes at the wait that it had run to; its own clean-up runs."""

    async def scenario(clock: Clock) -> None:
        done: list[str] = []

        async def work() -> None:
            try:
                await clock.sleep(5.0)
            finally:
                done.append("cleaned up")

        task = clock.begin(work())
        assert task is not None
        task.cancel()
        await asyncio.wait([task])
        assert done == ["cleaned up"]
        assert task.cancelled()

    virtual.run(scenario)
