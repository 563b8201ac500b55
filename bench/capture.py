"""The rows of captured traffic: TLS on both sides, handshakes, and a tunnel that is not looked into.

Called by run.py. The agent (agent.py) calls by CONNECT; the vendor is that of the other rows. mitmproxy has no policies
to switch on, and Envoy cannot intercept: it has the row of tunnels alone.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.load import Load
from bench.peers import Peer, Policies, Target, configure
from bench.process import LOAD_CORE, PROXY_CORE, listens, running, wait_until
from bench.rows import Measure, Settings
from bench.upstream import Upstream

CONNECTIONS = 32


@dataclass(frozen=True)
class Way:
    """How a proxy is set up for these rows."""

    templates: Sequence[str] = ()
    trust: str | None = None  # file of its authority, in its folder; None: it does not intercept


WAYS = {
    "Backstay": Way(["backstay-capture.yaml"], "trust/ca.crt"),
    "Backstay interpreted": Way(["backstay-capture.yaml"], "trust/ca.crt"),
    "mitmproxy": Way(trust="mitmproxy/mitmproxy-ca-cert.pem"),
    "Envoy": Way(["envoy-tunnel.yaml"]),
}


def catchers(peers: Sequence[Peer]) -> list[Peer]:
    """Those that have a way, set up for it."""
    return [replace(peer, templates=WAYS[peer.name].templates) for peer in peers if peer.name in WAYS]


@dataclass(frozen=True)
class Measured(Load):
    """What the agent measured."""

    used: float  # seconds of the proxy's processor time

    @property
    def figures(self) -> dict[str, float]:
        """Microseconds of it for each call, and percent of the time that was measured."""
        return {"cpu": self.used * 1e6 / self.requests, "busy": self.used * 100 * self.rate / self.requests}


def captured(settings: Settings, upstream: Upstream, trusted: dict[str, Path]) -> Measure:
    """Intercepted calls on connections that stay, and on new ones; then calls on one connection by a tunnel."""

    def measure(target: Target) -> dict[str, float]:
        figures: dict[str, float] = {}
        ca_file = trusted.get(target.name)
        if ca_file is not None:
            figures |= intercepted("captured", target, upstream, ca_file, settings)
            figures |= intercepted("handshake", target, upstream, ca_file, settings, "--fresh")
        plain = load(target, target.port, f"127.0.0.1:{upstream.port}", settings.seconds)
        return {**figures, "tunnel_p50": plain.p50, "tunnel_p99": plain.p99}

    return measure


def intercepted(
    name: str, target: Target, upstream: Upstream, ca_file: Path, settings: Settings, *more: str
) -> dict[str, float]:
    """Rate, latency, the proxy's processor time for each call, and how much of its core it had to use."""
    port = target.second_port if target.process is None else target.port
    argv = ("--ca-file", str(ca_file), "--connections", str(CONNECTIONS), *more)
    run = load(target, port, f"localhost:{upstream.tls_port}", settings.seconds, *argv)
    figures = {name: run.rate, f"{name}_p50": run.p50, f"{name}_p99": run.p99}
    if target.process is not None:
        figures |= {f"{name}_{what}": value for what, value in run.figures.items()}
    return figures


def load(target: Target, port: int, authority: str, seconds: float, *more: str) -> Measured:
    """Run the agent; raises RuntimeError with what it said when any call failed."""
    argv = ["taskset", "--cpu-list", str(LOAD_CORE), sys.executable, "-m", "bench.agent", str(port), authority]
    argv += [] if target.process is None else ["--proxy", str(target.pid)]
    argv += ["--seconds", f"{seconds:g}", *more]
    result = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=seconds + 60)
    if result.returncode:
        raise RuntimeError(f"calls failed under load: {result.stderr.strip().splitlines()[-1]}")
    return Measured(**json.loads(result.stdout))


@contextlib.contextmanager
def capture_fleet(
    peers: Sequence[Peer], folder: Path, upstream: Upstream
) -> Iterator[tuple[dict[str, Path], list[Target]]]:
    """The direct way and every proxy that has a way; and by name what the agent has to trust."""
    trusted = {"direct": upstream.ca_file}
    with contextlib.ExitStack() as stack:
        targets = [Target("direct", upstream.port, upstream.tls_port)]
        for peer in peers:
            targets.append(stack.enter_context(caught_by(peer, folder, upstream)))
            if (trust := WAYS[peer.name].trust) is not None:
                trusted[peer.name] = folder / peer.name / trust
        yield trusted, targets


@contextlib.contextmanager
def caught_by(peer: Peer, folder: Path, upstream: Upstream) -> Iterator[Target]:
    """A running proxy; it is ready when it listens, since without CONNECT it answers nothing."""
    own = folder / peer.name
    own.mkdir()
    target, argv = configure(peer, own, upstream, Policies())
    with running(peer.name, argv, own, core=PROXY_CORE, env=peer.env) as process:
        wait_until(lambda: listens(target.port), process)
        yield replace(target, process=process)
