"""Records of calls as their operator sees them, and who may end which doubt."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admin.control import NotSettled, Settled, StoreDown
from proxy.admin.entries import MASK
from proxy.admin.records import Held, Records, condition, shown
from proxy.core import idempotency as core
from proxy.core.idempotency import Conclusion, Record, State
from proxy.core.idempotency_key import upstream_key
from tests.admin.ledgers import LOST, OK, SUBJECT, FakeLedgers, claim, named

WALL = 1_700_000_000.0  # 2023-11-14T22:13:20Z


def held(conclusion: Conclusion | None = None, *, now: float = 10.0, **other: Any) -> Held:
    """A record that was reserved at 0, and perhaps finished at 5, as it stands now."""
    record = Record(claim(**other), 0.0)
    if conclusion is not None:
        core.finish(record, record.token, conclusion, 5.0)
    return Held("ledger", record, core.state_at(record, now), now, WALL)


@pytest.fixture
def ledgers() -> FakeLedgers:
    return FakeLedgers()


@pytest.fixture
def records(ledgers: FakeLedgers) -> Records:
    return Records(ledgers, lambda: WALL, lambda _, target: target)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[tuple[Any, ...]]]]:
    """What the log says of settling: level, message, and which call."""
    fields = ("levelname", "msg", "id", "api", "store", "outcome")
    with caplog.at_level(logging.INFO, "backstay"):
        yield lambda: [tuple(getattr(record, field) for field in fields) for record in caplog.records]


async def ids(found: Any) -> list[tuple[str, str]]:
    """Key and ledger of each record in a list."""
    return [(chr(int(each["id"], 16)), each["store"]) for each in await found]


class TestShown:
    """One record."""

    def test_what_it_says(self) -> None:
        """All that one needs to find the call at its vendor, and how long there is time for it."""
        assert shown(held(LOST)) == {
            "id": named("a"),
            "api": "stripe",
            "route": "charges",
            "method": "POST",
            "target": "/v1/charges?expand=x",
            "key": "order-17",
            "derived": False,
            "state": "unknown",
            "since": "2023-11-14T22:13:10.000Z",
            "age": 10.0,
            "lease_ends_in": None,
            "expires_in": 3595.0,
            "reservations": 1,
            "status": None,
            "answer_kept": False,
            "in_doubt": False,
            "store": "ledger",
        }

    @pytest.mark.parametrize(
        ("one", "state", "lease", "status", "kept"),
        [
            (held(), "running", 50.0, None, False),
            (held(now=60.0), "unknown", None, None, False),
            (held(LOST._replace(status=502)), "unknown", None, 502, False),
            (held(OK), "done", None, 201, True),
            (held(OK._replace(answer=None)), "done", None, 201, False),
        ],
    )
    def test_its_state(self, one: Held, state: str, lease: float | None, status: int | None, kept: bool) -> None:
        """An owner that is silent for too long leaves a doubt; an answer too large to be kept leaves its status."""
        found = shown(one)
        assert (found["state"], found["lease_ends_in"], found["status"]) == (state, lease, status)
        assert found["answer_kept"] is kept
        assert "spoon" not in json.dumps(found)

    @pytest.mark.parametrize(("now", "left"), [(0.0, 60.0), (50.0, 10.0), (60.0, 0.0), (70.0, 0.0)])
    def test_it_is_not_forgotten_while_its_owner_is_at_it(self, now: float, left: float) -> None:
        """A window of 40 s that is shorter than the lease does not end before that."""
        assert shown(held(now=now, window=40.0))["expires_in"] == left

    def test_a_call_that_is_made_again_in_doubt(self) -> None:
        """It runs, and what became of the one before is still not known."""
        one = held(LOST)
        core.reserve(one.record, claim(token="e-2", resend=True), 10.0)
        found = shown(one._replace(state=State.RUNNING))
        assert (found["state"], found["in_doubt"], found["reservations"]) == ("running", True, 2)

    def test_a_key_that_was_derived(self) -> None:
        """The agent gave none; by this one the vendor may know the call."""
        found = shown(held(subject=SUBJECT._replace(key="")))
        assert (found["key"], found["derived"]) == (upstream_key(named("a"), "n").decode(), True)

    def test_secrets_are_masked(self) -> None:
        """An agent may put one into a target, or use one as a key."""
        subject = SUBJECT._replace(target="/v1/charges?api_key=spoon&q=x", key="sk_live_0123456789spoon")
        found = shown(held(subject=subject))
        assert (found["target"], found["key"]) == (f"/v1/charges?api_key={MASK}&q=x", MASK)

    def test_a_clock_elsewhere_that_is_behind_makes_no_negative_time(self) -> None:
        """A record is never from the future."""
        found = shown(held(LOST, now=-3.0))
        assert (found["age"], found["since"]) == (0.0, "2023-11-14T22:13:20.000Z")

    @given(target=st.text(), key=st.text(), method=st.text())
    def test_any_call_can_be_shown(self, target: str, key: str, method: str) -> None:
        """Whatever an agent sent, it is JSON."""
        found = shown(held(subject=SUBJECT._replace(target=target, key=key, method=method)))
        assert json.loads(json.dumps(found, allow_nan=False)) == found


class TestCondition:
    """One ledger."""

    async def test_one_that_is_up(self, ledgers: FakeLedgers) -> None:
        """What it does not know is left open."""
        await ledgers.put("shared", LOST)
        assert condition("shared", ledgers.stores["shared"]) == {
            "name": "shared",
            "state": "up",
            "why": None,
            "unknown": 1,
            "records": None,
            "bytes": None,
            "limit": None,
            "weaknesses": [],
        }

    def test_one_that_is_away_and_would_be_weak(self, ledgers: FakeLedgers) -> None:
        """Why, and what would be lost by whom."""
        store: Any = ledgers.stores["shared"]
        store.why, store.weaknesses, store.limit = "connection refused", ("appendonly is off",), 1024
        found = condition("shared", store)
        assert (found["state"], found["why"], found["limit"]) == ("down", "connection refused", 1024)
        assert found["weaknesses"] == ["appendonly is off"]

    def test_all_of_them(self, records: Records) -> None:
        """By name."""
        assert [each["name"] for each in records.ledgers()] == ["ledger", "shared"]


class TestUnsettled:
    """What waits for a person."""

    @pytest.fixture(autouse=True)
    async def _three(self, ledgers: FakeLedgers) -> None:
        """Calls whose outcome is not known, in either ledger, between two that are no question."""
        await ledgers.put("ledger", OK, "x")
        for store, key, api in (("ledger", "a", "stripe"), ("shared", "b", "paypal"), ("ledger", "c", "stripe")):
            await ledgers.put(store, LOST, key, subject=SUBJECT._replace(api=api))
            await ledgers.pass_time(10.0)
        await ledgers.put("shared", None, "y")

    async def test_the_oldest_comes_first(self, records: Records) -> None:
        """Whatever its ledger's clock says: what was sent first is forgotten first."""
        found = records.unsettled(api=None, store=None, limit=10)
        assert await ids(found) == [("a", "ledger"), ("b", "shared"), ("c", "ledger")]

    @pytest.mark.parametrize(
        ("asked", "found"),
        [
            ({"limit": 2}, ["a", "b"]),
            ({"api": "stripe"}, ["a", "c"]),
            ({"api": "stripe", "limit": 1}, ["a"]),
            ({"store": "shared"}, ["b"]),
            ({"store": "ledger", "api": "paypal"}, []),
        ],
    )
    async def test_some(self, records: Records, asked: dict[str, Any], found: list[str]) -> None:
        """By api and ledger."""
        listed = await ids(records.unsettled(**({"api": None, "store": None, "limit": 10} | asked)))
        assert [key for key, _ in listed] == found

    async def test_its_ledger_says_that_it_is_not_known(self, records: Records, ledgers: FakeLedgers) -> None:
        """Though by our idea of its clock an owner might still have a lease."""
        await ledgers.pass_time(60.0)
        ledgers.now = lambda name: ledgers.stores[name].time - 20.0  # type: ignore[method-assign]
        found = await records.unsettled(api=None, store="shared", limit=10)
        assert [each["state"] for each in found] == ["unknown", "unknown"]

    async def test_a_ledger_that_is_away(self, records: Records, ledgers: FakeLedgers) -> None:
        """The rest is not shown for the whole, unless it is asked for."""
        ledgers.stores["shared"].why = "it is down"
        with pytest.raises(StoreDown, match=r"The store 'shared' did not answer \(list: it is down\)") as caught:
            await records.unsettled(api=None, store=None, limit=10)
        assert caught.value.purged is None
        assert len(await records.unsettled(api=None, store="ledger", limit=10)) == 2


