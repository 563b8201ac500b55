"""Tests of flight.py: who waits for a call, what each is given, when it ends for want of them, and who may join it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TypeVar

import pytest

from proxy.clock import Clock
from proxy.core.asked import asked
from proxy.core.stored import Variants
from proxy.errors import ConnectionReset
from proxy.flight import RELEASED, Flight, Flights, Read
from proxy.model import Ending, Exchange, Headers, Request, Response
from proxy.spool import Spool
from proxy.stores.shelf import Found
from tests.support.script import Flow
from tests.support.spooling import Reading, Upstream
from tests.support.virtual import VirtualLoop, clock_of, turn

T = TypeVar("T")

NOTHING = Found(None, None)


@pytest.fixture
def clock() -> Iterator[Clock]:
    loop = VirtualLoop()
    clock = clock_of(loop)
    yield clock
    loop.run_until_complete(clock.stop())
    loop.close()


def read(
    *fields: tuple[bytes, bytes],
    method: bytes = b"GET",
    key: str = "thing",
    whose: str = "alice",
    found: Found = NOTHING,
) -> Read:
    request = Request(method, b"/v1/thing", Headers.of(*fields))
    return Read(Exchange(request, "vendor", "default", 0.0), asked(request.headers), key, whose, found)


def flight(clock: Clock, of: Read | None = None) -> Flight:
    """A flight with a task that never ends by itself."""
    of = of or read()
    made = Flight(clock, of, of.exchange.branch(of.request))
    made.task = clock.spawn(asyncio.Event().wait(), "a call")
    clock.loop.run_until_complete(turn())
    return made


def cancelled(future: asyncio.Future[T]) -> asyncio.Future[T]:
    """As a future is when the task that waits for it is cancelled."""
    future.cancel()
    return future


def under_way(made: Flight) -> bool:
    """Whether its call goes on."""
    assert made.task is not None
    return not made.task.cancelling()


# --- the leader's answer ------------------------------------------------------------------------------------


def test_the_leader_gets_the_answer_once(clock: Clock) -> None:
    """A second answer finds nobody there, and changes nothing."""
    made = flight(clock)
    leader = made.lead()
    answer = Response(200, Headers())
    assert made.answer(answer)
    assert not made.answer(Response(500, Headers()))
    assert leader.result() is answer
    assert under_way(made)


def test_an_answer_for_nobody_is_said_to_be_so(clock: Clock) -> None:
    """A refresh has no leader, and a leader whose wait was cancelled is there no more."""
    made = flight(clock)
    assert not made.answer(Response(200, Headers()))
    made.lead().cancel()
    assert not made.answer(Response(200, Headers()))
    assert under_way(made)


def test_interim_answers_are_for_a_leader_that_waits(clock: Clock) -> None:
    """Once it has its answer, or has left, its connection may serve another call."""
    answered, left = flight(clock), flight(clock)
    for made in (answered, left):
        made.branch.inform = lambda _status, _headers: None
    answered.lead()
    answered.answer(Response(200, Headers()))
    left.leave(cancelled(left.lead()))
    assert answered.branch.inform is None
    assert left.branch.inform is None
    assert (under_way(answered), under_way(left)) == (True, False)


# --- the landing --------------------------------------------------------------------------------------------


def test_all_followers_get_the_landing(clock: Clock) -> None:
    """Those who wait, and those who come when it has landed already; the first landing counts."""
    made = flight(clock)
    waiting = [made.follow(), made.follow()]
    assert made.followers == 2
    made.land(RELEASED)
    made.land(ConnectionReset())
    late = made.follow()
    assert [each.result() for each in (*waiting, late)] == [RELEASED] * 3
    assert (made.landing, made.followers) == (RELEASED, 0)
    assert under_way(made)


def test_a_follower_that_waits_no_longer_is_given_nothing(clock: Clock) -> None:
    """Its future is over when the flight lands, and the others have theirs."""
    made = flight(clock)
    gone, waits = made.follow(), made.follow()
    gone.cancel()
    made.land(RELEASED)
    assert gone.cancelled()
    assert waits.result() is RELEASED
    assert under_way(made)


# --- leaving ------------------------------------------------------------------------------------------------


def test_when_the_last_leaves_the_call_ends(clock: Clock) -> None:
    """Not before: a leader and each follower have the same right to it."""
    made = flight(clock)
    leader, first, second = made.lead(), made.follow(), made.follow()
    made.leave(cancelled(first))
    made.leave(cancelled(leader))
    assert under_way(made)
    made.leave(cancelled(second))
    assert not under_way(made)


def test_a_leader_stays_when_its_followers_leave(clock: Clock) -> None:
    """The call is its own."""
    made = flight(clock)
    made.lead()
    made.leave(cancelled(made.follow()))
    assert under_way(made)


def test_a_call_wanted_behind_goes_on(clock: Clock) -> None:
    """What is stored is to be refreshed, whoever has left."""
    made = flight(clock)
    made.behind = True
    made.leave(cancelled(made.lead()))
    made.settle()
    assert under_way(made)


def test_an_answer_that_comes_as_the_leader_leaves_is_let_go(clock: Clock) -> None:
    """It was given in the same moment, before the leader could be told: its body must not be left to nobody."""
    made, flow = flight(clock), Flow()
    leader = made.lead()
    flow.response = Response(200, Headers(), stream=flow)
    assert made.answer(flow.response)
    made.leave(leader)
    assert flow.abandoned
    assert flow.response.ending is Ending.ABANDONED
    assert not under_way(made)


@pytest.mark.parametrize("how", ["error", "cancelled", "stored error", "nothing"])
def test_a_leader_may_leave_with_no_answer(clock: Clock, how: str) -> None:
    """It was told to stop waiting, or there is an error and nothing to let go of."""
    made = flight(clock)
    leader = made.lead()
    if how == "error":
        leader.set_exception(ConnectionReset())
    elif how == "cancelled":
        leader.cancel()
    elif how == "stored error":
        leader.set_result(ConnectionReset())
    made.leave(leader)
    assert not under_way(made)


def test_a_flight_not_begun_has_nothing_to_end(clock: Clock) -> None:
    """There is no task where a caller makes the call itself."""
    of = read()
    made = Flight(clock, of, of.exchange.branch(of.request))
    made.settle()
    assert made.landing is None


# --- a body that still comes --------------------------------------------------------------------------------


def spooled(clock: Clock) -> tuple[Flight, Upstream, Spool]:
    """A flight whose leader has the headers and reads."""
    made, source = flight(clock), Upstream()
    made.spool = spool = Spool(source, 100, None, clock)
    spool.on_reader_gone = made.settle
    source.attach(spool)
    return made, source, spool


def test_a_body_that_the_leader_reads_goes_on_without_followers(clock: Clock) -> None:
    """They may come and go as they like."""
    made, source, spool = spooled(clock)
    reading = Reading(spool.reader)
    spool.reader.attach(reading)
    made.leave(cancelled(made.follow()))
    source.feed(b"more")
    assert (reading.data, source.abandoned) == (b"more", False)
    assert under_way(made)


def test_a_body_that_nobody_wants_is_given_up(clock: Clock) -> None:
    """The leader has left in the midst of it, and nobody follows; the task has done its work by then."""
    made, source, spool = spooled(clock)
    spool.reader.abandon()
    assert source.abandoned
    assert spool.ending is Ending.ABANDONED
    assert under_way(made)


def test_a_body_goes_on_for_a_follower_until_it_leaves(clock: Clock) -> None:
    """The leader's leaving costs the follower nothing."""
    made, source, spool = spooled(clock)
    follower = made.follow()
    spool.reader.abandon()
    kept = not source.abandoned
    made.leave(cancelled(follower))
    assert (kept, source.abandoned) == (True, True)
    assert under_way(made)


