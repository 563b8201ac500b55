r"""A small proxy as companies put before the Internet: CONNECT, absolute-form, Basic. For tests of ways out.

proxy = await CorporateProxy.start(authorization=b"Basic dTpw")
...
assert proxy.heads == [b"CONNECT 127.0.0.1:443 HTTP/1.1\r\n..."]
await proxy.stop()

``to`` sends everything to another address than the one that was asked for, as if the name had been resolved there.
"""

from __future__ import annotations

import asyncio
from typing import Final

from tests.support.raw import End, Vendor

DENIED: Final = (
    b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nno"
)


class CorporateProxy:
    """See the module."""

    def __init__(self, authorization: bytes | None, to: tuple[str, int] | None) -> None:
        self._authorization = authorization
        self._to = to
        self.heads: list[bytes] = []
        self._listener: Vendor

    @classmethod
    async def start(cls, *, authorization: bytes | None = None, to: tuple[str, int] | None = None) -> CorporateProxy:
        proxy = cls(authorization, to)
        proxy._listener = await Vendor.start(proxy._serve)
        return proxy

    @property
    def port(self) -> int:
        return self._listener.port

    @property
    def connections(self) -> int:
        return len(self._listener.connections)

    async def stop(self) -> None:
        await self._listener.stop()

    async def _serve(self, end: End) -> None:
        while True:
            message = await end.message()
            self.heads.append(message.head)
            if message.field(b"Proxy-Authorization") != self._authorization:
                await end.send(DENIED)
                continue
            method, target, _ = message.head.split(b" ", 2)
            if method == b"CONNECT":
                await self._tunnel(end, target)
                return
            await self._forward(end, message.head, message.body)

    async def _open(self, authority: bytes) -> End:
        host, _, port = authority.decode().rpartition(":")
        to = self._to or (host.strip("[]"), int(port))
        return End(*await asyncio.open_connection(*to))

    async def _forward(self, end: End, head: bytes, body: bytes) -> None:
        line, _, fields = head.partition(b"\r\n")
        method, target, version = line.split(b" ")
        assert target.startswith(b"http://")
        authority, slash, path = target.removeprefix(b"http://").partition(b"/")
        kept = [each for each in fields.split(b"\r\n") if not each.lower().startswith(b"proxy-")]
        origin = await self._open(authority if b":" in authority else authority + b":80")
        try:
            await origin.send(b"%b %b %b\r\n%b%b" % (method, (slash or b"/") + path, version, b"\r\n".join(kept), body))
            answer = await origin.message(bodiless=method == b"HEAD")
            await end.send(answer.head + answer.body)
        finally:
            origin.close()

    async def _tunnel(self, end: End, authority: bytes) -> None:
        origin = await self._open(authority)
        await end.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        there = asyncio.ensure_future(_pump(end, origin))
        try:
            await _pump(origin, end)
        finally:
            there.cancel()
            await asyncio.gather(there, return_exceptions=True)
            origin.close()


async def _pump(source: End, sink: End) -> None:
    while data := await source.reader.read(65536):
        sink.writer.write(data)
        await sink.writer.drain()
    if sink.writer.can_write_eof():
        sink.writer.write_eof()
