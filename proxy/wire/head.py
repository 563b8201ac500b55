"""Start lines and field sections: bytes in, their parts or a refusal out. Used by incoming.py and upstream.py.

llhttp (through httptools) parses field sections, in its strict mode: it refuses obs-fold, bare CR or LF,
white space before a colon, control bytes, and a malformed or repeated Content-Length. It is fed the
section behind a request line of our own and nothing else, because its ideas of methods, versions, upgrades
and body ends are not those of a proxy. The start lines, and every rule about framing (framing.py), are ours.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import httptools

from proxy.model import LOWER, Field, Headers

SECTION_END: Final = b"\r\n\r\n"
_PREFIX: Final = b"GET / HTTP/1.1"
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VISIBLE: Final = bytes(range(0x21, 0x7F))
_STATUS: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?")
_COMMON_METHODS: Final = frozenset({b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"HEAD", b"OPTIONS"})
_VERSIONS: Final = {b"HTTP/1.1": False, b"HTTP/1.0": True}

HOP_BY_HOP: Final = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
        b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
"""Fields that end at the next hop (RFC 9110, 7.6.1 and 11.7); the parser sets them aside."""
_ASIDE: Final = HOP_BY_HOP | {b"host", b"content-length", b"expect", b"via"}
_KEPT: Final = frozenset({b"content-length", b"expect", b"via"})
_SHORT: Final = 128
_LONGEST_STATUS_LINE: Final = 512
_NEVER_NOMINATED: Final = frozenset({b"close", b"keep-alive", b"content-length", b"host"})


class Malformed(ValueError):
    """The bytes are not a head that may be forwarded; the message says why."""


class Fields:
    """A field section: ``end_to_end`` fields to forward, and those that the wire itself acts upon, ``aside``.

    ``aside`` maps lower-cased names to values; those of a field that is repeated are joined by a comma
    (RFC 9110, 5.3), which no field that may come only once survives.
    """

    __slots__ = ("aside", "end_to_end")

    def __init__(self) -> None:
        self.end_to_end: list[Field] = []
        self.aside: dict[bytes, bytes] = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser for each field."""
        lower = LOWER[name]
        if lower in _ASIDE:
            self._set_aside(lower, name, value)
        else:
            self.end_to_end.append((lower, name, value))

    def _set_aside(self, lower: bytes, name: bytes, value: bytes) -> None:
        value = value.rstrip(b" \t")
        before = self.aside.get(lower)
        self.aside[lower] = value if before is None else before + b", " + value
        if lower in _KEPT:
            self.end_to_end.append((lower, name, value))

    def tokens(self, lower: bytes) -> list[bytes]:
        """The lower-cased members of a list field that was set aside."""
        value = self.aside.get(lower)
        if value is None:
            return []
        # Only short values are remembered: the memory of what the other side chooses is bounded in bytes, too.
        return _members(value) if len(value) <= _SHORT else _members.__wrapped__(value)

    def headers(self, nominated: list[bytes]) -> Headers:
        """The fields to forward, less those that Connection nominates (RFC 9110, 7.6.1)."""
        if not nominated or _NEVER_NOMINATED.issuperset(nominated):
            return Headers(self.end_to_end)
        drop = set(nominated) - _NEVER_NOMINATED
        return Headers([field for field in self.end_to_end if field[0] not in drop])


@lru_cache(maxsize=512)
def _members(value: bytes) -> list[bytes]:
    return [member for part in value.split(b",") if (member := part.strip(b" \t").lower())]


def parse_fields(section: bytes) -> Fields:
    r"""Parse a field section that begins with CRLF (the end of the line before it) and ends with an empty line.

    Raises:
        Malformed: a field breaks the grammar of RFC 9112, 5.
    """
    fields = Fields()
    try:
        httptools.HttpRequestParser(fields).feed_data(_PREFIX + section)
    except httptools.HttpParserUpgrade:
        pass  # raised at the end of a section that asks for an upgrade: we frame those ourselves
    except httptools.HttpParserError as error:
        raise Malformed(f"a header field is malformed: {error}") from None
    return fields


def parse_request_line(line: bytes) -> tuple[bytes, bytes, bool]:
    """(method, target, whether it is HTTP/1.0) of ``METHOD SP target SP version`` (RFC 9112, 3). Raises Malformed."""
    parts = line.split(b" ")
    if len(parts) != 3:
        raise Malformed("the request line is not 'METHOD target HTTP/1.1'")
    method, target, version = parts
    if method not in _COMMON_METHODS and not _TOKEN.fullmatch(method):
        raise Malformed("the method is not a token")
    if not target or target.translate(None, _VISIBLE):
        raise Malformed("the request target holds bytes that must be percent-encoded")
    http10 = _VERSIONS.get(version)
    if http10 is None:
        raise Malformed("the version is neither HTTP/1.1 nor HTTP/1.0")
    return method, target, http10


def parse_status_line(line: bytes) -> tuple[int, bytes, bool]:
    """(status, reason, whether it is HTTP/1.0) of ``version SP status SP reason`` (RFC 9112, 4). Raises Malformed.

    A missing reason, with its space, is accepted, as all clients do. Lines recur, so their parts are remembered.
    """
    if len(line) > _LONGEST_STATUS_LINE:
        raise Malformed("the status line is too long")
    return _status_line(line)


@lru_cache(maxsize=512)
def _status_line(line: bytes) -> tuple[int, bytes, bool]:
    match = _STATUS.fullmatch(line)
    if match is None:
        raise Malformed("the status line is not 'HTTP/1.1 200 reason'")
    return int(match[2]), match[3] or b"", match[1] == b"0"
