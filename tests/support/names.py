"""Loops on which names below ``test`` mean this machine, and other names nothing: no test asks a real resolver.

``absent.test`` has no address either, ``twice.test`` has two, ``hidden.test`` is looked up without end. For the
fixtures of tests/wire.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import uvloop

from proxy.core.addresses import literal
from tests.support.virtual import VirtualLoop

ABSENT: Final = "absent.test"
HIDDEN: Final = "hidden.test"
TWICE: Final = "twice.test"


Found: TypeAlias = list[Any]


async def look_up(real: Callable[..., Awaitable[Found]], host: Any, port: Any, **hints: Any) -> Found:
    """What a loop answers, with ``real`` to ask about addresses."""
    if host == HIDDEN:
        await asyncio.get_running_loop().create_future()
    if host is None or host == "localhost" or literal(host) is not None:
        return await real(host, port, **hints)
    if host == ABSENT or not host.endswith(".test"):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    found = await real("127.0.0.1", port, **hints)
    return [*found, *await real("127.0.0.2", port, **hints)] if host == TWICE else found


class NamedUvloop(uvloop.Loop):
    """The program's."""

    async def getaddrinfo(self, host: Any, port: Any, **hints: Any) -> Any:
        return await look_up(super().getaddrinfo, host, port, **hints)


class NamedSelectorLoop(asyncio.SelectorEventLoop):
    """asyncio's own."""

    async def getaddrinfo(self, host: Any, port: Any, **hints: Any) -> Any:
        return await look_up(super().getaddrinfo, host, port, **hints)


class NamedVirtualLoop(VirtualLoop):
    """With virtual time."""

    async def getaddrinfo(self, host: Any, port: Any, **hints: Any) -> Any:
        return await look_up(super().getaddrinfo, host, port, **hints)
