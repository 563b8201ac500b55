"""Owns how long a retry waits by itself.

Called by ``core/retry.py``.

Full jitter (M. Brooker, "Exponential Backoff and Jitter", 2015): anything from nothing to an exponentially growing
ceiling. Of the usual schemes it lets the fewest calls collide, at the cost of an occasional retry at once.
"""

from __future__ import annotations

from typing import Final

_MAX_DOUBLINGS: Final = 32  # 2.0 ** 33 is above any ceiling that makes sense, and no float overflows


def full_jitter(base: float, ceiling: float, retry: int, chance: float) -> float:
    """Seconds before the retry of that number (from 1), below ``min(ceiling, base * 2 ** (retry - 1))``."""
    return chance * min(ceiling, base * 2.0 ** min(retry - 1, _MAX_DOUBLINGS))
