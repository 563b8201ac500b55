"""What the demonstration has shown: checks for scripts, and sentences for people.

Made by stage.py once the story is over. Pure. The claims are modest on purpose: nobody can make a dead
vendor answer, so the outage is judged by what it costs the agent and the vendor, not by its success rate.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from proxy.demo.schedule import MAX_AGE, Phase, Schedule
from proxy.demo.stats import Figures, Reads, Record

HOW_TO: Final = """\
Put Backstay before a real API: save this as backstay.yaml,

    version: 1
    listen:
      agent: 127.0.0.1:7070
    apis:
      github:
        url: https://api.github.com
        mount: /github
        timeout: {first_byte: 10s}
        breaker: {}
        retry: {}
        cache: {}

run `backstay run backstay.yaml` (in a clone: `.venv/bin/backstay run backstay.yaml`), and give your
agent the base URL http://127.0.0.1:7070/github in place of https://api.github.com. Nothing else in
the agent changes. Try it:

    curl -i http://127.0.0.1:7070/github/zen"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One of the two sides at the end."""

    record: Record
    arrivals: Sequence[float]  # of requests at the vendor, in seconds since the start
    reads: Sequence[float] = ()  # those of them that were for the price list

    def reached(self, phase: Phase) -> int:
        """How many requests came to the vendor in ``phase``."""
        return sum(self.record.schedule.phase_at(moment) is phase for moment in self.arrivals)

    def reached_late(self) -> int:
        """How many came in the second half of the outage, when any breaker has had time to open."""
        outage = self.record.schedule.span(Phase.OUTAGE)
        return sum(outage.start + outage.length / 2 <= moment < outage.end for moment in self.arrivals)

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        phases = {
            phase.value: {**self.record.figures(phase).as_json(), "reached_vendor": self.reached(phase)}
            for phase in Phase
        }
        return {
            **self.record.figures().as_json(),
            "reached_vendor": len(self.arrivals),
            "reached_vendor_in_outage": self.reached(Phase.OUTAGE),
            "reached_vendor_in_second_half_of_outage": self.reached_late(),
            "served_again_after": _rounded(self.record.served_again()),
            "phases": phases,
            "reads": self._reads_as_json(),
        }

    def _reads_as_json(self) -> dict[str, Any]:
        phases = {phase.value: self.record.read_figures(phase).as_json() for phase in Phase}
        return {
            **self.record.read_figures().as_json(),
            "reached_vendor": len(self.reads),
            "fresh_again_after": _rounded(self.record.fresh_again()),
            "phases": phases,
        }


