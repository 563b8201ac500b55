r"""A small proxy as companies put before the Internet: CONNECT, absolute-form, Basic. For tests of ways out.

proxy = await CorporateProxy.start(authorization=b"Basic dTpw", to={b"vendor.test": vendor.port})
...
assert proxy.heads == [b"CONNECT vendor.test:443 HTTP/1.1\r\n..."]
await proxy.stop()

``to`` has the ports on loopback of the hosts that this proxy knows.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from tests.support.raw import End, Vendor

DENIED: Final = (
    b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nno"
)


class CorporateProxy:
    """See the module."""

    def __init__(self, authorization: bytes | None, to: Mapping[bytes, int]) -> None:
        self._authorization = authorization
        self._to = to
        self.heads: list[bytes] = []
        self._listener: Vendor

    @classmethod
    async def start(cls, *, authorization: bytes | None = None, to: Mapping[bytes, int]) -> CorporateProxy:
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
        return End(*await asyncio.open_connection("127.0.0.1", self._to[authority.partition(b":")[0]]))

    async def _forward(self, end: End, head: bytes, body: bytes) -> None:
        line, _, fields = head.partition(b"\r\n")
        method, target, version = line.split(b" ")
        assert target.startswith(b"http://")
        authority, slash, path = target.removeprefix(b"http://").partition(b"/")
        kept = [each for each in fields.split(b"\r\n") if not each.lower().startswith(b"proxy-")]
        origin = await self._open(authority)
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


@contextmanager
def running(**options: Any) -> Iterator[CorporateProxy]:
    """A proxy in a thread of its own, for tests of the real process. ``options`` are those of ``start``."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    proxy = asyncio.run_coroutine_threadsafe(CorporateProxy.start(**options), loop).result(10)
    try:
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(proxy.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
