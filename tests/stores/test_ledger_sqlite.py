"""The ledger in a file of SQLite: the contract, what survives what, many in one commit, and disks that hang or fail."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import resource
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.clock import Clock
from proxy.core.idempotency import Concluded, Conclusion, Found, State
from proxy.stores.base import StoreError
from proxy.stores.ledger import LedgerFull
from proxy.stores.ledger_sqlite import SqliteLedger
from proxy.stores.ledger_table import Calls
from tests.stores.ledger_suite import LedgerContract, claim, compare_with_the_rules, done, named, seen, tell
from tests.support.answers import GENEROUS, KIB, MIB, until
from tests.support.virtual import EPOCH, turn

PAUSE = 0.02  # seconds between two greetings
HURRY = 0.2  # seconds for an operation on a disk that hangs

ROOT = Path(__file__).parents[2]


class SqliteBench:
    """A ledger in a file, and a wall clock that only moves when it is told to."""

    def __init__(self, path: Path, *, epoch: str = "e1", limit: int = 64 * MIB, **settings: Any) -> None:
        self.path = path
        self.wall = EPOCH
        self.clock = Clock(asyncio.get_running_loop(), wall=lambda: self.wall)
        settings = {"answer_limit": GENEROUS, "pause": PAUSE, **settings}
        self.store = SqliteLedger(str(path), self.clock, epoch=epoch, limit=limit, **settings)

    async def second(self) -> None:
        return None

    async def pass_time(self, seconds: float) -> None:
        self.wall += seconds

    async def refresh(self) -> None:
        await self.store.look("")

    async def narrow(self, room: int) -> None:
        await self.refresh()
        self.store.limit = (self.store.bytes or 0) + room

    async def close(self) -> None:
        await self.store.close()
        await self.clock.stop()


MakeBench = Callable[..., SqliteBench]


@pytest.fixture
async def make(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> AsyncIterator[MakeBench]:
    """Make ledgers, by default in one file; all are closed at the end, and nothing went wrong that nobody was told."""
    unhandled: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    made: list[SqliteBench] = []

    def make(path: Path = tmp_path / "ledger.db", **settings: Any) -> SqliteBench:
        made.append(SqliteBench(path, **settings))
        return made[-1]

    yield make
    for bench in made:
        await bench.close()
    assert not unhandled, unhandled
    assert not [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


class TestSqliteLedger(LedgerContract):
    """The contract of every ledger."""

    @pytest.fixture
    async def ledger(self, make: MakeBench) -> SqliteBench:
        return make()


def test_it_follows_the_rules(tmp_path: Path) -> None:
    """Whatever is done in whatever order."""
    numbers = itertools.count()

    async def opened() -> SqliteBench:
        return SqliteBench(tmp_path / f"{next(numbers)}.db")

    compare_with_the_rules(opened, examples=25, steps=25)  # each step waits for a disk


# --- over restarts ---


async def test_a_restart_forgets_nothing(make: MakeBench) -> None:
    """What was done is answered, what was not known is not known, and whose it is can be read."""
    before = make()
    for key, conclusion in (("done", done(b"paid")), ("unknown", Conclusion(Concluded.UNKNOWN, status=502))):
        await before.store.reserve(claim(key))
        await tell(before.store, conclusion, key)
    await before.close()
    after = make(epoch="e2")
    assert (await after.store.reserve(claim("done", "e2-1"))).record.answer == done(b"paid").answer
    found, record = await after.store.reserve(claim("unknown", "e2-1"))
    assert (found, record.status, record.subject) == (Found.UNKNOWN, 502, claim().subject)
    assert (after.store.count, after.store.bytes, after.store.unknown) == (2, before.store.bytes, 1)


async def test_a_call_that_was_under_way_is_not_known_after_a_restart(make: MakeBench) -> None:
    """At once, however long its lease; its late owner, of another epoch that begins alike, is gone."""
    before = make()
    await before.store.reserve(claim(lease=86_400.0))
    await before.close()
    after = make(epoch="e")
    found, record = await after.store.reserve(claim(token="e-1"))
    assert (found, record.state, record.token) == (Found.UNKNOWN, State.UNKNOWN, "e1-1")
    assert (after.store.unknown, [each.ident for each in await after.store.unsettled(api=None, limit=9)]) == (
        1,
        [named("k")],
    )


CHILD = """
    import asyncio, sys
    from proxy.clock import Clock
    from proxy.stores.ledger_sqlite import SqliteLedger
    from tests.stores.ledger_suite import claim

    async def main():
        ledger = SqliteLedger(sys.argv[1], Clock(asyncio.get_running_loop()), epoch="child", limit=1 << 20)
        {body}

    asyncio.run(main())
