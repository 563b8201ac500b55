"""Owns what methods mean: which of them read, and which may change something.

Called by ``core/storing.py``, by ``policies/cache.py`` through ``core/cache.py``, by ``policies/idempotency.py`` and by
``config``.
"""

from __future__ import annotations

from typing import Final

from proxy.core.freshness import CacheSettings

_SAFE: Final = frozenset({
    b"GET", b"HEAD", b"OPTIONS", b"PRI", b"PROPFIND", b"QUERY", b"REPORT", b"SEARCH", b"TRACE",
})  # fmt: skip
"""RFC 9110, 9.2.1 and IANA's registry of methods. Names of methods are case-sensitive (9.1)."""

_READS: Final = frozenset({b"GET", b"HEAD"})
_READS_BY_BODY: Final = _READS | {b"POST", b"QUERY"}


def reads(settings: CacheSettings, method: bytes) -> bool:
    """Whether requests with this method may be answered from the cache."""
    return method in (_READS_BY_BODY if settings.key_body else _READS)


def unsafe(method: bytes) -> bool:
    """Whether a request with this method may change something; one that nobody knows may (RFC 9111, 4.4)."""
    return method not in _SAFE
