"""Owns the circuit breaker of one upstream.

Called by ``config`` (settings) and ``policies/breaker.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When a circuit opens, how long it stays open, and how it closes again."""

    window: float = 30.0  # seconds over which calls are counted
    min_calls: int = 10  # calls in the window before a ratio means anything
    error_ratio: float | None = 0.5  # share of failures that opens
    consecutive: int | None = 5  # failures in a row that open
    slow_call: float | None = None  # seconds to the headers above which a call is slow
    slow_ratio: float = 0.8  # share of slow calls that opens
    open: float = 10.0  # seconds of the first OPEN
    max_open: float = 60.0  # seconds that OPEN never exceeds
    probes: int = 3  # permits of HALF_OPEN
    ramp: float = 10.0  # seconds from the first calls to all calls
    scope: Literal["api", "route", "host"] = "api"
    mode: Literal["enforce", "shadow"] = "enforce"
