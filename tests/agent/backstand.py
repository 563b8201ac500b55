"""What an agent meets at Backstay's port: absolute-form and CONNECT, TLS by an authority of ours, Max-Forwards.

A thread for each connection, so that clients in other processes can be waited for.
"""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

from proxy.wire.ca import Authority

DENIED = "169.254.169.254"


class Backstand:
    """Answers every call by itself. ``calls``: the request lines and hosts that arrived, in order."""

    def __init__(self, folder: Path, wall: float) -> None:
        self.authority = Authority.load(folder / "ca", wall)
        self.authority.publish(folder / "trust")
        self.trust = folder / "trust"
        self.calls: list[str] = []
        self.apis: dict[str, str | None] = {}  # host: name of its api
        self.tunnelled: set[str] = set()  # hosts that are signed for by somebody else
        self.denied: set[str] = {DENIED}
        self.reason = "egress_denied"
        self.silent = False
        self._other = Authority.load(folder / "other", wall)
        self.other = folder / "other.crt"  # who signs for those
        self.other.write_bytes(self._other.pem)
        self._wall = wall
        self._folder = folder
        backstand = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError, ValueError):
                    backstand.receive(self.request)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]

    def forget(self) -> None:
        """As it was before the test."""
        self.calls.clear()
        self.apis, self.tunnelled, self.denied = {}, set(), {DENIED}
        self.reason, self.silent = "egress_denied", False

    @contextlib.contextmanager
    def running(self) -> Iterator[Backstand]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def receive(self, connection: socket.socket) -> None:
        """A connection to a proxy; or, in TLS, one that was redirected here on its way to this machine."""
        if connection.recv(1, socket.MSG_PEEK) != b"\x16":
            self.serve(connection)
            return
        with self._context("localhost").wrap_socket(connection, server_side=True) as secure:
            self.serve(secure, "localhost")

    def serve(self, connection: socket.socket, host: str = "") -> None:
        """One connection, or what is inside a tunnel to ``host``."""
        stream = connection.makefile("rb")
        while line := stream.readline().decode("latin-1").strip():
            fields = {}
            while field := stream.readline().decode("latin-1").strip():
                name, _, value = field.partition(":")
                fields[name.lower()] = value.strip()
            body = stream.read(int(fields.get("content-length", "0")))
            method, target, _ = line.split(" ")
            self.calls.append(f"{method} {target} {fields.get('host', '')}")
            if method == "CONNECT":
                self._tunnel(connection, target)
                return
            status, answer = self._answer(method, target, fields, host, body)
            connection.sendall(_head(status, fields, answer) + answer)

    def _tunnel(self, connection: socket.socket, target: str) -> None:
        host = target.rpartition(":")[0].strip("[]")
        if host in self.denied:
            answer = json.dumps({"reason": self.reason, "detail": "because"}).encode()
            connection.sendall(_head("403 Forbidden", {}, answer) + answer)
            return
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        if connection.recv(1, socket.MSG_PEEK) != b"\x16":
            self.serve(connection, host)
            return
        with self._context(host).wrap_socket(connection, server_side=True) as secure:
            self.serve(secure, host)

    def _context(self, host: str) -> ssl.SSLContext:
        authority = self._other if host in self.tunnelled else self.authority
        file = self._folder / f"{host}.pem"
        file.write_bytes(authority.leaf_key + authority.issue(host, self._wall))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        context.set_alpn_protocols(["http/1.1"])
        return context

    def _answer(self, method: str, target: str, fields: dict[str, str], host: str, body: bytes) -> tuple[str, bytes]:
        """``host``: of the tunnel; the target's, if it is none."""
        host = host or fields["host"].partition(":")[0] + target.partition("//")[0].rstrip("/").removeprefix("http:")
        if fields.get("max-forwards") == "0" and not self.silent:
            said = {"by": "backstay", "version": "0", "api": self.apis.get(host), "route": None}
            return "200 OK\r\nBackstay-Outcome: max_forwards", json.dumps(said).encode()
        return "200 OK", json.dumps({"method": method, "target": target, "length": len(body)}).encode()


def _head(status: str, fields: dict[str, str], answer: bytes) -> bytes:
    kind = "application/problem+json" if status.startswith("4") else "application/json"
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(answer)}\r\n\r\n".encode()
