"""The table in memory: its bound, its order, its clock, its honesty, and aiocache's way to it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.stored import Stored, Variants
from proxy.stores.memory import MemoryBackend, MemoryStore
from tests.support.answers import KIB, MIB, answer, same
from tests.support.process import ROOT

LONG = 600.0


class Hand:
    """A clock that a test moves by hand."""

    def __init__(self) -> None:
        self.time = 1_000.0

    def now(self) -> float:
        return self.time


@pytest.fixture
def hand() -> Hand:
    return Hand()


def store_for(count: int, hand: Hand) -> MemoryStore:
    """A store with room for so many answers of ``kept`` and no more."""
    probe = MemoryBackend(MIB, hand.now)
    probe.keep("key 0", answer(), LONG)
    return MemoryStore(count * probe.bytes, hand.now)


async def fill(store: MemoryStore, count: int) -> None:
    for number in range(count):
        await store.put(f"key {number}", answer(), LONG)


async def kept(store: MemoryStore, count: int = 10) -> list[int]:
    """Which of the first keys are there, without using them."""
    return [number for number in range(count) if store.backend.peek(f"key {number}") is not None]


# --- the bound ---


async def test_what_was_unused_longest_makes_room(hand: Hand) -> None:
    """Reading is use, and so is replacing."""
    store = store_for(3, hand)
    await fill(store, 3)
    await store.get("key 0")
    await store.put("key 1", answer(), LONG)
    await store.put("key 3", answer(), LONG)
    assert await kept(store) == [0, 1, 3]
    assert store.evictions == 1


async def test_one_large_answer_may_push_out_several(hand: Hand) -> None:
    """As many as it takes, and no more: this one takes the room of three and a bit."""
    store = store_for(8, hand)
    await fill(store, 8)
    await store.put("large", answer(b"x" * (store.limit // 4)), LONG)
    assert await kept(store) == [4, 5, 6, 7]
    assert store.bytes <= store.limit


async def test_what_would_never_fit_pushes_nothing_out(hand: Hand) -> None:
    """It is not kept, it counts as an eviction, and what was under its key is gone."""
    store = store_for(3, hand)
    await fill(store, 3)
    await store.put("key 1", answer(b"x" * store.limit), LONG)
    assert await kept(store) == [0, 2]
    assert store.evictions == 1


async def test_a_bound_of_nothing_keeps_nothing(hand: Hand) -> None:
    """A limit of zero is a cache that is always empty."""
    store = MemoryStore(0, hand.now)
    await fill(store, 3)
    assert await kept(store) == []
    assert store.bytes == 0


async def test_a_lower_bound_holds_at_once(hand: Hand) -> None:
    """A reload may take memory away; the answers used last stay."""
    store = store_for(8, hand)
    await fill(store, 8)
    store.limit //= 2
    assert await kept(store) == [4, 5, 6, 7]
    assert store.bytes <= store.limit


async def test_a_higher_bound_gives_room(hand: Hand) -> None:
    """What was there stays, and more fits."""
    store = store_for(2, hand)
    await fill(store, 2)
    store.limit *= 2
    await fill(store, 4)
    assert await kept(store) == [0, 1, 2, 3]
    assert store.evictions == 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "put", "get", "delete", "limit"]), st.integers(0, 9), st.integers(0, 20 * KIB)
        ),
        max_size=60,
    )
)
async def test_the_count_of_bytes_is_right_whatever_happens(steps: list[tuple[str, int, int]]) -> None:
    """It is what a new table with the same entries counts, and never more than the bound."""
    hand = Hand()
    store = MemoryStore(50 * KIB, hand.now)
    for action, number, size in steps:
        match action:
            case "put":
                await store.put(f"key {number}", answer(b"x" * size), LONG)
            case "get":
                await store.get(f"key {number}")
            case "delete":
                await store.delete([f"key {number}"])
            case _:
                store.limit = size * 4
        assert 0 <= store.bytes <= store.limit
    again = MemoryStore(100 * MIB, hand.now)
    for key in store.backend.by_use():
        value = store.backend.peek(key)
        assert isinstance(value, Stored)
        await again.put(key, value, LONG)
    assert again.bytes == store.bytes


async def test_everything_that_is_kept_is_counted(hand: Hand) -> None:
    """Bodies, fields, long keys, and the records of variants."""
    store = MemoryStore(MIB, hand.now)
    costs = []
    values: dict[str, Stored | Variants] = {
        "k": answer(b"x"),
        "K": answer(b"x" * 1_001),
        "f": answer(b"x", fields=((b"X-Long", b"y" * 1_000),)),
        "l" * 1_001: answer(b"x"),
        "v": Variants("n", ((b"a",),), ("k",)),
        "V": Variants("n", ((b"a" * 1_000,),), ("k" * 1_000,)),
    }
    for key, value in values.items():
        before = store.bytes
        await store.put(key, value, LONG)
        costs.append(store.bytes - before)
    small, large_body, large_field, long_key, record, large_record = costs
    assert large_body - small >= 1_000
    assert large_field - small >= 1_000
    assert long_key - small == 1_000
    assert record >= 300
    assert large_record - record == 1_998


_GROWTH = """
import asyncio, os, sys
from itertools import count
from proxy.model import Headers
from proxy.stores.memory import MemoryStore
from tests.support.answers import answer

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE")

