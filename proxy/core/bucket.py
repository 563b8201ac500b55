"""Owns the rate limit: the leaky bucket of one key, and the bounded set of buckets of a keyed limit.

Called by ``config`` (settings) and ``policies/ratelimit.py``; ``admin`` reads the quota.

The Generic Cell Rate Algorithm (ITU-T I.371, annex A) keeps one number: the theoretical arrival time (TAT), at which
the next call would come if all calls so far had come at the sustained rate, one every ``T = 1 / rate`` seconds.

- A call at ``now`` conforms if it is early by no more than the tolerance: ``now >= TAT - tolerance``, where
  ``tolerance = (burst - 1) * T``. Then ``TAT = max(TAT, now) + T``.
- A call that comes too early would conform after ``TAT - tolerance - now`` seconds. Told to wait so long, it has its
  place at once (TAT moves now), so that waiting calls leave in the order of their coming and at the sustained rate.
- ``TAT <= now`` is a full bucket: nothing is remembered of the past, so the bucket may be forgotten.

Hence in any interval of t seconds at most ``burst + rate * t`` calls leave, with no timer and no background refill.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeAlias

_ROUNDING: Final = 1e-6  # seconds by which sums of T may be wrong; never adds up, since TAT itself is exact
_LONG_AGO: Final = float("-inf")


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
    fallback: bool = False  # whether a refusal reaches the fallback


class Taken(NamedTuple):
    """The call has its token, and is to be sent after ``delay`` seconds."""

    delay: float


class Limited(NamedTuple):
    """There is no token within the wait; the first one comes after ``retry_after`` seconds."""

    retry_after: float


class Quota(NamedTuple):
    """What the RateLimit and RateLimit-Policy fields say (draft-ietf-httpapi-ratelimit-headers)."""

    limit: int  # calls per window
    remaining: int  # calls that would be taken at this moment
    reset: float  # seconds until all of the burst is available again
    window: float  # seconds


Take: TypeAlias = Taken | Limited

_AT_ONCE: Final = Taken(0.0)


class Bucket:
    """One GCRA bucket. ``now`` is monotonic seconds."""

    __slots__ = ("_interval", "_tat", "_tolerance", "settings")

    def __init__(self, settings: RateSettings) -> None:
        self._tat = _LONG_AGO
        self._configure(settings)

    def take(self, now: float, max_wait: float) -> Take:
        """Take a token if there will be one within ``max_wait`` seconds."""
        tat = self._tat
        if tat <= now:
            self._tat = now + self._interval
            return _AT_ONCE
        delay = tat - self._tolerance - now
        if delay <= _ROUNDING:
            self._tat = tat + self._interval
            return _AT_ONCE
        if delay <= max_wait:
            self._tat = tat + self._interval
            return Taken(delay)
        return Limited(delay)

    def give_back(self) -> None:
        """Return a token: the call was refused further in. A bucket that is full stays full."""
        self._tat -= self._interval

    def quota(self, now: float) -> Quota:
        """What is left."""
        behind = max(self._tat - now, 0.0)
        remaining = math.floor(self.settings.burst - (behind - _ROUNDING) / self._interval)
        return Quota(self.settings.quota, min(max(remaining, 0), self.settings.burst), behind, self.settings.window)

    def idle(self, now: float) -> bool:
        """Whether it is full, so that a new one in its place would behave the same."""
        return self._tat <= now

    def reconfigure(self, settings: RateSettings, now: float) -> None:
        """Go by new settings from the next decision on; tokens that are spent stay spent."""
        spent = max(self._tat - now, 0.0) / self._interval
        self._configure(settings)
        self._tat = now + spent * self._interval

    def _configure(self, settings: RateSettings) -> None:
        self.settings = settings
        self._interval = 1.0 / settings.rate
        self._tolerance = (settings.burst - 1) * self._interval

    def __repr__(self) -> str:
        return f"<Bucket {self.settings.rate:g}/s burst={self.settings.burst} tat={self._tat:.3f}>"


class Buckets:
    """One bucket per key, at most ``capacity`` of them: the keys are chosen by the other side.

    A new key takes the place of the longest unused bucket, of a full one if there is such among the few oldest:
    forgetting a full bucket loses nothing, forgetting another forgives its key some calls. Both are counted.
    """

    __slots__ = ("_buckets", "_capacity", "evictions", "forgiven", "settings")

    _LOOK: Final = 8  # how many of the oldest buckets are looked at

    def __init__(self, settings: RateSettings, capacity: int) -> None:
        self.settings = settings
        self._capacity = max(capacity, 1)
        self._buckets: dict[str, Bucket] = {}  # least recently used first
        self.evictions = 0
        self.forgiven = 0  # evictions of a bucket that was not full

    def get(self, key: str, now: float) -> Bucket:
        """The bucket of a key, a full one if it is new."""
        bucket = self._buckets.pop(key, None)
        if bucket is None:
            if len(self._buckets) >= self._capacity:
                self._evict(now)
            bucket = Bucket(self.settings)
        self._buckets[key] = bucket
        return bucket

    def reconfigure(self, settings: RateSettings, now: float) -> None:
        """Go by new settings from the next decision on, in every bucket."""
        self.settings = settings
        for bucket in self._buckets.values():
            bucket.reconfigure(settings, now)

    def snapshot(self, now: float) -> dict[str, Any]:
        """The state as JSON-able values; no key is told, since keys may be made of credentials."""
        remaining = [bucket.quota(now).remaining for bucket in self._buckets.values()]
        return {
            "limit": self.settings.quota,
            "window": self.settings.window,
            "keys": len(self._buckets),
            "evictions": self.evictions,
            "least_remaining": min(remaining, default=None),
        }

    def _evict(self, now: float) -> None:
        oldest = [key for key, _ in zip(self._buckets, range(self._LOOK), strict=False)]
        victim = next((key for key in oldest if self._buckets[key].idle(now)), oldest[0])
        self.evictions += 1
        self.forgiven += not self._buckets.pop(victim).idle(now)

    def __len__(self) -> int:
        return len(self._buckets)

    def __repr__(self) -> str:
        return f"<Buckets {len(self)}/{self._capacity} evictions={self.evictions} forgiven={self.forgiven}>"
