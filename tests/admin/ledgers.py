"""Ledgers to administer: the rules of core/idempotency.py over a table, clocks that the test sets, and outages."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from proxy.core import idempotency as core
from proxy.core.idempotency import Answer, Claim, Concluded, Conclusion, Record, Reserved, State, Subject
from proxy.stores.base import StoreError

SUBJECT = Subject("stripe", "charges", "POST", "/v1/charges?expand=x", "order-17")
OK = Conclusion(Concluded.DONE, status=201, answer=Answer(201, b"Created", (), b"spoon"))
LOST = Conclusion(Concluded.UNKNOWN)


def named(key: str) -> str:
    return f"{ord(key):032x}"


def claim(key: str = "a", token: str = "e-1", **other: Any) -> Claim:
    made = Claim(named(key), token, "f", 60.0, 3600.0, 0.0, "n", resend=False, subject=SUBJECT)
    return made._replace(**other)


class FakeLedger:
    """A ledger outside of this process, with a clock of its own; it may be away."""

    name = "redis"
    instant = False
    count: int | None = None
    bytes: int | None = None
    limit: int | None = None
    evictions = 0

    def __init__(self, time: float = 0.0) -> None:
        self.time = time
        self.records: dict[str, Record] = {}
        self.why = ""
        self.before_settling: Callable[[], object] = lambda: None
        self.after_looking: Callable[[], object] = lambda: None

    def now(self) -> float:
        return self.time

    @property
    def up(self) -> bool:
        return not self.why

    @property
    def unknown(self) -> int:
        return len(self.doubted(None))

    def doubted(self, api: str | None) -> list[Record]:
        records = sorted(self.records.values(), key=lambda record: record.created)
        unknown = [each for each in records if core.state_at(each, self.time) is State.UNKNOWN]
        return [each for each in unknown if api in {None, each.subject.api}]

    def ask(self, what: str) -> None:
        if not self.up:
            raise StoreError(self.name, what, self.why)

    async def reserve(self, claim: Claim) -> Reserved:
        reserved = core.reserve(self.records.get(claim.ident), claim, self.time)
        self.records[claim.ident] = reserved.record
        return reserved

    async def renew(self, ident: str, token: str, lease: float) -> bool:
        return core.renew(self.records.get(ident), token, lease, self.time)

    async def finish(self, ident: str, token: str, conclusion: Conclusion) -> bool:
        return core.finish(self.records.get(ident), token, conclusion, self.time)

    async def settle(self, ident: str, *, done: bool) -> bool:
        self.before_settling()
        self.ask("settle")
        record = self.records.get(ident)
        if record is None or core.state_at(record, self.time) is not State.UNKNOWN:
            return False
        if not done:
            del self.records[ident]
        return not done or core.settle(record, self.time)

    async def look(self, ident: str) -> Record | None:
        self.ask("look")
        self.after_looking()
        return copy.copy(self.records.get(ident))

    async def unsettled(self, *, api: str | None, limit: int) -> list[Record]:
        self.ask("list")
        return [copy.copy(record) for record in self.doubted(api)[:limit]]

    async def close(self) -> None:
        pass


class FakeLedgers:
    """Two of them: what this one calls 5000 is 100 to that one."""

    def __init__(self) -> None:
        self.stores = {"shared": FakeLedger(5000.0), "ledger": FakeLedger(100.0)}

    def now(self, name: str) -> float:
        return self.stores[name].time

    async def settle(self, name: str, ident: str, *, done: bool) -> bool:
        return await self.stores[name].settle(ident, done=done)

    async def pass_time(self, seconds: float) -> None:
        for store in self.stores.values():
            store.time += seconds

    async def put(self, store: str, conclusion: Conclusion | None, key: str = "a", **other: Any) -> None:
        """A record in that ledger; without a conclusion it is still under way."""
        await self.stores[store].reserve(claim(key, **other))
        if conclusion is not None:
            await self.stores[store].finish(named(key), "e-1", conclusion)
