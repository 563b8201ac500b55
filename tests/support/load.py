"""Agents that call without a pause, in a thread of their own, and note what became of every call. Used by tests/e2e.

Over bare sockets: no client library: they retry what they lose, and it is the lost calls that are looked for.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Self

from tests.support.process import wait_until

_PATIENCE = 20.0  # seconds


@dataclass
class Load:
    """``workers`` agents with a kept connection each; they open another when told ``Connection: close``.

    A call is *lost* if it was sent on a connection that had been accepted and no complete answer came. A connection
    that is refused has carried no call, and ends its worker.
    """

    host: str
    port: int
    path: str
    workers: int = 16
    answers: Counter[int] = field(default_factory=Counter)  # by status
    lost: list[str] = field(default_factory=list)
    refused: int = 0
    told_to_close: int = 0

    def __enter__(self) -> Self:
        self._stopping = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        self.more(self.workers)
        return self

    def __exit__(self, *_: object) -> None:
        """Send no more; every call under way ends first."""
        self._stopping = True
        self._thread.join(2 * _PATIENCE)

    @property
    def total(self) -> int:
        return self.answers.total()

    def more(self, calls: int) -> None:
        """Wait until that many further calls have begun and been answered, or every agent has ended."""
        goal = self.total + calls + self.workers
        wait_until(lambda: self.total >= goal or not self._thread.is_alive(), f"{calls} more answers")

    async def _run(self) -> None:
        await asyncio.gather(*(self._work(number) for number in range(self.workers)))

    async def _work(self, number: int) -> None:
        while not self._stopping:
            try:
                reader, writer = await asyncio.open_connection(self.host, self.port)
            except OSError:
                self.refused += 1
                return
            try:
                await self._talk(number, reader, writer)
            finally:
                writer.transport.abort()

    async def _talk(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls = 0
        while not self._stopping:
            path = self._path(number, calls)
            try:
                writer.write(self._request(path, number))
                async with asyncio.timeout(_PATIENCE):
                    status, body, close = await _answer(reader)
            except (OSError, EOFError, TimeoutError) as error:
                self.lost.append(f"call {calls} of a connection of agent {number}: {error!r}")
                return
            calls += 1
            self.answers[status] += 1
            self._look(path, body)
            if close:
                self.told_to_close += 1
                return

    def _path(self, number: int, calls: int) -> str:
        """What an agent asks for next."""
        return self.path

    def _request(self, path: str, number: int) -> bytes:
        body = b"%d" % number
        return b"PUT %b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body)

    def _look(self, path: str, body: bytes) -> None:
        """What an agent makes of an answer."""


@dataclass
class Reading(Load):
    """Agents that read many paths below ``path``, each in another order; an answer that names another is *wrong*."""

    paths: int = 200
    prefix: str = ""  # of a path, that the vendor does not see
    wrong: list[str] = field(default_factory=list)

    def _path(self, number: int, calls: int) -> str:
        return f"{self.path}/{(number * 37 + calls * 13) % self.paths}"

    def _request(self, path: str, number: int) -> bytes:
        return f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()

    def _look(self, path: str, body: bytes) -> None:
        if f'"target": "{path.removeprefix(self.prefix)}"'.encode() not in body:
            self.wrong.append(f"{path}: {body[:200]!r}")


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """(status, body, whether the connection ends) of a complete answer. Raises OSError, EOFError."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    body = b""
    if b"transfer-encoding: chunked" in head:
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    else:
        length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        body = await reader.readexactly(int(length))
    return int(head.split(b" ", 2)[1]), body, b"connection: close" in head
