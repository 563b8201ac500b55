"""`make bench`: Backstay and its peers side by side in one run, written to RESULTS.md and RESULTS.json.

`--only get,tls` measures some groups of rows, `--quick` all of them roughly, `--peers Backstay,Envoy` some proxies.
A partial run is printed, not written, unless `--write` says so; what it did not measure stays as it was.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import caching, capture, faults, ledger, report, rows
from bench.load import wrk
from bench.peers import Peer, Target, all_peers, fleet
from bench.process import LOAD_CORE, REDIS
from bench.results import Results, machine
from bench.rows import Measure, Settings
from bench.upstream import Upstream, upstream

STEADY: dict[str, Callable[[Settings], Measure]] = {
    "get": rows.get,
    "post": rows.post,
    "tls": rows.tls,
    "latency": rows.latency,
    "stream": rows.streaming_down,
}
CACHED: dict[str, Callable[[Settings, Upstream], Measure]] = {"cached": caching.hits, "uncached": caching.misses}
GROUPS = (
    *STEADY,
    "upload",
    "start",
    "idle",
    "chain",
    *CACHED,
    "cachemem",
    "redis",
    "ledger",
    "captured",
    "outage",
    "faulty",
)
NEED_REDIS = frozenset({"redis", "ledger"})


@dataclass(frozen=True)
class Bench:
    """One run: what is compared, how, and where the figures go."""

    peers: Sequence[Peer]
    caches: Sequence[Peer]  # those of them that have one, with it
    catchers: Sequence[Peer]  # those that agents can be caught by, set up for it
    settings: Settings
    plan: faults.Plan
    groups: frozenset[str]
    folder: Path
    results: Results

    def run(self) -> None:
        """Measure every chosen group."""
        with upstream(self.folder) as origin:
            self.starts(origin)
            self.steady(origin)
            self.uploads(origin)
            self.caching(origin)
            self.ledger(origin)
            self.captured(origin)
        self.chain(origin)
        self.faults(origin.ca_file)

    def starts(self, origin: Upstream) -> None:
        """Rows that start each proxy by itself."""
        for peer in self.peers:
            for _ in range(self.settings.rounds if "start" in self.groups else 0):
                self.take("start", peer.name, partial(rows.start, peer, self.folder, origin))
            if "idle" in self.groups:
                self.take("idle", peer.name, partial(rows.idle_connections, peer, self.folder, origin, self.settings))

    def steady(self, origin: Upstream) -> None:
        """Rows with every proxy up at once, in interleaved rounds, so that a slow minute hits all of them."""
        chosen = [name for name in STEADY if name in self.groups]
        if not chosen:
            return
        with fleet(self.peers, self.folder, origin) as proxies:
            for target in proxies:
                wrk(target.url("/small"), connections=32, seconds=1)
            for name in chosen:
                self.rounds(
                    name, STEADY[name](self.settings), [Target("direct", origin.port, origin.tls_port), *proxies]
                )

    def uploads(self, origin: Upstream) -> None:
        """The row that needs the sink as its upstream."""
        if "upload" in self.groups:
            with rows.sink_fleet(self.peers, self.folder, origin.ca_file) as targets:
                self.rounds("upload", rows.streaming_up(self.settings), targets)

    def caching(self, origin: Upstream) -> None:
        """The rows of caches."""
        folder = self.folder / "caches"
        folder.mkdir()
        direct = Target("direct", origin.port, origin.tls_port)
        chosen = [name for name in CACHED if name in self.groups]
        with fleet(self.caches if chosen else (), folder, origin) as proxies:
            for name in chosen:
                self.rounds(name, CACHED[name](self.settings, origin), [direct, *proxies])
        for peer in self.caches if "cachemem" in self.groups else ():
            if peer.cache_grows:
                self.take("cachemem", peer.name, partial(caching.full, peer, folder, origin, self.settings))
        if "redis" in self.groups:
            with caching.redis_fleet(self.caches, folder, origin) as targets:
                self.rounds("redis", caching.from_redis(self.settings, origin), targets)

    def ledger(self, origin: Upstream) -> None:
        """The rows of calls that must happen once."""
        if "ledger" not in self.groups:
            return
        folder = self.folder / "ledgers"
        folder.mkdir()
        backstays = [peer for peer in self.peers if peer.name.startswith("Backstay")]
        with ledger.ledger_fleet(backstays, folder, origin) as (disk, targets):
            self.rounds("ledger", ledger.ledgers(self.settings, origin, disk), targets)

    def captured(self, origin: Upstream) -> None:
        """The rows of traffic that is caught."""
        if "captured" not in self.groups:
            return
        folder = self.folder / "catchers"
        folder.mkdir()
        with capture.capture_fleet(self.catchers, folder, origin) as (trusted, targets):
            self.rounds("captured", capture.captured(self.settings, origin, trusted), targets)

    def rounds(self, name: str, measure: Measure, targets: Sequence[Target]) -> None:
        """Every target once a round."""
        for _ in range(self.settings.rounds):
            for target in targets:
                self.take(name, target.name, partial(measure, target))

    def chain(self, origin: Upstream) -> None:
        """The cost of the chain, for each build of Backstay."""
        for peer in self.peers if "chain" in self.groups else ():
            if peer.name.startswith("Backstay"):
                self.take("chain", peer.name, partial(rows.chain, peer, self.folder, origin))

    def faults(self, ca_file: Path) -> None:
        """The rows with faults."""
        if "faulty" in self.groups:
            self.take_all("faulty", lambda: asyncio.run(faults.faulty(self.peers, self.folder, ca_file, self.plan)))
        if "outage" in self.groups:
            self.take_all("outage", lambda: asyncio.run(faults.outages(self.peers, self.folder, ca_file, self.plan)))

    def take(self, group: str, target: str, measure: Callable[[], dict[str, float]]) -> None:
        """Make one measurement; one that fails is reported and costs the others nothing."""
        self.take_all(f"{group} {target}", lambda: {target: measure()})

    def take_all(self, what: str, measure: Callable[[], dict[str, dict[str, float]]]) -> None:
        """Make a measurement of several targets at once."""
        try:
            for name, figures in measure().items():
                self.results.add(name, figures)
                shown = "  ".join(f"{key} {value:,.2f}" for key, value in figures.items())
                print(f"{what.partition(' ')[0]:8} {name:20} {shown}", flush=True)
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            self.results.failures.append(f"{what}: {str(error).splitlines()[0]}")
            print(f"{what}: {error}", file=sys.stderr)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    parser.add_argument("--only", default=",".join(GROUPS), help=f"groups of rows: {','.join(GROUPS)}")
    parser.add_argument("--peers", default="", help="names of the proxies, Backstay among them (default: all)")
    parser.add_argument("--rounds", type=int, default=3, help="of each measurement; the median counts")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each run of wrk")
    parser.add_argument("--quick", action="store_true", help="a rough run, to see that all of it works")
    parser.add_argument("--write", action="store_true", help="write RESULTS.* after a partial run too")
    return parser.parse_args()


def chosen_peers(names: str) -> list[Peer]:
    """The proxies that are asked for and that this machine has."""
    known = all_peers()
    wanted = {name.strip().lower() for name in names.split(",") if name.strip()}
    if unknown := wanted - {peer.name.lower() for peer in known}:
        raise SystemExit(f"unknown peers: {', '.join(sorted(unknown))}")
    chosen = [peer for peer in known if not wanted or peer.name.lower() in wanted]
    for peer in chosen:
        if peer.missing():
            print(f"{peer.name} is not installed: left out", file=sys.stderr)
    return [peer for peer in chosen if not peer.missing()]


def main() -> None:
    """Run, print, write."""
    options = arguments()
    groups = frozenset(options.only.split(","))
    if unknown := groups - set(GROUPS):
        raise SystemExit(f"unknown groups: {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    if groups & NEED_REDIS and shutil.which(REDIS) is None:
        print(f"{REDIS} is not installed: left out", file=sys.stderr)
        groups -= NEED_REDIS
    if (os.cpu_count() or 1) < 2:
        raise SystemExit("the bench needs two cores: one for the proxy, one for the load")
    os.sched_setaffinity(0, {LOAD_CORE})
    settings = Settings(seconds=options.seconds, rounds=options.rounds)
    plan = faults.Plan()
    if options.quick:
        settings = Settings(seconds=1.0, rounds=1, idle_connections=1000, cache=32)
        plan = faults.Plan(outage=12.0, after=16.0, calls=200)
    peers = chosen_peers(options.peers)
    results = Results(
        versions={peer.name: peer.said_version() for peer in peers},
        date=time.strftime("%Y-%m-%d"),
        machine=machine(),
        settings=f"Medians of {settings.rounds} interleaved rounds of {settings.seconds:g} s; "
        f"{settings.idle_connections:,} idle connections; a cache of {settings.cache} MiB.",
    )
    began = time.monotonic()
    plain = [peer for peer in peers if peer.templates]
    caches = [peer.as_cache() for peer in peers if peer.cache_templates]
    with tempfile.TemporaryDirectory(prefix="backstay-bench-", dir=memory_backed()) as folder:
        Bench(plain, caches, capture.catchers(peers), settings, plan, groups, Path(folder), results).run()
    print(report.markdown([results]))
    whole = not options.quick and not options.peers and groups == set(GROUPS)
    if whole or options.write:
        report.write(results, groups, Path(__file__).parent)
    print(f"{time.monotonic() - began:.0f} s")


def memory_backed() -> str | None:
    """Where files cost no disk, so that none waits for one: nginx keeps a cache in files."""
    folder = "/dev/shm"
    return folder if os.path.isdir(folder) and shutil.disk_usage(folder).free > 1 << 30 else None  # noqa: PTH112


if __name__ == "__main__":
    main()
