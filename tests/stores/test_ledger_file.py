"""The file of a ledger: whose it may be, what it survives, and what an operator is told when it cannot be used."""

from __future__ import annotations

import contextlib
import os
import resource
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.core.idempotency import Found, Record, Reserved, State
from proxy.stores.ledger_file import FAILURES, SCHEMA, LedgerFile, Unusable, _carry_over
from proxy.stores.ledger_table import Calls
from tests.stores.ledger_suite import claim, done, named
from tests.support.answers import KIB, MIB

NOW = 1_000.0
LATER = NOW + 100_000.0  # everything is forgotten


class Files:
    """Opens ledgers, by default at one path; all are closed at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._made: list[LedgerFile] = []

    def __call__(self, path: Path | None = None, *, epoch: str = "e1", limit: int = 64 * MIB) -> LedgerFile:
        self._made.append(LedgerFile(str(path or self.path), epoch, limit))
        return self._made[-1]

    def close(self) -> None:
        for file in self._made:
            file.close()


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    files = Files(tmp_path / "ledger.db")
    yield files
    files.close()


def reserve(file: LedgerFile, key: str = "k", now: float = NOW, **fields: Any) -> Any:
    (outcome,) = file.carry_out([lambda calls, now: calls.reserve(claim(key, **fields), now)], now)
    return outcome


def pay(file: LedgerFile, key: str, size: int = 10, now: float = NOW) -> Any:
    """A call that is reserved and answered, in one transaction."""
    (_, outcome) = file.carry_out(
        [
            lambda calls, now: calls.reserve(claim(key), now),
            lambda calls, now: calls.finish(named(key), "e1-1", done(os.urandom(size)), now),
        ],
        now,
    )
    return outcome


def look(file: LedgerFile, key: str = "k", now: float = NOW) -> Record | None:
    (outcome,) = file.carry_out([lambda calls, now: calls.look(named(key), now)], now)
    assert outcome is None or isinstance(outcome, Record)
    return outcome


def pragma(file: LedgerFile, name: str) -> Any:
    ((value,),) = file.open().connection.execute(f"PRAGMA {name}")
    return value


def refused(file: LedgerFile) -> str:
    """Why it cannot be used; it is closed then, as its thread does it."""
    with pytest.raises(FAILURES) as failure:
        reserve(file)
    file.close()
    assert isinstance(failure.value, Exception)
    return file.why(failure.value)


# --- a new file ---


def test_only_its_owner_can_read_it(tmp_path: Path, files: Files) -> None:
    """The file, its log, and a directory that was not there: answers of vendors are in them."""
    file = files(tmp_path / "new" / "ledger.db")
    reserve(file)
    modes = {path.name: oct(path.stat().st_mode)[-3:] for path in (tmp_path / "new", *(tmp_path / "new").iterdir())}
    assert modes == {"new": "700", "ledger.db": "600", "ledger.db-wal": "600"}


def test_what_it_is_can_be_told_from_outside(files: Files) -> None:
    """It is durable, locked, and can become smaller."""
    file = files(limit=100 * MIB)
    names = ("journal_mode", "synchronous", "locking_mode", "auto_vacuum", "user_version", "application_id")
    assert [pragma(file, name) for name in names] == ["wal", 2, "exclusive", 2, SCHEMA, 0x42535447]
    assert pragma(file, "max_page_count") * 4 * KIB == (125 + 16) * MIB
    file.limit = 200 * MIB
    assert pragma(file, "max_page_count") * 4 * KIB == (250 + 16) * MIB


def test_it_is_there_again_when_it_is_opened_again(files: Files) -> None:
    """With its figures; and its log is gone."""
    file = files()
    pay(file, "k")
    assert file.calls is not None
    before = file.calls.figures
    file.close()
    assert repr(file) == f"<LedgerFile {files.path} closed>"
    assert [path.name for path in files.path.parent.iterdir()] == ["ledger.db"]
    assert (record := look(file)) is not None
    assert record.answer is not None
    assert file.calls.figures == before
    assert repr(before) in repr(file)


def test_evictions_are_counted_over_closings(files: Files) -> None:
    """A counter must not go back."""
    file = files(limit=32 * KIB)
    for key in ("a", "b"):
        pay(file, key, 20 * KIB)
    file.close()
    assert file.open().figures.evictions == 1


@pytest.mark.parametrize(("epoch", "state"), [("e1", State.RUNNING), ("e", State.UNKNOWN), ("e2", State.UNKNOWN)])
def test_a_call_of_another_epoch_is_not_known(files: Files, epoch: str, state: State) -> None:
    """One of this process goes on: the file was closed for another reason than its end."""
    reserve(files())
    files.close()
    record = look(files(epoch=epoch))
    assert record is not None
    assert record.state is state


# --- files that are not for us ---


@pytest.mark.parametrize("content", [b"hello", b"hello " * 2_000, b"SQLite format 3\0" + b"x" * 5_000])
def test_what_is_no_database_is_left_as_it_is(files: Files, content: bytes) -> None:
    """A path may be mistyped."""
    files.path.write_bytes(content)
    assert refused(files()) == f"{files.path}: it is no database, and left as it is: name another path"
    assert files.path.read_bytes() == content


def test_a_database_of_another_program_is_left_as_it_is(files: Files) -> None:
    """Down to its journal mode."""
    with contextlib.closing(sqlite3.connect(files.path)) as other:
        other.execute("CREATE TABLE calls (id)")
        other.commit()
    content = files.path.read_bytes()
    assert "a database of another program" in refused(files())
    assert files.path.read_bytes() == content


def test_a_file_of_a_newer_version_is_left_as_it_is(files: Files) -> None:
    """It may say what this version would not understand."""
    reserve(files())
    files.close()
    with contextlib.closing(sqlite3.connect(files.path)) as newer:
        newer.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    content = files.path.read_bytes()
    assert f"a newer version (schema {SCHEMA + 1}; this one knows {SCHEMA})" in refused(files())
    assert files.path.read_bytes() == content


def test_an_empty_file_is_as_good_as_none(files: Files) -> None:
    """A process may have died between making it and writing to it; its mode is its owner's affair."""
    files.path.touch(0o640)
    assert isinstance(reserve(files()), Reserved)
    assert oct(files.path.stat().st_mode)[-3:] == "640"


