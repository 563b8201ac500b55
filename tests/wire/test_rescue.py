"""Tests of the answers of Backstay's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from proxy import errors
from proxy.errors import (
    AnswerNotKept,
    CallError,
    CircuitOpen,
    ConnectFailed,
    ConnectionReset,
    InProgress,
    Internal,
    KeyMalformed,
    KeyMissing,
    KeyReused,
    LedgerDown,
    NotCached,
    OutcomeUnknown,
    RateLimited,
    Timeout,
)
from proxy.model import Effect, Exchange, Headers, Request
from proxy.wire.rescue import rescue


def exchange_of(method: bytes = b"GET") -> Exchange:
    exchange = Exchange(Request(method, b"/", Headers()), "weather", "forecast", 0.0)
    exchange.attempts = 2
    return exchange


def problem_of(error: CallError, exchange: Exchange | None = None) -> dict[str, Any]:
    problem: dict[str, Any] = json.loads(rescue(error, exchange).body)
    return problem


def every_error(base: type[CallError] = CallError) -> Iterator[CallError]:
    if base is RateLimited:
        yield RateLimited("x", retry_after=1.5, limit=10, window=1.0)
    else:
        yield base("x")
    for child in base.__subclasses__():
        yield from every_error(child)


@pytest.mark.parametrize("error", list(every_error()), ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("exchange", [None, exchange_of()], ids=["before the route", "in an exchange"])
def test_every_error_has_an_answer(error: CallError, exchange: Exchange | None) -> None:
    """The body is RFC 9457, its length is announced, and every reason has a plain sentence of advice."""
    response = rescue(error, exchange)
    problem = json.loads(response.body)
    assert response.status == problem["status"] == error.status
    assert response.headers.get(b"content-type") == b"application/problem+json"
    assert response.headers.get(b"content-length") == b"%d" % len(response.body)
    assert response.headers.get(b"backstay-outcome") == error.reason.encode()
    assert problem["type"] == f"urn:backstay:problem:{error.reason}"
    assert problem["advice"].endswith(".")
    assert "{" not in problem["advice"]
    assert response.reason


def test_members() -> None:
    """An answer within an exchange says whose it is."""
    problem = problem_of(ConnectFailed("no route to host"), exchange_of())
    assert (problem["api"], problem["route"], problem["attempts"]) == ("weather", "forecast", 2)
    assert (problem["title"], problem["detail"]) == ("The upstream cannot be reached", "no route to host")
    assert "api" not in problem_of(errors.BadRequest())


def test_sdks_read_it_where_their_vendors_have_it() -> None:
    """`error` and `message` say what happened and what to do: one SDK sees no failure where there is no `error`."""
    problem = problem_of(CircuitOpen("All calls failed.", retry_after=2.0), exchange_of())
    assert problem["message"] == f"All calls failed. {problem['advice']}"
    assert problem["error"] == {"type": "api_error", "code": "circuit_open", "message": problem["message"]}
    assert problem_of(ConnectFailed("no route"), exchange_of())["message"].startswith("no route. The weather API")


def test_retry_after_is_whole_and_never_too_few() -> None:
    """The same number is in the field, the member and the advice."""
    response = rescue(CircuitOpen("x", retry_after=13.2), exchange_of())
    problem = json.loads(response.body)
    assert response.headers.get(b"retry-after") == b"14"
    assert problem["retry_after"] == 14
    assert "weather" in problem["advice"]
    assert "14 s" in problem["advice"]
    assert rescue(CircuitOpen("x", retry_after=0.0)).headers.get(b"retry-after") == b"1"
    assert b"retry-after" not in rescue(CircuitOpen("x")).headers


def test_rate_limit_fields() -> None:
    """Our 429 carries RateLimit and RateLimit-Policy, and may be repeated."""
    headers = rescue(RateLimited("x", retry_after=0.4, limit=100, window=60.0)).headers
    assert headers.get(b"ratelimit-policy") == b'"default";q=100;w=60'
    assert headers.get(b"ratelimit") == b'"default";r=0;t=1'
    assert b"x-should-retry" not in headers


@pytest.mark.parametrize("error", [Timeout(), ConnectionReset(), CircuitOpen(), Internal()])
def test_sdks_are_told_not_to_repeat(error: CallError) -> None:
    """What is not to be repeated says so in the vendors' dialects."""
    headers = rescue(error, exchange_of()).headers
    assert (headers.get(b"x-should-retry"), headers.get(b"stripe-should-retry")) == (b"false", b"false")


