"""Owns dictionaries of Structured Fields (RFC 9651, 3.2 and 4.2.2), as far as a cache needs them.

Called by ``core/directives.py`` for targeted cache control.

The whole field is parsed as strictly as the RFC has it, since one that is not a dictionary counts for nothing. Of the
values only integers, strings and booleans are told; all others, inner lists among them, are OTHER, and parameters are
skipped (RFC 9213, 2.1).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from typing import Final, TypeAlias


class _Other(enum.Enum):
    OTHER = "other"


OTHER: Final = _Other.OTHER
"""A value of a type that no cache directive has."""

Value: TypeAlias = bool | int | bytes | _Other

_KEY: Final = rb"[a-z*][a-z0-9_.*-]*+"
_BARE: Final = (  # 3.3; the order matters: a decimal begins like an integer
    rb"(?:-?[0-9]{1,12}\.[0-9]{1,3}(?![0-9.])|-?[0-9]{1,15}(?![0-9.])"  # decimal, integer
    rb'|"(?:[ !#-\[\]-~]|\\["\\])*+"'  # string
    rb"|[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*+"  # token
    rb"|:[A-Za-z0-9+/]*+={0,2}:|\?[01]|@-?[0-9]{1,15}(?![0-9.])"  # bytes, boolean, date
    rb'|%"(?:[ !#$&-~]|%[0-9a-f]{2})*+")'  # display string
)
_PARAMETERS: Final = rb"(?:; *+" + _KEY + rb"(?:=" + _BARE + rb")?)*+"
_ITEM: Final = _BARE + _PARAMETERS
_INNER: Final = rb"\( *+(?:" + _ITEM + rb"(?: ++" + _ITEM + rb")*+ *+)?\)" + _PARAMETERS
_MEMBER: Final = re.compile(
    rb"(" + _KEY + rb")(?:=(?:(" + _BARE + rb")" + _PARAMETERS + rb"|" + _INNER + rb")|" + _PARAMETERS + rb")"
)
_COMMA: Final = re.compile(rb"[ \t]*+,[ \t]*+")
_ESCAPE: Final = re.compile(rb"\\(.)")


def dictionary(values: Sequence[bytes]) -> dict[bytes, Value] | None:
    """The members of a field that came in these lines; None if it cannot be parsed. Of a repeated key the last."""
    text = b", ".join(values).strip(b" ")
    members: dict[bytes, Value] = {}
    position = 0
    while position < len(text):
        member = _MEMBER.match(text, position)
        if member is None:
            return None
        members[member[1]] = _value(text, member)
        if member.end() == len(text):
            return members
        comma = _COMMA.match(text, member.end())
        if comma is None or comma.end() == len(text):  # rubbish behind a member, or a comma behind the last
            return None
        position = comma.end()
    return members


def _value(text: bytes, member: re.Match[bytes]) -> Value:
    bare = member[2]
    if bare is None:  # a key alone says true; an inner list says nothing to us
        return OTHER if text[member.end(1) : member.end(1) + 1] == b"=" else True
    if bare[:1] == b"?":
        return bare == b"?1"
    if bare[:1] == b'"':
        return _ESCAPE.sub(rb"\1", bare[1:-1])
    return int(bare) if bare.removeprefix(b"-").isdigit() else OTHER
