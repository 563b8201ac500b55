"""Owns the SQLite file of a ledger: who may open it, what is written to it as a whole, and why it cannot be used.

Called by the one thread of ``ledger_sqlite.py``. The file is locked for as long as it is open, and left as it is unless
it is empty or a ledger. One that is gone from its path while it is in use is no ledger any more, since it would be
missed at the next start; nor does another take its place: it would know nothing of the calls that are under way.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

from proxy.stores.ledger_table import PAGE, TABLES, Calls

SCHEMA: Final = 1  # of the tables below
_APPLICATION: Final = 0x42535447  # what the file says that it is: BSTG
_HEADROOM: Final = 16 << 20  # bytes of pages that are partly empty, besides a quarter of the limit
_LOG: Final = 8 << 20  # bytes that the log keeps when it begins anew; SQLite carries it over every 4 MiB
_FREE: Final = 2048  # pages that may be empty before the file is made smaller
_ABANDONED: Final = (
    "UPDATE calls SET state = 'unknown' WHERE state <> 'done' AND state = 'running' AND substr(token, 1, ?) <> ?"
)

_OF_THE_FILE: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY,
    }
)  # fmt: skip
"""Errors of the file, rather than of what was asked of it."""


class Unusable(Exception):
    """The file is not, or not any more, one that records may be kept in."""


FAILURES: Final = (Unusable, OSError, sqlite3.Error)
"""What ends the use of a file until it is opened again: see ``why``."""

Work: TypeAlias = Callable[[Calls, float], Any]
"""Something to do within a transaction, at a wall time."""


class LedgerFile:
    """The file at ``path``, opened when something is to be done. ``epoch``: of the tokens of this process."""

    def __init__(self, path: str, epoch: str, limit: int) -> None:
        self.limit = limit  # bytes of all records; may be set by others
        self.calls: Calls | None = None  # while it is open
        self.commits = 0  # that had something to write
        self._path = Path(path)
        self._prefix = f"{epoch}-"
        self._inode: tuple[int, int] | None = None  # which file it is, once it was opened
        self._evictions = 0  # before it was closed

    # --- transactions ---

    def carry_out(self, works: list[Work], now: float) -> list[Any]:
        """What each gives or raises, once all of it is on the disk. Raises FAILURES: nothing is, as far as is known.

        On a full disk each is tried alone: those that only read need no room.
        """
        calls = self.open()
        try:
            return self._transaction(calls, works, now)
        except sqlite3.Error as error:
            if _code(error) != sqlite3.SQLITE_FULL:
                raise
            if len(works) == 1:
                return [error]
        return [outcome for work in works for outcome in self.carry_out([work], now)]

    def _transaction(self, calls: Calls, works: list[Work], now: float) -> list[Any]:
        connection, before = calls.connection, calls.figures
        changes = connection.total_changes
        connection.execute("BEGIN IMMEDIATE")
        try:
            outcomes = [_one(calls, work, now) for work in works]
            calls.count_lapsed(now)
            connection.execute("COMMIT")
        except BaseException:
            calls.figures = before
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self.commits += connection.total_changes != changes
        return outcomes

    def shrink(self) -> None:
        """If much of the file is empty, give back a part of that. Raises FAILURES."""
        if self.calls is None:
            return
        ((pages,),) = self.calls.connection.execute("PRAGMA page_count")
        ((free,),) = self.calls.connection.execute("PRAGMA freelist_count")
        if free > max(_FREE, pages // 4):
            # One step frees one page, and there is no row to fetch: only a script is stepped to its end.
            self.calls.connection.executescript(f"PRAGMA incremental_vacuum({_FREE})")

    # --- opened and closed ---

    def open(self) -> Calls:
        """The table, of a file that is the one at its path. Raises FAILURES."""
        if self._inode is not None:
            self._check()
        calls = self.calls
        if calls is None:
            calls = self.calls = self._open()
        elif calls.limit != self.limit:
            calls.limit = self.limit
            _bound(calls.connection, self.limit)
        return calls

    def _open(self) -> Calls:
        if self._inode is None:
            self._create()
        connection = sqlite3.connect(self._path, timeout=0.0, isolation_level=None)
        try:
            _recognise(connection)
            self._set_up(connection)
            _bound(connection, self.limit)
            calls = Calls(connection, self.limit, self._evictions)
            self._inode = _inode(self._path)
        except BaseException:
            connection.close()
            raise
        return calls

    def _create(self) -> None:
        """Opens no file that is there: to close it again would end the locks that this process has on it."""
        if self._path.exists():
            return
        if not self._path.parent.exists():
            self._path.parent.mkdir(mode=0o700)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))

    def _check(self) -> None:
        """The file that was opened first is still at its path. SQLite would apply its log to any other."""
        try:
            inode = _inode(self._path)
        except FileNotFoundError:
            raise Unusable("it is gone: put it back, or restart to begin without any record") from None
        if inode != self._inode:
            raise Unusable(
                "another file is in its place: put the first one back, or restart without "
                f"{self._path.name}-wal, which is not of this one"
            )

    def _set_up(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # if it is empty yet
        ((mode,),) = connection.execute("PRAGMA journal_mode = WAL")
        if mode != "wal":
            raise Unusable("its file system allows no write-ahead log")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {_LOG}")
        _carry_over(connection)
        connection.execute("BEGIN IMMEDIATE")
        ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master")
        for statement in () if tables else TABLES:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        connection.execute(f"PRAGMA user_version = {SCHEMA}")  # writes, whatever it was: so it can be written
        connection.execute(_ABANDONED, (len(self._prefix), self._prefix))
        connection.execute("COMMIT")

    def close(self) -> None:
        """Carries the log over to the file, if it can."""
        if self.calls is not None:
            self._evictions = self.calls.figures.evictions
            self.calls.connection.close()
            self.calls = None

    def why(self, error: Exception) -> str:
        """What an operator has to know about a failure, or about what one ``Work`` has raised."""
        return f"{self._path}: {_why(error)}"

    def __repr__(self) -> str:
        return f"<LedgerFile {self._path} {'closed' if self.calls is None else repr(self.calls)}>"


def _one(calls: Calls, work: Work, now: float) -> Any:
    """One that fails leaves the others alone, and the figures right: a change is one statement, and counted after it.

    A savepoint for each would cost two statements more, at each of which the thread may lose its turn to the loop's.
    """
    try:
        return work(calls, now)
    except Exception as error:  # whatever SQLite or Python makes of a record
        if not calls.connection.in_transaction or _code(error) in _OF_THE_FILE:
            raise
        return error


def _recognise(connection: sqlite3.Connection) -> None:
    """Before anything is written to what may be another's. Raises Unusable, or sqlite3.Error."""
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    ((application,),) = connection.execute("PRAGMA application_id")
    ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master")
    ((schema,),) = connection.execute("PRAGMA user_version")
    if tables and application != _APPLICATION:
        raise Unusable("it is a database of another program, and left as it is: name another path")
    if schema > SCHEMA:
        raise Unusable(
            f"it was written by a newer version (schema {schema}; this one knows {SCHEMA}), and is left as it is: "
            "run that version, or name another path"
        )


