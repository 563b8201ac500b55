"""Owns which requests a stored answer answers: those with the same values in the fields it varies by (RFC 9111, 4.1).

Called by ``policies/cache.py``.

Two requests match if their fields are the same once lines are combined and whitespace that means nothing is dropped,
and case where the field has none. Nothing else is normalised: whether ``en, de`` and ``de, en`` are the same only the
vendor knows.

Values are kept with the answer, in a store that others may read. So of a field that tells who calls, as in
``Vary: Cookie``, only a digest is kept, which tells as well if two are the same.
"""

from __future__ import annotations

import hashlib
from typing import Final

from proxy.core.credentials import names_caller
from proxy.core.stored import VaryValues
from proxy.model import Headers

_OWS: Final = b" \t"
_CASELESS: Final = frozenset({b"accept-charset", b"accept-encoding", b"accept-language"})
"""Fields whose every part is case-insensitive (RFC 9110, 8.3.2, 8.4.1 and 8.5.1)."""


def names(headers: Headers, more: tuple[bytes, ...]) -> tuple[bytes, ...] | None:
    """The request fields on which an answer depends, sorted and lower-cased; None for "*", which no request matches.

    ``more``: lower-cased fields on which it depends whatever it says.
    """
    found = set(more)
    for lower, _, value in headers.fields:
        if lower == b"vary":
            found.update([name.strip(_OWS) for name in value.lower().split(b",")])
    found.discard(b"")
    return None if b"*" in found else tuple(sorted(found))


def values(names: tuple[bytes, ...], request_headers: Headers) -> VaryValues:
    """Those fields of a request, normalised; None where it has none of a name."""
    if not names:
        return ()
    lines: dict[bytes, list[bytes]] = {}
    for lower, _, value in request_headers.fields:
        if lower in names:
            lines.setdefault(lower, []).append(value)
    return tuple([(name, _told(name, b",".join(lines[name])) if name in lines else None) for name in names])


def _told(name: bytes, value: bytes) -> bytes:
    normal = _normal(value.lower() if name in _CASELESS else value)
    return hashlib.sha256(normal).hexdigest().encode() if names_caller(name) else normal


def _normal(value: bytes) -> bytes:
    if b'"' in value:  # a comma in a quoted string parts nothing, and the whitespace behind it means something
        return value.strip(_OWS)
    return b",".join([part.strip(_OWS) for part in value.split(b",")])


def matches(stored_vary: VaryValues, request_headers: Headers) -> bool:
    """Whether a request has the values for which an answer was stored."""
    if not stored_vary:
        return True
    return values(tuple([name for name, _ in stored_vary]), request_headers) == stored_vary


def key(primary: str, nonce: str, values: VaryValues) -> str:
    """The key of the variant with these values; ``nonce`` is that of the record of variants."""
    # A length before each part: no two lists of values are the same bytes.
    digest = hashlib.sha256(b"%d:%b" % (len(nonce), nonce.encode()))
    for name, value in values:
        digest.update(b"%d:%b%d:" % (len(name), name, -1 if value is None else len(value)))
        digest.update(value or b"")
    return f"{primary}:{digest.hexdigest()[:32]}"
