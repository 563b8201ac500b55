"""Tests of ledgers.py: which ledger a name stands for, what a reload keeps of it, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.clock import Clock
from proxy.config.settings import Config, Limits
from proxy.core.idempotency import Answer, Concluded, Conclusion, Found, State
from proxy.ledger import RELEASED, Call, Ledger
from proxy.ledgers import Ledgers
from proxy.stores.ledger_memory import MemoryLedger
from proxy.telemetry.metrics import Registry
from tests.support import virtual
from tests.support.remote import Remote, claim, fails, held
from tests.support.virtual import turn

NOBODY = "redis://127.0.0.1:1/0"
DONE = Conclusion(Concluded.DONE, "f", 201, Answer(201, b"", (), b"x" * 100))
UNKNOWN = Conclusion(Concluded.UNKNOWN)


class Desk:
    """Ledgers, and their metrics; those of a file and of a server may be stores of the test's."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.registry = Registry()
        self.ledgers = Ledgers(clock, self.registry)

    def configure(self, **changes: Any) -> None:
        limits = {name: changes.pop(name) for name in ("memory_idempotency", "disk_ledger") if name in changes}
        self.ledgers.configure(Config(limits=Limits(**limits), **changes))

    def stand_in(self, name: str) -> Remote:
        """A store of the test's under that name."""
        remote = Remote(self.clock)
        self.ledgers._ledgers[name] = Ledger(remote, self.clock, "e")
        return remote

    async def reserve(self, name: str = "memory", letter: str = "a", **changes: Any) -> Call:
        ledger = self.ledgers.ledger(name)
        call = ledger.open(claim(letter * 32, ledger.token(), **changes))
        assert (await ledger.reserve(call)).found is Found.OWNED
        return call

    def end(self, name: str, call: Call, conclusion: Conclusion) -> None:
        call.land(conclusion)
        self.ledgers.ledger(name).finish(call, conclusion)

    def unknown(self) -> dict[str, float]:
        families = {family.name: family for family in self.registry.families()}
        samples = families["backstay_idempotency_unknown_records"].samples
        return {sample.labels["store"]: sample.value for sample in samples}


def scene(scenario: Callable[[Desk], Any]) -> None:
    virtual.run(lambda clock: scenario(Desk(clock)))


# --- which ledger -------------------------------------------------------------------------------------------------


def test_memory_is_one_for_the_whole_process() -> None:
    """It survives every reload, also one that does not name it: what is in it still protects."""

    async def scenario(desk: Desk) -> None:
        ledger = desk.ledgers.ledger("memory")
        await desk.reserve()
        for _ in range(3):
            desk.ledgers.drop_unused()
        assert desk.ledgers.ledger("memory") is ledger
        assert (ledger.owned, list(desk.ledgers.up())) == (1, [])
        assert isinstance(ledger.store, MemoryLedger)
        assert repr(desk.ledgers) == "<Ledgers in memory>"

    scene(scenario)


def test_nothing_is_made_before_it_is_asked_for() -> None:
    """A configuration without such calls has no store of them."""

    async def scenario(desk: Desk) -> None:
        desk.configure(stores_shared=NOBODY, stores_ledger="/nowhere/ledger.db")
        desk.ledgers.drop_unused()
        assert (desk.ledgers.stores, desk.ledgers.under_way, desk.ledgers.evictions) == ({}, 0, 0)
        assert repr(desk.ledgers) == "<Ledgers in no store>"
        await desk.ledgers.close()

    scene(scenario)


@pytest.fixture
async def ledgers(clock: Clock) -> AsyncIterator[Ledgers]:
    made = Ledgers(clock, Registry())
    yield made
    await made.close()