def _inode(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _carry_over(connection: sqlite3.Connection) -> None:
    """The log into the file: a sync that failed may have left it in doubt what of the log is on the disk."""
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.OperationalError as error:
        if _code(error) != sqlite3.SQLITE_FULL:
            raise  # while the disk is full, the log stays as it is


def _bound(connection: sqlite3.Connection, limit: int) -> None:
    """The last resort: records that take more than was reckoned do not fill the disk."""
    connection.execute(f"PRAGMA max_page_count = {(limit + limit // 4 + _HEADROOM) // PAGE}")


# --- failures -----------------------------------------------------------------------------------------------


def _code(error: Exception) -> int:
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF  # less what a kind of error tells more exactly


def _why(error: Exception) -> str:
    may = f"Backstay (user {os.geteuid()}) must be able to write the file and its directory"
    if isinstance(error, FileNotFoundError):
        return "neither its directory nor the one above is there: mount a volume, or name another path"
    if isinstance(error, OSError):
        return f"{error.strerror}: {may}"
    match _code(error):
        case sqlite3.SQLITE_BUSY:
            return "another process has it open: each needs a file of its own"
        case sqlite3.SQLITE_NOTADB:
            return "it is no database, and left as it is: name another path"
        case sqlite3.SQLITE_CORRUPT:
            return f"{error}: it is damaged, and left as it is; records are lost if it is moved away"
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return f"{error}: {may}"
        case sqlite3.SQLITE_FULL:
            return "there is no space left for it on the disk"
        case _:
            return str(error) or type(error).__name__
