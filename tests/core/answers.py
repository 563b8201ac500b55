"""Answers of a vendor and what is stored of them, for the tests of the cache's rules."""

from __future__ import annotations

from typing import Final

from proxy.core import cache
from proxy.core.cache import Asked, CacheSettings
from proxy.core.http_date import render
from proxy.core.stored import Stored
from proxy.model import Headers

WALL: Final = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110
DATE: Final = b"Sun, 06 Nov 1994 08:49:37 GMT"
PRIVATE: Final = CacheSettings()
SHARED: Final = CacheSettings(scope="shared")
STRICT: Final = CacheSettings(scope="shared", stale_if_error=None, stale_while_revalidate=None)
TTL: Final = CacheSettings(mode="ttl", ttl=30.0)
TTL_SHARED: Final = CacheSettings(mode="ttl", ttl=30.0, scope="shared")
NOTHING: Final = cache.asked(Headers())


def fields(text: str) -> Headers:
    """Fields from lines of ``Name: value``."""
    lines = [line.strip().encode("latin-1").partition(b":") for line in text.splitlines() if line.strip()]
    return Headers.of(*[(name, value.strip()) for name, _, value in lines])


def asking(text: str) -> Asked:
    return cache.asked(fields(text))


def at(seconds: float) -> str:
    """The date that many seconds after DATE."""
    return render(WALL + seconds).decode()


def stored(
    text: str,
    settings: CacheSettings = PRIVATE,
    *,
    request: str = "",
    method: bytes = b"GET",
    status: int = 200,
    body: bytes = b"hello",
    took: float = 0.0,
    dated: bool = True,
) -> Stored:
    """What is kept of an answer that came at WALL, made at WALL unless it is not ``dated``."""
    return cache.store(
        settings,
        method=method,
        request_headers=fields(request),
        api="weather",
        route="default",
        target=b"/v1/now?city=Rome",
        status=status,
        reason=b"OK",
        headers=fields(text + (f"\nDate: {DATE.decode()}" if dated else "")),
        body=body,
        requested_at=WALL - took,
        received_at=WALL,
    )


def why_not(
    text: str, settings: CacheSettings = PRIVATE, *, request: str = "", method: bytes = b"GET", status: int = 200
) -> str:
    headers = fields(request)
    return cache.why_not(settings, method, cache.asked(headers), headers, status, fields(text))
