"""Forgets what an unsafe call may have changed (RFC 9111, 4.4). Linked on every route of an api that caches at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.core import cache
from proxy.core.credentials import partition

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.flight import Flights
    from proxy.model import Exchange, Proceed, Response
    from proxy.stores.shelf import Shelf


class Invalidation:
    """See the module. A caller's call makes unsure what that caller is shown, and what all are."""

    __slots__ = ("_flights", "_origin", "_shelves")

    def __init__(self, shelves: Iterable[Shelf], flights: Flights, origin: tuple[str, bytes, int]) -> None:
        self._shelves = tuple(shelves)  # one for each set of rules that the api's routes have
        self._flights = flights
        self._origin = origin  # scheme, host and port of the upstream

    async def __call__(self, exchange: Exchange, proceed: Proceed, /) -> Response:
        """Proceed, then forget what the answer says may have changed."""
        response = await proceed(exchange)
        request = exchange.request
        if cache.unsafe(request.method):
            whose = partition(request.headers)
            for target in cache.invalidated(request.target, self._origin, response.status, response.headers):
                for shelf in self._shelves:
                    key = shelf.key(whose, b"GET", target)
                    self._flights.doom(key)
                    await shelf.forget(key)
        return response
