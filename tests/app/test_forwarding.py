"""Calls in absolute-form to hosts that no api names (unlisted.py), through the whole program, as bytes."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import trustme

from proxy.app import App
from tests.app.conftest import Starts, Writes
from tests.support.captured import echo
from tests.support.raw import Agent, End, Script, Vendor, answers

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
API = """
  stripe:
    url: http://api.stripe.example
    mount: /stripe
    credentials:
      Authorization: {value: Bearer sk_live_secret, placeholder: PLACEHOLDER-of-stripe}
"""
PRIVATE = "egress: {private_networks: allow, deny: [denied.example]}"

Vendors: TypeAlias = Callable[..., Awaitable[Vendor]]


@pytest.fixture
async def vendors() -> AsyncIterator[Vendors]:
    """Start vendors that no api names; they end with the test."""
    started: list[Vendor] = []

    async def start(script: Script | bytes = OK, **options: Any) -> Vendor:
        vendor = await Vendor.start(answers(script) if isinstance(script, bytes) else script, **options)
        started.append(vendor)
        return vendor

    yield start
    for vendor in started:
        await vendor.stop()


@pytest.fixture
async def app(starts: Starts, writes: Writes) -> App:
    app: App = await starts(writes(API, more=PRIVATE))
    return app


@pytest.fixture
async def agent(app: App) -> AsyncIterator[Agent]:
    agent = await Agent.connect(app.listener.port)
    yield agent
    agent.close()


def get(url: str, *fields: bytes, method: bytes = b"GET", body: bytes = b"") -> bytes:
    return b"\r\n".join([b"%b %b HTTP/1.1" % (method, url.encode()), b"Host: elsewhere", *fields, b"", body])


async def reason(agent: Agent, request: bytes) -> tuple[int, str]:
    answer = await agent.ask(request)
    return answer.status, json.loads(answer.body)["reason"]


# --- what is sent


async def test_a_call_is_sent_on(agent: Agent, vendors: Vendors, app: App) -> None:
    """To the host of its target, in the form that an origin reads, without what was for the proxy alone."""
    vendor = await vendors()
    hop = (b"Proxy-Connection: keep-alive", b"Proxy-Authorization: Basic eDp5", b"X-Kept: 1")
    for _ in range(2):
        assert (await agent.ask(get(f"http://localhost:{vendor.port}/a%2fb?c#d", *hop))).body == b"ok"
    head = b"GET /a%%2fb?c#d HTTP/1.1\r\nHost: localhost:%d\r\nX-Kept: 1\r\nVia: 1.1 backstay-" % vendor.port
    assert vendor.received.count(head) == 2
    assert b"proxy-" not in vendor.received.lower()
    assert len(vendor.connections) == 1
    labels = {"api": "", "route": "unlisted", "method": "GET", "code": "200", "outcome": "forwarded", "reason": ""}
    assert app.registry.counter("backstay_requests_total", **labels).value == 2


async def test_bodies_and_what_has_none(agent: Agent, vendors: Vendors) -> None:
    """As to an api: announced, chunked, HEAD, 204, and what comes until the close."""

    async def script(end: End) -> None:
        while True:
            asked = await end.message()
            if asked.head.startswith(b"HEAD"):
                await end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
            elif asked.head.startswith(b"DELETE"):
                await end.send(b"HTTP/1.1 204 No Content\r\n\r\n")
            else:
                await end.send(b"HTTP/1.1 200 OK\r\n\r\n" + asked.body)
                end.close()

    url = f"http://localhost:{(await vendors(script)).port}/"
    assert (await agent.ask(get(url, method=b"HEAD"))).field(b"Content-Length") == b"9"
    assert (await agent.ask(get(url, method=b"DELETE"))).status == 204
    chunked = get(url, b"Transfer-Encoding: chunked", method=b"POST", body=b"3\r\nabc\r\n0\r\n\r\n")
    assert (await agent.ask(chunked)).body == b"abc"
    whole = get(url, b"Content-Length: 3", method=b"PUT", body=b"abc")
    assert (await agent.ask(whole)).body == b"abc"


async def test_a_websocket(agent: Agent, vendors: Vendors) -> None:
    """Asked for in absolute-form, as some clients do where it is in the clear."""

    async def script(end: End) -> None:
        head = await end.until(b"\r\n\r\n")
        assert b"Upgrade: websocket" in head
        assert b"proxy-" not in head.lower()
        await end.send(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        await echo(end)

    vendor = await vendors(script)
    upgrade = (b"Connection: Upgrade", b"Upgrade: websocket", b"Proxy-Authorization: Basic eDp5")
    assert (await agent.ask(get(f"http://localhost:{vendor.port}/ws", *upgrade))).status == 101
    await agent.send(b"\x81\x02hi")
    assert await agent.exactly(4) == b"\x81\x02hi"


@pytest.fixture
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """An authority that this system trusts."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "roots.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "roots.pem"))
    return authority


@pytest.mark.parametrize("trusted", [True, False])
async def test_https_in_absolute_form(roots: trustme.CA, agent: Agent, vendors: Vendors, trusted: bool) -> None:
    """TLS is ours then, and the vendor's certificate is verified as ever."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (roots if trusted else trustme.CA()).issue_cert("localhost").configure_cert(context)
    vendor = await vendors(ssl=context)
    answer = await agent.ask(get(f"https://localhost:{vendor.port}/x"))
    if trusted:
        assert answer.body == b"ok"
        assert vendor.received.startswith(b"GET /x HTTP/1.1\r\n")
    else:
        assert (answer.status, json.loads(answer.body)["reason"]) == (502, "tls")


async def test_one_destination_has_one_pool(agent: Agent, vendors: Vendors) -> None:
    """And is told its name as each call spells it: nobody else's spelling, since signatures depend on it."""
    vendor = await vendors()
    for host in ("LOCALHOST.", "localhost", "LOCALHOST.", "localhost"):
        assert (await agent.ask(get(f"http://{host}:{vendor.port}/"))).status == 200
    assert len(vendor.connections) == 2
    for name in (b"LOCALHOST.", b"localhost"):
        assert vendor.received.count(b"Host: %b:%d\r\n" % (name, vendor.port)) == 2


