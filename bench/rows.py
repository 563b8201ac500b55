"""The rows of the table that need a steady upstream: throughput, latency, streaming, memory, start.

Called by run.py. Each function measures one value for each target once; rounds, interleaving and medians are
run.py's. Faults are in faults.py, the cost of the chain in chain.py.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.load import closed, download, open_idle, upload, wrk
from bench.peers import Peer, Policies, Target, configure, fleet, started
from bench.process import (
    LOAD_CORE,
    PROXY_CORE,
    answers,
    cpu_seconds,
    forget_peak,
    free_ports,
    memory,
    running,
    wait_until,
)
from bench.upstream import LARGE, Upstream

CHAIN = Path(__file__).parent / "chain.py"
MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Settings:
    """How long and how often."""

    seconds: float = 3.0  # of one run of wrk
    rounds: int = 3
    idle_connections: int = 8000
    cache: int = 256  # MiB that a cache may take, and four times which passes through it


Measure = Callable[[Target], dict[str, float]]


def get(settings: Settings) -> Measure:
    """Small GET."""
    return lambda target: throughput("get", target, target.url("/small"), settings)


def post(settings: Settings) -> Measure:
    """POST of 1 KiB, answer of 4 KiB."""
    return lambda target: throughput("post", target, target.url("/post"), settings, script="post.lua")


def tls(settings: Settings) -> Measure:
    """Small GET, TLS to the upstream; no direct way, since wrk would have to speak TLS itself, which measures wrk."""

    def measure(target: Target) -> dict[str, float]:
        return {} if target.process is None else throughput("tls", target, target.second_url("/small"), settings)

    return measure


def throughput(
    name: str,
    target: Target,
    url: str,
    settings: Settings,
    *,
    script: str | None = None,
    fields: Sequence[str] = (),
) -> dict[str, float]:
    """Requests per second, and microseconds of the proxy's processor time for each request.

    The second figure holds on a machine that others use too: what they take is not counted.
    """
    before = 0.0 if target.process is None else cpu_seconds(target.pid)
    load = wrk(url, connections=32, seconds=settings.seconds, script=script, fields=fields)
    if target.process is None:
        return {name: load.rate}
    return {name: load.rate, f"{name}_cpu": (cpu_seconds(target.pid) - before) * 1e6 / load.requests}


def latency(settings: Settings) -> Measure:
    """p50 and p99 in microseconds, one connection; the direct way is taken off in the report."""

    def measure(target: Target) -> dict[str, float]:
        load = wrk(target.url("/small"), connections=1, seconds=settings.seconds)
        return {"p50": load.p50, "p99": load.p99}

    return measure


def streaming_down(_: Settings) -> Measure:
    """MB/s of a 100 MiB answer, and how far resident memory rose meanwhile."""

    def measure(target: Target) -> dict[str, float]:
        return stream(target, "download", lambda: download(target.port, "/large", LARGE))

    return measure


def streaming_up(_: Settings) -> Measure:
    """MB/s of a 100 MiB request, and how far resident memory rose meanwhile."""

    def measure(target: Target) -> dict[str, float]:
        return stream(target, "upload", lambda: upload(target.port, "/small", LARGE))

    return measure


def stream(target: Target, name: str, transfer: Callable[[], float]) -> dict[str, float]:
    """Time one transfer, with the rise of memory when there is a proxy."""
    if target.process is None:
        return {name: LARGE / MEGABYTE / transfer()}
    before = memory(target.pid)
    forget_peak(target.pid)
    seconds = transfer()
    return {name: LARGE / MEGABYTE / seconds, f"{name}_rise": memory(target.pid, "VmHWM") - before}


def start(peer: Peer, folder: Path, upstream: Upstream) -> dict[str, float]:
    """Seconds from start to the first answer, and resident memory a second later."""
    with started(peer, folder, upstream) as (target, seconds):
        time.sleep(1)
        return {"start": seconds, "idle": memory(target.pid)}


def idle_connections(peer: Peer, folder: Path, upstream: Upstream, settings: Settings) -> dict[str, float]:
    """Kilobytes of resident memory for each idle keep-alive connection, after one request on each.

    Counted from the second quarter on: the first takes up what a process allocates once, and what its start freed.
    """
    quarter = settings.idle_connections // 4
    with started(peer, folder, upstream) as (target, _):
        connections = open_idle(target.port, quarter)
        before = memory(target.pid)
        connections += open_idle(target.port, settings.idle_connections - quarter)
        time.sleep(1)
        lost, after = closed(connections), memory(target.pid)
        for each in connections:
            each.close()
    if lost:
        raise RuntimeError(f"{peer.name} closed {lost} idle connections")
    return {"connection": (after - before) * 1024 / (settings.idle_connections - quarter)}


def chain(peer: Peer, folder: Path, upstream: Upstream) -> dict[str, float]:
    """Microseconds that the chain of this build of Backstay adds to a call, in process (chain.py)."""
    configure(peer, folder, upstream, Policies())
    python = str(Path(peer.argv[0]).parent / "python")
    argv = ["taskset", "--cpu-list", str(PROXY_CORE), python, str(CHAIN), str(folder / peer.templates[0])]
    return {"chain": float(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)}


@contextlib.contextmanager
def sink_fleet(peers: Sequence[Peer], folder: Path, ca_file: Path) -> Iterator[list[Target]]:
    """Every proxy before the sink, and the direct way to it."""
    [port] = free_ports(1)
    argv = [sys.executable, "-m", "bench.sink", str(port)]
    with running("sink", argv, folder, core=LOAD_CORE) as process:
        wait_until(lambda: answers(port), process)
        sink = Upstream(port, port, ca_file)
        with fleet(peers, folder, sink) as targets:
            yield [Target("direct", port, port), *targets]