class TestLook:
    """One of any state."""

    async def test_one(self, records: Records, ledgers: FakeLedgers) -> None:
        """Wherever it is."""
        await ledgers.put("shared", OK)
        found = await records.look(named("a"), store=None)
        assert found is not None
        assert (found["state"], found["store"]) == ("done", "shared")
        assert await records.look(named("a"), store="ledger") is None
        assert await records.look(named("b"), store=None) is None

    @pytest.mark.parametrize("store", ["ledger", "shared"])
    async def test_the_one_in_doubt_before_any_other(self, records: Records, ledgers: FakeLedgers, store: str) -> None:
        """An agent used its key on two routes that keep theirs apart."""
        for each in ledgers.stores:
            await ledgers.put(each, LOST if each == store else OK)
        found = await records.look(named("a"), store=None)
        assert found is not None
        assert (found["state"], found["store"]) == ("unknown", store)

    async def test_a_ledger_that_is_away(self, records: Records, ledgers: FakeLedgers) -> None:
        """What may be there is not denied; what is elsewhere is found."""
        await ledgers.put("ledger", OK)
        ledgers.stores["shared"].why = "it is down"
        assert await records.look(named("a"), store=None) is not None
        with pytest.raises(StoreDown, match="look: it is down"):
            await records.look(named("b"), store=None)


