"""A vendor that misbehaves on request: an outage from one moment to another, or random faults by a fixed seed.

Used by faults.py, in its event loop. It counts the calls that reach it.
"""

from __future__ import annotations

import asyncio
import random

from aiohttp import web


class Vendor:
    """One upstream for one proxy, so that what reaches it can be counted."""

    def __init__(self, port: int, *, unavailable: float = 0.0, hang: float = 0.0, seed: int = 7) -> None:
        self.port = port
        self.unavailable = unavailable  # share of calls answered 503
        self.hang = hang  # share of calls never answered
        self.down = False
        self.calls = 0
        self._chance = random.Random(seed)
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)  # 0 would mean: wait for ever
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, backlog=512).start()

    async def stop(self) -> None:
        """Close the listener and every connection: calls are refused from now on."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, _: web.Request) -> web.Response:
        self.calls += 1
        drawn = self._chance.random()
        if self.down or drawn < self.unavailable:
            return web.json_response({"error": "unavailable"}, status=503)
        if drawn < self.unavailable + self.hang:
            await asyncio.sleep(3600)
        return web.json_response({"ok": True})
