"""Tests of catching.py: interception as the configuration asks for it, from its first authority to its last."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxy.app import App
from proxy.catching import Catching, authority_of
from proxy.clock import Clock
from proxy.config.settings import Config, TlsIntercept
from proxy.wire.ca import Authority
from proxy.wire.listener import Listener
from tests.app.conftest import Starts, Writes
from tests.support.captured import connect
from tests.support.hello import real
from tests.support.raw import Agent, Vendor, answers, until
from tests.support.script import Rig

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HOST = "api.vendor.example"
ASK = b"GET /v1/x HTTP/1.1\r\nHost: api.vendor.example\r\n\r\n"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.load(tmp_path / "ca", time.time())


@pytest.fixture
async def catching(rig: Rig, clock: Clock) -> AsyncIterator[Catching]:
    anything: Any = None
    listener = Listener(
        clock,
        anything,
        anything,
        memoryview(b""),
        pseudonym=b"me",
        max_connections=1,
        header_limit=100,
        body_limit=None,
    )
    made = Catching(clock, rig.registry, listener, rig.survivors.guard)
    assert listener.catches is made.catcher
    yield made
    made.close()


def value(rig_or_app: Rig | App, name: str, **labels: str) -> float | None:
    """Of a metric; None if it has no such sample."""
    samples = [each for family in rig_or_app.registry.families() for each in family.samples if each.name == name]
    return next((each.value for each in samples if labels.items() <= each.labels.items()), None)


# --- by itself


async def test_nothing_is_intercepted_unless_it_is_asked_for(rig: Rig, catching: Catching) -> None:
    """Neither at the start nor with no authority; there is no certificate then whose end could come."""
    assert catching.catcher.interceptor is None
    catching.intercept(None)
    assert catching.catcher.interceptor is None
    assert value(rig, "backstay_certificate_expiry_seconds") is None


async def test_the_same_authority_goes_on(rig: Rig, catching: Catching, authority: Authority, tmp_path: Path) -> None:
    """A reload that changes nothing about it makes no certificate anew."""
    catching.intercept(authority)
    before = catching.catcher.interceptor
    catching.intercept(Authority.load(tmp_path / "ca", time.time()))
    assert before is catching.catcher.interceptor is not None
    left = value(rig, "backstay_certificate_expiry_seconds", certificate="ca")
    assert left == pytest.approx(authority.not_after - time.time(), abs=60)


async def test_another_authority_takes_over(catching: Catching, authority: Authority, tmp_path: Path) -> None:
    """What the old one had dropped stays counted: a counter does not fall."""
    catching.intercept(authority)
    before = catching.catcher.interceptor
    assert catching._mint is not None
    catching._mint.evictions = 3
    assert catching.evictions == 3
    catching.intercept(Authority.load(tmp_path / "other", time.time()))
    assert catching._mint.evictions == 0
    catching._mint.evictions = 2
    assert (catching.evictions, catching.catcher.interceptor is before) == (5, False)
    catching.intercept(None)
    assert (catching.evictions, catching.catcher.interceptor) == (5, None)


async def test_what_is_counted(rig: Rig, catching: Catching, authority: Authority) -> None:
    """How a connection was handled, and whose clients do not trust."""
    catching.intercept(authority)
    catching.catcher.count("transparent", "opaque")
    assert catching.catcher.interceptor is not None
    catching.catcher.interceptor._distrusted("stripe", "api.stripe.com", "test")
    assert value(rig, "backstay_captured_connections_total", mode="transparent", handling="opaque") == 1
    assert value(rig, "backstay_client_trust_failures_total", api="stripe") == 1


def test_an_authority_is_made_and_told(tmp_path: Path) -> None:
    """Where interception is configured; its key goes to one place alone, its certificate to both."""
    ca, trust = tmp_path / "ca", tmp_path / "trust"
    assert authority_of(Config(), time.time()) is None
    made = authority_of(Config(tls_intercept=TlsIntercept(ca, trust)), time.time())
    assert made is not None
    assert (trust / "ca.crt").read_bytes() == made.pem
    assert not [path for path in trust.iterdir() if b"PRIVATE KEY" in path.read_bytes()]
    with pytest.raises(OSError, match="trust"):
        authority_of(Config(tls_intercept=TlsIntercept(ca, ca / "ca.crt" / "trust")), time.time())


# --- in the program


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    vendor = await Vendor.start(answers(OK))
    yield vendor
    await vendor.stop()


def text(vendor: Vendor, tmp_path: Path, *, intercept: bool = True, ca: str = "ca") -> dict[str, Any]:
    """Arguments of ``writes``: an api of HOST at ``vendor``, and TLS that is ended for it."""
    api = f"\n  vendor: {{url: 'http://127.0.0.1:{vendor.port}', hosts: [{HOST}], mount: /vendor}}\n"
    where = f"{{ca_dir: {tmp_path / ca}, trust_dir: {tmp_path / 'trust'}}}"
    return {"apis": api, "more": f"tls_intercept: {where if intercept else 'off'}"}


async def call(app: App, tmp_path: Path) -> bytes:
    """What an agent that trusts the authority is answered."""
    agent = await Agent.connect(app.listener.port)
    try:
        await agent.send(connect(HOST.encode() + b":443"))
        await agent.until(b"\r\n\r\n")
        await agent.writer.start_tls(
            ssl.create_default_context(cafile=str(tmp_path / "trust" / "ca-bundle.crt")), server_hostname=HOST
        )
        return (await agent.ask(ASK)).body
    finally:
        agent.close()


async def test_from_the_configuration_to_a_call(starts: Starts, writes: Writes, vendor: Vendor, tmp_path: Path) -> None:
    """An agent with nothing but the bundle that was written for it is served."""
    app = await starts(writes(**text(vendor, tmp_path)))
    assert await call(app, tmp_path) == b"ok"
    assert b"GET /v1/x HTTP/1.1\r\nHost: 127.0.0.1:" in vendor.received
    assert value(app, "backstay_captured_connections_total", mode="connect", handling="intercepted") == 1
    assert value(app, "backstay_certificate_expiry_seconds", certificate="ca") is not None
    assert value(app, "backstay_evictions_total", what="leaf_certificates") == 0


async def test_a_reload_changes_it(starts: Starts, writes: Writes, vendor: Vendor, tmp_path: Path) -> None:
    """To another authority, and off; one that cannot be had leaves all as it is."""
    app = await starts(writes(**text(vendor, tmp_path)))
    writes(**text(vendor, tmp_path, ca="other"))
    assert await app.reload() == []
    assert await call(app, tmp_path) == b"ok"
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "ca.crt").write_text("no certificate")
    writes(**text(vendor, tmp_path, ca="broken"))
    assert "broken" in (await app.reload())[0]
    assert await call(app, tmp_path) == b"ok"
    writes(**text(vendor, tmp_path, intercept=False))
    assert await app.reload() == []
    agent = await Agent.connect(app.listener.port)
    await agent.send(connect(HOST.encode() + b":443") + real(HOST))
    await agent.until(b"\r\n\r\n")
    handled = {"mode": "connect", "handling": "not_intercepted"}
    await until(lambda: value(app, "backstay_captured_connections_total", **handled) == 1)
    agent.close()


async def test_what_leads_to_ourselves(starts: Starts, writes: Writes, vendor: Vendor, tmp_path: Path) -> None:
    """By CONNECT, none of our own listeners is reached, whoever may be reached besides."""
    config = text(vendor, tmp_path)
    config["more"] += "\negress: {private_networks: allow}"
    app = await starts(writes(**config, listen="transparent: 127.0.0.1:0, metrics: 127.0.0.1:0, admin: off"))
    ports = {port for _, port in app.survivors.guard.own}
    assert len(ports) == 3
    for port in ports:
        for host in ("localhost", "127.0.0.1", "[::ffff:127.0.0.1]"):
            agent = await Agent.connect(app.listener.port)
            answer = await agent.ask(connect(f"{host}:{port}".encode()))
            assert (answer.status, json.loads(answer.body)["reason"]) == (403, "egress_denied")
            agent.close()
