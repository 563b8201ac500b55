"""Tests of the door of a connection that is one api's: what it takes from the listener, and what it tells of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxy.errors import Unsupported, WrongHost
from proxy.model import Headers, Request
from proxy.wire.bound import BoundDoor
from proxy.wire.listener import Listener
from proxy.wire.server import AgentConnection
from tests.support.captured import Caught
from tests.support.wire import OK


@pytest.fixture
async def listener(caught: Caught) -> Listener:
    await caught.start(OK, connections=3)
    return caught.stack.listener


@pytest.fixture
def door(listener: Listener) -> Iterator[BoundDoor]:
    door = BoundDoor(listener, "api", 443)
    yield door
    listener.draining = False


def request(host: bytes) -> Request:
    return Request(b"GET", b"/x", Headers(), host=host)


async def test_it_has_the_limits_of_the_listener(listener: Listener, door: BoundDoor) -> None:
    """Those that a reload, or a drain, may change while the connection is open are asked each time."""
    assert (door.header_limit, door.pseudonym, door.scratch) == (
        listener.header_limit,
        listener.pseudonym,
        listener.scratch,
    )
    assert (door.body_limit, door.draining) == (None, False)
    listener.body_limit, listener.draining = 10, True
    assert (door.body_limit, door.draining) == (10, True)
    assert repr(door) == "<BoundDoor api>"


async def test_it_says_when_its_connection_comes_and_goes(listener: Listener, door: BoundDoor) -> None:
    """Once each: before it asks for a place, since the one that it has may be given up for it, and when it has none."""
    connection, places = AgentConnection(door), list[int]()
    door.on_enter = door.on_leave = lambda: places.append(listener.connections)
    for _ in range(2):
        assert door.enter(connection)
    for _ in range(2):
        door.leave(connection)
    assert places == [1, 1]


async def test_it_leads_to_its_api_alone(door: BoundDoor) -> None:
    """The router is asked about this api and port; whether anything was asked for is known then."""
    assert not door.asked
    assert door.route(request(b"api.test")).api == "api"
    assert door.asked
    with pytest.raises(WrongHost):
        door.route(request(b"second.test"))


async def test_its_requests_are_counted_as_begun(listener: Listener, door: BoundDoor) -> None:
    """As those of any other connection: a process that lingers waits for them."""
    before = listener.begun
    door.route(request(b"api.test"))
    assert listener.begun == before + 1


async def test_it_leads_nowhere_else(listener: Listener, door: BoundDoor) -> None:
    """Not even by a tunnel to the api itself."""
    with pytest.raises(Unsupported):
        door.connect(AgentConnection(door), request(b"api.test:443"), b"")
    assert listener.connections == 1


async def test_what_it_rejects_is_counted(caught: Caught, door: BoundDoor) -> None:
    """As the listener would; and it is something that was asked for."""
    door.rejected(WrongHost(), b"GET")
    assert (caught.stack.refused, door.asked) == (["wrong_host"], True)
