"""The one contract of every ledger: what each of them does, whatever keeps the records.

A ledger's own test file subclasses ``LedgerContract``, as ``class TestMemoryLedger(LedgerContract)``, gives it a
fixture ``ledger`` with a ``Bench``, and hands a maker of benches to ``compare_with_the_rules``. Time matters through
``Bench.pass_time`` alone: no test here reads a clock, and none depends on less than 40 seconds.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ClassVar, Final, Protocol, TypeVar

import pytest
import uvloop
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from proxy.core import idempotency as rules
from proxy.core.idempotency import Answer, Claim, Concluded, Conclusion, Found, Record, State, Subject
from proxy.stores.base import ident_of
from proxy.stores.ledger import LedgerFull, LedgerStore
from tests.support import properties
from tests.support.answers import KIB, MIB

T = TypeVar("T")

DAY: Final = 86400.0
SUBJECT: Final = Subject("pay", "charges", "POST", "/v1/charges", "k")
RELEASED: Final = Conclusion(Concluded.RELEASED)
UNKNOWN: Final = Conclusion(Concluded.UNKNOWN)
HEADERS: Final = ((b"Date", b"Tue, 14 Nov 2023 22:13:20 GMT"), (b"Content-Type", b"application/json"))


class Bench(Protocol):
    """A fresh ledger and what a test does to the world around it."""

    @property
    def store(self) -> LedgerStore: ...

    async def second(self) -> LedgerStore | None:
        """Another store on the same records, closed with the bench; None: there is no such thing."""

    async def pass_time(self, seconds: float) -> None:
        """Let so much time pass for every record."""

    async def refresh(self) -> None:
        """Let the store hear what is new: ``unknown`` and ``count`` are right afterwards."""

    async def narrow(self, room: int) -> None:
        """Leave room for about so many bytes more than there are now."""

    async def close(self) -> None:
        """Close what was opened."""


def named(key: str) -> str:
    """The name of the record of a key."""
    return ident_of(key)


def claim(
    key: str = "k",
    token: str = "e1-1",
    fingerprint: str = "f",
    *,
    lease: float = 60.0,
    retain: float = DAY,
    window: float = 0.0,
    nonce: str = "n1",
    resend: bool = False,
    subject: Subject = SUBJECT,
) -> Claim:
    return Claim(named(key), token, fingerprint, lease, retain, window, nonce, resend, subject)


def done(body: bytes = b"{}", *, status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = HEADERS) -> Conclusion:
    """The upstream has answered, and its answer is kept."""
    return Conclusion(Concluded.DONE, status=status, answer=Answer(status, b"OK", headers, body))


def unkept(status: int = 200) -> Conclusion:
    """The upstream has answered, and its answer is too large."""
    return Conclusion(Concluded.DONE, status=status)


async def tell(store: LedgerStore, conclusion: Conclusion, key: str = "k", token: str = "e1-1") -> bool:
    return await store.finish(named(key), token, conclusion)


async def seen(store: LedgerStore, key: str = "k") -> Record:
    """The record of a key, which is there."""
    record = await store.look(named(key))
    assert record is not None
    return record


async def in_doubt(store: LedgerStore) -> None:
    """A record whose second owner (e1-2) is making the call again: what became of the first (e1-1) is not known."""
    await store.reserve(claim())
    await tell(store, UNKNOWN)
    assert (await store.reserve(claim(token="e1-2", resend=True))).found is Found.OWNED


async def other_of(ledger: Bench) -> LedgerStore:
    other = await ledger.second()
    if other is None:
        pytest.skip("there is one store for these records")
    return other


def numbered(number: int) -> Claim:
    """One of many claims, each of about 2 KiB."""
    subject = SUBJECT._replace(target="/v1/charges?" + "x" * 2 * KIB)
    return claim(f"k{number}", f"e1-{number}", subject=subject)


async def fill(store: LedgerStore) -> int:
    """Reserve until there is no room; how many were reserved."""
    for number in range(2_000):
        try:
            await store.reserve(numbered(number))
        except LedgerFull:
            return number
    raise AssertionError("it is never full")


class LedgerContract:
    """See the module."""

    # --- reserve ---

    async def test_what_nobody_has_reserved_is_the_callers_to_make(self, ledger: Bench) -> None:
        """The first claim owns a new record, which is running."""
        found, record = await ledger.store.reserve(claim())
        assert found is Found.OWNED
        assert (record.ident, record.token, record.fingerprint, record.nonce) == (named("k"), "e1-1", "f", "n1")
        assert (record.state, record.number, record.doubt) == (State.RUNNING, 1, False)
        assert (record.status, record.answer) == (0, None)

    async def test_whose_record_it_is_comes_back(self, ledger: Bench) -> None:
        """What the call is about, in any letters, and how long it is kept."""
        subject = Subject("zahlung-\u00e4\u20ac", "r 'n' \"b\"", "POST", "/v1/\xff?q=%20\\", "~key:1")
        await ledger.store.reserve(claim(subject=subject, retain=4_321.5, window=600.0))
        record = await seen(ledger.store)
        assert record.subject == subject
        assert (record.retain, record.windowed) == (4_321.5, True)
        assert record.until - record.created == pytest.approx(600.0)
        assert record.lease_until - record.created == pytest.approx(60.0)

    async def test_records_do_not_get_in_each_others_way(self, ledger: Bench) -> None:
        """Each key has its own."""
        for key in ("a", "b"):
            assert (await ledger.store.reserve(claim(key))).found is Found.OWNED
        await tell(ledger.store, done(), "a")
        assert (await seen(ledger.store, "b")).state is State.RUNNING
        assert await ledger.store.look(named("c")) is None

    async def test_asked_twice_is_reserved_once(self, ledger: Bench) -> None:
        """The owner of a running call that claims it again, since it did not hear the answer, owns it as before."""
        await ledger.store.reserve(claim())
        found, record = await ledger.store.reserve(claim(nonce="n2"))
        assert (found, record.number, record.doubt, record.nonce) == (Found.OWNED, 1, False, "n1")

    async def test_asked_twice_is_reserved_once_even_if_the_lease_is_over(self, ledger: Bench) -> None:
        """And its lease does not begin anew by that."""
        await ledger.store.reserve(claim())
        await ledger.pass_time(100.0)
        assert (await ledger.store.reserve(claim())).found is Found.OWNED
        assert (await ledger.store.reserve(claim(token="e1-2"))).found is Found.UNKNOWN

    async def test_others_find_it_running(self, ledger: Bench) -> None:
        """And whose it is; that they may resend makes no difference."""
        await ledger.store.reserve(claim())
        for resend in (False, True):
            found, record = await ledger.store.reserve(claim(token="e1-2", resend=resend))
            assert (found, record.token, record.number) == (Found.RUNNING, "e1-1", 1)

    async def test_of_two_hundred_at_once_one_owns_it(self, ledger: Bench) -> None:
        """The others find it running, by the same owner."""
        claims = [claim(token=f"e1-{number}", nonce=f"n{number}") for number in range(200)]
        answers = await asyncio.gather(*[ledger.store.reserve(each) for each in claims])
        (owned,) = [answer for answer in answers if answer.found is Found.OWNED]
        assert sum(answer.found is Found.RUNNING for answer in answers) == 199
        assert {(answer.record.token, answer.record.nonce) for answer in answers} == {
            (owned.record.token, owned.record.nonce)
        }

    async def test_what_was_done_is_answered(self, ledger: Bench) -> None:
        """Everybody gets the answer, its owner too, and nobody owns the call any more."""
        await ledger.store.reserve(claim())
        await tell(ledger.store, done(b"paid", status=201))
        for token in ("e1-1", "e1-2"):
            found, record = await ledger.store.reserve(claim(token=token, resend=True))
            assert (found, record.state, record.status) == (Found.DONE, State.DONE, 201)
            assert record.answer == done(b"paid", status=201).answer

    async def test_what_is_not_known_is_said_so(self, ledger: Bench) -> None:
        """To everybody who may not resend it."""
        await ledger.store.reserve(claim())
        await tell(ledger.store, UNKNOWN)
        for token in ("e1-1", "e1-2"):
            found, record = await ledger.store.reserve(claim(token=token))
            assert (found, record.token, record.number) == (Found.UNKNOWN, "e1-1", 1)

    @pytest.mark.parametrize("lapsed", [False, True])
    async def test_what_is_not_known_may_be_resent(self, ledger: Bench, *, lapsed: bool) -> None:
        """In doubt, under the same nonce, and of the same age; whether it was told, or its owner fell silent."""
        await ledger.store.reserve(claim())
        if lapsed:
            await ledger.pass_time(100.0)
        else:
            await tell(ledger.store, UNKNOWN)
        again = claim(token="e2-1", nonce="n2", resend=True, lease=600.0)
        found, record = await ledger.store.reserve(again)
        assert (found, record.state, record.token) == (Found.OWNED, State.RUNNING, "e2-1")
        assert (record.number, record.doubt, record.nonce) == (2, True, "n1")
        await ledger.pass_time(500.0)
        assert (await ledger.store.reserve(claim(token="e2-2", resend=True))).found is Found.RUNNING

    @pytest.mark.parametrize("conclusion", [None, UNKNOWN, done()])
    async def test_a_key_stands_for_one_call(self, ledger: Bench, conclusion: Conclusion | None) -> None:
        """Another call under the same key is told so in every state, by whomever, and changes nothing."""
        await ledger.store.reserve(claim())
        if conclusion is not None:
            await tell(ledger.store, conclusion)
        before = facts(await seen(ledger.store))
        for token in ("e1-1", "e1-2"):
            assert (
                await ledger.store.reserve(claim(token=token, fingerprint="g", resend=True))
            ).found is Found.MISMATCH
        assert facts(await seen(ledger.store)) == before

    async def test_a_fingerprint_that_is_not_known_is_no_other(self, ledger: Bench) -> None:
        """The body was too large to be looked at: not known on either side, it tells nothing."""
        await ledger.store.reserve(claim("a", fingerprint=""))
        await ledger.store.reserve(claim("b"))
        assert (await ledger.store.reserve(claim("a", "e1-2"))).found is Found.RUNNING
        assert (await ledger.store.reserve(claim("b", "e1-2", fingerprint=""))).found is Found.RUNNING
        assert (await seen(ledger.store, "a")).fingerprint == ""

    async def test_a_fingerprint_may_be_told_at_the_end(self, ledger: Bench) -> None:
        """If there was none; else the first stays."""
        await ledger.store.reserve(claim("a", fingerprint=""))
        await ledger.store.reserve(claim("b"))
        for key in ("a", "b"):
            await tell(ledger.store, done()._replace(fingerprint="late"), key)
        assert [(await seen(ledger.store, key)).fingerprint for key in ("a", "b")] == ["late", "f"]
        assert (await ledger.store.reserve(claim("a"))).found is Found.MISMATCH

    async def test_a_fingerprint_may_be_told_by_the_next_owner(self, ledger: Bench) -> None:
        """If the first knew none."""
        await ledger.store.reserve(claim(fingerprint=""))
        await tell(ledger.store, UNKNOWN)
        again = await ledger.store.reserve(claim(token="e1-2", fingerprint="g", resend=True))
        assert (again.found, again.record.fingerprint) == (Found.OWNED, "g")
        assert (await ledger.store.reserve(claim(token="e1-3"))).found is Found.MISMATCH

    # --- renew ---

    async def test_an_owner_that_renews_keeps_its_lease(self, ledger: Bench) -> None:
        """For as long as it says."""
        await ledger.store.reserve(claim())
        await ledger.pass_time(20.0)
        assert await ledger.store.renew(named("k"), "e1-1", 200.0)
        await ledger.pass_time(160.0)
        assert (await ledger.store.reserve(claim(token="e1-2"))).found is Found.RUNNING
        await ledger.pass_time(80.0)
        assert (await ledger.store.reserve(claim(token="e1-2"))).found is Found.UNKNOWN

    async def test_an_owner_that_renews_after_its_end_is_late(self, ledger: Bench) -> None:
        """What it has told counts, and not what was still on its way."""
        await ledger.store.reserve(claim())
        await tell(ledger.store, UNKNOWN)
        assert not await ledger.store.renew(named("k"), "e1-1", 60.0)
        assert (await ledger.store.reserve(claim(token="e1-2"))).found is Found.UNKNOWN

    async def test_an_owner_that_renews_late_is_believed(self, ledger: Bench) -> None:
        """Nobody else has taken it over: it is running again."""
        await ledger.store.reserve(claim())
        await ledger.pass_time(100.0)
        assert await ledger.store.renew(named("k"), "e1-1", 60.0)
        assert (await ledger.store.reserve(claim(token="e1-2"))).found is Found.RUNNING
        assert await ledger.store.unsettled(api=None, limit=10) == []

    async def test_nobody_else_can_renew(self, ledger: Bench) -> None:
        """Not another token, not what is done, not what nobody has reserved."""
        await ledger.store.reserve(claim("a"))
        await ledger.store.reserve(claim("b"))
        await tell(ledger.store, done(), "b")
        assert not await ledger.store.renew(named("a"), "e1-2", 600.0)
        assert not await ledger.store.renew(named("b"), "e1-1", 600.0)
        assert not await ledger.store.renew(named("c"), "e1-1", 600.0)
        await ledger.pass_time(100.0)
        assert (await ledger.store.reserve(claim("a", "e1-2"))).found is Found.UNKNOWN
        assert await ledger.store.look(named("c")) is None

    # --- finish ---

    async def test_a_call_that_was_not_carried_out_leaves_nothing(self, ledger: Bench) -> None:
        """Released, it can be made again, by another owner, under another nonce, and be another call."""
        await ledger.store.reserve(claim())
        assert await tell(ledger.store, RELEASED)
        assert await ledger.store.look(named("k")) is None
        found, record = await ledger.store.reserve(claim(token="e1-2", fingerprint="g", nonce="n2"))
        assert (found, record.number, record.doubt, record.nonce) == (Found.OWNED, 1, False, "n2")

    async def test_a_call_in_doubt_that_was_not_carried_out_this_time_is_still_not_known(self, ledger: Bench) -> None:
        """The one before may have been."""
        await in_doubt(ledger.store)
        assert await tell(ledger.store, RELEASED, token="e1-2")
        found, record = await ledger.store.reserve(claim(token="e1-3"))
        assert (found, record.state, record.token, record.doubt) == (Found.UNKNOWN, State.UNKNOWN, "e1-2", True)

    async def test_a_call_in_doubt_that_was_answered_is_done(self, ledger: Bench) -> None:
        """The upstream honours the key: what it says holds for both."""
        await in_doubt(ledger.store)
        assert await tell(ledger.store, done(), token="e1-2")
        found, record = await ledger.store.reserve(claim(token="e1-3"))
        assert (found, record.number, record.answer) == (Found.DONE, 2, done().answer)

    async def test_a_status_without_a_known_outcome_is_kept(self, ledger: Bench) -> None:
        """A person who settles it wants to know; the answer itself is not kept."""
        await ledger.store.reserve(claim())
        assert await tell(ledger.store, Conclusion(Concluded.UNKNOWN, status=502))
        record = await seen(ledger.store)
        assert (record.state, record.status, record.answer) == (State.UNKNOWN, 502, None)

    async def test_an_answer_that_is_too_large_leaves_its_status(self, ledger: Bench) -> None:
        """The call is done all the same."""
        await ledger.store.reserve(claim())
        assert await tell(ledger.store, unkept(201))
        found, record = await ledger.store.reserve(claim(token="e1-2"))
        assert (found, record.status, record.answer) == (Found.DONE, 201, None)

    @pytest.mark.parametrize("lapsed", [False, True])
    @pytest.mark.parametrize(
        ("late", "then"),
        [(done(), State.DONE), (UNKNOWN, State.UNKNOWN), (RELEASED, None)],
        ids=["done", "unknown", "released"],
    )
    async def test_an_owner_that_is_late_is_believed(
        self, ledger: Bench, late: Conclusion, then: State | None, *, lapsed: bool
    ) -> None:
        """While nobody else has taken the call over."""
        await ledger.store.reserve(claim())
        if lapsed:
            await ledger.pass_time(100.0)
        else:
            await tell(ledger.store, UNKNOWN)
        assert await tell(ledger.store, late)
        record = await ledger.store.look(named("k"))
        assert (None if record is None else record.state) is then

    @pytest.mark.parametrize("again", [done(b"second", status=404), unkept(), UNKNOWN, RELEASED])
    async def test_what_is_done_stays_as_it_was_told_first(self, ledger: Bench, again: Conclusion) -> None:
        """Its owner may say it twice; it is true each time, and changes nothing."""
        await ledger.store.reserve(claim())
        assert await tell(ledger.store, done(b"first"))
        before = facts(await seen(ledger.store))
        assert await tell(ledger.store, again)
        assert facts(await seen(ledger.store)) == before

    async def test_a_release_that_is_told_twice_harms_nobody(self, ledger: Bench) -> None:
        """By then the call may be another owner's."""
        await ledger.store.reserve(claim())
        assert await tell(ledger.store, RELEASED)
        assert not await tell(ledger.store, RELEASED)
        await ledger.store.reserve(claim(token="e1-2"))
        assert not await tell(ledger.store, RELEASED)
        assert (await seen(ledger.store)).token == "e1-2"

    @pytest.mark.parametrize("conclusion", [done(), UNKNOWN, RELEASED], ids=["done", "unknown", "released"])
    async def test_who_does_not_own_it_changes_nothing(self, ledger: Bench, conclusion: Conclusion) -> None:
        """Neither a stranger, nor the owner before, nor the owner of nothing."""
        await in_doubt(ledger.store)
        before = facts(await seen(ledger.store))
        assert not await tell(ledger.store, conclusion, token="e1-1")
        assert not await tell(ledger.store, conclusion, token="e9-9")
        assert not await tell(ledger.store, conclusion, key="never")
        assert not await ledger.store.renew(named("k"), "e1-1", 600.0)
        assert facts(await seen(ledger.store)) == before
        assert await ledger.store.look(named("never")) is None

    # --- what is kept of an answer ---

    async def test_an_answer_comes_back_byte_for_byte(self, ledger: Bench) -> None:
        """Every byte that a value or a body may have, fields in their order and case, repeated ones too."""
        visible = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
        headers = (
            (b"X-Odd", visible), (b"x-odd", b""), (b"X-Odd", b"again"), (b"!#$%&'*+-.^_`|~09azAZ", b"a, b"),
            (b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2"),
        )  # fmt: skip
        answer = Answer(299, b"Caf\xe9 \t", headers, bytes(range(256)))
        await ledger.store.reserve(claim())
        await tell(ledger.store, Conclusion(Concluded.DONE, status=299, answer=answer))
        found, record = await ledger.store.reserve(claim(token="e1-2"))
        assert (found, record.answer) == (Found.DONE, answer)
        assert (await seen(ledger.store)).answer == answer

    async def test_an_answer_may_be_nearly_nothing(self, ledger: Bench) -> None:
        """No reason, no field, no body: it is an answer none the less."""
        answer = Answer(204, b"", (), b"")
        await ledger.store.reserve(claim())
        await tell(ledger.store, Conclusion(Concluded.DONE, status=204, answer=answer))
        assert (await ledger.store.reserve(claim(token="e1-2"))).record.answer == answer

    @pytest.mark.parametrize("compressible", [True, False])
    async def test_an_answer_may_be_large(self, ledger: Bench, *, compressible: bool) -> None:
        """A mebibyte, as is the default of max_body."""
        conclusion = done(b"x" * MIB if compressible else os.urandom(MIB))
        await ledger.store.reserve(claim())
        await tell(ledger.store, conclusion)
        assert (await ledger.store.reserve(claim(token="e1-2"))).record.answer == conclusion.answer

    # --- settle ---

    @pytest.mark.parametrize("lapsed", [False, True])
    async def test_a_person_may_know_that_it_was_carried_out(self, ledger: Bench, *, lapsed: bool) -> None:
        """It is done, without an answer, and its owner has nothing to say any more."""
        await ledger.store.reserve(claim())
        if lapsed:
            await ledger.pass_time(100.0)
        else:
            await tell(ledger.store, Conclusion(Concluded.UNKNOWN, status=500))
        assert await ledger.store.settle(named("k"), done=True)
        assert not await tell(ledger.store, RELEASED)
        assert not await ledger.store.renew(named("k"), "e1-1", 60.0)
        found, record = await ledger.store.reserve(claim(token="e1-2", resend=True))
        assert (found, record.state, record.token) == (Found.DONE, State.DONE, "")
        assert (record.status, record.answer) == (0, None)

    @pytest.mark.parametrize("lapsed", [False, True])
    async def test_a_person_may_know_that_it_was_not_carried_out(self, ledger: Bench, *, lapsed: bool) -> None:
        """It may be made again, and its owner has nothing to say any more."""
        await ledger.store.reserve(claim())
        if lapsed:
            await ledger.pass_time(100.0)
        else:
            await tell(ledger.store, UNKNOWN)
        assert await ledger.store.settle(named("k"), done=False)
        assert not await tell(ledger.store, done())
        assert await ledger.store.look(named("k")) is None
        assert (await ledger.store.reserve(claim(token="e1-2"))).found is Found.OWNED

    async def test_a_person_may_end_a_doubt_of_two_calls(self, ledger: Bench) -> None:
        """Absent means that neither was carried out."""
        await in_doubt(ledger.store)
        await tell(ledger.store, RELEASED, token="e1-2")
        assert await ledger.store.settle(named("k"), done=False)
        assert await ledger.store.look(named("k")) is None

    @pytest.mark.parametrize("says", [False, True])
    async def test_a_person_cannot_settle_what_is_not_in_doubt(self, ledger: Bench, *, says: bool) -> None:
        """A call under way, a call that is done, a call that nobody knows; nor settle twice."""
        await ledger.store.reserve(claim("running"))
        await ledger.store.reserve(claim("done"))
        await tell(ledger.store, done(), "done")
        before = facts(await seen(ledger.store, "running")), facts(await seen(ledger.store, "done"))
        for key in ("running", "done", "absent"):
            assert not await ledger.store.settle(named(key), done=says)
        assert (facts(await seen(ledger.store, "running")), facts(await seen(ledger.store, "done"))) == before
        await tell(ledger.store, UNKNOWN, "running")
        assert await ledger.store.settle(named("running"), done=says)
        assert not await ledger.store.settle(named("running"), done=says)

    # --- look, list, count ---

    async def test_names_that_are_none_name_nothing(self, ledger: Bench) -> None:
        """An operator may type anything."""
        await ledger.store.reserve(claim())
        for ident in ("", "*", "k", named("k")[:8], named("k").upper(), "\u20ac", "'; --", "x" * 10_000):
            assert await ledger.store.look(ident) is None
            assert not await ledger.store.settle(ident, done=True)

    async def test_what_is_not_known_is_listed_the_oldest_first(self, ledger: Bench) -> None:
        """Told or lapsed, of all apis or of one; not what runs, nor what is done."""
        for key in ("told", "lapsed", "other", "done"):
            subject = SUBJECT._replace(api="search" if key == "other" else "pay", key=key)
            await ledger.store.reserve(claim(key, subject=subject))
            await ledger.pass_time(100.0)
        await ledger.store.reserve(claim("running"))
        await tell(ledger.store, UNKNOWN, "told")
        await tell(ledger.store, done(), "done")
        assert await self.listed(ledger) == ["told", "lapsed", "other"]
        assert await self.listed(ledger, api="pay") == ["told", "lapsed"]
        assert await self.listed(ledger, api="search") == ["other"]
        assert await self.listed(ledger, api="nobody") == []
        assert [await self.listed(ledger, limit=limit) for limit in (0, 1, 2)] == [[], ["told"], ["told", "lapsed"]]
        assert await self.listed(ledger, api="search", limit=1) == ["other"]

    async def listed(self, ledger: Bench, *, api: str | None = None, limit: int = 100) -> list[str]:
        return [record.subject.key for record in await ledger.store.unsettled(api=api, limit=limit)]

    async def test_what_is_known_is_not_listed_any_more(self, ledger: Bench) -> None:
        """Told late, made again, settled by a person, or forgotten in time."""
        for key in ("late", "again", "done", "absent", "old"):
            await ledger.store.reserve(claim(key, retain=10 * DAY if key != "old" else DAY))
            await tell(ledger.store, UNKNOWN, key)
        assert len(await ledger.store.unsettled(api=None, limit=10)) == 5
        await tell(ledger.store, done(), "late")
        await ledger.store.reserve(claim("again", "e1-2", resend=True, lease=2 * DAY))
        await ledger.store.settle(named("done"), done=True)
        await ledger.store.settle(named("absent"), done=False)
        await ledger.pass_time(DAY + 100.0)
        assert await ledger.store.unsettled(api=None, limit=10) == []
        assert await ledger.store.unsettled(api="pay", limit=10) == []
        await ledger.refresh()
        assert ledger.store.unknown == 0

    async def test_what_is_not_known_is_counted(self, ledger: Bench) -> None:
        """The told and the lapsed; calls that run, are done or released do not count."""
        counts = []
        for key in ("told", "lapsed", "done", "released"):
            await ledger.store.reserve(claim(key))
        for key, conclusion in (("told", UNKNOWN), ("done", done()), ("released", RELEASED)):
            await tell(ledger.store, conclusion, key)
        for seconds in (0.0, 100.0):
            await ledger.pass_time(seconds)
            await ledger.refresh()
            counts.append(ledger.store.unknown)
        assert counts == [1, 2]
        assert ledger.store.count in {3, None}

    async def test_it_can_be_asked(self, ledger: Bench) -> None:
        """It has a name, is up, has nothing to complain of, and is empty."""
        store = ledger.store
        assert (store.up, store.why, store.evictions, store.unknown) == (True, "", 0, 0)
        assert store.count in {0, None}
        assert store.name in {"memory", "sqlite", "redis"}
        assert store.name in repr(store).lower()

    async def test_it_can_be_closed_twice(self, ledger: Bench) -> None:
        """Closing is for everybody who holds it."""
        await ledger.store.reserve(claim())
        await ledger.store.close()
        await ledger.store.close()

    # --- time ---

    @pytest.mark.parametrize("conclusion", [done(), UNKNOWN], ids=["done", "unknown"])
    async def test_a_record_is_kept_from_the_last_word_of_its_owner(
        self, ledger: Bench, conclusion: Conclusion
    ) -> None:
        """For ``retain``; then it is as if it had never been."""
        await ledger.store.reserve(claim(retain=1_000.0))
        await ledger.pass_time(900.0)
        await tell(ledger.store, conclusion)
        await ledger.pass_time(900.0)
        assert await ledger.store.look(named("k")) is not None
        await ledger.pass_time(200.0)
        assert await ledger.store.look(named("k")) is None
        assert not await tell(ledger.store, done())
        assert not await ledger.store.settle(named("k"), done=True)
        found, record = await ledger.store.reserve(claim(token="e2-1", fingerprint="g", nonce="n2"))
        assert (found, record.number, record.nonce) == (Found.OWNED, 1, "n2")

    async def test_a_renewal_is_a_word_of_the_owner_too(self, ledger: Bench) -> None:
        """A call that takes longer than ``retain`` is kept that long after its end."""
        await ledger.store.reserve(claim(retain=1_000.0))
        await ledger.pass_time(900.0)
        await ledger.store.renew(named("k"), "e1-1", 60.0)
        await ledger.pass_time(900.0)
        assert (await ledger.store.reserve(claim(token="e1-2"))).found is Found.UNKNOWN

    async def test_a_settled_record_is_kept_from_then_on(self, ledger: Bench) -> None:
        """A person's word is as good as its owner's."""
        await ledger.store.reserve(claim(retain=1_000.0))
        await ledger.pass_time(900.0)
        await ledger.store.settle(named("k"), done=True)
        await ledger.pass_time(900.0)
        assert (await ledger.store.reserve(claim(token="e1-2"))).found is Found.DONE

    async def test_a_window_runs_from_the_first_use(self, ledger: Bench) -> None:
        """Whatever happens in it: the same intent is legal again afterwards."""
        await ledger.store.reserve(claim(window=1_000.0))
        await ledger.pass_time(600.0)
        await ledger.store.renew(named("k"), "e1-1", 60.0)
        await tell(ledger.store, done())
        await ledger.pass_time(300.0)
        assert (await ledger.store.reserve(claim(token="e1-2"))).found is Found.DONE
        await ledger.pass_time(200.0)
        assert (await ledger.store.reserve(claim(token="e1-2", nonce="n2"))).found is Found.OWNED

    async def test_a_call_under_way_is_not_forgotten(self, ledger: Bench) -> None:
        """It may be longer under way than records are kept; its window is over with its end."""
        await ledger.store.reserve(claim("kept", lease=1_000.0, retain=100.0))
        await ledger.store.reserve(claim("windowed", lease=1_000.0, window=100.0))
        await ledger.pass_time(900.0)
        for key in ("kept", "windowed"):
            assert (await ledger.store.reserve(claim(key, "e1-2"))).found is Found.RUNNING
            assert await tell(ledger.store, done(), key)
        await ledger.pass_time(50.0)
        assert (await ledger.store.reserve(claim("kept", "e1-2"))).found is Found.DONE
        assert (await ledger.store.reserve(claim("windowed", "e1-2"))).found is Found.OWNED

    # --- room ---

    async def test_a_full_ledger_refuses_and_forgets_nothing(self, ledger: Bench) -> None:
        """What it has can still be asked for, renewed and finished; nobody else is let in."""
        await ledger.narrow(128 * KIB)
        count = await fill(ledger.store)
        assert count > 10
        with pytest.raises(LedgerFull, match=r".") as refused:
            await ledger.store.reserve(numbered(count))
        assert (refused.value.store, refused.value.what) == (ledger.store.name, "reserve")
        assert await ledger.store.look(named(f"k{count}")) is None
        for number in range(count):
            each = numbered(number)
            assert (await ledger.store.reserve(each._replace(token="e2-1"))).found is Found.RUNNING
            assert (await ledger.store.reserve(each)).found is Found.OWNED
            assert await ledger.store.renew(each.ident, each.token, 600.0)
        for number in range(count):
            assert await tell(ledger.store, done(b"x" * 64 * KIB), f"k{number}", f"e1-{number}")
        states = [((record := await seen(ledger.store, f"k{number}")).state, record.status) for number in range(count)]
        assert states == [(State.DONE, 200)] * count

    async def test_a_full_ledger_has_room_again(self, ledger: Bench) -> None:
        """When calls turn out not to have been carried out, and when it is time to forget the others."""
        await ledger.narrow(128 * KIB)
        count = await fill(ledger.store)
        half = count // 2
        for number in range(half):
            assert await tell(ledger.store, RELEASED, f"k{number}", f"e1-{number}")
        assert (await ledger.store.reserve(numbered(0))).found is Found.OWNED
        for number in range(half, count):
            assert await tell(ledger.store, unkept(), f"k{number}", f"e1-{number}")
        await ledger.pass_time(DAY + 100.0)
        for number in range(half, count):
            assert (await ledger.store.reserve(numbered(number))).found is Found.OWNED

    async def test_bodies_go_first_and_the_oldest_before_the_others(self, ledger: Bench) -> None:
        """Their records stay, with the status: an answer that is gone is no reason to make the call again."""
        await ledger.narrow(128 * KIB)
        for number in range(40):
            assert (await ledger.store.reserve(claim(f"k{number}"))).found is Found.OWNED
            assert await tell(ledger.store, done(os.urandom(16 * KIB), status=201), f"k{number}")
        found = [await ledger.store.reserve(claim(f"k{number}", "e1-2")) for number in range(40)]
        assert {(each.found, each.record.status) for each in found} == {(Found.DONE, 201)}
        kept = [each.record.answer is not None for each in found]
        assert kept == sorted(kept)
        assert 2 <= sum(kept) <= 10
        assert ledger.store.evictions == 40 - sum(kept)

    async def test_bodies_make_room_for_records(self, ledger: Bench) -> None:
        """A ledger that is full of answers is not full."""
        await ledger.narrow(128 * KIB)
        for number in range(6):
            await ledger.store.reserve(claim(f"answer {number}"))
            await tell(ledger.store, done(os.urandom(16 * KIB)), f"answer {number}")
        assert await fill(ledger.store) > 20
        assert [(await seen(ledger.store, f"answer {number}")).answer for number in range(6)] == [None] * 6
        assert ledger.store.evictions == 6

    # --- several stores on the same records ---

    async def test_of_two_hundred_at_once_in_two_places_one_owns_it(self, ledger: Bench) -> None:
        """However many processes there are."""
        stores = [ledger.store, await other_of(ledger)]
        claims = [claim(token=f"e{number % 2}-{number}") for number in range(200)]
        answers = await asyncio.gather(*[stores[number % 2].reserve(each) for number, each in enumerate(claims)])
        assert sum(answer.found is Found.OWNED for answer in answers) == 1
        assert sum(answer.found is Found.RUNNING for answer in answers) == 199

    async def test_what_one_is_told_the_other_knows(self, ledger: Bench) -> None:
        """Its answers, its doubts, and who owns what."""
        one, other = ledger.store, await other_of(ledger)
        await one.reserve(claim("a"))
        assert (await other.reserve(claim("a", "e2-1"))).found is Found.RUNNING
        assert await tell(one, done(b"paid"), "a")
        assert (await other.reserve(claim("a", "e2-1"))).record.answer == done(b"paid").answer
        await one.reserve(claim("b"))
        await tell(one, UNKNOWN, "b")
        assert (await other.reserve(claim("b", "e2-1", resend=True))).found is Found.OWNED
        assert not await tell(one, done(), "b")
        assert await tell(other, UNKNOWN, "b", "e2-1")
        assert await one.settle(named("b"), done=True)
        assert (await other.reserve(claim("b", "e2-2"))).found is Found.DONE


# --- against the rules ---

# Whatever time passes is a multiple of 100 s, and what is to be over is so 50 s off: real time makes no difference.
_KEYS: Final = ("a", "b", "c")
_TOKENS: Final = ("e1-1", "e1-2", "e2-1")
_LEASES: Final = (250.0, 850.0)
_RETAINS: Final = (150.0, 1_050.0)
_WINDOWS: Final = (0.0, 650.0)
_STEPS: Final = (100.0, 300.0, 1_000.0)
_CONCLUSIONS: Final = (
    RELEASED, UNKNOWN, Conclusion(Concluded.UNKNOWN, "f", 502), Conclusion(Concluded.RELEASED, "g", 503),
    unkept(201), done(b"first"), done(b"second", status=404), done()._replace(fingerprint="g"),
)  # fmt: skip


def facts(record: Record) -> tuple[object, ...]:
    """Everything that a record says but its times."""
    return (
        record.ident, record.subject, record.fingerprint, record.nonce, record.token, record.number, record.state,
        record.doubt, record.windowed, record.retain, record.status, record.answer,
    )  # fmt: skip


def times(record: Record) -> tuple[float, float]:
    """Its times, from its beginning, in hundreds of seconds."""
    return (record.lease_until - record.created) // 100.0, (record.until - record.created) // 100.0


class LedgerMachine(RuleBasedStateMachine):
    """A ledger beside the functions of core/idempotency.py on a plain table: any calls, in any order."""

    opened: ClassVar[Callable[[], Awaitable[Bench]]]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self.bench = self.does(_awaited(type(self).opened))
        self.records: dict[str, Record] = {}
        self.now = 0.0

    def does(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.get_loop().run_until_complete(work)

    def record(self, key: str) -> Record | None:
        record = self.records.get(named(key))
        return None if record is None or rules.expired(record, self.now) else record

    @rule(
        key=st.sampled_from(_KEYS),
        token=st.sampled_from(_TOKENS),
        fingerprint=st.sampled_from(["f", "f", "g", ""]),
        resend=st.booleans(),
        lease=st.sampled_from(_LEASES),
        retain=st.sampled_from(_RETAINS),
        window=st.sampled_from(_WINDOWS),
    )
    def reserve(
        self, key: str, token: str, fingerprint: str, *, resend: bool, lease: float, retain: float, window: float
    ) -> None:
        subject = SUBJECT._replace(key=key, target=f"/{token}", api=f"api {key}")
        lasting = {"lease": lease, "retain": retain, "window": window}
        wanted = claim(key, token, fingerprint, resend=resend, nonce=f"n{token}", subject=subject, **lasting)
        expected = rules.reserve(self.record(key), wanted, self.now)
        self.records[wanted.ident] = expected.record
        found, record = self.does(self.bench.store.reserve(wanted))
        assert (found, facts(record), times(record)) == (expected.found, facts(expected.record), times(expected.record))

    @rule(key=st.sampled_from(_KEYS), token=st.sampled_from(_TOKENS), lease=st.sampled_from(_LEASES))
    def renew(self, key: str, token: str, lease: float) -> None:
        expected = rules.renew(self.record(key), token, lease, self.now)
        assert self.does(self.bench.store.renew(named(key), token, lease)) is expected

    @rule(key=st.sampled_from(_KEYS), token=st.sampled_from(_TOKENS), conclusion=st.sampled_from(_CONCLUSIONS))
    def finish(self, key: str, token: str, conclusion: Conclusion) -> None:
        record = self.record(key)
        expected = rules.finish(record, token, conclusion, self.now)
        if expected and record is not None and rules.released(record, conclusion):
            del self.records[named(key)]
        assert self.does(self.bench.store.finish(named(key), token, conclusion)) is expected

    @rule(key=st.sampled_from(_KEYS))
    def settle_as_done(self, key: str) -> None:
        expected = rules.settle(self.record(key), self.now)
        assert self.does(self.bench.store.settle(named(key), done=True)) is expected

    @rule(key=st.sampled_from(_KEYS))
    def settle_as_absent(self, key: str) -> None:
        record = self.record(key)
        expected = record is not None and rules.state_at(record, self.now) is State.UNKNOWN
        if expected:
            del self.records[named(key)]
        assert self.does(self.bench.store.settle(named(key), done=False)) is expected

    @rule(seconds=st.sampled_from(_STEPS))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.does(self.bench.pass_time(seconds))

    @rule()
    def list_and_count(self) -> None:
        there = [record for key in _KEYS if (record := self.record(key)) is not None]
        unknown = [record for record in there if rules.state_at(record, self.now) is State.UNKNOWN]
        for api in (None, *{record.subject.api for record in there}):
            listed = self.does(self.bench.store.unsettled(api=api, limit=10))
            wanted = [record for record in unknown if api in {None, record.subject.api}]
            assert {facts(record) for record in listed} == {facts(record) for record in wanted}
        self.does(self.bench.refresh())
        assert self.bench.store.unknown == len(unknown)

    @invariant()
    def records_are_the_same(self) -> None:
        for key, record in zip(_KEYS, self.does(self.looked()), strict=True):
            expected = self.record(key)
            if expected is None or record is None:
                assert record is expected
            else:
                assert (facts(record), times(record)) == (facts(expected), times(expected))

    async def looked(self) -> list[Record | None]:
        return [await self.bench.store.look(named(key)) for key in _KEYS]

    def teardown(self) -> None:
        with self.runner:
            self.does(self.bench.close())


async def _awaited(opened: Callable[[], Awaitable[T]]) -> T:
    return await opened()


def compare_with_the_rules(opened: Callable[[], Awaitable[Bench]], *, examples: int = 60, steps: int = 30) -> None:
    """Run the machine, which has a loop of its own. ``opened`` makes a bench with an empty ledger."""

    class Machine(LedgerMachine):
        pass

    Machine.opened = staticmethod(opened)
    limits = settings(max_examples=properties.examples(examples), stateful_step_count=steps, deadline=None)
    run_state_machine_as_test(Machine, settings=limits)
