"""Distinct answers through a proxy, one after the other on a few connections: what a bounded cache has to let go of.

Used by the rows that measure memory, and by tests/e2e.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterable, Iterator

from bench.load import connect

_BUFFER = 256 * 1024


def fill(port: int, paths: Iterable[str], *, connections: int = 8) -> int:
    """Read each path once; returns the bytes of all bodies. Raises ConnectionError for anything but a whole 200."""
    left = iter(paths)
    total = 0
    with selectors.DefaultSelector() as selector:
        for _ in range(connections):
            reader = _Reader(connect(port))
            selector.register(reader.connection, selectors.EVENT_READ, reader)
            if not reader.ask(left):
                _part(selector, reader)
        while selector.get_map():
            for key, _ in selector.select():
                reader = key.data
                size = reader.read()
                if size is None:
                    continue
                total += size
                if not reader.ask(left):
                    _part(selector, reader)
    return total


def _part(selector: selectors.BaseSelector, reader: _Reader) -> None:
    selector.unregister(reader.connection)
    reader.connection.close()


class _Reader:
    """One connection with one request at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._buffer = bytearray(_BUFFER)
        self._head = b""
        self._size = 0
        self._left = 0

    def ask(self, paths: Iterator[str]) -> bool:
        """Ask for the next path; False if there is none."""
        path = next(paths, None)
        if path is None:
            return False
        self._head = b""
        self.connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return True

    def read(self) -> int | None:
        """Read what is there; the size of the body, once it is complete."""
        count = self.connection.recv_into(self._buffer)
        if not count:
            raise ConnectionError(f"closed in the middle of an answer: {self._head!r}")
        if b"\r\n\r\n" in self._head:
            self._left -= count
        else:
            self._begin(bytes(self._buffer[:count]))
        return None if self._left or b"\r\n\r\n" not in self._head else self._size

    def _begin(self, data: bytes) -> None:
        self._head += data
        self._left = 1  # until the length is known
        head, end, body = self._head.partition(b"\r\n\r\n")
        if not end:
            return
        if not head.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(f"not a 200: {head!r}")
        self._size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        self._left = self._size - len(body)
