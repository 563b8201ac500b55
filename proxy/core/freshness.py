"""Owns how long an answer is fresh and how old it is (RFC 9111, 4.2; RFC 5861; RFC 8246; RFC 9213).

Called by ``core/storing.py``, ``core/cache.py`` and ``config`` (settings).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from proxy.core.stored import Stored


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """What is cached, for whom and for how long; seconds, None means off."""

    mode: Literal["rfc9111", "ttl"] = "rfc9111"
    scope: Literal["credential", "shared"] = "credential"
    ttl: float | None = None  # freshness of every answer, in mode ttl
    key_body: bool = False  # POST and QUERY are reads, told apart by their body
    vary: tuple[bytes, ...] = ()  # lower-cased request fields on which answers depend though the vendor is silent
    stale_if_error: float | None = 3600.0
    stale_while_revalidate: float | None = 30.0
    stale_wait: float = 2.0  # how long an upstream may take when a stale answer is at hand
    max_object: int = 1 << 20  # bytes of a body
    store: str = "memory"


def age(stored: Stored, now: float) -> float:
    """Seconds since the answer was made or validated at its origin (RFC 9111, 4.2.3). ``now`` is wall."""
    raise NotImplementedError
