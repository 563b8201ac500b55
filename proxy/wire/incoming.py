"""A request head turned into a Request: Host, targets, hop-by-hop fields, loops. Used by server.py."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from proxy.errors import Loop
from proxy.model import Request
from proxy.wire.framing import declared_length
from proxy.wire.head import Fields, Malformed, parse_fields, parse_request_line

_HOST: Final = re.compile(rb"(?:[A-Za-z0-9\-._~%!$&'()*+,;=]*|\[[0-9A-Fa-f:.]+\])(?::([0-9]{0,5}))?")
_LONGEST_HOST: Final = 262  # a name of 255 (RFC 1035, 2.3.4), with brackets or a port
_ABSOLUTE: Final = re.compile(rb"(https?)://([^/?]*)(.*)", re.IGNORECASE)
_AUTHORITY: Final = re.compile(rb"(.+):([0-9]{1,5})")
_NOTHING: Final[list[bytes]] = []


def read_request(data: bytes, end: int, pseudonym: bytes) -> Request:
    """The request whose head is ``data[:end]``, where an empty line begins; its body is not looked at.

    Raises:
        Malformed: it breaks a rule of RFC 9112 that a proxy must keep.
        Loop: it has passed this instance, named ``pseudonym``, before (RFC 9110, 7.6.3).
    """
    line_end = data.find(b"\r\n", 0, end + 2)
    method, target, http10 = parse_request_line(data[:line_end])
    fields = parse_fields(data[line_end : end + 4])
    aside = fields.aside
    host = aside.get(b"host")
    if host is None or not _is_host(host):
        host = _odd_host(host, http10=http10)
    forward = b""
    if target[0] != 0x2F:
        forward, host, target = _other_form(method, host, target)
    nominated = fields.tokens(b"connection") if b"connection" in aside else _NOTHING
    request = Request(method, target, fields.headers(nominated), host=host, http10=http10)
    request.forward = forward
    request.length = declared_length(aside, http10=http10) or 0
    request.keep_alive = b"close" not in nominated and (not http10 or b"keep-alive" in nominated)
    if len(aside) > 1:
        _read_rare(request, fields, nominated, pseudonym)
    return request


def _read_rare(request: Request, fields: Fields, nominated: list[bytes], pseudonym: bytes) -> None:
    """Fields that few requests have."""
    if pseudonym in fields.aside.get(b"via", b""):
        raise Loop
    request.expects_continue = not request.http10 and b"100-continue" in fields.tokens(b"expect")
    request.trailers_wanted = b"trailers" in fields.tokens(b"te")
    # Any other protocol, and an upgrade of HTTP/1.0, of a request with a body, or by a method other than GET (RFC 6455,
    # 4.1: it would pass what lets a websocket pass), is framed as if Upgrade were absent.
    asks = b"upgrade" in nominated and fields.tokens(b"upgrade") == [b"websocket"]
    request.upgrade = asks and request.method == b"GET" and not request.http10 and not request.length


def _is_host(host: bytes) -> bool:
    """Whether this is one host with an optional port (RFC 9110, 7.2); two joined by a comma and a space are none."""
    return len(host) <= _LONGEST_HOST and _fits_host(host)


@lru_cache(maxsize=512)
def _fits_host(host: bytes) -> bool:
    match = _HOST.fullmatch(host)
    return match is not None and int(match[1] or 0) < 65536  # resolvers take what is beyond for another port


def _odd_host(host: bytes | None, *, http10: bool) -> bytes:
    """Only HTTP/1.0 may leave Host out (RFC 9112, 3.2)."""
    if host is not None:
        raise Malformed("the Host field is repeated, or not a host")
    if not http10:
        raise Malformed("the Host field is missing")
    return b""


def _other_form(method: bytes, host: bytes, target: bytes) -> tuple[bytes, bytes, bytes]:
    """(scheme or ``connect``, host, target) of a target that is no path; its host overrules Host (RFC 9112, 3.2)."""
    if method == b"CONNECT":
        split_authority(target)
        return b"connect", target, target
    if target == b"*" and method == b"OPTIONS":
        return b"", host, target
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise Malformed("the request target is neither a path nor an http:// or https:// URL")
    scheme, authority, rest = absolute.groups()
    if not _is_name(authority):
        raise Malformed("the request target names no valid host")
    if not rest and method == b"OPTIONS":
        rest = b"*"  # RFC 9112, 3.2.4
    return scheme.lower(), authority, rest if rest[:1] in {b"/", b"*"} else b"/" + rest


def _is_name(authority: bytes) -> bool:
    return authority[:1] not in {b"", b":"} and _is_host(authority)


def split_authority(target: bytes) -> tuple[str, int]:
    """(host, port) of the target of a CONNECT, which has no default port (RFC 9110, 9.3.6). Raises Malformed."""
    match = _AUTHORITY.fullmatch(target)
    if match is None or not _is_name(target) or not 0 < int(match[2]) < 65536:
        raise Malformed("the target of a CONNECT is not host:port")
    return match[1].decode("latin-1").strip("[]").lower().rstrip("."), int(match[2])
