"""Whether a server can be asked, in virtual time: limits, falls, returns, and what is no fall."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from proxy.clock import Clock
from proxy.stores.base import StoreError
from proxy.stores.link import Link, Refused
from tests.support import virtual


class Server:
    """What a link asks: there, away, deaf, or refusing."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.state = "there"
        self.greeted: list[float] = []  # monotonic seconds
        self.busy = self.most = 0

    async def greet(self) -> None:
        self.greeted.append(self.clock.now())
        if self.state != "there":
            raise StoreError("server", "connect", self.state)

    async def answer(self, word: str = "yes", after: float = 0.0) -> str:
        self.busy += 1
        self.most = max(self.most, self.busy)
        try:
            await self.clock.sleep(after)
            match self.state:
                case "there":
                    return word
                case "refuses":
                    raise LookupError("no such command")
                case "deaf":
                    await self.clock.sleep(3_600.0)
            raise ConnectionError("gone")
        finally:
            self.busy -= 1


Scenario = Callable[[Link, Server, Clock], Awaitable[None]]


def run(scenario: Scenario, state: str = "there", connections: int = 4) -> None:
    """With a link to a server in this state, after its first greeting."""

    async def linked(clock: Clock) -> None:
        server = Server(clock)
        server.state = state
        link = Link("server", clock, server.greet, refusals=(LookupError,), connections=connections)
        await virtual.turn()
        await scenario(link, server, clock)
        await link.close()

    virtual.run(linked)


async def fails(link: Link, server: Server, why: str) -> None:
    with pytest.raises(StoreError, match=why) as caught:
        await link.ask("get", server.answer)
    assert (caught.value.store, caught.value.what) == ("server", "get")


def test_answers_pass() -> None:
    """What the server says is what the caller gets."""

    async def scenario(link: Link, server: Server, clock: Clock) -> None:
        assert await link.ask("get", server.answer, "word") == "word"
        assert link.up

    run(scenario)


def test_the_first_greeting_finds_a_server_that_is_away() -> None:
    """Before a call depends on it."""

    async def scenario(link: Link, server: Server, clock: Clock) -> None:
        assert not link.up
        assert link.why == "gone"

    run(scenario, state="gone")


def test_one_greeting_that_is_missed_at_the_start_is_no_fall(caplog: pytest.LogCaptureFixture) -> None:
    """A process that is busy with its own start does not take that for a server that is away."""

    async def linked(clock: Clock) -> None:
        server = Server(clock)

        async def greet() -> None:
            server.state = "there" if server.greeted else "no answer in 100 ms"
            await server.greet()

        link = Link("server", clock, greet, refusals=(LookupError,), connections=4)
        await virtual.turn()
        assert (link.up, len(server.greeted)) == (True, 2)
        await link.close()

    virtual.run(linked)
    assert caplog.messages == []


@pytest.mark.parametrize(("state", "why"), [("gone", "gone"), ("deaf", "no answer in 100 ms")])
def test_after_a_failure_everything_fails_at_once(state: str, why: str) -> None:
    """The first caller waits for a tenth of a second at most, the others for nothing; the server is left alone."""

    async def scenario(link: Link, server: Server, clock: Clock) -> None:
        server.state = state
        began = clock.now()
        await fails(link, server, why)
        assert clock.now() - began == pytest.approx(0.1 if state == "deaf" else 0.0)
        began, server.state = clock.now(), "there"
        await fails(link, server, why)
        assert clock.now() == began

    run(scenario)


def test_a_failure_without_words_has_a_name() -> None:
    """Some exceptions say nothing."""

    async def silent() -> None:
        raise EOFError

    async def scenario(link: Link, server: Server, clock: Clock) -> None:
        with pytest.raises(StoreError, match="server: get: EOFError"):
            await link.ask("get", silent)

    run(scenario)


def test_a_refusal_is_no_fall() -> None:
    """A server that says no is there."""

    async def scenario(link: Link, server: Server, clock: Clock) -> None:
        server.state = "refuses"
        with pytest.raises(Refused, match="no such command"):
            await link.ask("put", server.answer)
        assert link.up

    run(scenario)


def test_a_failure_out_of_the_blue_is_looked_into_at_once() -> None:
    """One broken connection of a server that is there costs no second."""

    async def scenario(link: Link, server: Server, clock: Clock) -> None:
        server.state = "gone"
        await fails(link, server, "gone")
        server.state = "there"
        await virtual.turn(5)
        assert link.up
        assert clock.now() == virtual.START

    run(scenario)


