"""A state machine that does to records whatever owners, people and time may, in any order, and remembers what was said.

The records are kept as a store keeps them. Beside each is what a witness would know, from nothing but the answers that
were given: whose call it is, until when, and what became of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import Any, Final, TypeAlias

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from proxy.core import idempotency as rules
from proxy.core.idempotency import Answer, Claim, Concluded, Conclusion, Found, Record, State, Subject

SUBJECT: Final = Subject("stripe", "charges", "POST", "/v1/charges", "k")
PERSON: Final = ""
FACTS: Final = (
    "answer", "created", "doubt", "fingerprint", "ident", "lease_until", "nonce", "number", "retain", "state",
    "status", "subject", "token", "until", "windowed",
)  # fmt: skip

keys = st.sampled_from(["a", "a", "b"])
leases = st.sampled_from([10.0, 60.0])
retains = st.sampled_from([600.0, 600.0, 40.0])
windows = st.sampled_from([0.0, 0.0, 25.0, 300.0])
steps = st.sampled_from([10.0, 60.0, 9.0, 11.0, 40.0, 600.0])
conclusions = st.builds(
    lambda what, status, kept: Conclusion(
        what, status=status, answer=Answer(status, b"", (), b"x") if kept and what is Concluded.DONE else None
    ),
    st.sampled_from(Concluded),
    st.integers(200, 599),
    st.booleans(),
)

Owner: TypeAlias = tuple[str, Claim]
Outcome: TypeAlias = tuple[int, Answer | None]


@dataclass
class Known:
    """What is known of a key that is not free."""

    owner: str  # who was last told that the call is its own
    lease_until: float
    until: float
    retain: float
    windowed: bool
    nonce: str
    doubt: bool = False  # it was made again
    ended: bool = False  # the owner has told that it does not know
    done: Outcome | None = None

    def held(self, now: float) -> bool:
        return self.done is None and not self.ended and now < self.lease_until

    def hold(self, now: float) -> None:
        if not self.windowed:
            self.until = now + self.retain


class RecordMachine(RuleBasedStateMachine):
    """Whatever happens: one owner at a time, no second call by accident, and what is done stays done."""

    owners: Bundle[Owner] = Bundle("owners")

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.numbers = count(1)
        self.records: dict[str, Record] = {}
        self.known: dict[str, Known] = {}
        self.leases: dict[tuple[str, str], float] = {}  # of every owner that has not told how its call ended

    def find(self, key: str) -> Record | None:
        record = self.records.get(key)
        if record is not None and rules.expired(record, self.now):
            self.free(key)
        return self.records.get(key)

    def free(self, key: str) -> None:
        del self.records[key], self.known[key]

    def facts(self, key: str) -> dict[str, Any]:
        record = self.records.get(key)
        return {} if record is None else {name: getattr(record, name) for name in FACTS}

    def owns(self, owner: Owner) -> bool:
        key, claim = owner
        return key in self.known and self.known[key].owner == claim.token

    # --- owners ---------------------------------------------------------------------------------------------

    @rule(target=owners, key=keys, resend=st.booleans(), lease=leases, retain=retains, window=windows)
    def reserve(self, key: str, resend: bool, lease: float, retain: float, window: float) -> Owner:
        return self.ask(key, resend, lease, retain, window)

    @rule(target=owners, key=keys, lease=leases)
    def fall_silent_and_be_replaced(self, key: str, lease: float) -> Owner:
        """What the other rules do too, but seldom one after the other."""
        if key in self.known and self.known[key].done is None:
            self.now = max(self.now, self.known[key].lease_until)
        return self.ask(key, resend=True, lease=lease, retain=600.0, window=0.0)

    def ask(self, key: str, resend: bool, lease: float, retain: float, window: float) -> Owner:
        number = next(self.numbers)
        claim = Claim(key, f"1-{number}", "f", lease, retain, window, f"n{number}", resend, SUBJECT)
        found, self.records[key] = rules.reserve(self.find(key), claim, self.now)
        known = self.known.get(key)
        if known is None:
            assert found is Found.OWNED
            until = self.now + (window or retain)
            self.known[key] = Known(claim.token, self.now + lease, until, retain, window > 0, claim.nonce)
        elif resend and known.done is None and not known.held(self.now):
            assert found is Found.OWNED
            known.owner, known.lease_until, known.doubt, known.ended = claim.token, self.now + lease, True, False
        else:
            expected = Found.RUNNING if known.held(self.now) else Found.UNKNOWN
            assert found is (expected if known.done is None else Found.DONE)
            return multiple()  # type: ignore[return-value]  # Hypothesis' way to add nothing
        self.leases[key, claim.token] = self.now + lease
        return key, claim

    @rule(owner=owners)
    def ask_again(self, owner: Owner) -> None:
        """An owner whose first answer was lost on the way, or that forgot it."""
        key, claim = owner
        record, before = self.find(key), self.facts(key)
        if record is None or not self.owns(owner):
            return
        known = self.known[key]
        expected = Found.DONE if known.done is not None else Found.UNKNOWN if known.ended else Found.OWNED
        assert rules.reserve(record, claim._replace(resend=False), self.now).found is expected
        assert self.facts(key) == before

    @rule(owner=owners, lease=leases)
    def renew(self, owner: Owner, lease: float) -> None:
        key, claim = owner
        record, before = self.find(key), self.facts(key)
        may = self.owns(owner) and self.known[key].done is None and not self.known[key].ended
        assert rules.renew(record, claim.token, lease, self.now) is may
        if not may:
            assert self.facts(key) == before
            return
        self.known[key].lease_until = self.now + lease
        self.known[key].hold(self.now)
        self.leases[key, claim.token] = self.now + lease

    @rule(owner=owners, conclusion=conclusions)
    def anybody_finishes(self, owner: Owner, conclusion: Conclusion) -> None:
        self.finish(owner[0], owner[1].token, conclusion)

    @rule(key=keys, conclusion=conclusions)
    def the_owner_finishes(self, key: str, conclusion: Conclusion) -> None:
        if key in self.known and self.known[key].owner != PERSON:
            self.finish(key, self.known[key].owner, conclusion)

    def finish(self, key: str, token: str, conclusion: Conclusion) -> None:
        record, before = self.find(key), self.facts(key)
        owns = key in self.known and self.known[key].owner == token
        assert rules.finish(record, token, conclusion, self.now) is owns
        if record is None or not owns or self.known[key].done is not None:
            assert self.facts(key) == before
            assert record is None or not owns or not rules.released(record, conclusion)
            return
        known = self.known[key]
        self.leases.pop((key, token), None)
        assert rules.released(record, conclusion) is (conclusion.what is Concluded.RELEASED and not known.doubt)
        if rules.released(record, conclusion):
            self.free(key)
            return
        known.hold(self.now)
        known.ended = True
        if conclusion.what is Concluded.DONE:
            known.done = (conclusion.status, conclusion.answer)

    # --- people and time ------------------------------------------------------------------------------------

    @rule(key=keys)
    def settle_as_done(self, key: str) -> None:
        record, before = self.find(key), self.facts(key)
        known = self.known.get(key)
        doubtful = known is not None and known.done is None and not known.held(self.now)
        assert rules.settle(record, self.now) is doubtful
        if known is None or not doubtful:
            assert self.facts(key) == before
            return
        known.owner, known.done = PERSON, (0, None)
        known.hold(self.now)

    @rule(key=keys)
    def settle_as_absent(self, key: str) -> None:
        record = self.find(key)
        if record is not None and rules.state_at(record, self.now) is State.UNKNOWN:
            assert self.known[key].done is None
            assert not self.known[key].held(self.now)
            self.free(key)

    @rule(seconds=steps)
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    # --- always ---------------------------------------------------------------------------------------------

    @invariant()
    def a_key_has_one_live_owner_at_most(self) -> None:
        live = [key for (key, _), until in self.leases.items() if self.now < until]
        assert len(live) == len(set(live))

    @invariant()
    def nothing_is_forgotten_while_a_lease_lives(self) -> None:
        for (key, token), until in self.leases.items():
            if self.now < until:
                record = self.records[key]
                assert (record.token, rules.state_at(record, self.now)) == (token, State.RUNNING)
                assert not rules.expired(record, self.now)

    @invariant()
    def a_record_is_kept_for_as_long_as_was_said(self) -> None:
        for key, known in self.known.items():
            assert self.records[key].until == known.until
            over = self.now >= known.until and not known.held(self.now)
            assert rules.expired(self.records[key], self.now) is over

    @invariant()
    def what_is_done_stays_done(self) -> None:
        for key, known in self.known.items():
            record = self.records[key]
            if known.done is not None:
                assert (record.state, record.status, record.answer) == (State.DONE, *known.done)

    @invariant()
    def the_upstream_sees_one_key_for_a_record(self) -> None:
        assert self.records.keys() == self.known.keys()
        for key, known in self.known.items():
            assert (self.records[key].nonce, self.records[key].doubt) == (known.nonce, known.doubt)

    def teardown(self) -> None:
        """However it went, in the end every key is free."""
        self.now += 10_000.0
        assert [key for key in ("a", "b") if self.find(key) is not None] == []


TestRecordMachine = RecordMachine.TestCase