def test_one_that_is_damaged_is_not_begun_anew(files: Files) -> None:
    """It says so, and is left for a person to look at."""
    file = files()
    for number in range(200):
        pay(file, f"k{number}", 500)
    file.close()
    content = bytearray(files.path.read_bytes())
    content[4 * KIB :] = b"\xff" * (len(content) - 4 * KIB)
    files.path.write_bytes(content)
    assert "it is damaged, and left as it is" in refused(file)
    assert len(files.path.read_bytes()) == len(content)


# --- places where there can be none ---


def test_directories_are_not_invented(tmp_path: Path, files: Files) -> None:
    """One that is missing is made, and no more: a volume may not be mounted."""
    why = refused(files(tmp_path / "a" / "b" / "ledger.db"))
    assert why.endswith("neither its directory nor the one above is there: mount a volume, or name another path")
    assert not (tmp_path / "a").exists()


def test_a_path_through_a_file_or_to_a_directory(tmp_path: Path, files: Files) -> None:
    """It says what is wrong with it."""
    (tmp_path / "file").touch()
    assert "Not a directory" in refused(files(tmp_path / "file" / "ledger.db"))
    assert "unable to open" in refused(files(tmp_path))


@pytest.fixture
def powerless(tmp_path: Path) -> Iterator[None]:
    """This process may not write in its temporary directory, though it be root."""
    user = os.geteuid()
    tmp_path.chmod(0o500)
    if user == 0:
        os.seteuid(65534)
    yield
    if user == 0:
        os.seteuid(0)
    tmp_path.chmod(0o700)


def test_a_directory_that_may_not_be_written(files: Files, powerless: None) -> None:
    """It says who would have to be able to."""
    why = refused(files())
    assert why.startswith(f"{files.path}: Permission denied: Backstay (user {os.geteuid()}) must be able to write")


def test_a_file_that_may_not_be_written(files: Files) -> None:
    """SQLite would open it to read."""
    reserve(files())
    files.close()
    reader = sqlite3.connect(f"file:{files.path}?mode=ro", uri=True)
    with contextlib.closing(reader), pytest.raises(sqlite3.OperationalError) as failure:
        reader.execute("PRAGMA user_version = 7")
    why = files().why(failure.value)
    assert "attempt to write a readonly database: Backstay (user" in why


