"""Owns the retry budget of an api: how much more than its share of calls may be sent upstream.

Called by ``policies/attempts.py``: ``deposit`` for every call, ``withdraw`` before every retry.

Over ten seconds there may be ``share`` retries per call, and at least three: so an agent that calls seldom is retried
at all, while under load an outage multiplies the calls by 1.2 and not by the number of attempts. (Finagle's retry
budget, with one-second buckets.)
"""

from __future__ import annotations

from typing import Final

from proxy.core.window import Window

_SECONDS: Final = 10.0
_FLOOR: Final = 3.0  # retries per ten seconds, however few calls there are
_ROUNDING: Final = 1e-9


class Budget:
    """The budget of one api. ``share`` None is no limit. ``now`` is monotonic seconds."""

    __slots__ = ("_window", "share")

    def __init__(self, share: float | None) -> None:
        self.share = share  # may be changed by a reload; counts stay
        self._window = Window(_SECONDS)  # calls: first attempts; failures: retries

    def deposit(self, now: float) -> None:
        """A call has come."""
        self._window.success(now)

    def withdraw(self, now: float) -> bool:
        """Whether one more retry fits; if so it is spent."""
        allowed = self._allowed(now)
        if self._window.failures + 1 > allowed + _ROUNDING:
            return False
        self._window.record(now, 0, 1, 0)
        return True

    def ratio(self, now: float) -> float:
        """The share of the budget that is spent: 0 unused, 1 exhausted (above 1 after calls have become fewer)."""
        allowed = self._allowed(now)
        return self._window.failures / allowed

    def _allowed(self, now: float) -> float:
        self._window.advance(now)
        if self.share is None:
            return float("inf")
        return max(_FLOOR, self.share * self._window.calls)

    def __repr__(self) -> str:
        return f"<Budget share={self.share} calls={self._window.calls} retries={self._window.failures}>"
