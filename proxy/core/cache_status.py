"""Owns the Cache-Status field (RFC 9211): what our cache did with a request, in one member of a list.

Called by ``policies/cache.py`` and ``policies/fallback.py`` on every answer that met the cache.

Caches append, the one nearest to the agent last (section 2), so ours comes behind what the vendor's caches said.
"""

from __future__ import annotations

import math
import re
from typing import Final, Literal, TypeAlias

from proxy.model import Headers

Why: TypeAlias = Literal["bypass", "method", "uri-miss", "vary-miss", "miss", "request", "stale", "partial"]
"""Why a request went forward (section 2.2)."""

_TOKEN: Final = re.compile(r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*")
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e]")


def hit(ttl: float, detail: str = "") -> bytes:
    """Served from the cache; ``ttl`` seconds of freshness are left (negative: stale)."""
    member = b"backstay; hit; ttl=%d" % math.floor(ttl)
    return member + _detail(detail) if detail else member


def forwarded(
    why: Why,
    *,
    status: int | None = None,
    stored: bool = False,
    collapsed: bool = False,
    ttl: float | None = None,
    detail: str = "",
) -> bytes:
    """Went to the upstream, which answered ``status`` (None: with nothing)."""
    member = b"backstay; fwd=" + why.encode()
    if status is not None:
        member += b"; fwd-status=%d" % status
    if ttl is not None:
        member += b"; ttl=%d" % math.floor(ttl)
    if stored:
        member += b"; stored"
    if collapsed:
        member += b"; collapsed"
    return member + _detail(detail) if detail else member


def append(headers: Headers, member: bytes) -> None:
    """Add our member behind those of the caches before us."""
    headers.fields.append((b"cache-status", b"Cache-Status", member))


def _detail(text: str) -> bytes:
    """A token if it is one, else a string (section 2.8; RFC 9651, 3.3.3)."""
    if _TOKEN.fullmatch(text):
        return b"; detail=" + text.encode()
    printable = _UNPRINTABLE.sub("?", text).replace("\\", "\\\\").replace('"', '\\"')
    return b'; detail="' + printable.encode() + b'"'
