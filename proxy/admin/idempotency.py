"""Calls that must happen once in the control API: those whose outcome is not known, one of any, and the end of a doubt.

Made by ``admin/api.py``. Nothing wider than one record is settled at once: each was looked up at its vendor.
"""

from __future__ import annotations

from typing import get_args

from aiohttp import web

from proxy.admin.control import Control, NotSettled, Settled
from proxy.admin.guard import ProblemError
from proxy.admin.handlers import answered, ident_of, limit_of, listed, parameters, stores_answering, word


class IdempotencyApi:
    """The handlers."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def routes(self) -> list[web.RouteDef]:
        """What there is."""
        return [
            web.get("/v1/ledgers", listed("ledgers", self._control.ledgers)),
            web.get("/v1/idempotency", self._list),
            web.get("/v1/idempotency/{id}", self._look),
            web.post("/v1/idempotency/{id}", self._settle),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        asked = parameters(request, "api", "store", "limit")
        limit, store = limit_of(asked), self._store_of(asked)
        with stores_answering():
            found = await self._control.unsettled(api=asked.get("api"), store=store, limit=limit + 1)
        return answered({"records": list(found[:limit]), "more": len(found) > limit})

    async def _look(self, request: web.Request) -> web.Response:
        ident = ident_of(request, _nothing)
        store = self._store_of(parameters(request, "store"))
        with stores_answering():
            record = await self._control.record(ident, store=store)
        if record is None:
            raise _nothing(ident)
        return answered(record)

    async def _settle(self, request: web.Request) -> web.Response:
        ident = ident_of(request, _nothing)
        store = self._store_of(parameters(request, "store"))
        outcome = await word(request, "outcome", get_args(Settled))
        try:
            with stores_answering():
                record = await self._control.settle(ident, outcome, store=store)
        except NotSettled as error:
            raise ProblemError(409, str(error), records=list(error.records)) from None
        if record is None:
            raise _nothing(ident)
        return answered(record)

    def _store_of(self, asked: dict[str, str]) -> str | None:
        """Which ledger is meant, if one is. Raises ProblemError if there is no such: its list would be empty."""
        store, names = asked.get("store"), [each["name"] for each in self._control.ledgers()]
        if store is not None and store not in names:
            raise ProblemError(400, f"There is no ledger {store!r} in use; there is {', '.join(names) or 'none'}.")
        return store


def _nothing(ident: str) -> ProblemError:
    return ProblemError(
        404,
        f"There is no record of a call with the id {ident!r}; GET /v1/idempotency lists those that are in doubt.",
    )
