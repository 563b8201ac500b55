"""The ledger in memory: the contract of all ledgers, the rules beside it, its bound, its order, its honesty."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.idempotency import Claim, Conclusion, Found, State
from proxy.stores.ledger import LedgerFull
from proxy.stores.ledger_memory import MemoryLedger
from tests.stores.ledger_suite import (
    RELEASED,
    SUBJECT,
    UNKNOWN,
    LedgerContract,
    claim,
    compare_with_the_rules,
    done,
    named,
    seen,
    tell,
    unkept,
)  # fmt: skip
from tests.support.answers import KIB, MIB
from tests.support.process import ROOT


class MemoryBench:
    """A ledger whose clock a test moves by hand."""

    def __init__(self, limit: int = 32 * MIB) -> None:
        self.time = 1_000.0
        self.store = MemoryLedger(limit, self.now)

    def now(self) -> float:
        return self.time

    async def second(self) -> None:
        return None

    async def pass_time(self, seconds: float) -> None:
        self.time += seconds

    async def refresh(self) -> None:
        pass

    async def narrow(self, room: int) -> None:
        self.store.limit = self.store.bytes + room

    async def close(self) -> None:
        await self.store.close()


@pytest.fixture
def ledger() -> MemoryBench:
    return MemoryBench()


class TestMemoryLedger(LedgerContract):
    pass


async def opened() -> MemoryBench:
    return MemoryBench()


def test_it_keeps_to_the_rules() -> None:
    """The same answers and the same records as the functions of the core, whatever is called in whatever order."""
    compare_with_the_rules(opened)


# --- its books ---


def check_books(store: MemoryLedger) -> None:
    """What is counted is what is there, and everything stands where it should."""
    entries = list(store._entries.values())
    assert store.bytes == sum(entry.cost + entry.body for entry in entries)
    assert store._bodies == sum(entry.body for entry in entries)
    assert set(standing(store._open)) == {entry for entry in entries if entry.record.state is not State.DONE}
    assert set(standing(store._answered)) == {entry for entry in entries if entry.record.answer is not None}
    queued = [(entry.queued, entry.record.ident) for entry in entries if entry.queued]
    assert set(queued) <= set(store._due)
    assert all(entry.queued for entry in entries if entry.record.state is State.DONE)


def standing(line: Any) -> list[Any]:
    """The entries of a line, which is the same from both ends."""
    forth, back = [], []
    entry = line.oldest
    while entry is not None:
        forth.append(entry)
        entry = entry.newer
    entry = line.newest
    while entry is not None:
        back.append(entry)
        entry = entry.older
    assert forth == back[::-1]
    return forth


_ENDINGS = (UNKNOWN, RELEASED, unkept(), done(b""), done(b"x" * 3_000), done(b"x" * 30_000))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["reserve", "reserve", "finish", "finish", "settle", "renew", "pass", "limit"]),
            st.integers(0, 4),
            st.sampled_from(_ENDINGS),
            st.booleans(),
        ),
        max_size=80,
    )
)
async def test_the_books_are_right_whatever_happens(steps: list[tuple[str, int, Conclusion, bool]]) -> None:
    """They are kept step by step, and are the same as if they were drawn up anew."""
    ledger = MemoryBench(20 * KIB)
    for action, number, ending, yes in steps:
        store, key = ledger.store, f"k{number}"
        match action:
            case "reserve":
                with suppress(LedgerFull):
                    await store.reserve(claim(key, retain=300.0, window=400.0 * (number % 2), resend=yes))
            case "finish":
                await tell(store, ending, key)
            case "settle":
                await store.settle(named(key), done=yes)
            case "renew":
                await store.renew(named(key), "e1-1", 60.0)
            case "pass":
                await ledger.pass_time(80.0 * number)
            case _:
                store.limit = 10 * KIB * number
        check_books(store)
    await ledger.pass_time(1_000.0)
    for number in range(5):
        await ledger.store.look(named(f"k{number}"))
    assert (ledger.store.bytes, ledger.store.count, ledger.store._bodies) == (0, 0, 0)


async def test_everything_that_is_kept_is_counted(ledger: MemoryBench) -> None:
    """To the character, as long as it is a character: targets, keys, tokens, fingerprints, fields, bodies."""
    store = ledger.store

    async def cost(wanted: Claim, conclusion: Conclusion = UNKNOWN) -> int:
        before = store.bytes
        await store.reserve(wanted)
        await store.finish(wanted.ident, wanted.token, conclusion)
        return store.bytes - before

    small = await cost(claim("small"))
    answered = await cost(claim("answered"), done(b"", headers=()))
    subject = SUBJECT._replace(target=SUBJECT.target + "x" * 1_000, key=SUBJECT.key + "x" * 100)
    assert await cost(claim("subject", subject=subject)) == small + 1_100
    assert await cost(claim("words", "e1-1" + "x" * 10, "f" + "x" * 100, nonce="n1" + "x" * 1_000)) == small + 1_110
    assert await cost(claim("late", fingerprint=""), UNKNOWN._replace(fingerprint="f" * 64)) == small + 63
    assert await cost(claim("body"), done(b"x" * 1_000, headers=())) == answered + 1_000
    fields = len(b"\n".join([b"Name", b"x" * 100] * 2))
    assert await cost(claim("fields"), done(b"", headers=((b"Name", b"x" * 100),) * 2)) == answered + fields


async def test_another_owner_may_have_a_longer_name(ledger: MemoryBench) -> None:
    """A record that is taken over is weighed again."""
    await ledger.store.reserve(claim())
    await tell(ledger.store, UNKNOWN)
    before = ledger.store.bytes
    await ledger.store.reserve(claim(token="e1-1" + "x" * 10, resend=True))
    assert ledger.store.bytes == before + 10


async def test_an_answer_that_is_told_twice_is_counted_once(ledger: MemoryBench) -> None:
    """Its owner did not hear that it was understood."""
    await ledger.store.reserve(claim())
    await tell(ledger.store, done(b"x" * KIB))
    before = ledger.store.bytes
    await tell(ledger.store, done(b"x" * KIB))
    assert ledger.store.bytes == before
    check_books(ledger.store)


async def test_a_record_has_one_place_in_the_heap(ledger: MemoryBench) -> None:
    """However often it was made again and ended, or was settled: each would take room that nobody counts."""
    store = ledger.store
    await store.reserve(claim())
    for number in range(5):
        await tell(store, UNKNOWN, token=f"e1-{number + 1}")
        await ledger.pass_time(1.0)
        await store.reserve(claim(token=f"e1-{number + 2}", resend=True))
    await tell(store, UNKNOWN, token="e1-6")
    await store.settle(named("k"), done=True)
    assert len(store._due) == 1
    check_books(store)


_GROWTH = """
import os, sys
from proxy.core.idempotency import Answer, Claim, Concluded, Conclusion, Subject
from proxy.stores.ledger_memory import MemoryLedger

