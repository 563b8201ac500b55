"""The rows of caches: what a hit costs beside forwarding the same answer, what a miss costs, what a full cache takes.

Called by run.py. Each proxy has a way to the upstream without its cache and one through it (configs/*-cache.*), so that
both are measured in one process, one after the other.
"""

from __future__ import annotations

import contextlib
import random
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.fill import fill
from bench.load import wrk
from bench.peers import Peer, Policies, Target, fleet, started
from bench.process import family, memory, redis_server
from bench.rows import MEGABYTE, Measure, Settings, throughput
from bench.upstream import SIZES, Upstream, requests_at

AUTHORIZATION = f"Authorization: Bearer sk-{'x' * 48}"
FEW = 100
"""Calls that may reach the upstream before an answer is stored: some caches let each connection try."""


@dataclass(frozen=True)
class Case:
    """One answer, asked for over and over."""

    name: str
    path: str
    fields: tuple[str, ...] = ()


CASES = (
    Case("small", "/fresh/small"),
    Case("small_auth", "/fresh/small", (AUTHORIZATION,)),
    Case("medium", "/fresh/medium"),
    Case("medium_auth", "/fresh/medium", (AUTHORIZATION,)),
)


def hits(settings: Settings, upstream: Upstream) -> Measure:
    """Hits, and the same answer forwarded."""

    def measure(target: Target) -> dict[str, float]:
        figures: dict[str, float] = {}
        for case in CASES:
            url = target.url(case.path)
            figures |= throughput(f"forward_{case.name}", target, url, settings, fields=case.fields)
            if target.process is not None and (target.cache_per_caller or not case.fields):
                figures |= served(f"hit_{case.name}", case, target, settings, upstream)
        return figures

    return measure


def served(name: str, case: Case, target: Target, settings: Settings, upstream: Upstream) -> dict[str, float]:
    """Throughput out of the cache; raises RuntimeError if the upstream has been asked."""
    before = requests_at(upstream.port)
    figures = throughput(name, target, target.second_url(case.path), settings, fields=case.fields)
    if (reached := requests_at(upstream.port) - before) > FEW:
        raise RuntimeError(f"{reached} calls went past the cache of {target.name}")
    return figures


def misses(settings: Settings, _: Upstream) -> Measure:
    """Answers that are never asked for twice: forwarded, forwarded and stored, forwarded through an idle cache."""

    def measure(target: Target) -> dict[str, float]:
        ways = {"distinct": target.url("/fresh/small")}
        if target.process is not None:
            ways |= {"stored": target.second_url("/fresh/small"), "unstored": target.second_url("/no-store/small")}
        figures: dict[str, float] = {}
        for name, url in ways.items():
            figures |= throughput(name, target, url, settings, script="distinct.lua")
        return figures

    return measure


def full(peer: Peer, folder: Path, upstream: Upstream, settings: Settings) -> dict[str, float]:
    """Resident memory of a cache when four times as much as it may take has passed through it, of what it may take."""
    with started(peer, folder, upstream, Policies(cache=settings.cache)) as (target, _):
        time.sleep(1)
        idle = sum(map(memory, family(target.pid)))
        fill(target.second_port, (target.second_path + path for path in distinct(settings.cache * 4 * MEGABYTE)))
        time.sleep(1)
        resident = sum(map(memory, family(target.pid)))
        figures = {"full_idle": idle, "full": resident, "full_ratio": resident / (settings.cache + idle)}
        return {**figures, **(told(target) if peer.name.startswith("Backstay") else {})}


def distinct(total: int) -> Iterator[str]:
    """Paths of answers of mixed sizes that add up to ``total`` bytes; the same ones each time."""
    chance = random.Random(7)
    number = 0
    while total > 0:
        size, number = chance.choice(SIZES), number + 1
        total -= size
        yield f"/fresh/size/{size}/{number}"


def told(target: Target) -> dict[str, float]:
    """What Backstay's own metrics say of its cache."""
    with urllib.request.urlopen(f"http://127.0.0.1:{target.metrics_port}/metrics", timeout=10) as answer:
        page = answer.read().decode()
    samples = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
    return {
        "full_bytes": float(samples['backstay_cache_bytes{store="memory"}']) / MEGABYTE,
        "full_evictions": float(samples['backstay_evictions_total{what="cache_entries"}']),
    }


def from_redis(settings: Settings, upstream: Upstream) -> Measure:
    """Hits out of a shared store: throughput, and latency on one connection; the direct way to take off."""

    def measure(target: Target) -> dict[str, float]:
        figures: dict[str, float] = {}
        url = target.url("/fresh/small")
        if target.process is not None:
            figures = served("redis", Case("small", "/fresh/small"), target, settings, upstream)
            url = target.second_url("/fresh/small")
        load = wrk(url, connections=1, seconds=settings.seconds)
        return {**figures, "redis_p50": load.p50, "redis_p99": load.p99}

    return measure


@contextlib.contextmanager
def redis_fleet(peers: Sequence[Peer], folder: Path, upstream: Upstream) -> Iterator[list[Target]]:
    """The direct way, and each build of Backstay with its answers on one Redis server, which is on the load core."""
    with redis_server(folder, "--appendonly", "no") as port:
        backstays = [peer for peer in peers if peer.name.startswith("Backstay")]
        with fleet(backstays, folder, upstream, Policies(redis_port=port)) as targets:
            yield [Target("direct", upstream.port, upstream.tls_port), *targets]
