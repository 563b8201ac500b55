"""What an operator may see and do: the running program as admin/control.py describes it. Made by app.py."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from proxy import __version__
from proxy.admin.control import StoreDown, told
from proxy.admin.entries import MASK, shown, shown_whole, veiled
from proxy.admin.records import Records
from proxy.core.breaker import State
from proxy.stores.base import StoreError, ident_of
from proxy.telemetry.log import set_level

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.admin.control import Settled
    from proxy.app import App
    from proxy.config.settings import Config
    from proxy.core.freshness import CacheSettings
    from proxy.stores.base import CacheStore, Listed

    _Show: TypeAlias = Callable[[Listed, str, CacheSettings | None, float], dict[str, Any]]

_log = logging.getLogger("backstay")

_FORCED: Final = {"open": State.FORCED_OPEN, "closed": State.DISABLED, "auto": None}


class Controls:
    """See admin.control.Control."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._records = Records(app.survivors.ledgers, app.clock.wall, self._veil)

    def status(self) -> dict[str, Any]:
        """See Control."""
        app = self._app
        return {
            "version": __version__,
            "ready": app.ready,
            "uptime_seconds": round(app.clock.now() - app.started, 3),
            "config": app.config.digest[:12],
            "apis": [api.name for api in app.config.apis],
            "connections": app.listener.connections,
            "busy": app.listener.busy,
            "stores": {each["name"]: each["state"] for each in self.stores()},
            "ledgers": {each["name"]: each["state"] for each in self.ledgers()},
            "unknown_outcomes": {each["name"]: each["unknown"] for each in self.ledgers()},
        }

    def breakers(self) -> list[dict[str, Any]]:
        """See Control."""
        now = self._app.clock.now()
        return [{"name": name} | each.snapshot(now) for name, each in sorted(self._app.survivors.breakers.items())]

    def buckets(self) -> list[dict[str, Any]]:
        """See Control."""
        now = self._app.clock.now()
        return [{"name": name} | each.snapshot(now) for name, each in sorted(self._app.survivors.buckets.items())]

    def pools(self) -> list[dict[str, Any]]:
        """See Control."""
        return [
            {"name": name, "host": pool.endpoint.host, "port": pool.endpoint.port, "max": pool.max_connections}
            | pool.counts()
            for name, pool in sorted(self._app.survivors.pools.items())
        ]

    def stores(self) -> list[dict[str, Any]]:
        """See Control."""
        return [_condition(name, store) for name, store in self._stores()]

    async def cached(self, *, api: str | None, route: str | None, limit: int) -> list[dict[str, Any]]:
        """See Control."""
        found: list[tuple[str, Listed]] = []
        for name, store in self._stores():
            try:
                listed = await store.entries(api=api, route=route, limit=limit)
            except StoreError as error:
                raise StoreDown(told(name, error)) from None
            found += [(name, each) for each in listed]
        found.sort(key=lambda pair: pair[1].stored.received_at, reverse=True)
        return [self._shown(shown, each, name) for name, each in found[:limit]]

    async def look(self, ident: str) -> dict[str, Any] | None:
        """See Control."""
        failure = ""
        for name, store in self._stores():
            try:
                found = await store.look(ident)
            except StoreError as error:
                failure = told(name, error)
                continue
            if found is not None:
                return self._shown(shown_whole, found, name)
        if failure:
            raise StoreDown(failure)
        return None

    async def purge(self, *, api: str | None = None, route: str | None = None, ident: str | None = None) -> int:
        """See Control."""
        self._doom(api, route, ident)
        purged, failure = 0, ""
        for name, store in self._stores():
            try:
                purged += await store.purge(api=api, route=route, ident=ident)
            except StoreError as error:
                failure = told(name, error)
        _log.info("cache purged", extra={"api": api, "route": route, "ident": ident, "purged": purged})
        if failure:
            raise StoreDown(failure, purged)
        return purged

    def _stores(self) -> list[tuple[str, CacheStore]]:
        return sorted(self._app.survivors.shelves.stores.items())

    def _doom(self, api: str | None, route: str | None, ident: str | None) -> None:
        """What is under way is not stored either: it may be about to confirm what is purged."""
        flights = self._app.survivors.shelves.flights
        for flight in list(flights):
            call, key = flight.branch, flight.read.key
            if api in {None, call.api} and route in {None, call.route} and ident in {None, ident_of(key)}:
                flights.doom(key)

    def _shown(self, show: _Show, listed: Listed, store: str) -> dict[str, Any]:
        rules = _rules(self._app.config, listed.stored.api, listed.stored.route)
        found = show(listed, store, rules, self._app.clock.wall())
        return found | {"target": self._veil(found["api"], found["target"])}

    def _veil(self, name: str, target: str) -> str:
        """A target, less what the url of its api has of secrets."""
        config = self._app.config
        api = next((each for each in config.apis if each.name == name), None)
        if api is None:
            return target
        _, slash, path = str(config.effective["apis"][name]["url"]).partition("//")[2].partition("/")
        shown_path = slash + path.rstrip("/")
        return veiled(target, api.base_path, shown_path if slash or not api.base_path else f"/{MASK}")

    def ledgers(self) -> list[dict[str, Any]]:
        """See Control."""
        return self._records.ledgers()

    async def unsettled(self, *, api: str | None, store: str | None, limit: int) -> list[dict[str, Any]]:
        """See Control."""
        return await self._records.unsettled(api=api, store=store, limit=limit)

    async def record(self, ident: str, *, store: str | None) -> dict[str, Any] | None:
        """See Control."""
        return await self._records.look(ident, store=store)

    async def settle(self, ident: str, outcome: Settled, *, store: str | None) -> dict[str, Any] | None:
        """See Control."""
        return await self._records.settle(ident, outcome, store=store)

    def force_breaker(self, name: str, state: str) -> bool:
        """See Control."""
        breaker = self._app.survivors.breakers.get(name)
        if breaker is None:
            return False
        breaker.force(_FORCED[state], self._app.clock.now())
        return True

    def effective_config(self) -> dict[str, Any]:
        """See Control."""
        return dict(self._app.config.effective)

    async def reload(self) -> list[str]:
        """See Control."""
        return await self._app.reload()

    def set_log_level(self, level: str) -> None:
        """See Control."""
        set_level(level)


def _condition(name: str, store: CacheStore) -> dict[str, Any]:
    """How a store is, as far as it knows: one outside of this process knows less of itself, and may be down."""
    return {
        "name": name,
        "state": "up" if getattr(store, "up", True) else "down",
        "entries": getattr(store, "count", None),
        "bytes": getattr(store, "bytes", None),
        "limit": getattr(store, "limit", None),
    }


def _rules(config: Config, api: str, route: str) -> CacheSettings | None:
    """What says how long an answer of this route is fresh, if that is still cached."""
    for each in config.apis:
        if each.name == api:
            own = next((one.policies for one in each.routes if one.name == route), each.policies)
            return own.cache
    return None
