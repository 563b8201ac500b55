"""Tests of who looks on while a request body passes: all of it, once, whatever sinks there are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.clock import Clock
from proxy.model import Ending
from proxy.wire.body import Body
from tests.support.transports import BodySource
from tests.support.virtual import VirtualLoop, clock_of


def still() -> Clock:
    loop = VirtualLoop()
    loop.close()
    return clock_of(loop)


class Sink:
    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    def finish(self, trailers: object) -> None:
        """Nothing to do."""

    def fail(self, ending: Ending) -> None:
        """Nor here."""


@given(
    pieces=st.lists(st.binary(min_size=1, max_size=5), max_size=8),
    kept=st.integers(0, 8),
    tapped=st.integers(0, 8),
    sinks=st.sets(st.integers(0, 8)),
)
def test_all_of_it_is_seen_once(pieces: list[bytes], kept: int, tapped: int, sinks: set[int]) -> None:
    """What has come before is shown first, as long as none of it was given away and not kept."""
    body = Body(BodySource(), None, still())
    body.keep(1 << 20)
    seen: list[bytes] = []
    tapped, last = min(tapped, len(pieces)), Sink()
    for number in range(len(pieces) + 1):
        if number in sinks:
            last = Sink()
            body.attach(last)
        if number == tapped:
            body.tap(seen.append)
        if number == max(tapped, kept):
            body.keep(0)
        if number < len(pieces):
            body.feed(pieces[number])
    body.finish(None)
    assert b"".join(seen) == b"".join(pieces)


def test_it_is_seen_though_nobody_takes_it() -> None:
    """As it comes."""
    body = Body(BodySource(), None, still())
    seen: list[bytes] = []
    body.tap(seen.append)
    body.feed(b"ab")
    assert seen == [b"ab"]
    body.attach(Sink())
    body.feed(b"cd")
    assert seen == [b"ab", b"cd"]


@pytest.mark.parametrize(
    ("ending", "complete"),
    [(Ending.COMPLETE, True), (Ending.BROKEN, False), (Ending.STALLED, False), (Ending.ABANDONED, False)],
)
def test_whether_all_of_it_has_come(ending: Ending, complete: bool) -> None:
    """The last piece is not the end."""
    body = Body(BodySource(), None, still())
    body.feed(b"ab")
    assert not body.complete
    if ending is Ending.COMPLETE:
        body.finish(None)
    elif ending is Ending.ABANDONED:
        body.abandon()
    else:
        body.fail(ending)
    assert body.complete is complete
