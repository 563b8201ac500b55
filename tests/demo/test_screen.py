"""proxy/demo/screen.py: what is drawn, and where."""

from __future__ import annotations

import io

import pytest

from proxy.demo import screen
from proxy.demo.schedule import Schedule
from proxy.demo.screen import Frame, Lines, Picture, Silent, View, choose, draw, line
from proxy.demo.stats import Call, Read, Record

SCHEDULE = Schedule(1, 45)
OLD = Read(100, 20.0, 0.002, 200, "stale", "backstay; fwd=stale; ttl=-4; detail=circuit_open", age=5.0)


def frame(moment: float, breaker: str = "open") -> Frame:
    direct = Record(SCHEDULE, [Call(0, 0.0, 0.04, 200), Call(200, 20.0, 10.0, 0), Call(1, 15.1, 0.1, 200)])
    ours = Record(SCHEDULE, [Call(0, 0.0, 0.04, 200), Call(200, 20.0, 0.002, 503)])
    direct.reads = [Read(0, 0.0, 0.04, 200), Read(100, 20.0, 10.0, 0)]
    ours.reads = [Read(0, 0.0, 0.04, 200), OLD, OLD]
    return Frame(SCHEDULE, moment, breaker, View(direct, waiting=42, reached=7), View(ours, waiting=0, reached=3))


def drawn(moment: float, breaker: str = "open") -> str:
    from rich.console import Console

    out = io.StringIO()
    Console(file=out, width=120).print(draw(frame(moment, breaker)))
    return out.getvalue()


def test_the_picture_shows_both_sides() -> None:
    """Success, waits, storm and breaker stand side by side."""
    text = drawn(20)
    for expected in ("OUTAGE", "20 of 45 s", "66.7% of 3", "50.0% of 2", "42", "7", "3", "open", "10.0 s"):
        assert expected in text
    assert "1 fresh, 0 stale, 1 failed" in text
    assert "1 fresh, 2 stale, 0 failed" in text


def test_the_picture_fits_a_terminal_of_100_columns() -> None:
    """Nothing is wrapped where people have narrow windows."""
    from rich.console import Console

    out = io.StringIO()
    Console(file=out, width=100).print(draw(frame(20)))
    lines = out.getvalue().splitlines()
    assert max(len(each.rstrip()) for each in lines) <= 100
    assert len(lines) <= 15


def test_the_clock_of_the_picture_stops_at_the_end() -> None:
    """Waiting for the last answers does not make the story longer."""
    assert "45 of 45 s" in drawn(51)


def test_a_picture_can_be_drawn_over_and_closed() -> None:
    """It lives as long as its context."""
    out = io.StringIO()
    with Picture(out) as picture:
        picture.show(frame(1))
        picture.show(frame(20))
    assert "OUTAGE" in out.getvalue()


def test_lines_are_written_at_each_phase_and_every_three_seconds() -> None:
    """A log of the demonstration stays readable."""
    out = io.StringIO()
    with Lines(out) as lines:
        for moment in (0.0, 0.2, 2.9, 3.1, 17.5):
            lines.show(frame(moment, "closed"))
    written = out.getvalue().splitlines()
    assert [text.split(":")[0] for text in written if text.startswith("---")] == [
        "--- the vendor is HEALTHY", "--- the vendor is FLAKY", "--- the vendor is DOWN (OUTAGE)",
    ]  # fmt: skip
    assert len(written) == 3 + 2 * 3


def test_a_line_tells_both_sides() -> None:
    """The breaker belongs to Backstay's."""
    assert line(frame(20)) == (
        " 20.0 s  direct:   0.0% ok, worst  10.0 s, 42 waiting"
        "  |  backstay:   0.0% ok, worst    2 ms,  0 waiting, breaker open\n"
        "         prices: 0 fresh, 1 failed                   "
        "  |  prices: 0 fresh, 0 failed, 2 stale"
    )


def test_silence_for_scripts() -> None:
    """--json prints nothing on the way."""
    chosen = choose(quiet=True)
    assert type(chosen) is Silent
    with chosen:
        chosen.show(frame(1))


def test_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Pipes and logs get text without control characters."""
    assert isinstance(choose(quiet=False), Lines)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_picture_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rich is used if it is there and the terminal can show it."""
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(choose(quiet=False), Picture)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(choose(quiet=False), Lines)


def test_every_phase_has_its_words() -> None:
    """No phase is drawn without an explanation."""
    for span in SCHEDULE.spans:
        assert screen._TELLS[span.phase] in drawn(span.start)
