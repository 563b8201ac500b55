"""An event loop whose time is virtual: a test of ten minutes takes none. For tests of everything that waits.

When nothing is ready, the loop does not sleep: it moves its clock to the next timer. File descriptors still work
(a call over loopback is given a moment of real time before the clock moves), so that the wire can be tested on it.

    def test_waits() -> None:
        async def scenario(clock: Clock) -> None: ...
        virtual.run(scenario)

or, where pytest-asyncio makes the loop, ``{"virtual": VirtualLoop}`` as its loop factories and ``clock_of()``.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

from proxy.clock import Clock

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

T = TypeVar("T")

START: Final = 1_000.0  # monotonic seconds at which every virtual loop begins
EPOCH: Final = 1_700_000_000.0  # wall time at START
_SETTLE_SECONDS: Final = 0.002  # of real time for bytes on loopback to arrive, before virtual time moves
_CONNECT_SECONDS: Final = 0.1  # the same where something waits to be writable: a connection, on a busy machine
_STUCK_SECONDS: Final = 1.0  # of real time without an event and without a timer


class Stuck(RuntimeError):
    """Nothing is ready, no timer is set: whatever the test awaits will never come."""


class _Selector(selectors.BaseSelector):
    """Polls for real, and turns the wait for a timer into a step of the clock."""

    def __init__(self, step: Callable[[float], None]) -> None:
        self._real = selectors.DefaultSelector()
        self._step = step
        self._busy = True  # bytes were on their way since the last step, or a connection

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready or timeout == 0:
            self._busy = self._busy or bool(ready)
            return ready
        if timeout is None:
            ready = self._real.select(_STUCK_SECONDS)
            if not ready:
                raise Stuck
            return ready
        if self._busy:
            ready = self._real.select(self._settle_seconds())
        if not ready:
            self._busy = False
            self._step(timeout)
        return ready

    def _settle_seconds(self) -> float:
        writing = any(key.events & selectors.EVENT_WRITE for key in self._real.get_map().values())
        return _CONNECT_SECONDS if writing else _SETTLE_SECONDS

    def register(self, fileobj: FileDescriptorLike, events: int, data: object = None) -> selectors.SelectorKey:
        self._busy = True
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: FileDescriptorLike, events: int, data: object = None) -> selectors.SelectorKey:
        self._busy = True
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> object:  # type: ignore[override]
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that starts at START and moves by its timers alone."""

    def __init__(self) -> None:
        self._virtual_now = START
        super().__init__(_Selector(self.advance))

    def time(self) -> float:
        return self._virtual_now

    def advance(self, seconds: float) -> None:
        """Let time pass without running anything: due timers run when the loop is next given control."""
        self._virtual_now += seconds


def clock_of(loop: asyncio.AbstractEventLoop | None = None, *, chance: Callable[[], float] = lambda: 0.5) -> Clock:
    """The Clock of a virtual loop (the running one, if not given); its chance is fixed unless given."""
    at = asyncio.get_running_loop() if loop is None else loop
    return Clock(at, now=at.time, wall=lambda: EPOCH + at.time() - START, chance=chance)


async def turn(times: int = 3) -> None:
    """Let what is ready run, without letting time pass."""
    for _ in range(times):
        await asyncio.sleep(0)


def run(scenario: Callable[[Clock], Awaitable[T]], *, chance: Callable[[], float] = lambda: 0.5) -> T:
    """Run ``scenario`` with a virtual clock to its end; tasks that it leaves behind are an error."""

    async def supervised() -> T:
        clock = clock_of(chance=chance)
        try:
            return await scenario(clock)
        finally:
            await clock.stop()
            await turn()  # what was cancelled at last ends now
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"tasks left behind: {left}"

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(supervised())
