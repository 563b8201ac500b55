"""A program to administer: all that its operator can see or do, in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import pytest
from aiohttp.test_utils import TestClient
from aiohttp.web import Application, Request

from proxy.admin.control import Forced

Client: TypeAlias = TestClient[Request, Application]
MakeClient: TypeAlias = Callable[[Application], Awaitable[Client]]


class FakeControl:
    """A Control that remembers what it was asked to do."""

    def __init__(self) -> None:
        self.forced: dict[str, str] = {"weather": "auto", "stripe/charges": "auto"}
        self.problems: list[str] = []
        self.level = "info"
        self.reloads = 0

    def status(self) -> dict[str, Any]:
        return {"version": "0.1.0", "ready": True, "uptime_seconds": 12.5}

    def breakers(self) -> list[dict[str, Any]]:
        return [{"name": name, "state": "closed", "forced": forced} for name, forced in self.forced.items()]

    def buckets(self) -> list[dict[str, Any]]:
        return [{"name": "weather", "tokens": 49.123456789, "burst": 50}]

    def pools(self) -> list[dict[str, Any]]:
        return []

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
