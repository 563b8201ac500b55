"""What the admin API may ask of the running program.

``app`` implements it; ``admin/api.py`` and its tests depend on nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

from proxy.stores.base import StoreError

Forced: TypeAlias = Literal["open", "closed", "auto"]
Settled: TypeAlias = Literal["done", "absent"]
"""What a person has found out about a call: it was carried out, or it was not."""
State: TypeAlias = Mapping[str, Any]
"""A JSON object, by the name of its fields; what is listed has a ``name``."""


class StoreDown(Exception):
    """A store could not be asked, or not to the end. The text says which, and why."""

    def __init__(self, detail: str, purged: int | None = None) -> None:
        super().__init__(detail)
        self.purged = purged  # answers of other stores that were forgotten all the same; None: none was to be


def told(name: str, error: StoreError) -> str:
    """What ``StoreDown`` says. ``name`` is the configuration's for the store, which has one of its own."""
    return f"The store {name!r} did not answer ({error.what}: {error.why}); ask again once it is up."


class NotSettled(Exception):
    """Nothing was settled: there is no doubt, or it is not clear which record is meant. The text says which."""

    def __init__(self, detail: str, records: Sequence[State]) -> None:
        super().__init__(detail)
        self.records = records  # as they are


class Control(Protocol):
    """The running program, as its operator handles it. Everything given out is JSON-able and free of secrets."""

    def status(self) -> State:
        """Version, time since start, readiness, hash of the configuration: what one wants to see first."""
        ...

    def breakers(self) -> Sequence[State]:
        """Every circuit breaker: its name, its state, and what led to it."""
        ...

    def buckets(self) -> Sequence[State]:
        """Every rate limit's bucket."""
        ...

    def pools(self) -> Sequence[State]:
        """Every pool of connections to an upstream."""
        ...

    def stores(self) -> Sequence[State]:
        """Every store of answers: its state (up or down), and what is in it as far as that is known."""
        ...

    async def cached(self, *, api: str | None, route: str | None, limit: int) -> Sequence[State]:
        """At most ``limit`` stored answers, newest first, each with an ``id``. Raises StoreDown."""
        ...

    async def look(self, ident: str) -> State | None:
        """One stored answer with its headers, by its ``id``. Raises StoreDown if it may be where none can look."""
        ...

    async def purge(self, *, api: str | None = None, route: str | None = None, ident: str | None = None) -> int:
        """Forget the stored answers that fit all that is given, or all; how many. Raises StoreDown."""
        ...

    def ledgers(self) -> Sequence[State]:
        """Every ledger: its state (up, or down and why), what is in it, and how many outcomes are not known."""
        ...

    async def unsettled(self, *, api: str | None, store: str | None, limit: int) -> Sequence[State]:
        """At most ``limit`` records of calls (of an api, in a ledger) whose outcome is not known, the oldest first.

        Raises StoreDown.
        """
        ...

    async def record(self, ident: str, *, store: str | None) -> State | None:
        """The record of a call by its ``id``, one in doubt before others. Raises StoreDown if it may be elsewhere."""
        ...

    async def settle(self, ident: str, outcome: Settled, *, store: str | None) -> State | None:
        """End the doubt about a call: its record as it is now, or {"id", "outcome": "absent"}; None if there is none.

        Raises NotSettled, and StoreDown if it may be elsewhere, or perhaps was settled.
        """
        ...

    def force_breaker(self, name: str, state: Forced) -> bool:
        """Hold a breaker open or closed whatever happens, or leave it to itself again; False if there is none."""
        ...

    def effective_config(self) -> State:
        """The configuration in force with every default filled in, its secrets masked."""
        ...

    async def reload(self) -> Sequence[str]:
        """Read the configuration again; problems, if there are any, and then the old one stays in force."""
        ...

    def set_log_level(self, level: str) -> None:
        """Log from this level on. Raises ValueError if there is no such level."""
        ...