def test_one_that_has_it_open_keeps_it(files: Files) -> None:
    """Even against others of the same process; whoever comes later can have it when it is closed."""
    first, second = files(), files()
    reserve(first)
    assert refused(second) == f"{files.path}: another process has it open: each needs a file of its own"
    first.close()
    assert look(second) is not None


# --- files that go away ---


def test_one_that_is_gone_is_not_written_to(tmp_path: Path, files: Files) -> None:
    """Nor is an empty one made in its place; when it is back, everything is there."""
    file = files(tmp_path / "volume" / "ledger.db")
    pay(file, "k")
    (tmp_path / "volume").rename(tmp_path / "gone")
    for _ in range(2):
        assert "it is gone: put it back, or restart" in refused(file)
    assert not (tmp_path / "volume").exists()
    (tmp_path / "gone").rename(tmp_path / "volume")
    assert look(file) is not None
    assert reserve(file, "other").found is Found.OWNED


def test_another_file_in_its_place_is_not_used(tmp_path: Path, files: Files) -> None:
    """It knows nothing of the calls that are under way, and the log of the first would be taken for its own."""
    file, other = files(), files(tmp_path / "other.db")
    reserve(file, "first")
    reserve(other, "other")
    other.close()
    files.path.rename(tmp_path / "first.db")
    (tmp_path / "other.db").rename(files.path)
    for _ in range(2):
        assert "another file is in its place" in refused(file)
    (tmp_path / "first.db").rename(files.path)
    assert (look(file, "first") is None, look(file, "other")) == (False, None)


# --- transactions ---


def test_a_transaction_that_writes_is_counted(files: Files) -> None:
    """One that only reads is none."""
    file = files()
    reserve(file)
    look(file)
    assert reserve(file, token="e1-2").found is Found.RUNNING
    assert file.commits == 1


def test_a_defect_of_ours_leaves_nothing_and_no_lock(files: Files) -> None:
    """What is no failure of the file goes up, and the next transaction finds it as it was."""
    file = files()

    def defect(calls: Calls, now: float) -> None:
        calls.reserve(claim(), now)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        file.carry_out([defect], NOW)
    assert file.open().figures.records == 0
    assert look(file) is None


def test_one_that_fails_is_told_and_the_others_are_carried_out(files: Files) -> None:
    """Whatever it raises."""
    file = files()

    def fails(calls: Calls, now: float) -> None:
        raise ValueError

    outcomes = file.carry_out([lambda calls, now: calls.reserve(claim(), now), fails], NOW)
    assert isinstance(outcomes[0], Reserved)
    assert file.why(outcomes[1]) == f"{files.path}: ValueError"
    assert look(file) is not None


def fill(file: LedgerFile) -> None:
    """Leave no page for anything new."""
    file.open().connection.execute("PRAGMA max_page_count = 1")


def large(number: int) -> Any:
    subject = claim().subject._replace(target="x" * 3 * KIB)
    return lambda calls, now: calls.reserve(claim(f"large {number}", subject=subject), now)


def test_a_full_disk_refuses_what_needs_room_and_nothing_else(files: Files) -> None:
    """What is known can be asked for, in the same transaction too; and there is room again when there is."""
    file = files()
    pay(file, "k")
    fill(file)
    works = [*map(large, range(9)), lambda calls, now: calls.look(named("k"), now)]
    *some, last = file.carry_out(works, NOW)
    assert isinstance(last, Record)
    full = [outcome for outcome in some if isinstance(outcome, sqlite3.Error)]
    assert len(full) >= 8
    assert file.why(full[0]) == f"{files.path}: there is no space left for it on the disk"
    assert tuple(file.open().figures) == tuple(Calls(file.open().connection, MIB, 0).figures)
    file.close()
    assert all(isinstance(outcome, Reserved) for outcome in file.carry_out(works[:9], NOW))


