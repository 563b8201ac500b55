"""The process of the webhook: its configuration and certificate, what it listens on, its end. Called by commands.py.

settings, configuration, certificate -> listening -> ready
a changed file, or SIGHUP -> the new one, or the old one and an error
SIGTERM -> not ready, and each answer ends its connection -> linger, as the API servers learn of it late -> end
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from proxy.admin.api import metrics_app, serve
from proxy.clock import Clock
from proxy.config.reload import watch
from proxy.config.settings import Address
from proxy.descriptors import make_room
from proxy.kubernetes import settings
from proxy.kubernetes.annotations import read as wish_of
from proxy.kubernetes.certificate import BadCertificate, Certificate, files
from proxy.kubernetes.cluster import ApiServer, ConfigMaps
from proxy.kubernetes.inject import inject
from proxy.kubernetes.model import Wish
from proxy.kubernetes.supply import carried
from proxy.kubernetes.webhook import Offer, Webhook
from proxy.loop import Loop
from proxy.telemetry.log import setup, timestamp
from proxy.telemetry.metrics import Registry
from proxy.telemetry.reloads import Reloads

_log = logging.getLogger("backstay")

_CORRECT: Final = "choose another --listen or --metrics"
_WATCH_SECONDS: Final = 2.0
_CONNECTIONS: Final = 256  # at once: an API server opens one for each review that is under way
_REVIEWS_END: Final = 5.0  # seconds; a review under way takes no longer
_SOON: Final = 7 * 86400.0  # seconds


@dataclass(frozen=True, slots=True)
class Paths:
    """What the process is made of: all of it is watched."""

    settings: Path
    config: tuple[Path, ...]
    tls: Path


@dataclass(frozen=True, slots=True)
class Ways:
    """Where it listens, whom it asks, and how long it serves on after SIGTERM (seconds)."""

    listen: Address
    metrics: Address
    account: Path
    linger: float


def run(paths: Paths, ways: Ways, env: Mapping[str, str]) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code.

    Raises:
        Refused, BadSettings: the configuration or the settings cannot be used.
        OSError: an address cannot be bound, or there is no good certificate (its filename).
    """
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(Injector(paths, ways, env).serve())


class Injector:
    """The process, from its first configuration to its end."""

    def __init__(self, paths: Paths, ways: Ways, env: Mapping[str, str]) -> None:
        self._paths = paths
        self._ways = ways
        self._env = env
        self._is_ready = False
        self._signals: asyncio.Queue[str] = asyncio.Queue()
        self._runners: list[web.AppRunner] = []

    async def serve(self) -> int:
        """Run until told to stop; 0 if that was once, 1 if a second signal ended it."""
        self._clock = Clock(asyncio.get_running_loop())
        try:
            await self._watch()
            self._compose()
            await self._open()
            for number, what in ((signal.SIGTERM, "stop"), (signal.SIGINT, "stop"), (signal.SIGHUP, "reload")):
                self._clock.loop.add_signal_handler(number, self._signals.put_nowait, what)
            self._is_ready = True
            _log.info("ready", extra={"image": self._webhook.offer.installation.image})
            return await self._until_stopped()
        finally:
            for runner in self._runners:
                await runner.cleanup()
            await self._clock.stop()

    def _compose(self) -> None:
        clock = self._clock
        self._certificate = Certificate(self._paths.tls)
        self._registry = registry = Registry()
        maps = ConfigMaps(clock, ApiServer.of_pod(self._env, self._ways.account))
        self._webhook = Webhook(clock, registry, maps, _offer(self._paths))
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a log line must not wait in a buffer
        setup("info", sys.stdout)
        registry.computed(
            "backstay_certificate_expiry_seconds",
            lambda: [({"certificate": "injector"}, self._certificate.not_after - clock.wall())],
        )
        self._reloads = Reloads(registry)
        self._warn_of_expiry()

    async def _open(self) -> None:
        listen, metrics = self._ways.listen, self._ways.metrics
        app = self._webhook.app()
        await self._listen(
            "webhook",
            listen,
            serve(
                app,
                listen.host,
                listen.port,
                tls=self._certificate.context,
                connections=make_room(_CONNECTIONS),
                grace=_REVIEWS_END,
            ),
        )
        readiness = metrics_app(self._registry, lambda: self._is_ready)
        await self._listen("metrics", metrics, serve(readiness, metrics.host, metrics.port))

    async def _listen(self, name: str, address: Address, serving: Awaitable[web.AppRunner]) -> None:
        try:
            runner = await serving
        except socket.gaierror as error:
            raise OSError(error.errno, f"{error.strerror}; {_CORRECT}", str(address)) from None
        except OSError as error:
            number = error.errno or 0
            raise OSError(number, f"{os.strerror(number)}; {_CORRECT}", str(address)) from None
        self._runners.append(runner)
        _log.info("listening", extra={"listener": name, "host": address.host, "port": runner.addresses[0][1]})

    # --- what changes ---------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Before anything is read, so that no change of it is missed."""
        made_of = (self._paths.settings, *self._paths.config)
        configuration = watch(self._clock, lambda: made_of, _WATCH_SECONDS, self._reload)
        self._clock.spawn(configuration, "watch of the configuration")
        pair = files(self._paths.tls)
        self._clock.spawn(watch(self._clock, lambda: pair, _WATCH_SECONDS, self._renew), "watch of the certificate")
        await self._clock.sleep(0)  # they look for the first time

    async def _reload(self) -> None:
        """Offer what the files say now; if that cannot be used, what they said before."""
        try:
            self._webhook.offer = await self._clock.loop.run_in_executor(None, _offer, self._paths)
        except ValueError as error:  # Refused, BadSettings
            self._reloads.failed()
            _log.error(
                "reload failed, the old configuration stays in force", extra={"problems": str(error).splitlines()}
            )
        else:
            self._reloads.ok()
            _log.info("reloaded", extra={"image": self._webhook.offer.installation.image})

    async def _renew(self) -> None:
        """Show the certificate that the files have now; if it is none, the one before."""
        try:
            await self._clock.loop.run_in_executor(None, self._certificate.renew)
        except BadCertificate as error:
            _log.error("the new certificate is bad, the old one is still shown", extra={"problem": error.strerror})
        else:
            _log.info("certificate renewed", extra={"until": timestamp(self._certificate.not_after)})
        self._warn_of_expiry()

    def _warn_of_expiry(self) -> None:
        left = self._certificate.not_after - self._clock.wall()
        if left < _SOON:
            _log.warning("the certificate of the webhook expires soon", extra={"seconds": int(left)})

    # --- the end --------------------------------------------------------------------------------------------

    async def _until_stopped(self) -> int:
        while await self._signals.get() != "stop":
            await self._reload()
            await self._renew()
        self._is_ready = False
        self._webhook.is_ending = True
        _log.info("ending", extra={"linger": self._ways.linger})
        with suppress(TimeoutError):
            await self._clock.wait(self._second_stop(), self._ways.linger, TimeoutError())
            return 1
        _log.info("stopped")
        return 0

    async def _second_stop(self) -> None:
        while await self._signals.get() != "stop":
            pass


def _offer(paths: Paths) -> Offer:
    """Raises Refused, BadSettings; also for what no pod could be injected with."""
    offer = Offer(settings.load(paths.settings), carried(paths.config))
    pod = {"spec": {"containers": [{"name": "agent", "image": "agent"}]}}
    wish = wish_of(pod, offer.installation, unless_told=True)
    assert isinstance(wish, Wish)  # noqa: S101 -- it says nothing
    inject(pod, wish, offer.installation, offer.supply)
    return offer
