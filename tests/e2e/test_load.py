"""Large bodies, many callers, slow readers, hostile bytes and vendors that die: the process takes it, and lives."""

from __future__ import annotations

import asyncio
import hashlib
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Final

import aiohttp
import pytest

from tests.e2e.conftest import Start
from tests.support.process import PATIENCE, ROOT, Sidecar, document, wait_until
from tests.support.vendor import Vendor, noise

MIB: Final = 1024 * 1024
BODY: Final = 8 * MIB
ALLOWANCE: Final = 4 * MIB  # that the process may grow by; a body that is held as a whole would be twice that


@pytest.fixture(scope="module")
def shop() -> Iterator[Vendor]:
    with Vendor() as vendor:
        yield vendor


@pytest.fixture(scope="module")
def sidecar(shop: Vendor, share: Start) -> Sidecar:
    running = share(document({"shop": {"url": shop.url, "retry": {}}}))
    running.get("/shop/bytes/100000")  # what a first call allocates stays
    return running


@pytest.fixture(autouse=True)
def _afresh(shop: Vendor) -> None:
    shop.forget()


def digest(connection: socket.socket, size: int) -> str:
    """Of the ``size`` bytes that come behind a head."""
    with connection.makefile("rb") as file:
        while file.readline() != b"\r\n":
            pass
        found = hashlib.sha256()
        while size:
            piece = file.read(min(size, 65536))
            assert piece, f"{size} bytes are missing"
            found.update(piece)
            size -= len(piece)
    return found.hexdigest()


def test_a_large_upload_flows_through(sidecar: Sidecar, shop: Vendor) -> None:
    """It arrives whole, and is nowhere held as a whole, though a retry might want it."""
    body = noise(BODY)
    before = sidecar.forget_peak()
    answer = sidecar.post("/shop/status/200", content=body)
    assert answer.status_code == 200
    assert shop.calls[0].body == body
    assert sidecar.memory("VmHWM") - before < ALLOWANCE


def test_a_large_download_flows_through(sidecar: Sidecar) -> None:
    """It arrives whole, and is nowhere held as a whole."""
    before = sidecar.forget_peak()
    answer = sidecar.get(f"/shop/bytes/{BODY}")
    assert answer.content == noise(BODY)
    assert sidecar.memory("VmHWM") - before < ALLOWANCE


def test_slow_readers_stop_the_vendor(sidecar: Sidecar, shop: Vendor) -> None:
    """Agents that do not read for a while cost buffers, not bodies; later they get every byte."""
    before = sidecar.forget_peak()
    size = 64 * MIB  # more than all the kernel's buffers on the way
    readers = [sidecar.connect(receive_buffer=4096) for _ in range(2)]
    for reader in readers:
        reader.sendall(b"GET /shop/bytes/%d HTTP/1.1\r\nHost: a\r\n\r\n" % size)
    wait_until(lambda: comes_to_rest(shop, 2), "the vendor being stopped")
    assert [call.state for call in shop.calls] == ["running"] * 2
    assert sidecar.memory("VmHWM") - before < ALLOWANCE
    expected = hashlib.sha256(noise(size)).hexdigest()
    for reader in readers:
        assert digest(reader, size) == expected
        reader.close()
    assert sidecar.memory("VmHWM") - before < ALLOWANCE


def comes_to_rest(shop: Vendor, count: int) -> bool:
    """Whether that many answers have begun, and nothing more of them has been sent for a moment."""
    before = [call.sent for call in shop.calls if call.sent]
    threading.Event().wait(0.1)
    return len(before) == count and before == [call.sent for call in shop.calls]


async def test_a_thousand_calls_at_once(start: Start, vendor: Vendor) -> None:
    """All are at the vendor at the same time: it answers only when the last of them is there."""
    sidecar = start(document({"shop": {"url": vendor.url, "connections": {"max": 1000}, "timeout": {"connect": "1m"}}}))
    assert await statuses(sidecar.url("/shop/gate/1000"), 1000) == {200: 1000}
    assert sidecar.value("backstay_requests_total", outcome="forwarded") == 1000
    assert sidecar.value("backstay_inflight_requests") == 0


async def test_a_thousand_callers_share_ten_connections(start: Start, vendor: Vendor) -> None:
    """Who finds no connection free waits for one, and the vendor never sees more."""
    sidecar = start(document({"shop": {"url": vendor.url, "connections": {"max": 10}, "breaker": False}}))
    answers = await statuses(sidecar.url("/shop/echo"), 1000)
    assert answers.keys() <= {200, 503}
    assert answers[200] >= 200
    assert answers.get(503, 0) == sidecar.value("backstay_requests_total", reason="pool_exhausted")
    assert sidecar.value("backstay_upstream_connections", api="shop") <= 10
    assert sidecar.value("backstay_upstream_connections", api="shop", state="waiting") == 0


