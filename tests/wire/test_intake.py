"""Tests of a request body on its way in; the same over sockets is in test_limits.py."""

from __future__ import annotations

import pytest

from proxy.errors import BodyTooLarge
from proxy.model import Ending, Headers
from proxy.wire.body import Body
from proxy.wire.framing import CHUNKED
from proxy.wire.head import Malformed
from proxy.wire.intake import Intake
from tests.support.virtual import VirtualLoop, clock_of


class Agent:
    """The source of the body."""

    def pause_body(self) -> None: ...
    def resume_body(self) -> None: ...
    def abandon_body(self) -> None: ...


class Sink:
    def __init__(self) -> None:
        self.data = b""
        self.end: object = None

    def write(self, data: bytes) -> None:
        self.data += data

    def finish(self, trailers: Headers | None) -> None:
        self.end = trailers or Ending.COMPLETE

    def fail(self, ending: Ending) -> None:
        self.end = ending


def flowing(length: int, limit: int | None = None) -> tuple[Intake, Body, Sink]:
    loop = VirtualLoop()
    loop.close()
    intake, sink = Intake(length, 100, limit), Sink()
    intake.body = body = Body(Agent(), None, clock_of(loop))
    body.attach(sink)
    return intake, body, sink


def test_a_body_is_passed_on_as_it_comes() -> None:
    """Payload and end go to the body; what is behind comes back."""
    intake, _, sink = flowing(6)
    for piece, behind in ((b"abc", b""), (b"", b""), (b"defGET", b"GET")):
        payload, rest = intake.cut(piece)
        intake.pass_on(payload)
        assert rest == behind
    assert (sink.data, sink.end, intake.complete, intake.received) == (b"abcdef", Ending.COMPLETE, True, 6)
    assert repr(intake) == "<Intake complete received=6>"


def test_trailers_are_passed_on() -> None:
    """They come with the end."""
    intake, _, sink = flowing(CHUNKED)
    intake.pass_on(intake.cut(b"1\r\na\r\n0\r\nX: y\r\n\r\n")[0])
    assert sink.end == intake.trailers == Headers.of((b"X", b"y"))


def test_a_body_over_the_limit() -> None:
    """Bytes are counted as payload, over all pieces."""
    intake, _, _ = flowing(CHUNKED, limit=4)
    intake.cut(b"4\r\nabcd\r\n")
    assert repr(intake) == "<Intake open received=4>"
    with pytest.raises(BodyTooLarge):
        intake.cut(b"1\r\ne\r\n")


def test_a_malformed_body() -> None:
    """The reader's word is final."""
    intake, _, _ = flowing(CHUNKED)
    with pytest.raises(Malformed):
        intake.cut(b"zz\r\n")


def test_a_forsaken_body_is_still_framed() -> None:
    """Nobody gets the rest, but its end is found; the body has ended once."""
    intake, body, sink = flowing(6)
    intake.pass_on(intake.cut(b"abc")[0])
    intake.forsake()
    intake.forsake()
    assert body.ended
    payload, rest = intake.cut(b"defGET")
    intake.pass_on(payload)
    assert (intake.complete, rest) == (True, b"GET")
    assert (sink.data, sink.end) == (b"abc", None), "a sink is not told of what it has not asked to know"


def test_a_body_that_ended_is_not_forsaken() -> None:
    """Its end stands."""
    intake, body, sink = flowing(3)
    intake.pass_on(intake.cut(b"abc")[0])
    intake.forsake()
    assert (body.ended, sink.end) == (True, Ending.COMPLETE)
