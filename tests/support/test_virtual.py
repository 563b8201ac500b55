"""Tests of the loop with virtual time."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from proxy.clock import Clock
from tests.support import virtual


def test_an_hour_takes_no_time() -> None:
    """Sleeping moves the virtual clock by exactly what was asked for, and the real one hardly."""

    async def scenario(clock: Clock) -> tuple[float, float]:
        began = clock.now(), clock.wall()
        await clock.sleep(3600.0)
        return clock.now() - began[0], clock.wall() - began[1]

    real = time.monotonic()
    assert virtual.run(scenario) == pytest.approx((3600.0, 3600.0))
    assert time.monotonic() - real < 5.0


def test_timers_run_in_order() -> None:
    """Sleepers wake in the order of their times, not of their starts."""

    async def scenario(clock: Clock) -> list[float]:
        woken: list[float] = []

        async def sleeper(seconds: float) -> None:
            await clock.sleep(seconds)
            woken.append(seconds)

        await asyncio.gather(*(sleeper(seconds) for seconds in (3.0, 1.0, 2.0)))
        return woken

    assert virtual.run(scenario) == [1.0, 2.0, 3.0]


def test_bytes_arrive_before_time_moves() -> None:
    """A byte on its way is received before a timer of a second rings."""

    async def scenario(clock: Clock) -> tuple[bytes, float]:
        left, right = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=left)
        right.sendall(b"x")
        received = await asyncio.wait_for(reader.read(1), 1.0)
        writer.close()
        right.close()
        return received, clock.now()

    assert virtual.run(scenario) == (b"x", virtual.START)


def test_a_test_that_waits_for_nothing_fails() -> None:
    """A future that nobody will set is told, instead of hanging the test."""

    async def scenario(clock: Clock) -> None:
        await clock.loop.create_future()

    with pytest.raises(virtual.Stuck):
        virtual.run(scenario)


def test_a_task_left_behind_fails() -> None:
    """A scenario has to end what it began."""

    async def scenario(clock: Clock) -> None:
        task = clock.loop.create_task(asyncio.sleep(10.0))
        await virtual.turn()
        scenario.kept = task  # type: ignore[attr-defined]

    with pytest.raises(AssertionError, match="left behind"):
        virtual.run(scenario)
