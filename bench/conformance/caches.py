"""The caches that are compared, each before the suite's origin as its vendor's documentation sets one up.

Called by run.py. What each one's configuration says is in configs/.
"""

from __future__ import annotations

import contextlib
import getpass
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.peers import Peer, script
from bench.process import PROXY_CORE, answers, free_ports, running, wait_until
from bench.upstream import NGINX

CONFIGS = Path(__file__).parent / "configs"
VARNISH = "/usr/sbin/varnishd"
SQUID = "/usr/sbin/squid"


@dataclass(frozen=True)
class Cache:
    """A cache: its program, and one sentence on how it is set up."""

    peer: Peer
    told: str


def all_caches() -> list[Cache]:
    """Backstay first, then its peers."""
    backstay = script("backstay")
    memory = ["-s", "malloc,64m", "-j", "none", "-n", "{folder}/varnish"]
    nothing_assumed = ["-p", "default_ttl=0", "-p", "default_grace=0", "-p", "default_keep=3600"]
    return [
        Cache(
            Peer("Backstay", ["backstay.yaml"], [backstay, "run", "{config}"], [backstay, "version"]),
            "`cache: {scope: shared}`, everything else as it is by default",
        ),
        Cache(
            Peer("nginx", ["nginx.conf"], [NGINX, "-p", "{folder}", "-c", "{config}", "-e", "stderr"], [NGINX, "-v"]),
            "`proxy_cache` with revalidation, stale answers on errors, refresh in the background",
        ),
        Cache(
            Peer(
                "Varnish",
                [],
                [VARNISH, "-F", "-a", "127.0.0.1:{port}", "-b", "127.0.0.1:{upstream}", *memory, *nothing_assumed],
                [VARNISH, "-V"],
            ),
            "the built-in VCL; no freshness without the origin's word (`default_ttl=0`, `default_grace=0`, "
            "`default_keep=3600`), as the suite's authors run it: without that most of its tests cannot run",
        ),
        Cache(
            Peer("Squid", ["squid.conf"], [SQUID, "-N", "-f", "{config}"], [SQUID, "-v"]),
            "an accelerator, in memory",
        ),
    ]


def argv(cache: Cache, folder: Path, port: int, upstream: int) -> list[str]:
    """Write a cache's configuration; returns its command."""
    metrics, admin = free_ports(2)
    user = "proxy" if os.getuid() == 0 else getpass.getuser()
    values = {"DIR": folder, "PORT": port, "UPSTREAM": upstream, "METRICS": metrics, "ADMIN": admin, "USER": user}
    for template in cache.peer.templates:
        text = (CONFIGS / template).read_text()
        for name, value in values.items():
            text = text.replace(f"@{name}@", str(value))
        (folder / template).write_text(text)
    config = "".join(str(folder / template) for template in cache.peer.templates[:1])
    return [part.format(config=config, folder=folder, port=port, upstream=upstream) for part in cache.peer.argv]


@contextlib.contextmanager
def started(cache: Cache, folder: Path, upstream: int) -> Iterator[int]:
    """A running cache before the origin; gives its port."""
    own = folder / cache.peer.name
    own.mkdir()
    (port,) = free_ports(1)
    with running(cache.peer.name, argv(cache, own, port, upstream), own, core=PROXY_CORE) as process:
        wait_until(lambda: answers(port, "/"), process)
        yield port
