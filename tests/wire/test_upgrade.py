"""Tests of websocket tunnels: opaque bytes both ways after a 101 that was asked for."""

from __future__ import annotations

import pytest

from proxy.model import Ending, Verdict
from tests.support.raw import End, deaf, flood, until
from tests.support.wire import GET, OK, Wire

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n"
    b"Upgrade: WebSocket\r\nSec-WebSocket-Key: x\r\n\r\n"
)
SWITCH = (
    b"HTTP/1.1 101 Switching\r\nConnection: Upgrade, X-Hop\r\nX-Hop: 1\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Accept: y\r\n\r\n"
)
SWITCHED = b"HTTP/1.1 101 Switching\r\nSec-WebSocket-Accept: y\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


async def echo(end: End) -> None:
    await end.until(b"\r\n\r\n")
    await end.send(SWITCH)
    while data := await end.some():
        end.writer.write(data)
        await end.writer.drain()


@pytest.mark.both_loops
async def test_a_tunnel(wire: Wire) -> None:
    """The upgrade is asked for and granted end to end; then bytes pass both ways, whatever they look like."""
    agent = await wire.start(echo)
    await agent.send(UPGRADE)
    assert await agent.exactly(len(SWITCHED)) == SWITCHED
    for message in (b"\x81\x05hello", GET, b"HTTP/1.1 200 OK\r\n\r\n", b"\x00" * 100_000):
        agent.writer.write(message)
        assert await agent.exactly(len(message)) == message
    assert wire.vendor.received.startswith(
        b"GET /ws HTTP/1.1\r\nHost: vendor.test\r\nSec-WebSocket-Key: x\r\n"
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nVia: 1.1 backstay-test\r\n\r\n"
    )
    agent.close()
    await until(lambda: wire.vendor.connections[0].gone)
    assert (wire.stack.endings, wire.stack.verdicts) == ([Ending.ABANDONED], [Verdict.IGNORED])


@pytest.mark.parametrize("leave", [End.close, End.reset])
async def test_a_tunnel_that_the_upstream_ends(wire: Wire, leave: object) -> None:
    """The last bytes reach the agent before its connection ends."""

    async def script(end: End) -> None:
        await end.until(b"\r\n\r\n")
        await end.send(SWITCH + b"first", b"last")
        leave(end)  # type: ignore[operator]

    agent = await wire.start(script)
    await agent.send(UPGRADE)
    assert await agent.rest() == SWITCHED + b"firstlast"


async def test_bytes_ahead_of_the_switch(wire: Wire) -> None:
    """What the agent sends before the 101 is kept for the tunnel, however much it is."""
    early = b"\x81" * 300_000
    agent = await wire.start(echo)
    agent.writer.write(UPGRADE + early)
    assert await agent.exactly(len(SWITCHED)) == SWITCHED
    assert await agent.exactly(len(early)) == early


async def test_a_tunnel_is_held_back_by_an_agent_that_does_not_read(wire: Wire) -> None:
    """The upstream is stopped; nothing piles up in between."""
    taken: list[int] = []

    async def script(end: End) -> None:
        await end.until(b"\r\n\r\n")
        await end.send(SWITCH)
        taken.append(await flood(end, 2**28))
        await end.rest()

    await wire.start(script)
    agent = await wire.connect(receive_buffer=4096)
    await agent.send(UPGRADE)
    await until(lambda: taken != [])
    assert taken[0] < 2**26
    assert all(each.transport.get_write_buffer_size() <= 192 * 1024 for each in wire.stack.agents)
    agent.reset()


async def test_a_tunnel_is_held_back_by_an_upstream_that_does_not_read(wire: Wire) -> None:
    """The same in the other direction."""

    async def script(end: End) -> None:
        await end.until(b"\r\n\r\n")
        await end.send(SWITCH)
        await deaf(end)

    agent = await wire.start(script)
    await agent.send(UPGRADE)
    await agent.exactly(len(SWITCHED))
    assert await flood(agent, 2**28) < 2**26
    agent.reset()


async def test_an_upgrade_that_is_declined(wire: Wire) -> None:
    """An ordinary answer to an upgrade is one, and the connection goes on."""
    agent = await wire.start(OK)
    for _ in range(2):
        assert (await agent.ask(UPGRADE)).body == b"ok"


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n",
    ],
)
async def test_a_switch_to_something_else(wire: Wire, raw: bytes) -> None:
    """A 101 to a protocol that was not asked for is a 502."""
    agent = await wire.start(raw)
    await agent.send(UPGRADE)
    assert (await agent.answer()).status == 502


async def test_drain_leaves_the_fields_of_a_switch_alone(wire: Wire) -> None:
    """A 101 has one Connection field, whatever else is going on."""
    agent = await wire.start(echo)
    wire.stack.listener.draining = True
    await agent.send(UPGRADE)
    assert await agent.exactly(len(SWITCHED)) == SWITCHED
