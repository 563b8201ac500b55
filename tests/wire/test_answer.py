"""Tests of answers as bytes: whatever the answer, the agent can tell where it ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.clock import Clock
from proxy.model import Headers, Response
from proxy.wire.answer import Framing, encode_answer_head, encode_whole_body
from proxy.wire.body import Body
from tests.support.virtual import VirtualLoop, clock_of


@pytest.fixture
def clock() -> Clock:
    loop = VirtualLoop()
    loop.close()
    return clock_of(loop)


class Nobody:
    def pause_body(self) -> None: ...
    def resume_body(self) -> None: ...
    def abandon_body(self) -> None: ...


def answer(clock: Clock, kind: str) -> Response:
    """An answer that is whole, streams, ends in trailers, or announces its length."""
    headers = Headers.of((b"Content-Length", b"3")) if kind == "announced" else Headers()
    stream = Body(Nobody(), None, clock) if kind == "stream" else None
    response = Response(200, headers, b"OK", b"" if stream else b"abc", stream)
    response.trailers = Headers.of((b"X", b"y")) if kind == "trailers" else None
    return response


LENGTH, CHUNKED = b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n"
KEEP, CLOSE = b"Connection: keep-alive\r\n", b"Connection: close\r\n"


@pytest.mark.parametrize(
    ("kind", "method", "http10", "fields", "framing"),
    [
        ("announced", b"GET", False, LENGTH, Framing.ANNOUNCED),
        ("announced", b"GET", True, LENGTH + KEEP, Framing.ANNOUNCED),
        ("whole", b"GET", False, LENGTH, Framing.ANNOUNCED),
        ("whole", b"HEAD", False, b"", Framing.ANNOUNCED),
        ("stream", b"GET", False, CHUNKED, Framing.CHUNKED),
        ("stream", b"GET", True, CLOSE, Framing.UNTIL_CLOSE),
        ("trailers", b"GET", False, CHUNKED, Framing.CHUNKED),
        ("trailers", b"GET", True, LENGTH + KEEP, Framing.ANNOUNCED),
    ],
)
def test_framing(clock: Clock, *, kind: str, method: bytes, http10: bool, fields: bytes, framing: Framing) -> None:
    """What the answer's own fields do not say is added; HTTP/1.0 gets no chunks."""
    head = encode_answer_head(answer(clock, kind), method, http10=http10, close=False)
    assert head == (b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n", framing)


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body(clock: Clock, status: int) -> None:
    """They need no framing."""
    response = Response(status, Headers.of((b"ETag", b"x")), b"")
    head, framing = encode_answer_head(response, b"GET", http10=False, close=True)
    assert (head, framing) == (b"HTTP/1.1 %d \r\nETag: x\r\n" % status + CLOSE + b"\r\n", Framing.ANNOUNCED)


class Pipe:
    """A tunnel that leads nowhere."""

    def write(self, data: bytes) -> None:
        """See model.Tunnel."""

    def on_pressure(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        """See model.Tunnel."""


def test_a_switch_has_the_fields_it_came_with() -> None:
    """Its Connection field says Upgrade, whether or not the connection ends with it."""
    response = Response(101, Headers.of((b"Connection", b"Upgrade")), b"X")
    response.tunnel = Pipe()
    head, _ = encode_answer_head(response, b"GET", http10=False, close=True)
    assert head == b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\n\r\n"


def test_whole_bodies(clock: Clock) -> None:
    """A body that is complete is chunked only for the sake of its trailers."""
    assert encode_whole_body(answer(clock, "whole"), Framing.ANNOUNCED) == b"abc"
    assert encode_whole_body(answer(clock, "trailers"), Framing.CHUNKED) == b"3\r\nabc\r\n0\r\nX: y\r\n\r\n"
    empty = Response(200, Headers(), b"OK")
    assert encode_whole_body(empty, Framing.CHUNKED) == b"0\r\n\r\n"
