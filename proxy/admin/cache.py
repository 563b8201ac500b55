"""The stored answers in the control API: list, look at, purge.

Made by ``admin/api.py``. No purge is wider than it was asked to be: what it covers is named, everything too.
"""

from __future__ import annotations

from aiohttp import web

from proxy.admin.control import Control
from proxy.admin.guard import ProblemError
from proxy.admin.handlers import answered, ident_of, limit_of, parameters, stores_answering


class CacheApi:
    """The handlers."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def routes(self) -> list[web.RouteDef]:
        """What there is."""
        return [
            web.get("/v1/cache", self._list),
            web.delete("/v1/cache", self._purge),
            web.get("/v1/cache/{id}", self._look),
            web.delete("/v1/cache/{id}", self._purge_one),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        asked = parameters(request, "api", "route", "limit")
        limit = limit_of(asked)
        with stores_answering():
            found = await self._control.cached(api=asked.get("api"), route=asked.get("route"), limit=limit + 1)
        return answered({"entries": list(found[:limit]), "more": len(found) > limit})

    async def _look(self, request: web.Request) -> web.Response:
        ident = ident_of(request, _nothing)
        with stores_answering():
            entry = await self._control.look(ident)
        if entry is None:
            raise _nothing(ident)
        return answered(entry)

    async def _purge(self, request: web.Request) -> web.Response:
        asked = parameters(request, "api", "route", "all")
        named = asked.keys() - {"all"}
        if asked.get("all") != (None if named else "true"):
            raise ProblemError(
                400, "Say what to purge: ?api=NAME, ?route=NAME or both; or all of it, by ?all=true alone."
            )
        with stores_answering():
            purged = await self._control.purge(api=asked.get("api"), route=asked.get("route"))
        return answered({"purged": purged})

    async def _purge_one(self, request: web.Request) -> web.Response:
        ident = ident_of(request, _nothing)
        with stores_answering():
            purged = await self._control.purge(ident=ident)
        if not purged:
            raise _nothing(ident)
        return answered({"purged": purged})


def _nothing(ident: str) -> ProblemError:
    return ProblemError(404, f"There is no stored answer with the id {ident!r}; GET /v1/cache lists them.")