"""


@contextlib.contextmanager
def child(path: Path, body: str) -> Any:
    """A process that does this with a ledger in a file."""
    lines = textwrap.dedent(body).strip().splitlines()
    program = textwrap.dedent(CHILD).replace("{body}", "\n    ".join(lines))
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
async def test_a_reservation_survives_the_death_of_its_process(tmp_path: Path, make: MakeBench) -> None:
    """Killed as soon as the reservation was made: the next process knows of it, and that its outcome is not known."""
    body = "await ledger.reserve(claim(token='child-1')); print('reserved', flush=True); await asyncio.sleep(60)"
    with child(tmp_path / "ledger.db", body) as process:
        assert process.stdout.readline() == b"reserved\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (tmp_path / "ledger.db-wal").stat().st_size > 0
    found, record = await make().store.reserve(claim(token="e1-1"))
    assert (found, record.token) == (Found.UNKNOWN, "child-1")


@pytest.mark.slow
async def test_a_second_process_has_to_wait_for_the_first(tmp_path: Path, make: MakeBench) -> None:
    """It says why, does not touch the file, and is up by itself when the first is gone."""
    body = "await ledger.reserve(claim(token='child-1')); print('reserved', flush=True); await asyncio.sleep(60)"
    with child(tmp_path / "ledger.db", body) as process:
        assert process.stdout.readline() == b"reserved\n"
        store = make().store
        with pytest.raises(StoreError, match=r"sqlite: reserve: .*ledger\.db: another process has it open"):
            await store.reserve(claim())
        assert not store.up
    await until(lambda: store.up)
    assert (await seen(store)).token == "child-1"


async def test_two_ledgers_of_one_process_cannot_share_a_file(make: MakeBench) -> None:
    """No more than two processes can; and the first loses nothing by it."""
    first = make().store
    await first.reserve(claim())
    second = make().store
    with pytest.raises(StoreError, match="another process has it open"):
        await second.reserve(claim())
    await first.close()
    await until(lambda: second.up)
    assert (await seen(second)).token == "e1-1"


# --- many in one commit ---


async def test_what_is_asked_at_once_is_one_commit(make: MakeBench) -> None:
    """A sync for all of them, or one more for those that came a moment later."""
    store = make().store
    await store.look("")
    before = store.commits
    await asyncio.gather(*[store.reserve(claim(f"k{number}")) for number in range(300)])
    assert store.commits - before == 1
    await asyncio.gather(*[tell(store, done(), f"k{number}") for number in range(300)])
    assert store.commits - before == 2
    assert store.count == 300


async def test_what_only_reads_writes_nothing(make: MakeBench) -> None:
    """Twins that ask again and again cost no sync."""
    store = make().store
    await store.reserve(claim())
    before = store.commits
    for _ in range(5):
        assert (await store.reserve(claim(token="e1-2"))).found is Found.RUNNING
        assert await store.look(named("k")) is not None
    assert store.commits == before


async def test_one_that_fails_leaves_the_others_alone(make: MakeBench) -> None:
    """What SQLite cannot write is refused, in the middle of a commit; the store is there."""
    store = make().store
    bad = claim("bad", subject=claim().subject._replace(target="\udc80"))
    wanted = [store.reserve(each) for each in (claim("a"), bad, claim("b"))]
    _, refused, _ = await asyncio.gather(*wanted, return_exceptions=True)
    assert isinstance(refused, StoreError)
    assert "surrogates not allowed" in refused.why
    assert store.up
    assert [(await seen(store, key)).state for key in ("a", "b")] == [State.RUNNING] * 2
    assert await store.look(named("bad")) is None
    assert store.count == 2


async def test_a_full_ledger_says_which_limit_it_is(make: MakeBench) -> None:
    """For the operator to raise; a reload does, and lowers it."""
    bench = make(limit=100)
    with pytest.raises(LedgerFull, match=r"full: 0 records take 0 of 100 bytes \(limits\.disk\.ledger\)"):
        await bench.store.reserve(claim())
    assert bench.store.up
    bench.store.limit = MIB
    await bench.store.reserve(claim())
    await tell(bench.store, done(b"x" * 64 * KIB))
    bench.store.limit = 32 * KIB
    await bench.refresh()
    assert ((bench.store.bytes or 0) < 32 * KIB, bench.store.evictions) == (True, 1)
    assert ((await seen(bench.store)).state, (await seen(bench.store)).answer) == (State.DONE, None)


# --- a disk that hangs ---


class Hanging:
    """Holds the thread of a ledger as a disk would, until it is let go."""

    def __init__(self, store: SqliteLedger) -> None:
        self._let_go = threading.Event()
        self._held = threading.Event()
        self.task = asyncio.create_task(store._worker.ask("hang", self._hang))

    def _hang(self, calls: Calls, now: float) -> None:
        self._held.set()
        self._let_go.wait(GENEROUS)

    async def begin(self) -> None:
        await until(self._held.is_set)

    async def end(self) -> None:
        self._let_go.set()
        await self.task


@pytest.fixture
async def hanging(make: MakeBench) -> AsyncIterator[tuple[SqliteLedger, Hanging]]:
    """A ledger with the record k, on a disk that hangs."""
    store = make(answer_limit=HURRY).store
    await store.reserve(claim())
    disk = Hanging(store)
    await disk.begin()
    yield store, disk
    await disk.end()


async def gives_up(work: Awaitable[object]) -> None:
    with pytest.raises(StoreError, match="no answer in 200 ms"):
        await work


async def test_a_disk_that_hangs_is_not_waited_for(hanging: tuple[SqliteLedger, Hanging]) -> None:
    """One operation finds out, the next fail at once; it is up again by itself when the disk goes on."""
    store, disk = hanging
    await gives_up(store.look(named("k")))
    assert not store.up
    with pytest.raises(StoreError):
        await store.look(named("k"))
    await disk.end()
    await until(lambda: store.up)
    assert (await seen(store)).token == "e1-1"


async def test_a_reservation_that_nobody_waits_for_is_not_made(hanging: tuple[SqliteLedger, Hanging]) -> None:
    """It was not begun when the disk went on; what an owner has told, counts though."""
    store, disk = hanging
    told = asyncio.create_task(tell(store, done()))
    left = asyncio.create_task(store.reserve(claim("left")))
    await gives_up(store.reserve(claim("late")))
    await gives_up(told)
    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
    await disk.end()
    await until(lambda: store.up)
    assert [await store.look(named(key)) for key in ("late", "left")] == [None, None]
    assert (await seen(store)).state is State.DONE


async def test_an_end_is_told_even_if_its_caller_leaves(make: MakeBench) -> None:
    """It is on its way: as a whole, or not at all."""
    store = make().store
    await store.reserve(claim())
    leaves = asyncio.create_task(tell(store, done()))
    await turn(1)
    leaves.cancel()
    await asyncio.gather(leaves, return_exceptions=True)
    assert (await seen(store)).state is State.DONE


async def test_closing_waits_for_what_was_asked(make: MakeBench) -> None:
    """It is carried out, and told; nothing is, afterwards."""
    bench = make()
    asked = [asyncio.create_task(bench.store.reserve(claim(f"k{number}"))) for number in range(9)]
    await turn(1)
    await bench.store.close()
    assert {(await each).found for each in asked} == {Found.OWNED}
    with pytest.raises(StoreError, match="closed"):
        await bench.store.look(named("k1"))
    assert await make().store.look(named("k1")) is not None


async def test_closing_does_not_wait_for_a_disk_that_hangs(hanging: tuple[SqliteLedger, Hanging]) -> None:
    """No longer than an operation would."""
    store, disk = hanging
    async with asyncio.timeout(GENEROUS / 2):
        await store.close()
    assert not disk.task.done()


@pytest.mark.slow
def test_a_disk_that_hangs_does_not_keep_the_process(tmp_path: Path) -> None:
    """It ends when its loop has, whatever its thread waits for."""
    body = """
        import threading, time
        hangs = threading.Event()
        asyncio.ensure_future(ledger._worker.ask("hang", lambda calls, now: (hangs.set(), time.sleep(3600))))
        await asyncio.to_thread(hangs.wait)
    """
    with child(tmp_path / "ledger.db", body) as process:
        assert process.wait(GENEROUS) == 0


# --- a disk that fails ---


@contextlib.contextmanager
def small_files(size: int) -> Iterator[None]:
    """The system refuses writes beyond so many bytes of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_it_is_back_when_the_disk_is(make: MakeBench) -> None:
    """Nobody has to restart anything; what was told before is there, and what failed was not made."""
    store = make().store
    await store.reserve(claim())
    large = claim("large", subject=claim().subject._replace(target="x" * 256 * KIB))
    with small_files(64 * KIB):
        with pytest.raises(StoreError, match=r"sqlite: reserve: .*ledger\.db: disk I/O error"):
            await store.reserve(large)
        with pytest.raises(StoreError):
            await store.reserve(large)
    await until(lambda: store.up)
    assert await store.look(large.ident) is None
    assert (await store.reserve(large)).found is Found.OWNED
    assert (await seen(store)).state is State.RUNNING


