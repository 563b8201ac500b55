"""The event loop of the process: uvloop, with lookups of names that hold nothing else up. Made by app.py.

uvloop looks names up on four threads of libuv's, which its end waits for: four names whose servers do not answer would
keep all others from being found, and the process from stopping.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from contextlib import suppress
from typing import Any, Final

import uvloop

_AT_ONCE: Final = 64  # lookups; more wait their turn, within the time that their calls have


class Loop(uvloop.Loop):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def getaddrinfo(self, host: Any, port: Any, **hints: Any) -> list[Any]:
        """See asyncio.AbstractEventLoop. Who gives up waiting leaves the lookup to end by itself."""
        await self._turns.acquire()
        found: asyncio.Future[list[Any]] = self.create_future()
        thread = threading.Thread(target=self._look_up, args=(found, host, port, hints), name="lookup", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # there are as many as the system allows
            self._turns.release()
            raise OSError(errno.EAGAIN, f"{error} to look it up") from None
        return await found

    def _look_up(self, found: asyncio.Future[list[Any]], host: Any, port: Any, hints: dict[str, Any]) -> None:
        result: list[Any] | BaseException
        try:
            result = list(socket.getaddrinfo(host, port, **hints))
        except Exception as error:  # noqa: BLE001 -- it is for whoever asked
            result = error
        with suppress(RuntimeError):  # the loop has been closed in the meantime
            self.call_soon_threadsafe(self._found, found, result)

    def _found(self, found: asyncio.Future[list[Any]], result: list[Any] | BaseException) -> None:
        self._turns.release()
        if found.done():
            return
        if isinstance(result, BaseException):
            found.set_exception(result)
        else:
            found.set_result(result)
