"""The picture of the demonstration while it runs: live in a terminal, lines elsewhere, nothing for scripts.

Driven by stage.py, which shows a Frame a few times a second. rich draws the live picture if it is installed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Protocol, Self, TextIO

from proxy.demo.schedule import Phase, Schedule
from proxy.demo.stats import Record, figures, strip
from proxy.demo.verdict import percent, seconds

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live
    from rich.text import Text

CELLS: Final = 60
_LINE_EVERY: Final = 3.0

_TELLS: Final = {
    Phase.HEALTHY: "every call is answered",
    Phase.FLAKY: "12% errors, 5% never answered, some late",
    Phase.OUTAGE: "every call fails or is never answered",
    Phase.RECOVERED: "every call is answered again",
}
_NAMES: Final = {
    Phase.HEALTHY: "HEALTHY",
    Phase.FLAKY: "FLAKY",
    Phase.OUTAGE: "DOWN (OUTAGE)",
    Phase.RECOVERED: "RECOVERED",
}
_COLOURS: Final = {Phase.HEALTHY: "green", Phase.FLAKY: "yellow", Phase.OUTAGE: "red", Phase.RECOVERED: "green"}
_BREAKER_COLOURS: Final = {"closed": "green", "open": "red", "forced_open": "red"}


@dataclass(frozen=True, slots=True)
class View:
    """One side at a moment."""

    record: Record
    waiting: int  # calls without an answer so far
    reached: int  # requests that came to the vendor in the outage


@dataclass(frozen=True, slots=True)
class Frame:
    """Everything to be shown at a moment, in seconds since the start."""

    schedule: Schedule
    moment: float
    breaker: str
    direct: View
    backstay: View

    @property
    def phase(self) -> Phase:
        """How the vendor is now."""
        return self.schedule.phase_at(self.moment)


class Screen(Protocol):
    """Something that shows frames, as a context manager."""

    def show(self, frame: Frame, /) -> None:
        """Show the newest frame."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class Silent:
    """Shows nothing."""

    def show(self, frame: Frame, /) -> None:
        """Nothing is shown."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class Lines(Silent):
    """Writes a line every few seconds, and at each change of phase."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._phase: Phase | None = None
        self._next = 0.0

    def show(self, frame: Frame, /) -> None:
        """Write a line if it is time."""
        if frame.phase is not self._phase:
            self._phase = frame.phase
            self._write(f"--- the vendor is {_NAMES[frame.phase]}: {_TELLS[frame.phase]}")
        if frame.moment >= self._next:
            self._next += _LINE_EVERY * frame.schedule.scale
            self._write(line(frame))

    def _write(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()


def line(frame: Frame) -> str:
    """A frame as text: how the calls of this phase went so far, and below them the reads of the price list."""
    direct, ours = frame.direct, frame.backstay
    moment = f"{min(frame.moment, frame.schedule.duration):5.1f} s  "
    calls, breaker = f"direct: {_brief(frame, direct)}", f"breaker {frame.breaker}"
    prices = f"prices: {_reads(frame, direct)}".ljust(len(calls))
    return (
        f"{moment}{calls}  |  backstay: {_brief(frame, ours)}, {breaker}\n"
        f"{' ' * len(moment)}{prices}  |  prices: {_reads(frame, ours)}"
    )


def _brief(frame: Frame, view: View) -> str:
    so_far = view.record.figures(frame.phase)
    return f"{percent(so_far.ratio):>6} ok, worst {seconds(so_far.worst):>7}, {view.waiting:2} waiting"


def _reads(frame: Frame, view: View) -> str:
    so_far = view.record.read_figures(frame.phase)
    told = f"{so_far.fresh} fresh, {so_far.failed} failed"
    return f"{told}, {so_far.stale} stale" if so_far.stale else told


class Picture:
    """The live picture, drawn by rich."""

    def __init__(self, out: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live: Live = Live(console=Console(file=out), auto_refresh=False, transient=False)

    def show(self, frame: Frame, /) -> None:
        """Draw the frame over the one before."""
        self._live.update(draw(frame), refresh=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()


def draw(frame: Frame) -> RenderableType:
    """A frame as a picture of some fifteen lines."""
    from rich.console import Group
    from rich.text import Text

    colour = _COLOURS[frame.phase]
    now = Text.assemble(
        ("  Backstay demo  ", "bold reverse"),
        f"  {min(frame.moment, frame.schedule.duration):.0f} of {frame.schedule.duration:.0f} s   the vendor is ",
        (_NAMES[frame.phase], f"bold {colour}"),
        (f": {_TELLS[frame.phase]}", "dim"),
    )
    return Group(Text(), now, Text(), _table(frame), Text())


def _table(frame: Frame) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="bold")
    table.add_column("what the agent sees", no_wrap=True)
    table.add_column("direct", min_width=CELLS // 2)
    table.add_column("through Backstay", min_width=CELLS // 2)
    for title, cell in _ROWS:
        table.add_row(title, cell(frame, frame.direct), cell(frame, frame.backstay))
    return table


def _success(_: Frame, view: View) -> str:
    every = view.record.figures()
    return f"{percent(every.ratio)} of {every.calls}"


def _success_flaky(_: Frame, view: View) -> str:
    flaky = view.record.figures(Phase.FLAKY)
    return f"{percent(flaky.ratio)} of {flaky.calls}"


def _wait_for_failure(_: Frame, view: View) -> str:
    return seconds(figures([call for call in view.record.calls if not call.ok]).mean)


def _prices(_: Frame, view: View) -> Text:
    """Fresh; old, and marked as such; none."""
    from rich.text import Text

    every = view.record.read_figures()
    return Text.assemble(
        (f"{every.fresh} fresh", "green"),
        ", ",
        (f"{every.stale} stale", "yellow" if every.stale else "dim"),
        ", ",
        (f"{every.failed} failed", "red" if every.failed else "dim"),
    )


def _percentiles(_: Frame, view: View) -> str:
    every = view.record.figures()
    return f"{seconds(every.p50)} / {seconds(every.p99)}"


def _waiting(_: Frame, view: View) -> Text:
    from rich.text import Text

    return Text(str(view.waiting), "red" if view.waiting > 5 else "")


def _reached(_: Frame, view: View) -> str:
    return str(view.reached)


def _breaker(frame: Frame, view: View) -> Text:
    from rich.text import Text

    if view is frame.direct:
        return Text("none", "dim")
    return Text(frame.breaker, _BREAKER_COLOURS.get(frame.breaker, "yellow"))


def _plot(frame: Frame, _: View) -> Text:
    """The phases as a bar of half the cells, bright as far as the story has come."""
    from rich.text import Text

    text, cells = Text(), CELLS // 2
    for cell in range(cells):
        moment = (cell + 0.5) / cells * frame.schedule.duration
        colour = _COLOURS[frame.schedule.phase_at(moment)]
        text.append("━", colour if moment <= frame.moment else f"dim {colour}")
    return text


def _cells(frame: Frame, view: View) -> Text:
    """What became of the calls in each slice of time: all good, some, none."""
    from rich.text import Text

    text = Text()
    for share in strip(view.record.calls, frame.schedule, CELLS // 2):
        if share is None:
            text.append("·", "dim")
        else:
            text.append("█", "green" if share == 1 else "yellow" if share > 0.5 else "red")
    return text


_ROWS: Final[tuple[tuple[str, Callable[[Frame, View], str | Text]], ...]] = (
    ("answered while it was flaky", _success_flaky),
    ("average wait for a failure", _wait_for_failure),
    ("waiting for an answer now", _waiting),
    ("requests to the dead vendor", _reached),
    ("all calls: answered", _success),
    ("all calls: p50 / p99", _percentiles),
    ("reads of the price list", _prices),
    ("circuit breaker now", _breaker),
    ("the vendor over time", _plot),
    ("its calls: [green]good[/], [yellow]mixed[/], [red]bad[/]", _cells),
)


def choose(*, quiet: bool) -> Screen:
    """The screen that fits: none if ``quiet``, the picture in a terminal with rich, lines elsewhere."""
    if quiet:
        return Silent()
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and find_spec("rich"):
        return Picture(sys.stdout)
    return Lines(sys.stdout)
