"""Owns the answers that several pods share on a Redis or Valkey server, through aiocache's cache for it.

``shelves.py`` makes one ``RedisStore`` if the configuration has ``stores.shared``; ``policies/cache.py`` and the admin
API use it. ``link.py`` says whether the server can be asked. What was to be forgotten must not come back with it:

- What could not be deleted is remembered, and deleted before the store is up again. If that was too much to remember,
  nothing that was received before the recovery is served any more.
- A value that the server reads when we have given up is not stored (lua/put.lua).
- A connection whose command was given up is closed: the next command cannot get its reply. Should a value ever come
  from another key, codec.py refuses it.

On the server, under ``backstay:cache:SCHEMA:`` (other versions of Backstay may use it too):

- ``IDENT``: a value (codec.py); it expires by itself.
- ``index:API``: a sorted set of "IDENT ROUTE" by the time of expiry, for lists and purges; nothing scans the server.
- ``apis``: the set of apis that have an index.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from aiocache.backends.redis import RedisCache
from aiocache.serializers import NullSerializer
from redis.asyncio.connection import ConnectionPool
from redis.exceptions import ResponseError

from proxy.clock import Clock
from proxy.core.stored import Stored
from proxy.stores import codec
from proxy.stores.base import IDENT, Listed, StoreError, Value, digest_of, ident_of
from proxy.stores.link import LIMIT, PAUSE, Link, Linked, Refused
from proxy.stores.redis_pool import CONNECTIONS, make_pool

SCHEMA: Final = 1  # of codec.py and of the keys
_SPACE: Final = f"backstay:cache:{SCHEMA}"
_LONGEST: Final = 7 * 24 * 3600.0  # seconds that anything is kept
_MOST: Final = 250_000  # answers of one api
_OWED: Final = 10_000  # deletions that are remembered
_BATCH: Final = 500  # names in one command
_PAGE: Final = 100  # heads in one command
_HEAD: Final = 4096  # bytes in which the head of most answers ends
_IDENT: Final = re.compile(r"[0-9a-f]{32}")


class RedisBackend(RedisCache):
    """aiocache's cache, over a pool of ours: it knows neither TLS nor unix sockets nor users.

    The methods here are those that AIOCACHE_DISABLE does not turn into silence.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        self.most = _MOST
        super().__init__(
            serializer=NullSerializer(encoding=None),  # values are bytes
            namespace=_SPACE,
            timeout=None,  # the limit is the store's
            connection_pool_class=lambda **_: pool,
        )
        self._put = self.client.register_script(Path(__file__).with_name("lua").joinpath("put.lua").read_text())

    async def hello(self) -> float:
        """The server's time, if it is ready to serve: while it loads its data, it only tells the time."""
        async with self.client.pipeline(transaction=False) as pipeline:
            pipeline.ping()
            pipeline.time()
            _, (seconds, micros) = await pipeline.execute()
        return float(seconds) + float(micros) / 1e6

    async def read(self, ident: str) -> bytes | None:
        """The value of that name."""
        value: bytes | None = await self._get(self.build_key(ident), encoding=None)
        return value

    async def write(
        self, ident: str, data: bytes, ttl: float, until: float, place: tuple[str, str] | None
    ) -> tuple[bool, float, int]:
        """See lua/put.lua; ``place`` is the api and the route of an answer."""
        keys, more = [self.build_key(ident)], []
        if place is not None:
            api, route = place
            keys += [self.build_key(f"index:{api}"), self.build_key("apis")]
            more = [f"{ident} {route}", api, self.most, self.build_key("")]
        stored, now, evicted = await self._put(keys=keys, args=[data, ttl, f"{until:.6f}", *more])
        return bool(stored), float(now), int(evicted)

    async def forget(self, idents: Sequence[str]) -> int:
        """Delete the values of these names; how many there were."""
        return int(await self._raw("unlink", *map(self.build_key, idents)))

    async def apis(self) -> list[str]:
        """Every api that has an index."""
        return sorted([name.decode() for name in await self._raw("smembers", self.build_key("apis"))])

    async def page(self, api: str, start: int) -> list[str]:
        """A batch of an api's index, what lives longest first."""
        index = self.build_key(f"index:{api}")
        return [member.decode() for member in await self._raw("zrange", index, start, start + _PAGE - 1, desc=True)]

    async def scan(self, api: str, cursor: int) -> tuple[int, list[str]]:
        """About a batch of an api's index: a whole scan meets all that is there throughout, whatever comes and goes."""
        cursor, pairs = await self._raw("zscan", self.build_key(f"index:{api}"), cursor, count=_BATCH)
        return int(cursor), [member.decode() for member, _ in pairs]

    async def beginnings(self, idents: Iterable[tuple[str, int]]) -> list[bytes]:
        """Of each of these values so many bytes; none of what is not there."""
        async with self.client.pipeline(transaction=False) as pipeline:
            for ident, length in idents:
                pipeline.getrange(self.build_key(ident), 0, length - 1)
            return [bytes(data) for data in await pipeline.execute()]

    async def purge(self, api: str, members: Sequence[str]) -> int:
        """Delete these answers and their places in the index; how many there were."""
        async with self.client.pipeline(transaction=True) as pipeline:
            pipeline.unlink(*[self.build_key(member[:IDENT]) for member in members])
            pipeline.zrem(self.build_key(f"index:{api}"), *members)
            purged, _ = await pipeline.execute()
        return int(purged)


