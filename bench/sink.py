"""An upstream that swallows request bodies as fast as one core can, and answers when it has all of them.

Run by rows.py as ``python -m bench.sink PORT`` on the load core. nginx would answer before the body is there,
or write it to disk.
"""

from __future__ import annotations

import re
import socket
import sys
import threading

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def serve(connection: socket.socket) -> None:
    """Answer one connection's requests, one after another."""
    buffer = bytearray(1024 * 1024)
    pending = b""
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            while b"\r\n\r\n" not in pending:
                part = connection.recv(65536)
                if not part:
                    return
                pending += part
            head, _, pending = pending.partition(b"\r\n\r\n")
            swallow(connection, buffer, head, pending)
            pending = b""
            connection.sendall(ANSWER)


def swallow(connection: socket.socket, buffer: bytearray, head: bytes, already: bytes) -> None:
    """Read the body that ``head`` announces; a proxy may also send it chunked."""
    length = LENGTH.search(head)
    if length is None and b"chunked" in head.lower():
        end = already[-7:]
        while not end.endswith(b"\r\n0\r\n\r\n"):
            count = connection.recv_into(buffer)
            end = (end + bytes(buffer[:count][-7:]))[-7:]
            if not count:
                return
        return
    left = (int(length[1]) if length else 0) - len(already)
    while left > 0:
        count = connection.recv_into(buffer)
        if not count:
            return
        left -= count


def main() -> None:
    """Serve until ended."""
    with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as server:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
