"""Owns when a stored answer is used, and is the one door to the rules of the cache (RFC 9111).

Called by ``policies/cache.py``.
"""

from __future__ import annotations

import enum

from proxy.core.asked import Asked, asked
from proxy.core.freshness import CacheSettings, age
from proxy.core.stored import Stored
from proxy.core.storing import freshen, invalidated, refresh, store, why_not
from proxy.model import Headers

__all__ = [
    "Asked", "CacheSettings", "Use", "age", "asked", "conditional", "decide", "freshen", "invalidated", "reads",
    "refresh", "retention", "stale_forbidden", "stale_permitted", "store", "unsafe", "validators", "why_not",
]  # fmt: skip


class Use(enum.Enum):
    """What may be done with a stored answer."""

    FRESH = "fresh"  # serve it
    BEHIND = "behind"  # serve it though it is stale, and refresh it behind (RFC 5861, 3)
    ALLOWED = "allowed"  # serve it though it is stale: the request says so (max-stale)
    VALIDATE = "validate"  # ask the upstream first


def reads(settings: CacheSettings, method: bytes) -> bool:
    """Whether requests with this method may be answered from the cache."""
    raise NotImplementedError


def unsafe(method: bytes) -> bool:
    """Whether a request with this method may change what is stored at the upstream."""
    raise NotImplementedError


def decide(stored: Stored, asked: Asked, settings: CacheSettings, now: float) -> Use:
    """What may be done with a stored answer for this request. ``now`` is wall."""
    raise NotImplementedError


def stale_permitted(stored: Stored, asked: Asked, settings: CacheSettings, now: float) -> bool:
    """Whether it may be served at ``now`` (wall) instead of an error."""
    raise NotImplementedError


def stale_forbidden(stored: Stored, asked: Asked) -> bool:
    """Whether nothing at all permits to serve it stale."""
    raise NotImplementedError


def validators(stored: Stored) -> bool:
    """Whether the upstream can be asked if it is still good."""
    raise NotImplementedError


def conditional(headers: Headers, stored: Stored) -> Headers:
    """Request fields that ask the upstream whether the stored answer is still good."""
    raise NotImplementedError


def retention(stored: Stored, settings: CacheSettings) -> float:
    """Seconds from ``received_at`` for which it may be of use."""
    raise NotImplementedError
