"""Owns whether a server on which something is kept can be asked, so that one that is away costs calls nothing.

``redis.py``, ``ledger_redis.py`` and ``ledger_sqlite.py`` (its server is a file) ask through it. An operation has
``limit`` seconds. After one that failed for the server's sake the link is *down*: everything fails at once, and
``greet`` is tried, every ``pause`` seconds, until it succeeds; then the link is up again. It is tried at once after a
failure out of the blue: that was a connection, or this process, rather than the server. An operation that the server
refuses is no sign that it is away.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from proxy.clock import Clock
from proxy.stores.base import StoreError

T = TypeVar("T")
_log = logging.getLogger("backstay")

LIMIT: Final = 0.1  # seconds for an operation: a tenth of what a person notices, hundreds of times what it takes
PAUSE: Final = 1.0  # seconds between two questions whether the server is back


class Refused(StoreError):
    """The server is there, and does not do this."""


class Linked:
    """A store behind a link, which says for it whether it can be asked."""

    _link: Link

    @property
    def up(self) -> bool:
        """Whether it can be asked."""
        return self._link.up

    @property
    def why(self) -> str:
        """It cannot."""
        return self._link.why


class Link:
    """See the module. ``refusals`` are the exceptions with which the client tells that the server refused."""

    def __init__(
        self,
        name: str,
        clock: Clock,
        greet: Callable[[], Awaitable[None]],
        *,
        refusals: tuple[type[Exception], ...],
        connections: int,
        limit: float = LIMIT,
        pause: float = PAUSE,
    ) -> None:
        self.up = True  # until the server shows that it is away
        self.why = ""  # it is down
        self._name = name
        self._clock = clock
        self._greet = greet
        self._refusals = refusals
        self._limit = limit
        self._pause = pause
        self._room = asyncio.Semaphore(connections)
        self._fell = -math.inf  # monotonic seconds; the last time
        self._beginning = clock.spawn(self._begin(), f"{name} begins")
        self._returning = self._beginning

    def check(self, what: str) -> None:
        """Raises StoreError while the link is down."""
        if not self.up:
            raise StoreError(self._name, what, self.why)

    async def ask(self, what: str, work: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """What ``work`` gives, if the link is up and stays so. Raises StoreError."""
        self.check(what)
        if self._room.locked():
            await self._clock.wait(self._room.acquire(), self._limit, StoreError(self._name, what, "too much at once"))
        else:
            await self._room.acquire()
        try:
            self.check(what)
            return await self.attempt(what, work, *arguments)
        except Refused:
            raise
        except StoreError as error:
            self.fall(error.why)
            raise
        finally:
            self._room.release()

    async def attempt(self, what: str, work: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """What ``work`` gives within the limit, whether the link is up or not. Raises Refused, or StoreError."""
        late = StoreError(self._name, what, f"no answer in {self._limit * 1000:g} ms")
        try:
            return await self._clock.wait(work(*arguments), self._limit, late)
        except StoreError:
            raise
        except self._refusals as error:
            raise Refused(self._name, what, str(error)) from error
        except Exception as error:  # whatever a client makes of a server that is gone or talks nonsense
            raise StoreError(self._name, what, str(error) or type(error).__name__) from error

    def fall(self, why: str) -> None:
        """The server is not to be relied on: down until it has been greeted."""
        if not self.up:
            return
        self.up, self.why = False, why
        _log.warning("store down", extra={"store": self._name, "why": why})
        now = self._clock.now()
        again, self._fell = now - self._fell < self._pause, now
        self._returning = self._clock.spawn(self._return(self._pause if again else 0.0), f"{self._name} returns")

    async def _begin(self) -> None:
        """The first greeting tells whether the server is there, before a call depends on it.

        A second one decides: this process is still starting, and may have been too busy to hear the first answer.
        """
        try:
            await self._greet()
        except StoreError:
            try:
                await self._greet()
            except StoreError as error:
                self.fall(error.why)

    async def _return(self, pause: float) -> None:
        while True:
            await self._clock.sleep(pause)
            try:
                await self._greet()
                break
            except StoreError as error:
                self.why, pause = error.why, self._pause
        self.up, self.why = True, ""
        _log.info("store up", extra={"store": self._name})

    async def close(self) -> None:
        """Down for good."""
        self.up, self.why = False, "closed"
        tasks = {self._beginning, self._returning}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    def __repr__(self) -> str:
        return f"<Link {self._name} {'up' if self.up else f'down: {self.why}'}>"
