"""A third-party API that misbehaves as the schedule says, and counts what reaches it.

An order is for one caller and says nothing of caches. The price list says that caches may keep it for a moment.

Two of them are started by stage.py: one for each agent, so that neither sees the other's load.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from aiohttp import web

from proxy.clock import Clock
from proxy.demo.schedule import MAX_AGE, PRICES, Fate, Kind, Schedule

_FOREVER: Final = 3600.0


class Vendor:
    """An aiohttp server on a free port of the loopback interface."""

    def __init__(self, schedule: Schedule, clock: Clock) -> None:
        self.arrivals: list[float] = []  # of requests, in seconds since the start of the story
        self.reads: list[float] = []  # those of them that were for the price list
        self._schedule = schedule
        self._clock = clock
        self._started_at: float | None = None  # monotonic seconds; None before the story begins
        self._visits: Counter[int] = Counter()
        app = web.Application()
        app.router.add_get("/v1/orders/{number:\\d+}", self._order)
        app.router.add_get("/v1/prices", self._prices)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)

    async def open(self) -> str:
        """Listen; returns the base URL."""
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    def begin(self, now: float) -> None:
        """The story starts now."""
        self._started_at = now

    async def close(self) -> None:
        """Stop listening, and drop what hangs."""
        await self._runner.cleanup()

    async def _order(self, request: web.Request) -> web.StreamResponse:
        number = int(request.match_info["number"])
        moment = self._moment()
        self.arrivals.append(moment)
        if await self._fails(self._fate(number, moment)):
            return _unavailable()
        return web.json_response({"order": number, "state": "shipped"})

    async def _prices(self, _: web.Request) -> web.StreamResponse:
        moment = self._moment()
        self.arrivals.append(moment)
        self.reads.append(moment)
        if await self._fails(self._fate(PRICES, moment)):
            return _unavailable()
        prices = {"prices": {"lamp": 39, "chair": 129}, "as_of": round(self._moment(), 3)}
        return web.json_response(prices, headers={"Cache-Control": f"max-age={MAX_AGE}"})

    async def _fails(self, fate: Fate) -> bool:
        """Whether it is to be an error; after as long as this request takes."""
        await self._clock.sleep(_FOREVER if fate.kind is Kind.HANG else fate.delay)
        return fate.kind is Kind.ERROR

    def _moment(self) -> float:
        return 0.0 if self._started_at is None else self._clock.now() - self._started_at

    def _fate(self, number: int, moment: float) -> Fate:
        fate = self._schedule.fate(number, self._visits[number], moment)
        self._visits[number] += 1
        return fate


def _unavailable() -> web.Response:
    return web.json_response({"error": "service unavailable"}, status=503)
