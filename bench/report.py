"""The report: medians as a table for people (RESULTS.md), every sample for machines (RESULTS.json).

Called by run.py. What a row is called, its unit and which way is better stand here in one table.
"""

from __future__ import annotations

import json
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Samples = dict[str, dict[str, list[float]]]
"""Row key -> target -> samples."""


@dataclass(frozen=True)
class Row:
    """How a row is printed."""

    key: str
    title: str
    digits: int = 0
    less_direct: bool = False  # the direct way's value is taken off
    ratio: tuple[str, str] | None = None  # it is one measured row by another, round by round


ANSWERS = {
    "small": "180-byte answer",
    "small_auth": "180-byte answer, Authorization",
    "medium": "4 KiB answer",
    "medium_auth": "4 KiB answer, Authorization",
}
"""What is asked for over and over in the rows of caches (caching.py)."""


KEPT = {
    "plain": "without a ledger",
    "memory": "in memory",
    "sqlite": "in a file (SQLite)",
    "redis": "on Redis",
}
"""Where the record of a call that must happen once is kept (ledger.py)."""


def by_way(suffix: str = "", told: str = "", digits: int = 0) -> tuple[Row, ...]:
    """A row for each way of calls that must happen once."""
    return tuple(Row(f"ledger_{way}{suffix}", f"{kept}{told}", digits) for way, kept in KEPT.items())


def hits_and_forwards(suffix: str = "", digits: int = 0) -> tuple[Row, ...]:
    """For each answer how it does out of the cache, and by the way without it."""
    ways = {"hit": "out of the cache", "forward": "forwarded"}
    return tuple(
        Row(f"{way}_{case}{suffix}", f"{answer}, {told}", digits)
        for case, answer in ANSWERS.items()
        for way, told in ways.items()
    )


def gains() -> tuple[Row, ...]:
    """For each answer what the cache makes of the way without it."""
    rates = [
        Row(f"gain_{case}", f"{answer}: requests per second", 2, ratio=(f"hit_{case}", f"forward_{case}"))
        for case, answer in ANSWERS.items()
    ]
    times = [
        Row(f"gain_{case}_cpu", f"{answer}: processor time", 2, ratio=(f"forward_{case}_cpu", f"hit_{case}_cpu"))
        for case, answer in ANSWERS.items()
    ]
    return (*rates, *times)


SECTIONS: Sequence[tuple[str, str, Sequence[Row]]] = (
    (
        "Throughput of one core",
        "Requests per second; wrk, 32 connections. More is better.",
        (
            Row("get", "GET, 180-byte answer"),
            Row("post", "POST 1 KiB, 4 KiB answer"),
            Row("tls", "GET, TLS to the upstream"),
        ),
    ),
    (
        "Processor time of a request",
        "Microseconds of the proxy's own, in the same runs: other users of the machine do not show in it.",
        (
            Row("get_cpu", "GET, 180-byte answer", 1),
            Row("post_cpu", "POST 1 KiB, 4 KiB answer", 1),
            Row("tls_cpu", "GET, TLS to the upstream", 1),
        ),
    ),
    (
        "Added latency",
        "Microseconds over the direct way; one connection. Less is better.",
        (Row("p50", "p50", less_direct=True), Row("p99", "p99", less_direct=True)),
    ),
    (
        "Streaming of 100 MiB bodies",
        "One connection. `rise` is what resident memory grew by at its peak.",
        (
            Row("download", "answer, MiB/s"),
            Row("download_rise", "answer, rise in MB", 1),
            Row("upload", "request, MiB/s"),
            Row("upload_rise", "request, rise in MB", 1),
        ),
    ),
    (
        "Memory and start",
        "Resident memory. Less is better.",
        (
            Row("idle", "idle, MB", 1),
            Row("connection", "per idle connection, KB", 1),
            Row("start", "start to first answer, s", 2),
        ),
    ),
    ("Cost of the chain", "Every policy on, in process. Less is better.", (Row("chain", "µs per request", 1),)),
    (
        "Answers out of a cache",
        "Requests per second; wrk, 32 connections, one answer over and over, and that one forwarded. More is better.",
        hits_and_forwards(),
    ),
    (
        "Processor time of an answer out of a cache",
        "Microseconds of the proxy's own, in the same runs. Less is better.",
        hits_and_forwards("_cpu", 1),
    ),
    (
        "What a cache gains",
        "Answers out of the cache : forwarded; the first four may be held down by the load generator. More is better.",
        gains(),
    ),
    (
        "A cache that does not help",
        "Microseconds of processor time for an answer of 180 bytes that nobody asks for twice. Less is better.",
        (
            Row("distinct_cpu", "forwarded, no cache", 1),
            Row("stored_cpu", "forwarded and stored", 1),
            Row("unstored_cpu", "forwarded, no-store", 1),
        ),
    ),
    (
        "Memory of a cache",
        "Distinct answers of 200 B to 100 KiB, four times as much as it may take, have passed through it.",
        (
            Row("full_idle", "resident before, MB", 1),
            Row("full", "resident afterwards, MB", 1),
            Row("full_ratio", "of what it may take and the memory before", 2),
            Row("full_bytes", "counted, MB", 1),
            Row("full_evictions", "answers that made room"),
        ),
    ),
    (
        "Hits from a shared store",
        "180-byte answer from a Redis server on this machine; latency in µs over the direct way, one connection.",
        (
            Row("redis", "requests per second, 32 connections"),
            Row("redis_cpu", "processor time of a request, µs", 1),
            Row("redis_p50", "added latency, p50", less_direct=True),
            Row("redis_p99", "added latency, p99", less_direct=True),
        ),
    ),
    (
        "Calls that must happen once",
        "Requests per second; POST of 1 KiB, answer of 4 KiB, a key of its own for each. More is better.",
        (
            *by_way(),
            *(
                Row(f"ledger_{way}_share", f"{kept} : without", 2, ratio=(f"ledger_{way}", "ledger_plain"))
                for way, kept in KEPT.items()
                if way != "plain"
            ),
        ),
    ),
    (
        "Processor time of a call that must happen once",
        "Microseconds of the proxy's own, in the same runs. Less is better.",
        by_way("_cpu", digits=1),
    ),
    (
        "Latency of calls that must happen once",
        "Microseconds. A call on SQLite or Redis (`appendfsync always`) waits for the disk, which calls can share.",
        (
            Row("ledger_write", "this disk: 4 KiB written and synced"),
            *by_way("_one_p50", ", 1 connection, p50"),
            *by_way("_one_p99", ", 1 connection, p99"),
            *by_way("_p50", ", 32 connections, p50"),
            *by_way("_p99", ", 32 connections, p99"),
        ),
    ),
    (
        "An outage of 60 s, one call every 4 s",
        "`again` is the time from the end of the outage until the agent is served. Less is better.",
        (
            Row("503_attempts", "503: attempts that reached the upstream"),
            Row("503_worst", "503: worst call, s", 2),
            Row("503_again", "503: served again after, s", 1),
            Row("refused_worst", "refused: worst call, s", 2),
            Row("refused_again", "refused: served again after, s", 1),
        ),
    ),
    (
        "12% of answers 503, 5% hang",
        "1,000 calls at 50/s; 4 attempts, a retry budget of 50%, 300 ms to the first byte, where they can be set.",
        (
            Row("faulty_errors", "errors that the agent sees, %", 1),
            Row("faulty_p99", "p99, ms"),
            Row("faulty_attempts", "attempts per call", 2),
        ),
    ),
)