def fresh(number, size):  # no object is shared between two answers, as none is that comes from a connection
    fields = ((b"Server", b"nginx"), (b"Content-Type", b"application/json"), (b"ETag", b'"%032x"' % number),
              (b"Cache-Control", b"max-age=%d" % number), (b"X-Request-Id", b"%036d" % number))
    fields = tuple((bytes(bytearray(name)), bytes(bytearray(value))) for name, value in fields)
    return answer(bytes([number % 256]) * size, fields=fields, target=b"/v1/%d" % number, received_at=float(number))

async def main(size, bound, sent):
    store = MemoryStore(bound, asyncio.get_running_loop().time)
    before, number = resident(), count()
    for _ in range(sent // size):
        await store.put("%064x" % (n := next(number)), fresh(n, size), 600.0)
    print((resident() - before) / store.limit, store.bytes / store.limit)

asyncio.run(main(*map(int, sys.argv[1:])))
"""


@pytest.mark.parametrize(("size", "bound", "sent"), [(200, 16, 4), (4 * KIB, 16, 64), (100 * KIB, 32, 256)])
def test_the_bound_is_what_the_process_grows_by(size: int, bound: int, sent: int) -> None:
    """Within a fifth, however much passes through: small answers, middling ones, large ones."""
    arguments = [str(number) for number in (size, bound * MIB, sent * MIB)]
    done = subprocess.run(
        [sys.executable, "-c", _GROWTH, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    grown, counted = map(float, done.stdout.split())
    assert counted > 0.95
    assert 0.8 < grown < 1.2


# --- its clock ---


async def test_an_answer_is_there_for_its_time(hand: Hand) -> None:
    """Until the last moment, and not a moment longer; then it takes no memory."""
    store = MemoryStore(MIB, hand.now)
    await store.put("key", answer(), 10.0)
    hand.time += 9.999
    assert same(await store.get("key"), answer())
    hand.time += 0.001
    assert await store.get("key") is None
    assert store.bytes == 0


async def test_what_has_expired_is_neither_listed_nor_purged(hand: Hand) -> None:
    """Although it may still be counted."""
    store = MemoryStore(MIB, hand.now)
    await store.put("key", answer(), 10.0)
    hand.time += 10.0
    assert await store.entries(api=None, route=None, limit=10) == []
    assert await store.purge() == 0


async def test_what_goes_while_others_are_looked_at_is_not_listed(hand: Hand) -> None:
    """A long scan lets others have their turn, and they may delete what is still to come."""
    store = MemoryStore(10 * MIB, hand.now)
    await fill(store, 2_000)
    scan = asyncio.create_task(store.entries(api=None, route=None, limit=2_000))
    await asyncio.sleep(0)  # as far as its first turn
    await store.delete([f"key {number}" for number in range(500)])
    assert len(await scan) == 1_500


async def test_a_list_begins_with_what_was_used_last(hand: Hand) -> None:
    """That is what an operator asks about; being listed is no use."""
    store = store_for(3, hand)
    await fill(store, 3)
    await store.get("key 0")
    listed = await store.entries(api=None, route=None, limit=10)
    assert len(listed) == 3
    assert await store.look(listed[0].ident) == listed[0]
    await store.put("key 3", answer(), LONG)
    assert await kept(store) == [0, 2, 3]


# --- as a backend of aiocache ---


async def test_every_operation_of_aiocache_that_makes_sense_here(hand: Hand) -> None:
    """They mean what they mean in aiocache's own backends."""
    cache: Any = MemoryBackend(MIB, hand.now)
    assert await cache.set("a", 1)
    assert await cache.multi_set([("b", 2), ("c", 3)], ttl=10)
    assert await cache.multi_get(["a", "b", "x"]) == [1, 2, None]
    assert [await cache.exists("a"), await cache.exists("x")] == [True, False]
    assert [await cache.delete("a"), await cache.delete("a"), await cache.get("a", "none")] == [1, 0, "none"]
    assert await cache.add("a", 4)
    with pytest.raises(ValueError, match="already exists"):
        await cache.add("a", 5)
    assert [await cache.expire("a", 10), await cache.expire("b", 0), await cache.expire("x", 1)] == [True, True, False]
    hand.time += 10.0
    assert [await cache.get(key) for key in "abc"] == [None, 2, None]


async def test_aiocache_can_clear_it_whole_or_by_namespace(hand: Hand) -> None:
    """And nothing of it is counted any more."""
    cache: Any = MemoryBackend(MIB, hand.now)
    await cache.multi_set([("x:a", 1), ("x:b", 2), ("y:a", 3)])
    await cache.clear("x:")
    assert cache.by_use() == ["y:a"]
    await cache.clear()
    assert (len(cache), cache.bytes) == (0, 0)


def test_it_shows_its_state(hand: Hand) -> None:
    """In a log or a debugger."""
    store = MemoryStore(MIB, hand.now)
    assert store.count == 0
    assert repr(store) == "<MemoryStore <MemoryBackend 0 entries, 0 of 1048576 bytes>>"
