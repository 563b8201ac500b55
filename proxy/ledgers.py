"""The ledgers of this process, by the names that the configuration has for them. Held by state.py, for chain.py.

One is made when a route first asks for it, since only then its library has to be imported, and survives every reload:
what is known of a call must not be lost because a file changed. One that is not named any more ends what it is at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from proxy.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.clock import Clock
    from proxy.config.settings import Config
    from proxy.stores.ledger import LedgerStore
    from proxy.stores.ledger_memory import MemoryLedger
    from proxy.stores.ledger_sqlite import SqliteLedger
    from proxy.telemetry.metrics import Registry

MEMORY: Final = "memory"
FILE: Final = "ledger"
SHARED: Final = "shared"
_DEPENDENCIES: Final = {FILE: "ledger", SHARED: "shared_ledger"}  # names for backstay_dependency_up
_LAST_SECONDS: Final = 2.0  # for calls that are being cut to tell how they ended
_PAUSE: Final = 0.02


class Ledgers:
    """See the module."""

    def __init__(self, clock: Clock, registry: Registry) -> None:
        self._clock = clock
        self._registry = registry
        self._epoch = f"{int(clock.chance() * 16**12):012x}"
        self._memory_limit = 32 << 20  # bytes
        self._file_limit = 256 << 20  # bytes
        self._file: str | None = None  # path
        self._url: str | None = None  # of the shared one
        self._ledgers: dict[str, Ledger] = {}
        self._leaving: list[Ledger] = []  # let go, while calls that began with them are under way
        self._made = 0  # each has tokens of its own: one that was let go may still be at work on the same records
        self._used: set[str] = set()  # in the present linking
        self._evicted = 0  # by ledgers that were let go: a counter does not fall
        registry.computed("backstay_idempotency_unknown_records", self._unknown)

    def configure(self, config: Config) -> None:
        """What holds from the next linking on."""
        self._memory_limit, self._file_limit = config.limits.memory_idempotency, config.limits.disk_ledger
        for name, limit in ((MEMORY, self._memory_limit), (FILE, self._file_limit)):
            if name in self._ledgers:
                cast("MemoryLedger | SqliteLedger", self._ledgers[name].store).limit = limit
        if config.stores_ledger != self._file:
            self._file = config.stores_ledger
            self._let_go(FILE)
        if config.stores_shared != self._url:
            self._url = config.stores_shared
            self._let_go(SHARED)

    def ledger(self, name: str) -> Ledger:
        """The ledger of that name: memory, ledger or shared."""
        self._used.add(name)
        if name not in self._ledgers:
            self._made += 1
            count_error = self._registry.counter("backstay_store_errors_total", store=name, mode="owed").inc
            epoch = f"{self._epoch}-{self._made:x}"
            self._ledgers[name] = Ledger(self._store(name), self._clock, epoch, count_error)
        return self._ledgers[name]

    @property
    def stores(self) -> dict[str, LedgerStore]:
        """Those that are in use, by name."""
        return {name: ledger.store for name, ledger in self._ledgers.items()}

    @property
    def evictions(self) -> int:
        """Bodies of answers that made room for records."""
        return self._evicted + sum([store.evictions for store in self.stores.values()])

    @property
    def under_way(self) -> int:
        """Calls that this process makes, and that must come to their end, until it has been told."""
        return sum([ledger.busy for ledger in (*self._ledgers.values(), *self._leaving)])

    def now(self, name: str) -> float:
        """See LedgerStore."""
        return self._ledgers[name].store.now()

    async def settle(self, name: str, ident: str, *, done: bool) -> bool:
        """A person ends the doubt about a call: see LedgerStore. Raises StoreError, or KeyError for another name."""
        return await self._ledgers[name].settle(ident, done=done)

    def up(self) -> Iterator[tuple[dict[str, str], float]]:
        """Of each ledger outside of this process, whether it can be asked."""
        for name, dependency in _DEPENDENCIES.items():
            if name in self._ledgers:
                yield {"name": dependency}, float(self._ledgers[name].store.up)

    def drop_unused(self) -> None:
        """Let go of what was not asked for since the last call. Memory stays: what is in it still protects."""
        used, self._used = self._used, set()
        for name in (FILE, SHARED):
            if name not in used:
                self._let_go(name)

    async def close(self) -> None:
        """Have the calls that are being cut say how they ended, and close the stores."""
        leaving, self._leaving = self._leaving, []
        for ledger in (*self._ledgers.values(), *leaving):
            await self._end(ledger)

    def _store(self, name: str) -> LedgerStore:
        if name == FILE:
            from proxy.stores.ledger_sqlite import SqliteLedger

            assert self._file is not None  # noqa: S101 - the configuration was checked
            return SqliteLedger(self._file, self._clock, epoch=self._epoch, limit=self._file_limit)
        if name == SHARED:
            from proxy.stores.ledger_redis import RedisLedger

            assert self._url is not None  # noqa: S101 - the configuration was checked
            return RedisLedger(self._url, self._clock)
        from proxy.stores.ledger_memory import MemoryLedger

        return MemoryLedger(self._memory_limit, self._clock.now)

    def _let_go(self, name: str) -> None:
        ledger = self._ledgers.pop(name, None)
        if ledger is not None:
            self._evicted += ledger.store.evictions
            self._leaving.append(ledger)
            self._clock.spawn(self._outlive(ledger), f"the end of a ledger in {ledger.store.name}")

    async def _outlive(self, ledger: Ledger) -> None:
        """Calls that began with it end with it."""
        while ledger.busy or ledger.asking:
            await self._clock.sleep(1.0)
        if ledger in self._leaving:  # else the process ends, and sees to it
            self._leaving.remove(ledger)
            await ledger.shut()

    async def _end(self, ledger: Ledger) -> None:
        until = self._clock.now() + _LAST_SECONDS
        while ledger.busy and self._clock.now() < until:
            await self._clock.sleep(_PAUSE)
        await ledger.shut()

    def _unknown(self) -> Iterator[tuple[dict[str, str], float]]:
        for name, store in self.stores.items():
            yield {"store": name}, store.unknown

    def __repr__(self) -> str:
        return f"<Ledgers in {', '.join(self._ledgers) or 'no store'}>"
