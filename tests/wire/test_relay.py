"""Two connections joined, on real sockets: every byte arrives, ends and resets pass on, little is held."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from typing import Any

import aiofastnet
import pytest
import trustme

from tests.support.raw import End, Vendor, flood, turns, until
from tests.support.relayed import Relayed
from tests.support.wire import Wire

_LARGE = random.Random(5).randbytes(20 * 1024 * 1024)
_HELD = 64 * 1024


async def send_all(end: End, data: bytes) -> None:
    end.writer.write(data)
    await end.writer.drain()
    end.writer.write_eof()


async def is_reset(end: End) -> bool:
    """Whether the connection ends with a reset, now."""
    try:
        await end.rest()
    except ConnectionError:
        return True
    return False


@pytest.mark.both_loops
async def test_large_streams_pass_both_ways_at_once(wire: Wire) -> None:
    """20 MiB each way arrive as they were sent, and end as they ended."""
    relayed = await Relayed.start(wire)
    agent, vendor = relayed.agent, relayed.vendor
    async with asyncio.timeout(30):
        await asyncio.gather(send_all(agent, _LARGE), agent.rest(), send_all(vendor, _LARGE[::-1]), vendor.rest())
    intact = vendor.received == _LARGE and agent.received == _LARGE[::-1]  # 20 MiB are nothing for pytest to explain
    assert intact
    await relayed.over()
    assert (relayed.relay.sent, relayed.relay.received) == (len(_LARGE), len(_LARGE))


@pytest.mark.both_loops
@pytest.mark.parametrize("forth", [True, False])
async def test_a_slow_reader_stops_the_sender(wire: Wire, forth: bool) -> None:
    """What is held for it stays under one read, whatever is sent; nothing of it is lost."""
    relayed = await Relayed.start(wire, receive_buffer=8192)
    source, sink = (relayed.agent, relayed.vendor) if forth else (relayed.vendor, relayed.agent)
    to = relayed.relay.upstream if forth else relayed.relay.agent
    sink.reader._transport.pause_reading()  # type: ignore[attr-defined]
    taken = await flood(source, 256 * 1024 * 1024)
    assert taken < 64 * 1024 * 1024, "the sender was never stopped"
    assert to.transport is not None
    assert 0 < to.transport.get_write_buffer_size() <= _HELD
    source.writer.write_eof()
    sink.reader._transport.resume_reading()  # type: ignore[attr-defined]
    await sink.rest()
    assert len(sink.received) >= taken


@pytest.mark.both_loops
async def test_an_agent_that_has_ended_still_gets_its_answer(wire: Wire) -> None:
    """Half-closed, as by ``nc -N``: the upstream learns that no more comes, and answers."""
    relayed = await Relayed.start(wire)
    await send_all(relayed.agent, b"all I ask")
    assert await relayed.vendor.rest() == b"all I ask"
    assert relayed.relay.state == "half-closed"
    await relayed.vendor.send(b"all ", b"I know")
    relayed.vendor.close()
    assert await relayed.agent.rest() == b"all I know"
    await relayed.over()


async def test_an_upstream_that_has_ended_is_still_written_to(wire: Wire) -> None:
    """The same, the other way round."""
    relayed = await Relayed.start(wire)
    await send_all(relayed.vendor, b"bye")
    assert await relayed.agent.rest() == b"bye"
    await send_all(relayed.agent, b"the last word")
    assert await relayed.vendor.rest() == b"the last word"
    await relayed.over()


@pytest.mark.both_loops
@pytest.mark.parametrize("forth", [True, False])
async def test_a_reset_passes_on_as_a_reset(wire: Wire, forth: bool) -> None:
    """A stream that was cut does not look complete; what came before the reset arrives."""
    relayed = await Relayed.start(wire)
    source, other = (relayed.agent, relayed.vendor) if forth else (relayed.vendor, relayed.agent)
    await source.send(b"half of it")
    assert await other.exactly(10) == b"half of it"
    source.reset()
    assert await is_reset(other)
    await relayed.over()


@pytest.mark.both_loops
async def test_a_reset_of_one_that_had_ended(wire: Wire) -> None:
    """An agent that closes, and is then written to, resets: the upstream learns that nobody listens."""
    relayed = await Relayed.start(wire)
    relayed.agent.close()
    await until(lambda: relayed.relay.state == "half-closed", "ended")
    for _ in range(3):
        relayed.vendor.writer.write(b"more")
        await turns()
    assert await is_reset(relayed.vendor)
    await relayed.over()


@pytest.mark.both_loops
async def test_a_server_that_speaks_first(wire: Wire) -> None:
    """What it says is held, one read at most, and told once; then it comes before all else."""
    relayed = await Relayed.start(wire, begin=False)
    told = []
    relayed.relay.upstream_first = lambda: told.append(1)
    taken = await flood(relayed.vendor, 64 * 1024 * 1024)
    assert taken < 32 * 1024 * 1024
    assert len(relayed.relay._held) <= 2 * _HELD
    await relayed.agent.send(b"early")
    relayed.begin()
    assert await relayed.vendor.exactly(5) == b"early"
    relayed.vendor.close()
    assert len(await relayed.agent.rest()) >= taken
    assert told == [1]
    relayed.agent.close()
    await relayed.over()


async def test_what_a_proxy_sent_behind_its_answer_comes_first(wire: Wire) -> None:
    """Bytes of the upstream that were read before its connection is the relay's."""
    relayed = Relayed(wire.clock)
    await relayed.connect_agent(wire)
    relayed.relay.upstream.data_received(b"first, ")
    wire.vendor = await Vendor.start(lambda end: end.send(b"then"))
    await relayed.connect_upstream(wire.vendor.port)
    relayed.begin()
    assert await relayed.agent.rest() == b"first, then"
    relayed.agent.close()
    await relayed.over()


