"""Loops on which names below ``test`` mean this machine, so that no test asks a real resolver about them.

``absent.test`` has no address, ``hidden.test`` is looked up without end. Used by the fixtures of tests/wire.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Final

import uvloop

from tests.support.virtual import VirtualLoop

ABSENT: Final = "absent.test"
HIDDEN: Final = "hidden.test"


async def meant(host: Any) -> Any:
    """What to ask the real resolver for instead."""
    if host == HIDDEN:
        await asyncio.get_running_loop().create_future()
    if host == ABSENT:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return "127.0.0.1" if isinstance(host, str) and host.endswith(".test") else host


class NamedUvloop(uvloop.Loop):
    """The program's."""

    async def getaddrinfo(self, host: Any, port: Any, **hints: Any) -> Any:
        return await super().getaddrinfo(await meant(host), port, **hints)


class NamedSelectorLoop(asyncio.SelectorEventLoop):
    """asyncio's own."""

    async def getaddrinfo(self, host: Any, port: Any, **hints: Any) -> Any:
        return await super().getaddrinfo(await meant(host), port, **hints)


class NamedVirtualLoop(VirtualLoop):
    """With virtual time."""

    async def getaddrinfo(self, host: Any, port: Any, **hints: Any) -> Any:
        return await super().getaddrinfo(await meant(host), port, **hints)
