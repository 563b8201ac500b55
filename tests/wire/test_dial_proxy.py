"""Tests of tunnels through a proxy: what it is asked, which answers are good ones, and what the others mean."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from proxy.config.settings import UpstreamProxy
from proxy.errors import CallError, ConnectFailed, EgressDenied
from proxy.wire.dial import Way, dial
from tests.support.raw import End, Script, turns, until
from tests.support.wire import Wire

MADE = b"HTTP/1.1 200 Connection established\r\n\r\n"


def through(port: int, authorization: bytes | None = None) -> Way:
    return Way(proxy=UpstreamProxy("127.0.0.1", port, authorization))


def says(*pieces: bytes) -> Script:
    """A proxy that answers so, and then holds the connection."""

    async def script(end: End) -> None:
        await end.until(b"\r\n\r\n")
        await end.send(*pieces)
        await end.rest()

    return script


async def reach(wire: Wire, script: Script, *, host: str = "vendor.test", authorization: bytes | None = None) -> bytes:
    """What came behind the proxy's answer."""
    await wire.start_vendor(script)
    sock, early = await dial(wire.clock, host, 443, through(wire.vendor.port, authorization))
    sock.close()
    return early


@pytest.mark.both_loops
@pytest.mark.parametrize(
    ("host", "authority"),
    [
        ("vendor.test", b"vendor.test:443"),
        ("2001:db8::6", b"[2001:db8::6]:443"),
        ("bücher.test", b"xn--bcher-kva.test:443"),
    ],
)
async def test_a_tunnel_is_asked_for(wire: Wire, host: str, authority: bytes) -> None:
    """By name, which the proxy resolves, and with the credentials that it wants."""
    await reach(wire, says(MADE), host=host, authorization=b"Basic dTpw")
    assert wire.vendor.received == (
        b"CONNECT %b HTTP/1.1\r\nHost: %b\r\nProxy-Authorization: Basic dTpw\r\n\r\n" % (authority, authority)
    )


@pytest.mark.parametrize(
    ("pieces", "early"),
    [
        ((MADE,), b""),
        ((b"HTTP/1.0 200\r\n\r\n",), b""),
        ((b"HTTP/1.1 204 OK\r\nContent-Length: 7\r\n\r\n",), b""),  # RFC 9110, 9.3.6: of no meaning here
        ((MADE + b"220 ready",), b"220 ready"),
        (tuple(bytes([each]) for each in MADE), b""),
        ((b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n", MADE), b""),
    ],
)
async def test_a_tunnel_that_is_made(wire: Wire, pieces: Sequence[bytes], early: bytes) -> None:
    """At the end of the head of a 2xx; what comes behind that is the upstream's, and not lost."""
    assert await reach(wire, says(*pieces)) == early


@pytest.mark.parametrize(
    ("status", "authorization", "said"),
    [
        (407, None, r"wants credentials \(407\): write them as upstream_proxy: http://USER:PASSWORD@HOST:PORT"),
        (407, b"Basic c2VjcmV0", r"does not accept the credentials of upstream_proxy \(407\)"),
        (401, b"Basic c2VjcmV0", r"does not accept the credentials of upstream_proxy \(401\)"),
        (403, None, r"does not allow it \(403\): .*'upstream_proxy: off'"),
        (502, None, r"did not make a connection \(502\); its own log says why"),
        (302, None, r"did not make a connection \(302\)"),
    ],
)
async def test_a_proxy_that_refuses(wire: Wire, status: int, authorization: bytes | None, said: str) -> None:
    """The error names the proxy, without its credentials, and what to do; the socket is closed."""
    with pytest.raises(ConnectFailed, match=said) as caught:
        await reach(wire, says(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status), authorization=authorization)
    assert f"The proxy 127.0.0.1:{wire.vendor.port}, asked for vendor.test:443," in caught.value.detail
    assert "c2VjcmV0" not in caught.value.detail
    await until(lambda: wire.vendor.connections[0].gone)


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ((b"SSH-2.0-OpenSSH\r\n\r\n",), "is not HTTP"),
        ((b"HTTP/1.1 200 OK\nA: b\r\n\r\n",), "is not HTTP"),
        ((b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",), "is not HTTP"),
        ((b"HTTP/1.1 200 OK\r\nA: " + b"b" * 20_000,), "too large"),
        ((b"HTTP/1.1 100 Continue\r\n\r\n" * 9,), "without end"),
    ],
)
async def test_a_proxy_that_speaks_no_http(wire: Wire, pieces: Sequence[bytes], said: str) -> None:
    """Its answer is read as strictly as any upstream's, and no more of it than an answer may have."""
    with pytest.raises(ConnectFailed, match=said):
        await reach(wire, says(*pieces))
    await until(lambda: wire.vendor.connections[0].gone)


async def test_a_proxy_that_closes(wire: Wire) -> None:
    """Before it has answered: no tunnel, and an error that says so."""

    async def script(end: End) -> None:
        await end.until(b"\r\n\r\n")

    with pytest.raises(ConnectFailed, match="broke off: it closed the connection before it answered"):
        await reach(wire, script)


async def test_a_proxy_that_is_away(wire: Wire) -> None:
    """It is the proxy that cannot be reached; nothing is known of the upstream."""
    await wire.start_vendor(says(MADE))
    await wire.vendor.stop()
    with pytest.raises(ConnectFailed, match=r"The proxy 127\.0\.0\.1:.* leads to vendor\.test:443, cannot be reached"):
        await dial(wire.clock, "vendor.test", 443, through(wire.vendor.port))


@pytest.mark.both_loops
async def test_who_leaves_leaves_no_socket(wire: Wire) -> None:
    """The connection to a proxy that does not answer is closed at once."""
    await wire.start_vendor(says())
    task = asyncio.get_running_loop().create_task(dial(wire.clock, "vendor.test", 443, through(wire.vendor.port)))
    await until(lambda: wire.vendor.received.endswith(b"\r\n\r\n"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: wire.vendor.connections[0].gone)


async def test_the_policy_is_asked_for_what_the_proxy_is_to_reach(wire: Wire) -> None:
    """By name, since no address will be seen here; who is denied is not even asked for."""
    seen: list[Sequence[str]] = []

    def refuse(found: Sequence[str]) -> list[str]:
        seen.append(found)
        raise EgressDenied("Not there.")

    await wire.start_vendor(says(MADE))
    way = Way(refuse, UpstreamProxy("127.0.0.1", wire.vendor.port))
    with pytest.raises(CallError, match="Not there"):
        await dial(wire.clock, "vendor.test", 443, way)
    await turns()
    assert (seen, wire.vendor.connections) == ([["vendor.test"]], [])


async def test_a_name_that_would_be_a_line_of_its_own(wire: Wire) -> None:
    """It is never written into a request."""
    await wire.start_vendor(says(MADE))
    with pytest.raises(OSError, match="not a name"):
        await dial(wire.clock, "a\r\nX: y", 443, through(wire.vendor.port))
    assert wire.vendor.connections == []