async def statuses(url: str, count: int) -> dict[int, int]:
    """How often each status came back from ``count`` calls at once."""
    found: dict[int, int] = {}

    async def call(session: aiohttp.ClientSession) -> None:
        async with session.get(url) as answer:
            await answer.read()
            found[answer.status] = found.get(answer.status, 0) + 1

    limits = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=limits, timeout=aiohttp.ClientTimeout(PATIENCE)) as session:
        await asyncio.gather(*(call(session) for _ in range(count)))
    return found


def test_a_vendor_that_is_killed_in_mid_call(start: Start) -> None:
    """The call in hand is reset, the stream in hand is broken, the next cannot be made: three different errors."""
    command = [sys.executable, "-m", "tests.support.vendor"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        sidecar = start(document({"shop": {"url": f"http://localhost:{port}"}}))
        with sidecar.connect() as waiting, sidecar.connect() as streaming:
            waiting.sendall(b"POST /shop/hang HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            streaming.sendall(b"GET /shop/drip HTTP/1.1\r\nHost: a\r\n\r\n")
            while b"data: first" not in streaming.recv(65536):
                pass
            wait_until(lambda: sidecar.value("backstay_upstream_connections", state="busy") == 2)
            process.send_signal(signal.SIGKILL)
            assert b'"reason": "reset"' in waiting.recv(65536)
            assert streaming.recv(65536) == b""
    assert sidecar.get("/shop/echo").json()["reason"] == "connect"
    sidecar.wait_value(1, "backstay_requests_total", outcome="broken")


HOSTILE: Final = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS ClientHello
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x00" * 5000,
    b"\r\n" * 5000,
    b"GET /shop/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /shop/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /shop/echo HTTP/1.1\r\nHost: a\r\n" + b"x: y\r\n" * 20_000 + b"\r\n",
    b"GET /" + b"a" * 200_000,
    b"CONNECT example.test:443 HTTP/1.1\r\nHost: example.test:443\r\n\r\n",
    b"GET /shop/echo HTTP/1.1\r\nHost: a\r\n\r\n" * 500 + b"garbage\r\n\r\n",
)


def test_hostile_bytes_harm_nobody_else(sidecar: Sidecar) -> None:
    """Bytes that are not HTTP, or nearly, or mutations of it, on many connections: the next agent is served."""
    chance = random.Random(2)
    good = bytearray(b"POST /shop/echo?q=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nX-A: b\r\n\r\nbody")
    mutants = []
    for _ in range(200):
        mutant = good.copy()
        for _ in range(chance.randint(1, 4)):
            mutant[chance.randrange(len(mutant))] = chance.randrange(256)
        mutants.append(bytes(mutant))
    for number, data in enumerate((*HOSTILE, *mutants, *(chance.randbytes(300) for _ in range(50)))):
        poke(sidecar, data, pieces=1 + number % 3)
    assert sidecar.get("/shop/echo").status_code == 200
    wait_until(lambda: sidecar.value("backstay_inflight_requests") == 0, "nothing being left over")
    assert "Traceback" not in sidecar.transcript()
    assert not [line for line in sidecar.log if line["level"] == "error"]


def poke(sidecar: Sidecar, data: bytes, pieces: int) -> None:
    """Send it in some pieces, say that there is no more, and go."""
    with sidecar.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for index in range(pieces):
                connection.sendall(data[index * len(data) // pieces : (index + 1) * len(data) // pieces])
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
        except OSError:
            pass  # cut off, as it should be


NOT_HTTP: Final = (
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/2 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000 + b"\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    b"\xff" * 1000,
)


@pytest.fixture
def stranger() -> Iterator[socket.socket]:
    """A port that answers what it is told to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        yield server


def test_vendors_that_speak_no_http_are_a_502(start: Start, stranger: socket.socket) -> None:
    """Each is a protocol error of the vendor's, and the process takes no harm."""
    url = f"http://127.0.0.1:{stranger.getsockname()[1]}"
    sidecar = start(document({"shop": {"url": url, "breaker": False}}))

    def serve() -> None:
        for answer in NOT_HTTP:
            connection, _ = stranger.accept()
            with connection:
                connection.settimeout(PATIENCE)
                connection.recv(65536)
                try:
                    connection.sendall(answer)
                    connection.recv(1)  # until the sidecar hangs up
                except OSError:
                    pass

    vendor = threading.Thread(target=serve, daemon=True)
    vendor.start()
    for _ in NOT_HTTP:
        answer = sidecar.get("/shop/")
        assert (answer.status_code, answer.json()["reason"]) == (502, "protocol")
    vendor.join(PATIENCE)
    assert sidecar.value("backstay_requests_total", reason="protocol", code="502") == len(NOT_HTTP)
    assert "Traceback" not in sidecar.transcript()
