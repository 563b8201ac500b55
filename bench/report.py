"""The report: medians as a table for people (RESULTS.md), every sample for machines (RESULTS.json).

Called by run.py. What a row is called, its unit and which way is better stand here in one table.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path

from bench.results import Results, Row, kept, read
from bench.results import write as write_runs

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
        "Captured traffic",
        "The agent calls by CONNECT, with TLS on both sides; GET, 180-byte answer, 32 connections. More is better.",
        (
            Row("captured", "requests per second"),
            Row("captured_times", "times mitmproxy", 1, ratio=("captured", "captured"), beside="mitmproxy"),
            Row("handshake", "connections per second, each for one request"),
            Row("handshake_times", "times mitmproxy", 1, ratio=("handshake", "handshake"), beside="mitmproxy"),
        ),
    ),
    (
        "Time of captured traffic",
        "In the same runs. A proxy that did not use all of its core was held down by the load generator, or by others.",
        (
            Row("captured_cpu", "processor time of a request, µs", 1),
            Row("captured_part", "of mitmproxy's", 3, ratio=("captured_cpu", "captured_cpu"), beside="mitmproxy"),
            Row("captured_busy", "of the proxy's core, %"),
            Row("captured_p50", "latency of a request, p50, µs"),
            Row("handshake_cpu", "processor time of a connection, µs"),
            Row("handshake_part", "of mitmproxy's", 3, ratio=("handshake_cpu", "handshake_cpu"), beside="mitmproxy"),
            Row("handshake_busy", "of the proxy's core, %"),
            Row("handshake_p50", "latency of a connection, p50, µs"),
        ),
    ),
    (
        "Added latency of a tunnel",
        "A CONNECT to a host that no api names; microseconds over the direct way, one connection. Less is better.",
        (
            Row("tunnel_p50", "p50", less_direct=True),
            Row("tunnel_p99", "p99", less_direct=True),
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

INTRODUCTION = (
    "Each run has everything side by side: the proxy on one core, load generator and upstream on the other. Absolute\n"
    "figures drift from machine to machine and from hour to hour: read the ratios. `direct` is what load generator\n"
    "and upstream do without a proxy. What each proxy had switched on is in [configs](configs)."
)


def cell(value: float | None, digits: int) -> str:
    """A figure as people read it."""
    if value is None:
        return ""
    return "never" if math.isinf(value) else f"{value:,.{digits}f}"


def markdown(runs: Sequence[Results]) -> str:
    """The whole of RESULTS.md."""
    parts = ["# Results of `make bench`", "", INTRODUCTION, "", *map(told, enumerate(runs, 1))]
    for title, note, rows in SECTIONS:
        measured = [(which, part) for which, run in enumerate(runs, 1) if (part := section(run, rows))]
        if measured:
            parts += ["", f"## {title}", "", note]
        for which, part in measured:
            parts += ["", f"Run {which}:"] if len(runs) > 1 else []
            parts += ["", *part]
    if failures := [failure for run in runs for failure in run.failures]:
        parts += ["", "## Not measured", "", *(f"- {failure}" for failure in failures)]
    return "\n".join(parts) + "\n"


def told(numbered: tuple[int, Results]) -> str:
    """What was run, on what."""
    which, run = numbered
    versions = ", ".join(f"{name} {run.versions[name]}" for name in run.targets if name in run.versions)
    return f"{which}. {run.date}; {run.machine}. {run.settings}\n   {versions}."


def section(run: Results, rows: Sequence[Row]) -> list[str]:
    """The table of those rows that this run has, if any."""
    measured = [row for row in rows if any(run.median(row, name) is not None for name in run.targets)]
    return table(run, measured, run.targets) if measured else []


def table(results: Results, rows: Sequence[Row], targets: Sequence[str]) -> list[str]:
    """One table: a line for each row, a column for each target that has a figure in any of them."""
    shown = [name for name in targets if any(results.median(row, name) is not None for row in rows)]
    head = ["| | " + " | ".join(shown) + " |", "|---|" + "---:|" * len(shown)]
    return head + [line(row.title, [cell(results.median(row, name), row.digits) for name in shown]) for row in rows]


def line(title: str, cells: Sequence[str]) -> str:
    """A line of a table."""
    return f"| {title} | " + " | ".join(cells) + " |"


def write(results: Results, groups: Collection[str], folder: Path) -> None:
    """Write RESULTS.md and RESULTS.json, with what earlier runs said of groups other than these."""
    runs = kept(read(folder), results, groups)
    write_runs(runs, folder)
    (folder / "RESULTS.md").write_text(markdown(runs))