async def test_it_is_back_when_its_directory_is(tmp_path: Path, make: MakeBench) -> None:
    """Until then it says what is missing; a call that was under way ends as if nothing had been."""
    store = make(tmp_path / "volume" / "ledger.db").store
    await store.reserve(claim())
    (tmp_path / "volume").rename(tmp_path / "gone")
    with pytest.raises(StoreError, match="it is gone: put it back"):
        await tell(store, done())
    await until(lambda: "it is gone" in store.why)
    (tmp_path / "gone").rename(tmp_path / "volume")
    await until(lambda: store.up)
    assert await tell(store, done())
    assert (await seen(store)).state is State.DONE


async def test_it_is_up_as_soon_as_it_can_be_made(tmp_path: Path, make: MakeBench) -> None:
    """A volume may be mounted late."""
    store = make(tmp_path / "a" / "b" / "ledger.db").store
    with pytest.raises(StoreError, match="mount a volume"):
        await store.reserve(claim())
    assert (store.up, store.count, store.bytes, store.unknown, store.evictions) == (False, None, None, 0, 0)
    (tmp_path / "a").mkdir()
    await until(lambda: store.up)
    assert (await store.reserve(claim())).found is Found.OWNED


async def test_a_full_disk_is_no_fall(make: MakeBench) -> None:
    """What is known is answered; the others are let in again when there is room, without more ado."""
    store = make().store
    await store.reserve(claim())
    await tell(store, done(b"paid"))
    large = claim("large", subject=claim().subject._replace(target="x" * 256 * KIB))
    await store._worker.ask("fill", lambda calls, now: calls.connection.execute("PRAGMA max_page_count = 1").fetchall())
    with pytest.raises(StoreError, match="there is no space left for it on the disk"):
        await store.reserve(large)
    assert store.up
    assert (await store.reserve(claim(token="e1-2"))).record.answer == done(b"paid").answer
    store.limit *= 2
    assert (await store.reserve(large)).found is Found.OWNED


