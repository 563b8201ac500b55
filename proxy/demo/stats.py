"""What each agent has seen so far: its calls, and the figures made of them.

Filled by stage.py from the agents' log lines; read by screen.py and verdict.py. Pure.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from proxy.demo.schedule import Phase, Schedule


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

    def add(self, line: str | bytes) -> None:
        """Take a line of the agent's log."""
        self.calls.append(parse(line))

    def figures(self, phase: Phase | None = None) -> Figures:
        """The figures of all calls, or of those that were started in ``phase``."""
        return figures(self.calls if phase is None else self.of(phase))

    def of(self, phase: Phase) -> list[Call]:
        """The finished calls that were started in ``phase``."""
        return [call for call in self.calls if self.schedule.phase_at(call.at) is phase]

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

    def problem(self) -> dict[str, Any] | None:
        """One problem that Backstay reported in the outage: that of an open circuit, if there was one."""
        problems = [call.problem for call in self.of(Phase.OUTAGE) if call.problem is not None]
        return next((each for each in problems if each.get("reason") == "circuit_open"), next(iter(problems), None))


def parse(line: str | bytes) -> Call:
    """A line of the agent's log."""
    record = json.loads(line)
    return Call(
        number=record["call"],
        at=record["at"],
        wait=record["wait"],
        status=record["status"],
        error=record["error"],
        problem=_problem(record.get("body", "")),
    )


def _problem(body: str) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "reason" in found else None


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
