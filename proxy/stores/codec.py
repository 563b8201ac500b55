"""Owns how an answer is written down outside this process, and what is believed of such a writing. Used by redis.py.

    BSC1 | how the body is written | length of the head | length of the body | head, as JSON | body, perhaps deflated

The head names the digest of the key for which it was written: under any other key it is not believed. Nor is anything
else believed that an answer could not contain, down to a line break in a field: who can write to the store could
otherwise write to an agent's connection. The facts that depend on the settings are not written (core/stored.py).

Other versions write to the same store: a change of this form changes the schema number in redis.py.
"""

from __future__ import annotations

import json
import math
import re
import struct
import zlib
from collections.abc import Sequence
from typing import Any, Final

from proxy.core.stored import Stored, Variants
from proxy.model import LOWER, Field, Headers
from proxy.stores.base import Value

HEAVY: Final = 65_536  # bytes of a body from which inflating and deflating take the loop's time for milliseconds

_FRAME: Final = struct.Struct(">4sBII")
_MAGIC: Final = b"BSC1"
_AS_IT_IS: Final = 0
_DEFLATED: Final = 1
_WORTH_TRYING: Final = 1024  # bytes of a body
_LARGEST_HEAD: Final = 1 << 20

_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_VALUE: Final = re.compile(rb"[^\r\n\0]*")  # RFC 9110, 5.5
_TARGET: Final = re.compile(rb"[^\x00-\x20\x7f]+")
_BAD: Final = (ValueError, KeyError, TypeError, OverflowError, RecursionError, zlib.error)
_OF_ONE_HOP: Final = frozenset({b"connection", b"transfer-encoding"})  # would undo the framing of our answer


class Malformed(ValueError):
    """The bytes are no answer, or none that was written under this name."""


# --- writing ---------------------------------------------------------------------------------------


def encode(digest: str, value: Value) -> bytes:
    """``value`` as it is kept under the key with this digest."""
    if isinstance(value, Variants):
        sets = [[_text(name) for name in names] for names in value.sets]
        return _framed({"key": digest, "nonce": value.nonce, "sets": sets, "keys": value.keys}, b"", 0)
    head = {
        "key": digest,
        "status": value.status,
        "reason": _text(value.reason),
        "headers": [(_text(name), _text(content)) for _, name, content in value.headers.fields],
        "requested_at": value.requested_at,
        "received_at": value.received_at,
        "initial_age": value.initial_age,
        "vary": [(_text(name), None if content is None else _text(content)) for name, content in value.vary],
        "api": value.api,
        "route": value.route,
        "method": _text(value.method),
        "target": _text(value.target),
    }
    return _framed(head, _smaller(value), len(value.body))


def _text(value: bytes) -> str:
    return value.decode("latin-1")


def _smaller(stored: Stored) -> bytes:
    """The body, deflated if that helps: what is encoded has been compressed, as a rule."""
    body = stored.body
    if len(body) < _WORTH_TRYING or b"content-encoding" in stored.headers:
        return body
    deflated = zlib.compress(body, 1)
    return deflated if len(deflated) < 0.9 * len(body) else body


def _framed(head: dict[str, Any], written: bytes, length: int) -> bytes:
    lines = json.dumps(head, separators=(",", ":")).encode()
    how = _AS_IT_IS if len(written) == length else _DEFLATED
    return b"".join((_FRAME.pack(_MAGIC, how, len(lines), length), lines, written))


# --- reading ---------------------------------------------------------------------------------------


def is_heavy(data: bytes) -> bool:
    """Whether ``decode`` would take the loop's time for milliseconds."""
    return len(data) >= _FRAME.size and data[4] == _DEFLATED and _FRAME.unpack_from(data)[3] > HEAVY


def decode(data: bytes, digest: str, largest: int) -> Value:
    """What ``encode`` wrote under this digest, or one that begins like this. Raises Malformed.

    A body of more than ``largest`` bytes is malformed too.
    """
    try:
        return _decode(data, digest, largest)
    except _BAD as error:
        raise Malformed(str(error)) from error


def decode_head(data: bytes, digest: str) -> Value:
    """The same without the body, which need not be in ``data``; the answer's ``size`` counts it."""
    try:
        head, _, _, length = _head(data, digest)
        value = _value(head, b"")
    except _BAD as error:
        raise Malformed(str(error)) from error
    if isinstance(value, Stored):
        value.size += length
    return value


