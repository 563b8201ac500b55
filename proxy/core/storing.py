"""Owns what is stored, and what changes what is stored (RFC 9111, 3, 4.3.4, 4.3.5, 4.4).

Called by ``policies/cache.py`` through ``core/cache.py``, once per answer of an upstream.
"""

from __future__ import annotations

from proxy.core.asked import Asked
from proxy.core.freshness import CacheSettings
from proxy.core.stored import Stored
from proxy.model import Headers


def why_not(  # noqa: PLR0917  the two messages in their order
    settings: CacheSettings, method: bytes, asked: Asked, request_headers: Headers, status: int, headers: Headers
) -> str:
    """Why the answer may not be stored, as a word for Cache-Status; "" if it may."""
    raise NotImplementedError


def store(
    settings: CacheSettings,
    *,
    method: bytes,
    request_headers: Headers,
    api: str,
    route: str,
    target: bytes,
    status: int,
    reason: bytes,
    headers: Headers,
    body: bytes,
    requested_at: float,
    received_at: float,
) -> Stored:
    """The answer as it is kept; ``why_not`` has allowed it. Times are wall."""
    raise NotImplementedError


def refresh(
    settings: CacheSettings, stored: Stored, headers_304: Headers, requested_at: float, received_at: float
) -> Stored:
    """The stored answer as a 304 has it now."""
    raise NotImplementedError


def freshen(
    settings: CacheSettings, stored: Stored, head_headers: Headers, requested_at: float, received_at: float
) -> Stored | None:
    """The stored answer as a 200 to a HEAD has it now; None if the HEAD shows that it has changed."""
    raise NotImplementedError


def invalidated(target: bytes, origin: tuple[str, bytes, int], status: int, headers: Headers) -> list[bytes]:
    """Targets whose answers an unsafe request has made unsure. ``origin`` is (scheme, host, port) of the upstream."""
    raise NotImplementedError
