"""The rate limit, rule by rule and against the bound that GCRA promises."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from proxy.core.bucket import Bucket, Buckets, Limited, Quota, RateSettings, Taken

approx: Final[Any] = pytest.approx
TEN = RateSettings(rate=10.0, burst=5, quota=10)


def drained(settings: RateSettings = TEN, now: float = 0.0) -> Bucket:
    bucket = Bucket(settings)
    for _ in range(settings.burst):
        assert bucket.take(now, 0.0) == Taken(0.0)
    return bucket


def test_a_full_bucket_lets_its_burst_through_and_then_one_call_per_interval() -> None:
    """Five at once, then one each tenth of a second; a refusal says when the next token comes."""
    bucket = drained()
    assert bucket.take(0.0, 0.0) == Limited(approx(0.1))
    assert bucket.take(0.1, 0.0) == Taken(0.0)
    assert bucket.take(0.15, 0.0) == Limited(approx(0.05))


def test_a_call_may_wait_for_its_token() -> None:
    """Waiting calls leave in order, at the rate; one that would wait too long is refused and takes nothing."""
    bucket = drained()
    assert [bucket.take(0.0, 0.25) for _ in range(4)] == [
        Taken(approx(0.1)),
        Taken(approx(0.2)),
        Limited(approx(0.3)),
        Limited(approx(0.3)),
    ]


def test_a_token_that_is_given_back_can_be_taken_again() -> None:
    """Giving back to a full bucket does not make it fuller."""
    bucket = drained()
    bucket.give_back()
    assert isinstance(bucket.take(0.0, 0.0), Taken)
    assert isinstance(bucket.take(0.0, 0.0), Limited)
    bucket = Bucket(TEN)
    bucket.give_back()
    assert sum(isinstance(bucket.take(100.0, 0.0), Taken) for _ in range(9)) == 5


def test_the_quota_is_what_the_rate_limit_fields_say() -> None:
    """Limit and window as configured, the tokens left, and the time until all are back."""
    bucket = Bucket(TEN)
    assert bucket.quota(0.0) == Quota(limit=10, remaining=5, reset=0.0, window=1.0)
    bucket.take(0.0, 0.0)
    bucket.take(0.0, 0.0)
    assert bucket.quota(0.0) == Quota(limit=10, remaining=3, reset=approx(0.2), window=1.0)
    bucket = drained()
    bucket.take(0.0, 9.0)
    assert bucket.quota(0.0).remaining == 0


def test_a_reload_keeps_spent_tokens_spent() -> None:
    """At twice the rate the three tokens that were spent come back in half the time."""
    bucket = Bucket(TEN)
    for _ in range(3):
        bucket.take(9.0, 0.0)
    bucket.reconfigure(dataclasses.replace(TEN, rate=20.0), 9.0)
    assert bucket.quota(9.0) == Quota(limit=10, remaining=2, reset=approx(0.15), window=1.0)
    bucket.reconfigure(dataclasses.replace(TEN, burst=2), 9.0)
    assert bucket.take(9.0, 0.0) == Limited(approx(0.2))


def test_a_full_bucket_is_idle() -> None:
    """It may be forgotten, until a call takes from it and again once that has come back."""
    bucket = Bucket(TEN)
    assert bucket.idle(0.0)
    bucket.take(0.0, 0.0)
    assert not bucket.idle(0.05)
    assert bucket.idle(0.1)


@pytest.mark.parametrize("now", [0.0, 1e3, 1e6, 1e7])
@pytest.mark.parametrize("rate", [1 / 3600, 0.3, 7.0, 999.0])
def test_rounding_costs_no_token(now: float, rate: float) -> None:
    """The whole burst is there at any rate and after any uptime."""
    drained(RateSettings(rate=rate, burst=1000), now)


def test_repr_shows_the_state() -> None:
    """A bucket tells its rate, its burst and its TAT; a set of them how full it is and what it has lost."""
    assert repr(drained()) == "<Bucket 10/s burst=5 tat=0.500>"
    assert repr(Buckets(TEN, 3)) == "<Buckets 0/3 evictions=0 forgiven=0>"


@given(
    rate=st.floats(0.1, 100.0),
    burst=st.integers(1, 20),
    wait=st.floats(0.0, 2.0),
    gaps=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=60),
)
def test_no_interval_sees_more_than_the_burst_and_the_rate(
    rate: float, burst: int, wait: float, gaps: list[float]
) -> None:
    """At most ``burst + rate * t`` calls leave in any t seconds, in the order of their coming."""
    bucket, now, leaves = Bucket(RateSettings(rate=rate, burst=burst)), 0.0, list[float]()
    for gap in gaps:
        now += gap
        answer = bucket.take(now, wait)
        if isinstance(answer, Taken):
            assert answer.delay <= wait + 1e-6
            leaves.append(now + answer.delay)
        else:
            assert answer.retry_after > wait
    assert leaves == sorted(leaves)
    for first, start in enumerate(leaves):
        for last, end in enumerate(leaves[first:], first):
            assert last - first + 1 <= burst + rate * (end - start) + 1e-3


class BucketMachine(RuleBasedStateMachine):
    """A bucket against the token bucket of the textbooks, which refills as time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.bucket = Bucket(TEN)
        self.tokens = 5.0
        self.taken = 0

    @rule(eighths=st.integers(0, 8))
    def pass_time(self, eighths: int) -> None:
        self.now += eighths / 8
        self.tokens = min(self.tokens + eighths / 8 * 10.0, 5.0)

    @rule()
    def take(self) -> None:
        taken = isinstance(self.bucket.take(self.now, 0.0), Taken)
        assert taken == (self.tokens >= 1.0 - 1e-4)
        self.tokens -= taken
        self.taken += taken

    @rule()
    def give_back(self) -> None:
        if self.taken:
            self.taken -= 1
            self.bucket.give_back()
            self.tokens = min(self.tokens + 1.0, 5.0)

    @invariant()
    def the_quota_says_what_is_left(self) -> None:
        assert self.bucket.quota(self.now).remaining == int(self.tokens + 1e-4)
        assert self.bucket.idle(self.now) == (self.tokens >= 5.0 - 1e-9) or abs(self.tokens - 5.0) < 1e-4


