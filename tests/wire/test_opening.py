"""Tests of the beginning of a captured connection, by hand: what it waits for, how long, and what it holds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any

import pytest

from proxy.clock import Clock
from proxy.core.first_bytes import First, Kind
from proxy.wire.listener import Listener
from proxy.wire.opening import HELD, Opening
from proxy.wire.server import AgentConnection
from tests.support import virtual
from tests.support.hello import real
from tests.support.transports import FakeTransport
from tests.support.virtual import START, turn

LIMIT = 1000  # bytes of a head
REQUEST = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"


class Stage:
    """An opening on a transport that the test drives."""

    def __init__(self, clock: Clock, *, places: int = 1, limit: int = LIMIT) -> None:
        nobody: Any = None
        self.clock = clock
        self.listener = Listener(
            clock, nobody, nobody, memoryview(bytearray(100)), pseudonym=b"me", max_connections=places,
            header_limit=limit, body_limit=None,
        )  # fmt: skip
        self.calls: list[str] = []
        self.opening = Opening(self.listener, lambda: self.calls.append("made"), lambda: self.calls.append("lost"))
        self.transport = FakeTransport()
        self.opening.connection_made(self.transport)
        self.found: First | None = None

    def look(self, *, whole: bool = False, patience: float | None = None) -> asyncio.Task[First | None]:
        return self.clock.loop.create_task(self.opening.look(whole=whole, patience=patience))


def staged(scenario: Callable[[Stage], Awaitable[None]], **options: Any) -> None:
    async def run(clock: Clock) -> None:
        await scenario(Stage(clock, **options))

    virtual.run(run)


@pytest.mark.parametrize(
    ("data", "kind"),
    [(REQUEST, Kind.HTTP1), (real("a.test"), Kind.TLS), (b"\x00", Kind.OPAQUE), (b"SSH-2.0-x\r\n", Kind.OPAQUE)],
)
def test_what_it_is_told_as_soon_as_it_is_sure(data: bytes, kind: Kind) -> None:
    """Byte by byte, as it may come."""

    async def scenario(stage: Stage) -> None:
        looking = stage.look(whole=True)
        for each in data:
            assert not looking.done() or kind is Kind.OPAQUE
            stage.opening.data_received(bytes([each]))
            await turn()
        found = await looking
        assert found is not None
        assert (found.kind, stage.opening.data, stage.clock.now()) == (kind, data, START)

    staged(scenario)


def test_the_line_of_a_request_is_enough_unless_its_host_is_asked_for() -> None:
    """For an api that is known, the head is for the strict parser to wait for."""

    async def scenario(stage: Stage) -> None:
        stage.opening.data_received(REQUEST[:-2])
        line = await stage.look()
        whole = stage.look(whole=True)
        await turn()
        assert line is not None
        assert (line.kind, line.host, whole.done()) == (Kind.HTTP1, None, False)
        stage.opening.data_received(REQUEST[-2:])
        found = await whole
        assert found is not None
        assert found.host == b"a"

    staged(scenario)


def test_silence_is_waited_for_as_long_as_is_said() -> None:
    """Not a byte: None. With one, patience is over, and the time to go on begins with it."""

    async def scenario(stage: Stage) -> None:
        assert await stage.look(patience=0.25) is None
        assert START + 0.25 <= stage.clock.now() <= START + 0.3
        looking = stage.look(patience=100.0)
        await stage.clock.sleep(50.0)
        assert stage.opening.deadline == inf
        stage.opening.data_received(b"\x16\x03")
        await stage.clock.sleep(1.0)
        assert stage.opening.deadline == pytest.approx(START + 60.25, abs=0.1)
        stage.opening.data_received(real("a.test")[2:])
        assert await looking is not None
        assert stage.opening.deadline == inf

    staged(scenario)


@pytest.mark.parametrize("data", [b"ruok", b"PRI * HT", b"GET /", b"\r\n"])
def test_a_pause_within_what_might_become_a_request_ends_it(data: bytes) -> None:
    """After two seconds it was a message of its own."""

    async def scenario(stage: Stage) -> None:
        looking = stage.look(patience=0.25)
        stage.opening.data_received(data[:1])
        await stage.clock.sleep(1.0)
        stage.opening.data_received(data[1:])
        found = await looking
        assert found is not None
        assert found.kind is Kind.OPAQUE
        assert 2.0 <= stage.clock.now() - START <= 3.1

    staged(scenario)


def test_a_pause_within_tls_or_a_head_does_not() -> None:
    """What they are is sure; who does not go on is cut, when the deadline has passed."""

    async def scenario(stage: Stage) -> None:
        for data in (b"\x16\x03\x01\x02\x00\x01", REQUEST[:20]):
            stage.opening.data = data
            looking = stage.look(whole=True, patience=0.25)
            await stage.clock.sleep(5.0)
            assert not looking.done()
            assert stage.opening.deadline == START + 10.0
            looking.cancel()
        stage.opening.expire()
        assert (stage.transport.state, stage.listener.connections) == ("aborted", 0)

    staged(scenario)


def test_the_other_side_may_speak_first() -> None:
    """Before it is looked, or while it is."""

    async def scenario(stage: Stage) -> None:
        looking = stage.look(patience=5.0)
        await turn()
        stage.opening.other_side_spoke()
        assert await looking is None
        stage.opening.data_received(REQUEST)
        assert await stage.look() is None
        assert stage.clock.now() == START

    staged(scenario)


@pytest.mark.parametrize("data", [b"GE", b"\x16\x03", REQUEST[:-2]])
def test_an_end_makes_it_opaque(data: bytes) -> None:
    """More will not come; an agent that has said something may still want to hear."""

    async def scenario(stage: Stage) -> None:
        looking = stage.look(whole=True)
        stage.opening.data_received(data)
        await turn()
        assert stage.opening.eof_received()
        found = await looking
        assert found is not None
        assert found.kind is Kind.OPAQUE

    staged(scenario)


def test_an_end_without_a_word_is_an_end() -> None:
    """The transport closes, and whoever waits is told when it is lost."""

    async def scenario(stage: Stage) -> None:
        assert not stage.opening.eof_received()
        stage.opening.connection_lost(None)
        assert (stage.calls, stage.opening.at_rest, stage.listener.connections) == (["made", "lost"], True, 0)
        assert repr(stage.opening) == "<Opening released 0 bytes>"

    staged(scenario)


@pytest.mark.parametrize(("limit", "most"), [(LIMIT, HELD), (HELD * 3, HELD * 3)])
def test_what_is_held_is_bounded(limit: int, most: int) -> None:
    """By the largest head that may come, but not by less than a read; beyond it, reading is paused."""

    async def scenario(stage: Stage) -> None:
        stage.opening.data_received(b"\x16\x03\x01" + b"\x00" * (most - 3))
        assert stage.transport.reading
        stage.opening.buffer_updated(len(stage.opening.get_buffer(-1)))
        assert not stage.transport.reading
        found = await stage.look(whole=True)
        assert found is not None
        assert found.kind is Kind.OPAQUE

    staged(scenario, limit=limit)


def test_one_too_many() -> None:
    """It is cut at once, takes no place, and nobody is told."""

    async def scenario(stage: Stage) -> None:
        assert (stage.calls, stage.transport.state, stage.opening.held) == ([], "aborted", False)
        assert not stage.listener._excess
        stage.opening.connection_lost(None)
        assert stage.calls == ["lost"]

    staged(scenario, places=0)


def test_it_is_given_to_another() -> None:
    """The next protocol is made, and reading goes on."""

    async def scenario(stage: Stage) -> None:
        stage.opening.pause_writing()
        stage.opening.resume_writing()
        stage.transport.reading = False
        stage.opening.release()
        stage.opening.release()
        connection = AgentConnection(stage.listener)
        stage.opening.give_to(connection)
        held_by: list[object] = [stage.transport.protocol, connection.transport]
        assert held_by == [connection, stage.transport]
        assert (stage.transport.reading, stage.listener.connections) == (True, 1)

    staged(scenario)
