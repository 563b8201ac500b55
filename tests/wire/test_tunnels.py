"""Tests of captured connections: CONNECT to hosts that no api names, denied or relayed; and every connection's end.

Nothing may be left of one: no connection, no task, no place.
"""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest

from proxy.core.egress import EgressSettings, parse_pattern
from tests.support.captured import (
    ACCESS_DENIED,
    API,
    ASK,
    OPAQUE,
    PREFACE,
    UNRECOGNIZED,
    Caught,
    at,
    connect,
    echo,
)
from tests.support.hello import real
from tests.support.names import ABSENT, HIDDEN
from tests.support.raw import End, until
from tests.support.wire import OK

# --- what no api names


@pytest.mark.both_loops
@pytest.mark.parametrize("first", [ASK.replace(API.encode(), b"other.test"), real("other.test"), PREFACE, OPAQUE])
async def test_any_other_tunnel_passes_untouched(caught: Caught, first: bytes) -> None:
    """Byte for byte both ways, whatever it is."""
    await caught.start(OK)
    elsewhere = await caught.elsewhere(echo)
    agent = await caught.tunnel(at("other.test", elsewhere))
    data = bytes(range(256)) * 2000
    await agent.send(first)
    assert await agent.exactly(len(first)) == first
    agent.writer.write(data)
    assert await agent.exactly(len(data)) == data
    assert caught.stack.handled == [("connect", "unlisted")]
    agent.close()
    await until(lambda: elsewhere.connections[0].gone)
    await until(lambda: caught.stack.listener.connections == 1)


async def test_all_that_comes_early_is_passed_on(caught: Caught) -> None:
    """More than is held while the other side is dialled waits at the agent's."""
    await caught.start(OK)
    elsewhere = await caught.elsewhere(echo)
    agent = await caught.connect()
    early = b"\x00" * 1_000_000
    agent.writer.write(connect(at("other.test", elsewhere)) + early)
    await agent.until(b"\r\n\r\n")
    assert await agent.exactly(len(early)) == early


@pytest.mark.parametrize("name", ["api.test", "SECOND.test"])
async def test_a_tunnel_to_another_host_is_no_way_to_an_api(caught: Caught, name: str) -> None:
    """An api's policies are not passed by with its name inside the tunnel of another."""
    await caught.start(OK)
    elsewhere = await caught.elsewhere(echo)
    hello = await caught.tunnel(at("other.test", elsewhere), real(name))
    assert await hello.rest() == UNRECOGNIZED
    clear = await caught.tunnel(at("other.test", elsewhere))
    answer = await clear.ask(b"GET /x HTTP/1.1\r\nHost: %b:80\r\n\r\n" % name.encode())
    assert (answer.status, json.loads(answer.body)["reason"]) == (421, "wrong_host")
    assert await clear.closed()
    assert elsewhere.received == b""
    assert caught.stack.handled == [("connect", "refused")] * 2
    await until(lambda: all(each.gone for each in elsewhere.connections))


async def test_a_refusal_within_a_tunnel_is_read(caught: Caught) -> None:
    """An agent that is still sending a large body gets the answer, not a reset."""
    await caught.start(OK)
    elsewhere = await caught.elsewhere(echo)
    agent = await caught.tunnel(at("other.test", elsewhere))
    agent.writer.write(b"POST /x HTTP/1.1\r\nHost: api.test\r\nContent-Length: 400000\r\n\r\n" + b"x" * 400_000)
    assert (await agent.answer()).status == 421
    assert await agent.closed()


@pytest.mark.parametrize(
    "settings",
    [
        None,
        EgressSettings(unlisted="deny", private_networks="allow"),
        EgressSettings(unlisted="deny", allow=tuple(map(parse_pattern, ("other.test", "10.0.0.0/8")))),
    ],
)
async def test_a_name_within_a_tunnel_is_judged_too(caught: Caught, settings: EgressSettings | None) -> None:
    """A host that is denied is not reached behind the name of one that is not: a network of many hosts has both."""
    await caught.start(OK)
    elsewhere = await caught.elsewhere(echo)
    agents = [await caught.tunnel(at("other.test", elsewhere)) for _ in range(2)]
    if settings is not None:
        caught.stack.guard.settings = settings
    name = "denied.test" if settings is None else "third.test"
    await agents[0].send(real(name))
    assert await agents[0].rest() == ACCESS_DENIED
    answer = await agents[1].ask(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % name.encode())
    assert (answer.status, json.loads(answer.body)["reason"]) == (403, "egress_denied")
    assert elsewhere.received == b""