def test_a_server_that_is_away_is_asked_every_second() -> None:
    """From the failure on until it is back; no caller is needed for that."""

    async def scenario(link: Link, server: Server, clock: Clock) -> None:
        server.state = "gone"
        await fails(link, server, "gone")
        await clock.sleep(3.5)
        assert not link.up
        server.state = "there"
        await clock.sleep(0.6)
        assert link.up
        assert [moment - virtual.START for moment in server.greeted[1:]] == [0.0, 1.0, 2.0, 3.0, 4.0]

    run(scenario)


def test_a_server_that_greets_and_fails_is_not_asked_in_a_circle() -> None:
    """Its second failure within a second has to wait: no storm of greetings, nor of log lines."""

    async def scenario(link: Link, server: Server, clock: Clock) -> None:
        for _ in range(100):
            server.state = "gone"
            try:
                await link.ask("get", server.answer)
            except StoreError:
                server.state = "there"
            await clock.sleep(0.05)
        assert len(server.greeted) <= 1 + 10

    run(scenario)


def test_why_it_is_down_is_the_last_thing_that_was_seen() -> None:
    """The reason of the last greeting that failed."""

    async def scenario(link: Link, server: Server, clock: Clock) -> None:
        server.state = "gone"
        await fails(link, server, "gone")
        server.state = "loading"
        await clock.sleep(1.5)
        await fails(link, server, "loading")
        assert repr(link) == "<Link server down: loading>"

    run(scenario)


def test_its_falls_and_returns_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """A line each, however many callers met it."""

    async def scenario(link: Link, server: Server, clock: Clock) -> None:
        server.state = "gone"
        for _ in range(3):
            await fails(link, server, "gone")
        await clock.sleep(1.5)
        server.state = "there"
        await clock.sleep(1.0)

    caplog.set_level(logging.INFO, "backstay")
    run(scenario)
    assert [record.message for record in caplog.records] == ["store down", "store up"]


def test_no_more_is_asked_at_once_than_there_are_connections() -> None:
    """The others wait for their turn, and get it."""

    async def scenario(link: Link, server: Server, clock: Clock) -> None:
        answers = await asyncio.gather(*[link.ask("get", server.answer, "yes", 0.01) for _ in range(20)])
        assert answers == ["yes"] * 20
        assert server.most == 4

    run(scenario)


def test_who_waits_for_too_long_for_a_turn_goes_without() -> None:
    """Too much at once is not the server's fault: it stays up."""

    async def scenario(link: Link, server: Server, clock: Clock) -> None:
        asked = [link.ask("get", server.answer, "yes", 0.08) for _ in range(3)]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert outcomes[:2] == ["yes", "yes"]
        assert str(outcomes[2]) == "server: get: too much at once"
        assert link.up

    run(scenario, connections=1)


def test_who_waits_for_a_turn_while_the_server_falls_fails_with_it() -> None:
    """There is no point in asking it again."""

    async def scenario(link: Link, server: Server, clock: Clock) -> None:
        server.state = "gone"
        asked = [link.ask("get", server.answer, "yes", 0.05) for _ in range(3)]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert [str(outcome) for outcome in outcomes] == ["server: get: gone"] * 3
        assert server.most == 1
        assert clock.now() == pytest.approx(virtual.START + 0.05)

    run(scenario, connections=1)


@pytest.mark.parametrize("waiting", [True, False])
def test_a_cancelled_caller_leaves_its_turn_to_others(*, waiting: bool) -> None:
    """Whether it was waiting for its turn or for its answer; the server is not to blame."""

    async def scenario(link: Link, server: Server, clock: Clock) -> None:
        first = clock.spawn(link.ask("get", server.answer, "yes", 0.05), "first")
        second = clock.spawn(link.ask("get", server.answer, "yes", 0.0), "second")
        await virtual.turn()
        (second if waiting else first).cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        assert await link.ask("get", server.answer) == "yes"
        assert (link.up, server.busy) == (True, 0)

    run(scenario, connections=1)


def test_it_can_be_closed_up_and_down() -> None:
    """Nothing is asked any more, and nobody greets the server; twice is once."""

    async def scenario(link: Link, server: Server, clock: Clock) -> None:
        if server.state != "there":
            await fails(link, server, "gone")
        greeted = len(server.greeted)
        await link.close()
        await link.close()
        await clock.sleep(5.0)
        await fails(link, server, "closed")
        assert len(server.greeted) == greeted

    run(scenario)
    run(scenario, state="gone")