TestBucketMachine = BucketMachine.TestCase


# --- keyed


def test_each_key_has_its_own_bucket() -> None:
    """One caller's burst costs another nothing."""
    buckets = Buckets(TEN, 10)
    for _ in range(5):
        buckets.get("alice", 0.0).take(0.0, 0.0)
    assert isinstance(buckets.get("alice", 0.0).take(0.0, 0.0), Limited)
    assert isinstance(buckets.get("bob", 0.0).take(0.0, 0.0), Taken)


def test_a_full_bucket_is_evicted_before_an_older_one_that_is_not() -> None:
    """Forgetting a full bucket loses nothing, so it goes first."""
    buckets = Buckets(TEN, 2)
    spent = buckets.get("spent", 0.0)
    spent.take(0.0, 0.0)
    buckets.get("full", 0.0)
    buckets.get("new", 0.05)
    assert buckets.get("spent", 0.05) is spent
    assert (len(buckets), buckets.evictions, buckets.forgiven) == (2, 1, 0)


def test_if_none_is_full_the_longest_unused_goes_and_is_counted() -> None:
    """The set stays bounded; that a key was forgiven some calls is not kept secret."""
    buckets = Buckets(TEN, 2)
    kept = [buckets.get(key, 0.0) for key in ("old", "young")]
    for bucket in kept:
        bucket.take(0.0, 0.0)
    assert buckets.get("old", 0.0) is kept[0]
    buckets.get("new", 0.05)
    assert buckets.get("old", 0.05) is kept[0]
    assert (buckets.evictions, buckets.forgiven) == (1, 1)


@given(keys=st.lists(st.integers(0, 30)), capacity=st.integers(0, 8))
def test_there_are_never_more_buckets_than_the_capacity(keys: list[int], capacity: int) -> None:
    """Keys are chosen by the other side, so their number is bounded; and a key in use keeps its bucket."""
    buckets = Buckets(TEN, capacity)
    for step, key in enumerate(keys):
        bucket = buckets.get(str(key), step / 10)
        bucket.take(step / 10, 0.0)
        assert len(buckets) <= max(capacity, 1)
        assert buckets.get(str(key), step / 10) is bucket


def test_the_snapshot_tells_the_least_and_no_key() -> None:
    """Keys may be made of credentials; before the first call there is nothing to tell."""
    buckets = Buckets(TEN, 4)
    assert buckets.snapshot(0.0)["least_remaining"] is None
    buckets.get("secret", 0.0).take(0.0, 0.0)
    buckets.get("other", 0.0)
    expected = {"limit": 10, "window": 1.0, "keys": 2, "evictions": 0, "least_remaining": 4}
    assert buckets.snapshot(0.0) == expected


def test_a_reload_reaches_every_bucket_old_and_new() -> None:
    """The new burst counts for the keys that are known and for those to come."""
    buckets = Buckets(TEN, 4)
    buckets.get("known", 0.0).take(0.0, 0.0)
    buckets.reconfigure(dataclasses.replace(TEN, burst=2), 0.0)
    assert buckets.get("known", 0.0).quota(0.0).remaining == 1
    assert buckets.get("new", 0.0).quota(0.0).remaining == 2
