"""Owns what changes answers that are stored: a 304, a HEAD, an unsafe request (RFC 9111, 3.2, 4.3.4, 4.3.5, 4.4).

Called by ``policies/cache.py`` through ``core/cache.py``.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urljoin, urlsplit

from proxy.core import etag, vary
from proxy.core.freshness import CacheSettings, control, derive, initial_age, lines
from proxy.core.stored import Stored, VaryValues
from proxy.core.storing import COOKIES, kept, may_set_cookies, set_date
from proxy.model import Field, Headers

_OF_BODY: Final = frozenset({b"content-encoding", b"content-length", b"content-md5", b"content-range"})
"""Fields that frame, encode and prove the stored body; they stay as they were (3.2)."""

_PORTS: Final = {"http": 80, "https": 443}
_GONE: Final = frozenset({404, 410})
_DENIED: Final = frozenset({401, 403, 407})


def confirms(stored: Stored, headers_304: Headers) -> bool:
    """Whether a 304 is about this stored answer, and not about another version of it (4.3.4)."""
    tag = headers_304.get(b"etag")
    if tag is not None and stored.etag is not None:
        return etag.opaque(tag) == etag.opaque(stored.etag)
    return True


def refresh(  # noqa: PLR0917  what is stored, the two messages in their order, their times
    settings: CacheSettings,
    stored: Stored,
    request_headers: Headers,
    headers_304: Headers,
    requested_at: float,
    received_at: float,
) -> Stored:
    """The stored answer as a 304 has it now: its fields replace those of the same name (3.2). Times are wall."""
    new = kept(settings, control(settings, headers_304), headers_304)
    merged = _merged(stored, [field for field in new if field[0] not in _OF_BODY], received_at)
    said = control(settings, merged)
    fields = kept(settings, said, merged)
    if not may_set_cookies(settings, said, merged):
        fields = [field for field in fields if field[0] not in COOKIES]
    fresh = Stored(
        status=stored.status,
        reason=stored.reason,
        headers=Headers(fields),
        body=stored.body,
        requested_at=requested_at,
        received_at=received_at,
        initial_age=initial_age(headers_304, requested_at, received_at),
        vary=_varies(settings, stored, request_headers, merged),
        api=stored.api,
        route=stored.route,
        method=stored.method,
        target=stored.target,
    )
    derive(fresh, settings)
    return fresh


def _varies(settings: CacheSettings, stored: Stored, request_headers: Headers, merged: Headers) -> VaryValues:
    """What it depends on now. It was confirmed for this request alone: what it did not depend on before may be new."""
    names = set(vary.names(merged, settings.vary) or ()).union([name for name, _ in stored.vary])
    return vary.values(tuple(sorted(names)), request_headers) if names else ()


def _merged(stored: Stored, updates: list[Field], received_at: float) -> Headers:
    set_date(updates, received_at)  # else the old date would stand for the new
    names = {field[0] for field in updates}
    return Headers([field for field in stored.headers.fields if field[0] not in names] + updates)


def freshen(  # noqa: PLR0917  as above
    settings: CacheSettings,
    stored: Stored,
    request_headers: Headers,
    head_headers: Headers,
    requested_at: float,
    received_at: float,
) -> Stored | None:
    """The stored answer as a 200 to a HEAD has it now; None if the HEAD shows that it has changed (4.3.5)."""
    for name in (b"etag", b"last-modified", b"content-length"):
        now = lines(head_headers, name)
        if now and now != lines(stored.headers, name):
            return None
    return refresh(settings, stored, request_headers, head_headers, requested_at, received_at)


def outdated(status: int, *, shared: bool) -> bool:
    """Whether an answer that is not stored shows that what is stored is not the answer any more.

    Errors of the moment and of one request's own fields say nothing about it. A denial does to the caller to whom
    it was made, not to others: ``shared`` says that what is stored is theirs as well.
    """
    return (200 <= status < 400 and status not in (206, 304)) or status in _GONE or (status in _DENIED and not shared)


def invalidated(target: bytes, origin: tuple[str, bytes, int], status: int, headers: Headers) -> list[bytes]:
    """Targets whose answers an unsafe request has made unsure: its own, and what it names at the same origin (4.4).

    ``origin`` is (scheme, host, port) of the upstream. An error has changed nothing.
    """
    if not 200 <= status < 400:
        return []
    found = [target]
    for name in (b"location", b"content-location"):
        named = _same_origin(target, origin, headers.get(name))
        if named is not None and named not in found:
            found.append(named)
    return found


def _same_origin(target: bytes, origin: tuple[str, bytes, int], reference: bytes | None) -> bytes | None:
    """The target that a URI reference means, if it is one of this origin."""
    if reference is None:
        return None
    scheme, host, port = origin[0], origin[1].decode("latin-1").strip("[]").lower(), origin[2]
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        url = urlsplit(urljoin(f"{scheme}://{authority}{target.decode('latin-1')}", reference.decode("latin-1")))
        there = (url.scheme, url.hostname, url.port or _PORTS.get(url.scheme, 0))
    except ValueError:
        return None
    if there != (scheme, host, port):
        return None
    path = url.path or "/"
    return (f"{path}?{url.query}" if url.query else path).encode("latin-1")