FIELDS = ((b"Server", b"nginx"), (b"Content-Type", b"application/json"), (b"ETag", b'"%032x"' % 1),
          (b"Cache-Control", b"max-age=60"), (b"X-Request-Id", b"%036d" % 1))

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE")

def fresh(number):  # no object is shared between two records, as none is that comes from a connection
    subject = Subject("pay", "charges", b"POST".decode(), "/v1/charges/%08d" % number, "%036d" % number)
    return Claim("%032x" % number, "%016x-%08d" % (1, number), "%064x" % number, 60.0, 86400.0, 0.0, "%032x" % number,
                 False, subject)

def answer(number, size):
    headers = tuple((bytes(bytearray(name)), bytes(bytearray(value))) for name, value in FIELDS)
    return Answer(200, b"OK", headers, bytes([number % 256]) * size)

def ended(work):
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits")

def main(how, count, size):
    ledger = MemoryLedger(1 << 40, lambda: 1_000.0)
    before = resident()
    for number in range(count):
        ended(ledger.reserve(claim := fresh(number)))
        if how == "unknown":
            ended(ledger.finish(claim.ident, claim.token, Conclusion(Concluded.UNKNOWN)))
        elif how == "done":
            kept = Conclusion(Concluded.DONE, status=200, answer=answer(number, size))
            ended(ledger.finish(claim.ident, claim.token, kept))
    print((resident() - before) / ledger.bytes)

