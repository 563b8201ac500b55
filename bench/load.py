"""Load: wrk, and what it says; a raw socket for bodies of 100 MiB; thousands of idle connections.

Called by the rows. All of it runs on the load core.
"""

from __future__ import annotations

import re
import selectors
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.process import LOAD_CORE
from bench.upstream import CONFIGS

UNITS = {"us": 1.0, "ms": 1000.0, "s": 1_000_000.0}


@dataclass(frozen=True)
class Load:
    """What wrk measured: requests per second and in all, and latency in microseconds."""

    rate: float
    requests: int
    p50: float
    p99: float


def wrk(url: str, *, connections: int, seconds: float, script: str | None = None, fields: Sequence[str] = ()) -> Load:
    """Run wrk; raises when any answer was not 2xx or any connection failed, since the figure would mean nothing.

    ``fields`` are request fields as "Name: value"; ``script`` is told a word that no other run is told.
    """
    argv = ["taskset", "--cpu-list", str(LOAD_CORE), "wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency"]
    argv += ["-s", str(CONFIGS / script)] if script else []
    argv += [word for field in fields for word in ("-H", field)]
    argv += [url, "--", str(time.time_ns())]
    result = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=seconds + 30)
    return parse(result.stdout)


def parse(output: str) -> Load:
    """Read wrk's report."""
    if "Non-2xx" in output or "Socket errors" in output:
        trouble = [line.strip() for line in output.splitlines() if "Non-2xx" in line or "Socket errors" in line]
        raise RuntimeError(f"calls failed under load: {'; '.join(trouble)}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    requests = re.search(r"(\d+) requests in", output)
    if rate is None or requests is None:
        raise RuntimeError(f"not a report of wrk:\n{output}")
    return Load(float(rate[1]), int(requests[1]), percentile(output, 50), percentile(output, 99))


def percentile(output: str, which: int) -> float:
    """A percentile of wrk's latency distribution, in microseconds."""
    found = re.search(rf"\s{which}%\s+([\d.]+)(us|ms|s)\b", output)
    if found is None:
        raise RuntimeError(f"no {which}th percentile in:\n{output}")
    return float(found[1]) * UNITS[found[2]]


def connect(port: int) -> socket.socket:
    """A connection with a timeout of 60 s."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def read_head(connection: socket.socket) -> bytes:
    """Read an answer up to and with its headers, and what came along of its body."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(65536)
        if not part:
            raise ConnectionError(f"closed before the headers: {received!r}")
        received += part
    if not received.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(f"not a 200: {received[:200]!r}")
    return received


def download(port: int, path: str, size: int) -> float:
    """Fetch a body of ``size`` bytes; returns the seconds."""
    buffer = bytearray(1024 * 1024)
    with connect(port) as connection:
        started = time.perf_counter()
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head, _, body = read_head(connection).partition(b"\r\n\r\n")
        if f"content-length: {size}" not in head.decode("latin-1").lower():
            raise ConnectionError(f"not the body that was asked for: {head!r}")
        left = size - len(body)
        while left > 0:
            count = connection.recv_into(buffer)
            if not count:
                raise ConnectionError(f"{left} bytes are missing")
            left -= count
        return time.perf_counter() - started


def upload(port: int, path: str, size: int) -> float:
    """Send a body of ``size`` bytes; returns the seconds until the answer."""
    chunk = bytes(1024 * 1024)
    with connect(port) as connection:
        started = time.perf_counter()
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(size // len(chunk)):
            connection.sendall(chunk)
        read_head(connection)
        return time.perf_counter() - started


def open_idle(port: int, count: int, *, batch: int = 50) -> list[socket.socket]:
    """Open ``count`` connections, make one request on each, and keep them."""
    connections: list[socket.socket] = []
    while len(connections) < count:
        fresh = [connect(port) for _ in range(min(batch, count - len(connections)))]
        for each in fresh:
            each.sendall(b"GET /small HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for each in fresh:
            read_head(each)
        connections += fresh
    return connections


def closed(connections: list[socket.socket]) -> int:
    """How many of these idle connections the other side has closed."""
    count = 0
    with selectors.DefaultSelector() as selector:
        for each in connections:
            selector.register(each, selectors.EVENT_READ)
        for key, _ in selector.select(timeout=0):
            # The rest of an answer may lie there; the end of the stream comes after it.
            held = key.fileobj
            count += isinstance(held, socket.socket) and held.recv(65536) == b""
    return count