@dataclass
class Results:
    """What one run measured."""

    samples: Samples = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, target: str, figures: Mapping[str, float]) -> None:
        """Take one measurement of a target."""
        for key, value in figures.items():
            self.samples.setdefault(key, {}).setdefault(target, []).append(value)

    def median(self, row: Row, target: str) -> float | None:
        """A target's median in a row, or None where it has no figure."""
        if row.ratio is not None:
            above, below = (self.samples.get(key, {}).get(target, []) for key in row.ratio)
            # Taken one after the other, so that a slow minute hits both: they are compared within each round.
            rounds = [one / other for one, other in zip(above, below, strict=False)]
            return statistics.median(rounds) if rounds else None
        samples = self.samples.get(row.key, {})
        if target not in samples or (row.less_direct and target == "direct"):
            return None
        middle = statistics.median(samples[target])
        return middle - statistics.median(samples["direct"]) if row.less_direct else middle


def machine() -> str:
    """The machine, by cores and processor alone."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{os.cpu_count()} cores, {next(models, 'unknown processor')}"


def cell(value: float | None, digits: int) -> str:
    """A figure as people read it."""
    if value is None:
        return ""
    return "never" if math.isinf(value) else f"{value:,.{digits}f}"


def markdown(results: Results, targets: Sequence[str], settings: str) -> str:
    """The whole of RESULTS.md."""
    parts = ["# Results of `make bench`", "", introduction(results, settings)]
    for title, note, rows in SECTIONS:
        measured = [row for row in rows if any(results.median(row, name) is not None for name in targets)]
        if measured:
            parts += ["", f"## {title}", "", note, "", *table(results, measured, targets)]
    if results.failures:
        parts += ["", "## Not measured", "", *(f"- {failure}" for failure in results.failures)]
    return "\n".join(parts) + "\n"


def introduction(results: Results, settings: str) -> str:
    """What was run, on what."""
    versions = "\n".join(f"- {name}: {version}" for name, version in results.versions.items())
    return (
        f"Machine: {machine()}. One run, everything side by side: the proxy on one core, load generator and\n"
        f"upstream on the other. {settings}\n"
        "Absolute figures drift from machine to machine and from hour to hour: read the ratios. `direct` is what load\n"
        "generator and upstream do without a proxy. What each proxy had switched on is in [configs](configs).\n\n"
        f"{versions}"
    )


def table(results: Results, rows: Sequence[Row], targets: Sequence[str]) -> list[str]:
    """One table: a line for each row, a column for each target that has a figure in any of them."""
    shown = [name for name in targets if any(results.median(row, name) is not None for row in rows)]
    head = ["| | " + " | ".join(shown) + " |", "|---|" + "---:|" * len(shown)]
    return head + [line(row.title, [cell(results.median(row, name), row.digits) for name in shown]) for row in rows]


def line(title: str, cells: Sequence[str]) -> str:
    """A line of a table."""
    return f"| {title} | " + " | ".join(cells) + " |"


def finite(value: float) -> float | None:
    """A number that JSON has."""
    return None if math.isinf(value) else round(value, 4)


def write(results: Results, targets: Sequence[str], settings: str, folder: Path) -> None:
    """Write RESULTS.md and RESULTS.json."""
    (folder / "RESULTS.md").write_text(markdown(results, targets, settings))
    samples = {
        row: {
            name: [None if math.isinf(each) else round(each, 4) for each in samples] for name, samples in values.items()
        }
        for row, values in results.samples.items()
    }
    document = {"machine": machine(), "settings": settings, "versions": results.versions, "samples": samples}
    (folder / "RESULTS.json").write_text(json.dumps(document, indent=1) + "\n")
