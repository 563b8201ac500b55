"""The rows of the ledger: what a call that must happen once costs in each of its stores, beside the same call without.

Called by run.py. One process has all four ways to the upstream (configs/backstay-ledger.yaml), so that they are
measured one after the other. Every request has a key that no other has: each is reserved, sent, and concluded.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bench.load import wrk
from bench.peers import Peer, Policies, Target, fleet
from bench.process import cpu_seconds, redis_server
from bench.rows import Measure, Settings
from bench.upstream import Upstream, requests_at

TEMPLATE = "backstay-ledger.yaml"
KEYED = "keyed.lua"
DISK = "/var/tmp"
"""What is there outlives a restart of the machine, so it is a disk, unlike the folder of the other rows."""
WAYS = {"plain": "", "memory": "/memory", "sqlite": "/sqlite", "redis": "/redis"}
"""The mount of each way in the template."""
WRITES = 200


def ledgers(settings: Settings, upstream: Upstream, folder: Path) -> Measure:
    """Rate, processor time and latency of the same POST by each way; for the direct one also what a write costs."""

    def measure(target: Target) -> dict[str, float]:
        if target.process is None:
            return {**by(target, "plain", settings, upstream), "ledger_write": durable_write(folder)}
        figures: dict[str, float] = {}
        for way in WAYS:
            figures |= by(target, way, settings, upstream)
        return figures

    return measure


def by(target: Target, way: str, settings: Settings, upstream: Upstream) -> dict[str, float]:
    """The rows of one way, on many connections and on one; raises RuntimeError if calls never reached the upstream."""
    name, url = f"ledger_{way}", target.url(f"{WAYS[way]}/post")
    reached = requests_at(upstream.port)
    before = 0.0 if target.process is None else cpu_seconds(target.pid)
    many = wrk(url, connections=32, seconds=settings.seconds, script=KEYED)
    figures = {name: many.rate, f"{name}_p50": many.p50, f"{name}_p99": many.p99}
    if target.process is not None:
        figures[f"{name}_cpu"] = (cpu_seconds(target.pid) - before) * 1e6 / many.requests
    if (missing := many.requests - (requests_at(upstream.port) - reached)) > 0:
        raise RuntimeError(f"{missing} calls were replayed by {target.name}: keys are not unique")
    one = wrk(url, connections=1, seconds=settings.seconds, script=KEYED)
    return {**figures, f"{name}_one_p50": one.p50, f"{name}_one_p99": one.p99}


def durable_write(folder: Path) -> float:
    """Microseconds in which this disk makes a write of 4 KiB durable; the median of some."""
    times = []
    with (folder / "write").open("wb", buffering=0) as file:
        for _ in range(WRITES):
            started = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e6


@contextlib.contextmanager
def ledger_fleet(peers: Sequence[Peer], folder: Path, upstream: Upstream) -> Iterator[tuple[Path, list[Target]]]:
    """A folder on a disk; the direct way, and each build of Backstay with its records in that folder and on Redis."""
    with (
        tempfile.TemporaryDirectory(prefix="backstay-bench-", dir=DISK) as disk,
        # Nothing is rewritten meanwhile: it would be now and then at an agent's pace, and all the time at this one.
        redis_server(
            Path(disk), "--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"
        ) as port,
    ):
        policies = Policies(redis_port=port, ledger=Path(disk))
        with fleet([with_ledger(peer) for peer in peers], folder, upstream, policies) as targets:
            yield Path(disk), [Target("direct", upstream.port, upstream.tls_port), *targets]


def with_ledger(peer: Peer) -> Peer:
    """The same build of Backstay with the configuration of these rows."""
    return replace(peer, templates=[TEMPLATE])
