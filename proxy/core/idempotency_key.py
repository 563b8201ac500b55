"""Owns the keys of calls that must happen once: the agent's, the name of the record, and the one sent upstream.

Called by ``keyed.py``, and by ``admin/records.py`` to show a derived key.

An agent's key is taken as it stands, quotes and all: draft-ietf-httpapi-idempotency-key-header wants a quoted string,
every vendor takes plain ones, and whoever repeats a call repeats its key byte for byte. What could not be compared for
certain is refused, since a key that is read in another way than it was meant is worse than none.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from proxy.errors import KeyMalformed
from proxy.model import Headers

LONGEST: Final = 255
"""Bytes of an agent's key, as with Stripe."""

_ADVICE: Final = "Send one that is new for each call and the same when it is repeated, such as a UUID"

# W3C Trace Context, 3.2: version, trace-id, parent-id, flags; versions after 00 may have more behind them.
_TRACEPARENT: Final = re.compile(
    rb"(?:00(?=.{53}\Z)|(?!00|ff)[0-9a-f]{2})"
    rb"-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?"
)


def given(headers: Headers, names: tuple[bytes, ...]) -> bytes | None:
    """The agent's key: the value of the first of these (lower-cased) fields that it has sent; None without any.

    Raises KeyMalformed, with a detail that says what is wrong with it and what to send.
    """
    for name in names:
        found: bytes | None = None
        twice = False
        for lower, _, value in headers.fields:
            if lower == name:
                twice |= found is not None
                found = value
        if found is not None:
            if twice or not 0 < len(found) <= LONGEST or not _is_printable(found):
                raise _malformed(headers, name)
            return found
    return None


def _malformed(headers: Headers, lower: bytes) -> KeyMalformed:
    """What is wrong with a key."""
    name, values = lower.decode(), [value for each, _, value in headers.fields if each == lower]
    if len(values) > 1:  # the same one twice is refused too: some vendors would read it as "a, a"
        return KeyMalformed(f"{name} was sent {len(values)} times. Send one field with one key.")
    if not values[0]:
        return KeyMalformed(f"{name} is empty. {_ADVICE}, or leave the field out.")
    if len(values[0]) > LONGEST:
        return KeyMalformed(f"{name} has {len(values[0])} characters, and may have {LONGEST}. {_ADVICE}.")
    return KeyMalformed(f"{name} has a character that is not printable ASCII. {_ADVICE}.")


def _is_printable(value: bytes) -> bool:
    return value.isascii() and value.decode("ascii").isprintable()


def ident(api: str, scope: str, key: bytes, *, derived: bool) -> str:
    """The name of a record, 32 hexadecimal digits: keys of another api or scope are others, derived ones always.

    ``key`` is the agent's, or whatever a derived one is made from.
    """
    return named(space(api, scope, derived=derived), key)


def space(api: str, scope: str, *, derived: bool) -> bytes:
    """What the keys of an api and a scope have in common; with lengths, so that no two are the same bytes."""
    kind = "derived" if derived else "given"
    return f"{kind} {len(api)}:{api}{len(scope)}:{scope}".encode("utf-8", "surrogatepass")


def named(space: bytes, key: bytes) -> str:
    """See ``ident``."""
    return _digest(space + key)


def scope_of(scope: str, headers: Headers) -> bytes | None:
    """That within which equal calls are the same: see ``Derive.scope``; None if the call does not tell.

    The values of a field that comes several times are joined, as RFC 9110, 5.3 has it.
    """
    if scope == "traceparent":
        return _trace_id(headers)
    name = scope.removeprefix("header:").lower().encode()
    return b", ".join([value for lower, _, value in headers.fields if lower == name and value]) or None


def _trace_id(headers: Headers) -> bytes | None:
    """The trace-id; one that is all zeros, or of a field that is not valid as a whole, is none."""
    values = [value for lower, _, value in headers.fields if lower == b"traceparent"]
    match = _TRACEPARENT.fullmatch(values[0]) if len(values) == 1 else None
    return None if match is None else match[1]


def upstream_key(ident: str, nonce: str) -> bytes:
    """The key sent upstream for a derived one: 35 lower-case letters, digits and dashes, which every vendor takes.

    It tells nothing of what it is made from. The nonce is of the record, so once that is forgotten, the same call has
    another key, and is another call.
    """
    return b"bs-" + _digest(f"upstream {ident} {nonce}".encode()).encode()


def _digest(told: bytes) -> str:
    return hashlib.blake2b(told, digest_size=16).hexdigest()  # RFC 7693; for a few bytes the quickest there is
