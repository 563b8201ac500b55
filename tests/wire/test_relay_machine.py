"""A relay driven by hand, in any order of events: what holds at every moment, and at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.clock import Clock
from proxy.wire.relay import FLUSH_SECONDS, HALF_CLOSED_SECONDS, RESET_SECONDS, Relay, Side
from tests.support.properties import examples
from tests.support.transports import FakeTransport

_NOW = 1000.0


class Peer(FakeTransport):
    """A transport whose other end does what a test says, where a real one could."""

    def __init__(self, *, half_closes: bool = True, broken: bool = False) -> None:
        super().__init__()
        self.half_closes = half_closes
        self.broken = broken  # its write_eof fails, as asyncio's does when the peer has reset
        self.side: Side | None = None
        self.said = b""
        self.lost = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        pass

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high == 0

    def can_write_eof(self) -> bool:
        return self.half_closes

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert self.state == "open", f"written to while {self.state}"
        super().write(data)

    def write_eof(self) -> None:
        assert self.state == "open", f"ended while {self.state}"
        if self.broken:
            raise OSError
        super().write_eof()

    @property
    def speaks(self) -> bool:
        """Whether anything that it sends is read."""
        return (
            self.reading and not self.lost and not self.is_closing() and self.side is not None and not self.side.ended
        )

    def say(self, data: bytes) -> None:
        if self.speaks and self.side is not None:
            self.said += data
            self.side.data_received(data)

    def end(self) -> None:
        if self.speaks and self.side is not None and not self.side.eof_received():
            self.close()

    def lose(self, error: Exception | None = None) -> None:
        if self.side is not None and not self.lost:
            self.lost = True
            self.state = "aborted"
            self.side.connection_lost(error)

    def clog(self) -> None:
        if self.state == "open" and self.side is not None and not self.side.clogged:
            self.side.pause_writing()

    def unclog(self) -> None:
        if not self.lost and self.side is not None and self.side.clogged:
            self.side.resume_writing()


class Driven:
    """A relay, and both of its transports."""

    def __init__(self, clock: Clock, agent: Peer | None = None, upstream: Peer | None = None) -> None:
        self.ends = 0
        self.relay = Relay(clock, memoryview(bytearray(64)), self._end)
        self.agent, self.upstream = agent or Peer(), upstream or Peer()
        self.upstream.side = self.relay.upstream
        self.relay.upstream.connection_made(self.upstream)

    def _end(self) -> None:
        self.ends += 1

    def begin(self) -> None:
        if self.agent.side is None and self.relay.state == "waiting":
            self.agent.side = self.relay.agent
            self.agent.said = b"early"
            self.relay.begin(self.agent, b"early")

    def check(self) -> None:
        """What holds at every moment."""
        relay, agent, upstream = self.relay, self.agent, self.upstream
        assert agent.said.startswith(upstream.written)
        assert upstream.said.startswith(agent.written)
        assert (relay.sent, relay.received) == (len(agent.said), len(upstream.said))
        if relay.state == "open":
            assert upstream.written == agent.said
            assert agent.written == upstream.said
            for one, other in ((agent, upstream), (upstream, agent)):
                assert one.reading != (other.side is not None and other.side.clogged)
        assert (relay.deadline < inf) == (relay.state in {"half-closed", "ending"} and not self.was_shut)
        assert self.ends == (relay.state == "ended")

    was_shut = False


@pytest.fixture(scope="module")
def clock() -> Iterator[Clock]:
    loop = asyncio.new_event_loop()
    yield Clock(loop, now=lambda: _NOW)
    loop.close()


_EVENTS = [
    (side, event) for side in ("agent", "upstream") for event in ("say", "end", "lose", "reset", "clog", "unclog")
]


@settings(max_examples=examples(100))
@given(
    st.lists(
        st.sampled_from([*_EVENTS, ("", "begin"), ("", "begin"), ("", "shut"), ("", "expire")]), min_size=3, max_size=25
    ),
    st.booleans(),
    st.booleans(),
)
def test_whatever_happens(clock: Clock, events: list[tuple[str, str]], half_closes: bool, broken: bool) -> None:
    """No byte is lost, doubled or out of turn while it is open; it ends once, when both sides are gone, and always."""
    driven = Driven(clock, Peer(half_closes=half_closes), Peer(broken=broken))
    for who, event in events:
        peer: Peer = driven.upstream if who == "upstream" else driven.agent
        match event:
            case "begin":
                driven.begin()
            case "shut" | "expire":
                driven.was_shut = True
                getattr(driven.relay, event)()
            case "say":
                peer.say(bytes([len(peer.said)]))
            case "reset":
                peer.lose(ConnectionResetError())
            case _:
                getattr(peer, event)()
        driven.check()
    driven.relay.shut()
    driven.agent.lose()
    driven.upstream.lose()
    assert (driven.relay.state, driven.ends, driven.relay.at_rest) == ("ended", 1, True)


def test_a_half_closed_relay_without_progress_expires(clock: Clock) -> None:
    """15 minutes after the last byte; a byte begins them anew."""
    driven = Driven(clock)
    driven.begin()
    assert driven.relay.deadline == inf
    driven.agent.end()
    assert (driven.relay.deadline, driven.upstream.state) == (_NOW + HALF_CLOSED_SECONDS, "eof")
    driven.relay.deadline = 0.0
    driven.upstream.say(b"progress")
    assert driven.relay.deadline == _NOW + HALF_CLOSED_SECONDS
    driven.relay.expire()
    assert (driven.agent.state, driven.upstream.state, driven.relay.deadline) == ("aborted", "aborted", inf)


def test_the_last_bytes_may_take_a_while_to_be_taken(clock: Clock) -> None:
    """Both have ended: what was written is flushed, for a time; after a reset for less."""
    driven = Driven(clock)
    driven.begin()
    driven.agent.end()
    driven.upstream.end()
    assert (driven.relay.state, driven.relay.deadline) == ("ending", _NOW + FLUSH_SECONDS)
    assert not driven.relay.at_rest
    driven = Driven(clock)
    driven.begin()
    driven.upstream.lose(ConnectionResetError())
    assert (driven.agent.state, driven.relay.deadline) == ("closing", _NOW + RESET_SECONDS)


def test_an_end_of_tls_closes_the_other_side(clock: Clock) -> None:
    """No half of it can be closed; and where one cannot be told to the other, both end."""
    driven = Driven(clock, agent=Peer(half_closes=False))
    driven.begin()
    driven.agent.end()
    assert driven.agent.state == "closing"
    driven.agent.lose()
    assert driven.upstream.state == "closing"
    driven = Driven(clock, agent=Peer(half_closes=False))
    driven.begin()
    driven.upstream.end()
    assert (driven.agent.state, driven.upstream.state) == ("closing", "closing")


def test_an_end_that_cannot_be_told(clock: Clock) -> None:
    """The other side has just been reset, which asyncio's transports find out by writing to it: both are."""
    driven = Driven(clock, upstream=Peer(broken=True))
    driven.begin()
    driven.agent.end()
    assert (driven.agent.state, driven.upstream.state) == ("closing", "closing")
    assert driven.relay.deadline == _NOW + RESET_SECONDS


def test_reading_that_somebody_resumed_stops_again(clock: Clock) -> None:
    """Whoever hands the connection over may resume it once more than it should."""
    driven = Driven(clock)
    driven.begin()
    driven.upstream.clog()
    driven.agent.resume_reading()
    driven.agent.say(b"one read, no more")
    assert not driven.agent.reading


def test_an_agent_that_is_slow_already(clock: Clock) -> None:
    """What was written to it before the relay began counts."""
    driven = Driven(clock)
    driven.agent.unsent = 5
    driven.begin()
    assert not driven.upstream.reading
    driven.agent.unclog()
    assert driven.upstream.reading