# --- what is not


async def test_what_egress_denies(agent: Agent) -> None:
    """403, and the connection goes on: the call was understood."""
    for url in (
        "http://denied.example/",
        "http://169.254.169.254/latest/meta-data/",
        "http://2852039166/",
        "http://[::ffff:a9fe:a9fe]/",
        "https://169.254.169.254:8443/",
        "http://127.0.0.1%2f/",
    ):
        assert await reason(agent, get(url)) == (403, "egress_denied")


async def test_what_egress_denies_by_its_address(starts: Starts, writes: Writes, vendors: Vendors) -> None:
    """When the name has been resolved, and however the address is spelt."""
    vendor = await vendors()
    app = await starts(writes(API))
    agent = await Agent.connect(app.listener.port)
    for host in ("localhost", "127.0.0.1", "0x7f.1"):
        assert await reason(agent, get(f"http://{host}:{vendor.port}/")) == (403, "egress_denied")
    assert vendor.connections == []
    agent.close()


async def test_the_placeholder_of_an_api(agent: Agent, vendors: Vendors) -> None:
    """It goes nowhere but to its api, and the secret in its place to nobody else."""
    vendor = await vendors()
    url = f"http://localhost:{vendor.port}/"
    for request in (
        get(url, b"Authorization: Bearer PLACEHOLDER-of-stripe"),
        get(url + "?key=PLACEHOLDER%2Dof-stripe"),
        get(url, b"Authorization: Basic eDpQTEFDRUhPTERFUi1vZi1zdHJpcGU="),
    ):
        assert await reason(agent, request) == (403, "placeholder_misused")
    assert vendor.received == b""


async def test_ourselves(agent: Agent, app: App) -> None:
    """In absolute-form, a base url at us is one all the same; what else is here is out of reach."""
    for host in ("127.0.0.1", "localhost"):
        url = f"http://{host}:{app.listener.port}"
        answer = await agent.ask(get(f"{url}/stripe/v1", b"Max-Forwards: 0", method=b"OPTIONS"))
        assert json.loads(answer.body)["api"] == "stripe"
        assert await reason(agent, get(f"{url}/metrics")) == (403, "egress_denied")


async def test_no_such_port(app: App) -> None:
    """It is no url: the agent's mistake, not a defect of ours."""
    for port in ("65536", "99999", "1x", "-1", "123456"):
        agent = await Agent.connect(app.listener.port)
        assert await reason(agent, get(f"http://127.0.0.1:{port}/")) == (400, "bad_request")
        agent.close()


async def test_what_cannot_be_reached(agent: Agent, vendors: Vendors) -> None:
    """502, as for an api."""
    vendor = await vendors()
    await vendor.stop()
    assert await reason(agent, get(f"http://localhost:{vendor.port}/")) == (502, "connect")
    assert await reason(agent, get("http://localhost:0/")) == (502, "connect")


async def test_a_limit_of_hops(agent: Agent) -> None:
    """Without one left, Backstay answers that it would have passed it on; it is no api's. Egress is asked first."""
    answer = await agent.ask(get("http://unknown.example/", b"Max-Forwards: 0", method=b"OPTIONS"))
    assert json.loads(answer.body).items() >= {"by": "backstay", "api": None, "route": "unlisted"}.items()
    denied = get("http://denied.example/", b"Max-Forwards: 0", method=b"OPTIONS")
    assert await reason(agent, denied) == (403, "egress_denied")


async def test_a_server_as_a_whole(agent: Agent, vendors: Vendors) -> None:
    """OPTIONS without a path is about the server (RFC 9112, 3.2.4)."""
    vendor = await vendors()
    assert (await agent.ask(get(f"http://localhost:{vendor.port}", method=b"OPTIONS"))).status == 200
    assert vendor.received.startswith(b"OPTIONS * HTTP/1.1\r\n")


# --- what is kept


async def test_pools_are_bounded(agent: Agent, vendors: Vendors, app: App) -> None:
    """The least used destination is let go for a new one, with its connections."""
    vendor = await vendors()
    assert (await agent.ask(get(f"http://localhost:{vendor.port}/"))).status == 200
    for port in range(1, 257):
        app.survivors.passing((b"http", b"made-up.example:%d" % port, None), lambda: app.survivors.pools["stripe"])
    assert len(app.survivors._passing) == 256
    while not vendor.connections[0].gone:
        await asyncio.sleep(0.001)


async def test_a_reload_lets_go_of_what_is_kept(agent: Agent, vendors: Vendors, app: App) -> None:
    """The way out may be another now: the next call takes it."""
    vendor = await vendors()
    url = f"http://localhost:{vendor.port}/"
    assert (await agent.ask(get(url))).status == 200
    assert await app.reload() == []
    assert (await agent.ask(get(url))).status == 200
    assert len(vendor.connections) == 2


async def test_repr(app: App) -> None:
    """It says what becomes of them."""
    assert repr(app.runtime._unlisted) == "<Unlisted allow>"
