"""The cost of the chain: microseconds for a call through every policy, in process, before an upstream without cost.

Run by run.py as ``PYTHON bench/chain.py CONFIG`` with the Python of either build, so that `proxy` is that build's.
Prints the difference between a call through the chain and one straight to the upstream; the best of five runs, since
whatever else the machine does only adds.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import uvloop

from proxy.chain import link
from proxy.clock import Clock
from proxy.config.load import load
from proxy.model import Attempt, Exchange, Headers, Request, Response
from proxy.state import Parts, Survivors
from proxy.telemetry.log import AccessLog
from proxy.telemetry.metrics import Registry

CALLS = 50_000
FIELDS = ((b"Host", b"api.example"), (b"User-Agent", b"agent/1"), (b"Accept", b"application/json"))

Call = Callable[[Exchange], Coroutine[Any, Any, Response]]


def calls_of(config_file: str, clock: Clock) -> tuple[Call, Call]:
    """A call through the chain of the first api of a configuration, and one that has no chain."""

    async def upstream(attempt: Attempt) -> Response:
        attempt.sent(clock.now())
        attempt.first_byte_at = clock.now()
        return Response(200, answer, body=b"{}")

    async def chained(exchange: Exchange) -> Response:
        return await chain.proceed(exchange)

    async def straight(exchange: Exchange) -> Response:
        return await upstream(Attempt(exchange, 1))

    answer = Headers.of((b"Content-Type", b"application/json"))
    api = load([config_file], os.environ).apis[0]
    registry = Registry()
    access = AccessLog("errors", sys.stderr.write, clock.wall)
    parts = Parts(clock, registry, Survivors(clock, registry), access, memoryview(bytearray(1)))
    chain = link(parts, api, "default", api.policies, upstream)
    return chained, straight


def drive(call: Call, exchange: Exchange) -> None:
    """Run a call that never has to wait."""
    try:
        call(exchange).send(None)
    except StopIteration:
        return
    raise RuntimeError("the call waits for something")


def microseconds(call: Call, clock: Clock) -> float:
    """Mean time of one call."""
    headers = Headers.of(*FIELDS)
    started = time.perf_counter()
    for _ in range(CALLS):
        drive(call, Exchange(Request(b"GET", b"/small", headers), "plain", "default", clock.now()))
    return (time.perf_counter() - started) / CALLS * 1e6


def measure(config_file: str) -> float:
    """What the chain adds to a call, in microseconds."""
    loop = uvloop.new_event_loop()
    clock = Clock(loop)
    try:
        chained, straight = calls_of(config_file, clock)
        return min(microseconds(chained, clock) - microseconds(straight, clock) for _ in range(5))
    finally:
        loop.close()


if __name__ == "__main__":
    print(measure(str(Path(sys.argv[1]))))
