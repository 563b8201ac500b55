"""The stores that caches use, the shelves in them, and the reads that are under way. Held by state.py, for chain.py.

A store is made when a route first asks for it, since only then its library has to be imported, and survives every
reload: a new bound or address takes effect at once, and no answer is lost because a file changed.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from proxy.core.coalesce import Loners
from proxy.flight import Flights
from proxy.stores.shelf import Shelf

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.clock import Clock
    from proxy.config.settings import Api, Config
    from proxy.core.cache import CacheSettings
    from proxy.stores.base import CacheStore
    from proxy.stores.memory import MemoryStore
    from proxy.stores.redis import RedisStore
    from proxy.telemetry.metrics import Registry

MEMORY: Final = "memory"
SHARED: Final = "shared"


class Shelves:
    """See the module."""

    def __init__(self, clock: Clock, registry: Registry) -> None:
        self._clock = clock
        self._registry = registry
        self.flights = Flights()
        self.loners = Loners()
        self._memory_limit = 64 << 20  # bytes
        self._url: str | None = None  # of the shared store
        self._largest = 1 << 20  # bytes of a body that any route stores
        self._memory: MemoryStore | None = None
        self._redis: RedisStore | None = None
        self._used: set[str] = set()  # in the present linking
        registry.computed("backstay_cache_bytes", self._bytes)

    def configure(self, config: Config) -> None:
        """What holds from the next linking on."""
        self._memory_limit = config.limits.memory_cache
        if self._memory is not None:
            self._memory.limit = self._memory_limit
        policies = [api.policies for api in config.apis]
        policies += [route.policies for api in config.apis for route in api.routes]
        self._largest = max((each.cache.max_object for each in policies if each.cache is not None), default=0)
        if config.stores_shared != self._url:
            self._url = config.stores_shared
            self._let_go()

    def shelf(self, api: Api, settings: CacheSettings) -> Shelf:
        """The shelf of an api's answers under these rules."""
        self._used.add(settings.store)
        origin = f"{api.scheme}://{api.host}:{api.port}"
        return Shelf(
            self._store(settings.store),
            f"{api.name}\n{origin}\n{settings.mode}\n{settings.scope}{seen_with(api)}",
            shared=settings.scope == "shared",
            nonce=self._nonce,
            count_error=self._registry.counter("backstay_store_errors_total", store=settings.store, mode="open").inc,
        )

    @property
    def stores(self) -> dict[str, CacheStore]:
        """Those that are in use, by name."""
        both: dict[str, CacheStore | None] = {MEMORY: self._memory, SHARED: self._redis}
        return {name: store for name, store in both.items() if store is not None}

    @property
    def evictions(self) -> int:
        """Answers that made room for others."""
        return sum([store.evictions for store in (self._memory, self._redis) if store is not None])

    def drop_unused(self) -> None:
        """Let go of what was not asked for since the last call. Memory stays: what is in it may be wanted again."""
        used, self._used = self._used, set()
        if SHARED not in used:
            self._let_go()

    async def close(self) -> None:
        """Close the stores."""
        for store in self.stores.values():
            await store.close()

    def _store(self, name: str) -> CacheStore:
        if name == SHARED:
            return self._shared_store()
        if self._memory is None:
            from proxy.stores.memory import MemoryStore

            self._memory = MemoryStore(self._memory_limit, self._clock.now)
        return self._memory

    def _shared_store(self) -> CacheStore:
        if self._redis is None:
            from proxy.stores.redis import RedisStore  # with its client, 8 MB

            assert self._url is not None  # noqa: S101 - config/checks.py has demanded it
            self._redis = RedisStore(self._url, self._clock, max_object=self._largest)
        self._redis.max_object = self._largest
        return self._redis

    def _let_go(self) -> None:
        """Of the shared store: it is another now, or none."""
        redis, self._redis = self._redis, None
        if redis is not None:
            self._clock.spawn(redis.close(), "end of the shared store")

    def _nonce(self) -> str:
        return f"{int(self._clock.chance() * 16**12):012x}"

    def _bytes(self) -> Iterator[tuple[dict[str, str], float]]:
        if self._memory is not None:
            yield {"store": MEMORY}, self._memory.bytes

    def up(self) -> Iterator[tuple[dict[str, str], float]]:
        """Of each store outside of this process, whether it can be asked."""
        if self._redis is not None:
            yield {"name": SHARED}, float(self._redis.up)

    def __repr__(self) -> str:
        return f"<Shelves in {', '.join(self.stores) or 'no store'}, {len(self.flights)} reads under way>"


def seen_with(api: Api) -> str:
    """A digest of the credentials that Backstay sets: what they may see is kept from who has others; empty: none."""
    if not api.credentials:
        return ""
    told = hashlib.sha256()
    for each in api.credentials:
        told.update(b"%d %d %d %b%b" % (each.query, len(each.name), len(each.value), each.name, each.value))
    return f"\n{told.hexdigest()[:32]}"
