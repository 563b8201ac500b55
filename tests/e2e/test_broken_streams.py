"""Streams that do not reach their end: cut by the vendor, left by the agent. Who notices, and how it counts."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme

from tests.e2e.conftest import Start
from tests.support.process import Document, Sidecar, document, wait_until
from tests.support.vendor import Vendor, noise


def fragile(vendor: Vendor, **api: object) -> Document:
    """An api whose breaker opens at the third failure in a row."""
    return document({"shop": {"url": vendor.url, "breaker": {"consecutive": 3, "open": "60s"}, **api}})


def send(sidecar: Sidecar, path: str) -> socket.socket:
    connection = sidecar.connect()
    connection.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode())
    return connection


def noticed(vendor: Vendor, count: int) -> None:
    wait_until(lambda: len(vendor.seen("gone")) == count, "the vendor noticing")


def read_to_end(connection: socket.socket) -> bytes:
    """What came until the connection ended, however it did."""
    pieces = []
    try:
        while piece := connection.recv(65536):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    return b"".join(pieces)


@pytest.fixture(scope="module")
def cutter() -> Iterator[Vendor]:
    with Vendor() as vendor:
        yield vendor


@pytest.fixture(scope="module")
def unbroken(cutter: Vendor, share: Start) -> Sidecar:
    """A sidecar without a breaker, for many cuts."""
    return share(document({"shop": {"url": cutter.url, "breaker": False}}))


@pytest.mark.parametrize("size", [0, 1, 1000, 65536, 300_000])
@pytest.mark.parametrize("how", ["cut", "cut-chunked"])
def test_a_stream_cut_by_the_vendor_is_broken_for_the_agent(unbroken: Sidecar, size: int, how: str) -> None:
    """All bytes that came are passed on, the end is not, and the call is a failure."""
    before = unbroken.value("backstay_requests_total", outcome="broken")
    with send(unbroken, f"/shop/{how}/{size}") as connection:
        head, _, body = read_to_end(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    if how == "cut":
        assert body == noise(size)
    else:
        assert not body.endswith(b"0\r\n\r\n")
    unbroken.wait_value(before + 1, "backstay_requests_total", api="shop", outcome="broken", reason="broken")
    assert unbroken.value("backstay_inflight_requests") == 0


def test_a_client_reports_a_cut_stream(unbroken: Sidecar) -> None:
    """No client may take it for a short success."""
    for how in ("cut", "cut-chunked"):
        with pytest.raises(httpx.RemoteProtocolError):
            unbroken.get(f"/shop/{how}/5000")
    connection = http.client.HTTPConnection("127.0.0.1", unbroken.ports["agent"])
    connection.request("GET", "/shop/cut/5000")
    with connection.getresponse() as answer, pytest.raises(http.client.IncompleteRead):
        answer.read()
    connection.close()


def test_an_agent_of_http_1_0_can_tell_a_cut_stream_too(unbroken: Sidecar) -> None:
    """Where only the end of the connection ends an answer, a cut one ends in a reset."""
    with unbroken.connect() as connection:
        connection.sendall(b"GET /shop/cut-chunked/1000 HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            deque(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(("goodbye", "outcome"), [(True, "forwarded"), (False, "broken")])
def test_the_end_of_a_tls_connection_must_be_proven(start: Start, tmp_path: Path, goodbye: bool, outcome: str) -> None:
    """Where the close ends the body, one without close_notify may be anybody's (RFC 9112, 9.8)."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("localhost").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"https://localhost:{server.getsockname()[1]}"
        sidecar = start(document({"shop": {"url": url, "tls": {"ca_file": str(tmp_path / "ca.pem")}}}))
        with send(sidecar, "/shop/"):
            with context.wrap_socket(server.accept()[0], server_side=True) as vendor:
                vendor.recv(65536)
                vendor.sendall(b"HTTP/1.1 200 OK\r\n\r\nall of it, or not")
                if goodbye:
                    vendor.unwrap()
            sidecar.wait_value(1, "backstay_requests_total", outcome=outcome)


def test_cut_streams_open_the_circuit(start: Start, vendor: Vendor) -> None:
    """A 200 that breaks off is a failure of the vendor's health, though its headers were good."""
    sidecar = start(fragile(vendor))
    for number in range(3):
        with pytest.raises(httpx.RemoteProtocolError):
            sidecar.get("/shop/cut/1000")
        sidecar.wait_value(number + 1, "backstay_requests_total", outcome="broken")
    answer = sidecar.get("/shop/echo")
    assert (answer.status_code, answer.json()["reason"]) == (503, "circuit_open")


def test_an_agent_that_leaves_in_mid_stream_ends_the_vendors_call(start: Start, vendor: Vendor) -> None:
    """The vendor notices at once, the call counts as abandoned, and the breaker learns nothing from it."""
    sidecar = start(fragile(vendor))
    for number in range(5):
        with httpx.stream("GET", sidecar.url("/shop/drip")) as answer:
            pieces = answer.iter_raw()
            assert next(pieces) == b"data: first\n\n"
            assert vendor.seen("running", "drip")
        noticed(vendor, number + 1)
    sidecar.wait_value(5, "backstay_requests_total", outcome="abandoned", reason="abandoned")
    assert sidecar.breaker_state("shop") == "closed"
    assert sidecar.get("/shop/echo").status_code == 200


def test_an_agent_that_leaves_before_the_answer_ends_the_vendors_call(start: Start, vendor: Vendor) -> None:
    """Nobody works for an agent that is gone."""
    sidecar = start(fragile(vendor, retry={}))
    for number in range(5):
        connection = send(sidecar, "/shop/hang")
        wait_until(lambda: vendor.seen("running", "hang"), "the call arriving")
        connection.close()
        noticed(vendor, number + 1)
    sidecar.wait_value(5, "backstay_requests_total", outcome="abandoned", reason="agent_gone")
    assert sidecar.value("backstay_retries_total") == 0
    assert sidecar.breaker_state("shop") == "closed"
    assert len(vendor.calls) == 5


def test_an_agent_that_leaves_in_mid_upload_is_no_failure(start: Start, vendor: Vendor) -> None:
    """The vendor never sees a request that looks complete."""
    sidecar = start(fragile(vendor))
    for _ in range(4):
        with sidecar.connect() as connection:
            connection.sendall(b"POST /shop/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf")
            sidecar.wait_value(1, "backstay_inflight_requests")
        wait_until(lambda: sidecar.value("backstay_inflight_requests") == 0)
    sidecar.wait_value(4, "backstay_requests_total", outcome="abandoned")
    assert sidecar.breaker_state("shop") == "closed"
    assert not vendor.seen("answered")


def test_a_stream_that_stalls_is_broken_after_its_idle_time(start: Start, vendor: Vendor) -> None:
    """timeout.idle bounds the silence between two pieces."""
    sidecar = start(fragile(vendor, timeout={"idle": "200ms"}))
    with send(sidecar, "/shop/drip") as connection:
        assert not read_to_end(connection).endswith(b"0\r\n\r\n")
    sidecar.wait_value(1, "backstay_requests_total", outcome="broken", reason="stalled")
    noticed(vendor, 1)
