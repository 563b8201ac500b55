"""A route that caches, before a scripted vendor, and agents that ask it. For tests of policies/cache.py and its parts.

shop = Shop(Rig(clock), answers(200, FRESH, body=b"one"), hangs())
got = await shop.get()
assert (got.body, got.outcome) == (b"one", "forwarded")
first, second = shop.ask(), shop.ask()      # under way at the same time
first.leave()                               # an agent goes away
assert shop.leftovers() == []
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Final, cast

from proxy.chain import link
from proxy.clock import Clock
from proxy.config.settings import Api, Policies
from proxy.core.cache import CacheSettings
from proxy.core.coalesce import Loners
from proxy.core.stored import Stored, Variants
from proxy.errors import CallError
from proxy.flight import Flights
from proxy.model import Attempt, Ending, Exchange, Headers, Request, Response, Stream
from proxy.shelves import Shelves
from proxy.stores.base import CacheStore, StoreError
from proxy.stores.memory import MemoryStore
from proxy.stores.shelf import Shelf
from proxy.wire.body import Body
from tests.support.script import Rig, Script, Step, answers
from tests.support.transports import BodySource
from tests.support.virtual import turn

FRESH: Final = (b"Cache-Control", b"max-age=60")
UNCACHED: Final = (b"Cache-Control", b"no-store")
ETAG: Final = (b"ETag", b'"1"')
CACHED: Final = "backstay_cache_requests_total"
THING: Final = b"/v1/thing"


class Torrent:
    """A vendor's body that the test feeds, piece by piece; what is fed before anybody listens waits."""

    def __init__(self, clock: Clock, length: int | None = None) -> None:
        self.source = BodySource()
        self.body = Body(self.source, length, clock)
        self.feed = self.body.feed

    def finish(self) -> None:
        self.body.finish(None)

    def breaks(self) -> None:
        self.body.fail(Ending.BROKEN)

    @property
    def reading(self) -> bool:
        return self.source.reading

    @property
    def over(self) -> bool:
        return self.body.ended


def flows(torrent: Torrent, *fields: tuple[bytes, bytes], status: int = 200, after: float = 0.0) -> Step:
    """The final headers after ``after`` seconds; the body is the test's to feed."""

    async def step(clock: Clock, attempt: Attempt) -> Response:
        response = await answers(status, *fields, after=after)(clock, attempt)
        streaming = Response(status, response.headers, b"OK", stream=torrent.body)
        torrent.body.on_end = streaming.end
        if torrent.body._ended is not None:
            streaming.end(torrent.body._ended)
        return streaming

    return step


def whole(torrent: Torrent, *pieces: bytes) -> Torrent:
    """It has come before anybody looks."""
    for piece in pieces:
        torrent.feed(piece)
    torrent.finish()
    return torrent


class Reading:
    """An agent's connection: takes what is written until it is full."""

    def __init__(self, stream: Stream, *, room: float = float("inf")) -> None:
        self._stream = stream
        self.room = room
        self.data = b""
        self.ending: Ending | None = None
        stream.attach(self)

    def write(self, data: bytes) -> None:
        self.data += data
        if len(self.data) >= self.room:
            self._stream.pause()

    def finish(self, trailers: Headers | None) -> None:
        self.ending = Ending.COMPLETE

    def fail(self, ending: Ending) -> None:
        self.ending = ending

    def take(self) -> None:
        self.room = float("inf")
        self._stream.resume()


class Got:
    """What an agent got: an answer, of which the body may still come, or the reason of an error."""

    def __init__(self, exchange: Exchange, response: Response | None, error: CallError | None, room: float) -> None:
        self.exchange = exchange
        self.response = response
        self.error = error
        self.reason = "" if error is None else error.reason
        self.status = error.status if error is not None else response.status if response is not None else 0
        self.headers = Headers() if response is None else response.headers
        self.reading = None if response is None or response.stream is None else Reading(response.stream, room=room)

    @property
    def body(self) -> bytes:
        assert self.response is not None
        return self.response.body if self.reading is None else self.reading.data

    @property
    def ending(self) -> Ending | None:
        return None if self.response is None else self.response.ending

    @property
    def outcome(self) -> str:
        return self.exchange.outcome

    @property
    def cache(self) -> str:
        """Our member of Cache-Status: the last one."""
        lines = [value for name, value in self.headers if name == b"Cache-Status"] or [self.exchange.cache_status]
        return lines[-1].decode()

    def header(self, lower: bytes) -> bytes | None:
        return self.headers.get(lower)

    def leave(self) -> None:
        """The agent goes away while the body comes."""
        assert self.response is not None
        self.response.discard()

    def __repr__(self) -> str:
        return f"<Got {self.status} {self.reason} {self.outcome} {self.cache}>"


class Asking:
    """An agent that waits for its answer."""

    def __init__(self, shop: Shop, exchange: Exchange, room: float) -> None:
        self.exchange = exchange
        self.task = asyncio.get_running_loop().create_task(shop.serve(exchange, room))

    def leave(self) -> None:
        """It goes away."""
        self.task.cancel()

    @property
    def waits(self) -> bool:
        return not self.task.done()

    @property
    def got(self) -> Got:
        return self.task.result()

    def __await__(self) -> Any:
        return self.task.__await__()


