"""A LedgerStore that is asked over a wire, and goes as a test has planned. For tests of what uses a ledger.

remote = Remote(clock)
remote.plan("reserve", fails, held(gate))     # the first one fails, the second waits; and so on as it should
remote.plan("finish done", loses)             # finish done | finish unknown | finish released
remote.go()                                   # it cannot be asked, until it comes back: remote.come()
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from proxy.clock import Clock
from proxy.core.idempotency import Claim, Conclusion, Record, Reserved, Subject
from proxy.stores.base import StoreError
from proxy.stores.ledger import LedgerFull
from proxy.stores.ledger_memory import MemoryLedger

Work: TypeAlias = Callable[[], Awaitable[Any]]
Plan: TypeAlias = Callable[["Remote", str, Work], Awaitable[Any]]


async def does(store: Remote, what: str, work: Work) -> Any:
    """As it should be."""
    return await work()


async def fails(store: Remote, what: str, work: Work) -> Any:
    """Nothing is done."""
    raise StoreError(store.name, what, "away")


async def full(store: Remote, what: str, work: Work) -> Any:
    """There is no room."""
    raise LedgerFull(store.name, what, "full")


async def loses(store: Remote, what: str, work: Work) -> Any:
    """It is done, and nobody hears of it."""
    await work()
    raise StoreError(store.name, what, "away")


def held(gate: asyncio.Event, then: Plan = does) -> Plan:
    """It begins when the gate is open."""

    async def plan(store: Remote, what: str, work: Work) -> Any:
        await gate.wait()
        return await then(store, what, work)

    return plan


def slow(gate: asyncio.Event) -> Plan:
    """It is done at once, and told when the gate is open."""

    async def plan(store: Remote, what: str, work: Work) -> Any:
        done = await work()
        await gate.wait()
        return done

    return plan


class Remote:
    """A LedgerStore that is asked over a wire: everything takes a turn of the loop, and goes as the test has planned.

    remote.plan("reserve", fails, does)      # the first one fails, the second does not; and so on as it should
    """

    name = "remote"
    instant = False

    def __init__(self, clock: Clock, *, limit: int = 1 << 20) -> None:
        self.records = MemoryLedger(limit, clock.now)
        self.up = True
        self.why = ""
        self.asked: list[str] = []
        self.closed = False
        self.limit: int | None = None
        self._plans: defaultdict[str, deque[Plan]] = defaultdict(deque)

    def now(self) -> float:
        return self.records.now()

    def plan(self, what: str, *plans: Plan) -> None:
        self._plans[what].extend(plans)

    def forget_plans(self) -> None:
        """From now on it goes as it should."""
        self._plans.clear()

    def go(self) -> None:
        """It goes away: it cannot be asked."""
        self.up, self.why = False, "away"

    def come(self) -> None:
        """It is back."""
        self.up, self.why = True, ""

    async def _do(self, what: str, work: Work) -> Any:
        self.asked.append(what)
        if not self.up:
            raise StoreError(self.name, what, self.why)
        await asyncio.sleep(0)
        plans = self._plans[what]
        return await (plans.popleft() if plans else does)(self, what, work)

    async def reserve(self, claim: Claim) -> Reserved:
        reserved: Reserved = await self._do("reserve", lambda: self.records.reserve(claim))
        return reserved

    async def renew(self, ident: str, token: str, lease: float) -> bool:
        return bool(await self._do("renew", lambda: self.records.renew(ident, token, lease)))

    async def finish(self, ident: str, token: str, conclusion: Conclusion) -> bool:
        told = f"finish {conclusion.what.value}"
        return bool(await self._do(told, lambda: self.records.finish(ident, token, conclusion)))

    async def settle(self, ident: str, *, done: bool) -> bool:
        return bool(await self._do("settle", lambda: self.records.settle(ident, done=done)))

    async def look(self, ident: str) -> Record | None:
        return await self.records.look(ident)

    async def unsettled(self, *, api: str | None, limit: int) -> list[Record]:
        return await self.records.unsettled(api=api, limit=limit)

    async def close(self) -> None:
        self.closed = True
        self.go()

    @property
    def count(self) -> int | None:
        return self.records.count

    @property
    def bytes(self) -> int | None:
        return self.records.bytes

    @property
    def unknown(self) -> int:
        return self.records.unknown

    @property
    def evictions(self) -> int:
        return self.records.evictions


def claim(ident: str = "a" * 32, token: str = "t-1", **changes: Any) -> Claim:
    """What somebody wants to reserve."""
    plain = Claim(
        ident, token, "f", 60.0, 86400.0, 0.0, "nonce", False, Subject("vendor", "default", "POST", "/v1/pay", "one")
    )
    return plain._replace(**changes)
