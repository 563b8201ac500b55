"""The two HTTP services beside the data plane: metrics and health for everybody, status and control for the operator.

``app`` makes both and serves them; ``kubernetes/injector.py`` serves a webhook likewise. They import this module late:
aiohttp's server comes with it, and costs 12 MB.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
import ssl
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any, Final, cast, get_args

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder

from proxy.admin.cache import CacheApi
from proxy.admin.control import Control, Forced
from proxy.admin.guard import ProblemError, guard
from proxy.admin.handlers import answered, listed, shown, word
from proxy.admin.idempotency import IdempotencyApi
from proxy.admin.page import page
from proxy.telemetry.metrics import Registry

_http_log = logging.getLogger("backstay.http")

_LARGEST_BODY: Final = 4096  # bytes; what is sent here is one short object
_KEEP_ALIVE: Final = 75.0  # seconds; above the usual scrape interval
_SHUTDOWN: Final = 1.0  # second that answers in the making get
_HANDSHAKE: Final = 10.0  # seconds for one of TLS
_MOST_CONNECTIONS: Final = 64  # at once; what scrapes, probes and operates needs a few


# --- metrics and health: read-only and open --------------------------------------------------------


def metrics_app(registry: Registry, readiness: Callable[[], bool]) -> web.Application:
    """/metrics, /healthz (the loop lives) and /readyz (200, or 503 while ``readiness`` says no)."""
    app = web.Application()
    app.on_response_prepare.append(_name_no_software)
    app.router.add_get("/metrics", _exposition(registry))
    app.router.add_get("/healthz", _healthy)
    app.router.add_get("/readyz", _ready(readiness))
    return app


def _exposition(registry: Registry) -> Callable[[web.Request], Awaitable[web.Response]]:
    collectors = CollectorRegistry(auto_describe=False)
    collectors.register(registry.collector())
    ProcessCollector(registry=collectors)

    async def metrics(request: web.Request) -> web.Response:
        encode, content_type = _encoder(",".join(request.headers.getall("Accept", [])))
        return web.Response(body=encode(collectors), headers={"Content-Type": content_type})

    return metrics


def _encoder(accept: str) -> tuple[Callable[[Any], bytes], str]:
    try:
        return choose_encoder(accept)
    except TypeError:  # prometheus_client compares a version that is no number with one that is
        return choose_encoder("")


async def _healthy(_: web.Request) -> web.Response:
    return web.json_response({"status": "alive"})


def _ready(readiness: Callable[[], bool]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def ready(_: web.Request) -> web.Response:
        if readiness():
            return web.json_response({"status": "ready"})
        return web.json_response({"status": "unready", "reason": "starting or draining"}, status=503)

    return ready


async def _name_no_software(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "backstay"  # and not the versions of Python and aiohttp


# --- status and control: always behind the token ---------------------------------------------------


def admin_app(control: Control, token: str, *, hosts: Collection[str] = ()) -> web.Application:
    """The control API and the status page.

    ``hosts`` are the names, besides addresses and localhost, by which it may be called. Raises ValueError if the
    token is empty.
    """
    app = web.Application(middlewares=[guard(token, hosts)], client_max_size=_LARGEST_BODY)
    app.on_response_prepare.append(_name_no_software)
    app.add_routes(_Api(control).routes())
    return app


class _Api:
    """The handlers of the control API."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def routes(self) -> list[web.RouteDef]:
        """What there is, in the order of a first visit."""
        control = self._control
        return [
            web.get("/", self._page),
            web.get("/v1/status", shown(control.status)),
            web.get("/v1/breakers", listed("breakers", control.breakers)),
            web.put("/v1/breakers/{name:.+}", self._force_breaker),
            web.post("/v1/breakers/{name:.+}", self._force_breaker),
            web.get("/v1/buckets", listed("buckets", control.buckets)),
            web.get("/v1/pools", listed("pools", control.pools)),
            web.get("/v1/config", shown(control.effective_config)),
            *CacheApi(control).routes(),
            *IdempotencyApi(control).routes(),
            web.post("/v1/reload", self._reload),
            web.put("/v1/log", self._set_log_level),
        ]

    async def _page(self, _: web.Request) -> web.Response:
        return web.Response(text=page(self._control))

    async def _force_breaker(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        state = await word(request, "state", get_args(Forced))
        if not self._control.force_breaker(name, state):
            raise _no_breaker(name, [each["name"] for each in self._control.breakers()])
        return answered(next(each for each in self._control.breakers() if each["name"] == name))

    async def _reload(self, _: web.Request) -> web.Response:
        if problems := await self._control.reload():
            raise ProblemError(
                422, "The new configuration is not usable; the old one stays in force.", problems=list(problems)
            )
        return answered({"reloaded": True})

    async def _set_log_level(self, request: web.Request) -> web.Response:
        level = await word(request, "level")
        try:
            self._control.set_log_level(level)
        except ValueError as error:
            raise ProblemError(400, str(error)) from None
        return answered({"level": level})


def _no_breaker(name: str, names: list[str]) -> ProblemError:
    near = difflib.get_close_matches(name, names)
    meant = f" Did you mean {' or '.join(near)}?" if near else ""
    return ProblemError(404, f"There is no breaker named {name!r}.{meant}", near=near, breakers=names)


# --- serving -------------------------------------------------------------------------------------


class _Site(web.TCPSite):
    """Holds a few connections, the newest: whoever opens many and says nothing takes nobody's place for long.

    The metrics may be open to a whole cluster, and what they hold in file descriptors, calls of agents would lack.
    """

    __slots__ = ("_address", "_most", "_tls")

    def __init__(self, runner: web.AppRunner, host: str, port: int, tls: ssl.SSLContext | None, most: int) -> None:
        super().__init__(runner, host, port)
        self._address = (host, port)
        self._tls = tls
        self._most = most

    async def start(self) -> None:
        """See aiohttp: the same, less what we do not use, with another factory of protocols."""
        await web.BaseSite.start(self)
        factory = partial(_newest, cast("web.Server", self._runner.server), self._most)
        self._server = await asyncio.get_running_loop().create_server(
            factory,
            *self._address,
            ssl=self._tls,
            ssl_handshake_timeout=None if self._tls is None else _HANDSHAKE,
        )


def _newest(server: web.Server, most: int) -> web.RequestHandler:
    held = server.connections  # the oldest first
    for handler in held[: max(len(held) + 1 - most, 0)]:
        if handler.transport is not None:
            handler.transport.abort()  # a close would wait for what it does not read
    return server()


async def serve(
    app: web.Application,
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    connections: int = _MOST_CONNECTIONS,
    grace: float = _SHUTDOWN,
) -> web.AppRunner:
    """Serve ``app`` until ``cleanup()`` of what is returned; its ``addresses`` tell the port if ``port`` is 0.

    ``connections`` are held at once; ``grace`` seconds are for answers in the making at the end. Raises OSError.
    """
    _http_log.addFilter(_is_worth_a_line)
    runner = web.AppRunner(
        app, access_log=None, logger=_http_log, keepalive_timeout=_KEEP_ALIVE, shutdown_timeout=grace
    )
    await runner.setup()
    try:
        await _Site(runner, host, port, tls, connections).start()
    except OSError:
        await runner.cleanup()
        raise
    return runner


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """Malformed HTTP is not: anybody may send it, and aiohttp would quote it, header values and all, with a trace."""
    return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)
