"""Tests of upstreams behind a proxy: tunnels for TLS, absolute form in the clear, and whose word an error is."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from proxy.config.settings import UpstreamProxy
from proxy.errors import CallError, ConnectFailed, ConnectTimeout, EgressDenied
from proxy.model import Attempt, Exchange, Headers, Request, Response
from proxy.wire.dial import Way
from proxy.wire.pool import Endpoint, Pool, Upstream
from proxy.wire.tls import client_context
from tests.support.corporate import CorporateProxy
from tests.support.raw import Answer, End, Vendor, answers, mute, until
from tests.support.wire import GET, OK, Wire

BASIC = b"Basic dTpw"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def trusting(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    path: Path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return client_context(ca_file=str(path))


def serving(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


def pool_of(
    wire: Wire, port: int, tls: ssl.SSLContext | None = None, *, host: str = "vendor.test", way: Way | None = None
) -> Pool:
    authority = b"vendor.test" if tls is not None else b"vendor.test:%d" % port
    endpoint = Endpoint(host, port, tls, None, authority, way=way or Way())
    scratch = memoryview(bytearray(65536))
    return Pool(wire.clock, endpoint, scratch, max_connections=2, idle_seconds=60.0, header_limit=4096)


def attempt_of(method: bytes = b"GET", target: bytes = b"/x?a=1", *, connect: float = 2.0) -> Attempt:
    exchange = Exchange(Request(method, target, Headers()), "api", "default", 0.0)
    exchange.deadline = 1e9
    attempt = Attempt(exchange, 1)
    attempt.connect_limit = connect
    return attempt


class Office:
    """A vendor, the proxy that leads there, and what has been made of them."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.proxy: CorporateProxy
        self.pools: list[Pool] = []

    async def open(
        self, script: Any, tls: ssl.SSLContext | None = None, server: ssl.SSLContext | None = None, **more: Any
    ) -> Upstream:
        """An Upstream for ``vendor.test``; ``more``: what the proxy wants, and ``sent``, what it gets."""
        sent = more.pop("sent", more.get("authorization"))
        self.wire.vendor = vendor = await Vendor.start(script, ssl=server)
        self.proxy = await CorporateProxy.start(to={b"vendor.test": vendor.port}, **more)
        way = Way(proxy=UpstreamProxy("127.0.0.1", self.proxy.port, sent))
        self.pools.append(pool_of(self.wire, vendor.port, tls, way=way))
        return Upstream(self.pools[0], b"via", declared_safe=False)

    async def close(self) -> None:
        for pool in self.pools:
            assert pool.counts()["busy"] == 0
            pool.close()
        await self.proxy.stop()


@pytest.fixture
async def office(wire: Wire) -> AsyncIterator[Office]:
    made = Office(wire)
    yield made
    await made.close()


async def body_of(upstream: Upstream, attempt: Attempt | None = None) -> bytes:
    response: Response = await upstream(attempt or attempt_of())
    return response.body


# --- over TLS --------------------------------------------------------------------------------------------


@pytest.mark.both_loops
async def test_tls_goes_through_a_tunnel(office: Office, authority: trustme.CA, trusting: ssl.SSLContext) -> None:
    """The proxy sees a name and bytes; one tunnel serves many calls, and none of our credentials goes through it."""
    upstream = await office.open(answers(OK), trusting, serving(authority, "vendor.test"), authorization=BASIC)
    assert [await body_of(upstream) for _ in range(3)] == [b"ok"] * 3
    port = office.wire.vendor.port
    assert office.proxy.heads == [
        b"CONNECT vendor.test:%d HTTP/1.1\r\nHost: vendor.test:%d\r\nProxy-Authorization: %b\r\n\r\n"
        % (port, port, BASIC)
    ]
    assert office.wire.vendor.received.startswith(b"GET /x?a=1 HTTP/1.1\r\nHost: vendor.test\r\nVia: ")
    assert b"proxy-authorization" not in office.wire.vendor.received.lower()


async def test_a_proxy_vouches_for_nobody(office: Office, authority: trustme.CA, trusting: ssl.SSLContext) -> None:
    """The upstream's certificate is verified as ever."""
    upstream = await office.open(answers(OK), trusting, serving(authority, "other.test"))
    with pytest.raises(CallError, match="not acceptable") as caught:
        await upstream(attempt_of())
    assert caught.value.reason == "tls"


async def test_a_proxy_that_refuses_a_tunnel(office: Office, trusting: ssl.SSLContext) -> None:
    """No connection, nothing sent; it does not count as one."""
    upstream = await office.open(answers(OK), trusting, authorization=BASIC, sent=None)
    attempt = attempt_of()
    with pytest.raises(ConnectFailed, match=r"wants credentials \(407\)"):
        await upstream(attempt)
    assert (attempt.written, office.pools[0].counts()) == (False, {"idle": 0, "busy": 0, "waiting": 0})


async def test_whoever_speaks_first_is_not_who_was_meant(wire: Wire, trusting: ssl.SSLContext) -> None:
    """A server of TLS waits for its client: bytes before that would end up in front of its answer."""

    async def script(end: End) -> None:
        await end.until(b"\r\n\r\n")
        await end.send(b"HTTP/1.1 200 OK\r\n\r\n220 mail ready\r\n")
        await end.rest()

    vendor = await wire.start_vendor(script)
    pool = pool_of(wire, 443, trusting, way=Way(proxy=UpstreamProxy("127.0.0.1", vendor.port)))
    with pytest.raises(ConnectFailed, match="spoke before it was spoken to"):
        await pool.open(attempt_of())
    await until(lambda: vendor.connections[0].gone)


