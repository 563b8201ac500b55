"""The records of calls that must happen once, as their operator may see them; and the end of the doubt about one.

Used by ``control.py`` for the admin API. The rules:

1. What is shown has no body and no credential; target and key are masked as in ``entries.py``.
2. A person settles one record at a time, by its id, and only one whose outcome is not known. Where an id stands for a
   call in doubt in more than one ledger (an agent used its key on routes that keep theirs apart), none is settled until
   it is said which.
3. A ledger that is away is not passed over: what it may keep is neither left out of a list nor denied.
4. Whatever was settled, or may have been, leaves a line in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol

from proxy.admin.control import NotSettled, Settled, StoreDown, told
from proxy.admin.entries import masked
from proxy.core.idempotency import Record, State, settle, state_at
from proxy.core.idempotency_key import upstream_key
from proxy.stores.base import StoreError
from proxy.stores.ledger import LedgerStore
from proxy.telemetry.log import timestamp

_log = logging.getLogger("backstay")

_SEVERAL: Final = "More than one ledger has a call in doubt under this id; say which of them is meant, by ?store=NAME."
_DONE: Final = "It is known that this call was carried out: there is no doubt to end."
_RUNNING: Final = (
    "The owner of this call may still be at it. Its outcome is in doubt once the owner says so, or is silent until its"
    " lease is over; ask again then."
)


class Ledgers(Protocol):
    """What is needed of the ledgers in use; ``survivors.ledgers`` is one."""

    @property
    def stores(self) -> Mapping[str, LedgerStore]:
        """Their stores, by the configuration's names: memory, ledger, shared."""
        ...

    def now(self, name: str) -> float:
        """The present time by the clock that a store goes by, in seconds."""
        ...

    async def settle(self, name: str, ident: str, *, done: bool) -> bool:
        """See LedgerStore.settle. Raises StoreError."""
        ...


class Held(NamedTuple):
    """A record, the ledger that has it, and how it stood when that was asked."""

    store: str  # its configuration name
    record: Record
    state: State
    now: float  # by the clock of the ledger
    wall: float  # the same moment in epoch seconds


# --- what is shown ------------------------------------------------------------------------------------------


def shown(held: Held) -> dict[str, Any]:
    """A record, JSON-able.

    ``age``, ``lease_ends_in`` (while its owner is at it) and ``expires_in`` are in seconds. ``status`` is None while
    there is no answer, and if it was a person who said that the call was carried out. ``key`` is the one by which the
    vendor may know the call.
    """
    record = held.record
    derived = not record.subject.key
    lease = record.lease_until - held.now if held.state is State.RUNNING else None
    until = record.until - held.now
    return {
        "id": record.ident,
        "api": record.subject.api,
        "route": record.subject.route,
        "method": record.subject.method,
        "target": masked(record.subject.target),
        "key": upstream_key(record.ident, record.nonce).decode() if derived else masked(record.subject.key),
        "derived": derived,
        "state": held.state.value,
        "since": timestamp(held.wall - age(held)),
        "age": round(age(held), 3),
        "lease_ends_in": None if lease is None else _left(lease),
        "expires_in": _left(until if lease is None else max(until, lease)),  # not while its owner has a lease
        "reservations": record.number,
        "status": record.status or None,
        "answer_kept": record.answer is not None,
        "in_doubt": record.doubt,
        "store": held.store,
    }


def age(held: Held) -> float:
    """Seconds since the first reservation; not below 0, as the clock of a store elsewhere is only known roughly."""
    return max(held.now - held.record.created, 0.0)


def condition(name: str, store: LedgerStore) -> dict[str, Any]:
    """How a ledger is, as far as it knows; its weaknesses are what keeps it from keeping its word."""
    return {
        "name": name,
        "state": "up" if store.up else "down",
        "why": None if store.up else store.why,
        "unknown": store.unknown,
        "records": store.count,
        "bytes": store.bytes,
        "limit": getattr(store, "limit", None),
        "weaknesses": list(getattr(store, "weaknesses", ())),
    }


def _left(seconds: float) -> float:
    return round(max(seconds, 0.0), 3)


# --- what may be asked of all ledgers -----------------------------------------------------------------------


