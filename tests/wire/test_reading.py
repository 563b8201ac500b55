"""Tests of reading again: what TLS has decrypted already is asked for, and may prove to be broken."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.clock import Clock
from proxy.wire.reading import resume
from tests.support import virtual
from tests.support.transports import FakeTransport
from tests.support.virtual import turn


class Decrypted(FakeTransport):
    """A transport of TLS with something left to hand out."""

    def __init__(self, outcome: Callable[[], None]) -> None:
        super().__init__()
        self.reading = False
        self._outcome = outcome
        self.asked = 0

    def _do_read(self) -> None:
        assert self.reading
        self.asked += 1
        self._outcome()


def fails(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def fine() -> None:
    """Nothing is wrong with it."""


@pytest.mark.parametrize(
    ("outcome", "broken"),
    [(fine, 0), (fails(OSError("bad record mac")), 1), (fails(RuntimeError("unexpected SSL_read error")), 1)],
)
def test_what_is_decrypted_is_asked_for(outcome: Callable[[], None], broken: int) -> None:
    """In a turn of its own, behind whoever resumes; if it is broken, that is told, not raised."""

    async def scenario(clock: Clock) -> None:
        transport, told = Decrypted(outcome), list[int]()
        resume(transport, clock.loop, lambda: told.append(1))
        assert (transport.reading, transport.asked) == (True, 0)
        await turn()
        assert (transport.asked, len(told)) == (1, broken)

    virtual.run(scenario)


def test_what_is_closing_meanwhile_is_left_alone() -> None:
    """It hands nothing out any more."""

    async def scenario(clock: Clock) -> None:
        transport = Decrypted(fails(AssertionError()))
        resume(transport, clock.loop, fails(AssertionError()))
        transport.close()
        await turn()
        assert transport.asked == 0

    virtual.run(scenario)


def test_without_tls_there_is_nothing_to_ask_for() -> None:
    """Reading goes on, and that is all."""

    async def scenario(clock: Clock) -> None:
        transport = FakeTransport()
        transport.reading = False
        resume(transport, clock.loop, fails(AssertionError()))
        await turn()
        assert transport.reading

    virtual.run(scenario)
