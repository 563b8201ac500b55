"""A network that answers as a test says: names, addresses that accept, refuse or hang. For tests of ways out.

def test_x() -> None:
    net = Net({"vendor.test": ["192.0.2.1", "192.0.2.2"]}, {"192.0.2.1": hangs})
    net.run(scenario)           # async def scenario(clock: Clock) -> None
    assert net.asked == ["192.0.2.1", "192.0.2.2"]
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from proxy.clock import Clock
from tests.support.virtual import VirtualLoop, clock_of, turn

T = TypeVar("T")
Behaviour: TypeAlias = Callable[[], Awaitable[None]]


async def hangs() -> None:
    """Neither accept nor refuse."""
    await asyncio.get_running_loop().create_future()


async def refuses() -> None:
    raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")


async def accepts() -> None:
    """As every address does of which a test says nothing."""


class Net:
    """See the module. At the end of ``run`` no socket may be open but those that the scenario returned."""

    def __init__(
        self, names: Mapping[str, Sequence[str]] | None = None, addresses: Mapping[str, Behaviour] | None = None
    ) -> None:
        self.names = names or {}
        self.addresses = addresses or {}
        self.looked_up: list[str] = []
        self.asked: list[str] = []  # addresses, in the order in which connections to them began
        self.sockets: list[socket.socket] = []

    def run(self, scenario: Callable[[Clock], Awaitable[T]]) -> T:
        async def supervised() -> T:
            clock = clock_of()
            try:
                return await scenario(clock)
            finally:
                await turn()
                left = asyncio.all_tasks() - {asyncio.current_task()}
                assert not left, f"tasks left behind: {left}"

        try:
            with asyncio.Runner(loop_factory=lambda: _Loop(self)) as runner:
                return runner.run(supervised())
        finally:
            open_still = self.open
            for each in self.sockets:
                each.close()
            assert len(open_still) <= 1, f"sockets left behind: {open_still}"

    @property
    def open(self) -> list[socket.socket]:
        return [each for each in self.sockets if each.fileno() >= 0]


class _Loop(VirtualLoop):
    def __init__(self, net: Net) -> None:
        super().__init__()
        self._net = net

    async def getaddrinfo(self, host: Any, port: Any, **hints: Any) -> list[Any]:
        self._net.looked_up.append(host)
        host.encode("idna")  # as the real one does
        if host not in self._net.names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (_family(address), socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))
            for address in self._net.names[host]
        ]

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        self._net.sockets.append(sock)
        self._net.asked.append(address[0])
        await self._net.addresses.get(address[0], accepts)()


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
