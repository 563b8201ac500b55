"""Tests of errors.py: the one tree of ways in which a call can end without an answer of the upstream's."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus

import pytest

from proxy import errors
from proxy.errors import AgentError, CallError, Internal, NotCached, RateLimited, Refusal, UpstreamError


def subclasses(of: type[CallError]) -> Iterator[type[CallError]]:
    for each in of.__subclasses__():
        yield each
        yield from subclasses(each)


ALL = [each for each in subclasses(CallError) if each.__module__ == errors.__name__]


def make(kind: type[CallError]) -> CallError:
    return RateLimited("Full.", retry_after=1.5, limit=10, window=1.0) if kind is RateLimited else kind()


@pytest.mark.parametrize("kind", ALL)
def test_every_error_can_be_answered(kind: type[CallError]) -> None:
    """Each has a status of HTTP (or 499), a reason fit for a label, a source that observe knows, and a detail."""
    error = make(kind)
    assert error.status == 499 or HTTPStatus(error.status) >= 400
    assert error.reason.replace("_", "").isalpha()
    assert error.reason.islower()
    assert error.source in {"agent", "backstay", "upstream"}
    assert str(error) == error.detail
    assert error.detail


@pytest.mark.parametrize(
    ("branch", "source"), [(AgentError, "agent"), (Refusal, "backstay"), (UpstreamError, "upstream")]
)
def test_each_branch_has_one_source(branch: type[CallError], source: str) -> None:
    """Whose fault a call is follows from the branch of its error."""
    assert {each.source for each in (branch, *subclasses(branch))} == {source}


def test_reasons_are_told_apart() -> None:
    """No two classes give themselves the same word."""
    own = [kind.reason for kind in ALL if "reason" in vars(kind)]
    assert len(own) == len(set(own))


def test_the_title_is_the_detail_of_an_error_without_one() -> None:
    """No problem+json goes out without a sentence."""
    assert errors.CircuitOpen().detail == errors.CircuitOpen.title
    assert errors.CircuitOpen("Three of three failed.").detail == "Three of three failed."


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind is not RateLimited])
def test_only_a_rate_limit_has_fields_of_its_own(kind: type[CallError]) -> None:
    """The rest says all in the problem and in Retry-After."""
    assert kind().headers() == ()
    assert kind(retry_after=2.5).retry_after == 2.5


@pytest.mark.parametrize(
    ("retry_after", "window", "policy", "state"),
    [
        (1.2, 60.0, b'"default";q=100;w=60', b'"default";r=0;t=2'),
        (0.004, 0.1, b'"default";q=100;w=1', b'"default";r=0;t=1'),
    ],
)
def test_a_rate_limit_says_its_quota(retry_after: float, window: float, policy: bytes, state: bytes) -> None:
    """RateLimit-Policy has the quota and its window, RateLimit that nothing is left; in whole seconds, never zero."""
    error = RateLimited("Full.", retry_after=retry_after, limit=100, window=window)
    assert error.headers() == ((b"RateLimit-Policy", policy), (b"RateLimit", state))


@pytest.mark.parametrize("kind", ALL)
def test_an_error_can_be_had_again(kind: type[CallError]) -> None:
    """Each of many callers that share a failure raises its own copy, which says the same and has no traceback."""
    with pytest.raises(kind) as caught:
        raise make(kind)
    again = caught.value.again()
    assert again is not caught.value
    assert type(again) is kind
    assert vars(again) == vars(caught.value)
    assert (again.args, again.headers()) == (caught.value.args, caught.value.headers())
    assert (again.__traceback__, again.__context__, again.__cause__) == (None, None, None)


def test_what_is_no_fault_of_the_upstreams_is_never_replaced() -> None:
    """The agent has to see its own faults, the operator ours; a refusal or a dead upstream may be covered up."""
    replaceable = {kind for kind in ALL if kind.replaceable}
    assert replaceable == {kind for kind in ALL if issubclass(kind, Refusal | UpstreamError)}
    assert not CallError.replaceable
    assert not Internal.replaceable
    assert not AgentError.replaceable


def test_only_if_cached_gets_the_status_that_http_asks_for() -> None:
    """A 504, although no gateway timed out (RFC 9111, 5.2.1.7): and it is the agent's wish, not a failure."""
    assert (NotCached.status, NotCached.source, NotCached.reason) == (504, "agent", "only_if_cached")


@pytest.mark.parametrize(
    ("kind", "status", "reason", "source"),
    [
        (errors.KeyMissing, 400, "key_missing", "agent"),
        (errors.KeyMalformed, 400, "key_malformed", "agent"),
        (errors.KeyReused, 422, "key_reused", "agent"),
        (errors.BodyTooLarge, 413, "body_too_large", "agent"),
        (errors.InProgress, 409, "in_progress", "backstay"),
        (errors.OutcomeUnknown, 409, "outcome_unknown", "backstay"),
        (errors.AnswerNotKept, 409, "answer_not_kept", "backstay"),
        (errors.LedgerDown, 503, "ledger_down", "backstay"),
    ],
)
def test_a_call_that_must_happen_once_is_refused_in_so_many_words(
    kind: type[CallError], status: int, reason: str, source: str
) -> None:
    """With the statuses of draft-ietf-httpapi-idempotency-key-header, and words that tell the three 409s apart.

    No other answer stands in for it: the agent would take its call for made, or for not made.
    """
    assert (kind.status, kind.reason, kind.source) == (status, reason, source)
    assert not kind.replaceable
    assert not issubclass(kind, Refusal)
