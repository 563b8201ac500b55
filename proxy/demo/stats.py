"""What each agent has seen so far: its calls, and the figures made of them.

Filled by stage.py from the agents' log lines; read by screen.py and verdict.py. Pure.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from proxy.demo.schedule import MAX_AGE, Phase, Schedule

_TOLERANCE: Final = 1.0
"""Seconds by which the clocks of HTTP, the agent and the vendor may differ: dates have whole seconds."""
_PAST_ITS_TIME: Final = re.compile(r"\bbackstay;[^,]*\bttl=-")
"""A member of Cache-Status (RFC 9211) by which an answer is past its freshness."""


@dataclass(frozen=True, slots=True)
class Call:
    """One finished call, as the agent logged it."""

    number: int
    at: float  # seconds since the start of the story
    wait: float  # seconds until the agent had its answer, or gave up
    status: int  # 0 if there was no answer
    error: str = ""  # timeout, connection, or nothing
    problem: dict[str, Any] | None = None  # the body of an RFC 9457 answer

    @property
    def ok(self) -> bool:
        """Whether the agent got what it asked for."""
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Read:
    """One finished read of the price list, with what the fields of its answer told the agent."""

    number: int
    at: float  # seconds since the start of the story
    wait: float  # seconds
    status: int  # 0 if there was no answer
    outcome: str = ""  # Backstay-Outcome
    cache_status: str = ""  # Cache-Status
    age: float | None = None  # Age, in seconds
    as_of: float = 0.0  # when the vendor made the list, by its own word, in seconds since the start of the story

    @property
    def ok(self) -> bool:
        """Whether the agent got a price list."""
        return 200 <= self.status < 300

    @property
    def stale(self) -> bool:
        """Whether it got an old one that says so: in the field of Backstay and in the one of the standard."""
        return self.ok and self.outcome == "stale" and _PAST_ITS_TIME.search(self.cache_status) is not None

    @property
    def passed_off(self) -> bool:
        """Whether it got an old one that says nothing of it."""
        return self.ok and not self.stale and self.at + self.wait - self.as_of > MAX_AGE + _TOLERANCE


@dataclass(frozen=True, slots=True)
class Reads:
    """The figures of some reads."""

    reads: int
    failed: int
    fresh: int
    stale: int  # and marked as such
    passed_off: int  # stale, and not marked
    oldest: float | None  # seconds; of those that are stale, if there are any
    worst: float | None  # seconds that one took

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of some calls; waits in seconds, None if there were no calls."""

    calls: int
    failed: int
    mean: float | None
    p50: float | None
    p99: float | None
    worst: float | None

    @property
    def ratio(self) -> float | None:
        """The share of calls that succeeded."""
        return (self.calls - self.failed) / self.calls if self.calls else None

    def as_json(self) -> dict[str, Any]:
        """For ``--json``; waits rounded to a tenth of a millisecond."""
        rounded = {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(self).items()}
        return {**rounded, "success_ratio": None if self.ratio is None else round(self.ratio, 4)}


