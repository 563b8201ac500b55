"""Dashboards as Grafana would run them: their panels, their queries, and what it puts in for variables.

For tests of monitoring. ``$__interval`` and ``$__rate_interval`` are worked out as the data source does
(docs of Grafana, "Global variables"): the latter is the larger of four scrapes, and of one and an interval.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.prometheus import SCRAPE, Prometheus, Series

FOLDER: Final = Path(__file__).parents[2] / "charts" / "backstay" / "dashboards"
FILES: Final = sorted(FOLDER.glob("*.json"))
_POINTS: Final = 1000  # that a panel of usual width asks for
_LABEL_VALUES: Final = re.compile(r"label_values\((?P<series>.+), (?P<label>\w+)\)")

Chosen = Mapping[str, Sequence[str]]
"""Values of variables; none of a variable: All."""


def dashboard(path: Path) -> dict[str, Any]:
    """As it stands in the file."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def panels(board: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All that show something: those of closed rows, too."""
    for panel in board["panels"]:
        yield from panel.get("panels", []) if panel["type"] == "row" else [panel]


@dataclass(frozen=True)
class Query:
    """One expression that a dashboard has Prometheus work out."""

    title: str
    expression: str
    legend: str
    is_instant: bool
    step: str = ""  # if it has one of its own

    def __str__(self) -> str:
        return f"{self.title}: {self.legend}"


def queries(board: Mapping[str, Any]) -> Iterator[Query]:
    """Every expression: of panels, and of annotations."""
    for panel in panels(board):
        for target in panel["targets"]:
            told = target["expr"], target.get("legendFormat", ""), bool(target["instant"]), target.get("interval", "")
            yield Query(panel["title"], *told)
    for mark in board["annotations"].get("list", []):
        yield Query(mark["name"], mark["expr"], "", is_instant=False)


def variables(board: Mapping[str, Any]) -> dict[str, str]:
    """The queries of the variables that have one."""
    found = board["templating"]["list"]
    return {each["name"]: each["query"] for each in found if each["type"] == "query"}


@dataclass(frozen=True)
class Viewer:
    """Somebody who looks at what was between two moments (seconds)."""

    prometheus: Prometheus
    start: float
    end: float

    def run(self, query: Query, chosen: Chosen) -> list[Series]:
        """What Grafana gets for it."""
        expression = self.filled(query.expression, chosen)
        if query.is_instant:
            return self.prometheus.at(expression, self.end)
        step = float(self.filled(query.step, chosen).rstrip("s") or self._interval)
        return self.prometheus.between(expression, self.start, self.end, step)

    def offered(self, variable: str, chosen: Chosen) -> list[str]:
        """The values that a variable offers."""
        found = _LABEL_VALUES.fullmatch(variable)
        assert found is not None, variable
        matched = {"match[]": self.filled(found["series"], chosen), "start": self.start, "end": self.end}
        values: list[str] = self.prometheus.ask(f"label/{found['label']}/values", **matched)
        return values

    def filled(self, expression: str, chosen: Chosen) -> str:
        """With everything that begins with a dollar put in."""
        interval = self._interval
        known = {
            "__rate_interval": f"{max(interval + SCRAPE, 4 * SCRAPE):g}s",
            "__interval": f"{interval:g}s",
            "__range": f"{round(self.end - self.start)}s",
            **{name: _as_regex(values) for name, values in chosen.items()},
        }
        return re.sub(r"\$(\w+)", lambda found: known[found[1]], expression)

    @property
    def _interval(self) -> float:
        return max(SCRAPE, round((self.end - self.start) / _POINTS))


def _as_regex(values: Sequence[str]) -> str:
    """As the data source interpolates a variable with several values into a string of PromQL."""
    escaped = [re.sub(r"([\\^$.*+?()[\]{}|'])", r"\\\\\1", value) for value in values]
    if not escaped:
        return ".*"
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"