async def test_a_file_and_a_server_are_opened_when_they_are_asked_for(ledgers: Ledgers, tmp_path: Path) -> None:
    """Each under its name in the configuration, and with its limit; whether they can be asked is a metric."""
    path = tmp_path / "ledger.db"
    ledgers.configure(Config(stores_shared=NOBODY, stores_ledger=str(path), limits=Limits(disk_ledger=1 << 20)))
    file, shared = ledgers.ledger("ledger"), ledgers.ledger("shared")
    call = file.open(claim())
    assert (await file.reserve(call)).found is Found.OWNED
    assert path.exists()
    assert {name: store.name for name, store in ledgers.stores.items()} == {"ledger": "sqlite", "shared": "redis"}
    assert (file.store.limit, shared.store.limit) == (1 << 20, None)
    while shared.store.up:
        await asyncio.sleep(0.01)
    up = {labels["name"]: value for labels, value in ledgers.up()}
    assert up == {"ledger": 1.0, "shared_ledger": 0.0}
    assert ledgers.now("ledger") == pytest.approx(file.store.now(), abs=60.0)
    ledgers.configure(Config(stores_shared=NOBODY, stores_ledger=str(path), limits=Limits(disk_ledger=2 << 20)))
    assert (ledgers.ledger("ledger"), file.store.limit) == (file, 2 << 20)
    file.close(call, RELEASED)
    file.finish(call, Conclusion(Concluded.RELEASED))


def test_no_two_ledgers_have_a_token_in_common() -> None:
    """One that was let go may still be at work on the records of the one that has its place."""

    async def scenario(desk: Desk) -> None:
        desk.configure(stores_shared=NOBODY)
        tokens = []
        for _ in range(3):
            tokens += [desk.ledgers.ledger(name).token() for name in ("memory", "shared")]
            for _ in range(2):
                desk.ledgers.drop_unused()
        assert len(set(tokens)) == 6
        assert {token.split("-")[0] for token in tokens} == {f"{16**12 // 2:012x}"}
        await desk.ledgers.close()

    scene(scenario)


# --- a reload -----------------------------------------------------------------------------------------------------


def test_the_room_of_memory_may_change() -> None:
    """At once, in both directions; answers that made room are counted."""

    async def scenario(desk: Desk) -> None:
        desk.configure(memory_idempotency=1 << 20)
        call = await desk.reserve()
        desk.end("memory", call, DONE)
        store = desk.ledgers.stores["memory"]
        assert (store.limit, desk.ledgers.evictions) == (1 << 20, 0)
        desk.configure(memory_idempotency=100)
        assert (store.limit, desk.ledgers.evictions) == (100, 1)

    scene(scenario)


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("ledger", {"stores_ledger": "/a.db"}, {"stores_ledger": "/b.db"}),
        ("ledger", {"stores_ledger": "/a.db"}, {}),
        ("shared", {"stores_shared": "redis://a"}, {"stores_shared": "redis://b"}),
    ],
)
def test_a_store_that_is_elsewhere_now_is_let_go(name: str, before: dict[str, str], after: dict[str, str]) -> None:
    """The same one is not."""

    async def scenario(desk: Desk) -> None:
        desk.configure(**before)
        remote = desk.stand_in(name)
        desk.configure(**before)
        assert name in desk.ledgers.stores
        desk.configure(**after)
        assert name not in desk.ledgers.stores
        await turn()
        assert remote.closed

    scene(scenario)


@pytest.mark.parametrize("name", ["ledger", "shared"])
def test_a_store_that_no_route_names_any_more_is_let_go(name: str) -> None:
    """One that a route has asked for is kept."""

    async def scenario(desk: Desk) -> None:
        remote = desk.stand_in(name)
        desk.ledgers.ledger(name)
        desk.ledgers.drop_unused()
        await turn()
        assert not remote.closed
        desk.ledgers.drop_unused()
        await turn()
        assert remote.closed

    scene(scenario)


def test_calls_that_began_with_a_store_end_with_it() -> None:
    """It is closed when the last of them has ended, and been told; the counts of what it did stay."""

    async def scenario(desk: Desk) -> None:
        gate = asyncio.Event()
        remote = desk.stand_in("shared")
        done, call = await desk.reserve("shared", "a"), await desk.reserve("shared", "b")
        ledger = desk.ledgers.ledger("shared")
        desk.end("shared", done, DONE)
        await turn(6)
        remote.records.limit = 1
        assert desk.ledgers.evictions == 1
        for _ in range(2):
            desk.ledgers.drop_unused()
        await desk.clock.sleep(60.0)
        assert (remote.closed, desk.ledgers.under_way, desk.ledgers.evictions) == (False, 1, 1)
        remote.plan("finish unknown", held(gate))
        call.land(UNKNOWN)
        ledger.finish(call, UNKNOWN)
        await desk.clock.sleep(5.0)
        assert not remote.closed
        gate.set()
        await desk.clock.sleep(2.0)
        record = await remote.look("b" * 32)
        assert record is not None
        assert (remote.closed, record.state) == (True, State.UNKNOWN)

    scene(scenario)