# --- the table ----------------------------------------------------------------------------------------------


def test_an_added_flight_is_found_by_its_like(clock: Clock) -> None:
    """The same key, caller and method; it knows that others may join it."""
    flights, made = Flights(), flight(clock)
    assert not made.joint
    flights.add(made)
    assert made.joint
    assert flights.find(read()) is made
    others = (read(key="else"), read(whose="bob"), read(method=b"HEAD"))
    assert [flights.find(other) for other in others] == [None] * 3
    assert (len(flights), list(flights)) == (1, [made])
    assert under_way(made)


def test_where_answers_vary_only_the_same_variant_is_shared() -> None:
    """By the fields that the newest answer varied by; what those do not name makes no difference."""
    found = Found(None, Variants("nonce", ((b"accept-language",),)))
    german, french = (b"Accept-Language", b"de"), (b"Accept-Language", b"fr")
    agent = (b"User-Agent", b"curl")
    assert read(german, found=found).sharers == read(german, agent, found=found).sharers
    assert read(german, found=found).sharers != read(french, found=found).sharers
    assert read(german).sharers == read(french).sharers


def test_flights_of_one_key_go_one_by_one(clock: Clock) -> None:
    """Each is removed by itself; the last takes the key with it, and twice is as good as once."""
    flights, alice, bob = Flights(), flight(clock), flight(clock, read(whose="bob"))
    flights.add(alice)
    flights.add(bob)
    flights.remove(alice)
    flights.remove(alice)
    assert list(flights) == [bob]
    flights.remove(bob)
    flights.remove(bob)
    assert (len(flights), flights.find(read(whose="bob"))) == (0, None)
    assert (under_way(alice), under_way(bob)) == (True, True)


def test_a_later_flight_takes_the_place_of_an_earlier_one(clock: Clock) -> None:
    """The end of the earlier one does not remove the later one."""
    flights, earlier, later = Flights(), flight(clock), flight(clock)
    flights.add(earlier)
    flights.add(later)
    flights.remove(earlier)
    assert flights.find(read()) is later
    assert (under_way(earlier), under_way(later)) == (True, True)


def test_a_doomed_flight_goes_on_for_those_who_wait(clock: Clock) -> None:
    """It is found no more, and must not store; other keys know nothing of it, nor do flights that come later."""
    flights, made, other = Flights(), flight(clock), flight(clock, read(key="else"))
    follower = made.follow()
    flights.add(made)
    flights.add(other)
    flights.doom("thing")
    flights.doom("unheard of")
    assert (made.doomed, other.doomed, flights.find(read())) == (True, False, None)
    flights.add(later := flight(clock))
    flights.remove(made)
    assert (later.doomed, flights.find(read())) == (False, later)
    assert (follower.done(), [under_way(each) for each in (made, other, later)]) == (False, [True] * 3)


def test_they_say_what_they_are(clock: Clock) -> None:
    """For whoever debugs."""
    flights, made = Flights(), flight(clock)
    made.follow()
    flights.add(made)
    assert repr(flights) == "<Flights 1>"
    assert repr(made) == "<Flight under way, 1 followers>"
    made.land(RELEASED)
    assert repr(made) == "<Flight landed, 0 followers>"
    assert repr(RELEASED) == "<Released>"
    assert repr(made.read) == "<Read <Request GET b'/v1/thing'> uri-miss>"
    assert under_way(made)
