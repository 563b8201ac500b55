"""The rows with faults: an outage of a minute, and a vendor of whose answers 17% fail.

Called by run.py. Every proxy gets a vendor of its own and is called at the same time as the others: the load is
light, the time is long.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from bench.peers import Peer, Policies, Target, started
from bench.process import free_ports
from bench.upstream import Upstream
from bench.vendor import Vendor


@dataclass(frozen=True)
class Plan:
    """The course of the outage and of the faulty vendor, in seconds and calls."""

    lead: float = 8.0
    outage: float = 60.0
    after: float = 90.0
    interval: float = 4.0
    calls: int = 1000
    rate: float = 50.0
    unavailable: float = 0.12
    hang: float = 0.05


@dataclass
class Calls:
    """What the agent saw: (when it called, seconds it took, status or 0)."""

    seen: list[tuple[float, float, int]] = field(default_factory=list)

    async def make(self, session: aiohttp.ClientSession, url: str) -> int:
        """One call."""
        started_at = time.monotonic()
        status = 0
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with session.get(url) as response:
                await response.read()
                status = response.status
        self.seen.append((started_at, time.monotonic() - started_at, status))
        return status


def agent(gives_up: float) -> aiohttp.ClientSession:
    """A plain HTTP client, without retries of its own; ``gives_up`` after so many seconds."""
    limit = aiohttp.ClientTimeout(total=gives_up)
    return aiohttp.ClientSession(timeout=limit, connector=aiohttp.TCPConnector(limit=0))


@contextlib.asynccontextmanager
async def stage(
    peers: Sequence[Peer], folder: Path, ca_file: Path, policies: Policies, **vendor_settings: float
) -> AsyncIterator[list[tuple[Target, Vendor]]]:
    """Every proxy before a vendor of its own; the direct way comes first."""
    async with contextlib.AsyncExitStack() as stack:
        pairs = []
        for peer in [None, *peers]:
            [port] = free_ports(1)
            vendor = Vendor(port)
            await vendor.start()
            stack.push_async_callback(vendor.stop)
            target = Target("direct", port, port)
            if peer is not None:
                process = started(peer, folder, Upstream(port, port, ca_file), policies)
                target, _ = await asyncio.to_thread(process.__enter__)
                stack.callback(process.__exit__, None, None, None)
            vendor.unavailable = vendor_settings.get("unavailable", 0.0)
            vendor.hang = vendor_settings.get("hang", 0.0)
            pairs.append((target, vendor))
        yield pairs


async def one_outage(target: Target, vendor: Vendor, plan: Plan, kind: str) -> dict[str, float]:
    """An outage as one agent sees it, with a call every few seconds."""
    calls = Calls()
    async with agent(30.0) as session:
        course = asyncio.create_task(paced(calls, session, target.url("/small"), plan))
        await asyncio.sleep(plan.lead - plan.interval / 2)
        vendor.calls, vendor.down, began = 0, True, time.monotonic()
        if kind == "refused":
            await vendor.stop()
        await asyncio.sleep(plan.outage)
        reached, vendor.down, ended = vendor.calls, False, time.monotonic()
        if kind == "refused":
            await vendor.start()
        await asyncio.sleep(plan.after)
        course.cancel()
        await asyncio.gather(course, return_exceptions=True)
    return outage_figures(calls, began, ended, kind, reached)


async def paced(calls: Calls, session: aiohttp.ClientSession, url: str, plan: Plan) -> None:
    """Call at fixed times, whether or not the last call is over."""
    async with asyncio.TaskGroup() as group:
        while True:
            group.create_task(calls.make(session, url))
            await asyncio.sleep(plan.interval)


def outage_figures(calls: Calls, began: float, ended: float, kind: str, reached: int) -> dict[str, float]:
    """The row: attempts that reached the upstream, the worst call, and when the agent was served again."""
    during = [seconds for at, seconds, _ in calls.seen if began <= at < ended]
    served = [at + seconds - ended for at, seconds, status in calls.seen if at >= ended and status == 200]
    figures = {f"{kind}_worst": max(during), f"{kind}_again": min(served, default=float("inf"))}
    # A refused connection never reaches the vendor, so there is nothing to count.
    return figures if kind == "refused" else {f"{kind}_attempts": float(reached), **figures}


async def outages(peers: Sequence[Peer], folder: Path, ca_file: Path, plan: Plan) -> dict[str, dict[str, float]]:
    """Both kinds of outage at once, for every proxy."""
    async with contextlib.AsyncExitStack() as stack:
        work = []
        for kind in ("503", "refused"):
            own = folder / kind
            own.mkdir(exist_ok=True)
            pairs = await stack.enter_async_context(stage(peers, own, ca_file, Policies()))
            work += [(target.name, one_outage(target, vendor, plan, kind)) for target, vendor in pairs]
        results = await asyncio.gather(*(course for _, course in work))
    merged: dict[str, dict[str, float]] = {}
    for (name, _), figures in zip(work, results, strict=True):
        merged.setdefault(name, {}).update(figures)
    return merged


async def faulty(peers: Sequence[Peer], folder: Path, ca_file: Path, plan: Plan) -> dict[str, dict[str, float]]:
    """Random faults, the same draw for every proxy."""
    policies = Policies(attempts=4, budget_percent=50, first_byte=0.3)
    own = folder / "faulty"
    own.mkdir(exist_ok=True)
    async with stage(peers, own, ca_file, policies, unavailable=plan.unavailable, hang=plan.hang) as pairs:
        results = await asyncio.gather(*(one_faulty(target, vendor, plan) for target, vendor in pairs))
        return {target.name: figures for (target, _), figures in zip(pairs, results, strict=True)}


async def one_faulty(target: Target, vendor: Vendor, plan: Plan) -> dict[str, float]:
    """A thousand calls at a fixed rate, open loop."""
    calls = Calls()
    vendor.calls = 0
    async with agent(10.0) as session, asyncio.TaskGroup() as group:
        for _ in range(plan.calls):
            group.create_task(calls.make(session, target.url("/small")))
            await asyncio.sleep(1 / plan.rate)
    errors = sum(status != 200 for _, _, status in calls.seen)
    durations = sorted(seconds for _, seconds, _ in calls.seen)
    return {
        "faulty_errors": 100 * errors / plan.calls,
        "faulty_p99": 1000 * statistics.quantiles(durations, n=100)[98],
        "faulty_attempts": vendor.calls / plan.calls,
    }
