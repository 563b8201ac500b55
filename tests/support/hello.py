"""ClientHellos: by this Python's OpenSSL, by Node, and put together by hand so that each length can lie."""

from __future__ import annotations

import base64
import contextlib
import ssl
from collections.abc import Sequence
from typing import Final

NODE: Final = base64.b64decode(
    "FgMBAYUBAAGBAwMB/N5iujAHT6tFi2rpc7yTmT20g4PCviuaCTf15b7i4CCoLy62Nm9lsSSf76Wo9DXTdWGj/GPdKH7nJPvZHHC9hwB2EwITAxMB"
    "wC/AK8AwwCwAnsAnAGfAKABrAKMAn8ypzKjMqsCvwK3Ao8CfwF3AYcBXwFMAosCuwKzAosCewFzAYMBWwFLAJABqwCMAQMAKwBQAOQA4wAnAEwAz"
    "ADIAncChwJ3AUQCcwKDAnMBQAD0APAA1AC8A/wEAAMIAAAAXABUAABJBUEkuVmVuZG9yLkV4YW1wbGUACwAEAwABAgAKABYAFAAdABcAHgAZABgB"
    "AAEBAQIBAwEEACMAAAAQAA4ADAJoMghodHRwLzEuMQAWAAAAFwAAAA0AKgAoBAMFAwYDCAcICAgJCAoICwgECAUIBgQBBQEGAQMDAwEDAgQCBQIG"
    "AgArAAUEAwQDAwAtAAIBAQAzACYAJAAdACD0ljMGcuew6B9VWJkyN01uTCSyI725wxCb+PXC+ofTWw=="
)
"""Of Node 20, with servername API.Vendor.Example and ALPN h2, http/1.1."""


def real(
    name: str | None = "api.vendor.example",
    alpn: Sequence[str] = (),
    versions: tuple[ssl.TLSVersion, ssl.TLSVersion] = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3),
) -> bytes:
    """What OpenSSL sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.minimum_version, context.maximum_version = versions
    if alpn:
        context.set_alpn_protocols(list(alpn))
    sent = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=name).do_handshake()
    return sent.read()


def vector(size: int, data: bytes) -> bytes:
    """``data`` behind its length of ``size`` bytes."""
    return len(data).to_bytes(size, "big") + data


def extension(kind: int, data: bytes) -> bytes:
    return kind.to_bytes(2, "big") + vector(2, data)


def server_name(*names: bytes, kind: int = 0) -> bytes:
    return extension(0, vector(2, b"".join(bytes([kind]) + vector(2, name) for name in names)))


def protocols(*names: bytes) -> bytes:
    return extension(16, vector(2, b"".join(vector(1, name) for name in names)))


def body(
    *extensions: bytes,
    version: bytes = b"\x03\x03",
    session: bytes = b"",
    ciphers: bytes = b"\x13\x01",
    compression: bytes = b"\x00",
    block: bytes | None = None,
) -> bytes:
    """A ClientHello without its header; ``block`` instead of its extensions with their length."""
    end = vector(2, b"".join(extensions)) if block is None else block
    return version + bytes(32) + vector(1, session) + vector(2, ciphers) + vector(1, compression) + end


def message(hello: bytes) -> bytes:
    return b"\x01" + vector(3, hello)


def records(data: bytes, *, size: int = 16384) -> bytes:
    """Handshake records of at most ``size`` bytes each."""
    return b"".join(b"\x16\x03\x01" + vector(2, data[at : at + size]) for at in range(0, len(data), size))


def hello(*extensions: bytes) -> bytes:
    """One hello in one record."""
    return records(message(body(*extensions)))
