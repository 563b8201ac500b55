"""Answers as stores keep them, and waiting for what stores do in their own time. Used by tests/stores."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from proxy.core.stored import Stored, VaryValues
from proxy.model import Headers

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GENEROUS: Final = 20.0  # seconds: a busy machine must not look like a server that is away
RECEIVED: Final = 1_700_000_000.25  # wall


def answer(
    body: bytes = b"{}",
    *,
    status: int = 200,
    fields: tuple[tuple[bytes, bytes], ...] = (),
    vary: VaryValues = (),
    api: str = "search",
    route: str = "default",
    target: bytes = b"/v1/items?q=1",
    method: bytes = b"GET",
    received_at: float = RECEIVED,
) -> Stored:
    """An answer as the core stores it."""
    length = (b"Content-Length", b"%d" % len(body))
    return Stored(
        status=status,
        reason=b"OK",
        headers=Headers.of((b"Date", b"Tue, 14 Nov 2023 22:13:20 GMT"), *fields, length),
        body=body,
        requested_at=received_at - 0.125,
        received_at=received_at,
        initial_age=1.5,
        vary=vary,
        api=api,
        route=route,
        method=method,
        target=target,
    )


_KEPT = (
    "status", "reason", "headers", "body", "requested_at", "received_at", "initial_age", "vary", "api", "route",
    "method", "target",
)  # fmt: skip


def same(one: object, other: object) -> bool:
    """Whether two answers are the same, as far as stores keep them."""
    assert isinstance(one, Stored)
    assert isinstance(other, Stored)
    return all(getattr(one, name) == getattr(other, name) for name in _KEPT)


async def until(condition: Callable[[], bool], seconds: float = GENEROUS) -> None:
    """Wait for what happens in its own time, at a server or a task. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
