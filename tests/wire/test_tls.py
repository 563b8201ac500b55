"""Tests of TLS to upstreams: good certificates pass, all others are errors that say why, and nothing is sent."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import socket
import ssl
import time
from pathlib import Path

import pytest
import trustme

from proxy.model import Ending
from proxy.wire.pool import Endpoint
from proxy.wire.tls import client_context
from tests.support.authority import DAY, Made, as_python_3_13, handshake, made, server_of, strict
from tests.support.raw import Agent, End, Vendor, answers, until
from tests.support.wire import GET, OK, Options, Stack, Wire


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


def server_context(certificate: trustme.LeafCert, client_ca: trustme.CA | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    if client_ca is not None:
        client_ca.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def start(wire: Wire, server: ssl.SSLContext, client: ssl.SSLContext, name: str | None = None) -> Agent:
    wire.vendor = await Vendor.start(answers(OK), ssl=server)
    endpoint = Endpoint("localhost", wire.vendor.port, client, name, b"vendor.test")
    wire.stack = await Stack.start(wire.vendor.port, Options(endpoint=endpoint), wire.clock)
    return await wire.connect()


@pytest.mark.both_loops
@pytest.mark.parametrize("name", [None, "api.example.com"])
async def test_a_good_certificate(wire: Wire, authority: trustme.CA, ca_file: str, name: str | None) -> None:
    """A chain to the CA with the right name passes; the name may be another than that of the address."""
    certificate = authority.issue_cert(name or "localhost")
    agent = await start(wire, server_context(certificate), client_context(ca_file=ca_file), name)
    for _ in range(3):
        assert (await agent.ask(GET)).body == b"ok"
    assert len(wire.vendor.connections) == 1


BAD = [("self-signed", "certificate"), ("of another name", "ostname mismatch"), ("expired", "has expired")]


def bad(kind: str, authority: trustme.CA) -> trustme.LeafCert:
    if kind == "self-signed":
        return trustme.CA().issue_cert("localhost")
    if kind == "expired":
        past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
        return authority.issue_cert("localhost", not_before=past, not_after=past + dt.timedelta(days=1))
    return authority.issue_cert("other.example.com")


@pytest.mark.both_loops
@pytest.mark.parametrize(("kind", "why"), BAD)
async def test_a_bad_certificate(wire: Wire, authority: trustme.CA, ca_file: str, kind: str, why: str) -> None:
    """A certificate that does not prove the name is a 502 that says why, and nothing is sent."""
    agent = await start(wire, server_context(bad(kind, authority)), client_context(ca_file=ca_file))
    answer = await agent.ask(GET)
    problem = json.loads(answer.body)
    assert (answer.status, problem["reason"]) == (502, "tls")
    assert why in problem["detail"]
    assert wire.vendor.received == b""
    assert not wire.stack.exchanges[0].written
    assert wire.stack.pool.counts() == {"idle": 0, "busy": 0, "waiting": 0}


async def test_an_upstream_without_tls(wire: Wire, ca_file: str) -> None:
    """Plain text where TLS is expected is a failed handshake."""

    async def script(end: End) -> None:
        await end.some()
        await end.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    vendor = await wire.start_vendor(script)
    endpoint = Endpoint("localhost", vendor.port, client_context(ca_file=ca_file), None, b"vendor.test")
    wire.stack = await Stack.start(vendor.port, Options(endpoint=endpoint), wire.clock)
    answer = await (await wire.connect()).ask(GET)
    assert json.loads(answer.body)["reason"] == "tls"


async def test_mutual_tls(wire: Wire, authority: trustme.CA, ca_file: str, tmp_path: Path) -> None:
    """The upstream gets the client's certificate if there is one, and closes if there is none."""
    certificate = authority.issue_cert("client@example.com")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    paths = {"client_cert": str(tmp_path / "cert.pem"), "client_key": str(tmp_path / "key.pem")}
    server = server_context(authority.issue_cert("localhost"), authority)
    agent = await start(wire, server, client_context(ca_file=ca_file, **paths))
    assert (await agent.ask(GET)).body == b"ok"


async def test_no_client_certificate_where_one_is_asked_for(wire: Wire, authority: trustme.CA, ca_file: str) -> None:
    """The call fails; it is not known to the wire at which moment."""
    server = server_context(authority.issue_cert("localhost"), authority)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)  # the vendor's own
    agent = await start(wire, server, client_context(ca_file=ca_file))
    assert (await agent.ask(GET)).status == 502


