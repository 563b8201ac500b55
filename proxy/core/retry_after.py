"""Owns how long an upstream asks to be left alone, in every dialect in which that is said.

Called by ``policies/attempts.py`` and the wire, on answers that are not a success.

In the order of their authority:

================================  =================================================================================
field                             value
================================  =================================================================================
retry-after-ms                    milliseconds (OpenAI, Azure)
retry-after                       RFC 9110, 10.2.3: seconds or an HTTP date; also seen: fractions, an epoch, "30s"
ratelimit                         draft-ietf-httpapi-ratelimit-headers: ``"name";r=0;t=30``
x-ratelimit-reset and the like    a delta, an epoch or a duration ("1m30s", "6ms")
================================  =================================================================================

A reset says when a quota is whole again, on every answer and not only when it is spent. So it counts only if its
``remaining`` twin is zero or missing, and of several the longest. A number is an epoch from 1e9 on (September 2001 as
a date, 32 years as a delta), in milliseconds from 1e11 on. What cannot be read says nothing: None.
"""

from __future__ import annotations

import math
import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from proxy.model import Headers

_NUMBER: Final = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?")
_DURATION: Final = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:ms|[smhd]))+")
_PART: Final = re.compile(r"([0-9.]+)(ms|[smhd])")
_UNIT: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_EPOCH: Final = 1e9
_EPOCH_MS: Final = 1e11
_SPENT: Final = re.compile(r";\s*r=0\s*(?:;|$)")
_RESET_PARAMETER: Final = re.compile(r";\s*t=([0-9]{1,15})\s*(?:;|$)")
_LONGEST_FIELD: Final = 128  # bytes; whatever is longer is none of these dialects

_RESETS: Final = (  # (reset, its remaining twin)
    (b"x-ratelimit-reset", b"x-ratelimit-remaining"),
    (b"x-ratelimit-reset-requests", b"x-ratelimit-remaining-requests"),
    (b"x-ratelimit-reset-tokens", b"x-ratelimit-remaining-tokens"),
    (b"x-rate-limit-reset", b"x-rate-limit-remaining"),
    (b"ratelimit-reset", b"ratelimit-remaining"),
)


def retry_after(headers: Headers, wall: float) -> float | None:
    """Seconds (0 or more) that the upstream asks for, or None. ``wall`` is epoch seconds."""
    if (milliseconds := _number(_text(headers, b"retry-after-ms"))) is not None:
        return milliseconds / 1000.0
    text = _text(headers, b"retry-after")
    if (seconds := _moment(text, wall)) is not None:
        return seconds
    if text is not None and (seconds := _date(text, wall)) is not None:
        return seconds
    waits = [_policy_reset(headers), *(_reset(headers, reset, twin, wall) for reset, twin in _RESETS)]
    return max((wait for wait in waits if wait is not None), default=None)


def whole_seconds(seconds: float) -> int:
    """A wait as Retry-After says it (RFC 9110, 10.2.3): whole, never too short, never none."""
    return max(math.ceil(seconds), 1)


def _text(headers: Headers, name: bytes) -> str | None:
    value = headers.get(name)
    if value is None or len(value) > _LONGEST_FIELD:
        return None
    return value.decode("latin-1").strip().lower()


def _number(text: str | None) -> float | None:
    return float(text) if text is not None and _NUMBER.fullmatch(text) else None


def _moment(text: str | None, wall: float) -> float | None:
    """A delta, an epoch or a duration, as seconds from now."""
    if (number := _number(text)) is not None:
        if number < _EPOCH:
            return number
        return max(number / (1000.0 if number >= _EPOCH_MS else 1.0) - wall, 0.0)
    if text is not None and _DURATION.fullmatch(text):
        return sum(float(amount) * _UNIT[unit] for amount, unit in _PART.findall(text))
    return None


def _date(text: str, wall: float) -> float | None:
    """An HTTP date in any of its three forms (RFC 9110, 5.6.7); without a zone it is UTC."""
    try:
        date = parsedate_to_datetime(text)
        aware = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
        return max(aware.timestamp() - wall, 0.0)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _policy_reset(headers: Headers) -> float | None:
    text = _text(headers, b"ratelimit")
    if text is None or not _SPENT.search(text):
        return None
    found = _RESET_PARAMETER.search(text)
    return float(found[1]) if found else None


def _reset(headers: Headers, reset: bytes, twin: bytes, wall: float) -> float | None:
    remaining = _number(_text(headers, twin))
    if remaining is not None and remaining > 0.0:
        return None
    return _moment(_text(headers, reset), wall)