class Shop:
    """See the module. ``cache`` has what differs from CacheSettings' defaults; others are fields of Policies.

    ``store`` is in place of memory; routes of one ``rig`` share everything else, as routes do.
    """

    def __init__(
        self,
        rig: Rig,
        *steps: Step,
        cache: dict[str, Any] | None = None,
        store: CacheStore | None = None,
        vendor: Script | None = None,
        route: str = "default",
        **policies: Any,
    ) -> None:
        self.rig = rig
        self.clock = rig.clock
        self.settings = CacheSettings(**(cache or {}))
        self.vendor = Script(rig.clock, *steps) if vendor is None else vendor
        if store is not None:
            rig.survivors.shelves = cast("Shelves", Stocked(rig, store))
        chosen = Policies(**({"breaker": None, "cache": self.settings} | policies))
        api = Api("vendor", "http", "vendor.example", 80, policies=Policies(breaker=None, cache=self.settings))
        self.proceed = link(rig.parts, api, route, chosen, self.vendor).proceed

    def exchange(
        self,
        method: bytes,
        *fields: tuple[bytes, bytes],
        target: bytes = THING,
        body: bytes = b"",
        stream: Torrent | None = None,
    ) -> Exchange:
        request = Request(method, target, Headers.of(*fields), body=body)
        request.stream = None if stream is None else stream.body
        return Exchange(request, "vendor", "default", self.clock.now())

    async def serve(self, exchange: Exchange, room: float = float("inf")) -> Got:
        """As the wire does it."""
        try:
            response = await self.proceed(exchange)
        except CallError as error:
            return Got(exchange, None, error, room)
        return Got(exchange, response, None, room)

    def ask(
        self, *fields: tuple[bytes, bytes], method: bytes = b"GET", room: float = float("inf"), **more: Any
    ) -> Asking:
        """Begin to ask; ``room`` bytes of a body fit, until the test takes more."""
        return Asking(self, self.exchange(method, *fields, **more), room)

    async def get(self, *fields: tuple[bytes, bytes], method: bytes = b"GET", **more: Any) -> Got:
        """Ask, and have the answer, and all of its body that has come."""
        got = await self.serve(self.exchange(method, *fields, **more))
        await turn()
        return got

    @property
    def asked(self) -> list[Headers]:
        """What the vendor was asked."""
        return [attempt.exchange.request.headers for attempt in self.vendor.attempts]

    @property
    def counted(self) -> dict[str, float]:
        """Requests by what the cache made of them."""
        return self.rig.samples(CACHED, "result")

    @property
    def flights(self) -> int:
        """Reads under way that may be joined, or doomed."""
        return len(self.rig.survivors.shelves.flights)

    @property
    def store(self) -> MemoryStore:
        store = self.rig.survivors.shelves.stores["memory"]
        assert isinstance(store, MemoryStore)
        return store

    def leftovers(self) -> list[object]:
        """What should be gone once every call has ended: reads under way, tasks, timers, calls in flight."""
        clock, left = self.clock, list[object]()
        left += self.rig.survivors.shelves.flights
        left += clock._tasks
        left += [timer for wheel in (clock._fine, clock._coarse) for slot in wheel._slots for timer in slot]
        left += self.rig.samples("backstay_inflight_requests", "api").items()
        left += [attempt for attempt in self.vendor.attempts if attempt.verdict is None]
        return left


async def aged(shop: Shop, seconds: float = 61.0, **more: Any) -> Got:
    """Have the answer of the first step stored, and let it become stale."""
    got = await shop.get(**more)
    await shop.clock.sleep(seconds)
    return got


class Stocked:
    """What a chain of shelves.Shelves needs, over a store that the test has made."""

    def __init__(self, rig: Rig, store: CacheStore) -> None:
        self.flights = Flights()
        self.loners = Loners()
        self.stores = {"memory": store}
        self.evictions = 0
        self._count = rig.registry.counter("backstay_store_errors_total", store="memory", mode="open").inc

    def up(self) -> Iterator[tuple[dict[str, str], float]]:
        """Nothing here is outside of this process."""
        return iter(())

    def shelf(self, api: Api, settings: CacheSettings) -> Shelf:
        space = f"{api.name} {settings.mode} {settings.scope}"
        shared = settings.scope == "shared"
        return Shelf(self.stores["memory"], space, shared=shared, nonce=lambda: "nonce", count_error=self._count)


class Failing:
    """A store whose operations fail while they are named in ``broken``, and wait while they are held."""

    name = "failing"

    def __init__(self, clock: Clock, *broken: str) -> None:
        self.backend = MemoryStore(1 << 20, clock.now)
        self.broken = set(broken)
        self.gates: dict[str, asyncio.Event] = {}
        self.done: list[str] = []

    def hold(self, what: str) -> None:
        """Let such operations wait until they are let go."""
        self.gates[what] = asyncio.Event()

    def let_go(self, what: str) -> None:
        self.gates.pop(what).set()

    async def _do(self, what: str) -> None:
        self.done.append(what)
        if what in self.gates:
            await self.gates[what].wait()
        if what in self.broken:
            raise StoreError(self.name, what, "away")

    async def get(self, key: str) -> Stored | Variants | None:
        await self._do("get")
        return await self.backend.get(key)

    async def put(self, key: str, value: Stored | Variants, ttl: float) -> None:
        await self._do("put")
        await self.backend.put(key, value, ttl)

    async def delete(self, keys: Any) -> int:
        await self._do("delete")
        return await self.backend.delete(keys)

    async def entries(self, **which: Any) -> list[Any]:
        return await self.backend.entries(**which)

    async def look(self, ident: str) -> Any:
        return await self.backend.look(ident)

    async def purge(self, **which: Any) -> int:
        return await self.backend.purge(**which)

    async def close(self) -> None:
        await self.backend.close()
