"""Owns the records of calls that must happen once which several pods share on a Redis or Valkey server.

``ledgers.py`` makes one if a route has ``store: shared``; ``proxy/ledger.py`` and the admin API use it. ``link.py``
says whether the server can be asked.

- Each transition is one script (lua/ledger.lua), and one round trip. It goes by the server's time.
- A command that the server reads when we have given up changes nothing. Only the end of a call is told however late.
- Nothing is sent again by the client itself. A connection whose command was given up is closed.
- The server's own limit of memory is the limit: answers make room, those first that would be forgotten first; when
  there are none left, new calls are refused.
- What the server would forget in a crash, a failover or for want of memory is up to its operator, and said in the log:
  ``weaknesses``.

On the server, under ``backstay:ledger:SCHEMA:`` (other versions of Backstay may use it too), is a hash IDENT for each
record, which expires by itself, and the sets ``open``, ``ends`` and ``answers``; nothing scans the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from redis.asyncio import Redis
from redis.asyncio.connection import ConnectionPool
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, ResponseError

from proxy.clock import Clock
from proxy.core.idempotency import Answer, Claim, Concluded, Conclusion, Found, Record, Reserved
from proxy.stores import ledger_fields
from proxy.stores.base import StoreError
from proxy.stores.codec import HEAVY
from proxy.stores.ledger import LedgerFull
from proxy.stores.link import PAUSE, Link, Linked, Refused
from proxy.stores.redis_pool import CONNECTIONS, make_pool

T = TypeVar("T")
Word: TypeAlias = str | bytes
_log = logging.getLogger("backstay")

SCHEMA: Final = 1  # of ledger_fields.py, lua/ledger.lua and the keys
ANSWER_LIMIT: Final = 1.0  # seconds for an operation: disks that are told to keep something pause now and then
REFRESH: Final = 5.0  # seconds between two looks at how many calls have an unknown outcome
_SPACE: Final = f"backstay:ledger:{SCHEMA}:"
_SETS: Final = tuple([f"{_SPACE}{name}" for name in ("open", "ends", "answers")])
_IDENT: Final = re.compile(r"[0-9a-f]{32}")
_LATE: Final = "late"
_UNWRITABLE: Final = ("READONLY", "MISCONF", "NOREPLICAS", "MASTERDOWN")  # with which a server refuses every write
_SETTINGS: Final = ("appendonly", "appendfsync", "no-appendfsync-on-rewrite", "maxmemory", "maxmemory-policy")
_UNTOLD: Final = (
    "the server does not tell its settings (CONFIG), so that it is not known what it may forget; it should have"
    " appendonly yes, appendfsync always and maxmemory-policy noeviction"
)


class Reply(NamedTuple):
    """See lua/ledger.lua."""

    time: float
    unknown: int
    evicted: int
    word: str
    more: list[Any]


class Server:
    """The script on a server, and what its operator has set up."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._client = Redis(connection_pool=pool)
        self._script = Path(__file__).with_name("lua").joinpath("ledger.lua").read_text()
        self._sha = hashlib.sha1(self._script.encode(), usedforsecurity=False).hexdigest()

    async def does(self, what: str, until: float | None, ident: str, words: tuple[Word, ...]) -> Reply:
        """One transition, as a whole. A server that does not know the script (any more) gets it."""
        keys = (*_SETS, f"{_SPACE}{ident}")
        arguments = (len(keys), *keys, what, "" if until is None else f"{until:.6f}", ident, *words)
        ask: Callable[..., Awaitable[Any]] = self._client.execute_command
        try:
            reply = await ask("EVALSHA", self._sha, *arguments)
        except NoScriptError:
            reply = await ask("EVAL", self._script, *arguments)
        said, *more = reply
        time, unknown, evicted, word = said.decode().split(" ")
        return Reply(float(time), int(unknown), int(evicted), word, more)

    async def settings(self) -> dict[str, str]:
        """What decides whether it keeps its word; what it does not tell is left out."""
        async with self._client.pipeline(transaction=False) as pipeline:
            for name in _SETTINGS:
                pipeline.config_get(name)
            pipeline.info("replication")
            *told, replication = await pipeline.execute(raise_on_error=False)
        found = {name: _text(said[name]) for name, said in zip(_SETTINGS, told, strict=True) if _has(said, name)}
        if _has(replication, "connected_slaves"):
            found["replicas"] = str(replication["connected_slaves"])
        return found