main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
"""


@pytest.mark.parametrize(
    ("how", "count", "size"),
    [("running", 40_000, 0), ("unknown", 40_000, 0), ("done", 20_000, 0), ("done", 10_000, 4_000)],
)
def test_what_is_counted_is_what_the_process_grows_by(how: str, count: int, size: int) -> None:
    """Within a fifth: calls under way, calls that nobody knows of, small answers, middling ones. And nothing waits."""
    arguments = [how, str(count), str(size)]
    ran = subprocess.run(
        [sys.executable, "-c", _GROWTH, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert 0.8 < float(ran.stdout) < 1.2


# --- its bound ---


async def answered(store: MemoryLedger, count: int, size: int = 10 * KIB) -> None:
    """So many answers, k0 first."""
    for number in range(count):
        await store.reserve(claim(f"k{number}"))
        await tell(store, done(b"x" * size), f"k{number}")


async def kept(store: MemoryLedger, count: int) -> list[int]:
    """Which of them still have their bodies."""
    return [number for number in range(count) if (await seen(store, f"k{number}")).answer is not None]


async def test_the_oldest_answer_is_the_one_that_came_first(ledger: MemoryBench) -> None:
    """Not the one that was asked for first, nor the one that was replayed least."""
    store = ledger.store
    for key in ("k0", "k1", "k2"):
        await store.reserve(claim(key))
    for key in ("k2", "k0", "k1"):
        await tell(store, done(b"x" * 10 * KIB), key)
    await store.reserve(claim("k2", "e1-2"))
    store.limit = store.bytes - 1
    assert await kept(store, 3) == [0, 1]
    store.limit = store.bytes - 1
    assert await kept(store, 3) == [1]


async def test_a_lower_bound_holds_at_once_for_answers(ledger: MemoryBench) -> None:
    """A reload may take memory away. Records stay; they make room in their time."""
    store = ledger.store
    await answered(store, 8)
    store.limit = store.bytes - 45 * KIB
    assert await kept(store, 8) == [5, 6, 7]
    assert store.bytes <= store.limit
    store.limit = 0
    assert await kept(store, 8) == []
    assert (store.count, store.evictions) == (8, 8)
    assert store.bytes > store.limit
    with pytest.raises(LedgerFull):
        await store.reserve(claim("new"))
    await ledger.pass_time(86_400.0)
    store.limit = 2 * KIB
    assert (await store.reserve(claim("new"))).found is Found.OWNED
    assert store.count == 1


async def test_a_higher_bound_gives_room(ledger: MemoryBench) -> None:
    """A reload may give memory, too: the next call is not refused any more."""
    ledger.store.limit = 100
    with pytest.raises(LedgerFull):
        await ledger.store.reserve(claim())
    ledger.store.limit = 2 * KIB
    assert (await ledger.store.reserve(claim())).found is Found.OWNED


async def test_a_refusal_says_how_full_it_is_and_what_to_change(ledger: MemoryBench) -> None:
    """In one line, for the log."""
    ledger.store.limit = 2 * KIB
    await ledger.store.reserve(claim("a"))
    with pytest.raises(LedgerFull, match=r"memory: reserve: full: 1 records take 10\d\d of 2048 bytes") as refused:
        await ledger.store.reserve(claim("b"))
    assert "limits.memory.idempotency" in str(refused.value)
    assert "1 records" in repr(ledger.store)


async def test_an_answer_that_would_never_fit_pushes_nothing_out(ledger: MemoryBench) -> None:
    """It is done without; the others stay."""
    store = ledger.store
    await answered(store, 3)
    await store.reserve(claim("large"))
    store.limit = store.bytes
    await tell(store, done(b"x" * 64 * KIB, status=201), "large")
    record = await seen(store, "large")
    assert (record.state, record.status, record.answer) == (State.DONE, 201, None)
    assert await kept(store, 3) == [0, 1, 2]
    assert store.evictions == 1


async def test_an_answer_may_take_the_room_of_all_others(ledger: MemoryBench) -> None:
    """If it fits when they are gone."""
    store = ledger.store
    await answered(store, 3)
    await store.reserve(claim("k3"))
    store.limit = store.bytes
    await tell(store, done(b"x" * 30 * KIB), "k3")
    assert await kept(store, 4) == [3]
    assert store.evictions == 3


# --- its clock ---


async def test_a_lease_is_over_at_its_end(ledger: MemoryBench) -> None:
    """Not a moment earlier."""
    await ledger.store.reserve(claim(lease=60.0))
    await ledger.pass_time(59.999)
    assert (await ledger.store.reserve(claim(token="e1-2"))).found is Found.RUNNING
    assert ledger.store.unknown == 0
    await ledger.pass_time(0.001)
    assert (await ledger.store.reserve(claim(token="e1-2"))).found is Found.UNKNOWN
    assert ledger.store.unknown == 1


async def test_a_record_is_forgotten_at_its_end(ledger: MemoryBench) -> None:
    """Not a moment earlier; then it takes no room."""
    await ledger.store.reserve(claim(retain=600.0))
    await tell(ledger.store, done())
    await ledger.pass_time(599.999)
    assert await ledger.store.look(named("k")) is not None
    await ledger.pass_time(0.001)
    assert await ledger.store.look(named("k")) is None
    assert (ledger.store.count, ledger.store.bytes) == (0, 0)


async def test_other_calls_make_it_forget_a_few_at_a_time(ledger: MemoryBench) -> None:
    """Those that have had their time go although nobody asks for them; no call pays for more than four."""
    store = ledger.store
    await answered(store, 50)
    await ledger.pass_time(86_400.0)
    counts = []
    for number in range(14):
        await store.reserve(claim(f"new {number}"))
        counts.append(store.count)
    assert counts == [50 - 4 * number + number for number in range(1, 13)] + [13, 14]
    check_books(store)


async def test_what_is_full_forgets_as_many_as_it_takes(ledger: MemoryBench) -> None:
    """Of those that have had their time, for one that is larger than they are."""
    await answered(ledger.store, 20, size=0)
    ledger.store.limit = ledger.store.bytes
    await ledger.pass_time(86_400.0)
    subject = SUBJECT._replace(target="/" + "x" * 15 * KIB)
    assert (await ledger.store.reserve(claim("new", subject=subject))).found is Found.OWNED
    assert 1 < ledger.store.count < 15
    check_books(ledger.store)


async def test_whose_time_has_moved_stays_until_then(ledger: MemoryBench) -> None:
    """A person settled it, so that it is kept from then on; its place in the heap is the old one."""
    store = ledger.store
    await store.reserve(claim(retain=1_000.0))
    await tell(store, UNKNOWN)
    await ledger.pass_time(900.0)
    await store.settle(named("k"), done=True)
    await ledger.pass_time(900.0)
    await store.reserve(claim("other"))
    assert store.count == 2
    await ledger.pass_time(100.0)
    await store.reserve(claim("another"))
    assert store.count == 2
    assert await store.look(named("k")) is None


async def test_what_is_made_again_waits_for_its_owner(ledger: MemoryBench) -> None:
    """Its first end has put it into the heap; its turn comes while it runs, and again after its second end."""
    store = ledger.store
    await store.reserve(claim(window=1_000.0))
    await tell(store, UNKNOWN)
    await store.reserve(claim(token="e1-2", resend=True, lease=2_000.0))
    await ledger.pass_time(1_000.0)
    await store.reserve(claim("other"))
    assert store._due == []
    assert await tell(store, done(), token="e1-2")
    await store.reserve(claim("another"))
    assert store._due == []
    assert store.count == 2


async def test_a_place_in_the_heap_is_of_one_record(ledger: MemoryBench) -> None:
    """The key was settled as absent and used again: the turn of the first takes nothing of the second."""
    store = ledger.store
    await store.reserve(claim(retain=1_000.0))
    await tell(store, UNKNOWN)
    await store.settle(named("k"), done=False)
    await ledger.pass_time(500.0)
    await store.reserve(claim(retain=1_000.0))
    await tell(store, done())
    await ledger.pass_time(500.0)
    await store.reserve(claim("other"))
    assert (await seen(store)).state is State.DONE
    assert [when for when, _ in store._due] == [2_500.0]


async def test_calls_that_are_released_leave_nothing(ledger: MemoryBench) -> None:
    """However many there are: an upstream may refuse calls for hours."""
    for number in range(1_000):
        await ledger.store.reserve(claim(f"k{number}"))
        await tell(ledger.store, RELEASED, f"k{number}")
    assert (ledger.store.bytes, ledger.store.count, ledger.store._due) == (0, 0, [])
    check_books(ledger.store)


async def test_calls_whose_owner_is_never_heard_of_again_are_forgotten_too(ledger: MemoryBench) -> None:
    """One by one, each time that somebody reserves, whatever stands before them."""
    store = ledger.store
    for number in range(5):
        await store.reserve(claim(f"alive {number}", lease=1_000_000.0))
        await store.reserve(claim(f"silent {number}"))
    await ledger.pass_time(86_400.0)
    for _ in range(15):
        await store.reserve(claim("alive 0", "e1-2"))
    assert store.count == 5
    check_books(store)
