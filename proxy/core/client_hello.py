"""Owns what a TLS ClientHello says before TLS begins: the server's name, and the protocols offered inside.

Called by ``core/first_bytes.py``. RFC 8446, 4.1.2 and 5.1 (TLS 1.0 to 1.2 send the same shape: RFC 5246, 7.4.1.2),
RFC 6066, 3 (server_name) and RFC 7301, 3.1 (ALPN). Nothing is negotiated here, so ciphers, versions and groups are only
stepped over, and unknown values among them (GREASE, RFC 8701) mean nothing. Every length is held against what is there.

With encrypted ClientHello (RFC 9849) the name seen is the outer one, which is that of the server that the handshake is
with; the inner one cannot be seen. SSL 2.0's hello has another shape: it is a ValueError.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MAX_HANDSHAKE: Final = 16 * 1024
"""Bytes of a hello, over all its records: ten times what a hello with post-quantum keys takes."""
MAX_RECORDS: Final = 64
"""Records that a hello may be spread over: they are walked over anew at each look, so they are bounded too."""

_HANDSHAKE: Final = b"\x16\x03"  # the type of the record, and the first half of its version
_LAST_MINOR: Final = 4
_MAX_FRAGMENT: Final = 16 * 1024
_CLIENT_HELLO: Final = 1
_SERVER_NAME: Final = 0
_HOST_NAME: Final = 0
_ALPN: Final = 16
_MAX_NAME: Final = 253
_NAME: Final = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_ADDRESS: Final = re.compile(  # no top-level domain is a number
    r"(?:[^.]*\.)*(?:[0-9]+|0x[0-9a-f]*)|[0-9a-f]*:[0-9a-f:.]*"
)


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What decides where a TLS connection goes.

    ``server_name`` is lower-cased, without a final dot. It is None where there is none, and where it is an address:
    RFC 6066 permits none, and the address that is judged is the one that was connected to. ``alpn`` is None where the
    client offers nothing.
    """

    server_name: str | None
    alpn: tuple[bytes, ...] | None


def read_client_hello(data: bytes) -> ClientHello | None:
    """Read the hello that a connection's first bytes are; None: more of them are needed.

    Raises:
        ValueError: these bytes are not, and cannot become, a ClientHello within the limits; the message says why.
    """
    message = _message(data)
    return None if message is None else _hello(_Reader(message))


# --- records: type (22), version, length, fragment of the handshake message


def _message(data: bytes) -> bytes | None:
    """The body of the handshake message, put together from its records."""
    message = bytearray()
    at = 0
    for _ in range(MAX_RECORDS):
        size = _record_size(data[at : at + 5])
        if size is None:
            return None
        at += 5
        message += data[at : at + size]
        at += size
        missing = max(at - len(data), 0)  # of the record
        wanted = _message_size(message)
        if wanted is not None and len(message) + missing > wanted:
            raise ValueError("something follows the hello in its record")  # 5.1: nothing may, before the answer
        if missing:
            return None
        if len(message) == wanted:
            return bytes(message[4:])
    raise ValueError("the hello is spread over too many records")


def _record_size(header: bytes) -> int | None:
    """The length of a record's fragment; None while its header is not complete."""
    if header[:2] != _HANDSHAKE[: len(header)] or (len(header) > 2 and header[2] > _LAST_MINOR):
        raise ValueError("this is no TLS handshake record")
    if len(header) < 5:
        return None
    size = int.from_bytes(header[3:], "big")
    if not 0 < size <= _MAX_FRAGMENT:
        raise ValueError("a record is empty, or larger than TLS permits")
    return size


def _message_size(message: bytearray) -> int | None:
    """The length of a handshake message with its header (type, length); None while that is not complete."""
    if message and message[0] != _CLIENT_HELLO:
        raise ValueError("the handshake does not begin with a ClientHello")
    if len(message) < 4:
        return None
    size = 4 + int.from_bytes(message[1:4], "big")
    if size > MAX_HANDSHAKE:
        raise ValueError(f"the hello is larger than {MAX_HANDSHAKE} bytes")
    return size


# --- the message: vectors within vectors, each with its length before it


class _Reader:
    """Takes a message apart; whatever does not fit is a ValueError."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def more(self) -> bool:
        """Whether anything is left."""
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        taken = self._data[self._at : self._at + size]
        if len(taken) < size:
            raise ValueError("a length within the hello exceeds what there is")
        self._at += size
        return taken

    def number(self, size: int) -> int:
        """The next ``size`` bytes as a number."""
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int, floor: int = 1) -> bytes:
        """What follows its own length, of ``size`` bytes; at least ``floor`` bytes."""
        vector = self.take(self.number(size))
        if len(vector) < floor:
            raise ValueError("a part of the hello is too short")
        return vector

    def end(self) -> None:
        """Nothing may be left."""
        if self.more():
            raise ValueError("a length within the hello is less than what there is")


def _hello(hello: _Reader) -> ClientHello:
    if hello.number(1) != 3:
        raise ValueError("the hello is of an unknown version of TLS")
    hello.take(1 + 32)  # the rest of the version, random
    if len(hello.vector(1, 0)) > 32:
        raise ValueError("the session id is too long")
    if len(hello.vector(2, 2)) % 2:
        raise ValueError("the list of ciphers ends within one")
    hello.vector(1)  # compression methods
    extensions = _extensions(hello)
    name, protocols = extensions.get(_SERVER_NAME), extensions.get(_ALPN)
    return ClientHello(
        None if name is None else _server_name(name),
        None if protocols is None else _protocols(protocols),
    )


def _extensions(hello: _Reader) -> dict[int, bytes]:
    """By type; before TLS 1.3 there may be none at all."""
    found: dict[int, bytes] = {}
    if not hello.more():
        return found
    extensions = _Reader(hello.vector(2, 0))
    hello.end()
    while extensions.more():
        kind = extensions.number(2)
        if kind in found:
            raise ValueError("an extension is repeated")  # 4.2: two names would be two destinations
        found[kind] = extensions.vector(2, 0)
    return found


def _server_name(extension: bytes) -> str | None:
    """The one host name of a server_name extension (RFC 6066, 3)."""
    outer = _Reader(extension)
    names = _Reader(outer.vector(2))
    outer.end()
    found: list[bytes] = []
    while names.more():
        kind, name = names.number(1), names.vector(2)
        if kind == _HOST_NAME:
            found.append(name)
    if len(found) > 1:
        raise ValueError("the hello names two servers")
    return _host(found[0]) if found else None


def _host(name: bytes) -> str | None:
    host = name.decode("latin-1").lower().removesuffix(".")
    if len(host) > _MAX_NAME:
        raise ValueError("the server's name is too long")
    if _ADDRESS.fullmatch(host):
        return None
    if not _NAME.fullmatch(host):
        raise ValueError("the server's name is no host name")
    return host


def _protocols(extension: bytes) -> tuple[bytes, ...]:
    """The protocols of an ALPN extension, in the order of preference (RFC 7301, 3.1)."""
    outer = _Reader(extension)
    names = _Reader(outer.vector(2, 2))
    outer.end()
    found = []
    while names.more():
        found.append(names.vector(1))
    return tuple(found)
