"""The composition root: a configuration becomes a running process. Called by cli.py.

load -> clock, metrics, log -> runtime (chains) -> listener, metrics, admin -> ready
SIGHUP or a changed file -> a new runtime, or the old one and an error -> ready
SIGTERM, or the agent has ended -> not ready, linger, drain -> end        a second signal -> end at once
"""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import signal
import socket
import ssl
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from proxy import __version__
from proxy.catching import Catching, authority_of
from proxy.clock import Clock
from proxy.config.apart import load_apart
from proxy.config.problems import ConfigError
from proxy.config.reload import Fingerprints, watch
from proxy.config.settings import Address
from proxy.control import Controls
from proxy.descriptors import make_room
from proxy.lingering import Lingering, Stay
from proxy.loop import Loop
from proxy.neighbours import company, require_company
from proxy.runtime import Runtime
from proxy.state import Parts, Survivors
from proxy.telemetry.log import AccessLog, setup
from proxy.telemetry.metrics import Registry
from proxy.telemetry.reloads import Reloads
from proxy.telemetry.requests import method_label
from proxy.wire.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiohttp.web import Application, AppRunner

    from proxy.config.settings import Config
    from proxy.errors import CallError

_log = logging.getLogger("backstay")

_REMEDIES: Final = {
    errno.EADDRINUSE: "stop what listens there, or change `listen`",
    errno.EACCES: "this user may not listen there: choose a port from 1024 on in `listen`",
}
_TICK_SECONDS: Final = 0.25
_WATCH_SECONDS: Final = 2.0
_READ_BYTES: Final = 64 * 1024  # at most, of one read; also what bounds the bytes held for a slow reader
_LEAVE: Final = Stay()
_YOUNG_OBJECTS: Final = 50_000  # allocations between two collections: calls leave no cycles behind


def run(paths: Sequence[Path], env: Mapping[str, str], stay: Stay = _LEAVE) -> int:
    """Serve until SIGTERM or SIGINT, and as long after it as ``stay`` says; returns the exit code.

    Raises:
        ConfigError: the configuration is not valid.
        OSError: an address cannot be bound (its filename), the admin token not be kept, or the agent not be seen.
    """
    if stay.with_agent:
        require_company(os.getpid())
    before = Fingerprints().of(paths)
    config = load_apart(paths, env)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a log line must not wait in a buffer
    setup(config.log_level, sys.stdout)
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(App(config, paths, env, stay).serve(before))


