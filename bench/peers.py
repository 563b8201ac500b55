"""The proxies that are compared: how each is configured and started, with the same policies where it has them.

Called by the rows. A proxy is pinned to one core with one worker, thread or event loop. What each one's
configuration says is in configs/.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.process import PROXY_CORE, Running, answers, free_ports, running, wait_until
from bench.upstream import NGINX, Upstream, render

HAPROXY = "/usr/sbin/haproxy"
VARNISH = "/usr/sbin/varnishd"


@dataclass(frozen=True)
class Policies:
    """The settings that rows vary; everything else is in the templates."""

    attempts: int = 3
    budget_percent: int = 20
    first_byte: float = 60.0  # seconds
    cache: int = 64  # MiB
    redis_port: int | None = None  # answers are kept there; None: in memory
    ledger: Path | None = None  # folder of the files with records of calls

    def values(self, upstream: Upstream) -> dict[str, object]:
        milliseconds = round(self.first_byte * 1000)
        return {
            "ATTEMPTS": self.attempts,
            "RETRIES": self.attempts - 1,
            "BUDGET_PERCENT": self.budget_percent,
            "FIRST_BYTE_MS_AS_S": f"{self.first_byte:.3f}",
            "FIRST_BYTE_MS": milliseconds,
            "CACHE_MIB": self.cache,
            "SHARED": "off" if self.redis_port is None else f"redis://127.0.0.1:{self.redis_port}/0",
            "STORE": "memory" if self.redis_port is None else "shared",
            "NGINX_SERVERS": f"server 127.0.0.1:{upstream.port} max_fails=0; " * self.attempts,
        }


@dataclass(frozen=True)
class Peer:
    """A proxy: its templates, its command (``{config}`` is the first template's file) and its version's.

    It has two ways to the upstream: one plain, and a second, which is by TLS, or in the rows of caches by its cache.
    """

    name: str
    templates: Sequence[str]
    argv: Sequence[str]
    version: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    second_path: str = ""  # where the second way is told by path, not by port
    cache_templates: Sequence[str] = ()  # instead of ``templates`` in the rows of caches; none: it has no cache
    cache_per_caller: bool = True  # it can keep answers to calls with Authorization, for each caller his own
    cache_grows: bool = True  # it takes memory as it fills, not from the start, and not in files

    def missing(self) -> bool:
        """Whether this machine lacks the program."""
        return shutil.which(self.argv[0]) is None

    def as_cache(self) -> Peer:
        """The same with a cache."""
        return replace(self, templates=self.cache_templates)

    def said_version(self) -> str:
        """The first dotted number in what the program says of itself."""
        result = subprocess.run(self.version, capture_output=True, text=True, check=False, timeout=30)
        said = (result.stdout + result.stderr).replace(self.version[0], "")  # its own path may hold a version too
        found = re.search(r"\d+(\.\d+)+", said)
        return found[0] if found else "unknown"


@dataclass(frozen=True)
class Target:
    """A running proxy, or the upstream itself (``process`` is None): where to send calls."""

    name: str
    port: int
    second_port: int
    second_path: str = ""
    process: Running | None = None
    metrics_port: int = 0
    cache_per_caller: bool = True

    def url(self, path: str) -> str:
        """The address by which an agent calls ``path``."""
        return f"http://127.0.0.1:{self.port}{path}"

    def second_url(self, path: str) -> str:
        """The same by the second way: by TLS, or by the cache."""
        return f"http://127.0.0.1:{self.second_port}{self.second_path}{path}"

    @property
    def pid(self) -> int:
        if self.process is None:
            raise LookupError("the direct way has no process")
        return self.process.pid


CACHE = Path(__file__).parent.parent / ".cache"
COMPILED = str(CACHE / "compiled/bin/backstay")
"""The build whose hot path is machine code: what the image holds."""
MITMDUMP = str(CACHE / "mitmproxy/bin/mitmdump")
"""In an environment of its own: what it pins contradicts what Backstay wants."""


def script(name: str) -> str:
    """A program that a package put beside this Python."""
    return str(Path(sys.executable).parent / name)


def envoy_binary() -> str:
    """The binary itself: the package's own command is a Python process around it."""
    spec = importlib.util.find_spec("envoy")
    folders = spec.submodule_search_locations if spec else None
    return os.path.join(folders[0], "_bin", "envoy") if folders else "envoy"  # noqa: PTH118


def backstay(name: str, program: str) -> Peer:
    """Backstay, as one of its two builds."""
    return Peer(
        name,
        ["backstay.yaml"],
        [program, "run", "{config}"],
        [program, "version"],
        second_path="/second",
        cache_templates=["backstay-cache.yaml"],
    )


def all_peers() -> list[Peer]:
    """Backstay first, then its peers."""
    envoy = envoy_binary()
    traefik = script("traefik")
    quiet = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    varnish = ["-F", "-f", "{config}", "-a", "plain=127.0.0.1:{port}", "-a", "cached=127.0.0.1:{second_port}"]
    varnish += ["-s", "malloc,{cache}m", "-j", "none", "-n", "{folder}/varnish", "-T", "none"]
    varnish += ["-p", "thread_pools=1", "-p", "vsl_space=1M"]
    mitmdump = ["-q", "--listen-host", "127.0.0.1", "--listen-port", "{port}", "--set", "confdir={folder}/mitmproxy"]
    mitmdump += ["--set", "ssl_verify_upstream_trusted_ca={ca_file}"]
    mitmdump += ["--ignore-hosts", r"^127\.0\.0\.1:{upstream_port}$"]  # a tunnel
    return [
        backstay("Backstay", COMPILED),
        backstay("Backstay interpreted", script("backstay")),
        Peer("Envoy", ["envoy.yaml"], [envoy, "-c", "{config}", *quiet], [envoy, "--version"]),
        Peer(
            "nginx",
            ["nginx.conf"],
            [NGINX, "-p", "{folder}", "-c", "{config}", "-e", "stderr"],
            [NGINX, "-v"],
            cache_templates=["nginx-cache.conf"],
            cache_grows=False,
        ),
        Peer(
            "HAProxy",
            ["haproxy.cfg"],
            [HAPROXY, "-db", "-f", "{config}"],
            [HAPROXY, "-v"],
            cache_templates=["haproxy-cache.cfg"],
            cache_per_caller=False,
            cache_grows=False,
        ),
        Peer(
            "Traefik",
            ["traefik.yaml", "traefik-routes.yaml"],
            [traefik, "--configfile={config}"],
            [traefik, "version"],
            env={"GOMAXPROCS": "1"},
        ),
        # Without a row of its own in what is not about caches: it speaks no TLS to an upstream, and does not retry.
        Peer("Varnish", [], [VARNISH, *varnish], [VARNISH, "-V"], cache_templates=["varnish.vcl"]),
        # In the rows of captured traffic alone (capture.py).
        Peer("mitmproxy", [], [MITMDUMP, *mitmdump], [MITMDUMP, "--version"]),
    ]


def configure(peer: Peer, folder: Path, upstream: Upstream, policies: Policies) -> tuple[Target, list[str]]:
    """Write the configuration of a proxy on free ports; returns where it will listen, and its command."""
    plain, second, metrics, admin = free_ports(4)
    values: dict[str, object] = {
        "DIR": folder,
        "PLAIN_PORT": plain,
        "SECOND_PORT": second,
        "METRICS_PORT": metrics,
        "ADMIN_PORT": admin,
        "UPSTREAM_PORT": upstream.port,
        "UPSTREAM_TLS_PORT": upstream.tls_port,
        "CA_FILE": upstream.ca_file,
        "LEDGER_FILE": (policies.ledger or folder) / f"{peer.name.replace(' ', '-')}.db",
        **policies.values(upstream),
    }
    for template in peer.templates:
        (folder / template).write_text(render(template, values))
    words = {"folder": folder, "port": plain, "second_port": second, "cache": policies.cache}
    words |= {"ca_file": upstream.ca_file, "upstream_port": upstream.port}
    words["config"] = folder / peer.templates[0] if peer.templates else ""
    argv = [part.format(**words) for part in peer.argv]
    target = Target(
        peer.name,
        plain,
        plain if peer.second_path else second,
        peer.second_path,
        metrics_port=metrics,
        cache_per_caller=peer.cache_per_caller,
    )
    return target, argv


@contextlib.contextmanager
def started(
    peer: Peer, folder: Path, upstream: Upstream, policies: Policies | None = None
) -> Iterator[tuple[Target, float]]:
    """A running proxy, and the seconds from its start to its first answer from the upstream."""
    own = folder / f"{peer.name}-{upstream.port}"
    own.mkdir(exist_ok=True)
    target, argv = configure(peer, own, upstream, policies or Policies())
    with running(peer.name, argv, own, core=PROXY_CORE, env=peer.env) as process:
        seconds = wait_until(lambda: answers(target.port), process)
        yield replace(target, process=process), seconds


@contextlib.contextmanager
def fleet(
    peers: Sequence[Peer], folder: Path, upstream: Upstream, policies: Policies | None = None
) -> Iterator[list[Target]]:
    """Every proxy at once, before one upstream."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(started(peer, folder, upstream, policies))[0] for peer in peers]
