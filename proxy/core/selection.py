"""Owns the answer that a request gets out of a stored one (RFC 9111, 4.3.2; RFC 9110, 13.2.2 and 14).

Called by ``policies/cache.py`` for every answer that it serves from what is stored.

In this order, and only where the stored answer is a success:

=========================================  =========================================================================
If-None-Match names its ETag               304
no If-None-Match, and not modified since   304; without Last-Modified its Date tells (RFC 9111, 4.3.2)
Range, of a GET with a 200                 206, or 416; the whole answer if the range is of another unit, malformed
                                           or manifold, or if If-Range means another version (RFC 9110, 13.1.5, 14.2)
HEAD                                       the fields without the body
=========================================  =========================================================================
"""

from __future__ import annotations

import re
from typing import Final

from proxy.core import etag, http_date
from proxy.core.asked import Asked
from proxy.core.freshness import age, lines
from proxy.core.stored import Stored
from proxy.model import Field, Headers, Response

_READS: Final = frozenset({b"GET", b"HEAD"})
_OF_CONTENT: Final = frozenset({
    b"content-digest", b"content-encoding", b"content-language", b"content-length", b"content-md5", b"content-range",
    b"content-type", b"digest", b"repr-digest",
})  # fmt: skip
"""Fields that describe a body; a 304 has none (RFC 9110, 15.4.5)."""
_OF_WHOLE: Final = frozenset({b"content-digest", b"content-length", b"content-md5", b"content-range"})
"""Fields that describe all of a body, and are wrong for a part of it."""
_RANGE: Final = re.compile(rb"(?i)bytes=([0-9]{0,64})-([0-9]{0,64})")
_OWS: Final = b" \t"


def select(stored: Stored, method: bytes, asked: Asked, request_headers: Headers, now: float) -> Response:
    """The stored answer, a 304, a 206 or a 416, with its Age at ``now`` (wall); its headers are the caller's own."""
    fields = [*stored.headers.fields, (b"age", b"Age", b"%d" % age(stored, now))]
    if (asked.conditional or asked.range) and method in _READS and 200 <= stored.status < 300:
        if asked.conditional and _unchanged(stored, request_headers):
            return Response(304, Headers(_without_body(stored, fields)), b"Not Modified")
        if asked.range and method == b"GET" and stored.status == 200:
            return _part(stored, request_headers, fields)
    body = b"" if method == b"HEAD" else stored.body
    return Response(stored.status, Headers(fields), stored.reason, body)


def _unchanged(stored: Stored, request_headers: Headers) -> bool:
    """Whether the caller has this answer already; If-Modified-Since counts only without If-None-Match (13.1.3)."""
    tags = lines(request_headers, b"if-none-match")
    if tags:
        return etag.listed(b",".join(tags), stored.etag)
    dates = lines(request_headers, b"if-modified-since")
    since = http_date.parse(dates[0]) if len(dates) == 1 else None
    if since is None:
        return False
    return (stored.date if stored.last_modified_at is None else stored.last_modified_at) <= since


def _without_body(stored: Stored, fields: list[Field]) -> list[Field]:
    """The fields of a 304 (15.4.5): what guides the caller's own cache; Last-Modified only where there is no ETag."""
    kept = [field for field in fields if field[0] not in _OF_CONTENT]
    return kept if stored.etag is None else [field for field in kept if field[0] != b"last-modified"]


def _part(stored: Stored, request_headers: Headers, fields: list[Field]) -> Response:
    whole = Response(stored.status, Headers(fields), stored.reason, stored.body)
    length = len(stored.body)
    bounds = _bounds(lines(request_headers, b"range"), length)
    if bounds is None or not _same_version(stored, lines(request_headers, b"if-range")):
        return whole
    first, last = bounds
    if first > last:
        headers = Headers([field for field in fields if field[0] not in _OF_CONTENT])
        headers.add(b"Content-Range", b"bytes */%d" % length)
        headers.add(b"Content-Length", b"0")
        return Response(416, headers, b"Range Not Satisfiable")
    headers = Headers([field for field in fields if field[0] not in _OF_WHOLE])
    headers.add(b"Content-Range", b"bytes %d-%d/%d" % (first, last, length))
    headers.add(b"Content-Length", b"%d" % (last + 1 - first))
    return Response(206, headers, b"Partial Content", stored.body[first : last + 1])


def _bounds(ranges: list[bytes], length: int) -> tuple[int, int] | None:
    """First and last byte of the one range that is asked for; (1, 0) if it has none; None if it is to be ignored."""
    found = _RANGE.fullmatch(ranges[0]) if len(ranges) == 1 else None
    if found is None or found[1] == found[2] == b"" or length == 0:
        return None
    if not found[1]:
        suffix = min(int(found[2]), length)
        return (length - suffix, length - 1) if suffix else (1, 0)
    first = int(found[1])
    last = int(found[2]) if found[2] else length - 1
    if found[2] and last < first:
        return None  # 14.1.1: invalid, which is not the same as unsatisfiable
    return (first, min(last, length - 1)) if first < length else (1, 0)


def _same_version(stored: Stored, conditions: list[bytes]) -> bool:
    """Whether If-Range, if there is one, means the stored answer, byte for byte (13.1.5)."""
    if not conditions:
        return True
    wanted = conditions[0].strip(_OWS)
    if len(conditions) > 1:
        return False
    since = http_date.parse(wanted)
    if since is None:
        return stored.etag is not None and etag.same_strong(wanted, stored.etag)
    # 8.8.2.2: a date is strong only if it is a second older than the answer: it may have changed twice in that second.
    modified = stored.last_modified_at
    return modified is not None and modified == since and modified + 1.0 <= stored.date
