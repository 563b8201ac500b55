"""Time, chance and tasks: the only module that may touch them (the linter bans them elsewhere).

Cores get ``now`` and random numbers as arguments; shells and the wire get a ``Clock``. Tests run the
same class on a loop whose time is virtual (tests/support/virtual.py).
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar, cast

T = TypeVar("T")
_log = logging.getLogger("backstay")


class Timer:
    """A callback that a wheel will make once, unless cancelled."""

    __slots__ = ("callback", "slot", "when")

    def __init__(self, when: float, callback: Callable[[], None], slot: dict[Timer, None]) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback
        self.slot = slot

    def cancel(self) -> None:
        """Make sure that the callback is never made; harmless afterwards and when repeated."""
        if self.callback is not None:
            self.callback = None
            self.slot.pop(self, None)


class Wheel:
    """A hashed timer wheel (Varghese and Lauck, 1987): O(1) to set and to cancel, coarse by one tick.

    One ``call_later`` of the loop serves all timers; it is armed only while a timer is set.
    """

    _SLOTS: Final = 512

    def __init__(self, loop: asyncio.AbstractEventLoop, now: Callable[[], float], tick: float) -> None:
        self._loop = loop
        self._now = now
        self._tick = tick
        self._slots: list[dict[Timer, None]] = [{} for _ in range(self._SLOTS)]
        self._position = int(now() / tick)
        self._handle: asyncio.TimerHandle | None = None

    def at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` at ``when`` (monotonic seconds), at most one tick late, never early."""
        if self._handle is None:
            self._position = int(self._now() / self._tick)
            self._handle = self._loop.call_later(self._tick, self._turn)
        index = max(int(when / self._tick) + 1, self._position + 1)
        slot = self._slots[index % self._SLOTS]
        timer = Timer(when, callback, slot)
        slot[timer] = None
        return timer

    def _turn(self) -> None:
        now = self._now()
        target = int(now / self._tick)
        steps = min(target - self._position, self._SLOTS)
        self._position = target  # first: what a callback sets must not land in a slot that has been passed
        for position in range(target - steps + 1, target + 1):
            self._fire(self._slots[position % self._SLOTS], now)
        busy = any(self._slots)
        self._handle = self._loop.call_later(self._tick, self._turn) if busy else None

    def _fire(self, slot: dict[Timer, None], now: float) -> None:
        for timer in [timer for timer in slot if timer.when <= now]:
            callback, timer.callback = timer.callback, None
            slot.pop(timer, None)
            if callback is not None:
                self._call(callback)

    def _call(self, callback: Callable[[], None]) -> None:
        """A defect in one callback must not take the others their time."""
        try:
            callback()
        except Exception as error:  # noqa: BLE001 -- the loop's own callbacks are treated alike
            self._loop.call_exception_handler({"message": f"timer {callback!r} failed", "exception": error})


class _Begun:
    """A coroutine that has run to its first wait; a task takes it on from there. A Coroutine by its methods."""

    __slots__ = ("_waits_for", "_work")

    def __init__(self, work: Coroutine[Any, Any, None], waits_for: Any) -> None:
        self._work = work
        self._waits_for: Any = (waits_for,)

    def send(self, value: Any) -> Any:
        """See Coroutine. The first call, a task's first step, learns what the work waits for already."""
        if self._waits_for is None:
            return self._work.send(value)
        (waits_for,), self._waits_for = self._waits_for, None
        return waits_for

    def throw(self, *error: Any) -> Any:
        """See Coroutine."""
        self._waits_for = None
        return self._work.throw(*error)

    def close(self) -> None:
        """See Coroutine."""
        self._work.close()

    def __await__(self) -> Any:
        return self


class Clock:
    """Monotonic and wall time in seconds, chance in [0, 1), timers, and supervised tasks."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.loop = loop
        self.now = now
        self.wall = wall
        self.chance = chance
        self._fine = Wheel(loop, now, tick=0.02)
        self._coarse = Wheel(loop, now, tick=1.0)
        self._tasks: set[asyncio.Task[Any]] = set()

    def at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` at ``when`` (monotonic seconds), within 20 ms."""
        return self._fine.at(when, callback)

    def about(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` at ``when`` (monotonic seconds), within a second: for idle limits."""
        return self._coarse.at(when, callback)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def wait(self, awaitable: Awaitable[T], seconds: float, error: Exception) -> T:
        """Await with a limit; raises ``error`` when it runs out."""
        if asyncio.current_task() is None:
            await asyncio.sleep(0)  # a limit of time needs a task, and work that was begun has none yet
        try:
            async with asyncio.timeout(seconds):  # wait_for of 3.11 swallows a cancellation that comes with the result
                return await awaitable
        except TimeoutError:
            raise error from None

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work``, which lets no exception out, as a task that its owner keeps: for the hot path.

        All bear one name, since asyncio would make up a new one for each.
        """
        return asyncio.Task(work, loop=self.loop, name="call")

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        """The same, at once as far as it goes: None if it has ended, and what needs no wait has cost no task.

        What does wait costs more than with ``start``: for work that mostly does not.
        """
        try:
            waits_for = work.send(None)
        except StopIteration:
            return None
        begun = cast("Coroutine[Any, Any, None]", _Begun(work, waits_for))
        return asyncio.Task(begun, loop=self.loop, name="call")

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run ``work`` as a task that is kept alive, and whose failure is logged."""
        task = self.loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("task %s failed", task.get_name(), exc_info=error)

    async def stop(self) -> None:
        """Cancel every task that ``spawn`` started, and wait for them."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