class RedisStore(Linked):
    """See the module, and ``CacheStore`` for the methods. Raises as make_pool does."""

    name: Final = "redis"

    def __init__(self, url: str, clock: Clock, *, max_object: int, limit: float = LIMIT, pause: float = PAUSE) -> None:
        self.max_object = max_object  # bytes of the largest body that is written, and that is believed
        self.evictions = 0  # answers that made room for others of their api
        self.malformed = 0  # values that were not believed
        self.not_before = 0.0  # wall; what was received earlier is not served
        self._clock = clock
        self._limit = limit
        self._pool = make_pool(url, limit)
        self._backend = RedisBackend(self._pool)
        self._ahead: float | None = None  # seconds, at most, from our monotonic time to the server's
        self._owed: dict[str, None] = {}  # idents that are still to be deleted, in their order
        self._lost = False  # some of them
        self._link = Link(
            self.name, clock, self._greet, refusals=(ResponseError,), connections=CONNECTIONS, limit=limit, pause=pause
        )

    # --- what the cache asks for ---

    async def get(self, key: str) -> Value | None:
        """See CacheStore."""
        digest = digest_of(key)
        return await self._read("get", digest)

    async def put(self, key: str, value: Value, ttl: float) -> None:
        """See CacheStore; nothing is kept for more than a week."""
        self._link.check("put")
        if ttl <= 0 or (isinstance(value, Stored) and len(value.body) > self.max_object):
            await self.delete((key,))
            return
        digest = digest_of(key)
        data = await _encoded(digest, value)
        if self._ahead is None:
            await self._link.ask("put", self._tell_time)
        if not await self._link.ask("put", self._write, digest[:IDENT], data, min(ttl, _LONGEST), value):
            raise StoreError(self.name, "put", "the server's clock has moved")

    async def _write(self, ident: str, data: bytes, ttl: float, value: Value) -> bool:
        ahead = self._ahead or 0.0
        until = self._clock.now() + ahead + self._limit
        place = (value.api, value.route) if isinstance(value, Stored) else None
        stored, time, evicted = await self._backend.write(ident, data, ttl, until, place)
        now_ahead = time - self._clock.now()
        self._ahead = max(ahead, now_ahead) if stored else now_ahead
        self.evictions += evicted
        return stored

    async def delete(self, keys: Sequence[str]) -> int:
        """See CacheStore. Goes on if the caller is cancelled: nobody else would do it."""
        idents = [ident_of(key) for key in keys]
        if not idents:
            return 0
        if not self.up:
            self._owe(idents)
        self._link.check("delete")
        outcome = await asyncio.shield(self._clock.spawn(self._delete(idents), "redis delete"))
        if isinstance(outcome, StoreError):
            raise outcome
        return int(outcome)

    async def _delete(self, idents: list[str]) -> int | StoreError:
        try:
            return sum([await self._link.ask("delete", self._backend.forget, batch) for batch in _batches(idents)])
        except StoreError as error:
            self._owe(idents)
            if isinstance(error, Refused):  # a cache that forgets nothing must not answer either
                self._link.fall(error.why)
            return error

    # --- what the admin API asks for ---

    async def entries(self, *, api: str | None, route: str | None, limit: int) -> list[Listed]:
        """See CacheStore; what lives longest comes first, api by api."""
        found: list[Listed] = []
        for name in await self._apis("list", api):
            start = 0
            while len(found) < limit and (members := await self._link.ask("list", self._backend.page, name, start)):
                found += await self._heads([member[:IDENT] for member in _of_route(members, route)])
                start += _PAGE
        return found[:limit]

    async def look(self, ident: str) -> Listed | None:
        """See CacheStore."""
        if _IDENT.fullmatch(ident) is None:
            return None
        value = await self._read("look", ident)
        return Listed(ident, value) if isinstance(value, Stored) else None

    async def purge(self, *, api: str | None = None, route: str | None = None, ident: str | None = None) -> int:
        """See CacheStore."""
        if ident is not None:
            return await self._purge_one(ident, api, route)
        purged = 0
        for name in await self._apis("purge", api):
            cursor, members = await self._link.ask("purge", self._backend.scan, name, 0)
            purged += await self._purge(name, _of_route(members, route))
            while cursor:
                cursor, members = await self._link.ask("purge", self._backend.scan, name, cursor)
                purged += await self._purge(name, _of_route(members, route))
        return purged

    async def _purge_one(self, ident: str, api: str | None, route: str | None) -> int:
        listed = await self.look(ident)
        if listed is None or api not in {None, listed.stored.api} or route not in {None, listed.stored.route}:
            return 0
        return await self._purge(listed.stored.api, [f"{ident} {listed.stored.route}"])

    async def _purge(self, api: str, members: list[str]) -> int:
        return await self._link.ask("purge", self._backend.purge, api, members) if members else 0

    async def _apis(self, what: str, api: str | None) -> list[str]:
        return await self._link.ask(what, self._backend.apis) if api is None else [api]

    async def close(self) -> None:
        """See CacheStore."""
        await self._link.close()
        with contextlib.suppress(StoreError):
            await self._link.attempt("close", self._pool.aclose)

    # --- reading ---

    async def _read(self, what: str, digest: str) -> Value | None:
        """The value whose key has this digest, or one that begins like this."""
        data = await self._link.ask(what, self._backend.read, digest[:IDENT])
        if data is None:
            return None
        try:
            if codec.is_heavy(data):
                value = await asyncio.to_thread(codec.decode, data, digest, self.max_object)
            else:
                value = codec.decode(data, digest, self.max_object)
        except codec.Malformed:
            self.malformed += 1
            return None
        return value if self._is_valid(value) else None

    def _is_valid(self, value: Value) -> bool:
        return not isinstance(value, Stored) or value.received_at >= self.not_before

    async def _heads(self, idents: list[str]) -> list[Listed]:
        """What is there of these answers, less their bodies."""
        listed = []
        beginnings = await self._link.ask("list", self._backend.beginnings, [(ident, _HEAD) for ident in idents])
        for ident, data in zip(idents, beginnings, strict=True):
            value = await self._head(ident, data) if data else None
            if isinstance(value, Stored) and self._is_valid(value):
                listed.append(Listed(ident, value))
        return listed

    async def _head(self, ident: str, data: bytes) -> Value | None:
        try:
            if (length := codec.beginning(data)) > len(data):
                [data] = await self._link.ask("list", self._backend.beginnings, [(ident, length)])
            return codec.decode_head(data, ident)
        except codec.Malformed:
            self.malformed += 1
            return None

    # --- away and back ---

    async def _greet(self) -> None:
        """Raises StoreError unless the server is ready, and has forgotten what was to be forgotten."""
        if not self.up:
            await self._link.attempt("connect", self._pool.disconnect, False)  # noqa: FBT003  the idle ones may be dead
        await self._link.attempt("connect", self._tell_time)
        while self._owed:
            batch = list(islice(self._owed, _BATCH))
            await self._link.attempt("delete", self._backend.forget, batch)
            for ident in batch:
                self._owed.pop(ident, None)
        if self._lost:
            self._lost, self.not_before = False, self._clock.wall()

    async def _tell_time(self) -> None:
        time = await self._backend.hello()
        self._ahead = time - self._clock.now()

    def _owe(self, idents: list[str]) -> None:
        self._owed.update(dict.fromkeys(idents))
        if self._lost or len(self._owed) > _OWED:
            self._owed.clear()
            self._lost = True

    def __repr__(self) -> str:
        return f"<RedisStore {self._link!r}, {len(self._owed)} to delete>"


async def _encoded(digest: str, value: Value) -> bytes:
    if isinstance(value, Stored) and len(value.body) > codec.HEAVY:
        return await asyncio.to_thread(codec.encode, digest, value)
    return codec.encode(digest, value)


def _of_route(members: Iterable[str], route: str | None) -> list[str]:
    return [member for member in members if route in {None, member[IDENT + 1 :]}]


def _batches(idents: list[str]) -> Iterable[list[str]]:
    return [idents[start : start + _BATCH] for start in range(0, len(idents), _BATCH)]
