"""A request as bytes for the upstream: the agent's own fields, and those of this hop. Used by pool.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.model import Request


def encode_request_head(request: Request, host: bytes, via: bytes, origin: bytes = b"", hop: bytes = b"") -> bytes:
    """The head to send: the agent's fields in their order behind our Host, then framing and Via.

    For a proxy, ``origin`` (``http://host``) makes the target absolute, and ``hop`` has the fields for it alone.
    """
    target = request.target
    if origin and target == b"*":
        target = b""  # RFC 9112, 3.2.4
    parts = [b"%b %b%b HTTP/1.1\r\nHost: %b\r\n%b" % (request.method, origin, target, host, hop)]
    parts += [b"%b: %b\r\n" % (name, value) for _, name, value in request.headers.fields]
    if request.stream is not None:
        if request.stream.length is None:
            parts.append(b"Transfer-Encoding: chunked\r\n")
    elif request.length < 0:  # chunked, and complete: its length is known by now
        parts.append(b"Content-Length: %d\r\n" % len(request.body))
    if request.upgrade:
        parts.append(b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
    elif request.trailers_wanted:
        parts.append(b"Connection: TE\r\nTE: trailers\r\n")
    parts += [b"Via: 1.0 " if request.http10 else b"Via: 1.1 ", via, b"\r\n\r\n"]
    return b"".join(parts)
