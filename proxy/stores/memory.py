"""Owns the answers that this process keeps: a table bounded by bytes, from which what was unused longest goes first.

``shelves.py`` makes one ``MemoryStore`` for all caches of the process; ``policies/cache.py`` and the admin API use it.
``MemoryBackend`` is the table as a backend of aiocache; the store goes straight to the table, which takes half a
microsecond where aiocache's own path takes ten times as long, and which AIOCACHE_DISABLE does not switch off.

What is counted is what the process grows by: an answer with its objects, its key, and its place in the table. What has
expired is counted until it is asked for, replaced, or pushed out.
"""

from __future__ import annotations

import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, Final, cast

from proxy.core.stored import Stored, Variants
from proxy.stores.base import Listed, Value, ident_of

# aiocache imports the redis package wherever that is installed: 8 MB that a cache in memory has no use for.
if without_redis := "redis" not in sys.modules:
    sys.modules["redis"] = cast("Any", None)
try:
    from aiocache.base import BaseCache
    from aiocache.serializers import NullSerializer
finally:
    if without_redis:
        del sys.modules["redis"]

_ENTRY: Final = 300  # bytes: a key less its characters, a place in the table, an _Entry; Stored.size counts it already
_STRING: Final = 60  # bytes of a str or bytes less its characters, with its place in a tuple
_SCAN: Final = 1_000  # entries looked at before others get their turn: about a millisecond


class _Entry:
    __slots__ = ("cost", "until", "value")

    def __init__(self, value: object, until: float, cost: int) -> None:
        self.value = value
        self.until = until  # monotonic seconds
        self.cost = cost  # bytes


