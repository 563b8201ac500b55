"""Owns whether an attempt that went wrong is made again.

Called by ``config`` (settings) and ``policies/attempts.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """When and how often to try again."""

    attempts: int = 3  # in all, the first included
    base: float = 0.05  # seconds: the ceiling of the first wait
    max: float = 2.0  # seconds: the ceiling of every wait, a Retry-After included
    budget: float | None = 0.2  # retries per call over ten seconds; None means without limit
    when: frozenset[str] = frozenset({"connect", "reset", "timeout", "502", "503", "504"})
    replay_body: int = 65536  # bytes of a request body kept for another attempt
    safe: bool = False  # the operator declares that re-sending is safe
    mode: Literal["enforce", "shadow"] = "enforce"
