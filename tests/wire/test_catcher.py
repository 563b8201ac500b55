"""Tests of what all captured connections share; what becomes of each is in the tests of capture.py."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from proxy.clock import Clock
from proxy.config.settings import UpstreamProxy
from proxy.core.client_hello import ClientHello
from proxy.core.first_bytes import First, Kind
from proxy.errors import Internal
from proxy.wire.capture import Capture, Target, _peer
from proxy.wire.relay import Side
from proxy.wire.server import AgentConnection
from tests.support.captured import ASK, INTERNAL_ERROR, Caught, at, connect, echo
from tests.support.corporate import CorporateProxy
from tests.support.names import NamedUvloop
from tests.support.raw import Agent, End, mute, until
from tests.support.transports import FakeTransport
from tests.support.wire import OK


@pytest.mark.virtual_time
async def test_what_was_not_redirected_is_told_once_a_minute(caught: Caught, caplog: pytest.LogCaptureFixture) -> None:
    """And not for each: whoever scans the port would fill the log."""
    await caught.start(OK)
    for pause in (0.0, 59.0, 2.0):
        await caught.clock.sleep(pause)
        caught.stack.catcher.not_redirected()
    assert len([each for each in caplog.records if each.name == "backstay.capture"]) == 2


async def test_a_capture_says_where_to(caught: Caught) -> None:
    """By the name, or by the address if there is none."""
    await caught.start(OK)
    named, bound = Target("connect", 443, "api.test"), Target("transparent", 5432, address="10.0.0.1")
    assert repr(Capture(caught.stack.catcher, named, "api")) == "<Capture of api.test:443, <Opening released 0 bytes>>"
    assert (str(bound), named.via.value, bound.via.value) == ("10.0.0.1:5432", "forward", "transparent")


async def test_a_refusal_of_what_is_over(caught: Caught) -> None:
    """A defect behind the moment in which it was given away must not speak in place of whoever has it now."""
    await caught.start(OK)
    capture, transport = Capture(caught.stack.catcher, Target("connect", 443, "api.test"), "api"), FakeTransport()
    capture.opening.transport = transport
    capture._refuse(Internal())
    assert (transport.state, transport.written, caught.stack.handled) == ("aborted", b"", [])


async def test_a_refusal_that_is_not_read(caught: Caught) -> None:
    """It keeps its place while it is told so in TLS, but not for long."""
    await caught.start(OK)
    capture, transport = Capture(caught.stack.catcher, Target("transparent", 443, "api.test"), "api"), FakeTransport()
    capture.opening.transport, capture.opening.held = transport, True
    capture._first = First(Kind.TLS, ClientHello(None, None))
    capture._refuse(Internal())
    assert (transport.state, transport.written, capture.opening.held) == ("closing", INTERNAL_ERROR, True)
    assert capture.opening.deadline == pytest.approx(caught.clock.now() + 2.0, abs=0.1)


async def test_through_a_proxy_of_a_company(caught: Caught) -> None:
    """Tunnels take the way out that is configured; what the other side says behind the proxy's answer comes first."""

    async def script(end: End) -> None:
        await end.until(b"\r\n\r\n")
        await end.send(b"HTTP/1.1 200 OK\r\n\r\n220 hello\r\n")
        await echo(end)

    await caught.start(OK)
    proxy = await caught.elsewhere(script)
    caught.stack.proxy = UpstreamProxy("127.0.0.1", proxy.port)
    agent = await caught.tunnel(b"smtp.example:25")
    assert await agent.until(b"\n") == b"220 hello\r\n"
    await agent.send(b"QUIT\r\n")
    assert await agent.until(b"\n") == b"QUIT\r\n"
    assert proxy.received.startswith(b"CONNECT smtp.example:25 HTTP/1.1\r\n")


async def test_a_name_within_a_tunnel_through_a_proxy(caught: Caught) -> None:
    """It is judged by itself there: its address is not seen here."""
    await caught.start(OK)
    corporate = await CorporateProxy.start(to={b"vendor.example": caught.vendor.port})
    caught.stack.proxy = UpstreamProxy("127.0.0.1", corporate.port)
    for name, status in ((b"other.example", 200), (b"denied.test", 403)):
        agent = await caught.tunnel(b"vendor.example:80")
        assert (await agent.ask(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % name)).status == status
        agent.close()
    await corporate.stop()


async def test_a_call_that_ends_with_its_connection(caught: Caught) -> None:
    """Who closes its side behind a call is gone, as on any connection of an agent."""
    await caught.start(mute)
    capture, transport = Capture(caught.stack.catcher, Target("connect", 80, "api.test"), "api"), FakeTransport()
    capture.opening.data, capture.opening.ended = ASK, True
    capture.opening.connection_made(transport)
    await until(lambda: transport.state == "closing")
    assert caught.stack.handled == [("connect", "plain")]
    assert isinstance(transport.protocol, AgentConnection)
    transport.protocol.connection_lost(None)
    assert caught.stack.listener.connections == 1


class Fading(NamedUvloop):
    """A loop on which the connections of relays are never made: they fail, or wait for ever."""

    error: OSError | None = None

    async def create_connection(self, factory: Any, *args: Any, **options: Any) -> Any:  # type: ignore[override]
        if not isinstance(factory(), Side):
            return await super().create_connection(factory, *args, **options)
        if self.error is not None:
            raise self.error
        return await self.create_future()


@pytest.mark.parametrize("error", [OSError(22, "Invalid argument"), None])
def test_the_other_side_is_gone_again(error: OSError | None) -> None:
    """Between its accept and the first byte: 502, or nobody to tell; its socket is closed."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Fading)
        loop.error = error
        caught = Caught(Clock(loop))
        agent: Agent = await caught.start(OK)
        elsewhere = await caught.elsewhere(echo)
        await agent.send(connect(at("other.test", elsewhere)))
        if error is not None:
            assert (await agent.answer()).status == 502
        await until(lambda: elsewhere.connections != [])
        agent.reset()
        await until(lambda: elsewhere.connections[0].gone)
        await caught.stop()

    with asyncio.Runner(loop_factory=Fading) as runner:
        runner.run(scenario())


def test_a_peer_that_is_gone_has_no_address() -> None:
    """It is judged as what it is: nowhere."""
    with socket.socket() as sock:
        assert _peer(sock) == ""