class RedisLedger(Linked):
    """See the module, and ``LedgerStore`` for the methods. Raises as make_pool does."""

    name: Final = "redis"
    limit: Final[int | None] = None  # of bytes: the server has one of its own
    count: Final = None
    bytes: Final = None

    def __init__(
        self, url: str, clock: Clock, *, limit: float = ANSWER_LIMIT, pause: float = PAUSE, refresh: float = REFRESH
    ) -> None:
        self.unknown = 0
        self.evictions = 0
        self.malformed = 0  # records that were not believed
        self.weaknesses: tuple[str, ...] = ()  # of the server, in words
        self._clock = clock
        self._limit = limit
        self._pool = make_pool(url, limit)
        self._server = Server(self._pool)
        self._ahead = 0.0  # seconds, at most, from our monotonic time to the server's; not known yet
        self._busy = 0  # operations under way
        self._idle = asyncio.Event()
        self._idle.set()
        self._link = Link(
            self.name, clock, self._greet, refusals=(ResponseError,), connections=CONNECTIONS, limit=limit, pause=pause
        )
        self._counting = clock.spawn(self._count(refresh), "count of unknown outcomes")

    def now(self) -> float:
        """The server's time, as far as it has been heard: what a record's times are to be compared with."""
        return self._clock.now() + self._ahead

    # --- transitions ---

    async def reserve(self, claim: Claim) -> Reserved:
        """See LedgerStore."""
        reply = await self._fenced(
            "reserve",
            claim.ident,
            claim.token,
            claim.fingerprint,
            f"{claim.lease:.6f}",
            f"{claim.retain:.6f}",
            f"{claim.window:.6f}",
            claim.nonce,
            str(int(claim.resend)),
            ledger_fields.subject_of(claim.ident, claim.subject),
        )
        if reply.word == "full":
            raise LedgerFull(self.name, "reserve", "the server is out of memory, and has no answer that may go")
        return Reserved(Found(reply.word), self._record("reserve", claim.ident, *reply.more))

    async def renew(self, ident: str, token: str, lease: float) -> bool:
        """See LedgerStore."""
        return (await self._fenced("renew", ident, token, f"{lease:.6f}")).word == "yes"

    async def finish(self, ident: str, token: str, conclusion: Conclusion) -> bool:
        """See LedgerStore."""
        answer = conclusion.answer if conclusion.what is Concluded.DONE else None
        data = b"" if answer is None else await _written(ident, answer)
        words = (token, conclusion.what.value, conclusion.fingerprint, str(conclusion.status), data)
        return (await self._ask("finish", self._does, "finish", None, ident, *words)).word == "yes"

    async def settle(self, ident: str, *, done: bool) -> bool:
        """See LedgerStore."""
        if _IDENT.fullmatch(ident) is None:
            return False
        return (await self._fenced("settle", ident, "done" if done else "absent")).word == "yes"

    # --- looking ---

    async def look(self, ident: str) -> Record | None:
        """See LedgerStore."""
        if _IDENT.fullmatch(ident) is None:
            return None
        reply = await self._ask("look", self._does, "look", None, ident)
        return self._record("look", ident, *reply.more) if reply.word == "found" else None

    async def unsettled(self, *, api: str | None, limit: int) -> list[Record]:
        """See LedgerStore. A record that cannot be believed is left out."""
        oldest: dict[str, Record] = {}
        cursor = "0"
        while True:
            reply = await self._ask("list", self._does, "unsettled", None, "", cursor)
            (found,) = reply.more
            for name, fields in zip(found[::2], found[1::2], strict=True):
                with contextlib.suppress(StoreError):
                    record = self._record("list", name.decode("latin-1"), fields)
                    if api in {None, record.subject.api} and reply.time < record.until:
                        oldest[record.ident] = record
            oldest = dict(sorted(oldest.items(), key=lambda item: item[1].created)[:limit])
            cursor = reply.word
            if cursor == "0":
                return list(oldest.values())

    async def recount(self) -> None:
        """Hear how many calls have an unknown outcome. Raises StoreError."""
        await self._ask("count", self._does, "count", None, "")

    async def _count(self, pause: float) -> None:
        """A call becomes unknown by nothing more than time."""
        while True:
            await self._clock.sleep(pause)
            with contextlib.suppress(StoreError):
                await self.recount()

    def _record(self, what: str, ident: str, *written: Any) -> Record:
        try:
            return ledger_fields.record_of(ident, *written)
        except ledger_fields.Malformed as error:
            self.malformed += 1
            raise StoreError(self.name, what, str(error)) from error

    # --- asking ---

    async def _fenced(self, what: str, ident: str, *words: str) -> Reply:
        """What changes nothing once we have given up."""
        reply = await self._ask(what, self._in_time, what, ident, *words)
        if reply.word == _LATE:
            raise StoreError(self.name, what, "the server's clock has moved")
        return reply

    async def _in_time(self, what: str, ident: str, *words: str) -> Reply:
        """At the second try its time is known, if it was not."""
        end = self._clock.now() + self._limit
        reply = await self._does(what, end, ident, *words)
        return await self._does(what, end, ident, *words) if reply.word == _LATE else reply

    async def _does(self, what: str, end: float | None, ident: str, *words: Word) -> Reply:
        """One round trip, which tells the time too, and what has become unknown. ``end``: monotonic seconds."""
        sent = self._clock.now()
        reply = await self._server.does(what, None if end is None else end + self._ahead, ident, words)
        at_least, at_most = reply.time - self._clock.now(), reply.time - sent
        if not at_least <= self._ahead <= at_most:  # not known before, or its clock has moved
            self._ahead = at_least
        self.unknown = reply.unknown
        self.evictions += reply.evicted
        return reply

    async def _ask(self, what: str, work: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """See Link. A server that refuses every write is away, whatever else it says."""
        self._busy += 1
        self._idle.clear()
        try:
            return await self._link.ask(what, work, *arguments)
        except Refused as error:
            if isinstance(error.__cause__, OutOfMemoryError):
                raise LedgerFull(self.name, what, error.why) from error
            if isinstance(error.__cause__, ReadOnlyError) or any(word in error.why for word in _UNWRITABLE):
                self._link.fall(error.why)
            raise
        finally:
            self._busy -= 1
            if not self._busy:
                self._idle.set()

    # --- away and back ---

    async def _greet(self) -> None:
        """Raises StoreError unless the server is ready to be written."""
        if not self.up:
            await self._link.attempt("connect", self._pool.disconnect, False)  # noqa: FBT003  the idle ones may be dead
        await self._link.attempt("connect", self._does, "count", None, "")
        found = weaknesses(await self._link.attempt("connect", self._server.settings))
        for weakness in found:
            if weakness not in self.weaknesses:
                _log.warning("ledger may forget", extra={"store": self.name, "why": weakness})
        self.weaknesses = found

    async def close(self) -> None:
        """See LedgerStore."""
        await self._link.close()
        self._counting.cancel()
        await asyncio.wait({self._counting})
        await self._idle.wait()  # no longer than an operation may take
        with contextlib.suppress(StoreError):
            await self._link.attempt("close", self._pool.aclose)

    def __repr__(self) -> str:
        return f"<RedisLedger {self._link!r}, {self.unknown} unknown>"


async def _written(ident: str, answer: Answer) -> bytes:
    """See ledger_fields. A large one is hashed beside the loop: it would hold every other call up."""
    if len(answer.body) > HEAVY:
        return await asyncio.to_thread(ledger_fields.answer_of, ident, answer)
    return ledger_fields.answer_of(ident, answer)


def weaknesses(settings: Mapping[str, str]) -> tuple[str, ...]:
    """Why a server with these settings may forget what it was told, and what to do about it."""
    if not settings.keys() >= set(_SETTINGS):
        return (_UNTOLD,)
    found = []
    if settings["appendonly"] != "yes":
        found.append("a restart forgets every record; set appendonly yes and appendfsync always")
    elif (fsync := settings["appendfsync"]) != "always":
        found.append(f"a crash forgets the last records (appendfsync {fsync}); set appendfsync always")
    elif settings["no-appendfsync-on-rewrite"] != "no":
        found.append("a crash during a rewrite forgets the last records; set no-appendfsync-on-rewrite no")
    if settings["maxmemory"] != "0" and (policy := settings["maxmemory-policy"]) != "noeviction":
        found.append(f"records may be evicted (maxmemory-policy {policy}); set maxmemory-policy noeviction")
    if settings.get("replicas", "0") != "0":
        found.append("a failover forgets what has not reached the replica; have the primary restarted, not replaced")
    return tuple(found)


def _has(reply: object, name: str) -> bool:
    return isinstance(reply, dict) and name in reply


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
