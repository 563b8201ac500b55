"""Owns the records of calls that must happen once, for as long as this process lives: a table bounded by bytes.

``ledgers.py`` makes one ``MemoryLedger``; ``ledger.py`` and the admin API use it. aiocache has no part in it: its
times to live and its evictions would forget what must not be forgotten.

Where a record stands
- Every one is in the table. One that is RUNNING or UNKNOWN is in the line ``open``, one that is DONE with its answer
  in the line ``answered``, from which the oldest answers go when there is no room: their records stay, with the status.
- One of which its owner has said how it ended is in the heap ``due`` too, by the time at which it is to be forgotten;
  if that has moved since, it is found out when its turn comes. A call under way is not: most of those that are
  released would be forgotten long before their turn, and fill the heap meanwhile. Instead, each reservation looks at
  one that is open, in turn: that is how those are found whose owner is never heard of again.

What is counted is what the process grows by. Records that are returned are the table's own: who looks at one after
others had their turn may find it changed, and its answer gone.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final

from proxy.core import idempotency as rules
from proxy.core.idempotency import Answer, Claim, Conclusion, Record, Reserved, State
from proxy.stores.ledger import LedgerFull

_RECORD: Final = 1000  # bytes: a record with its objects less their characters, in the table, a line and the heap
_ANSWER: Final = 200  # bytes: an answer with its objects less what they hold
_STEPS: Final = 4  # records that may be forgotten at each reservation


_OWNED: Final = rules.Found.OWNED
_RUNNING: Final = State.RUNNING
_DONE: Final = State.DONE
_UNKNOWN: Final = State.UNKNOWN


class _Entry:
    """A record, what it takes, and where it stands."""

    __slots__ = ("body", "cost", "line", "newer", "older", "queued", "record")

    def __init__(self, record: Record) -> None:
        self.record = record
        self.cost = _weight(record)  # bytes, without its answer
        self.body = 0  # bytes of its answer
        self.queued = 0.0  # when its turn in the heap comes; 0: it is not in the heap
        self.line: _Line | None = None
        self.older: _Entry | None = None
        self.newer: _Entry | None = None


class _Line:
    """Entries in a row, each of which can leave at any time. An entry is in one line at most."""

    __slots__ = ("newest", "oldest")

    def __init__(self) -> None:
        self.oldest: _Entry | None = None
        self.newest: _Entry | None = None

    def join(self, entry: _Entry) -> None:
        """To the end, out of whatever line it is in."""
        _leave(entry)
        last = self.newest
        if last is None:
            self.oldest = entry
        else:
            last.newer = entry
        entry.older, entry.line = last, self
        self.newest = entry


class MemoryLedger:
    """See the module, and ``LedgerStore`` for the methods. Nothing of it waits, and only ``reserve`` can fail."""

    name: Final = "memory"
    up: Final = True
    why: Final = ""

    def __init__(self, limit: int, now: Callable[[], float]) -> None:
        self._limit = limit
        self._now = now
        self._entries: dict[str, _Entry] = {}
        self._open = _Line()
        self._answered = _Line()  # in the order in which they were
        self._due: list[tuple[float, str]] = []  # a heap, by when; what is not ``queued`` for that time is void
        self._bodies = 0  # bytes of answers
        self.bytes = 0
        self.evictions = 0  # answers that made room, or found none

    @property
    def limit(self) -> int:
        """The bound in bytes. Under a lower one answers go at once, and records in their time."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._limit = limit
        self._evict(0)

    def now(self) -> float:
        """See LedgerStore."""
        return self._now()

    @property
    def count(self) -> int:
        """See LedgerStore. Some may have had their time."""
        return len(self._entries)

    @property
    def unknown(self) -> int:
        """See LedgerStore. Looks at every call that is not done."""
        return len(self._unknown(self._now()))

    # --- as owners call it ---

    def take(self, claim: Claim) -> Reserved:
        """What ``reserve`` gives, without a wait: most calls are reserved here, and a coroutine costs as much."""
        now = self._now()
        self._forget(now)
        entry = self._find(claim.ident, now)
        if entry is None:
            return self._begin(claim, now)
        reserved = rules.reserve(entry.record, claim, now)
        if reserved.found is _OWNED:
            self._weigh(entry)
        return reserved

    async def reserve(self, claim: Claim) -> Reserved:
        """See LedgerStore."""
        return self.take(claim)

    async def finish(self, ident: str, token: str, conclusion: Conclusion) -> bool:
        """See LedgerStore."""
        return self.tell(ident, token, conclusion)

    async def renew(self, ident: str, token: str, lease: float) -> bool:
        """See LedgerStore."""
        now = self._now()
        entry = self._find(ident, now)
        return entry is not None and rules.renew(entry.record, token, lease, now)

    def tell(self, ident: str, token: str, conclusion: Conclusion) -> bool:
        """What ``finish`` gives, without a wait. What there is no room for is done without its answer."""
        now = self._now()
        entry = self._find(ident, now)
        if entry is None:
            return False
        record = entry.record
        told = record.state is _DONE
        if not rules.finish(record, token, conclusion, now):
            return False
        if rules.released(record, conclusion):
            self._drop(entry)
        elif not told:
            if conclusion.fingerprint:
                self._weigh(entry)  # it may not have had one
            self._close(entry)
        return True

    # --- as people call it ---

    async def settle(self, ident: str, *, done: bool) -> bool:
        """See LedgerStore."""
        now = self._now()
        entry = self._find(ident, now)
        if entry is None or rules.state_at(entry.record, now) is not _UNKNOWN:
            return False
        if done:
            rules.settle(entry.record, now)
            self._weigh(entry)
            self._close(entry)
        else:
            self._drop(entry)
        return True

    async def look(self, ident: str) -> Record | None:
        """See LedgerStore."""
        entry = self._find(ident, self._now())
        return None if entry is None else entry.record

    async def unsettled(self, *, api: str | None, limit: int) -> list[Record]:
        """See LedgerStore."""
        records = [record for record in self._unknown(self._now()) if api is None or record.subject.api == api]
        records.sort(key=_age)
        return records[:limit]

    async def close(self) -> None:
        """See LedgerStore."""

    def __repr__(self) -> str:
        return f"<MemoryLedger {self.count} records, {self.bytes} of {self._limit} bytes>"

    # --- records ---

    def _begin(self, claim: Claim, now: float) -> Reserved:
        reserved = rules.reserve(None, claim, now)
        entry = _Entry(reserved.record)
        if self.bytes + entry.cost > self._limit:
            self._make_room(entry.cost, now)
        self._entries[claim.ident] = entry
        self._open.join(entry)
        self.bytes += entry.cost
        return reserved

    def _find(self, ident: str, now: float) -> _Entry | None:
        entry = self._entries.get(ident)
        if entry is not None and rules.expired(entry.record, now):
            self._drop(entry)
            return None
        return entry

    def _close(self, entry: _Entry) -> None:
        """It is known, or said to be unknown, what became of the call."""
        record = entry.record
        if record.state is _DONE:
            _leave(entry)
            if record.answer is not None:
                self._keep(entry, record.answer)
        if not entry.queued:
            self._queue(entry)

    def _drop(self, entry: _Entry) -> None:
        """Forget it; its place in the heap is void."""
        _leave(entry)
        del self._entries[entry.record.ident]
        self.bytes -= entry.cost + entry.body
        self._bodies -= entry.body

    def _unknown(self, now: float) -> list[Record]:
        found: list[Record] = []
        entry = self._open.oldest
        while entry is not None:
            record = entry.record
            if rules.state_at(record, now) is _UNKNOWN and not rules.expired(record, now):
                found.append(record)
            entry = entry.newer
        return found

    # --- time ---

    def _forget(self, now: float) -> None:
        """A few of those that have had their time, and one that is open if nobody is heard of it any more."""
        for _ in range(_STEPS):
            if not self._due or self._due[0][0] > now:
                break
            self._next(now)
        entry = self._open.oldest
        if entry is not None and rules.expired(entry.record, now):
            self._drop(entry)
        elif entry is not None and entry.newer is not None:
            self._open.join(entry)

    def _next(self, now: float) -> None:
        """The turn of the first in the heap."""
        when, ident = heapq.heappop(self._due)
        entry = self._entries.get(ident)
        if entry is None or entry.queued != when:
            return
        entry.queued = 0.0
        if rules.expired(entry.record, now):
            self._drop(entry)
        elif entry.record.state is not _RUNNING:
            self._queue(entry)

    def _queue(self, entry: _Entry) -> None:
        entry.queued = entry.record.until
        heapq.heappush(self._due, (entry.queued, entry.record.ident))

    # --- room ---

    def _make_room(self, cost: int, now: float) -> None:
        """For another record. Raises LedgerFull."""
        while self.bytes + cost > self._limit and self._due and self._due[0][0] <= now:
            self._next(now)
        self._evict(cost)
        if self.bytes + cost > self._limit:
            why = f"full: {self.count} records take {self.bytes} of {self._limit} bytes (limits.memory.idempotency)"
            raise LedgerFull(self.name, "reserve", why)

    def _keep(self, entry: _Entry, answer: Answer) -> None:
        """Keep an answer, if it fits where all the others were."""
        body = _weight_of(answer)
        if self.bytes - self._bodies + body > self._limit:
            entry.record.answer = None
            self.evictions += 1
            return
        self._evict(body)
        entry.body = body
        self.bytes += body
        self._bodies += body
        self._answered.join(entry)

    def _evict(self, cost: int) -> None:
        """Let go of answers, the oldest first, until there is room for so many bytes."""
        while self.bytes + cost > self._limit and (entry := self._answered.oldest) is not None:
            _leave(entry)
            self.bytes -= entry.body
            self._bodies -= entry.body
            entry.body, entry.record.answer = 0, None
            self.evictions += 1

    def _weigh(self, entry: _Entry) -> None:
        """Its token or its fingerprint may be another."""
        cost = _weight(entry.record)
        self.bytes += cost - entry.cost
        entry.cost = cost


def _leave(entry: _Entry) -> None:
    line, older, newer = entry.line, entry.older, entry.newer
    if line is None:
        return
    if older is None:
        line.oldest = newer
    else:
        older.newer = newer
    if newer is None:
        line.newest = older
    else:
        newer.older = older
    entry.line = entry.older = entry.newer = None


def _age(record: Record) -> float:
    return record.created


def _weight(record: Record) -> int:
    """Bytes that a record takes without its answer; measured by tests/stores/test_ledger_memory.py."""
    subject = record.subject
    words = len(record.token) + len(record.fingerprint) + len(record.nonce)
    return _RECORD + words + len(subject.target) + len(subject.key) + len(subject.api) + len(subject.route)


def _weight_of(answer: Answer) -> int:
    """Bytes that an answer takes; measured likewise."""
    return _ANSWER + len(answer.reason) + len(answer.fields) + len(answer.body)
