"""A configuration made runnable: the table of routes, a linked chain behind each. Built and replaced by app.py.

A request keeps the chain it began with; what must outlive a runtime is in state.py.
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.chain import link
from proxy.core.cross_site import of_a_page
from proxy.core.egress import Via
from proxy.core.placeholders import Dresser
from proxy.core.routing import ApiEntry, Found, Table, moved, normalise_host, port_of
from proxy.errors import CrossSite, Misdirected, WrongHost
from proxy.model import Chain
from proxy.unlisted import Unlisted
from proxy.wire.dial import Way
from proxy.wire.max_forwards import LIMITED, hop
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
        parts.survivors.guard.settings = config.egress
        self._placeholders = {
            api.name: [each.placeholder for each in api.credentials if each.placeholder] for api in config.apis
        }
        self._credentialed = {api.name for api in config.apis if api.credentials}
        self._endpoints = endpoints
        self._unlisted = Unlisted(config, parts, via, self._foreign(""))
        self._entries = {api.name: self._entry(api, endpoints[api.name]) for api in config.apis}
        self._table: Table[Chain] = Table(list(self._entries.values()))
        parts.survivors.drop_unused()

    def route(self, request: Request) -> Chain:
        """See server.Door.route. Raises Misdirected, EgressDenied, CrossSite."""
        if request.forward:
            return self._route_forward(request)
        found = self._table.find(request.host, request.target)
        if found is None:
            known = ", ".join(sorted(api.mount or api.host for api in self.config.apis)) or "none"
            raise Misdirected(f"No api is mounted at this path or has this host. There are: {known}.")
        if found.entry.name in self._credentialed:
            self._demand_agent(request, found.entry.name)
        return self._found(request, found)

    def _demand_agent(self, request: Request, api: str) -> None:
        """Credentials are not set for a page in a browser of the pod. Raises CrossSite."""
        host = b"" if self._table.named(request.host) is not None else request.host  # a name that no page can have
        if of_a_page(host, request.headers):
            raise CrossSite(f"Credentials are set on calls to {api}, and a page in a browser may be behind this one.")

    def _route_forward(self, request: Request) -> Chain:
        """A target in absolute-form: we are taken for a proxy."""
        found = self._table.find_named(request.host, request.target, _DEFAULT_PORTS[request.forward.decode()])
        if found is None and self._is_own(request.host):
            found = self._table.find(request.host, request.target)  # a base url at us, by way of us
        return self._unlisted.route(request) if found is None else self._found(request, found)

    def _is_own(self, host: bytes) -> bool:
        name, port = normalise_host(host), port_of(host)
        return any(port == own_port and name in {own, "localhost"} for own, own_port in self._parts.survivors.guard.own)

    def _found(self, request: Request, found: Found[Chain]) -> Chain:
        request.path, request.query, request.target = found.path, found.query, found.upstream_target
        chain = found.entry.pick(request.method, found.path)
        return hop(request, chain) if request.method in LIMITED else chain

    # --- connections that were caught (listener.Router) -------------------------------------------------

    def named(self, host: str, port: int) -> str | None:
        """See listener.Router."""
        entry = self._table.named((f"[{host}]" if ":" in host else host).encode("latin-1", "replace"), port)
        return None if entry is None else entry.name

    def bound(self, request: Request, api: str, port: int) -> Chain:
        """See listener.Router."""
        host = request.host
        found = self._table.find_named(host, request.target, port)
        if found is None or found.entry.name != api:
            raise WrongHost(f"This connection was made for {api}; {host.decode('latin-1')} is another host.")
        return self._found(request, found)

    def to_url(self, api: str) -> tuple[str, int, Way]:
        """See listener.Router."""
        endpoint = self._endpoints.get(api)
        if endpoint is None:
            raise WrongHost(f"{api} is not configured any more.")
        return endpoint.host, endpoint.port, endpoint.way

    def onward(self, host: str | None, port: int, via: Via, original: str | None = None) -> Way:
        """See listener.Router."""
        return self._unlisted.way(host, port, via, original)

    # --- linking ----------------------------------------------------------------------------------------

    def _foreign(self, api: str) -> list[bytes]:
        """The placeholders that a call to ``api`` may not carry."""
        return [each for name, given in self._placeholders.items() if name != api for each in given]

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
        foreign = self._foreign(api.name)
        dress = Dresser(api.credentials, foreign).dress if api.credentials or foreign else None
        upstream = Upstream(pool, self._via, declared_safe=declared_safe, dress=dress)
        return link(self._parts, api, route, policies, upstream, elsewhere=partial(self._elsewhere, api))

    def _elsewhere(self, own: Api, name: str, exchange: Exchange) -> tuple[Exchange, Proceed]:
        """See chain.Elsewhere: what ``own`` would have been asked for, asked of another api, as its own routes say."""
        entry, request = self._entries[name], exchange.request
        chain = entry.pick(request.method, request.path)
        call = request.revised(request.headers.copy())
        call.target = moved(request.target, own.base_path.encode("latin-1"), entry.base)
        call.upgrade = request.upgrade
        branch = exchange.branch(call)
        branch.api, branch.route, branch.inform = chain.api, chain.route, exchange.inform
        return branch, chain.inner

    def _endpoint(self, api: Api) -> Endpoint:
        default_port = api.port == _DEFAULT_PORTS[api.scheme]
        host = f"[{api.host}]" if ":" in api.host else api.host
        authority = host if default_port else f"{host}:{api.port}"
        guard = self._parts.survivors.guard
        way = Way(lambda found: guard.addresses(api.host, api.port, found, Via.API), api.upstream_proxy)
        if api.scheme == "http":
            return Endpoint(api.host, api.port, authority=authority.encode(), way=way)
        identity = _identity(api.tls)
        if identity not in self._contexts:
            self._contexts[identity] = client_context(
                ca_file=api.tls.ca_file, client_cert=api.tls.client_cert, client_key=api.tls.client_key
            )
        context, name = self._contexts[identity], api.tls.server_name
        return Endpoint(api.host, api.port, context, name, authority.encode(), identity=identity, way=way)


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
