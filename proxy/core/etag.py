"""Owns entity tags: how they are listed, and when two are the same (RFC 9110, 8.8.3).

Called by ``core/selection.py`` and ``core/updating.py``.

Vendors and agents forget the quotes often enough, so ``abc`` is taken for ``"abc"``: the tag of another answer it
cannot be.
"""

from __future__ import annotations

import re
from typing import Final

_TAG: Final = re.compile(rb'[ \t,]*+((?:W/)?"[^"]*+"|[^,]++)')
_OWS: Final = b" \t"


def opaque(tag: bytes) -> bytes:
    """What is compared when tags are compared weakly: neither W/ nor quotes count."""
    bare = tag.strip(_OWS).removeprefix(b"W/")
    return bare[1:-1] if len(bare) > 1 and bare[:1] == bare[-1:] == b'"' else bare


def same_strong(one: bytes, other: bytes) -> bool:
    """The strong comparison: the same bytes of a body are meant."""
    return not one.startswith(b"W/") and not other.startswith(b"W/") and opaque(one) == opaque(other)


def listed(value: bytes, tag: bytes | None) -> bool:
    """Whether If-None-Match with this value names ``tag``, compared weakly (13.1.2); ``*`` names any answer."""
    if value.strip(_OWS) == b"*":
        return True
    if tag is None:
        return False
    wanted = opaque(tag)
    return any(opaque(member[1]) == wanted for member in _TAG.finditer(value))