async def test_what_is_no_name_within_a_tunnel(caught: Caught) -> None:
    """It cannot be judged, so it is denied, although its connection leads where it may."""
    await caught.start(OK)
    elsewhere = await caught.elsewhere(echo)
    for name in (b"10.0.0.1%2f", b"a_b$"):
        agent = await caught.tunnel(at("other.test", elsewhere))
        assert (await agent.ask(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % name)).status == 403
    assert elsewhere.received == b""


@pytest.mark.virtual_time
async def test_a_refused_agent_that_stays(caught: Caught) -> None:
    """It has its place until it has been cut, two seconds later."""
    agent = await caught.start(OK)
    assert (await agent.ask(connect(b"denied.test:443"))).status == 403
    assert caught.stack.listener.connections == 1
    await caught.clock.sleep(4.0)
    assert caught.stack.listener.connections == 0


async def test_a_refusal_where_there_is_no_place_any_more(caught: Caught) -> None:
    """A reload took it away: one answer says so, not two."""
    await caught.start(OK)
    elsewhere = await caught.elsewhere(echo)
    agent = await caught.tunnel(at("other.test", elsewhere))
    caught.stack.listener.max_connections = 1
    await agent.send(ASK)
    answer = await agent.answer()
    assert (answer.status, json.loads(answer.body)["reason"]) == (503, "overloaded")
    assert await agent.closed()


@pytest.mark.parametrize("authority", [b"denied.test:443", b"169.254.169.254:80", b"[::ffff:a9fe:a9fe]:80"])
async def test_what_is_denied(caught: Caught, authority: bytes) -> None:
    """403 before a connection is made; ours is closed, and what was to go through the tunnel is not taken for calls."""
    agent = await caught.start(OK)
    await agent.send(connect(authority) + ASK)
    answer = await agent.answer()
    assert (answer.status, answer.field(b"Connection")) == (403, b"close")
    assert json.loads(answer.body)["reason"] == "egress_denied"
    assert await agent.closed()
    assert caught.vendor.connections == []
    assert caught.stack.handled == [("connect", "refused")]
    assert caught.stack.refused == ["egress_denied"]


@pytest.mark.parametrize("host", ["127.0.0.1", "other.test"])
async def test_what_is_denied_by_its_address(caught: Caught, host: str) -> None:
    """The same when the name has been resolved."""
    agent = await caught.start(OK)
    caught.stack.guard.settings = EgressSettings()
    answer = await agent.ask(connect(at(host, caught.vendor)))
    assert (answer.status, json.loads(answer.body)["reason"]) == (403, "egress_denied")
    assert await agent.closed()
    assert caught.vendor.connections == []


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.mark.parametrize("host", [ABSENT, "other.test", "x" * 64 + ".test"])
async def test_what_cannot_be_reached(caught: Caught, host: str) -> None:
    """502 in place of the 200, with what is wrong."""
    agent = await caught.start(OK)
    answer = await agent.ask(connect(b"%b:%d" % (host.encode(), closed_port())))
    assert (answer.status, json.loads(answer.body)["reason"]) == (502, "connect")
    assert await agent.closed()


@pytest.mark.virtual_time
async def test_what_is_not_reached_in_time(caught: Caught) -> None:
    """504 in place of the 200."""
    agent = await caught.start(OK)
    answer = await agent.ask(connect(HIDDEN.encode() + b":443"))
    assert (answer.status, json.loads(answer.body)["reason"]) == (504, "connect_timeout")
    assert await agent.closed()


# --- ends


@pytest.mark.both_loops
async def test_an_agent_that_says_no_more(caught: Caught) -> None:
    """Half-closed, as by ``nc -N``: the other side learns of it, and its answer still arrives."""

    async def script(end: End) -> None:
        await end.send(b"got " + await end.rest())

    agent = await caught.start(OK)
    elsewhere = await caught.elsewhere(script)
    for first in (OPAQUE, PREFACE[:10], real("other.test")):
        agent = await caught.connect()
        agent.writer.write(connect(at("other.test", elsewhere)) + first)
        agent.writer.write_eof()
        await agent.until(b"\r\n\r\n")
        assert await agent.rest() == b"got " + first


