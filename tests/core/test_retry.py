"""Whether an attempt is made again, question by question."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import errors
from proxy.core.retry import (
    Again,
    RetrySettings,
    Stop,
    decide,
    forbid_repeats,
    outranked,
    reason_of,
    safe_to_resend,
)
from proxy.model import Headers

DEFAULTS = RetrySettings()


def ask(
    settings: RetrySettings = DEFAULTS,
    *,
    number: int = 1,
    reason: str | None = "503",
    safe: bool = True,
    retry_after: float | None = None,
    remaining: float = 60.0,
    chance: float = 0.5,
    stale: bool = False,
) -> Again | Stop:
    return decide(
        settings,
        attempt_number=number,
        reason=reason,
        safe=safe,
        retry_after=retry_after,
        remaining=remaining,
        chance=chance,
        stale=stale,
    )


def test_a_listed_failure_is_tried_again_after_a_jittered_wait() -> None:
    """Half of 50 ms, half of 100 ms."""
    assert [ask(number=1), ask(number=2)] == [Again(0.025), Again(0.05)]


@pytest.mark.parametrize("reason", [None, "500", "protocol"])
def test_what_is_not_listed_is_not_tried_again(reason: str | None) -> None:
    """``when`` is the whole list."""
    assert ask(reason=reason) == Stop("not_listed")


def test_the_last_attempt_is_the_last() -> None:
    """``attempts`` counts the first one too."""
    assert ask(number=3) == Stop("attempts")
    assert ask(dataclasses.replace(DEFAULTS, attempts=1)) == Stop("attempts")


def test_an_unsafe_call_is_not_sent_twice() -> None:
    """A payment whose answer was lost stays lost."""
    assert ask(safe=False) == Stop("unsafe")


def test_a_stale_answer_at_hand_is_better_than_another_try() -> None:
    """It is there now; what is not listed, or was the last, would not have been tried again anyway."""
    assert ask(stale=True) == Stop("stale")
    assert ask(stale=True, reason="500") == Stop("not_listed")
    assert ask(stale=True, number=3) == Stop("attempts")


def test_the_upstreams_wait_is_kept_up_to_our_own_ceiling() -> None:
    """What it asks for plus some jitter, at most ``max``; more than that is the agent's to wait."""
    assert ask(retry_after=1.0) == Again(1.025)
    assert ask(retry_after=2.0) == Again(2.0)
    assert ask(retry_after=2.1) == Stop("retry_after")


def test_a_wait_past_the_deadline_is_not_begun() -> None:
    """An attempt that could not be made in time is not waited for."""
    assert ask(remaining=0.025) == Stop("deadline")
    assert ask(retry_after=1.5, remaining=1.0) == Stop("deadline")


@given(
    number=st.integers(1, 10),
    reason=st.sampled_from(["connect", "503", "500", None]),
    safe=st.booleans(),
    retry_after=st.none() | st.floats(0.0, 100.0),
    remaining=st.floats(-1.0, 10.0),
    chance=st.floats(0.0, 1.0, exclude_max=True),
)
def test_again_only_if_every_question_allows_it(
    *, number: int, reason: str | None, safe: bool, retry_after: float | None, remaining: float, chance: float
) -> None:
    """No combination sends what may not be sent, too early, too late, or too often."""
    answer = ask(number=number, reason=reason, safe=safe, retry_after=retry_after, remaining=remaining, chance=chance)
    if isinstance(answer, Again):
        assert safe
        assert number < 3
        assert reason in DEFAULTS.when
        assert (retry_after or 0.0) <= answer.delay <= 2.0
        assert answer.delay < remaining


@pytest.mark.parametrize(
    ("result", "word"),
    [
        (errors.ConnectFailed(), "connect"),
        (errors.ConnectTimeout(), "connect"),
        (errors.TlsFailed(), None),
        (errors.ConnectionReset(), "reset"),
        (errors.Timeout(), "timeout"),
        (errors.DeadlineExceeded(), None),
        (errors.ProtocolError(), None),
        (errors.CircuitOpen(), None),
        (errors.AgentGone(), None),
        (503, "503"),
        (429, "429"),
        (400, "400"),
        (399, None),
        (200, None),
    ],
)
def test_errors_and_statuses_have_their_words(result: errors.CallError | int, word: str | None) -> None:
    """The words are those of ``when``; a bad certificate, a refusal or a success is never retried."""
    assert reason_of(result) == word


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize(
    ("method", "honoured_key", "declared", "safe"),
    [
        (b"GET", False, False, True),
        (b"DELETE", False, False, True),
        (b"POST", False, False, False),
        (b"POST", True, False, True),
        (b"POST", False, True, True),
        (b"PATCH", False, False, False),
        (b"get", False, False, False),
        (b"PURGE", False, False, False),
    ],
)
def test_safe_to_resend(written: bool, method: bytes, honoured_key: bool, declared: bool, safe: bool) -> None:
    """Always if nothing was written; else idempotent methods, a key that is honoured, or the operator's word."""
    answer = safe_to_resend(written=written, method=method, honoured_key=honoured_key, declared=declared)
    assert answer is (safe or not written)


def test_an_answer_not_to_be_repeated_says_so_in_every_dialect() -> None:
    """The upstream's own word is replaced, whatever its case; other fields stay."""
    headers = Headers.of((b"X-Should-Retry", b"true"), (b"Content-Type", b"text/plain"))
    forbid_repeats(headers)
    assert list(headers) == [
        (b"Content-Type", b"text/plain"),
        (b"x-should-retry", b"false"),
        (b"stripe-should-retry", b"false"),
    ]


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (errors.CircuitOpen(), True),
        (errors.PoolExhausted(), True),
        (errors.RateLimited("Full.", retry_after=1.0, limit=1, window=1.0), True),
        (errors.ConnectFailed(), False),
        (errors.DeadlineExceeded(), False),
        (errors.AgentGone(), False),
    ],
)
def test_only_a_refusal_of_ours_is_outranked(failure: errors.CallError, expected: bool) -> None:
    """It says that nothing was sent, and an earlier answer says that something was."""
    assert outranked(failure) is expected
