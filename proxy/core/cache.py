"""Owns when a stored answer is used, and is the one door to the rules of the cache (RFC 9111, 4).

Called by ``policies/cache.py``, which is told what to do in one word:

==========  =================================================================================================
VALIDATE    no-cache of the request or the answer (5.2.1.4, 5.2.2.4); older than its max-age; fresh for less than
            its min-fresh; stale, and none of the following
FRESH       younger than its lifetime (4.2)
BEHIND      stale for less than stale-while-revalidate (RFC 5861, 3), and the request asks for no freshness
ALLOWED     stale for less than the request's max-stale (5.2.1.2)
==========  =================================================================================================

must-revalidate, and in scope shared proxy-revalidate and s-maxage, forbid whatever is stale (4.2.4). An answer that is
immutable and fresh needs no validation because of the request's max-age: that is a reload, which RFC 8246 is about;
no-cache still asks the vendor.
"""

from __future__ import annotations

import enum
from typing import Final

from proxy.core.asked import Asked, asked
from proxy.core.freshness import CacheSettings, age, derive, retention, validators
from proxy.core.methods import reads, unsafe
from proxy.core.stored import Stored
from proxy.core.storing import store, why_not
from proxy.core.updating import confirms, freshen, invalidated, outdated, refresh
from proxy.model import Headers

__all__ = [
    "Asked", "CacheSettings", "Use", "age", "asked", "collapses", "conditional", "confirms", "decide", "freshen",
    "invalidated", "outdated", "reads", "refresh", "retention", "stale_forbidden", "stale_permitted", "store",
    "unsafe", "validators", "why_not",
]  # fmt: skip

_CONDITIONS: Final = frozenset({b"if-none-match", b"if-modified-since"})


class Use(enum.Enum):
    """What may be done with a stored answer."""

    FRESH = "fresh"  # serve it
    BEHIND = "behind"  # serve it though it is stale, and refresh it behind
    ALLOWED = "allowed"  # serve it though it is stale: the request says so
    VALIDATE = "validate"  # ask the upstream first


def decide(stored: Stored, asked: Asked, settings: CacheSettings, now: float) -> Use:
    """What may be done with a stored answer for this request. ``now`` is wall."""
    if stored.settings is not settings:
        derive(stored, settings)
    if stored.no_cache or asked.no_cache:
        return Use.VALIDATE
    left = stored.fresh_until - now
    if left <= 0.0:
        return _stale(stored, asked, -left, now)
    if asked.min_fresh is not None and left < asked.min_fresh:
        return Use.VALIDATE
    if asked.max_age is not None and not stored.immutable and age(stored, now) >= asked.max_age:
        return Use.VALIDATE
    return Use.FRESH


def _stale(stored: Stored, asked: Asked, staleness: float, now: float) -> Use:
    if stored.must_revalidate or asked.min_fresh is not None:
        return Use.VALIDATE
    if asked.max_age is not None and (asked.max_stale is None or age(stored, now) >= asked.max_age):
        return Use.VALIDATE
    if stored.swr is not None and staleness < stored.swr:
        return Use.BEHIND
    if asked.max_stale is not None and staleness <= asked.max_stale:
        return Use.ALLOWED
    return Use.VALIDATE


def stale_permitted(stored: Stored, asked: Asked, settings: CacheSettings, now: float) -> bool:
    """Whether it may be served at ``now`` (wall) instead of an error: the answer, the request or the operator says so.

    RFC 5861, 4 has stale-if-error in answers and requests; the longest counts.
    """
    if stored.settings is not settings:
        derive(stored, settings)
    allowed = max(stored.sie or 0.0, asked.stale_if_error or 0.0)
    return now - stored.fresh_until < allowed and not stale_forbidden(stored, asked)


def stale_forbidden(stored: Stored, asked: Asked) -> bool:
    """Whether nothing at all permits to serve it without validation (4.2.4)."""
    return stored.must_revalidate or stored.no_cache or asked.no_cache


def collapses(stored: Stored, now: float) -> bool:
    """Whether an answer serves those who asked while it was on its way (4), at ``now`` (wall), when it has come.

    Not if each use of it is to be validated. What is stale at once by its silence alone does: it is as new as theirs.
    """
    return now < stored.fresh_until or not (stored.no_cache or stored.must_revalidate)


def conditional(headers: Headers, stored: Stored) -> Headers:
    """Request fields that ask whether the stored answer is still good (4.3.1); the agent's own are answered here."""
    if not validators(stored):
        return headers
    fields = [field for field in headers.fields if field[0] not in _CONDITIONS]
    if stored.etag is not None:
        fields.append((b"if-none-match", b"If-None-Match", stored.etag))
    if stored.last_modified is not None:
        fields.append((b"if-modified-since", b"If-Modified-Since", stored.last_modified))
    return Headers(fields)