class App:
    """The process, from its first configuration to its end."""

    def __init__(self, config: Config, paths: Sequence[Path], env: Mapping[str, str], stay: Stay = _LEAVE) -> None:
        self._paths = paths
        self._stay = stay
        self._env = env
        self.config = config
        self._watched = config.watched
        self.ready = False
        self._signals: asyncio.Queue[str] = asyncio.Queue()
        self._reloading = asyncio.Lock()
        self._runners: list[AppRunner] = []

    # --- life -------------------------------------------------------------------------------------------

    async def serve(self, before: Mapping[Path, bytes] = MappingProxyType({})) -> int:
        """Run until told to stop; 0 after a drain, even if that had to cut calls; 1 if a second signal ended it.

        ``before``: what the paths held when the configuration was read, so that a change since then is not missed.
        """
        self._compose()
        try:
            self._catching.intercept(authority_of(self.config, self.clock.wall()))
            self._handle_signals()
            await self._open()
            self.clock.spawn(self._tick(), "tick of the breakers")
            watching = watch(self.clock, lambda: self._watched, _WATCH_SECONDS, self.reload, before)
            self.clock.spawn(watching, "watch of the configuration")
            if self._stay.with_agent:
                self.clock.spawn(self._watch_agent(), "watch of the agent")
            _settle_memory()
            self.ready = True
            _log.info("ready", extra={"agent": str(self.config.listen.agent), "apis": len(self.config.apis)})
            return await self._until_stopped()
        finally:
            await self._close()

    def _compose(self) -> None:
        self.clock = clock = Clock(asyncio.get_running_loop())
        self.started = clock.now()
        self.registry = registry = Registry()
        self.survivors = Survivors(clock, registry)
        self._access = AccessLog(self.config.log_access, sys.stdout.write, clock.wall)
        self._pseudonym = b"backstay-%08x" % int(clock.chance() * 16**8)
        self._scratch = memoryview(bytearray(_READ_BYTES))
        self.runtime = self._build(self.config)
        limits = self.config.limits
        self.listener = Listener(
            clock,
            self.runtime,
            self,
            self._scratch,
            pseudonym=self._pseudonym,
            max_connections=make_room(limits.connections),
            header_limit=limits.header_bytes,
            body_limit=limits.body_bytes,
        )
        self.listener.pending = lambda: self.survivors.ledgers.under_way
        others = partial(company, os.geteuid()) if self._stay.with_agent else None
        self._lingering = Lingering(clock, self.listener, self._stay.linger, others)
        self._catching = Catching(clock, registry, self.listener, self.survivors.guard)
        self.survivors.evicted["leaf_certificates"] = lambda: self._catching.evictions
        registry.gauge("backstay_build_info", version=__version__, python=sys.version.split()[0]).set(1)
        registry.computed("backstay_agent_connections", lambda: [({}, self.listener.connections)])
        registry.computed("backstay_config_info", lambda: [({"hash": self.config.digest[:12]}, 1)])
        self._reloads = Reloads(registry)
        self._cut = registry.counter("backstay_drain_cut_total")

    def _build(self, config: Config) -> Runtime:
        parts = Parts(self.clock, self.registry, self.survivors, self._access, self._scratch)
        return Runtime(config, parts, self._pseudonym)

    async def _open(self) -> None:
        listen = self.config.listen
        with _naming(listen.agent):
            port = await self.listener.open(listen.agent.host, listen.agent.port)
        self._listening("agent", listen.agent, port)
        if listen.transparent is not None:
            await self._open_transparent(listen.transparent)
        if listen.metrics is not None:
            await self._open_metrics(listen.metrics)
        if listen.admin is not None:
            await self._open_admin(listen.admin)

    def _listening(self, name: str, address: Address, port: int) -> None:
        """Nothing that is caught may lead back here."""
        served = [(each[0], each[1]) for runner in self._runners for each in runner.addresses]
        self.survivors.guard.own = [*self.listener.addresses, *served]
        _log.info("listening", extra={"listener": name, "host": address.host, "port": port})

    async def _open_transparent(self, address: Address) -> None:
        with _naming(address):
            port = await self.listener.open_transparent(address.host, address.port)
        self._listening("transparent", address, port)
        twin = Address("::1", port) if address.host == "127.0.0.1" else None
        if twin is not None:  # what is redirected keeps its family
            try:
                await self.listener.open_transparent(twin.host, twin.port)
            except OSError as error:
                _log.info("no redirected connections over IPv6", extra={"why": error.strerror or str(error)})
            else:
                self._listening("transparent", twin, port)

    async def _open_metrics(self, address: Address) -> None:
        from proxy.admin.api import metrics_app  # aiohttp's server costs 12 MB, and may not be wanted

        await self._serve_app("metrics", metrics_app(self.registry, lambda: self.ready), address)

    async def _open_admin(self, address: Address) -> None:
        from proxy.admin.api import admin_app
        from proxy.admin.token import ensure_token

        folder = Path(tempfile.gettempdir()) / f"backstay-{address.port}"  # two sidecars may share a host
        secret, path = ensure_token(self.config.admin_token, folder)
        if path is not None:
            _log.info("admin token made", extra={"file": str(path)})
        await self._serve_app("admin", admin_app(Controls(self), secret, hosts=[address.host]), address)

    async def _serve_app(self, name: str, app: Application, address: Address) -> None:
        from proxy.admin.api import serve

        with _naming(address):
            runner = await serve(app, address.host, address.port)
        self._runners.append(runner)
        self._listening(name, address, runner.addresses[0][1])

    async def _until_stopped(self) -> int:
        while (told := await self._signals.get()) == "reload":
            await self.reload()
        self.ready = False
        drain = self.clock.spawn(self._linger_and_drain(), "drain")
        second = self.clock.spawn(self._stops(1 if told == "stop" else 2), "second signal")
        await asyncio.wait({drain, second}, return_when=asyncio.FIRST_COMPLETED)
        cut = drain.result() if drain.done() else self.listener.close()
        self._cut.inc(cut)
        _log.info("stopped", extra={"cut": cut})
        return 0 if drain.done() else 1

    async def _linger_and_drain(self) -> int:
        """Returns how many calls were cut."""
        seconds = self.config.drain_timeout
        until = self.clock.now() + seconds
        await self._lingering.stay(seconds)
        left = until - self.clock.now()
        _log.info("draining", extra={"timeout": round(left, 3), "busy": self.listener.under_way})
        return await self.listener.drain(left)

    async def _stops(self, count: int) -> None:
        """Return after as many signals to stop."""
        for _ in range(count):
            while await self._signals.get() != "stop":
                pass

    async def _watch_agent(self) -> None:
        await self._lingering.deserted()
        _log.info("the agent has ended")
        self._signals.put_nowait("left")

    async def _close(self) -> None:
        self.listener.close()
        self._catching.close()
        self.survivors.close_pools()
        await self.survivors.ledgers.close()
        await self.survivors.shelves.close()
        for runner in self._runners:
            await runner.cleanup()
        await self.clock.stop()

    def _handle_signals(self) -> None:
        for number, what in ((signal.SIGTERM, "stop"), (signal.SIGINT, "stop"), (signal.SIGHUP, "reload")):
            self.clock.loop.add_signal_handler(number, self._signals.put_nowait, what)

    async def _tick(self) -> None:
        while True:
            await self.clock.sleep(_TICK_SECONDS)
            self.survivors.tick()

    # --- configuration ----------------------------------------------------------------------------------

    async def reload(self) -> list[str]:
        """Put the configuration on disk in force, or keep the one that is; returns what is wrong with it."""
        async with self._reloading:
            try:
                run = self.clock.loop.run_in_executor
                config = await run(None, load_apart, self._paths, self._env)
                authority = await run(None, authority_of, config, self.clock.wall())
                runtime = self._build(config)
            except ConfigError as error:
                # What a bad configuration names is watched too: it may be a secret that is only late.
                self._watched = tuple({*self.config.watched, *error.watched})
                return self._keep_old([str(problem) for problem in error.problems])
            except (OSError, ssl.SSLError) as error:
                return self._keep_old([f"{getattr(error, 'filename', None) or 'tls'}: {error}"])
            self._put_in_force(config, runtime)
            self._catching.intercept(authority)
            return []

    def _keep_old(self, problems: list[str]) -> list[str]:
        self._reloads.failed()
        _log.error("reload failed, the old configuration stays in force", extra={"problems": problems})
        return problems

    def _put_in_force(self, config: Config, runtime: Runtime) -> None:
        if (config.listen, config.admin_token) != (self.config.listen, self.config.admin_token):
            _log.warning("a change of listen or admin_token takes effect at the next start")
        self.config, self.runtime, self._watched = config, runtime, config.watched
        listener, limits = self.listener, config.limits
        listener.router = runtime
        listener.max_connections = make_room(limits.connections)
        listener.body_limit, listener.header_limit = limits.body_bytes, limits.header_bytes
        self._access.mode = config.log_access
        logging.getLogger("backstay").setLevel(config.log_level.upper())
        self._reloads.ok()
        _log.info("reloaded", extra={"hash": config.digest[:12]})

    # --- listener.Rejections ----------------------------------------------------------------------------

    def rejected(self, error: CallError, method: bytes) -> None:
        """Count a request that never had a route, and log it as the access log would."""
        labels = {"method": method_label(method), "code": str(error.status), "outcome": "rejected"}
        self.registry.counter("backstay_requests_total", api="", route="", reason=error.reason, **labels).inc()
        if self._access.wants("rejected", error.status):
            _log.info("rejected", extra={"reason": error.reason, "status": error.status, "detail": error.detail})


@contextmanager
def _naming(address: Address) -> Iterator[None]:
    """An OSError in here is told as people write it: the address, the system's words, what to do."""
    try:
        yield
    except socket.gaierror as error:
        raise OSError(error.errno, f"{error.strerror}; correct the host in `listen`", str(address)) from None
    except OSError as error:
        number = error.errno or 0
        remedy = _REMEDIES.get(number, "correct the address in `listen`")
        raise OSError(number, f"{os.strerror(number)}; {remedy}", str(address)) from None


def _settle_memory() -> None:
    """What start-up made is here to stay: keep the collector from walking it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 50)