@pytest.mark.both_loops
@pytest.mark.parametrize("size", [5_000_000, 5_017_003])
@pytest.mark.parametrize("receive_buffer", [8192, None])
async def test_a_large_answer_over_tls(
    wire: Wire, authority: trustme.CA, ca_file: str, size: int, receive_buffer: int | None
) -> None:
    """Bytes pass under back-pressure through TLS as well, to the last one."""
    context = server_context(authority.issue_cert("localhost"))
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size
    wire.vendor = await Vendor.start(answers(raw), ssl=context)
    endpoint = Endpoint("localhost", wire.vendor.port, client_context(ca_file=ca_file), None, b"vendor.test")
    wire.stack = await Stack.start(wire.vendor.port, Options(endpoint=endpoint), wire.clock)
    agent = await wire.connect(receive_buffer=receive_buffer)
    for _ in range(2):
        assert len((await agent.ask(GET)).body) == size
    assert len(wire.vendor.connections) == 1


@pytest.mark.parametrize("polite", [True, False])
async def test_an_answer_until_the_close(wire: Wire, authority: trustme.CA, ca_file: str, polite: bool) -> None:
    """Over TLS only close_notify ends such a body: a cut TCP connection may be an attacker's (RFC 9112, 9.8)."""

    async def script(end: End) -> None:
        await end.message()
        await end.send(b"HTTP/1.1 200 OK\r\n\r\n", b"abc")
        if not polite:
            with socket.socket(fileno=os.dup(end.writer.get_extra_info("socket").fileno())) as sock:
                sock.shutdown(socket.SHUT_RDWR)

    wire.vendor = await Vendor.start(script, ssl=server_context(authority.issue_cert("localhost")))
    endpoint = Endpoint("localhost", wire.vendor.port, client_context(ca_file=ca_file), None, b"vendor.test")
    wire.stack = await Stack.start(wire.vendor.port, Options(endpoint=endpoint), wire.clock)
    agent = await wire.connect()
    await agent.send(GET)
    received = await agent.rest() if not polite else await agent.until(b"0\r\n\r\n")
    assert b"abc" in received
    assert received.endswith(b"0\r\n\r\n") is polite
    await until(lambda: wire.stack.endings != [])
    assert wire.stack.endings == [Ending.COMPLETE if polite else Ending.BROKEN]


def test_a_context_always_verifies(ca_file: str) -> None:
    """There is no way to have one that does not."""
    for context in (client_context(), client_context(ca_file=ca_file)):
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


@pytest.fixture
def old(tmp_path: Path) -> Made:
    """An authority without key identifiers, whose certificate is in ``old.pem``."""
    authority = made("old", until=time.time() + DAY)
    (tmp_path / "old.pem").write_bytes(authority.pem)
    return authority


def leaf(issuer: Made, until: float = DAY) -> Made:
    return made("leaf", ca=False, issuer=issuer, until=time.time() + until, host="vendor.test")


@pytest.mark.parametrize("newer", [False, True], ids=["this Python", "3.13"])
def test_an_authority_without_key_identifiers(
    old: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, newer: bool
) -> None:
    """Is trusted by every Python, though 3.13 asks for them; what proves something is asked for as ever."""
    if newer:
        as_python_3_13(monkeypatch)
    good = server_of(leaf(old), tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError, match="Missing Authority Key Identifier"):
        handshake(strict(old.pem), good, "vendor.test")
    context = client_context(ca_file=str(tmp_path / "old.pem"))
    assert handshake(context, good, "vendor.test").version() == "TLSv1.3"
    for name, certificate, why in (
        ("other.test", leaf(old), "ostname mismatch"),
        ("vendor.test", leaf(old, until=-1.0), "has expired"),
        ("vendor.test", leaf(made("old", until=time.time() + DAY)), "signature failure"),
    ):
        with pytest.raises(ssl.SSLCertVerificationError, match=why):
            handshake(context, server_of(certificate, tmp_path), name)


@pytest.mark.parametrize("newer", [False, True], ids=["this Python", "3.13"])
def test_an_intermediate_authority_alone(
    old: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, newer: bool
) -> None:
    """Is as good as a root where it is what was given, with every Python."""
    if newer:
        as_python_3_13(monkeypatch)
    between = made("between", issuer=old, until=time.time() + DAY)
    (tmp_path / "between.pem").write_bytes(between.pem)
    context = client_context(ca_file=str(tmp_path / "between.pem"))
    assert handshake(context, server_of(leaf(between), tmp_path), "vendor.test").version() == "TLSv1.3"


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    """A missing file is an OSError, a senseless one an SSLError."""
    with pytest.raises(OSError, match="No such file"):
        client_context(ca_file=str(tmp_path / "missing.pem"))
    (tmp_path / "bad.pem").write_text("nonsense")
    with pytest.raises(ssl.SSLError):
        client_context(ca_file=str(tmp_path / "bad.pem"))


def test_roots_of_a_system_without_any(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the system has no roots, as in a slim image, certifi's are trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert ssl.create_default_context().cert_store_stats()["x509_ca"] == 0
    assert client_context().cert_store_stats()["x509_ca"] > 50