# --- in the clear ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "form"), [(b"/x?a=1", b"/x?a=1"), (b"*", b"")])
async def test_in_the_clear_the_target_is_absolute(office: Office, target: bytes, form: bytes) -> None:
    """One connection to the proxy serves many calls, each with the credentials that are for the proxy alone."""
    upstream = await office.open(answers(OK), authorization=BASIC)
    method = b"OPTIONS" if target == b"*" else b"GET"
    assert [await body_of(upstream, attempt_of(method, target)) for _ in range(2)] == [b"ok"] * 2
    name = b"vendor.test:%d" % office.wire.vendor.port
    head = b"%b http://%b%b HTTP/1.1\r\nHost: %b\r\nProxy-Authorization: %b\r\nVia: 1.1 via\r\n\r\n"
    assert office.proxy.heads == [head % (method, name, form, name, BASIC)] * 2
    assert office.proxy.connections == 1
    assert b"proxy-authorization" not in office.wire.vendor.received.lower()


async def test_a_proxy_that_wants_credentials_is_no_upstream(office: Office) -> None:
    """Its 407 is not for the agent, who does not know it: the call has gone no further, and another may stand in."""
    upstream = await office.open(answers(OK), authorization=BASIC, sent=b"Basic c2VjcmV0")
    attempt = attempt_of(b"POST")
    with pytest.raises(ConnectFailed, match=r"does not accept the credentials of upstream_proxy \(407\)") as caught:
        await upstream(attempt)
    assert (attempt.written, attempt.exchange.written, attempt.exchange.lost) == (False, False, False)
    assert "c2VjcmV0" not in caught.value.detail
    assert office.wire.vendor.connections == []


async def test_what_was_sent_before_stays_sent(office: Office) -> None:
    """An earlier attempt of the call may have been carried out, whatever a proxy says to this one."""
    upstream = await office.open(answers(OK), authorization=BASIC, sent=None)
    attempt = attempt_of(b"POST")
    attempt.exchange.written = True
    with pytest.raises(ConnectFailed):
        await upstream(attempt)
    assert attempt.exchange.written


async def test_a_407_of_an_upstream_passes(wire: Wire) -> None:
    """Where there is no proxy, it is an answer like any other."""
    agent = await wire.start(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
    answer: Answer = await agent.ask(GET)
    assert answer.status == 407


async def test_a_host_that_is_denied_is_not_asked_for_in_the_clear_either(wire: Wire) -> None:
    """The policy is asked before the proxy is connected to."""

    def refuse(found: object) -> list[str]:
        raise EgressDenied(f"Not {found}.")

    vendor = await wire.start_vendor(mute)
    pool = pool_of(wire, 80, way=Way(refuse, UpstreamProxy("127.0.0.1", vendor.port)))
    with pytest.raises(EgressDenied, match=r"Not \['vendor.test'\]"):
        await pool.acquire(attempt_of())
    assert (vendor.connections, pool.counts()) == ([], {"idle": 0, "busy": 0, "waiting": 0})


# --- the same for all ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"])
async def test_proxies_of_the_environment_are_for_agents(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Backstay is the proxy that they name: following them it would call itself."""
    for each in (name, name.lower()):
        monkeypatch.setenv(each, "http://127.0.0.1:1")
    agent = await wire.start(OK)
    assert (await agent.ask(GET)).body == b"ok"


@pytest.mark.parametrize("proxied", [False, True])
async def test_a_handshake_that_takes_too_long(wire: Wire, trusting: ssl.SSLContext, proxied: bool) -> None:
    """timeout.connect covers all of the way, and whatever was open on it is closed."""

    async def script(end: End) -> None:
        if proxied:
            await end.until(b"\r\n\r\n")
            await end.send(b"HTTP/1.1 200 OK\r\n\r\n")
        await mute(end)

    vendor = await wire.start_vendor(script)
    way = Way(proxy=UpstreamProxy("127.0.0.1", vendor.port)) if proxied else Way(lambda _: ["127.0.0.1"])
    pool = pool_of(wire, vendor.port, trusting, host="127.0.0.1", way=way)
    with pytest.raises(ConnectTimeout, match=r"did not accept a connection in 0\.05 s"):
        await pool.open(attempt_of(connect=0.05))
    await until(lambda: vendor.connections[0].gone)
    assert pool.counts() == {"idle": 0, "busy": 0, "waiting": 0}


@pytest.mark.both_loops
@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13, 30])
async def test_who_leaves_during_the_handshake_leaves_no_socket(
    wire: Wire, authority: trustme.CA, trusting: ssl.SSLContext, turns: int
) -> None:
    """At whatever step; a connection that was made in the same moment is kept for others, or closed."""
    vendor = wire.vendor = await Vendor.start(answers(OK), ssl=serving(authority, "127.0.0.1"))
    pool = pool_of(wire, vendor.port, trusting, host="127.0.0.1")
    task = asyncio.get_running_loop().create_task(pool.open(attempt_of()))
    for _ in range(turns):
        await asyncio.sleep(0.0005)
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.result().abort()
    await until(lambda: all(each.gone for each in vendor.connections))
    assert pool.counts()["idle"] == 0
