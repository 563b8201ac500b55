"""The composition root: a configuration becomes a running process. Called by cli.py.

load -> clock, metrics, log -> runtime (chains) -> listener, metrics, admin -> ready
SIGHUP or a changed file -> a new runtime, or the old one and an error -> ready
SIGTERM -> not ready, drain -> end        a second signal -> end at once
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import ssl
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import uvloop

from proxy import __version__
from proxy.clock import Clock
from proxy.config.apart import load_apart
from proxy.config.problems import ConfigError
from proxy.config.reload import watch
from proxy.control import Controls
from proxy.runtime import Runtime
from proxy.state import Parts, Survivors
from proxy.telemetry.log import AccessLog, setup
from proxy.telemetry.metrics import Registry
from proxy.telemetry.requests import RequestMetrics
from proxy.wire.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiohttp.web import AppRunner

    from proxy.config.settings import Config
    from proxy.errors import CallError

_log = logging.getLogger("backstay")

_TICK_SECONDS: Final = 0.25
_WATCH_SECONDS: Final = 2.0
_READ_BYTES: Final = 64 * 1024  # at most, of one read; also what bounds the bytes held for a slow reader
_YOUNG_OBJECTS: Final = 50_000  # allocations between two collections: calls leave no cycles behind


def run(paths: Sequence[Path], env: Mapping[str, str]) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code.

    Raises:
        ConfigError: the configuration is not valid.
        OSError: an address cannot be bound.
    """
    config = load_apart(paths, env)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a log line must not wait in a buffer
    setup(config.log_level, sys.stdout)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(App(config, paths, env).serve())


class App:
    """The process, from its first configuration to its end."""

    def __init__(self, config: Config, paths: Sequence[Path], env: Mapping[str, str]) -> None:
        self._paths = paths
        self._env = env
        self.config = config
        self._watched = config.watched
        self.ready = False
        self._signals: asyncio.Queue[str] = asyncio.Queue()
        self._reloading = asyncio.Lock()
        self._runners: list[AppRunner] = []

    # --- life -------------------------------------------------------------------------------------------

    async def serve(self) -> int:
        """Run until told to stop; 0 if no call was cut, else 1 only if a second signal asked for it."""
        self._compose()
        try:
            await self._open()
            self._handle_signals()
            self.clock.spawn(self._tick(), "tick of the breakers")
            watching = watch(self.clock, lambda: self._watched, _WATCH_SECONDS, self.reload)
            self.clock.spawn(watching, "watch of the configuration")
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
        self._unrouted = RequestMetrics(registry, "", "")
        limits = self.config.limits
        self.listener = Listener(
            clock,
            self.runtime,
            self,
            self._scratch,
            pseudonym=self._pseudonym,
            max_connections=limits.connections,
            header_limit=limits.header_bytes,
            body_limit=limits.body_bytes,
        )
        registry.gauge("backstay_build_info", version=__version__, python=sys.version.split()[0]).set(1)
        registry.computed("backstay_agent_connections", lambda: [({}, self.listener.connections)])
        registry.computed("backstay_config_info", lambda: [({"hash": self.config.digest[:12]}, 1)])
        self._reloads = {
            result: registry.counter("backstay_config_reloads_total", result=result) for result in ("ok", "failed")
        }
        self._cut = registry.counter("backstay_drain_cut_total")

    def _build(self, config: Config) -> Runtime:
        parts = Parts(self.clock, self.registry, self.survivors, self._access, self._scratch)
        return Runtime(config, parts, self._pseudonym)

    async def _open(self) -> None:
        listen = self.config.listen
        port = await self.listener.open(listen.agent.host, listen.agent.port)
        _log.info("listening", extra={"listener": "agent", "host": listen.agent.host, "port": port})
        if listen.metrics is None and listen.admin is None:
            return
        from proxy.admin import api, token  # aiohttp's server costs 12 MB, and may not be wanted

        if listen.metrics is not None:
            app = api.metrics_app(self.registry, lambda: self.ready)
            await self._serve_app(api, "metrics", app, listen.metrics)
        if listen.admin is not None:
            folder = Path(tempfile.gettempdir()) / f"backstay-{listen.admin.port}"  # two sidecars may share a host
            secret, path = token.ensure_token(self.config.admin_token, folder)
            if path is not None:
                _log.info("admin token made", extra={"file": str(path)})
            app = api.admin_app(Controls(self), secret, hosts=[listen.admin.host])
            await self._serve_app(api, "admin", app, listen.admin)

    async def _serve_app(self, api: Any, name: str, app: Any, address: Any) -> None:
        runner = await api.serve(app, address.host, address.port)
        self._runners.append(runner)
        _log.info("listening", extra={"listener": name, "host": address.host, "port": runner.addresses[0][1]})

    async def _until_stopped(self) -> int:
        while await self._signals.get() != "stop":
            await self.reload()
        self.ready = False
        seconds = self.config.drain_timeout
        _log.info("draining", extra={"timeout": seconds, "busy": self.listener.busy})
        drain = self.clock.spawn(self.listener.drain(seconds), "drain")
        second = self.clock.spawn(self._second_stop(), "second signal")
        await asyncio.wait({drain, second}, return_when=asyncio.FIRST_COMPLETED)
        cut = drain.result() if drain.done() else self.listener.close()
        self._cut.inc(cut)
        _log.info("stopped", extra={"cut": cut})
        return 0 if drain.done() else 1

    async def _second_stop(self) -> None:
        while await self._signals.get() != "stop":
            pass

    async def _close(self) -> None:
        self.listener.close()
        for pool in self.survivors.pools.values():
            pool.close()
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
                config = await self.clock.loop.run_in_executor(None, load_apart, self._paths, self._env)
                runtime = self._build(config)
            except ConfigError as error:
                # What a bad configuration names is watched too: it may be a secret that is only late.
                self._watched = tuple({*self.config.watched, *error.watched})
                return self._keep_old([str(problem) for problem in error.problems])
            except (OSError, ssl.SSLError) as error:
                return self._keep_old([f"{getattr(error, 'filename', None) or 'tls'}: {error}"])
            self._put_in_force(config, runtime)
            return []

    def _keep_old(self, problems: list[str]) -> list[str]:
        self._reloads["failed"].inc()
        _log.error("reload failed, the old configuration stays in force", extra={"problems": problems})
        return problems

    def _put_in_force(self, config: Config, runtime: Runtime) -> None:
        if (config.listen, config.admin_token) != (self.config.listen, self.config.admin_token):
            _log.warning("a change of listen or admin_token takes effect at the next start")
        self.config, self.runtime, self._watched = config, runtime, config.watched
        listener, limits = self.listener, config.limits
        listener.router = runtime
        listener.max_connections, listener.body_limit = limits.connections, limits.body_bytes
        listener.header_limit = limits.header_bytes
        self._access.mode = config.log_access
        logging.getLogger("backstay").setLevel(config.log_level.upper())
        self._reloads["ok"].inc()
        _log.info("reloaded", extra={"hash": config.digest[:12]})

    # --- listener.Rejections ----------------------------------------------------------------------------

    def rejected(self, error: CallError, method: bytes) -> None:
        """Count a request that never had a route."""
        self._unrouted.record(method, error.status, "rejected", error.reason, 0.0, None, None, None)
        _log.debug("rejected", extra={"reason": error.reason, "detail": error.detail})


def _settle_memory() -> None:
    """What start-up made is here to stay: keep the collector from walking it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 50)
