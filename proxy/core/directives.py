"""Owns what Cache-Control and its targeted kin say (RFC 9111, 5.2; RFC 5861; RFC 8246; RFC 9213).

Called by ``core/asked.py`` for requests and ``core/freshness.py`` for answers.

Cache-Control comes from thousands of hands, so it is read with patience, and what is wrong in it counts against
using an answer: RFC 9111, 4.2.1 wants an answer with invalid freshness to be stale.

==============================  ====================================================================================
names                           in any case; what nobody knows is skipped with its argument
repeated                        the first counts (4.2.1); field names of no-cache and private are added up
arguments                       a token or a quoted string, the same to us (5.2)
seconds                         digits only; more than 2^31 is 2^31 (1.2.2)
max-age, s-maxage               0 if they are not seconds
other seconds                   as if absent if they are not seconds; max-stale alone has no limit
no-cache="a, b"                 only of these fields; with no name in it, or beside a plain no-cache, of all
a quote that never closes       is no quote: the directives behind it count
a flag with an argument         is still a flag
==============================  ====================================================================================

A targeted field is a dictionary of Structured Fields: one that cannot be parsed counts for nothing, and so does a
member of the wrong type (RFC 9213, 2.1).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Final

from proxy.core.structured import Value, dictionary

LONGEST: Final = float(1 << 31)
"""Seconds; what is longer is this long (RFC 9111, 1.2.2)."""

_FLAGS: Final = {
    b"no-store": "no_store",
    b"public": "public",
    b"must-revalidate": "must_revalidate",
    b"proxy-revalidate": "proxy_revalidate",
    b"must-understand": "must_understand",
    b"immutable": "immutable",
    b"no-transform": "no_transform",
    b"only-if-cached": "only_if_cached",
}
_SECONDS: Final = {
    b"max-age": "max_age",
    b"s-maxage": "s_maxage",
    b"stale-if-error": "stale_if_error",
    b"stale-while-revalidate": "stale_while_revalidate",
    b"min-fresh": "min_fresh",
    b"max-stale": "max_stale",
}
_QUALIFIED: Final = {b"no-cache": "no_cache", b"private": "private"}
_LIFETIMES: Final = frozenset({b"max-age", b"s-maxage"})

_OWS: Final = b" \t"
_DIGITS: Final = re.compile(rb"[0-9]+")
_QUOTED: Final = rb'"(?:[^"\\]|\\.)*+"'
_CLOSED: Final = re.compile(rb'(?s)(?:[^"]++|' + _QUOTED + rb")*+")
_MEMBER: Final = re.compile(rb'(?s)(?:[^",]++|' + _QUOTED + rb")++")
_STRING: Final = re.compile(rb"(?s)" + _QUOTED)
_ESCAPE: Final = re.compile(rb"(?s)\\(.)")


class Directives:
    """What one Cache-Control says; seconds, None where it says nothing."""

    __slots__ = (
        "immutable", "max_age", "max_stale", "min_fresh", "must_revalidate", "must_understand", "no_cache",
        "no_cache_fields", "no_store", "no_transform", "only_if_cached", "private", "private_fields",
        "proxy_revalidate", "public", "s_maxage", "stale_if_error", "stale_while_revalidate",
    )  # fmt: skip

    def __init__(self) -> None:
        self.no_store = False
        self.no_cache = False
        self.no_cache_fields: frozenset[bytes] = frozenset()  # lower-cased
        self.private = False
        self.private_fields: frozenset[bytes] = frozenset()  # lower-cased
        self.public = False
        self.must_revalidate = False
        self.proxy_revalidate = False
        self.must_understand = False
        self.immutable = False
        self.no_transform = False
        self.only_if_cached = False
        self.max_age: float | None = None
        self.s_maxage: float | None = None
        self.stale_if_error: float | None = None
        self.stale_while_revalidate: float | None = None
        self.min_fresh: float | None = None
        self.max_stale: float | None = None  # inf: however stale

    def __repr__(self) -> str:
        flags = [name for name in (*_FLAGS.values(), *_QUALIFIED.values()) if getattr(self, name)]
        seconds = [f"{name}={getattr(self, name):g}" for name in _SECONDS.values() if getattr(self, name) is not None]
        return f"<Directives {' '.join([*flags, *seconds])}>"


def parse_cache_control(values: Sequence[bytes]) -> Directives:
    """What Cache-Control says in these lines."""
    found = Directives()
    seen: set[bytes] = set()
    for member in _members(b",".join(values)):
        raw, equals, argument = member.partition(b"=")
        name = raw.strip(_OWS).lower()
        if name in _FLAGS:
            setattr(found, _FLAGS[name], True)
        elif name in _QUALIFIED:
            _qualify(found, _QUALIFIED[name], _unquoted(argument))
        elif name in _SECONDS and name not in seen:
            seen.add(name)
            # Whitespace beside "=" is none of the grammar's: what follows it is no argument that can be trusted.
            bare = None if not equals else b"" if raw[-1:] in _OWS else _unquoted(argument)
            setattr(found, _SECONDS[name], _seconds(name, bare))
    return found


def _members(text: bytes) -> list[bytes]:
    """The members of a list (RFC 9110, 5.6.1), of which some may be empty; without the whitespace around them."""
    quoted = b'"' in text and _CLOSED.fullmatch(text) is not None
    members: Iterable[bytes] = _MEMBER.findall(text) if quoted else text.split(b",")
    return [member.strip(_OWS) for member in members]


def _unquoted(argument: bytes) -> bytes:
    return _ESCAPE.sub(rb"\1", argument[1:-1]) if _STRING.fullmatch(argument) else argument


def _seconds(name: bytes, argument: bytes | None) -> float | None:
    if argument is not None and _DIGITS.fullmatch(argument):
        return LONGEST if len(argument.lstrip(b"0")) > 10 else min(float(argument), LONGEST)
    if name in _LIFETIMES:
        return 0.0
    return math.inf if name == b"max-stale" and argument is None else None


def _qualify(found: Directives, attribute: str, argument: bytes) -> None:
    """Take no-cache or private, for the fields that the argument names or for the whole answer."""
    fields = frozenset(name for part in argument.split(b",") if (name := part.strip(_OWS).lower()))
    if fields:
        setattr(found, attribute + "_fields", getattr(found, attribute + "_fields") | fields)
    else:
        setattr(found, attribute, True)


def parse_targeted(values: Sequence[bytes]) -> Directives | None:
    """What a targeted field says in these lines; None if it is empty or no dictionary (RFC 9213, 2.1)."""
    members = dictionary(values)
    if not members:
        return None
    found = Directives()
    for name, value in members.items():
        if name in _SECONDS:
            setattr(found, _SECONDS[name], _integer(value))
        elif name in _FLAGS:
            setattr(found, _FLAGS[name], value is True)
        elif name in _QUALIFIED and (value is True or isinstance(value, bytes)):
            _qualify(found, _QUALIFIED[name], value if isinstance(value, bytes) else b"")
    return found


def _integer(value: Value) -> float | None:
    """Seconds; a boolean is an int to Python, but no Integer to RFC 9651."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return None
    return min(float(value), LONGEST)
