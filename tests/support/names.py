"""Loops on which names below ``test`` mean this machine, and other names nothing: no test asks a real resolver.

``absent.test`` has no address either, ``hidden.test`` is looked up without end. Used by the fixtures of tests/wire.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Final

import uvloop

from proxy.core.addresses import literal
from tests.support.virtual import VirtualLoop

ABSENT: Final = "absent.test"
HIDDEN: Final = "hidden.test"


async def meant(host: Any) -> Any:
    """What to look up instead: nothing that takes a thread, for which virtual time would not wait."""
    if host == HIDDEN:
        await asyncio.get_running_loop().create_future()
    if host is None or host == "localhost" or literal(host) is not None:
        return host
    if host == ABSENT or not host.endswith(".test"):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return "127.0.0.1"


class NamedUvloop(uvloop.Loop):
    """The program's."""

    async def getaddrinfo(self, host: Any, port: Any, **hints: Any) -> Any:
        return socket.getaddrinfo(await meant(host), port, **hints)


class NamedSelectorLoop(asyncio.SelectorEventLoop):
    """asyncio's own."""

    async def getaddrinfo(self, host: Any, port: Any, **hints: Any) -> Any:
        return socket.getaddrinfo(await meant(host), port, **hints)


class NamedVirtualLoop(VirtualLoop):
    """With virtual time."""

    async def getaddrinfo(self, host: Any, port: Any, **hints: Any) -> Any:
        return socket.getaddrinfo(await meant(host), port, **hints)
