"""Owns what the first bytes of a captured connection are: TLS, HTTP, or something that is not to be touched.

Called by ``wire/capture.py`` with all the bytes that have come so far, each time that more come, until it is told:

    MORE --> TLS      a complete ClientHello
         --> HTTP2    the client's preface (RFC 9113, 3.4)
         --> HTTP1    ``token SP target SP HTTP/1.`` in one line, judged by sight: the strict parser comes later
         --> OPAQUE   what cannot become any of these, as early as that is certain: another protocol, to be left alone

A line that is HTTP by sight and breaks its rules is HTTP1 all the same: left alone, it would pass every policy by.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final

from proxy.core.client_hello import ClientHello, read_client_hello

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_EMPTY_LINES: Final = rb"(?:\r?\n)*"  # to be ignored (RFC 9112, 2.2)
_METHOD: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}"  # the longest that is registered has 17 letters
_TARGET: Final = rb"[^\x00-\x20\x7f][^\x00-\x1f\x7f]*"  # spaces within are wrong, and clients send them
_LINE: Final = re.compile(_EMPTY_LINES + _METHOD + rb" +(" + _TARGET + rb"?) HTTP/1\.")
_VERSION: Final = b" HTTP/1."
_BEGINNING: Final = re.compile(_EMPTY_LINES + rb"(?:\r?|" + _METHOD + rb"(?: +(?:" + _TARGET + rb")?)?)")
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#@\s]+)(?:[/?#].*)?", re.IGNORECASE | re.DOTALL)
_END: Final = re.compile(rb"\n\r?\n")  # of a head, also of one that breaks the rules
_HOST: Final = re.compile(rb"\nhost[ \t]*:[ \t]*([^\r\n]*?)[ \t]*(?=[\r\n])", re.IGNORECASE)


class Kind(enum.Enum):
    """What the bytes are."""

    MORE = "more"  # too few to tell
    TLS = "tls"
    HTTP1 = "http1"
    HTTP2 = "http2"
    OPAQUE = "opaque"


@dataclass(frozen=True, slots=True)
class First:
    """What the first bytes say.

    ``hello`` comes with TLS alone, ``host`` and ``whole`` with HTTP1. ``whole``: looking again at more bytes will tell
    nothing new, because the head is complete, or longer than it may be. ``host`` is the authority of an absolute
    target, or the value of the first Host field, as it came: None if there is no such thing. It is found in a head that
    breaks the rules, too, for so it may be by the server: where it is an api's, the strict parser is to refuse it.
    """

    kind: Kind
    hello: ClientHello | None = None
    host: bytes | None = None
    whole: bool = False


_MORE: Final = First(Kind.MORE)
_OPAQUE: Final = First(Kind.OPAQUE)
_HTTP2: Final = First(Kind.HTTP2)


def look(data: bytes, limit: int) -> First:
    """Tell what ``data``, all that has come, is the beginning of; ``limit``: bytes of an HTTP/1 head."""
    if data[:1] == b"\x16":
        return _tls(data)
    if data.startswith(_PREFACE):
        return _HTTP2
    if _PREFACE.startswith(data):
        return _MORE
    return _http1(data[: limit + 4], limit)


def _tls(data: bytes) -> First:
    try:
        hello = read_client_hello(data)
    except ValueError:
        return _OPAQUE
    return _MORE if hello is None else First(Kind.TLS, hello)


def _http1(data: bytes, limit: int) -> First:
    # A head may come byte by byte, and is looked at anew each time: what costs least says first that it is not there.
    line = _LINE.match(data) if _VERSION in data else None
    if line is not None:
        return _head(data, line.end(), line[1], limit)
    return _MORE if len(data) <= limit and _BEGINNING.fullmatch(data) else _OPAQUE


def _head(data: bytes, start: int, target: bytes, limit: int) -> First:
    end = _END.search(data, start)
    if end is None and len(data) <= limit:
        return First(Kind.HTTP1)
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is not None:
        return First(Kind.HTTP1, host=absolute[1], whole=True)
    host = _HOST.search(data, start, len(data) if end is None else end.end())
    return First(Kind.HTTP1, host=(host[1] or None) if host is not None else None, whole=True)