class Records:
    """See the module, and admin.control.Control for the methods. ``wall`` tells epoch seconds.

    ``veil``, of an api's name and a target, takes out of that what the url of the api has of secrets.
    """

    def __init__(self, ledgers: Ledgers, wall: Callable[[], float], veil: Callable[[str, str], str]) -> None:
        self._ledgers = ledgers
        self._wall = wall
        self._veil = veil

    def ledgers(self) -> list[dict[str, Any]]:
        """See Control."""
        return [condition(name, store) for name, store in self._stores(None)]

    async def unsettled(self, *, api: str | None, store: str | None, limit: int) -> list[dict[str, Any]]:
        """See Control."""
        found: list[Held] = []
        for name, ledger in self._stores(store):
            now, wall = self._ledgers.now(name), self._wall()  # before it is asked: a reload may let go of it meanwhile
            try:
                records = await ledger.unsettled(api=api, limit=limit)
            except StoreError as error:
                raise StoreDown(told(name, error)) from None
            found += [Held(name, record, State.UNKNOWN, now, wall) for record in records]
        found.sort(key=age, reverse=True)  # each has it by its own clock
        return [self._shown(held) for held in found[:limit]]

    async def look(self, ident: str, *, store: str | None) -> dict[str, Any] | None:
        """See Control."""
        found, failure = await self._find(ident, store)
        if failure and not found:
            raise StoreDown(failure)
        return self._shown(found[0]) if found else None

    async def settle(self, ident: str, outcome: Settled, *, store: str | None) -> dict[str, Any] | None:
        """See Control."""
        held = await self._meant(ident, store)
        if held is None or held.store not in self._ledgers.stores:  # a reload has just let go of it
            return None
        if not await self._tell(held, outcome):
            await self._refuse(held)
            return None
        if outcome == "absent":
            return {"id": ident, "api": held.record.subject.api, "store": held.store, "outcome": outcome}
        settle(held.record, held.now)  # as the ledger has done with its own
        return self._shown(held._replace(state=State.DONE))

    def _shown(self, held: Held) -> dict[str, Any]:
        found = shown(held)
        return found | {"target": self._veil(found["api"], found["target"])}

    async def _meant(self, ident: str, store: str | None) -> Held | None:
        """The record that is to be settled, if there is one: whether it may be, its ledger says."""
        found, failure = await self._find(ident, store)
        doubted = [held for held in found if held.state is State.UNKNOWN]
        if len(doubted) > 1:
            raise NotSettled(_SEVERAL, [self._shown(held) for held in doubted])
        if failure and not doubted:
            raise StoreDown(failure)
        return found[0] if found else None

    async def _tell(self, held: Held, outcome: Settled) -> bool:
        ident, api = held.record.ident, held.record.subject.api
        fields = {"id": ident, "api": api, "store": held.store, "outcome": outcome}
        try:
            settled = await self._ledgers.settle(held.store, ident, done=outcome == "done")
        except StoreError as error:
            _log.warning("call perhaps settled", extra={**fields, "why": error.why})
            raise StoreDown(told(held.store, error)) from None
        if settled:
            _log.info("call settled", extra=fields)
        return settled

    async def _refuse(self, held: Held) -> None:
        """There was no doubt to end, or it has just ended. Returns if the record is gone."""
        record = await self.look(held.record.ident, store=held.store)
        if record is not None:
            raise NotSettled(_DONE if record["state"] == State.DONE.value else _RUNNING, [record])

    async def _find(self, ident: str, store: str | None) -> tuple[list[Held], str]:
        """The records of that name, those in doubt first; and what a ledger that did not answer has to say."""
        found: list[Held] = []
        failure = ""
        for name, ledger in self._stores(store):
            now, wall = self._ledgers.now(name), self._wall()
            try:
                record = await ledger.look(ident)
            except StoreError as error:
                failure = told(name, error)
                continue
            if record is not None:
                found.append(Held(name, record, state_at(record, now), now, wall))
        found.sort(key=lambda held: held.state is not State.UNKNOWN)
        return found, failure

    def _stores(self, store: str | None) -> list[tuple[str, LedgerStore]]:
        return sorted((name, each) for name, each in self._ledgers.stores.items() if store in {None, name})