class TestSettle:
    """A person knows what became of a call."""

    async def test_it_was_carried_out(self, records: Records, ledgers: FakeLedgers, lines: Any) -> None:
        """The record says so from now on, and is kept for as long as any other."""
        await ledgers.put("shared", LOST._replace(status=502))
        await ledgers.pass_time(600.0)
        found = await records.settle(named("a"), "done", store=None)
        assert found is not None
        assert (found["state"], found["status"], found["age"], found["expires_in"]) == ("done", None, 600.0, 3600.0)
        assert found == await records.look(named("a"), store=None)
        assert lines() == [("INFO", "call settled", named("a"), "stripe", "shared", "done")]

    async def test_it_was_not(self, records: Records, ledgers: FakeLedgers, lines: Any) -> None:
        """There is no record any more: the call may be made."""
        await ledgers.put("shared", LOST)
        found = await records.settle(named("a"), "absent", store=None)
        assert found == {"id": named("a"), "api": "stripe", "store": "shared", "outcome": "absent"}
        assert await records.look(named("a"), store=None) is None
        assert lines() == [("INFO", "call settled", named("a"), "stripe", "shared", "absent")]

    @pytest.mark.parametrize("outcome", ["done", "absent"])
    async def test_nothing_else_is_settled(self, records: Records, ledgers: FakeLedgers, outcome: Settled) -> None:
        """Others in doubt stay so."""
        for key, store in (("a", "ledger"), ("b", "ledger"), ("c", "shared")):
            await ledgers.put(store, LOST, key)
        await records.settle(named("a"), outcome, store=None)
        assert await ids(records.unsettled(api=None, store=None, limit=10)) == [("b", "ledger"), ("c", "shared")]

    async def test_an_owner_that_fell_silent_leaves_a_doubt_to_end(
        self, records: Records, ledgers: FakeLedgers
    ) -> None:
        """Its ledger decides when, by its own clock: ours is only near it."""
        await ledgers.put("shared", None)
        await ledgers.pass_time(60.0)
        ledgers.now = lambda name: ledgers.stores[name].time - 1.0  # type: ignore[method-assign]
        found = await records.settle(named("a"), "done", store=None)
        assert found is not None
        assert found["state"] == "done"

    @pytest.mark.parametrize("outcome", ["done", "absent"])
    @pytest.mark.parametrize(
        ("conclusion", "state", "detail"), [(None, "running", "may still be at it"), (OK, "done", "no doubt to end")]
    )
    async def test_where_there_is_no_doubt(
        self, records: Records, ledgers: FakeLedgers, lines: Any, *, outcome: Settled, conclusion: Conclusion | None,
        state: str, detail: str,
    ) -> None:  # fmt: skip
        """Nobody overrules an owner that is at it, or what is known."""
        await ledgers.put("ledger", conclusion)
        with pytest.raises(NotSettled, match=detail) as caught:
            await records.settle(named("a"), outcome, store=None)
        assert [each["state"] for each in caught.value.records] == [state]
        assert await records.look(named("a"), store=None) == caught.value.records[0]
        assert lines() == []

    async def test_a_record_that_there_is_not(self, records: Records, ledgers: FakeLedgers, lines: Any) -> None:
        """Nothing is settled."""
        await ledgers.put("ledger", LOST)
        assert await records.settle(named("b"), "done", store=None) is None
        assert await records.settle(named("a"), "done", store="shared") is None
        assert lines() == []

    async def test_an_id_that_stands_for_two_calls_in_doubt(
        self, records: Records, ledgers: FakeLedgers, lines: Any
    ) -> None:
        """Only what was looked up may be settled: it has to be said which."""
        for store in ledgers.stores:
            await ledgers.put(store, LOST)
        with pytest.raises(NotSettled, match=r"say which of them is meant, by \?store=NAME") as caught:
            await records.settle(named("a"), "absent", store=None)
        assert [each["store"] for each in caught.value.records] == ["ledger", "shared"]
        assert lines() == []
        await records.settle(named("a"), "absent", store="shared")
        assert await ids(records.unsettled(api=None, store=None, limit=10)) == [("a", "ledger")]

    async def test_a_late_owner_is_faster(self, records: Records, ledgers: FakeLedgers, lines: Any) -> None:
        """What it knows holds, and is told."""
        store = ledgers.stores["ledger"]
        await ledgers.put("ledger", LOST)
        store.before_settling = lambda: core.finish(store.records[named("a")], "e-1", OK, store.time)
        with pytest.raises(NotSettled, match="known that this call was carried out") as caught:
            await records.settle(named("a"), "absent", store=None)
        assert caught.value.records[0]["status"] == 201
        assert lines() == []

    async def test_another_person_is_faster(self, records: Records, ledgers: FakeLedgers, lines: Any) -> None:
        """The record is gone, as if it had never been."""
        store = ledgers.stores["ledger"]
        await ledgers.put("ledger", LOST)
        store.before_settling = store.records.clear
        assert await records.settle(named("a"), "absent", store=None) is None
        assert lines() == []

    async def test_a_ledger_that_is_away(self, records: Records, ledgers: FakeLedgers) -> None:
        """The doubt may be there; one that was found here can be ended all the same."""
        await ledgers.put("ledger", LOST, "a")
        await ledgers.put("ledger", OK, "b")
        ledgers.stores["shared"].why = "it is down"
        for key in "bc":
            with pytest.raises(StoreDown, match="look: it is down"):
                await records.settle(named(key), "done", store=None)
        assert await records.settle(named("a"), "done", store=None) is not None

    async def test_a_ledger_that_a_reload_lets_go_of_meanwhile(
        self, records: Records, ledgers: FakeLedgers, lines: Any
    ) -> None:
        """It is nobody's any more, as if it had not been there."""
        await ledgers.put("ledger", LOST)
        ledgers.stores["ledger"].after_looking = lambda: ledgers.stores.pop("ledger")
        assert await records.settle(named("a"), "done", store=None) is None
        assert lines() == []

    async def test_a_ledger_that_goes_away_meanwhile(self, records: Records, ledgers: FakeLedgers, lines: Any) -> None:
        """It may have heard it, or not: the log says so, since nobody else may learn of it."""
        store = ledgers.stores["ledger"]
        await ledgers.put("ledger", LOST)
        store.before_settling = lambda: setattr(store, "why", "no answer")
        with pytest.raises(StoreDown, match=r"The store 'ledger' did not answer \(settle: no answer\)"):
            await records.settle(named("a"), "done", store=None)
        assert lines() == [("WARNING", "call perhaps settled", named("a"), "stripe", "ledger", "done")]
