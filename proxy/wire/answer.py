"""An answer as bytes for the agent: its head, and how the agent can tell where its body ends. Used by server.py."""

from __future__ import annotations

import enum
from functools import lru_cache
from typing import TYPE_CHECKING

from proxy.wire.framing import encode_chunk, encode_last_chunk

if TYPE_CHECKING:
    from proxy.model import Response


class Framing(enum.Enum):
    """What tells the agent that an answer is complete (RFC 9112, 6.3)."""

    ANNOUNCED = "announced"  # Content-Length, or a status or method without a body, or a tunnel
    CHUNKED = "chunked"
    UNTIL_CLOSE = "until close"  # the end of the connection: for HTTP/1.0, and only where nothing else does


def encode_answer_head(response: Response, method: bytes, *, http10: bool, close: bool) -> tuple[bytes, Framing]:
    """The head of the answer to a ``method`` request, and how its body is to be framed.

    ``close``: the connection ends with this answer; UNTIL_CLOSE means that it must, whatever was asked.
    """
    parts = [_status_line(response.status, response.reason)]
    announced = False
    for lower, name, value in response.headers.fields:
        parts.append(b"%b: %b\r\n" % (name, value))
        if lower == b"content-length":
            announced = True
    framing = Framing.ANNOUNCED if announced else _frame(response, parts, method, http10=http10)
    if response.tunnel is not None:
        pass  # its Connection field says Upgrade
    elif close or framing is Framing.UNTIL_CLOSE:
        parts.append(b"Connection: close\r\n")
    elif http10:
        parts.append(b"Connection: keep-alive\r\n")
    parts.append(b"\r\n")
    return b"".join(parts), framing


@lru_cache(maxsize=512)
def _status_line(status: int, reason: bytes) -> bytes:
    return b"HTTP/1.1 %d %b\r\n" % (status, reason)


def _frame(response: Response, parts: list[bytes], method: bytes, *, http10: bool) -> Framing:
    """Say how long the answer is, where its own fields do not."""
    if method == b"HEAD" or response.status in (204, 304) or response.tunnel is not None:
        return Framing.ANNOUNCED
    if response.stream is None and (response.trailers is None or http10):
        parts.append(b"Content-Length: %d\r\n" % len(response.body))
        return Framing.ANNOUNCED
    if http10:
        return Framing.UNTIL_CLOSE
    parts.append(b"Transfer-Encoding: chunked\r\n")
    return Framing.CHUNKED


def encode_whole_body(response: Response, framing: Framing) -> bytes:
    """The body of an answer that is complete; chunked only if trailers follow it."""
    if framing is not Framing.CHUNKED:
        return response.body
    chunk = encode_chunk(response.body) if response.body else b""
    return chunk + encode_last_chunk(response.trailers)
