"""A ledger of a process with its store, driven by hand in virtual time. For tests of ledger.py.

def test_something() -> None:
    async def scenario(desk: Desk) -> None:
        call = await desk.reserved()
        await desk.end(call, DONE)
        assert await desk.state() is State.DONE

    scene(scenario)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from proxy.clock import Clock
from proxy.core.idempotency import Answer, Concluded, Conclusion, Found, State
from proxy.ledger import RELEASED, Call, Landing, Ledger
from tests.support import virtual
from tests.support.remote import Remote, claim
from tests.support.virtual import turn

T = TypeVar("T")

GIVEN_BACK: Final = Conclusion(Concluded.RELEASED)
UNKNOWN: Final = Conclusion(Concluded.UNKNOWN)
DONE: Final = Conclusion(Concluded.DONE, "f", 201, Answer(201, b"Created", (), b"x"))


class Desk:
    """A ledger of a process, and its store."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.remote = Remote(clock)
        self.errors: list[None] = []  # one for each thing that the store could not be told
        self.ledger = Ledger(self.remote, clock, "e", lambda: self.errors.append(None))

    def open(self, ident: str = "a" * 32, **changes: Any) -> Call:
        return self.ledger.open(claim(ident, self.ledger.token(), **changes))

    async def reserved(self, ident: str = "a" * 32, **changes: Any) -> Call:
        """A call that this process is making."""
        call = self.open(ident, **changes)
        assert (await self.ledger.reserve(call)).found is Found.OWNED
        return call

    async def end(self, call: Call, conclusion: Conclusion) -> None:
        """As owner.py does it."""
        call.land(conclusion if conclusion.what is not Concluded.RELEASED else RELEASED)
        self.ledger.finish(call, conclusion)
        await turn(5)

    async def state(self, ident: str = "a" * 32) -> State | None:
        record = await self.remote.look(ident)
        return None if record is None else record.state


def scene(scenario: Callable[[Desk], Awaitable[T]]) -> T:
    """Play ``scenario`` in virtual time."""
    return virtual.run(lambda clock: scenario(Desk(clock)))


def follow(call: Call) -> asyncio.Future[Landing]:
    future: asyncio.Future[Landing] = asyncio.get_running_loop().create_future()
    call.follow(future)
    return future


def opened() -> asyncio.Event:
    """A gate that holds nobody up."""
    gate = asyncio.Event()
    gate.set()
    return gate
