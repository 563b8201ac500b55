"""A configuration made runnable: the table of routes, a linked chain behind each. Built and replaced by app.py.

A request keeps the chain it began with; what must outlive a runtime is in state.py.
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.chain import link
from proxy.core.routing import ApiEntry, Table
from proxy.errors import Misdirected
from proxy.model import Chain
from proxy.wire.pool import Endpoint, Pool, Upstream
from proxy.wire.tls import client_context

if TYPE_CHECKING:
    import ssl

    from proxy.config.settings import Api, Config, Policies, Tls
    from proxy.model import Exchange, Proceed, Request
    from proxy.state import Parts

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Runtime:
    """Routes requests by one configuration. Implements listener.Router."""

    def __init__(self, config: Config, parts: Parts, via: bytes) -> None:
        """Link everything.

        Raises:
            OSError, ssl.SSLError: a file of ``tls`` or of ``stores.shared`` cannot be read or holds nothing usable.
        """
        self.config = config
        self._parts = parts
        self._via = via
        self._contexts: dict[str, ssl.SSLContext] = {}
        # Everything that can fail comes first: a runtime that cannot be built must change nothing that runs.
        endpoints = {api.name: self._endpoint(api) for api in config.apis}
        _try_shared(config)
        parts.survivors.shelves.configure(config)
        parts.survivors.ledgers.configure(config)
        self._entries = {api.name: self._entry(api, endpoints[api.name]) for api in config.apis}
        self._table: Table[Chain] = Table(list(self._entries.values()))
        parts.survivors.drop_unused()

    def route(self, request: Request) -> Chain:
        """See server.Door.route. Raises Misdirected."""
        found = self._table.find(request.host, request.target)
        if found is None:
            known = ", ".join(sorted(api.mount or api.host for api in self.config.apis)) or "none"
            raise Misdirected(f"No api is mounted at this path or has this host. There are: {known}.")
        request.path, request.query, request.target = found.path, found.query, found.upstream_target
        return found.entry.pick(request.method, found.path)

    def _entry(self, api: Api, endpoint: Endpoint) -> ApiEntry[Chain]:
        pool = self._parts.survivors.pool(
            api.name,
            Pool(
                self._parts.clock,
                endpoint,
                self._parts.scratch,
                max_connections=api.max_connections,
                idle_seconds=api.idle_connection,
                header_limit=self.config.limits.header_bytes,
            ),
        )

        default = self._chain(api, "default", api.policies, pool)  # first: what the api shares goes by its own rules
        routes = [(route.match, self._chain(api, route.name, route.policies, pool)) for route in api.routes]
        return ApiEntry(
            name=api.name,
            mount=api.mount,
            hosts=(api.host, *api.hosts),
            base_path=api.base_path,
            port=api.port,
            routes=tuple(routes),
            default=default,
        )

    def _chain(self, api: Api, route: str, policies: Policies, pool: Pool) -> Chain:
        declared_safe = policies.retry is not None and policies.retry.safe
        upstream = Upstream(pool, self._via, declared_safe=declared_safe)
        return link(self._parts, api, route, policies, upstream, elsewhere=partial(self._elsewhere, api))

    def _elsewhere(self, own: Api, name: str, exchange: Exchange) -> tuple[Exchange, Proceed]:
        """See chain.Elsewhere: what ``own`` would have been asked for, asked of another api, as its own routes say."""
        entry, request = self._entries[name], exchange.request
        chain = entry.pick(request.method, request.path)
        call = request.revised(request.headers.copy())
        call.target = entry.base + request.target.removeprefix(own.base_path.encode("latin-1")) or b"/"
        call.upgrade = request.upgrade
        branch = exchange.branch(call)
        branch.api, branch.route, branch.inform = chain.api, chain.route, exchange.inform
        return branch, chain.inner

    def _endpoint(self, api: Api) -> Endpoint:
        default_port = api.port == _DEFAULT_PORTS[api.scheme]
        host = f"[{api.host}]" if ":" in api.host else api.host
        authority = host if default_port else f"{host}:{api.port}"
        if api.scheme == "http":
            return Endpoint(api.host, api.port, authority=authority.encode())
        identity = _identity(api.tls)
        if identity not in self._contexts:
            self._contexts[identity] = client_context(
                ca_file=api.tls.ca_file, client_cert=api.tls.client_cert, client_key=api.tls.client_key
            )
        return Endpoint(
            api.host, api.port, self._contexts[identity], api.tls.server_name, authority.encode(), identity=identity
        )


def _try_shared(config: Config) -> None:
    """See to it that the shared store can be made, if anything is kept there."""
    policies = [each for api in config.apis for each in (api.policies, *[route.policies for route in api.routes])]
    named = {user.store for each in policies for user in (each.cache, each.idempotency) if user is not None}
    if config.stores_shared is not None and "shared" in named:
        from proxy.stores.redis_pool import make_pool

        make_pool(config.stores_shared, 1.0)  # connects to nothing


def _identity(tls: Tls) -> str:
    """Names a TLS setting by the contents of its files, which are rotated in place."""
    digest = hashlib.sha256(b"tls")
    for name in (tls.ca_file, tls.client_cert, tls.client_key):
        digest.update(b"\0" + (b"" if name is None else Path(name).read_bytes()))
    return digest.hexdigest()
