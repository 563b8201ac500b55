"""Owns which answers are stored, and as what (RFC 9111, 3).

Called by ``policies/cache.py`` through ``core/cache.py``, once per answer of an upstream.

Why an answer is not stored; the first that applies, as a word for Cache-Status:

===============  ===================================================================================================
method           not a read
no-store         the request or the answer says so; not the answer with must-understand, nor in mode ttl (5.2.2.3)
status           not final, or one whose answers are only for the moment or the caller: see _NEVER
partial          206: a part could be combined with others (3.4), which we do not
must-understand  it says so, and nobody has told us what such a status means
private          in scope shared (5.2.2.7); not in mode ttl
authorization    in scope shared, the request has Authorization, and the answer does not permit that (3.5)
vary             it depends on more than the request: "*" (4.1)
set-cookie       in scope shared, without explicit freshness, and always in mode ttl: it would be one caller's cookie
no-cache         it needs validation before each use, and has nothing to validate it by
freshness        nothing makes it fresh, nothing to validate it by, and stale it may not be used
===============  ===================================================================================================
"""

from __future__ import annotations

from typing import Final

from proxy.core import http_date, vary
from proxy.core.asked import Asked
from proxy.core.freshness import (
    GOVERNING,
    HEURISTIC,
    CacheSettings,
    Control,
    control,
    date_of,
    derive,
    initial_age,
    lines,
    retention,
)
from proxy.core.methods import reads
from proxy.core.stored import Stored
from proxy.model import Field, Headers

_NEVER: Final = frozenset({304, 401, 403, 407, 408, 412, 416, 417, 421, 425, 426, 429, 431})
"""What says nothing of the target but of the caller, of its fields that are no part of the key, or of the moment."""

_UNDERSTOOD: Final = HEURISTIC | {201, 202, 205, 302, 303, 307, 400, 402, 406, 409, 411, 413, 415, 422}
"""Statuses that RFC 9110, 15 defines, less those never stored."""

_DROPPED: Final = frozenset({
    b"age", b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authentication-info", b"proxy-authorization",
    b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
})  # fmt: skip
"""Fields of one hop (RFC 9111, 3.1; RFC 9110, 7.6.1); and Age, which is reckoned anew for every use."""

_OVERRIDDEN: Final = HEURISTIC | {302, 303, 307}
"""What an operator's ttl is meant for: answers and redirects, not complaints about a request."""

COOKIES: Final = frozenset({b"set-cookie", b"set-cookie2"})
"""Fields that are meant for one caller."""


def why_not(  # noqa: PLR0917  the two messages in their order
    settings: CacheSettings, method: bytes, asked: Asked, request_headers: Headers, status: int, headers: Headers
) -> str:
    """Why the answer may not be stored, as a word for Cache-Status; "" if it may."""
    said = control(settings, headers)
    if not reads(settings, method):
        return "method"
    if asked.no_store:
        return "no-store"
    if word := _of_status(status):
        return word
    if vary.names(headers, ()) is None:
        return "vary"
    if settings.scope == "shared" and (word := _of_others(settings, said, request_headers, headers)):
        return word
    return _by_ttl(status) if settings.mode == "ttl" else _by_rfc9111(settings, method, said, status, headers)


def _of_status(status: int) -> str:
    if status == 206:
        return "partial"
    return "status" if status in _NEVER or not 200 <= status < 500 else ""


def _of_others(settings: CacheSettings, said: Control, request_headers: Headers, headers: Headers) -> str:
    """What keeps one caller's answer from others."""
    directives = said.directives
    permitted = directives.public or directives.must_revalidate or directives.s_maxage is not None  # 3.5
    if b"authorization" in request_headers and not permitted:
        return "authorization"
    if settings.mode == "rfc9111" and (directives.private or not GOVERNING.isdisjoint(directives.private_fields)):
        return "private"
    cookies = any(field[0] in COOKIES for field in kept(settings, said, headers))
    return "set-cookie" if cookies and not may_set_cookies(settings, said, headers) else ""


def may_set_cookies(settings: CacheSettings, said: Control, headers: Headers) -> bool:
    """Whether Set-Cookie is no sign that an answer is one caller's: the vendor has thought of caches (7.3)."""
    if settings.scope == "credential":
        return True
    fresh = said.lifetime(settings, date_of(headers) or 0.0) or 0.0
    return settings.mode == "rfc9111" and not said.directives.no_cache and fresh > 0.0


def _by_ttl(status: int) -> str:
    return "" if status in _OVERRIDDEN else "status"


def _by_rfc9111(settings: CacheSettings, method: bytes, said: Control, status: int, headers: Headers) -> str:
    directives = said.directives
    if directives.must_understand and status not in _UNDERSTOOD:
        return "must-understand"
    if directives.no_store and not directives.must_understand:
        return "no-store"
    allowed = said.lifetime(settings, 0.0) is not None
    if method != b"POST":  # RFC 9110, 9.3.3: an answer to POST needs explicit freshness
        # 3: or the status allows it, or a directive that is there to allow it
        own = directives.private and settings.scope == "credential"
        allowed = allowed or status in HEURISTIC or directives.public or own
    return _useless(settings, method, status, headers) if allowed else "freshness"


def _useless(settings: CacheSettings, method: bytes, status: int, headers: Headers) -> str:
    """Whether an answer that might be stored could ever be used."""
    judged = Stored(
        status=status, reason=b"", headers=headers, body=b"", requested_at=0.0, received_at=0.0, method=method
    )
    if retention(judged, settings) > 0.0:
        return ""
    return "no-cache" if judged.no_cache else "freshness"


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
    fields = kept(settings, control(settings, headers), headers)
    set_date(fields, received_at)
    if method != b"HEAD":
        _set_length(fields, status, body)
    stored = Stored(
        status=status,
        reason=reason,
        headers=Headers(fields),
        body=body,
        requested_at=requested_at,
        received_at=received_at,
        initial_age=initial_age(headers, requested_at, received_at),
        vary=vary.values(vary.names(headers, settings.vary) or (), request_headers),
        api=api,
        route=route,
        method=method,
        target=target,
    )
    derive(stored, settings)
    return stored


def kept(settings: CacheSettings, said: Control, headers: Headers) -> list[Field]:
    """The fields that others may be given (3.1), as a list of its own."""
    dropped = _DROPPED
    if b"connection" in headers:
        dropped |= {name.strip(b" \t").lower() for line in lines(headers, b"connection") for name in line.split(b",")}
    if settings.mode == "rfc9111":
        # 5.2.2.4, 5.2.2.7: the fields named by a qualified no-cache, and in a shared cache by a qualified private
        dropped |= said.directives.no_cache_fields - GOVERNING
        if settings.scope == "shared":
            dropped |= said.directives.private_fields
    return [field for field in headers.fields if field[0] not in dropped]


def set_date(fields: list[Field], received_at: float) -> None:
    """RFC 9110, 6.6.1: who keeps an answer without a Date gives it one. Of several the first counts."""
    dates = [value for lower, _, value in fields if lower == b"date"]
    known = bool(dates) and http_date.parse(dates[0]) is not None
    if not known or len(dates) > 1:
        fields[:] = [field for field in fields if field[0] != b"date"]
        fields.append((b"date", b"Date", dates[0] if known else http_date.render(received_at)))


def _set_length(fields: list[Field], status: int, body: bytes) -> None:
    """Content-Length, except of a 204, which has none (RFC 9110, 8.6)."""
    fields[:] = [field for field in fields if field[0] != b"content-length"]
    if status != 204:
        fields.append((b"content-length", b"Content-Length", b"%d" % len(body)))
