"""Calls through the forward proxy to hosts that no api names: sent on as they are, if egress allows.

Made by runtime.py. They have one chain, of observe, attempts and timeouts, and a pool for each destination; the least
used of these go first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.chain import link
from proxy.config.settings import Api, Policies
from proxy.core.egress import Via
from proxy.core.placeholders import Dresser
from proxy.core.routing import normalise_host, normalise_path, port_of
from proxy.wire.dial import Way
from proxy.wire.max_forwards import LIMITED, hop
from proxy.wire.pool import Endpoint, Pool, Upstream
from proxy.wire.tls import client_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from proxy.config.settings import Config
    from proxy.model import Attempt, Chain, Request, Response
    from proxy.state import Parts

_PORTS: Final = {b"http": 80, b"https": 443}
_ROUTE: Final = "unlisted"  # with an empty api, as labels of metrics
_IDLE_SECONDS: Final = 30.0
_CONNECTIONS: Final = 100


class Unlisted:
    """See the module."""

    def __init__(self, config: Config, parts: Parts, via: bytes, placeholders: Sequence[bytes]) -> None:
        self._config = config
        self._parts = parts
        self._via = via
        self._dresser = Dresser((), placeholders) if placeholders else None
        self._tls: ssl.SSLContext | None = None
        nobody = Api(name="", scheme="http", host="", port=0)
        self._chain = link(parts, nobody, _ROUTE, Policies(breaker=None), self._send)

    def route(self, request: Request) -> Chain:
        """What serves a request with a target in absolute-form. Raises EgressDenied."""
        host, port = _destination(request)
        self._parts.survivors.guard.name(host, port, Via.FORWARD)
        raw, _, request.query = request.target.partition(b"?")
        request.path = normalise_path(raw) if raw.startswith(b"/") else "*"
        return hop(request, self._chain) if request.method in LIMITED else self._chain

    def way(self, host: str | None, port: int, via: Via, original: str | None = None) -> Way:
        """How such a destination is reached."""
        guard = self._parts.survivors.guard
        return Way(
            lambda addresses: guard.addresses(host, port, addresses, via, original=original),
            self._config.upstream_proxy,
        )

    async def _send(self, attempt: Attempt) -> Response:
        """See model.Send."""
        request = attempt.exchange.request
        host, port = _destination(request)
        # Of the host as it is spelt, for so it is told to the vendor; and a call may outlive its configuration.
        key = (request.forward, request.host, self._config.upstream_proxy)
        pool = self._parts.survivors.passing(key, lambda: self._pool(request, host, port))
        dress = None if self._dresser is None else self._dresser.dress
        return await Upstream(pool, self._via, declared_safe=False, dress=dress)(attempt)

    def _pool(self, request: Request, host: str, port: int) -> Pool:
        secure = request.forward == b"https"
        if secure and self._tls is None:
            self._tls = client_context()
        endpoint = Endpoint(
            host=host,
            port=port,
            tls=self._tls if secure else None,
            authority=request.host,
            identity=request.forward.decode(),
            way=self.way(host, port, Via.FORWARD),
        )
        return Pool(
            self._parts.clock,
            endpoint,
            self._parts.scratch,
            max_connections=_CONNECTIONS,
            idle_seconds=_IDLE_SECONDS,
            header_limit=self._config.limits.header_bytes,
        )

    def __repr__(self) -> str:
        return f"<Unlisted {self._config.egress.unlisted}>"


def _destination(request: Request) -> tuple[str, int]:
    return normalise_host(request.host), port_of(request.host, _PORTS[request.forward])
