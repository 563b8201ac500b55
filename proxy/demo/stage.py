"""Runs the demonstration: two vendors, two agents, one Backstay; and ends all of them whatever happens.

Called by ``backstay demo`` (proxy/cli.py). The agents and Backstay are processes of their own, the vendors
live here. A Ctrl-C or SIGTERM cancels the story, and every child is ended before the command returns.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proxy.clock import Clock
from proxy.demo import DURATION, SEED
from proxy.demo.schedule import READ_EACH, Phase, Schedule
from proxy.demo.screen import Frame, Screen, View, choose
from proxy.demo.sidecar import Sidecar, end
from proxy.demo.stats import Record
from proxy.demo.vendor import Vendor
from proxy.demo.verdict import HOW_TO, Outcome, Verdict

_REFRESH: Final = 0.2


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked for; ``duration`` in seconds."""

    duration: float = DURATION
    seed: int = SEED
    json: bool = False


class Side:
    """One agent with the vendor that it calls, directly or not."""

    def __init__(self, schedule: Schedule, clock: Clock) -> None:
        self.vendor = Vendor(schedule, clock)
        self.record = Record(schedule)
        self._schedule = schedule
        self._clock = clock
        self._process: asyncio.subprocess.Process | None = None
        self.reading: asyncio.Task[None] | None = None

    async def cast(self, base: str) -> None:
        """Start the agent on ``base``; it waits for ``begin``."""
        schedule = self._schedule
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "proxy.demo.agent", base),
            *("--calls", str(schedule.calls), "--every", str(schedule.every), "--read-each", str(READ_EACH)),
            *("--timeout", str(schedule.patience)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self.reading = self._clock.spawn(self._read(self._process), "demo agent")

    def begin(self, now: float) -> None:
        """The story starts now, for the vendor and for the agent."""
        self.vendor.begin(now)
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(b"go\n")

    def view(self, moment: float) -> View:
        """What the screen shows of this side."""
        reached = self.outcome().reached(Phase.OUTAGE)
        return View(self.record, waiting=self.record.waiting(moment), reached=reached)

    def outcome(self) -> Outcome:
        """What became of this side so far."""
        return Outcome(self.record, self.vendor.arrivals, self.vendor.reads)

    async def stop(self) -> None:
        """End the agent and the vendor."""
        if self._process is not None:
            await end(self._process, self._clock)
        await self.vendor.close()

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is not None:
            async for line in process.stdout:
                self.record.add(line)


class Stage:
    """Everything that takes part."""

    def __init__(self, schedule: Schedule, clock: Clock, folder: Path) -> None:
        self._schedule = schedule
        self._clock = clock
        self._direct = Side(schedule, clock)
        self._ours = Side(schedule, clock)
        self._sidecar = Sidecar(folder, clock)

    async def play(self, screen: Screen) -> Verdict:
        """Tell the story from start to end; raises DemoError."""
        async with AsyncExitStack() as stack:
            for stop in (self._clock.stop, self._direct.stop, self._ours.stop, self._sidecar.stop):
                stack.push_async_callback(stop)
            await self._open()
            await self._watch(screen)
        return Verdict(self._schedule, self._direct.outcome(), self._ours.outcome())

    async def _open(self) -> None:
        await self._direct.cast(await self._direct.vendor.open())
        await self._sidecar.start(await self._ours.vendor.open(), self._schedule.scale)
        await self._ours.cast(self._sidecar.base)
        await self._clock.sleep(0.5)  # both agents have read their command lines and wait
        self._start = self._clock.now()
        for side in (self._direct, self._ours):
            side.begin(self._start)

    async def _watch(self, screen: Screen) -> None:
        readers = [side.reading for side in (self._direct, self._ours) if side.reading is not None]
        limit = self._schedule.duration + self._schedule.patience + 5
        while True:
            moment = self._clock.now() - self._start
            screen.show(await self._frame(moment))
            if all(reader.done() for reader in readers) or moment > limit:
                return
            await self._clock.sleep(_REFRESH)

    async def _frame(self, moment: float) -> Frame:
        breaker = await self._sidecar.breaker()
        return Frame(self._schedule, moment, breaker, self._direct.view(moment), self._ours.view(moment))


@asynccontextmanager
async def _cancelled_by_sigterm() -> AsyncIterator[None]:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is not None:
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


async def _play(schedule: Schedule, screen: Screen) -> Verdict:
    clock = Clock(asyncio.get_running_loop())
    with tempfile.TemporaryDirectory(prefix="backstay-demo-") as folder, screen:
        async with _cancelled_by_sigterm():
            return await Stage(schedule, clock, Path(folder)).play(screen)


def run(options: Options) -> int:
    """Play the demonstration and print its verdict; 0 if it showed what it should, 1 if not.

    Raises DemoError, and KeyboardInterrupt once everything has been ended.
    """
    schedule = Schedule(options.seed, options.duration)
    try:
        verdict = asyncio.run(_play(schedule, choose(quiet=options.json)))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    if options.json:
        print(json.dumps(verdict.as_json()))
    else:
        print("\n" + "\n".join(verdict.lines()) + "\n\n" + HOW_TO)
    return 0 if verdict.passed else 1