# --- what is known of them ----------------------------------------------------------------------------------------


def test_calls_under_way_are_those_of_all_ledgers() -> None:
    """Until it has been told how they ended."""

    async def scenario(desk: Desk) -> None:
        gate = asyncio.Event()
        remote = desk.stand_in("shared")
        one, two = await desk.reserve("shared"), await desk.reserve()
        assert desk.ledgers.under_way == 2
        desk.end("memory", two, DONE)
        remote.plan("finish done", held(gate))
        desk.end("shared", one, DONE)
        await turn()
        assert desk.ledgers.under_way == 1
        gate.set()
        await turn(6)
        assert desk.ledgers.under_way == 0

    scene(scenario)


def test_calls_of_which_nobody_knows_are_counted_by_store() -> None:
    """Under its name in the configuration; a person may settle them there."""

    async def scenario(desk: Desk) -> None:
        desk.stand_in("shared")
        for name in ("shared", "memory"):
            desk.end(name, await desk.reserve(name), UNKNOWN)
        await turn(6)
        assert desk.unknown() == {"shared": 1, "memory": 1}
        assert desk.ledgers.now("memory") == desk.clock.now()
        assert await desk.ledgers.settle("shared", "a" * 32, done=True)
        assert not await desk.ledgers.settle("shared", "b" * 32, done=True)
        assert desk.unknown() == {"shared": 0, "memory": 1}
        with pytest.raises(KeyError):
            await desk.ledgers.settle("ledger", "a" * 32, done=True)

    scene(scenario)


# --- the end ------------------------------------------------------------------------------------------------------


def test_at_the_end_calls_that_are_being_cut_say_how_they_ended() -> None:
    """What is under way has two seconds for it; then the stores are closed all the same."""

    async def scenario(desk: Desk) -> None:
        remote, other = desk.stand_in("shared"), desk.stand_in("ledger")
        calls = [await desk.reserve("shared", letter) for letter in "ab"]
        await desk.reserve("ledger")
        closing = desk.clock.loop.create_task(desk.ledgers.close())
        await desk.clock.sleep(1.0)
        for call in calls:
            desk.end("shared", call, UNKNOWN)
        await desk.clock.sleep(0.1)
        assert (remote.closed, remote.unknown) == (True, 2)
        began = desk.clock.now()
        await closing
        assert (other.closed, desk.clock.now() - began <= 2.0) == (True, True)

    scene(scenario)


def test_at_the_end_a_store_that_is_just_being_told_is_waited_for() -> None:
    """No call is under way any more: it has ended in this very moment, or was never reserved."""

    async def scenario(desk: Desk) -> None:
        remote, gate = desk.stand_in("shared"), asyncio.Event()
        call = await desk.reserve("shared")
        remote.plan("finish done", held(gate))
        desk.end("shared", call, DONE)
        closing = desk.clock.loop.create_task(desk.ledgers.close())
        await desk.clock.sleep(1.0)
        assert not remote.closed
        gate.set()
        await closing
        record = await remote.look("a" * 32)
        assert record is not None
        assert (record.state, remote.closed) == (State.DONE, True)

    scene(scenario)


def test_at_the_end_a_store_is_told_what_it_is_owed() -> None:
    """If it is back by then."""

    async def scenario(desk: Desk) -> None:
        remote = desk.stand_in("shared")
        call = await desk.reserve("shared")
        remote.plan("finish done", fails)
        desk.end("shared", call, DONE)
        await turn(6)
        await desk.ledgers.close()
        record = await remote.look("a" * 32)
        assert record is not None
        assert record.state is State.DONE

    scene(scenario)