def test_a_disk_that_is_full_at_the_commit_is_told_to_those_who_write(files: Files) -> None:
    """SQLite takes everything back then, and nobody knows whose fault it was: each is tried alone."""
    file = files()
    pay(file, "k")

    def fails(calls: Calls, now: float) -> None:
        try:
            calls.connection.execute("PRAGMA max_page_count = 1")
            large(1)(calls, now)
        finally:
            calls.connection.execute("ROLLBACK")

    fine, failed, known = file.carry_out([large(2), fails, lambda calls, now: calls.look(named("k"), now)], NOW)
    assert isinstance(fine, Reserved)
    assert isinstance(failed, sqlite3.OperationalError)
    assert isinstance(known, Record)
    assert tuple(file.open().figures) == tuple(Calls(file.open().connection, MIB, 0).figures)


class Failing:
    """A connection on which everything fails like this."""

    def __init__(self, code: int) -> None:
        self.error = sqlite3.OperationalError("fails")
        self.error.sqlite_errorcode = code

    def execute(self, statement: str) -> Any:
        raise self.error


def test_a_log_may_stay_as_it_is_while_the_disk_is_full() -> None:
    """A file that cannot grow can be opened: what is in its log is known all the same."""
    full: Any = Failing(sqlite3.SQLITE_FULL)
    _carry_over(full)
    failing: Any = Failing(sqlite3.SQLITE_IOERR_FSYNC)
    with pytest.raises(sqlite3.OperationalError):
        _carry_over(failing)


@pytest.fixture
def small_files() -> Iterator[None]:
    """The system refuses writes beyond the first 64 KiB of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * KIB, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fails_ends_the_use_of_the_file(files: Files, small_files: None) -> None:
    """What was committed is there when it is opened again; what failed is not."""
    file = files()
    assert reserve(file).found is Found.OWNED
    with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
        file.carry_out([large(number) for number in range(40)], NOW)
    file.close()
    assert look(file) is not None
    assert file.open().figures.records == 1


# --- its size ---


def on_disk(path: Path) -> int:
    return sum(each.stat().st_size for each in path.parent.iterdir())


@pytest.mark.parametrize(("size", "target"), [(None, 0), (300, 0), (1_500, 100), (5_000, 0), (50_000, 0)])
def test_what_is_reckoned_is_what_it_takes(files: Files, size: int | None, target: int) -> None:
    """To a quarter more, which is what SQLite is told; less where two rows of half a page do fit on one."""
    file = files()
    subject = claim().subject._replace(target="x" * target)
    answer = None if size is None else done(os.urandom(size))

    def paid(calls: Calls, now: float) -> None:
        number = calls.figures.records
        calls.reserve(claim(f"k{number}", subject=subject), now)
        if answer is not None:
            calls.finish(named(f"k{number}"), "e1-1", answer, now)

    for _ in range(20):
        file.carry_out([paid] * 50, NOW)
    reckoned = file.open().figures.bytes
    file.close()
    assert 0.4 < on_disk(files.path) / reckoned < 1.25


def test_the_log_does_not_grow_for_ever(files: Files) -> None:
    """It begins anew once it has been carried over."""
    file = files()
    for number in range(100):
        pay(file, f"k{number % 5}", 200 * KIB, NOW)
        file.carry_out([lambda calls, now: calls.tidy(now)], LATER)
    assert Path(f"{files.path}-wal").stat().st_size < 10 * MIB
    assert on_disk(files.path) < 20 * MIB


def test_a_file_becomes_smaller_again(files: Files) -> None:
    """In steps, when much of it is empty; a part stays for what comes next."""
    file = files()
    for number in range(20):
        pay(file, f"k{number}", MIB)
    file.carry_out([lambda calls, now: calls.tidy(now)], LATER)
    pages = []
    for _ in range(4):
        pages.append(pragma(file, "page_count"))
        file.shrink()
    file.close()
    assert pages[0] - 2048 >= pages[1] > pages[2] == pages[3] > 0
    assert on_disk(files.path) < 9 * MIB
    file.shrink()
    assert file.calls is None


def test_a_log_that_cannot_be_is_said(files: Files) -> None:
    """A database in memory has none."""
    with pytest.raises(Unusable, match="no write-ahead log"):
        LedgerFile("ledger.db", "e1", MIB)._set_up(sqlite3.connect(":memory:", isolation_level=None))
