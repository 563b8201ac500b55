"""Owns the rate limit: GCRA, and the bounded set of buckets of a keyed limit.

Called by ``config`` (settings) and ``policies/ratelimit.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class RateSettings:
    """A rate of ``quota`` calls per ``window`` seconds, given as ``rate`` calls a second."""

    rate: float  # calls a second
    burst: int = 50  # calls that may come at once after a pause
    wait: float = 0.0  # seconds a call may be delayed rather than refused
    key: str = "api"  # api | route | credential | header:NAME
    store: str = "memory"
    mode: Literal["enforce", "shadow"] = "enforce"
    window: float = 1.0  # seconds, as configured: for the RateLimit headers
    quota: int = 100  # calls per window, as configured: for the RateLimit headers
