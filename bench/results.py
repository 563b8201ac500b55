"""What runs measured: the samples of each, and what was run on what; kept in RESULTS.json.

Used by report.py and run.py. A run of some groups takes the place of what earlier runs said of them; what they said of
the others stays, with its date. Figures are compared within a run, never across.
"""

from __future__ import annotations

import json
import math
import os
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

Samples = dict[str, dict[str, list[float]]]
"""Row key -> target -> samples."""
NAME = "RESULTS.json"


@dataclass(frozen=True)
class Row:
    """How a row is printed."""

    key: str
    title: str
    digits: int = 0
    less_direct: bool = False  # the direct way's value is taken off
    ratio: tuple[str, str] | None = None  # it is one measured row by another, round by round
    beside: str | None = None  # the second of them is this target's


@dataclass
class Results:
    """What one run measured."""

    samples: Samples = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)  # each begins with its group
    date: str = ""
    machine: str = ""
    settings: str = ""

    @property
    def targets(self) -> list[str]:
        """Those with a figure, in the order of the columns."""
        measured = {name for targets in self.samples.values() for name in targets}
        return [name for name in [*self.versions, "direct"] if name in measured]

    def add(self, target: str, figures: Mapping[str, float]) -> None:
        """Take one measurement of a target."""
        for key, value in figures.items():
            self.samples.setdefault(key, {}).setdefault(target, []).append(value)

    def median(self, row: Row, target: str) -> float | None:
        """A target's median in a row, or None where it has no figure."""
        if row.ratio is not None:
            return self._ratio(row.ratio, target, row.beside or target)
        samples = self.samples.get(row.key, {})
        if target not in samples or (row.less_direct and target == "direct"):
            return None
        middle = statistics.median(samples[target])
        return middle - statistics.median(samples["direct"]) if row.less_direct else middle

    def _ratio(self, keys: tuple[str, str], target: str, other: str) -> float | None:
        above, below = self.samples.get(keys[0], {}).get(target, []), self.samples.get(keys[1], {}).get(other, [])
        # Taken one after the other, so that a slow minute hits both: they are compared within each round.
        rounds = [one / two for one, two in zip(above, below, strict=False)]
        return statistics.median(rounds) if rounds else None


def machine() -> str:
    """The machine, by cores and processor alone."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{os.cpu_count()} cores, {next(models, 'unknown processor')}"


def kept(earlier: Sequence[Results], latest: Results, groups: Collection[str]) -> list[Results]:
    """What earlier runs said of rows and groups that the latest did not measure, and the latest itself."""
    runs = []
    for run in earlier:
        samples = {key: targets for key, targets in run.samples.items() if key not in latest.samples}
        if samples:
            failures = [failure for failure in run.failures if failure.split()[0].rstrip(":") not in groups]
            runs.append(replace(run, samples=samples, failures=failures))
    return [*runs, latest]


def read(folder: Path) -> list[Results]:
    """The runs in RESULTS.json."""
    if not (folder / NAME).exists():
        return []
    runs: list[dict[str, Any]] = json.loads((folder / NAME).read_text())["runs"]
    return [Results(**{**run, "samples": converted(run["samples"], number)}) for run in runs]


def write(runs: Sequence[Results], folder: Path) -> None:
    """Write RESULTS.json."""
    told = [{**asdict(run), "samples": converted(run.samples, finite)} for run in runs]
    (folder / NAME).write_text(json.dumps({"runs": told}, indent=1) + "\n")


def converted(samples: Samples, convert: Any) -> Any:
    """The same samples, each as ``convert`` has it."""
    return {
        row: {name: [convert(each) for each in values] for name, values in targets.items()}
        for row, targets in samples.items()
    }


def finite(value: float) -> float | None:
    """A number that JSON has."""
    return None if math.isinf(value) else round(value, 4)


def number(value: float | None) -> float:
    """The number that was written."""
    return math.inf if value is None else value
