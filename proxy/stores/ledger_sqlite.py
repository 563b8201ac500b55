"""Owns the ledger in a file of SQLite: what it says is on the disk before anybody hears it, and outlives this process.

``ledgers.py`` makes one if the configuration has ``stores.ledger``; ``proxy/ledger.py`` and the admin API use it.
``link.py`` says whether the file can be asked. One thread has it open (ledger_file.py):

    what is asked in one turn of the loop ────┐
    what has come since the last commit began ┴─> BEGIN, one after the other, COMMIT ──> all who asked are told

- A sync takes as long for one record as for fifty: what is queued goes into one commit.
- A disk that hangs holds the thread, and neither the loop nor the end of the process.
- A disk that is full refuses what needs room, and nothing else. After any other failure the file is closed, and opened
  again when the link greets it.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from proxy.clock import Clock
from proxy.core.idempotency import Claim, Conclusion, Record, Reserved
from proxy.stores.base import StoreError
from proxy.stores.ledger import LedgerFull
from proxy.stores.ledger_file import FAILURES, LedgerFile, Work
from proxy.stores.ledger_table import Calls, Figures
from proxy.stores.link import PAUSE, Link, Linked, Refused

NAME: Final = "sqlite"
ANSWER_LIMIT: Final = 5.0  # seconds for an operation: disks in clouds may take one or two for a sync
_TOGETHER: Final = 1024  # operations that may be under way
_IDLE: Final = 10.0  # seconds without a question until the thread sees for itself what time has brought


class _Job(NamedTuple):
    what: str
    work: Work
    done: asyncio.Future[Any]
    due: bool  # even if nobody waits for it any more


class _Worker(threading.Thread):
    """The thread that has the file open. It is ``heard`` after each commit, and what troubles it unasked, too."""

    def __init__(
        self, file: LedgerFile, clock: Clock, heard: Callable[[Figures], None], troubled: Callable[[str], None]
    ) -> None:
        super().__init__(name="backstay ledger", daemon=True)  # daemon: a disk that hangs must not keep the process
        self.stopped: asyncio.Future[None] = clock.loop.create_future()
        self._file = file
        self._clock = clock
        self._heard = heard
        self._troubled = troubled
        self._asked: list[_Job] = []  # in this turn of the loop
        self._queue: queue.SimpleQueue[list[_Job] | None] = queue.SimpleQueue()
        self._stopping = False

    # --- in the loop ---

    async def ask(self, what: str, work: Work, *, due: bool = True) -> Any:
        """What ``work`` gives, once it is on the disk. Raises StoreError."""
        done = self._clock.loop.create_future()
        if not self._asked:
            self._clock.loop.call_soon(self._pass_on)
        self._asked.append(_Job(what, work, done, due))
        return await done

    def _pass_on(self) -> None:
        asked, self._asked = self._asked, []
        self._queue.put(asked)

    def stop(self) -> None:
        """End after all that was asked; ``stopped`` tells when."""
        self._clock.loop.call_soon(self._queue.put, None)

    def _tell(self, jobs: list[_Job], outcomes: list[Any], figures: Figures | None) -> None:
        if figures is not None:
            self._heard(figures)
        for job, outcome in zip(jobs, outcomes, strict=True):
            if job.done.done():
                continue
            if isinstance(outcome, Exception):
                job.done.set_exception(outcome)
            else:
                job.done.set_result(outcome)

    # --- in the thread ---

    def run(self) -> None:
        """See Thread."""
        while not self._stopping:
            jobs = [job for job in self._take() if job.due or not job.done.cancelled()]
            if jobs or self._file.calls is not None:  # that it is closed and nobody asks is the link's affair
                outcomes = self._carry_out(jobs)
                figures = None if self._file.calls is None else self._file.calls.figures
                self._in_loop(self._tell, jobs, outcomes, figures)
                self._shrink()
        self._file.close()
        self._in_loop(self.stopped.set_result, None)

    def _take(self) -> list[_Job]:
        """All that is queued; nothing after a while without a question."""
        jobs: list[_Job] = []
        with contextlib.suppress(queue.Empty):
            asked = self._queue.get(timeout=_IDLE)
            while asked is not None:
                jobs += asked
                asked = self._queue.get_nowait()
            self._stopping = True
        return jobs

    def _carry_out(self, jobs: list[_Job]) -> list[Any]:
        """What each gives, or a StoreError."""
        try:
            _, *outcomes = self._file.carry_out([Calls.tidy, *[job.work for job in jobs]], self._clock.wall())
        except FAILURES as error:
            self._file.close()
            why = self._file.why(error)
            if not jobs:
                self._in_loop(self._troubled, why)
            return [StoreError(NAME, job.what, why) for job in jobs]
        return [self._refused(job, outcome) for job, outcome in zip(jobs, outcomes, strict=True)]

    def _refused(self, job: _Job, outcome: Any) -> Any:
        return Refused(NAME, job.what, self._file.why(outcome)) if isinstance(outcome, Exception) else outcome

    def _shrink(self) -> None:
        try:
            self._file.shrink()
        except FAILURES:
            self._file.close()  # whoever asks next opens it, or hears why that cannot be

    def _in_loop(self, callback: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._clock.loop.call_soon_threadsafe(callback, *arguments)


class SqliteLedger(Linked):
    """See the module, and ``LedgerStore`` for the methods.

    An operation that took longer than ``answer_limit`` has failed for its caller, and may be carried out all the same,
    when the disk goes on; but for a reservation that was not begun until then. So it is with one whose caller was
    cancelled. ``epoch`` is what the tokens of this process begin with, before a hyphen.
    """

    name: Final = NAME

    def __init__(
        self,
        path: str,
        clock: Clock,
        *,
        epoch: str,
        limit: int,
        answer_limit: float = ANSWER_LIMIT,
        pause: float = PAUSE,
    ) -> None:
        self._clock = clock
        self._answer_limit = answer_limit
        self._file = LedgerFile(path, epoch, limit)
        self._figures: Figures | None = None
        self._link = Link(NAME, clock, self._greet, refusals=(), connections=_TOGETHER, limit=answer_limit, pause=pause)
        self._worker = _Worker(self._file, clock, self._hear, self._link.fall)
        self._worker.start()

    # --- what is known without asking ---

    def now(self) -> float:
        """See LedgerStore."""
        return self._clock.wall()

    @property
    def count(self) -> int | None:
        """Records in it, as of the last commit; None: it has not been opened."""
        return None if self._figures is None else self._figures.records

    @property
    def bytes(self) -> int | None:
        """What they take."""
        return None if self._figures is None else self._figures.bytes

    @property
    def unknown(self) -> int:
        """Records whose outcome is not known; told at the last commit, or within ten seconds after it."""
        return 0 if self._figures is None else self._figures.unknown + self._figures.lapsed

    @property
    def evictions(self) -> int:
        """Answers that made room."""
        return 0 if self._figures is None else self._figures.evictions

    @property
    def commits(self) -> int:
        """How often the disk was written to."""
        return self._file.commits

    @property
    def limit(self) -> int:
        """Bytes that the records may take; a lower one is reached in steps."""
        return self._file.limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._file.limit = limit

    # --- LedgerStore ---

    async def reserve(self, claim: Claim) -> Reserved:
        """See LedgerStore."""
        reserved: Reserved | None = await self._ask("reserve", lambda calls, now: calls.reserve(claim, now), due=False)
        if reserved is None:
            why = f"full: {self.count} records take {self.bytes} of {self.limit} bytes (limits.disk.ledger)"
            raise LedgerFull(NAME, "reserve", why)
        return reserved

    async def renew(self, ident: str, token: str, lease: float) -> bool:
        """See LedgerStore."""
        return bool(await self._ask("renew", lambda calls, now: calls.renew(ident, token, lease, now)))

    async def finish(self, ident: str, token: str, conclusion: Conclusion) -> bool:
        """See LedgerStore. What there is no room for is done without its answer."""
        return bool(await self._ask("finish", lambda calls, now: calls.finish(ident, token, conclusion, now)))

    async def settle(self, ident: str, *, done: bool) -> bool:
        """See LedgerStore."""
        return bool(await self._ask("settle", lambda calls, now: calls.settle(ident, now, done=done)))

    async def look(self, ident: str) -> Record | None:
        """See LedgerStore."""
        record: Record | None = await self._ask("look", lambda calls, now: calls.look(ident, now))
        return record

    async def unsettled(self, *, api: str | None, limit: int) -> list[Record]:
        """See LedgerStore."""
        records: list[Record] = await self._ask("list", lambda calls, now: calls.unsettled(api, limit, now))
        return records

    async def close(self) -> None:
        """See LedgerStore. A disk that hangs is not waited for longer than for an operation."""
        await self._link.close()
        self._worker.stop()
        late = StoreError(NAME, "close", "the disk does not answer")
        with contextlib.suppress(StoreError):
            await self._clock.wait(asyncio.shield(self._worker.stopped), self._answer_limit, late)

    # --- the thread and the link ---

    async def _ask(self, what: str, work: Work, *, due: bool = True) -> Any:
        return await self._link.ask(what, partial(self._worker.ask, due=due), what, work)

    async def _greet(self) -> None:
        """Raises StoreError unless the file is open, or can be opened."""
        await self._link.attempt("open", partial(self._worker.ask, due=False), "open", lambda _calls, _now: None)

    def _hear(self, figures: Figures) -> None:
        self._figures = figures

    def __repr__(self) -> str:
        return f"<SqliteLedger {self._link!r}, {self.count} records, {self.bytes} of {self.limit} bytes>"
