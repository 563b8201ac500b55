"""Tests of a body between its source and its sink."""

from __future__ import annotations

import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.clock import Clock
from proxy.errors import AgentGone, BodyTooLarge
from proxy.model import Ending, Headers
from proxy.wire.body import HIGH_WATER, Body
from tests.support import virtual
from tests.support.transports import BodySource
from tests.support.virtual import VirtualLoop, clock_of


class Recorder:
    """A sink that is full after ``room`` bytes."""

    def __init__(self, body: Body, room: float = float("inf")) -> None:
        self.body = body
        self.room = room
        self.data = b""
        self.ends: list[Ending] = []
        self.trailers: Headers | None = None

    def write(self, data: bytes) -> None:
        self.data += data
        if len(self.data) >= self.room:
            self.body.pause()

    def finish(self, trailers: Headers | None) -> None:
        self.trailers = trailers
        self.ends.append(Ending.COMPLETE)

    def fail(self, ending: Ending) -> None:
        self.ends.append(ending)


@pytest.fixture
def clock() -> Clock:
    loop = VirtualLoop()
    loop.close()
    return clock_of(loop)


def made(clock: Clock, length: int | None = None) -> tuple[Body, BodySource]:
    source = BodySource()
    return Body(source, length, clock), source


def test_what_came_before_the_sink_is_given_to_it(clock: Clock) -> None:
    """Nothing is lost while nobody is attached."""
    body, _ = made(clock)
    body.feed(b"a")
    body.feed(b"b")
    sink = Recorder(body)
    body.attach(sink)
    body.feed(b"c")
    body.finish(Headers.of((b"X", b"y")))
    assert (sink.data, sink.ends, sink.trailers) == (b"abc", [Ending.COMPLETE], Headers.of((b"X", b"y")))


def test_a_body_that_ended_first(clock: Clock) -> None:
    """A sink that comes late gets all, and the end."""
    body, _ = made(clock)
    body.feed(b"a")
    body.finish(None)
    assert body.ended
    sink = Recorder(body)
    body.attach(sink)
    assert (sink.data, sink.ends) == (b"a", [Ending.COMPLETE])


@pytest.mark.parametrize("ends_first", [True, False])
def test_a_body_that_has_ended_holds_nobody(clock: Clock, ends_first: bool) -> None:
    """A sink may hold all that came: it must not wait for the garbage collector, though the answer holds the body."""
    body, _ = made(clock)
    sink = Recorder(body)
    body.on_end = sink.ends.append
    if ends_first:
        body.finish(None)
    body.attach(sink)
    body.finish(None)
    assert sink.ends == [Ending.COMPLETE] * 2  # as a sink, and as who was to be told
    held = weakref.ref(sink)
    del sink
    assert held() is None


@pytest.mark.parametrize("ending", [Ending.BROKEN, Ending.STALLED, Ending.ABANDONED])
def test_a_body_that_failed_first(clock: Clock, ending: Ending) -> None:
    """A sink that comes late learns that the end will never come."""
    body, _ = made(clock)
    body.feed(b"a")
    body.fail(ending, BodyTooLarge())
    sink = Recorder(body)
    body.attach(sink)
    assert (sink.data, sink.ends) == (b"a", [ending])
    assert isinstance(body.error, BodyTooLarge)


def test_it_ends_once(clock: Clock) -> None:
    """Whatever comes after the end changes nothing."""
    body, _ = made(clock)
    endings: list[Ending] = []
    body.on_end = endings.append
    sink = Recorder(body)
    body.attach(sink)
    body.fail(Ending.BROKEN)
    body.fail(Ending.ABANDONED, AgentGone())
    body.finish(None)
    body.abandon()
    assert (endings, sink.ends, body.error) == ([Ending.BROKEN], [Ending.BROKEN], None)


def test_the_source_waits_for_a_sink(clock: Clock) -> None:
    """Without a sink one watermark is held; with one the source goes on."""
    body, source = made(clock)
    body.feed(b"x" * HIGH_WATER)
    assert source.reading
    body.feed(b"x")
    assert not source.reading
    body.attach(Recorder(body))
    assert source.reading


def test_the_source_waits_for_a_sink_that_is_filled_by_what_was_pending(clock: Clock) -> None:
    """A sink that is full of what was pending is waited for."""
    body, source = made(clock)
    body.feed(b"x" * (HIGH_WATER + 1))
    body.attach(Recorder(body, room=10))
    assert not source.reading
    body.resume()
    assert source.reading


def test_the_source_of_an_ended_body_is_left_to_read(clock: Clock) -> None:
    """A source goes on to other messages when this one has ended, however full the sink is."""
    for end in (lambda body: body.finish(None), lambda body: body.fail(Ending.BROKEN), Body.abandon):
        body, source = made(clock)
        body.attach(Recorder(body, room=1))
        body.feed(b"xx")
        assert not source.reading
        end(body)
        assert source.reading
        body.pause()
        assert source.reading


