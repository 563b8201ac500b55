"""Owns a sliding window of one-second buckets that counts calls, failures and slow calls.

Called by ``core/breaker.py`` and ``core/budget.py``.

A window of n seconds is the current second and the n - 1 whole seconds before it, in a ring of n
buckets with running totals: recording is O(1), and each bucket that leaves is subtracted once. The
price is that the oldest edge moves in steps of a second.
"""

from __future__ import annotations

import math


class Window:
    """Counts over the last ``seconds`` seconds, rounded up to whole ones; at least one."""

    __slots__ = ("_calls", "_failures", "_second", "_size", "_slot", "_slow", "calls", "failures", "slow")

    def __init__(self, seconds: float) -> None:
        self._size = max(1, math.ceil(seconds))
        self._second = 0
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._slot = 0
        self._calls, self._failures, self._slow = ([0] * self._size for _ in range(3))
        self.calls = self.failures = self.slow = 0

    def success(self, now: float) -> None:
        """Count one good call: ``record(now, 1, 0, 0)``, for the hot path."""
        if int(now) > self._second:
            self.advance(now)
        self._calls[self._slot] += 1
        self.calls += 1

    def record(self, now: float, calls: int, failures: int, slow: int) -> None:
        """Add to the bucket of ``now`` (monotonic seconds); a ``now`` of the past counts as the present."""
        self.advance(now)
        slot = self._slot
        self._calls[slot] += calls
        self._failures[slot] += failures
        self._slow[slot] += slow
        self.calls += calls
        self.failures += failures
        self.slow += slow

    def advance(self, now: float) -> None:
        """Drop what is too old at ``now``; the totals are exact afterwards."""
        second = int(now)
        for _ in range(min(second - self._second, self._size)):
            self._slot = slot = (self._slot + 1) % self._size
            self.calls -= self._calls[slot]
            self.failures -= self._failures[slot]
            self.slow -= self._slow[slot]
            self._calls[slot] = self._failures[slot] = self._slow[slot] = 0
        self._second = max(second, self._second)

    def resize(self, seconds: float, now: float) -> None:
        """Cover ``seconds`` from now on, and keep what is recent enough for that."""
        self.advance(now)
        size = max(1, math.ceil(seconds))
        if size == self._size:
            return
        newest_first = [(self._slot - age) % self._size for age in range(min(size, self._size))]
        kept = [(self._calls[slot], self._failures[slot], self._slow[slot]) for slot in newest_first]
        self._size = size
        self.clear()
        for age, (calls, failures, slow) in enumerate(kept):
            slot = -age % size
            self._calls[slot], self._failures[slot], self._slow[slot] = calls, failures, slow
            self.calls += calls
            self.failures += failures
            self.slow += slow

    def __repr__(self) -> str:
        return f"<Window {self._size}s calls={self.calls} failures={self.failures} slow={self.slow}>"
