"""Where a message ends: the rules of RFC 9112, 6 that a proxy must keep, and readers that apply them.

Anything ambiguous is Malformed: refused, never repaired and forwarded. Used by server.py and upstream.py.

=====================================  =========================================
request                                body
=====================================  =========================================
Transfer-Encoding and Content-Length   Malformed (smuggling)
Transfer-Encoding: chunked             chunked; Malformed on HTTP/1.0
any other Transfer-Encoding            Malformed
Content-Length: N                      N bytes
neither                                none
=====================================  =========================================

An answer differs in that HEAD, 1xx, 204 and 304 have no body, and that with neither field it lasts until
the connection closes (RFC 9112, 6.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from proxy.wire.head import Malformed, parse_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.model import Headers

CHUNKED: Final = -1
UNTIL_CLOSE: Final = -2
_BODILESS: Final = frozenset({101, 204, 304})
_LINE_LIMIT: Final = 1024  # of a chunk-size line with its extensions, which nobody uses and attackers do


def declared_length(aside: Mapping[bytes, bytes], *, http10: bool) -> int | None:
    """Bytes that Content-Length announces, or CHUNKED, or None if the message does not say. Raises Malformed."""
    length = aside.get(b"content-length")
    if b"transfer-encoding" in aside:
        if length is not None:
            raise Malformed("both Content-Length and Transfer-Encoding are present")
        if aside[b"transfer-encoding"].lower() != b"chunked":
            raise Malformed("Transfer-Encoding is not exactly 'chunked'")
        if http10:
            raise Malformed("Transfer-Encoding on HTTP/1.0")
        return CHUNKED
    if length is None:
        return None
    if not length.isdigit() or len(length) > 18:
        raise Malformed("Content-Length is not one number")
    return int(length)


def response_length(aside: Mapping[bytes, bytes], *, status: int, method: bytes, http10: bool) -> int:
    """Bytes of an answer's body, or CHUNKED or UNTIL_CLOSE. Raises Malformed."""
    declared = declared_length(aside, http10=http10)
    if method == b"HEAD" or status in _BODILESS:
        return 0
    return UNTIL_CLOSE if declared is None else declared


class Reader(Protocol):
    """Cuts a body out of a byte stream."""

    trailers: Headers | None

    def feed(self, data: bytes, /) -> tuple[bytes, bool, bytes]:
        """(payload, whether the body is complete, bytes behind the body). Raises Malformed."""

    def at_eof(self) -> bool:
        """Whether a connection that closes now ends the body well."""


class LengthReader:
    """A body of known length."""

    __slots__ = ("left", "trailers")

    def __init__(self, length: int) -> None:
        self.left = length
        self.trailers: Headers | None = None

    def feed(self, data: bytes) -> tuple[bytes, bool, bytes]:
        """See Reader."""
        size = len(data)
        if size < self.left:
            self.left -= size
            return data, False, b""
        left, self.left = self.left, 0
        return (data, True, b"") if size == left else (data[:left], True, data[left:])

    def at_eof(self) -> bool:
        """A body shorter than announced is broken."""
        return self.left == 0


class CloseReader:
    """A body that lasts until the connection closes (answers only)."""

    __slots__ = ("trailers",)

    def __init__(self) -> None:
        self.trailers: Headers | None = None

    def feed(self, data: bytes) -> tuple[bytes, bool, bytes]:
        """See Reader."""
        return data, False, b""

    def at_eof(self) -> bool:
        """Closing is the only end there is."""
        return True


class ChunkedReader:
    """The chunked coding (RFC 9112, 7.1), decoded. Extensions are checked for size and dropped."""

    __slots__ = ("_left", "_limit", "_partial", "_state", "trailers")

    def __init__(self, trailer_limit: int) -> None:
        self._limit = trailer_limit
        self._left = 0
        self._state = "size"  # size | data | data end | trailers
        self._partial = b""
        self.trailers: Headers | None = None

    def feed(self, data: bytes) -> tuple[bytes, bool, bytes]:
        """See Reader."""
        if self._partial:
            data, self._partial = self._partial + data, b""
        pieces: list[bytes] = []
        position = 0
        while position < len(data):
            if self._state == "data":
                piece = data[position : position + self._left]
                pieces.append(piece)
                position += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._state = "data end"
            elif self._state == "trailers":
                return self._trailers(data[position:], pieces)
            else:
                after = self._line(data, position)
                if after is None:
                    break
                position = after
        return b"".join(pieces), False, b""

    def _line(self, data: bytes, position: int) -> int | None:
        """Take a line that frames a chunk; None if it is not complete."""
        end = data.find(b"\r\n", position, position + _LINE_LIMIT)
        if end < 0:
            if len(data) - position >= _LINE_LIMIT:
                raise Malformed("a chunk-size line is too long")
            self._partial = data[position:]
            self._check_partial()
            return None
        line = data[position:end]
        if self._state == "data end":
            if line:
                raise Malformed("a chunk is longer than its size")
            self._state = "size"
        else:
            self._left = _chunk_size(line)
            self._state = "data" if self._left else "trailers"
            if not self._left:
                self._partial = b""
                return end  # the CRLF stays: it begins the trailer section
        return end + 2

    def _check_partial(self) -> None:
        """Refuse at once what can never become a good line, so that nobody waits for its end."""
        if self._state == "data end" and not b"\r\n".startswith(self._partial):
            raise Malformed("a chunk is longer than its size")

    def _trailers(self, data: bytes, pieces: list[bytes]) -> tuple[bytes, bool, bytes]:
        if data.startswith(b"\r\n\r\n"):
            return b"".join(pieces), True, data[4:]
        end = data.find(b"\r\n\r\n")
        if (end if end >= 0 else len(data)) > self._limit:
            raise Malformed("the trailer section is too large")
        if end < 0:
            self._partial = data
            return b"".join(pieces), False, b""
        fields = parse_fields(data[: end + 4])
        if fields.aside:
            raise Malformed("the trailer section holds a field that frames or routes")
        self.trailers = fields.headers([])
        return b"".join(pieces), True, data[end + 4 :]

    def at_eof(self) -> bool:
        """A chunked body ends with its last chunk, never with the connection."""
        return False


def _chunk_size(line: bytes) -> int:
    size, _, extension = line.partition(b";")
    size = size.rstrip(b" \t")
    if not size or len(size) > 15 or size.strip(b"0123456789abcdefABCDEF"):
        raise Malformed("a chunk size is not a hexadecimal number")
    if any(byte < 0x20 and byte != 0x09 for byte in extension) or b"\x7f" in extension:
        raise Malformed("a chunk extension holds control bytes")
    return int(size, 16)


def reader_for(length: int, trailer_limit: int) -> Reader:
    """The reader for a length as told by request_length or response_length."""
    if length == CHUNKED:
        return ChunkedReader(trailer_limit)
    if length == UNTIL_CLOSE:
        return CloseReader()
    return LengthReader(length)


def encode_chunk(data: bytes) -> bytes:
    """One chunk of the chunked coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def encode_last_chunk(trailers: Headers | None) -> bytes:
    """The last chunk and the trailer section."""
    if trailers is None:
        return b"0\r\n\r\n"
    return b"0\r\n%b\r\n" % b"".join([b"%b: %b\r\n" % field for field in trailers])
