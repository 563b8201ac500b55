"""Tests of owner.py: what the store and those who wait learn of a call that was made, however it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from proxy.clock import Clock
from proxy.core.credentials import partition
from proxy.core.idempotency import Answer, Concluded, Conclusion, Found, State
from proxy.core.retry import DO_NOT_REPEAT
from proxy.errors import AgentGone, BadRequest, CallError, ConnectFailed, ConnectionReset
from proxy.keyed import Asked, Keys
from proxy.ledger import RELEASED, Failed, Landing
from proxy.model import Effect, Ending, Exchange, Headers, Response
from proxy.owner import Owner
from proxy.stores.ledger_memory import MemoryLedger
from tests.support import virtual
from tests.support.caching import Reading, Torrent
from tests.support.keyed import KEY, call_of, means_of
from tests.support.virtual import turn

T = TypeVar("T")

ALICE = (b"Authorization", b"alice")
LARGE = b"eleven byte"


class Desk:
    """A call that is reserved, and its owner."""

    def __init__(self, clock: Clock, **settings: Any) -> None:
        self.clock = clock
        self.store = MemoryLedger(1 << 20, clock.now)
        self.means = means_of(clock, self.store, **({"max_body": 10} | settings))
        self.effect = Effect(honoured=False, repeatable=False)

    async def reserve(self, *, awaited: bool = True, shadow: bool = False, **more: Any) -> Owner:
        self.exchange: Exchange = call_of(self.clock, (KEY, b"one"), ALICE, **more)
        keys = Keys(self.means)
        asked = await keys.ask(self.exchange)
        assert isinstance(asked, Asked)
        self.asked = asked
        self.call = self.means.ledger.open(keys.claim(self.exchange, asked))
        assert (await self.means.ledger.reserve(self.call)).found is Found.OWNED
        self.exchange.effect = None if shadow else self.effect
        self.landing: asyncio.Future[Landing] = self.clock.loop.create_future()
        if awaited:
            self.call.follow(self.landing)
        return Owner(self.means, self.exchange, self.effect, asked, self.call)

    async def make(self, answer: Response | BaseException, *, written: bool = True, **more: Any) -> Response:
        """Make a call that ends like this."""
        owner = await self.reserve(**more)

        async def proceed(exchange: Exchange) -> Response:
            exchange.written |= written
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return await owner.make(proceed)

    def landed(self) -> Landing:
        """What those who waited got."""
        return self.landing.result()

    async def state(self) -> State | None:
        record = await self.store.look(self.asked.ident)
        return None if record is None else record.state


def scene(scenario: Callable[[Desk], Awaitable[T]], **settings: Any) -> T:
    return virtual.run(lambda clock: scenario(Desk(clock, **settings)))


def streaming(torrent: Torrent, status: int = 200) -> Response:
    response = Response(status, Headers.of((b"X", b"y")), b"OK", stream=torrent.body)
    torrent.body.on_end = response.end
    return response


# --- errors -------------------------------------------------------------------------------------------------------


def test_an_error_of_a_call_that_was_lost() -> None:
    """Nobody knows: nothing may stand in for it, and those who wait learn that."""

    async def scenario(desk: Desk) -> None:
        owner = await desk.reserve()
        assert repr(owner).startswith(f"<Owner of <Call {desk.asked.ident[:8]} owned, 1 waiting>")

        async def proceed(exchange: Exchange) -> Response:
            exchange.written = exchange.lost = True
            raise ConnectionReset

        with pytest.raises(ConnectionReset):
            await owner.make(proceed)
        assert desk.landed() == Conclusion(Concluded.UNKNOWN, desk.asked.fingerprint)
        assert (desk.effect.unknown, await desk.state()) == (True, State.UNKNOWN)

    scene(scenario)


@pytest.mark.parametrize("written", [False, True])
def test_an_error_of_a_call_of_which_nothing_is_in_the_dark(written: bool) -> None:
    """All who wait have it; each attempt that was sent was answered."""

    async def scenario(desk: Desk) -> None:
        error = ConnectFailed("no route", retry_after=3.0)
        with pytest.raises(ConnectFailed):
            await desk.make(error, written=written)
        landing = desk.landed()
        assert isinstance(landing, Failed)
        assert landing.error is not None
        assert (landing.error is not error, landing.response) == (True, None)
        assert (str(landing.error), landing.error.retry_after) == ("no route", 3.0)
        assert landing.error.__traceback__ is None, "its frames would hold all of the call"
        assert (desk.effect.unknown, await desk.state()) == (False, None)

    scene(scenario)


@pytest.mark.parametrize("error", [BadRequest(), AgentGone()])
def test_a_fault_of_the_agents_is_its_own(error: CallError) -> None:
    """Others see for themselves."""

    async def scenario(desk: Desk) -> None:
        with pytest.raises(type(error)):
            await desk.make(error)
        assert (desk.landed(), await desk.state()) == (RELEASED, None)

    scene(scenario)


@pytest.mark.parametrize("error", [ZeroDivisionError(), asyncio.CancelledError()])
@pytest.mark.parametrize("written", [False, True])
def test_what_was_not_foreseen_leaves_a_doubt_once_it_is_sent(error: BaseException, written: bool) -> None:
    """A defect, or an agent that left: nobody knows whether an answer would have come."""

    async def scenario(desk: Desk) -> None:
        with pytest.raises(type(error)):
            await desk.make(error, written=written)
        assert await desk.state() is (State.UNKNOWN if written else None)
        assert desk.landed() == (Conclusion(Concluded.UNKNOWN, desk.asked.fingerprint) if written else RELEASED)

    scene(scenario)


# --- whole answers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "written", "lost", "what"),
    [
        (200, True, False, Concluded.DONE),
        (404, True, False, Concluded.DONE),
        (500, True, False, Concluded.UNKNOWN),
        (503, True, True, Concluded.UNKNOWN),
        (200, True, True, Concluded.DONE),
    ],
)
def test_an_answer_says_what_became_of_the_call(status: int, written: bool, lost: bool, what: Concluded) -> None:
    """With all that went before; those who wait learn the same, and the answer if it is the outcome."""

    async def scenario(desk: Desk) -> None:
        owner = await desk.reserve()
        answer = Response(status, Headers.of((b"X", b"y")), b"Why", b"body")

        async def proceed(exchange: Exchange) -> Response:
            exchange.written, exchange.lost = written, lost
            return answer

        assert await owner.make(proceed) is answer
        kept = Answer(status, b"Why", ((b"X", b"y"),), b"body") if what is Concluded.DONE else None
        assert desk.landed() == Conclusion(what, desk.asked.fingerprint, status, kept)
        assert desk.effect.unknown is (what is Concluded.UNKNOWN)
        assert list(answer.headers)[1:] == (list(DO_NOT_REPEAT) if what is Concluded.UNKNOWN else [])
        assert desk.means.ledger.owned == 0

    scene(scenario)


def test_an_answer_that_may_be_repeated_does_not_forbid_it() -> None:
    """on_unknown: resend."""

    async def scenario(desk: Desk) -> None:
        desk.effect.repeatable = True
        response = await desk.make(Response(500, Headers()))
        assert (list(response.headers), desk.effect.unknown) == ([], True)

    scene(scenario)


@pytest.mark.parametrize(("body", "kept"), [(b"ten bytes.", True), (LARGE, False)])
def test_an_answer_is_kept_up_to_a_size(body: bytes, kept: bool) -> None:
    """Of a larger one the status is."""

    async def scenario(desk: Desk) -> None:
        response = await desk.make(Response(201, Headers(), b"", body))
        landing = desk.landed()
        assert isinstance(landing, Conclusion)
        assert (response.body, landing.status, landing.answer is not None) == (body, 201, kept)

    scene(scenario)


@pytest.mark.parametrize(("status", "written"), [(429, True), (200, False)])
def test_an_answer_to_a_call_that_was_not_carried_out_is_shared(status: int, written: bool) -> None:
    """By those who wait with the same credentials; also one that no upstream gave."""

    async def scenario(desk: Desk) -> None:
        answer = Response(status, Headers.of((b"X", b"y")), b"Why", b"body")
        await desk.make(answer, written=written)
        landing = desk.landed()
        assert isinstance(landing, Failed)
        assert landing.response is not None
        assert landing.whose == partition(Headers.of(ALICE))
        assert (landing.response.status, landing.response.body) == (status, b"body")
        assert landing.response.headers == answer.headers
        assert landing.response.headers is not answer.headers
        assert await desk.state() is None

    scene(scenario)


def test_whose_it_is_does_not_depend_on_what_is_added_for_the_vendor() -> None:
    """A field whose name sounds like a credential."""

    async def scenario(desk: Desk) -> None:
        owner = await desk.reserve()
        desk.exchange.request.headers = Headers.of(ALICE, (b"X-Dedup-Token", b"one"))
        await owner.make(_answers(Response(429, Headers())))
        landing = desk.landed()
        assert isinstance(landing, Failed)
        assert landing.whose == partition(Headers.of(ALICE))

    scene(scenario)


def _answers(response: Response) -> Callable[[Exchange], Awaitable[Response]]:
    async def proceed(exchange: Exchange) -> Response:
        exchange.written = True
        return response

    return proceed


def test_what_nobody_waits_for_is_not_copied() -> None:
    """Those who come later ask anew."""

    async def scenario(desk: Desk) -> None:
        await desk.make(Response(429, Headers(), b"", b"busy"), awaited=False)
        assert desk.call.landing is RELEASED

    scene(scenario)


# --- streams ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("early", [False, True])
def test_a_stream_is_kept_while_the_agent_gets_it(early: bool) -> None:
    """Though all of it may have come before anybody looked; the fields are those of the upstream."""

    async def scenario(desk: Desk) -> None:
        torrent = Torrent(desk.clock)
        torrent.feed(b"ab")
        answer = streaming(torrent)
        if early:
            torrent.finish()
        response = await desk.make(answer)
        response.headers.add(b"Added", b"by others")
        assert response.stream is not None
        reading = Reading(response.stream)
        if not early:
            assert (desk.landing.done(), desk.means.ledger.owned) == (False, 1)
            torrent.finish()
        kept = Answer(200, b"OK", ((b"X", b"y"),), b"ab")
        assert (reading.data, response.ending) == (b"ab", Ending.COMPLETE)
        assert desk.landed() == Conclusion(Concluded.DONE, desk.asked.fingerprint, 200, kept)

    scene(scenario)


def test_a_stream_that_is_too_large_is_not_kept() -> None:
    """Its end is known all the same, though nobody reads it."""

    async def scenario(desk: Desk) -> None:
        torrent = Torrent(desk.clock)
        response = await desk.make(streaming(torrent))
        response.discard()
        torrent.feed(LARGE)
        torrent.feed(LARGE)
        assert not torrent.over
        torrent.finish()
        assert desk.landed() == Conclusion(Concluded.DONE, desk.asked.fingerprint, 200)

    scene(scenario)


@pytest.mark.parametrize(
    ("status", "state"), [(200, State.UNKNOWN), (404, State.UNKNOWN), (500, State.UNKNOWN), (429, None)]
)
@pytest.mark.parametrize("early", [False, True])
def test_a_stream_that_breaks_off(status: int, state: State | None, early: bool) -> None:
    """It does not say what was done, unless its status says that nothing was: what is cut is shared with nobody."""

    async def scenario(desk: Desk) -> None:
        torrent = Torrent(desk.clock)
        torrent.feed(b"ab")
        answer = streaming(torrent, status)
        if early:
            torrent.breaks()
        await desk.make(answer)
        torrent.breaks()
        unknown = Conclusion(Concluded.UNKNOWN, desk.asked.fingerprint, status)
        assert (desk.landed(), await desk.state()) == (RELEASED if state is None else unknown, state)

    scene(scenario)


def test_a_stream_that_says_that_nothing_was_done_is_shared_when_it_is_whole() -> None:
    """Like any other answer that says so."""

    async def scenario(desk: Desk) -> None:
        torrent = Torrent(desk.clock)
        await desk.make(streaming(torrent, 429))
        torrent.feed(b"busy")
        torrent.finish()
        landing = desk.landed()
        assert isinstance(landing, Failed)
        assert landing.response is not None
        assert landing.response.body == b"busy"

    scene(scenario)


@pytest.mark.parametrize("shadow", [False, True])
def test_without_its_agent_a_stream_goes_on_unless_it_is_only_watched(shadow: bool) -> None:
    """mode: shadow changes nothing: the agent's leaving ends it."""

    async def scenario(desk: Desk) -> None:
        torrent = Torrent(desk.clock)
        response = await desk.make(streaming(torrent), shadow=shadow)
        torrent.feed(b"ab")
        response.discard()
        assert torrent.over is shadow
        torrent.finish()
        assert await desk.state() is State.DONE

    scene(scenario)


# --- requests that pass ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("complete", [False, True])
@pytest.mark.parametrize("lost", [False, True])
def test_a_large_request_is_known_at_the_end(complete: bool, lost: bool) -> None:
    """If all of it has passed by then, whether or not there was an answer."""

    async def scenario(desk: Desk) -> None:
        torrent = Torrent(desk.clock)
        torrent.feed(LARGE)
        owner = await desk.reserve(body=b"", stream=torrent)
        assert desk.asked.fingerprint == ""
        if complete:
            torrent.finish()

        async def proceed(exchange: Exchange) -> Response:
            exchange.written, exchange.lost = True, lost
            if lost:
                raise ConnectionReset
            return Response(200, Headers())

        await asyncio.gather(owner.make(proceed), return_exceptions=True)
        await turn()
        record = await desk.store.look(desk.asked.ident)
        assert record is not None
        assert len(record.fingerprint) == (32 if complete else 0)

    scene(scenario)
