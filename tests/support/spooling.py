"""A source, a reader and an owner for bodies that are held here (proxy/spool.py), driven by hand."""

from __future__ import annotations

from typing import Final

from proxy.clock import Clock
from proxy.model import Ending, Headers, Sink, Stream
from proxy.spool import Spool
from tests.support.virtual import VirtualLoop, clock_of

PATTERN: Final = b"".join(b"%08d" % number for number in range(200_000))  # tells where a byte belongs
MOODS: Final = ("take", "pause", "pause and resume", "abandon")


class Reading:
    """A sink that does what its mood says whenever it is given something."""

    def __init__(self, stream: Stream, mood: str = "take") -> None:
        self.stream = stream
        self.mood = mood
        self.pieces: list[bytes] = []
        self.ends: list[Ending] = []
        self.trailers: Headers | None = None

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)

    def write(self, data: bytes) -> None:
        assert data
        self.pieces.append(data)
        if self.mood.startswith("pause"):
            self.stream.pause()
        if self.mood == "pause and resume":
            self.stream.resume()
        if self.mood == "abandon":
            self.stream.abandon()

    def finish(self, trailers: Headers | None) -> None:
        self.trailers = trailers
        self.ends.append(Ending.COMPLETE)

    def fail(self, ending: Ending) -> None:
        self.ends.append(ending)


class Upstream:
    """A model.Stream driven by hand; ``eager`` is delivered as soon as it is resumed, or attached to."""

    def __init__(self, length: int | None = None) -> None:
        self.length = length
        self.progress = 0.0
        self.limits: list[tuple[float | None, float | None]] = []
        self.paused = False
        self.abandoned = False
        self.ended = False
        self.replayable = False
        self.eager: list[bytes] = []
        self.came = b""
        self._sink: Sink | None = None

    def feed(self, data: bytes) -> None:
        assert self._sink is not None
        self.came += data
        self._sink.write(data)

    def finish(self, trailers: Headers | None = None) -> None:
        self.ended = True
        assert self._sink is not None
        self._sink.finish(trailers)

    def fail(self, ending: Ending) -> None:
        self.ended = True
        assert self._sink is not None
        self._sink.fail(ending)

    def attach(self, sink: Sink) -> None:
        self._sink = sink
        self.resume()

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False
        while self.eager and not self.paused and not self.ended:
            self.feed(self.eager.pop())

    def abandon(self) -> None:
        assert not self.ended
        self.abandoned = True
        self.fail(Ending.ABANDONED)  # which a wire.Body would not say; the spool must not mind

    def keep(self, limit: int) -> None:
        raise NotImplementedError

    def limit(self, *, idle: float | None, whole: float | None) -> None:
        self.limits.append((idle, whole))


class Owner:
    """Who made the spool: hears what it is told, and notes the state it sees then."""

    def __init__(self, spool: Spool) -> None:
        self.settled: list[tuple[str, bytes]] = []
        self.gone: list[str] = []
        self.ends: list[Ending] = []
        spool.on_settled = lambda: self.settled.append((spool.state, spool.body))
        spool.on_reader_gone = lambda: self.gone.append(spool.state)
        spool.reader.on_end = self.ends.append


def still() -> Clock:
    """A clock that nobody turns."""
    loop = VirtualLoop()
    loop.close()
    return clock_of(loop)


def made(limit: int = 100, length: int | None = None) -> tuple[Spool, Upstream, Owner]:
    source = Upstream(length)
    spool = Spool(source, limit, None, still())
    owner = Owner(spool)
    source.attach(spool)
    return spool, source, owner


def reading(spool: Spool, mood: str = "take") -> Reading:
    sink = Reading(spool.reader, mood)
    spool.reader.attach(sink)
    return sink
