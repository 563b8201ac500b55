"""A program to administer: all that its operator can see or do, in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import pytest
from aiohttp.test_utils import TestClient
from aiohttp.web import Application, Request

from proxy.admin.control import Forced, NotSettled, Settled, StoreDown

Client: TypeAlias = TestClient[Request, Application]
MakeClient: TypeAlias = Callable[[Application], Awaitable[Client]]


class FakeControl:
    """A Control that remembers what it was asked to do."""

    def __init__(self) -> None:
        self.forced: dict[str, str] = {"weather": "auto", "stripe/charges": "auto"}
        self.problems: list[str] = []
        self.level = "info"
        self.reloads = 0
        self.answers = [
            {"id": "a" * 32, "api": "weather", "route": "default", "target": "/today", "store": "memory"},
            {"id": "b" * 32, "api": "weather", "route": "own", "target": "/now", "store": "memory"},
            {"id": "c" * 32, "api": "stripe", "route": "default", "target": "/v1/plans", "store": "shared"},
        ]
        self.calls = [
            {"id": "d" * 32, "api": "stripe", "state": "unknown", "store": "ledger"},
            {"id": "e" * 32, "api": "paypal", "state": "unknown", "store": "ledger"},
            {"id": "f" * 32, "api": "stripe", "state": "running", "store": "memory"},
        ]
        self.down: StoreDown | None = None

    def status(self) -> dict[str, Any]:
        return {"version": "0.1.0", "ready": True, "uptime_seconds": 12.5}

    def breakers(self) -> list[dict[str, Any]]:
        return [{"name": name, "state": "closed", "forced": forced} for name, forced in self.forced.items()]

    def buckets(self) -> list[dict[str, Any]]:
        return [{"name": "weather", "tokens": 49.123456789, "burst": 50}]

    def pools(self) -> list[dict[str, Any]]:
        return []

    def stores(self) -> list[dict[str, Any]]:
        return [{"name": "memory", "state": "up", "entries": len(self.answers), "bytes": 1234, "limit": 67108864}]

    async def cached(self, *, api: str | None, route: str | None, limit: int) -> list[dict[str, Any]]:
        return self.fitting(api, route, None)[:limit]

    async def look(self, ident: str) -> dict[str, Any] | None:
        return next((each | {"headers": []} for each in self.fitting(None, None, ident)), None)

    async def purge(self, *, api: str | None = None, route: str | None = None, ident: str | None = None) -> int:
        gone = self.fitting(api, route, ident)
        self.answers = [each for each in self.answers if each not in gone]
        return len(gone)

    def fitting(self, api: str | None, route: str | None, ident: str | None) -> list[dict[str, Any]]:
        if self.down is not None:
            raise self.down
        wanted = {"api": api, "route": route, "id": ident}
        return [each for each in self.answers if all(value in (None, each[key]) for key, value in wanted.items())]

    def ledgers(self) -> list[dict[str, Any]]:
        return [
            {"name": "ledger", "state": "up", "why": None, "unknown": 2, "weaknesses": []},
            {"name": "memory", "state": "up", "why": None, "unknown": 0, "weaknesses": ["a", "b"]},
        ]

    async def unsettled(self, *, api: str | None, store: str | None, limit: int) -> list[dict[str, Any]]:
        return [each for each in self.recorded(api, store) if each["state"] == "unknown"][:limit]

    async def record(self, ident: str, *, store: str | None) -> dict[str, Any] | None:
        return next((each for each in self.recorded(None, store) if each["id"] == ident), None)

    async def settle(self, ident: str, outcome: Settled, *, store: str | None) -> dict[str, Any] | None:
        found = await self.record(ident, store=store)
        if found is not None and found["state"] != "unknown":
            raise NotSettled("There is no doubt.", [found])
        if found is None or outcome == "done":
            return found and found | {"state": outcome}
        self.calls.remove(found)
        return {"id": ident, "outcome": outcome}

    def recorded(self, api: str | None, store: str | None) -> list[dict[str, Any]]:
        if self.down is not None:
            raise self.down
        return [each for each in self.calls if api in {None, each["api"]} and store in {None, each["store"]}]

    def force_breaker(self, name: str, state: Forced) -> bool:
        if name not in self.forced:
            return False
        self.forced[name] = state
        return True

    def effective_config(self) -> dict[str, Any]:
        return {"admin_token": "***", "apis": {"weather": {"url": "https://weather.test"}}}

    async def reload(self) -> list[str]:
        self.reloads += 1
        return self.problems

    def set_log_level(self, level: str) -> None:
        if level not in {"debug", "info"}:
            raise ValueError(f"{level!r} is not a log level; use one of debug, info")
        self.level = level


@pytest.fixture
def control() -> FakeControl:
    return FakeControl()