@pytest.mark.both_loops
@pytest.mark.parametrize("greeting", [b"", b"too many connections"])
async def test_an_upstream_that_has_ended_before_the_relay_begins(wire: Wire, greeting: bytes) -> None:
    """A greeting that is a refusal, as databases send it: the agent gets it, and its end."""
    relayed = await Relayed.start(wire, begin=False)
    told: list[int] = []
    relayed.relay.upstream_first = lambda: told.append(1)
    if greeting:
        await relayed.vendor.send(greeting)
    relayed.vendor.close()
    await until(lambda: bool(told), "told")
    assert relayed.ended == 0
    relayed.begin()
    assert await relayed.agent.rest() == greeting
    relayed.agent.close()
    await relayed.over()


@pytest.mark.both_loops
async def test_an_upstream_that_is_reset_before_the_relay_begins(wire: Wire) -> None:
    """The agent is told when its connection is handed over, and as it happened."""
    relayed = await Relayed.start(wire, begin=False)
    told: list[int] = []
    relayed.relay.upstream_first = lambda: told.append(1)
    relayed.vendor.reset()
    await until(lambda: bool(told), "told")
    assert relayed.ended == 0
    relayed.begin()
    assert await is_reset(relayed.agent)
    await relayed.over()


@pytest.mark.both_loops
async def test_shut_ends_both_at_once(wire: Wire) -> None:
    """Neither side may take it for a good end."""
    relayed = await Relayed.start(wire)
    await relayed.agent.send(b"hello")
    await relayed.vendor.exactly(5)
    relayed.relay.shut()
    relayed.relay.shut()
    assert await is_reset(relayed.agent)
    assert await is_reset(relayed.vendor)
    await relayed.over()


async def test_shut_before_it_began_leaves_the_agent_alone(wire: Wire) -> None:
    """The agent's connection is not the relay's yet."""
    relayed = await Relayed.start(wire, begin=False)
    relayed.relay.shut()
    assert await is_reset(relayed.vendor)
    await relayed.over()
    assert relayed.front.transport is not None
    relayed.front.transport.write(b"still here")
    assert await relayed.agent.exactly(10) == b"still here"
    relayed.front.transport.close()


async def test_shut_while_the_upstream_is_being_connected(wire: Wire) -> None:
    """A connection that comes too late is not kept."""
    relayed = Relayed(wire.clock)
    relayed.relay.shut()
    await relayed.over()
    wire.vendor = await Vendor.start(End.rest)  # type: ignore[arg-type]
    await relayed.connect_upstream(wire.vendor.port)
    await until(lambda: wire.vendor.connections[0].gone, "gone")
    await relayed.over()


async def test_silent_peers_are_asked_whether_they_are_there(wire: Wire) -> None:
    """TCP keep-alive on both sides, so that a tunnel to a dead host ends."""
    relayed = await Relayed.start(wire)
    for side in (relayed.relay.agent, relayed.relay.upstream):
        assert side.transport is not None
        sock = side.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


async def test_tls_to_the_upstream(wire: Wire) -> None:
    """Large streams over aiofastnet's transports; an end of TLS is an end of both ways, and comes behind the data."""
    authority = trustme.CA()
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    relayed = Relayed(wire.clock)
    await relayed.connect_agent(wire)
    wire.vendor = await Vendor.start(_echo, ssl=server)
    protocol: Any = relayed.relay.upstream
    await aiofastnet.create_connection(
        wire.clock.loop, lambda: protocol, "127.0.0.1", wire.vendor.port, ssl=client, server_hostname="localhost"
    )
    relayed.begin()
    sent = _LARGE[: 4 * 1024 * 1024]
    _, got = await asyncio.gather(relayed.agent.send(sent), relayed.agent.rest())
    intact = got == sent
    assert intact
    await relayed.over()


async def _echo(end: End) -> None:
    """Send back 4 MiB, and close."""
    while len(end.received) < 4 * 1024 * 1024:
        await end.send(await end.some())
