"""Owns what tells one call from another: a digest of those parts of it that the configuration names.

Called by ``keyed.py``: for what a key stands for, and to derive a key for a call that has none.

What is hashed, in this order, whatever the order in the configuration:

=======  ======================================================================================================
names    of the parts, so that what is told of other parts is another digest; a part that is not named counts as empty
method   its length, and it
path     the same; of the target as it goes upstream, up to its first ``?``
query    the same; what is behind it, with a length of -1 if there is no ``?``
headers  by name: the number of its fields, and of each the length and the value, in the order in which they came
body     all that is left: its length is not known before it has passed
=======  ======================================================================================================

Since lengths come first, nothing can be made to look like the end of one part and the beginning of the next. Where the
method, all of the target and no header are parts, the request line itself takes their place, without lengths: there
is no space in a method, and no line feed in a target (RFC 9112, 3).
"""

from __future__ import annotations

import hashlib
from typing import Final

from proxy.model import Headers, Request

_DIGITS: Final = 32  # 128 bits, as much as a UUID has


class Digest:
    """The fingerprint of a call whose body still passes."""

    __slots__ = ("_counts", "_hash")

    def __init__(self, head: bytes, *, counts: bool) -> None:
        self._hash = hashlib.sha256(head)
        self._counts = counts  # whether the body is a part of it

    def feed(self, data: bytes) -> None:
        """The next piece of the body."""
        if self._counts:
            self._hash.update(data)

    def end(self) -> str:
        """The fingerprint, if that was all."""
        return self._hash.hexdigest()[:_DIGITS]

    def __repr__(self) -> str:
        return f"<Digest {self.end()[:8]} so far>"


class Fingerprint:
    """Makes fingerprints of these parts: method, path, query, body and header:NAME."""

    __slots__ = ("_headers", "_method", "_names", "_path", "_query", "_whole", "needs_body")

    def __init__(self, parts: tuple[str, ...]) -> None:
        headers = sorted({part.removeprefix("header:").lower() for part in parts if part.startswith("header:")})
        plain = [part for part in ("method", "path", "query", "body") if part in parts]
        self.needs_body = "body" in parts
        self._method = "method" in parts
        self._path = "path" in parts
        self._query = "query" in parts
        self._headers = [name.encode() for name in headers]
        self._whole = self._method and self._path and self._query and not headers
        self._names = " ".join([*plain, *(f"header:{name}" for name in headers)]).encode()

    def of(self, request: Request) -> str:
        """The fingerprint of a request with its whole body at hand: 32 hexadecimal digits."""
        head = self._head(request)
        return hashlib.sha256(head + request.body if self.needs_body else head).hexdigest()[:_DIGITS]

    def begin(self, request: Request) -> Digest:
        """The fingerprint of a request whose body is to be fed to it: the same, however that is cut."""
        return Digest(self._head(request), counts=self.needs_body)

    def _head(self, request: Request) -> bytes:
        if self._whole:
            return self._names + b"\n" + request.method + b" " + request.target + b"\n"
        path, mark, query = request.target.partition(b"?")
        if not self._path:
            path = b""
        if not self._query:
            mark = query = b""
        method = request.method if self._method else b""
        told = b"%b\n%d:%b%d:%b%d:%b" % (
            self._names, len(method), method, len(path), path, len(query) if mark else -1, query,
        )  # fmt: skip
        for name in self._headers:
            told += _fields(request.headers, name)
        return told

    def __repr__(self) -> str:
        return f"<Fingerprint of {self._names.decode()}>"


def _fields(headers: Headers, name: bytes) -> bytes:
    values = [value for lower, _, value in headers.fields if lower == name]
    return b"%d;%b" % (len(values), b"".join([b"%d:%b" % (len(value), value) for value in values]))
