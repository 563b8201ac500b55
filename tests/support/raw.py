"""Raw ends of connections on loopback: an agent and a vendor that send and record bytes. For tests of the wire.

Every wait of an agent has a deadline, so that a test that would hang fails with what it was waiting for.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from tests.support.virtual import VirtualLoop

DEADLINE: Final = 10.0  # seconds, for any one wait of an agent
VIRTUAL_DEADLINE: Final = 3600.0  # the same in virtual time


async def turns(count: int = 10) -> None:
    """Let the loop take what is ready, so that two sends are two reads on the other side."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool], what: str = "condition", *, turns: int = 2000) -> None:
    """Wait until a condition holds."""
    for _ in range(turns):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError(f"never came true: {what}")


@dataclass
class Answer:
    """A message as it came: its head, taken apart a little, and its body without framing."""

    head: bytes
    body: bytes = b""
    trailers: bytes = b""

    @property
    def status(self) -> int:
        return int(self.head.split(b" ", 2)[1])

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        lines = self.head.split(b"\r\n")[1:-2]
        return [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]

    def field(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.fields if key.lower() == name.lower()), None)


class End:
    """One raw end of a connection: sends bytes in given pieces, reads what comes, records all of it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.received = bytearray()
        self.deadline: float | None = None  # a vendor waits for requests as long as it takes
        closed: asyncio.Future[None] = writer.transport.get_protocol()._closed  # type: ignore[attr-defined]
        closed.add_done_callback(lambda future: future.cancelled() or future.exception())  # how it ended: nobody asks

    async def _read(self, reading: Coroutine[Any, Any, bytes], what: str) -> bytes:
        try:
            data = await asyncio.wait_for(reading, self.deadline)
        except TimeoutError:
            raise AssertionError(f"waited for {what}, after {bytes(self.received[-300:])!r}") from None
        self.received += data
        return data

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await asyncio.wait_for(self.writer.drain(), self.deadline)
            await turns()

    async def until(self, mark: bytes) -> bytes:
        return await self._read(self.reader.readuntil(mark), repr(mark))

    async def exactly(self, count: int) -> bytes:
        return await self._read(self.reader.readexactly(count), f"{count} bytes")

    async def some(self) -> bytes:
        return await self._read(self.reader.read(65536), "some bytes")

    async def rest(self) -> bytes:
        """All that comes until the other side closes; raises ConnectionResetError if it resets."""
        return await self._read(self.reader.read(-1), "the end")

    async def closed(self) -> bool:
        """Whether the other side closes or resets now, without another byte."""
        try:
            return await self.rest() == b""
        except ConnectionError:
            return True

    @property
    def gone(self) -> bool:
        """Whether the other side has closed or reset, for an end that a script is reading from."""
        return self.reader.at_eof() or self.reader.exception() is not None

    async def message(self, *, bodiless: bool = False) -> Answer:
        """One message with its body, by its own framing (until the close, if it is an answer without one)."""
        answer = Answer(await self.until(b"\r\n\r\n"))
        length = answer.field(b"Content-Length")
        if bodiless or answer.head.startswith((b"HTTP/1.1 1", b"HTTP/1.1 204", b"HTTP/1.1 304")):
            return answer
        if answer.field(b"Transfer-Encoding") is not None:
            await self._chunks(answer)
        elif length is not None:
            answer.body = await self.exactly(int(length))
        elif answer.head.startswith(b"HTTP/"):
            answer.body = await self.rest()
        return answer

    async def _chunks(self, answer: Answer) -> None:
        while size := int(await self.until(b"\r\n"), 16):
            answer.body += await self.exactly(size)
            assert await self.exactly(2) == b"\r\n"
        while (line := await self.until(b"\r\n")) != b"\r\n":
            answer.trailers += line

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Close with a RST, as a process that dies does; unless it is closed already."""
        if not self.writer.transport.is_closing():
            sock = self.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort()


class Agent(End):
    """The raw client."""

    @classmethod
    async def connect(cls, port: int, *, receive_buffer: int | None = None) -> Agent:
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        except OSError:
            sock.close()
            raise
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        agent = cls(*await asyncio.open_connection(sock=sock))
        virtual = isinstance(asyncio.get_running_loop(), VirtualLoop)
        agent.deadline = VIRTUAL_DEADLINE if virtual else DEADLINE
        return agent

    async def answer(self, method: bytes = b"GET") -> Answer:
        """The next final answer; informational ones before it are skipped."""
        while True:
            answer = await self.message(bodiless=method == b"HEAD")
            if answer.status >= 200 or answer.status == 101:
                return answer

    async def ask(self, request: bytes) -> Answer:
        await self.send(request)
        return await self.answer(request.split(b" ", 1)[0])


Script = Callable[[End], Coroutine[Any, Any, None]]


class Vendor:
    """The raw upstream: runs a script for every connection, records what it gets."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.connections: list[End] = []
        self.port = 0
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def start(cls, script: Script, **options: Any) -> Vendor:
        vendor = cls(script)
        vendor._server = await asyncio.start_server(vendor._accept, "127.0.0.1", 0, **options)
        vendor.port = vendor._server.sockets[0].getsockname()[1]
        return vendor

    _server: asyncio.Server

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        end = End(reader, writer)
        self.connections.append(end)
        self._tasks.append(asyncio.get_running_loop().create_task(self._run(end)))

    async def _run(self, end: End) -> None:
        try:
            await self._script(end)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the proxy closed: scripts end when it does
        finally:
            end.close()

    @property
    def received(self) -> bytes:
        """Everything that reached the upstream, connection after connection."""
        return b"".join(bytes(each.received) for each in self.connections)

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        for each in self.connections:
            if not each.writer.transport.is_closing():
                each.writer.transport.abort()
        await turns()
        for result in results:
            if isinstance(result, Exception):
                raise result


def answers(*raw: bytes) -> Script:
    """Answer the first request of all with the first, and so on; the last one again and again."""
    left = list(raw)

    async def script(end: End) -> None:
        while True:
            await end.message()
            await end.send(left.pop(0) if len(left) > 1 else left[0])

    return script


def sends(*pieces: bytes, then: Callable[[End], None] = End.close) -> Script:
    """Answer a request with these pieces, one read each, and end the connection with ``then``."""

    async def script(end: End) -> None:
        await end.message()
        await end.send(*pieces)
        then(end)

    return script


async def flood(end: End, most: int) -> int:
    """Write until the other side takes no more, or ``most`` bytes; returns how many were taken."""
    taken, piece = 0, b"x" * 65536
    while taken < most:
        end.writer.write(piece)
        try:
            await asyncio.wait_for(end.writer.drain(), 0.2)
        except TimeoutError:
            break
        taken += len(piece)
    return taken


async def deaf(end: End) -> None:
    """Read nothing."""
    end.reader._transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.Event().wait()


async def mute(end: End) -> None:
    """Read all, say nothing."""
    while await end.some():
        pass