@dataclass(slots=True)
class Record:
    """Everything that one of the two agents has seen."""

    schedule: Schedule
    calls: list[Call] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)

    def add(self, line: str | bytes) -> None:
        """Take a line of the agent's log."""
        finished = parse(line)
        if isinstance(finished, Call):
            self.calls.append(finished)
        else:
            self.reads.append(finished)

    def figures(self, phase: Phase | None = None) -> Figures:
        """The figures of all calls, or of those that were started in ``phase``."""
        return figures(self.calls if phase is None else self.of(phase))

    def of(self, phase: Phase) -> list[Call]:
        """The finished calls that were started in ``phase``."""
        return [call for call in self.calls if self.schedule.phase_at(call.at) is phase]

    def read_figures(self, phase: Phase | None = None) -> Reads:
        """The figures of all reads, or of those that were started in ``phase``."""
        return read_figures([read for read in self.reads if phase is None or self.schedule.phase_at(read.at) is phase])

    def waiting(self, moment: float) -> int:
        """How many calls have been started and have no answer yet."""
        return max(0, self.schedule.started(moment) - len(self.calls))

    def served_again(self) -> float | None:
        """Seconds from the end of the outage to the end of the first good call started after it."""
        over = self.schedule.span(Phase.OUTAGE).end
        return min((call.at + call.wait - over for call in self.calls if call.ok and call.at >= over), default=None)

    def settled(self) -> float | None:
        """Seconds from the end of the outage to the start of the first call after the last failure."""
        over = self.schedule.span(Phase.OUTAGE).end
        failures = [call.number for call in self.calls if not call.ok and call.at >= over]
        last = max(failures, default=-1)
        return min((call.at - over for call in self.calls if call.at >= over and call.number > last), default=None)

    def fresh_again(self) -> float | None:
        """Seconds from the end of the outage to the end of the first read after it that got a fresh price list."""
        over = self.schedule.span(Phase.OUTAGE).end
        good = (read for read in self.reads if read.ok and not read.stale and not read.passed_off and read.at >= over)
        return min((read.at + read.wait - over for read in good), default=None)

    def problem(self) -> dict[str, Any] | None:
        """One problem that Backstay reported in the outage: that of an open circuit, if there was one."""
        problems = [call.problem for call in self.of(Phase.OUTAGE) if call.problem is not None]
        return next((each for each in problems if each.get("reason") == "circuit_open"), next(iter(problems), None))


def parse(line: str | bytes) -> Call | Read:
    """A line of the agent's log."""
    record = json.loads(line)
    at, wait, status = record["at"], record["wait"], record["status"]
    if "read" in record:
        headers = {name.lower(): value for name, value in record["headers"].items()}
        age = headers.get("age")
        return Read(
            number=record["read"],
            at=at,
            wait=wait,
            status=status,
            outcome=headers.get("backstay-outcome", ""),
            cache_status=headers.get("cache-status", ""),
            age=None if age is None else float(age),
            as_of=_loaded(record["body"]).get("as_of", 0.0),
        )
    problem = _problem(record.get("body", ""))
    return Call(number=record["call"], at=at, wait=wait, status=status, error=record["error"], problem=problem)


def _problem(body: str) -> dict[str, Any] | None:
    found = _loaded(body)
    return found if "reason" in found else None


def _loaded(body: str) -> dict[str, Any]:
    """The object that a body holds; an empty one if it is none."""
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def figures(calls: Sequence[Call]) -> Figures:
    """The figures of ``calls``."""
    waits = sorted(call.wait for call in calls)
    return Figures(
        calls=len(calls),
        failed=sum(not call.ok for call in calls),
        mean=sum(waits) / len(waits) if waits else None,
        p50=percentile(waits, 0.50),
        p99=percentile(waits, 0.99),
        worst=waits[-1] if waits else None,
    )


def read_figures(reads: Sequence[Read]) -> Reads:
    """The figures of ``reads``."""
    stale = [read for read in reads if read.stale]
    passed_off = sum(read.passed_off for read in reads)
    failed = sum(not read.ok for read in reads)
    return Reads(
        reads=len(reads),
        failed=failed,
        fresh=len(reads) - failed - len(stale) - passed_off,
        stale=len(stale),
        passed_off=passed_off,
        oldest=max((read.age for read in stale if read.age is not None), default=None),
        worst=max((read.wait for read in reads), default=None),
    )


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value that at least ``share`` of the ``ordered`` values do not exceed."""
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def strip(calls: Iterable[Call], schedule: Schedule, cells: int) -> list[float | None]:
    """The story in ``cells`` slices of time: the share of good calls in each, None where there were none."""
    good, bad = [0] * cells, [0] * cells
    for call in calls:
        slot = min(cells - 1, int(call.at / schedule.duration * cells))
        (good if call.ok else bad)[slot] += 1
    return [g / (g + b) if g + b else None for g, b in zip(good, bad, strict=True)]