@pytest.mark.parametrize("leave", [End.close, End.reset])
@pytest.mark.parametrize("authority", [b"hidden.test:443", b"api.test:80"])
async def test_an_agent_that_leaves(caught: Caught, leave: Any, authority: bytes) -> None:
    """While the other side is dialled, or before a word is said: nothing is left of it, and nothing is logged."""
    await caught.start(OK)
    agent = await caught.connect()
    await agent.send(connect(authority))
    await until(lambda: "Opening" in repr(caught.stack.listener._connections))
    leave(agent)
    await until(lambda: caught.stack.listener.connections == 1)
    await until(lambda: not [task for task in asyncio.all_tasks() if task.get_name() == "captured connection"])
    assert caught.stack.handled == []


@pytest.mark.virtual_time
@pytest.mark.parametrize("first", [b"\x16", b"\x16\x03\x01\x02\x00\x01", b"GET /x HTTP/1.1\r\nHost: other.t"])
async def test_a_beginning_without_an_end(caught: Caught, first: bytes) -> None:
    """Who begins and does not go on is cut: nobody can be found who takes it."""
    await caught.start(OK)
    agent = await caught.redirected("127.0.0.1", caught.vendor.port)
    await agent.send(first)
    began = caught.clock.now()
    assert await agent.closed()
    assert 10.0 <= caught.clock.now() - began <= 12.0
    assert caught.vendor.received == b""


@pytest.mark.virtual_time
async def test_a_word_that_might_become_a_method(caught: Caught) -> None:
    """Whoever says no more for a moment meant it as it is: ZooKeeper is asked so, and waits for no line to end."""
    await caught.start(OK)
    elsewhere = await caught.elsewhere(echo)
    for agent in (
        await caught.tunnel(at("other.test", elsewhere)),
        await caught.redirected("127.0.0.1", elsewhere.port),
    ):
        await agent.send(b"ruok")
        assert await agent.exactly(4) == b"ruok"
    assert caught.stack.handled == [("connect", "unlisted"), ("transparent", "opaque")]


@pytest.mark.virtual_time
async def test_a_quiet_tunnel_stays(caught: Caught) -> None:
    """Once both sides are there, silence is no reason to end it."""
    await caught.start(OK)
    elsewhere = await caught.elsewhere(echo)
    agent = await caught.tunnel(at("other.test", elsewhere))
    await caught.clock.sleep(3600.0)
    await agent.send(OPAQUE)
    assert await agent.exactly(len(OPAQUE)) == OPAQUE


# --- how many there may be


async def test_a_captured_connection_has_one_place(caught: Caught) -> None:
    """With no place left but its own, it is served all the same; one more is not."""
    await caught.start(OK, connections=2)
    agent = await caught.tunnel(b"api.test:80")
    assert (await agent.ask(ASK)).status == 200
    for each in (await caught.connect(), await caught.redirected("127.0.0.1", caught.vendor.port)):
        assert await each.closed() or b"503" in each.received
    agent.close()
    await until(lambda: caught.stack.listener.connections == 1)
    elsewhere = await caught.elsewhere(echo)
    other = await caught.tunnel(at("other.test", elsewhere), OPAQUE)
    assert await other.exactly(len(OPAQUE)) == OPAQUE
    assert caught.stack.listener.connections == 2


@pytest.mark.virtual_time
async def test_drain_waits_for_tunnels(caught: Caught) -> None:
    """Nobody can tell whether a tunnel is at rest: it has the time that there is, and is cut and counted then."""
    await caught.start(OK)
    elsewhere = await caught.elsewhere(echo)
    tunnel = await caught.tunnel(at("other.test", elsewhere), OPAQUE)
    await tunnel.exactly(len(OPAQUE))
    opening = await caught.tunnel(b"api.test:%d" % caught.vendor.port)
    assert caught.stack.listener.busy == 2
    assert await caught.stack.listener.drain(10.0) == 2
    assert await tunnel.closed()
    assert await opening.closed()
    await until(lambda: elsewhere.connections[0].gone)