def test_abandoning(clock: Clock) -> None:
    """The source is told; the sink that abandons is not."""
    body, source = made(clock)
    sink = Recorder(body)
    body.attach(sink)
    body.abandon()
    assert (source.abandoned, sink.ends, body.ended) == (True, [], True)


@given(st.lists(st.binary(max_size=20), max_size=10), st.integers(0, 60), st.integers(0, 10), st.integers(0, 10))
def test_a_kept_body_can_be_had_again(pieces: list[bytes], keep: int, first: int, second: int) -> None:
    """A replayable body gives every sink the whole; one over the limit says that it is not replayable."""
    loop = VirtualLoop()
    loop.close()
    body, _ = made(clock_of(loop))
    body.keep(keep)
    sinks: list[Recorder] = []
    whole: list[bool] = []
    for index, piece in enumerate(pieces):
        if index in (min(first, second), max(first, second)):
            body.detach()
            whole.append(body.replayable)
            sinks.append(Recorder(body))
            body.attach(sinks[-1])
        body.feed(piece)
    for sink, complete in zip(sinks[-1:], whole[-1:], strict=True):
        if complete:
            assert sink.data == b"".join(pieces)


def test_no_limit_no_second_sink(clock: Clock) -> None:
    """Without ``keep`` a body is replayable until its first byte has been given away."""
    body, _ = made(clock)
    assert body.replayable
    body.feed(b"a")
    assert body.replayable
    body.attach(Recorder(body))
    assert not body.replayable


# --- limits ----------------------------------------------------------------------------------------------


def after(
    seconds: float, *, idle: float | None = None, whole: float | None = None, paused: bool = False
) -> list[Ending]:
    """How a body that got a byte every eight seconds, for half a minute, ended after ``seconds``."""

    async def scenario(clock: Clock) -> list[Ending]:
        body, _ = made(clock)
        sink = Recorder(body)
        body.attach(sink)
        body.limit(idle=idle, whole=whole)
        for _ in range(4):
            await clock.sleep(8.0)
            body.feed(b"x")
        if paused:
            body.pause()
        await clock.sleep(seconds - 32.0)
        return sink.ends

    return virtual.run(scenario)


@pytest.mark.parametrize(
    ("seconds", "limits", "endings"),
    [
        (41.0, {"idle": 10.0}, []),
        (42.1, {"idle": 10.0}, [Ending.STALLED]),
        (49.0, {"whole": 50.0}, []),
        (50.1, {"whole": 50.0}, [Ending.STALLED]),
        (42.1, {"idle": 10.0, "whole": 50.0}, [Ending.STALLED]),
        (50.1, {"idle": 100.0, "whole": 50.0}, [Ending.STALLED]),
        (42.1, {"idle": 10.0, "paused": True}, [Ending.ABANDONED]),
        (1000.0, {}, []),
    ],
)
def test_limits(seconds: float, limits: dict[str, float], endings: list[Ending]) -> None:
    """Progress moves the idle limit, nothing moves the whole; a sink that takes nothing is to blame itself."""
    assert after(seconds, **limits) == endings  # type: ignore[arg-type]


def test_a_body_that_is_not_wanted_yet_has_time() -> None:
    """While nobody is attached and the sender was told to wait, no time counts."""

    async def scenario(clock: Clock) -> None:
        body, source = made(clock)
        body.limit(idle=10.0, whole=None)
        body.feed(b"x" * (HIGH_WATER + 1))
        await clock.sleep(60.0)
        sink = Recorder(body)
        body.attach(sink)
        await clock.sleep(5.0)
        assert (sink.ends, source.abandoned) == ([], False)
        await clock.sleep(6.0)
        assert (sink.ends, source.abandoned) == ([Ending.STALLED], True)

    virtual.run(scenario)


def test_an_ended_body_has_no_limit() -> None:
    """A limit that is set after the end, or runs out after it, does nothing."""

    async def scenario(clock: Clock) -> None:
        body, source = made(clock)
        body.limit(idle=10.0, whole=None)
        body.finish(None)
        body.limit(idle=1.0, whole=1.0)
        await clock.sleep(60.0)
        assert not source.abandoned

    virtual.run(scenario)


def test_repr(clock: Clock) -> None:
    """A body shows its state and what it holds."""
    body, _ = made(clock)
    body.feed(b"abc")
    assert repr(body) == "<Body open pending=3 kept=0>"
    body.pause()
    assert repr(body) == "<Body paused pending=3 kept=0>"
    body.finish(None)
    assert repr(body) == "<Body complete pending=3 kept=0>"