@dataclass(frozen=True, slots=True)
class Check:
    """One claim of the demonstration, and whether it came true."""

    claim: str
    passed: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """Both sides, the claims, and what they mean."""

    schedule: Schedule
    direct: Outcome
    backstay: Outcome

    @property
    def checks(self) -> tuple[Check, ...]:
        """The claims of the demonstration."""
        direct, ours = self.direct, self.backstay
        flaky = _failed_share(direct, Phase.FLAKY), _failed_share(ours, Phase.FLAKY)
        worst = ours.record.figures(Phase.OUTAGE).worst
        settled = ours.record.settled()
        reads = direct.record.read_figures(Phase.OUTAGE), ours.record.read_figures(Phase.OUTAGE)
        return (
            Check("both agents made every call", _complete(direct) and _complete(ours)),
            Check("a flaky vendor fails fewer calls through Backstay", flaky[1] < flaky[0] / 4),
            Check("once its circuit is open, hardly a request reaches the dead vendor through Backstay",
                  ours.reached_late() * 3 < direct.reached_late()),
            Check("in the outage no call through Backstay waits for the client's timeout",
                  worst is not None and worst < self.schedule.patience),
            Check("in the outage every read through Backstay is answered, from what is stored, and no direct one",
                  reads[0].failed == reads[0].reads and reads[1].failed == 0 and reads[1].stale > 0),
            Check("every old answer says that it is old", ours.record.read_figures().passed_off == 0),
            Check("after the outage the agent is served again",
                  settled is not None and settled < self.schedule.span(Phase.RECOVERED).length),
        )  # fmt: skip

    @property
    def passed(self) -> bool:
        """Whether every claim came true."""
        return all(check.passed for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        return {
            "passed": self.passed,
            "seed": self.schedule.seed,
            "duration": self.schedule.duration,
            "calls": self.schedule.calls,
            "reads": self.schedule.reads,
            "outage": self.schedule.span(Phase.OUTAGE).length,
            "direct": self.direct.as_json(),
            "backstay": self.backstay.as_json(),
            "problem": self.backstay.record.problem(),
            "checks": [{"claim": check.claim, "passed": check.passed} for check in self.checks],
        }

    def lines(self) -> list[str]:
        """The verdict in plain sentences, each line short enough for a terminal."""
        told = (self._flaky(), self._outage(), self._reads(), self._recovered(), self._summary())
        lines = _fold(
            f"Two copies of one agent made the same {self.schedule.calls} calls, and read one price list "
            f"{self.schedule.reads} times, at the same moments, each at its own copy of the vendor."
        )
        for part in told:
            lines.append("")
            lines.extend(short for sentence in part for short in _fold(sentence))
        return lines

    def _flaky(self) -> Iterator[str]:
        direct, ours = (side.record.figures(Phase.FLAKY) for side in (self.direct, self.backstay))
        yield "The vendor was flaky (12% errors, 5% never answered, some late)."
        yield f"{_DIRECT}{_failures(direct)}, the slowest took {seconds(direct.worst)}."
        yield f"{_OURS}{_failures(ours)}, the slowest took {seconds(ours.worst)}: a failed or silent try is sent again."

    def _outage(self) -> Iterator[str]:
        direct, ours = (side.record.figures(Phase.OUTAGE) for side in (self.direct, self.backstay))
        length = self.schedule.span(Phase.OUTAGE).length
        yield f"The vendor was down for {length:.0f} s. Nobody can make it answer; what differs is how the calls fail."
        yield f"{_DIRECT}{_failures(direct)}, after {_waits(direct)}. {_hits(self.direct)}"
        yield f"{_OURS}{_failures(ours)}, after {_waits(ours)}. {_hits(self.backstay)}"
        if advice := (self.backstay.record.problem() or {}).get("advice"):
            yield f'{_OURS}the agent was told: "{advice}"'

    def _reads(self) -> Iterator[str]:
        direct, ours = (side.record.read_figures(Phase.OUTAGE) for side in (self.direct, self.backstay))
        yield f"The price list may be kept by caches for {MAX_AGE} s, and the agent went on reading it in the outage."
        yield f"{_DIRECT}{_failures(direct)}."
        fresh = f"{ours.fresh} were fresh, " if ours.fresh else ""
        marked = f"{ours.stale} were old and said so (Backstay-Outcome: stale), the oldest {seconds(ours.oldest)} old"
        yield f"{_OURS}{_failures(ours)}: {fresh}{marked}."
        every = self.backstay.record.read_figures()
        yield f"{_OURS}all {every.reads} reads of the story cost the vendor {len(self.backstay.reads)} requests."

    def _recovered(self) -> Iterator[str]:
        direct, ours = (side.record.served_again() for side in (self.direct, self.backstay))
        yield "The vendor came back."
        yield f"{_DIRECT}served again after {seconds(direct)}."
        yield f"{_OURS}served again after {seconds(ours)}, once a probe had found the vendor well."

    def _summary(self) -> Iterator[str]:
        if self.passed:
            yield (
                "Verdict: with Backstay the agent hardly noticed that the vendor was flaky. In the outage its calls "
                "failed at once, with words it can act on, instead of hanging; it went on reading what was known, "
                "marked as old; and the vendor was left in peace."
            )
            return
        yield "Verdict: the demonstration did not show what it should. What did not come true:"
        for check in self.checks:
            if not check.passed:
                yield f"  - {check.claim}"
        yield "A very busy machine can cause this; run it again, or with another --seed."


_DIRECT: Final = "  direct            "
_OURS: Final = "  through Backstay  "
_WIDTH: Final = 100


def _fold(sentence: str) -> list[str]:
    """A sentence in lines of at most ``_WIDTH`` characters, aligned with its own indentation."""
    indent = " " * len(_DIRECT) if sentence.startswith("  ") else ""
    return textwrap.wrap(sentence, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def seconds(value: float | None) -> str:
    """A wait for people: ``3 ms``, ``0.85 s``, ``10.0 s``."""
    if value is None:
        return "-"
    if value < 0.1:
        return f"{max(1, round(value * 1000))} ms"
    return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"


def percent(value: float | None) -> str:
    """A share for people; never rounded up to 100%."""
    if value is None:
        return "-"
    text = f"{value:.1%}" if value < 1 else "100%"
    return "99.9%" if text == "100.0%" else text


def _failures(figures: Figures | Reads) -> str:
    what, number = ("calls", figures.calls) if isinstance(figures, Figures) else ("reads", figures.reads)
    failed = {0: "none", number: "all"}.get(figures.failed, str(figures.failed))
    return f"{failed} of {number} {what} failed"


def _waits(figures: Figures) -> str:
    return f"{seconds(figures.mean)} on average, {seconds(figures.worst)} at worst"


def _hits(side: Outcome) -> str:
    times, late = side.reached(Phase.OUTAGE), side.reached_late()
    return f"The dead vendor was hit {times} times, {late} of them in the second half."


def _complete(side: Outcome) -> bool:
    record = side.record
    return (len(record.calls), len(record.reads)) == (record.schedule.calls, record.schedule.reads)


def _failed_share(side: Outcome, phase: Phase) -> float:
    ratio = side.record.figures(phase).ratio
    return 1.0 if ratio is None else 1 - ratio


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