def beginning(data: bytes) -> int:
    """How many bytes of a writing ``decode_head`` needs; ``data`` has the first 16 or more."""
    if len(data) < _FRAME.size:
        raise Malformed("too short")
    magic, _, head, _ = _FRAME.unpack_from(data)
    if magic != _MAGIC or head > _LARGEST_HEAD:
        raise Malformed("not of this form")
    return _FRAME.size + int(head)


def _decode(data: bytes, digest: str, largest: int) -> Value:
    head, end, how, length = _head(data, digest)
    if length > largest:
        raise Malformed(f"a body of {length} bytes")
    value = _value(head, _body(data[end:], how, length))
    if isinstance(value, Stored):
        _check_framing(value)
    return value


def _head(data: bytes, digest: str) -> tuple[dict[str, Any], int, int, int]:
    """The head, where it ends, how the body is written, and how long it is."""
    end = beginning(data)
    _, how, _, length = _FRAME.unpack_from(data)
    head = json.loads(data[_FRAME.size : end])
    if not _str(head["key"]).startswith(digest):
        raise Malformed("written under another key")
    return head, end, how, length


def _body(written: bytes, how: int, length: int) -> bytes:
    if how == _AS_IT_IS:
        body = written
    elif how == _DEFLATED:
        inflating = zlib.decompressobj()
        body = inflating.decompress(written, length + 1)  # never more than was announced, whatever it would become
        if not inflating.eof or inflating.unused_data:
            raise Malformed("the body does not end where it should")
    else:
        raise Malformed("the body is written in an unknown way")
    if len(body) != length:
        raise Malformed(f"{len(body)} bytes of a body of {length}")
    return body


def _value(head: dict[str, Any], body: bytes) -> Value:
    if "nonce" in head:
        sets = tuple([tuple([_bytes(name, _TOKEN) for name in names]) for names in head["sets"]])
        return Variants(_str(head["nonce"]), sets, tuple([_str(key) for key in head["keys"]]))
    return Stored(
        status=_status(head["status"]),
        reason=_bytes(head["reason"], _VALUE),
        headers=Headers([_field(name, value) for name, value in head["headers"]]),
        body=body,
        requested_at=_seconds(head["requested_at"]),
        received_at=_seconds(head["received_at"]),
        initial_age=_seconds(head["initial_age"]),
        vary=_vary(head["vary"]),
        api=_str(head["api"]),
        route=_str(head["route"]),
        method=_bytes(head["method"], _TOKEN),
        target=_bytes(head["target"], _TARGET),
    )


def _status(value: object) -> int:
    if type(value) is not int or not 200 <= value <= 599:
        raise Malformed(f"status {value!r}")
    return value


def _seconds(value: Any) -> float:
    if type(value) not in {float, int} or not math.isfinite(seconds := float(value)):
        raise Malformed(f"{value!r} is no time")
    return seconds


def _str(value: object) -> str:
    if type(value) is not str:
        raise Malformed(f"{value!r} is no text")
    return value


def _bytes(value: object, pattern: re.Pattern[bytes]) -> bytes:
    raw = _str(value).encode("latin-1")
    if pattern.fullmatch(raw) is None:
        raise Malformed(f"{raw!r} has no place in an answer")
    return raw


def _field(name: object, value: object) -> Field:
    raw = _bytes(name, _TOKEN)
    lower = LOWER[raw]
    if lower in _OF_ONE_HOP:
        raise Malformed(f"{name} is not stored")
    return lower, raw, _bytes(value, _VALUE)


def _vary(pairs: Sequence[Any]) -> tuple[tuple[bytes, bytes | None], ...]:
    return tuple([(_bytes(name, _TOKEN), None if value is None else _bytes(value, _VALUE)) for name, value in pairs])


def _check_framing(stored: Stored) -> None:
    """Content-Length is what the agent's side of the wire goes by. The answer to a HEAD has one, and no body."""
    if stored.method == b"HEAD":
        return
    for lower, _, value in stored.headers.fields:
        if lower == b"content-length" and not (value.isdigit() and int(value) == len(stored.body)):
            raise Malformed(f"Content-Length {value!r} with {len(stored.body)} bytes")
