"""Owns the time limits of a call, and the rule that the total is the ceiling of all others.

Called by ``config`` (settings), ``policies/timeouts.py`` and every wait inside an exchange.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits in seconds; None means no limit of its own."""

    total: float = 300.0  # the exchange with all attempts and waits, up to the final headers
    connect: float = 2.0  # name, TCP and TLS together
    first_byte: float | None = 60.0  # per attempt, to the final headers
    idle: float | None = 300.0  # between two chunks of a body
    stream: float | None = None  # a whole body; off, since model streams are long


class Cap(NamedTuple):
    """How long a wait may last, and whose limit that is."""

    seconds: float
    by_total: bool  # True: running out is the exchange's deadline, and proves nothing about the upstream


def cap(limit: float | None, remaining: float) -> Cap:
    """The seconds a wait may last under its own ``limit`` with ``remaining`` seconds of the total left."""
    remaining = max(remaining, 0.0)
    if limit is None or remaining < limit:
        return Cap(remaining, by_total=True)
    return Cap(limit, by_total=False)


def due(limits: Timeouts, since: float, deadline: float) -> float:
    """When to look at an attempt begun at ``since``: when its limit or the total runs out, whichever is first."""
    return deadline if limits.first_byte is None else min(since + limits.first_byte, deadline)
