"""Owns the table of a ledger's file: what a record is in it, and what is done with records within a transaction.

``ledger_file.py`` makes one when it opens the file, and does all that is done with it. A change of the file is one
statement, and the figures change after it: they are right whichever statement fails. ``now`` is wall time in seconds.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any, Final, NamedTuple

from proxy.core import idempotency
from proxy.core.idempotency import Answer, Claim, Conclusion, Record, Reserved, State, Subject

PAGE: Final = 4096  # bytes
_STEP: Final = 500  # records that are forgotten, or answers that make room, at once
_ROW: Final = 300  # bytes that a record takes besides its texts, with its places in the indexes

TABLES: Final = (
    """CREATE TABLE calls (
        place INTEGER PRIMARY KEY,  -- in the order in which they were last written
        ident TEXT NOT NULL UNIQUE,
        state TEXT NOT NULL, token TEXT NOT NULL, fingerprint TEXT NOT NULL, number INTEGER NOT NULL,
        doubt INTEGER NOT NULL, lease_until REAL NOT NULL, until REAL NOT NULL, status INTEGER NOT NULL,
        nonce TEXT NOT NULL, created REAL NOT NULL, windowed INTEGER NOT NULL, retain REAL NOT NULL,
        api TEXT NOT NULL, route TEXT NOT NULL, method TEXT NOT NULL, target TEXT NOT NULL, key TEXT NOT NULL,
        size INTEGER NOT NULL,  -- bytes that it takes
        answered INTEGER NOT NULL,  -- bytes of them that its answer takes
        answer BLOB
    )""",
    "CREATE INDEX calls_until ON calls (until, state, size, answered)",
    # SQLite uses it for questions that say "state <> 'done'" too, and for no others
    "CREATE INDEX calls_open ON calls (state, lease_until) WHERE state <> 'done'",
    "CREATE INDEX calls_answered ON calls (place, answered) WHERE answered > 0",
)
_PUT: Final = (
    "INSERT OR REPLACE INTO calls VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_FIND: Final = "SELECT * FROM calls WHERE ident = ?"
_UNSETTLED: Final = (
    "SELECT * FROM calls WHERE state <> 'done' AND (state = 'unknown' OR lease_until <= :now) "
    "AND until > :now AND (:api IS NULL OR api = :api) ORDER BY created, place LIMIT :limit"
)
_LAPSED: Final = "SELECT count(*) FROM calls WHERE state <> 'done' AND state = 'running' AND lease_until <= ?"
_EXPIRED: Final = (
    "SELECT place, state, size, answered FROM calls WHERE until <= :now "
    "AND NOT (state = 'running' AND lease_until > :now) ORDER BY until LIMIT :most"
)
_FORGET: Final = "DELETE FROM calls WHERE place = ?"
_DROP: Final = "DELETE FROM calls WHERE ident = ?"
_ANSWERED: Final = "SELECT place, answered FROM calls WHERE answered > 0 ORDER BY place LIMIT ?"
_STRIP: Final = "UPDATE calls SET size = size - answered, answered = 0, answer = NULL WHERE place = ?"
_SUMS: Final = "SELECT count(*), total(size), total(answered), total(state = 'unknown') FROM calls"


class Figures(NamedTuple):
    """What is in the file. There is one for each state of it, which a transaction that fails goes back to."""

    records: int = 0
    bytes: int = 0
    answers: int = 0  # bytes of them, which may go
    unknown: int = 0  # as it was told
    lapsed: int = 0  # running by an owner that is silent for too long
    evictions: int = 0


# --- a record and its row -----------------------------------------------------------------------------------


class _Entry(NamedTuple):
    """A record, and its row as it is in the file."""

    record: Record
    facts: tuple[Any, ...]
    size: int
    answered: int


def _facts(record: Record) -> tuple[Any, ...]:
    """What of a record changes; its answer changes with its state."""
    return (
        record.state.value, record.token, record.fingerprint, record.number, int(record.doubt), record.lease_until,
        record.until, record.status,
    )  # fmt: skip


def _fixed(record: Record) -> tuple[Any, ...]:
    return (record.nonce, record.created, int(record.windowed), record.retain, *record.subject)


def _entry(row: tuple[Any, ...]) -> _Entry:
    (
        _, ident, state, token, fingerprint, number, doubt, lease_until, until, status, nonce, created, windowed,
        retain, *subject, size, answered, answer,
    ) = row  # fmt: skip
    claim = Claim(ident, token, fingerprint, 0.0, retain, 0.0, nonce, resend=False, subject=Subject(*subject))
    record = Record(claim, created)
    record.state, record.number, record.doubt = State(state), number, bool(doubt)
    record.lease_until, record.until, record.windowed = lease_until, until, bool(windowed)
    record.status, record.answer = status, None if answer is None else _read(answer)
    return _Entry(record, _facts(record), size, answered)


def _size(record: Record) -> int:
    texts = (record.token, record.fingerprint, record.nonce, *record.subject, record.ident, record.ident)
    return _whole(_ROW + sum([len(text.encode()) for text in texts]))


def _whole(size: int) -> int:
    """What a row of so many bytes takes: no page holds two of more than half a page."""
    return size if size <= PAGE // 2 else -(-size // PAGE) * PAGE


def _write(answer: Answer) -> bytes:
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers]
    head = json.dumps((answer.status, answer.reason.decode("latin-1"), fields), separators=(",", ":"))
    return b"%b\n%b" % (head.encode(), answer.body)


def _read(data: bytes) -> Answer:
    head, _, body = data.partition(b"\n")
    status, reason, fields = json.loads(head)
    headers = tuple([(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields])
    return Answer(status, reason.encode("latin-1"), headers, body)


# --- the table ----------------------------------------------------------------------------------------------


class Calls:
    """The table in an open file. All its methods are called within a transaction."""

    def __init__(self, connection: sqlite3.Connection, limit: int, evictions: int) -> None:
        self.connection = connection
        self.limit = limit  # bytes
        ((records, size, answers, unknown),) = connection.execute(_SUMS)
        self.figures = Figures(records, int(size), int(answers), int(unknown), 0, evictions)

    # --- transitions ---

    def reserve(self, claim: Claim, now: float) -> Reserved | None:
        """See core.idempotency. None: there is no room."""
        entry = self._find(claim.ident)
        if entry is not None and idempotency.expired(entry.record, now):
            self._drop(entry)
            entry = None
        reserved = idempotency.reserve(None if entry is None else entry.record, claim, now)
        if entry is None and not self._make_room(_size(reserved.record)):
            return None
        self._keep(entry, reserved.record)
        return reserved

    def renew(self, ident: str, token: str, lease: float, now: float) -> bool:
        """See core.idempotency."""
        entry = self._live(ident, now)
        if entry is None or not idempotency.renew(entry.record, token, lease, now):
            return False
        self._keep(entry, entry.record)
        return True

    def finish(self, ident: str, token: str, conclusion: Conclusion, now: float) -> bool:
        """See core.idempotency."""
        entry = self._live(ident, now)
        if entry is None or not idempotency.finish(entry.record, token, conclusion, now):
            return False
        if idempotency.released(entry.record, conclusion):
            self._drop(entry)
        else:
            self._keep(entry, entry.record)
        return True

    def settle(self, ident: str, now: float, *, done: bool) -> bool:
        """See LedgerStore."""
        entry = self._live(ident, now)
        if entry is None or idempotency.state_at(entry.record, now) is not State.UNKNOWN:
            return False
        if done:
            idempotency.settle(entry.record, now)
            self._keep(entry, entry.record)
        else:
            self._drop(entry)
        return True

    def look(self, ident: str, now: float) -> Record | None:
        """See LedgerStore."""
        entry = self._live(ident, now)
        return None if entry is None else entry.record

    def unsettled(self, api: str | None, limit: int, now: float) -> list[Record]:
        """See LedgerStore."""
        return [_entry(row).record for row in self._rows(_UNSETTLED, {"now": now, "api": api, "limit": limit})]

    # --- room ---

    def tidy(self, now: float) -> None:
        """Forget what it is time to forget, and come down to a limit that is lower now: a step of both."""
        for place, state, size, answered in self._rows(_EXPIRED, {"now": now, "most": _STEP}):
            self.connection.execute(_FORGET, (place,))
            self._count(-1, -size, -answered, unknown=-(state == State.UNKNOWN.value))
        self._strip(self.figures.bytes - self.limit)

    def count_lapsed(self, now: float) -> None:
        """Calls whose owner is silent for too long: nobody tells."""
        ((lapsed,),) = self.connection.execute(_LAPSED, (now,))
        self.figures = self.figures._replace(lapsed=lapsed)

    def _make_room(self, more: int) -> bool:
        """For so many bytes more. False: there can be none, and no answer had to go for nothing."""
        figures = self.figures
        if figures.bytes - figures.answers + more > self.limit:
            return False
        self._strip(figures.bytes + more - self.limit)
        return True

    def _strip(self, over: int) -> None:
        """The oldest answers go until so many bytes are free, a step of them at most."""
        for place, answered in self._rows(_ANSWERED, (_STEP,)) if over > 0 else ():
            self.connection.execute(_STRIP, (place,))
            self._count(0, -answered, -answered, evictions=1)
            over -= answered
            if over <= 0:
                break

    def _count(self, records: int, size: int, answers: int, *, unknown: int = 0, evictions: int = 0) -> None:
        was = self.figures
        self.figures = Figures(
            was.records + records, was.bytes + size, was.answers + answers, was.unknown + unknown, was.lapsed,
            was.evictions + evictions,
        )  # fmt: skip

    # --- rows ---

    def _rows(self, statement: str, values: Any) -> list[Any]:
        return self.connection.execute(statement, values).fetchall()

    def _find(self, ident: str) -> _Entry | None:
        row = self.connection.execute(_FIND, (ident,)).fetchone()
        return None if row is None else _entry(row)

    def _live(self, ident: str, now: float) -> _Entry | None:
        entry = self._find(ident)
        return None if entry is None or idempotency.expired(entry.record, now) else entry

    def _keep(self, entry: _Entry | None, record: Record) -> None:
        """Write a record if it is new, or another than in its row."""
        if entry is None:
            self._put(record)
            self._count(1, _size(record), 0)
        elif (facts := _facts(record)) != entry.facts:
            size, answered = self._put(record, entry.size)
            unknown = (facts[0] == State.UNKNOWN.value) - (entry.facts[0] == State.UNKNOWN.value)
            self._count(0, size + answered - entry.size, answered - entry.answered, unknown=unknown)

    def _put(self, record: Record, was: int = 0) -> tuple[int, int]:
        """What it takes, and what its answer takes more; the answer goes if there can be no room for it."""
        size, answered, answer = _size(record), 0, None
        if record.answer is not None:
            answer = _write(record.answer)
            answered = _whole(size + len(answer)) - size
            if not self._make_room(size + answered - was):
                answered, answer = 0, None
        row = (record.ident, *_facts(record), *_fixed(record), size + answered, answered, answer)
        self.connection.execute(_PUT, row)
        if record.answer is not None and answer is None:
            self._count(0, 0, 0, evictions=1)
        return size, answered

    def _drop(self, entry: _Entry) -> None:
        self.connection.execute(_DROP, (entry.record.ident,))
        unknown = -(entry.facts[0] == State.UNKNOWN.value)
        self._count(-1, -entry.size, -entry.answered, unknown=unknown)

    def __repr__(self) -> str:
        return f"<Calls {self.figures}>"