def test_advice_depends_on_what_was_at_stake() -> None:
    """A lost answer to a POST is a warning, to a GET it is not."""
    assert "not known" in problem_of(ConnectionReset(), exchange_of(b"POST"))["advice"]
    assert "not known" not in problem_of(ConnectionReset(), exchange_of(b"GET"))["advice"]
    assert "not known" in problem_of(ConnectionReset())["advice"]


def test_an_answer_of_ours_tells_what_the_cache_had_to_say() -> None:
    """Cache-Status is on every answer that met the cache, and on no other."""
    exchange = exchange_of()
    assert b"cache-status" not in rescue(NotCached(), exchange).headers
    exchange.cache_status = b"backstay;fwd=miss"
    assert rescue(NotCached(), exchange).headers.get(b"cache-status") == b"backstay;fwd=miss"


def test_only_if_cached_is_told_what_to_leave_out() -> None:
    """The call is not to be repeated as it is, and the model learns what stood in its way."""
    response = rescue(NotCached(), exchange_of())
    assert "only-if-cached" in json.loads(response.body)["advice"]
    assert response.headers.get(b"x-should-retry") == b"false"


# --- calls that must happen once ----------------------------------------------------------------------------------


def once(*, unknown: bool, repeatable: bool = False) -> Exchange:
    exchange = exchange_of(b"POST")
    exchange.effect = Effect(honoured=repeatable, repeatable=repeatable)
    exchange.effect.unknown = unknown
    return exchange


@pytest.mark.parametrize(
    ("error", "status", "again", "words"),
    [
        (KeyMissing(), 400, False, ["a new one for each new call", "the same one when it is repeated"]),
        (KeyMalformed(), 400, False, ["another key", "UUID"]),
        (KeyReused(), 422, False, ["earlier call with other contents", "with a new key"]),
        (InProgress(retry_after=1.0), 409, True, ["Do not send it with another key", "in 1 s"]),
        (OutcomeUnknown(), 409, False, ["Do not send it again", "look up at the weather API"]),
        (AnswerNotKept(), 409, False, ["was carried out", "look up the result"]),
        (LedgerDown(retry_after=1.0), 503, True, ["was not sent", "with the same key, in 1 s"]),
    ],
)
def test_what_an_agent_is_to_do_about_its_key(error: CallError, status: int, again: bool, words: list[str]) -> None:
    """In words that it can act on, and to its SDK in theirs: only what would do no harm may be repeated."""
    response = rescue(error, once(unknown=False))
    advice = json.loads(response.body)["advice"]
    assert response.status == status
    assert [word for word in words if word not in advice] == []
    assert (response.headers.get(b"retry-after") == b"1") is again
    assert (response.headers.get(b"x-should-retry") is None) is again


@pytest.mark.parametrize("error", [ConnectionReset(), Timeout(), OutcomeUnknown()])
def test_an_outcome_that_is_not_known_is_said_to_be_so(error: CallError) -> None:
    """As a member, for whoever does not read the advice."""
    response = rescue(error, once(unknown=True))
    problem = json.loads(response.body)
    assert problem["outcome"] == "unknown"
    assert "carried out" in problem["advice"]
    assert response.headers.get(b"x-should-retry") == b"false"
    assert "outcome" not in problem_of(error, once(unknown=False))
    assert "outcome" not in problem_of(error)


@pytest.mark.parametrize("error", [ConnectionReset(), Timeout(), OutcomeUnknown(retry_after=1.0)])
def test_what_may_be_made_again_is_to_be_sent_again(error: CallError) -> None:
    """on_unknown: resend; SDKs may do so by themselves."""
    response = rescue(error, once(unknown=True, repeatable=True))
    problem = json.loads(response.body)
    assert (problem["outcome"], "with the same key" in problem["advice"]) == ("unknown", True)
    assert "twice" in problem["advice"]
    assert b"x-should-retry" not in response.headers


def test_what_is_known_is_not_to_be_made_again_because_it_could_be() -> None:
    """Only a call whose outcome is not known is made again with its key."""
    response = rescue(KeyReused(), once(unknown=False, repeatable=True))
    assert response.headers.get(b"x-should-retry") == b"false"
    assert "other contents" in json.loads(response.body)["advice"]


@pytest.mark.parametrize("error", [ConnectFailed(), CircuitOpen(retry_after=9.0)])
@pytest.mark.parametrize("ledgered", [False, True])
def test_the_last_attempt_does_not_speak_for_one_that_was_lost(error: CallError, ledgered: bool) -> None:
    """That nothing was sent at last is no reason to say that the call was not carried out."""
    exchange = once(unknown=True) if ledgered else exchange_of(b"PUT")
    assert "not known" not in problem_of(error, exchange_of(b"PUT"))["advice"]
    exchange.lost = True
    assert "not known whether the call was carried out" in problem_of(error, exchange)["advice"]
