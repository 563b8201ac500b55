"""The plot of the demonstration: which phase it is, when each call starts, and what becomes of it.

Used by the vendors, the screen and the verdict. Pure: the same seed gives the same story.

The fate of a request follows from the seed, the number of the call and how often that call has come to
this vendor before. So both vendors treat the first try of a call alike, and a retry gets a draw of its own.

    healthy    every call is answered in 20 to 60 ms
    flaky      12% are answered with 503, 5% are never answered, 4% are answered late
    healthy    a lull, so that the retries of flaky calls do not run into the outage and blur both
    outage     half are answered with 503, half are never answered
    recovered  as healthy

The price list is read again and again, so a read has no number: its fate follows from how often it was read here.
"""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass, field
from typing import Final

from proxy.demo import DURATION

READ_EACH: Final = 2
"""How many calls of an agent there are to one read of the price list."""
PRICES: Final = -1
"""The number under which the price list has its fate."""

MAX_AGE: Final = 1
"""Seconds for which the price list is fresh, by the vendor's word."""

_OUTAGE: Final = 20.0
_LULL: Final = 1.5
_ERROR, _HANG, _LATE = 0.12, 0.05, 0.04


class Phase(enum.Enum):
    """How the vendor is at a moment."""

    HEALTHY = "healthy"
    FLAKY = "flaky"
    OUTAGE = "outage"
    RECOVERED = "recovered"


class Kind(enum.Enum):
    """What the vendor does with one request."""

    ANSWER = "answer"
    ERROR = "error"  # 503
    HANG = "hang"  # accepts the request, never answers


@dataclass(frozen=True, slots=True)
class Fate:
    """What the vendor does with one request, after ``delay`` seconds."""

    kind: Kind
    delay: float


@dataclass(frozen=True, slots=True)
class Span:
    """A phase with its start and end, in seconds since the start of the story."""

    phase: Phase
    start: float
    end: float

    @property
    def length(self) -> float:
        """Seconds."""
        return self.end - self.start


@dataclass(frozen=True)
class Schedule:
    """The whole story: ``duration`` seconds long, decided by ``seed``."""

    seed: int
    duration: float = DURATION
    spans: tuple[Span, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "spans", _spans(self.duration))

    @property
    def scale(self) -> float:
        """How much faster than the usual story this one goes: 1, or less when it is shorter."""
        return min(1.0, self.duration / DURATION)

    @property
    def every(self) -> float:
        """Seconds from one call to the next; shorter stories call more often, to have something to count."""
        return 1 / min(25.0, max(10.0, 240 / self.duration))

    @property
    def calls(self) -> int:
        """How many calls each agent makes."""
        return int(self.duration / self.every)

    @property
    def reads(self) -> int:
        """How often each agent reads the price list."""
        return -(-self.calls // READ_EACH)

    @property
    def patience(self) -> float:
        """The agent's own client timeout in seconds: the ordinary 10, less in a shorter story."""
        return 10.0 * self.scale

    def span(self, phase: Phase) -> Span:
        """When ``phase`` is (first)."""
        return next(span for span in self.spans if span.phase is phase)

    def phase_at(self, moment: float) -> Phase:
        """The phase ``moment`` seconds after the start."""
        return next((span.phase for span in self.spans if moment < span.end), Phase.RECOVERED)

    def started(self, moment: float) -> int:
        """How many calls have been started ``moment`` seconds after the start."""
        return min(self.calls, max(0, int(moment / self.every) + 1))

    def fate(self, call: int, visit: int, moment: float) -> Fate:
        """What becomes of call number ``call`` at its ``visit``-th coming to a vendor (both from 0)."""
        what, when = _draw(self.seed, call, visit, "what"), _draw(self.seed, call, visit, "when")
        usual = 0.02 + 0.04 * when
        match self.phase_at(moment):
            case Phase.HEALTHY | Phase.RECOVERED:
                return Fate(Kind.ANSWER, usual)
            case Phase.OUTAGE:
                return Fate(Kind.ERROR if what < 0.5 else Kind.HANG, usual)
            case Phase.FLAKY:
                return self._flaky(what, when, usual)

    def _flaky(self, what: float, when: float, usual: float) -> Fate:
        if what < _ERROR:
            return Fate(Kind.ERROR, usual)
        if what < _ERROR + _HANG:
            return Fate(Kind.HANG, usual)
        if what < _ERROR + _HANG + _LATE:
            return Fate(Kind.ANSWER, 0.6 + 1.9 * self.scale * when)
        return Fate(Kind.ANSWER, usual)


def _spans(duration: float) -> tuple[Span, ...]:
    outage = min(_OUTAGE, duration * _OUTAGE / DURATION)
    lull = min(_LULL, (duration - outage) / 5)
    rest = duration - outage - lull
    plot = (
        (Phase.HEALTHY, 0.08 * rest),
        (Phase.FLAKY, 0.60 * rest),
        (Phase.HEALTHY, lull),
        (Phase.OUTAGE, outage),
        (Phase.RECOVERED, 0.32 * rest),
    )
    spans, start = [], 0.0
    for phase, length in plot:
        spans.append(Span(phase, start, start + length))
        start += length
    return tuple(spans)


def _draw(*what: object) -> float:
    """A number in [0, 1) that depends on ``what`` alone, in every process and on every machine."""
    digest = hashlib.blake2b(repr(what).encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big") / 2**56
