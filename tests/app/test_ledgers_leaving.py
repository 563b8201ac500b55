"""Tests of ledgers.py: calls that began with a ledger which a reload has let go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proxy.clock import Clock
from proxy.core.idempotency import Concluded, Conclusion, Found, State
from proxy.ledger import Call, Ledger
from proxy.ledgers import Ledgers
from proxy.telemetry.metrics import Registry
from tests.support import virtual
from tests.support.remote import Remote, claim
from tests.support.virtual import turn

UNKNOWN = Conclusion(Concluded.UNKNOWN)


class Left:
    """A ledger that was let go with a call under way, and the ledgers that it was one of."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.remote = Remote(clock)
        self.ledgers = Ledgers(clock, Registry())
        self._ledger = Ledger(self.remote, clock, "e")
        self.ledgers._ledgers["shared"] = self._ledger

    async def begin(self) -> Call:
        call = self._ledger.open(claim("a" * 32, self._ledger.token()))
        assert (await self._ledger.reserve(call)).found is Found.OWNED
        self.ledgers.drop_unused()
        assert self.ledgers.stores == {}
        return call

    def ask(self) -> Call:
        return self._ledger.open(claim("a" * 32, self._ledger.token()))

    def know(self, call: Call) -> None:
        self._ledger.close(call, UNKNOWN)

    def end(self, call: Call) -> None:
        call.land(UNKNOWN)
        self._ledger.finish(call, UNKNOWN)


def scene(scenario: Callable[[Left], Any]) -> None:
    virtual.run(lambda clock: scenario(Left(clock)))


def test_the_end_of_the_process_waits_for_them_too() -> None:
    """Their agents may have left: nobody else knows of them. Once they have ended their store is closed."""

    async def scenario(left: Left) -> None:
        call = await left.begin()
        await left.clock.sleep(60.0)
        assert (left.ledgers.under_way, left.remote.closed) == (1, False)
        left.end(call)
        await turn(6)
        assert left.ledgers.under_way == 0
        await left.clock.sleep(1.0)
        assert left.remote.closed

    scene(scenario)


def test_those_who_ask_for_what_is_made_elsewhere_are_answered() -> None:
    """It would be away for them, although it is there."""

    async def scenario(left: Left) -> None:
        call = left.ask()
        left.ledgers.drop_unused()
        await left.clock.sleep(60.0)
        assert not left.remote.closed
        left.know(call)
        await left.clock.sleep(1.0)
        assert left.remote.closed

    scene(scenario)


def test_at_the_end_they_may_say_how_they_ended() -> None:
    """As those of the others, within two seconds; their store is closed once."""

    async def scenario(left: Left) -> None:
        call = await left.begin()
        closing = left.clock.loop.create_task(left.ledgers.close())
        await left.clock.sleep(1.5)
        left.end(call)
        await closing
        record = await left.remote.look("a" * 32)
        assert record is not None
        assert (record.state, left.remote.closed) == (State.UNKNOWN, True)
        await left.clock.sleep(5.0)
        assert left.clock._tasks == set()

    scene(scenario)
