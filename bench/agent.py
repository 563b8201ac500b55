"""An agent that is caught: it calls through CONNECT and speaks TLS inside, which wrk cannot. A load generator.

Run by capture.py as ``python -m bench.agent ...`` on the load core; prints its figures as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import socket
import ssl
import statistics
import time
from array import array
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import aiofastnet
import uvloop

from bench.process import cpu_seconds

OK = b"HTTP/1.1 200"
ESTABLISHED = re.compile(rb"HTTP/1\.[01] 2\d\d ")
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
HOST = "127.0.0.1"
HANDSHAKE_SECONDS = 20.0
WARM_SECONDS = 0.3


@dataclass(frozen=True)
class Plan:
    """What to call, by which way."""

    port: int  # of the proxy, or of the vendor itself
    authority: str  # of the vendor
    through: bool  # CONNECT first
    tls: ssl.SSLContext | None
    proxy: int | None = None  # its process, whose processor time is taken

    @property
    def request(self) -> bytes:
        return f"GET /small HTTP/1.1\r\nHost: {self.authority}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n".encode()

    @property
    def security(self) -> dict[str, Any]:
        """What is told to whoever makes a connection."""
        if self.tls is None:
            return {}
        host = self.authority.partition(":")[0]
        return {"ssl": self.tls, "server_hostname": host, "ssl_handshake_timeout": HANDSHAKE_SECONDS}


@dataclass
class Tally:
    """Seconds that each call took, and from when on; ``proxy`` is the process whose processor time is taken."""

    proxy: int | None
    seconds: array[float] = field(default_factory=lambda: array("d"))
    began: float = 0.0
    used: float = 0.0  # by the proxy, before

    def begin(self) -> None:
        """Forget what was before."""
        del self.seconds[:]
        self.used = self._used()
        self.began = time.perf_counter()

    def _used(self) -> float:
        return 0.0 if self.proxy is None else cpu_seconds(self.proxy)

    def told(self) -> dict[str, float]:
        """The figures as wrk has them, a rate, and latencies in microseconds; and the proxy's seconds of processor."""
        elapsed, used = time.perf_counter() - self.began, self._used() - self.used
        if len(self.seconds) < 2:
            raise RuntimeError(f"{len(self.seconds)} calls in {elapsed:.1f} s")
        hundredths = statistics.quantiles(self.seconds, n=100, method="inclusive")
        calls = len(self.seconds)
        p50, p99 = hundredths[49] * 1e6, hundredths[98] * 1e6
        return {"rate": calls / elapsed, "requests": calls, "p50": p50, "p99": p99, "used": used}


class Call(asyncio.Protocol):
    """One call after another on one connection, until it is told to be the last."""

    def __init__(self, request: bytes, tally: Tally, *, calls: float = float("inf")) -> None:
        self._request = request
        self._tally = tally
        self._left = calls
        self._size = 0  # bytes of an answer; the same call has the same one
        self._pending = b""
        self._asked = 0.0
        self._transport: asyncio.Transport
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, since: float = 0.0) -> None:
        """Begin; the first call has begun at ``since`` if that is given."""
        self._transport.write(self._request)
        self._asked = since or time.perf_counter()

    def data_received(self, data: bytes) -> None:
        if (len(data) != self._size or not data.startswith(OK)) and not self._whole(data):
            return
        now = time.perf_counter()
        self._tally.seconds.append(now - self._asked)
        self._left -= 1
        if self._left > 0:
            self._asked = now
            self._transport.write(self._request)
        elif not self.done.done():
            self.done.set_result(None)

    def _whole(self, data: bytes) -> bool:
        """Whether an answer that came in pieces, or is of another size, is complete."""
        self._pending += data
        head, end, body = self._pending.partition(b"\r\n\r\n")
        if not end:
            return False
        length = LENGTH.search(head)
        if not head.startswith(OK) or length is None:
            self.connection_lost(ConnectionError(f"not an answer with a length: {head!r}"))
            return False
        if len(body) < int(length[1]):
            return False
        self._size, self._pending = len(self._pending), b""
        return True

    def connection_lost(self, exc: BaseException | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("closed in the middle"))

    def stop(self) -> None:
        """The answer that is awaited is the last."""
        self._left = 0


async def opened(plan: Plan) -> socket.socket:
    """A connection to the vendor, by the proxy or not."""
    sock = socket.socket()
    try:
        sock.setblocking(False)  # noqa: FBT003
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, (HOST, plan.port))
        if plan.through:
            await tunnel(sock, plan.authority)
    except BaseException:
        sock.close()
        raise
    return sock


async def tunnel(sock: socket.socket, authority: str) -> None:
    """Ask for a tunnel, and wait until it is there; nothing comes behind the answer, since the agent speaks first."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        part = await loop.sock_recv(sock, 4096)
        if not part:
            raise ConnectionError(f"closed instead of a tunnel: {answer!r}")
        answer += part
    if not ESTABLISHED.match(answer):
        raise ConnectionError(f"no tunnel: {answer!r}")


async def keep_alive(plan: Plan, connections: int, seconds: float) -> dict[str, float]:
    """Calls on connections that stay. aiofastnet takes the least time for each."""
    tally = Tally(plan.proxy)
    make = partial(aiofastnet.create_connection, asyncio.get_running_loop(), lambda: Call(plan.request, tally))
    pairs = [await make(sock=await opened(plan), **plan.security) for _ in range(connections)]
    for _, call in pairs:
        call.ask()
    await asyncio.sleep(WARM_SECONDS)
    tally.begin()
    await asyncio.wait([call.done for _, call in pairs], timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    figures = tally.told()
    for _, call in pairs:
        call.stop()
    await asyncio.gather(*(call.done for _, call in pairs))
    for transport, _ in pairs:
        transport.abort()
    return figures


async def fresh(plan: Plan, connections: int, seconds: float) -> dict[str, float]:
    """A connection of its own for each call, so many at a time; the time of a call has all of it.

    A handshake takes an agent longer than it takes a proxy, with aiofastnet half as long again as with uvloop's own.
    """
    tally = Tally(plan.proxy)
    tally.begin()
    end = tally.began + seconds
    loop = asyncio.get_running_loop()

    async def one_after_another() -> None:
        while (now := time.perf_counter()) < end:
            transport, call = await loop.create_connection(
                lambda: Call(plan.request, tally, calls=1), sock=await opened(plan), **plan.security
            )
            call.ask(since=now)
            await call.done
            transport.close()

    await asyncio.gather(*(one_after_another() for _ in range(connections)))
    return tally.told()


def trusting(ca_file: str) -> ssl.SSLContext:
    """TLS as an agent speaks it: it checks chain and name."""
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


def main() -> None:
    """Make calls, and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int, help="of the proxy, or of the vendor")
    parser.add_argument("authority", help="of the vendor")
    parser.add_argument("--proxy", type=int, help="the proxy's process; there is none if it is not given")
    parser.add_argument("--ca-file", help="what to trust; TLS is spoken if it is given")
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--fresh", action="store_true", help="a connection for each call")
    options = parser.parse_args()
    tls = trusting(options.ca_file) if options.ca_file else None
    plan = Plan(options.port, options.authority, options.proxy is not None, tls, options.proxy)
    way = fresh if options.fresh else keep_alive
    print(json.dumps(uvloop.run(way(plan, options.connections, options.seconds))))


if __name__ == "__main__":
    main()