class MemoryBackend(BaseCache):
    """A backend of aiocache that holds at most ``limit`` bytes. It offers neither counters nor locks."""

    NAME = "memory"

    def __init__(self, limit: int, now: Callable[[], float]) -> None:
        super().__init__(serializer=NullSerializer(), timeout=None)
        self._limit = limit
        self._now = now
        self._entries: OrderedDict[str, _Entry] = OrderedDict()  # the one unused longest comes first
        self.bytes = 0
        self.evictions = 0  # what was pushed out before its time, or did not fit at all

    @property
    def limit(self) -> int:
        """The bound in bytes; what is over a lower one goes at once (a microsecond or two each)."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._limit = limit
        self._make_room()

    def find(self, key: str) -> object | None:
        """What is kept under ``key``, which counts as use."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.until <= self._now():
            self.drop(key)
            return None
        self._entries.move_to_end(key)
        return entry.value

    def keep(self, key: str, value: object, ttl: float | None) -> None:
        """Keep ``value`` for ``ttl`` seconds, or until it is pushed out; what would never fit pushes nothing out."""
        self.drop(key)
        if ttl is not None and ttl <= 0:
            return
        cost = len(key) + _weight(value)
        if cost > self._limit:
            self.evictions += 1
            return
        self._entries[key] = _Entry(value, float("inf") if ttl is None else self._now() + ttl, cost)
        self.bytes += cost
        self._make_room()

    def drop(self, key: str) -> bool:
        """Forget ``key``; whether it was there."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return False
        self.bytes -= entry.cost
        return True

    def peek(self, key: str) -> object | None:
        """What is kept under ``key``, which does not count as use."""
        entry = self._entries.get(key)
        return None if entry is None or entry.until <= self._now() else entry.value

    def by_use(self) -> list[str]:
        """Every key, the one used last first."""
        return list(reversed(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<MemoryBackend {len(self)} entries, {self.bytes} of {self._limit} bytes>"

    def _make_room(self) -> None:
        while self.bytes > self._limit:
            _, entry = self._entries.popitem(last=False)
            self.bytes -= entry.cost
            self.evictions += 1

    # --- as aiocache calls it ---

    async def _get(self, key: str, **_: object) -> object | None:
        return self.find(key)

    async def _multi_get(self, keys: Iterable[str], **_: object) -> list[object | None]:
        return [self.find(key) for key in keys]

    async def _set(self, key: str, value: object, ttl: float | None = None, **_: object) -> bool:
        self.keep(key, value, ttl)
        return True

    async def _multi_set(self, pairs: Iterable[tuple[str, object]], ttl: float | None = None, **_: object) -> bool:
        for key, value in pairs:
            self.keep(key, value, ttl)
        return True

    async def _add(self, key: str, value: object, ttl: float | None = None, **_: object) -> bool:
        if self.peek(key) is not None:
            raise ValueError(f"Key {key} already exists, use .set to update the value")
        self.keep(key, value, ttl)
        return True

    async def _exists(self, key: str, **_: object) -> bool:
        return self.peek(key) is not None

    async def _expire(self, key: str, ttl: float, **_: object) -> bool:
        value = self.peek(key)
        if value is not None:
            self.keep(key, value, ttl or None)
        return value is not None

    async def _delete(self, key: str, **_: object) -> int:
        return int(self.drop(key))

    async def _clear(self, namespace: str | None = None, **_: object) -> bool:
        for key in self.by_use():
            if key.startswith(namespace or ""):
                self.drop(key)
        return True


class MemoryStore:
    """See the module, and ``CacheStore`` for the methods. None of them fails."""

    name: Final = "memory"

    def __init__(self, limit_bytes: int, now: Callable[[], float]) -> None:
        self.backend = MemoryBackend(limit_bytes, now)

    @property
    def bytes(self) -> int:
        """What the answers take."""
        return self.backend.bytes

    @property
    def count(self) -> int:
        """How many entries there are: answers, and records of their variants."""
        return len(self.backend)

    @property
    def limit(self) -> int:
        """What they may take; can be set while the store is in use."""
        return self.backend.limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self.backend.limit = limit

    @property
    def evictions(self) -> int:
        """How many made room for others, or found none."""
        return self.backend.evictions

    async def get(self, key: str) -> Value | None:
        """See CacheStore."""
        return cast("Value | None", self.backend.find(key))

    async def put(self, key: str, value: Value, ttl: float) -> None:
        """See CacheStore."""
        self.backend.keep(key, value, ttl)

    async def delete(self, keys: Sequence[str]) -> int:
        """See CacheStore."""
        return sum([self.backend.drop(key) for key in keys])

    async def entries(self, *, api: str | None, route: str | None, limit: int) -> list[Listed]:
        """See CacheStore; what was used last comes first."""
        found: list[Listed] = []
        for position, key in enumerate(self.backend.by_use()):
            if len(found) >= limit:
                break
            await _pause(position)
            if (stored := self._answer(key, api, route)) is not None:
                found.append(Listed(ident_of(key), stored))
        return found

    async def look(self, ident: str) -> Listed | None:
        """See CacheStore."""
        for position, key in enumerate(self.backend.by_use()):
            await _pause(position)
            if ident_of(key) == ident and (stored := self._answer(key)) is not None:
                return Listed(ident, stored)
        return None

    async def purge(self, *, api: str | None = None, route: str | None = None, ident: str | None = None) -> int:
        """See CacheStore."""
        purged = 0
        for position, key in enumerate(self.backend.by_use()):
            await _pause(position)
            if (ident is None or ident_of(key) == ident) and self._answer(key, api, route) is not None:
                purged += self.backend.drop(key)
        return purged

    async def close(self) -> None:
        """See CacheStore."""

    def _answer(self, key: str, api: str | None = None, route: str | None = None) -> Stored | None:
        value = self.backend.peek(key)
        if isinstance(value, Stored) and api in {None, value.api} and route in {None, value.route}:
            return value
        return None

    def __repr__(self) -> str:
        return f"<MemoryStore {self.backend!r}>"


def _weight(value: object) -> int:
    """Bytes of memory that a value costs with its entry in the table; measured by tests/stores/test_memory.py."""
    if isinstance(value, Stored):
        return value.size
    if isinstance(value, Variants):
        names = [name for names in value.sets for name in names]
        return _ENTRY + sum([_STRING + len(text) for text in (*names, *value.keys, value.nonce)])
    return _ENTRY + sys.getsizeof(value)


async def _pause(position: int) -> None:
    """Now and then in a long scan, let the loop serve others."""
    if position % _SCAN == _SCAN - 1:
        await _turn()


@types.coroutine
def _turn() -> Generator[None, None, None]:
    yield
