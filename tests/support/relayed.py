"""A Relay between a raw agent and a raw vendor on loopback. For tests of bytes.

relayed = await Relayed.start(wire)        # joined at once; begin=False leaves that to the test
await relayed.agent.send(b"...")
await relayed.vendor.exactly(3)
"""

from __future__ import annotations

import asyncio
from typing import Any, Self, cast

from proxy.clock import Clock
from proxy.wire.relay import Relay
from tests.support.raw import Agent, End, Vendor, until
from tests.support.wire import Wire


class Front(asyncio.Protocol):
    """Stands where wire/capture.py does: keeps what the agent sends until the relay takes over."""

    def __init__(self) -> None:
        self.early = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.early += data

    def eof_received(self) -> bool:
        return True


class Relayed:
    """Both ends, and the relay between them."""

    def __init__(self, clock: Clock) -> None:
        self.ended = 0  # how often on_end was called
        self.relay = Relay(clock, memoryview(bytearray(64 * 1024)), self._end)
        self.front = Front()
        self.agent: Agent
        self.vendor: End

    def _end(self) -> None:
        self.ended += 1

    @classmethod
    async def start(cls, wire: Wire, *, begin: bool = True, receive_buffer: int | None = None) -> Self:
        relayed = cls(wire.clock)
        await relayed.connect_agent(wire, receive_buffer)
        wire.vendor = await Vendor.start(_as_the_test_says)
        await relayed.connect_upstream(wire.vendor.port)
        await until(lambda: bool(wire.vendor.connections), "accepted by the vendor")
        relayed.vendor = wire.vendor.connections[0]
        if begin:
            relayed.begin()
        return relayed

    async def connect_agent(self, wire: Wire, receive_buffer: int | None = None) -> None:
        server = await wire.clock.loop.create_server(lambda: self.front, "127.0.0.1", 0)
        self.agent = await Agent.connect(server.sockets[0].getsockname()[1], receive_buffer=receive_buffer)
        wire._agents.append(self.agent)
        await until(lambda: self.front.transport is not None, "accepted")
        server.close()

    async def connect_upstream(self, port: int) -> None:
        protocol: Any = self.relay.upstream
        await asyncio.get_running_loop().create_connection(lambda: protocol, "127.0.0.1", port)

    def begin(self) -> None:
        assert self.front.transport is not None
        self.relay.begin(self.front.transport, self.front.early)

    async def over(self) -> None:
        """Wait until the relay has ended, and assert that it has done so once."""
        await until(lambda: self.relay.state == "ended", f"ended: {self.relay}")
        assert (self.ended, self.relay.at_rest) == (1, True)


async def _as_the_test_says(end: End) -> None:
    end.deadline = 10.0
    await asyncio.Event().wait()
