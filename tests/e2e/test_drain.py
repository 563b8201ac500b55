"""SIGTERM: every call that was sent gets its answer, for as long as drain.timeout; a second signal ends at once."""

from __future__ import annotations

import signal
import socket
from contextlib import ExitStack, nullcontext

import httpx
import pytest

from tests.e2e.conftest import Start
from tests.support.load import Load
from tests.support.process import PATIENCE, Sidecar, document, wait_until
from tests.support.vendor import Vendor


def send(sidecar: Sidecar, path: str, version: str = "1.1") -> socket.socket:
    connection = sidecar.connect()
    connection.sendall(f"GET {path} HTTP/{version}\r\nHost: a\r\n\r\n".encode())
    return connection


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_no_request_is_lost_under_load(start: Start, vendor: Vendor, signal_number: signal.Signals) -> None:
    """Agents are told to leave, the port stays open for those who are late, and every call sent is answered."""
    sidecar = start(document({"shop": {"url": vendor.url}}))
    with Load("127.0.0.1", sidecar.ports["agent"], "/shop/echo", workers=32) as load:
        sidecar.signal(signal_number)
        load.more(500)
        assert load.told_to_close > 0
        assert sidecar.get("/readyz", "metrics").status_code == 503
    assert sidecar.wait() == 0
    assert load.lost == []
    assert set(load.answers) == {200}
    assert len(vendor.seen("answered", "echo")) == load.total
    assert sidecar.wait_log("stopped")["cut"] == 0


def test_agents_that_never_leave_are_parted_from_at_the_timeout(start: Start, vendor: Vendor) -> None:
    """Load without end is ended by the closing of the port; every call that Backstay took is still answered."""
    sidecar = start(document({"shop": {"url": vendor.url}}, drain={"timeout": "1s"}))
    with Load("127.0.0.1", sidecar.ports["agent"], "/shop/echo") as load:
        sidecar.terminate()
        assert sidecar.wait() == 0
    assert set(load.answers) == {200}
    assert len(vendor.calls) == load.total
    assert sidecar.wait_log("stopped")["cut"] == 0


def test_while_draining_it_lives_but_is_not_ready(start: Start, vendor: Vendor) -> None:
    """Kubernetes takes it out of service, and does not restart it; a call in hand and a late one are answered."""
    sidecar = start(document({"shop": {"url": vendor.url}}))
    assert sidecar.get("/readyz", "metrics").status_code == 200
    with httpx.stream("GET", sidecar.url("/shop/events/2"), timeout=PATIENCE) as answer:
        pieces = answer.iter_raw()
        vendor.allow()
        assert next(pieces) == b"data: event 0\n\n"
        sidecar.terminate()
        wait_until(lambda: sidecar.get("/readyz", "metrics").status_code == 503, "not being ready")
        assert sidecar.get("/healthz", "metrics").status_code == 200
        late = sidecar.get("/shop/echo")
        assert (late.status_code, late.headers["connection"]) == (200, "close")
        vendor.allow()
        assert b"".join(pieces) == b"data: event 1\n\n"
    assert sidecar.wait() == 0
    assert sidecar.wait_log("stopped")["cut"] == 0


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_streams_past_the_timeout_are_cut_and_counted(start: Start, vendor: Vendor, version: str) -> None:
    """A stream without end does not keep the pod; its agent can tell that it was cut."""
    sidecar = start(document({"shop": {"url": vendor.url}}, drain={"timeout": "300ms"}))
    with ExitStack() as stack:
        streams = [stack.enter_context(send(sidecar, "/shop/drip", version)) for _ in range(3)]
        for each in streams:
            while b"data: first" not in each.recv(65536):
                pass
        sidecar.terminate()
        assert sidecar.wait() == 0
        for each in streams:
            with pytest.raises(ConnectionResetError) if version == "1.0" else nullcontext():
                assert each.recv(65536) == b""  # and no last chunk
    assert sidecar.wait_log("draining")["busy"] == 3
    assert sidecar.wait_log("stopped")["cut"] == 3
    wait_until(lambda: len(vendor.seen("gone", "drip")) == 3, "the vendor noticing")


def test_idle_agents_hold_nothing_up(start: Start, vendor: Vendor) -> None:
    """A kept connection without a call is closed, not waited for and not counted."""
    sidecar = start(document({"shop": {"url": vendor.url}}, drain={"timeout": "60s"}))
    with httpx.Client() as client:
        client.get(sidecar.url("/shop/echo"))
        sidecar.terminate()
        assert sidecar.wait() == 0
    assert sidecar.wait_log("stopped")["cut"] == 0


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(start: Start, vendor: Vendor, first: signal.Signals) -> None:
    """An operator who does not want to wait does not have to."""
    sidecar = start(document({"shop": {"url": vendor.url}}, drain={"timeout": "10m"}))
    with send(sidecar, "/shop/hang"):
        wait_until(lambda: vendor.seen("running", "hang"), "the call arriving")
        sidecar.signal(first)
        sidecar.wait_log("draining")
        assert sidecar.alive
        sidecar.terminate()
        assert sidecar.wait() == 1
    assert sidecar.wait_log("stopped")["cut"] == 1