# --- while nobody asks ---


def idle(store: SqliteLedger) -> None:
    """As if nobody had asked for a while."""
    store._worker._queue.put([])


async def test_what_time_brings_is_seen_without_a_question(make: MakeBench) -> None:
    """Owners that fall silent, and records that it is time to forget."""
    bench = make()
    await bench.store.reserve(claim(lease=60.0, retain=1_000.0))
    bench.wall += 100.0
    idle(bench.store)
    await until(lambda: bench.store.unknown == 1)
    bench.wall += 1_000.0
    idle(bench.store)
    await until(lambda: (bench.store.unknown, bench.store.count) == (0, 0))


async def test_a_failure_is_seen_without_a_question(make: MakeBench, tmp_path: Path) -> None:
    """Before a call depends on it; while it is away, the link asks, and nobody else."""
    store = make(tmp_path / "volume" / "ledger.db").store
    await store.look("")
    (tmp_path / "volume").rename(tmp_path / "gone")
    idle(store)
    await until(lambda: not store.up)
    idle(store)
    (tmp_path / "gone").rename(tmp_path / "volume")
    await until(lambda: store.up)


async def emptied(bench: SqliteBench) -> None:
    """A file of 20 MiB, in which nothing is wanted any more."""
    for number in range(20):
        await bench.store.reserve(claim(f"k{number}"))
        await tell(bench.store, done(b"x" * MIB), f"k{number}")
    bench.wall += 100_000.0


async def test_the_file_becomes_smaller(make: MakeBench) -> None:
    """In time, when much of it is empty."""
    bench = make()
    await emptied(bench)
    for _ in range(3):
        await bench.refresh()
    await bench.store.close()
    assert bench.path.stat().st_size < 9 * MIB


async def test_a_failure_while_the_file_becomes_smaller(make: MakeBench) -> None:
    """It is opened again for whoever asks next, who hears nothing of it."""
    bench = make()
    await emptied(bench)

    def interrupt(calls: Calls, now: float) -> Calls:
        calls.connection.set_progress_handler(lambda: 1, 2_000)  # what takes so many steps of SQLite's fails
        return calls

    before = await bench.store._worker.ask("interrupt", interrupt)
    assert (await bench.store.reserve(claim())).found is Found.OWNED
    assert await bench.store._worker.ask("see", lambda calls, now: calls) is not before
    assert bench.store.up


def test_a_loop_that_is_closed_hears_nothing(tmp_path: Path) -> None:
    """Its thread ends all the same."""
    loop = asyncio.new_event_loop()
    store = SqliteLedger(str(tmp_path / "ledger.db"), Clock(loop), epoch="e1", limit=MIB)
    store._link._beginning.cancel()
    loop.run_until_complete(asyncio.wait([store._link._beginning]))
    loop.close()
    store._worker._queue.put(None)
    store._worker.join(GENEROUS)
    assert not store._worker.is_alive()
