"""What may be replaced, by what, in which order; and what the operator's own answers look like."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import errors
from proxy.core.fallback import (
    RESERVED_FIELDS,
    TEMPLATES,
    FallbackSettings,
    ServeStale,
    Static,
    Step,
    ToApi,
    plan,
    render,
    replaceable,
)
from proxy.core.retry import DO_NOT_REPEAT
from proxy.errors import CallError
from proxy.model import Headers, Response, Stale

LIMITED = errors.RateLimited("Full.", retry_after=1.0, limit=1, window=1.0)
OWN = Static(200, ((b"Content-Type", b"text/plain"),), "sorry")
STEPS: tuple[Step, ...] = (ToApi("backup"), ServeStale(), OWN)


class MayHaveBeenDone(errors.Refusal):
    """As a ledger will raise it: a refusal, but of a call that may have been carried out."""

    replaceable = False


def stale(*, permitted: bool) -> Stale:
    return Stale(lambda _: Response(200, Headers()), 60.0, permitted=permitted)


# --- what may be replaced -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.ConnectFailed(), True),
        (errors.TlsFailed(), True),
        (errors.ConnectionReset(), True),
        (errors.ProtocolError(), True),
        (errors.Timeout(), True),
        (errors.DeadlineExceeded(), True),
        (errors.CircuitOpen(), True),
        (errors.CircuitForcedOpen(), True),
        (errors.PoolExhausted(), True),
        (errors.BadRequest(), False),
        (errors.BodyTooLarge(), False),
        (errors.Misdirected(), False),
        (errors.Loop(), False),
        (errors.NotCached(), False),
        (errors.AgentGone(), False),
        (errors.Internal(), False),
        (CallError(), False),
        (MayHaveBeenDone(), False),
    ],
)
@pytest.mark.parametrize("rate_limited", [False, True])
def test_an_error_about_the_upstream_and_a_refusal_may_be_replaced(
    error: CallError, expected: bool, rate_limited: bool
) -> None:
    """The agent's own faults, defects of ours, and what may have been done must be seen as they are."""
    assert replaceable(error, rate_limited=rate_limited) is expected


@pytest.mark.parametrize("rate_limited", [False, True])
def test_a_rate_limit_of_ours_is_replaced_only_on_demand(rate_limited: bool) -> None:
    """An agent that is too fast should usually hear of it: ``rate_limit.fallback``."""
    assert replaceable(LIMITED, rate_limited=rate_limited) is rate_limited


# --- the order ----------------------------------------------------------------------------------------------


def test_without_a_stale_answer_the_list_is_tried_without_it() -> None:
    """There is nothing at that place."""
    assert plan(STEPS, None) == (ToApi("backup"), OWN)


def test_a_stale_answer_that_is_not_permitted_has_the_place_that_the_list_gives_it() -> None:
    """The operator asks for it by name, after the other api."""
    assert plan(STEPS, stale(permitted=False)) == STEPS


@pytest.mark.parametrize("steps", [STEPS, ()])
def test_a_permitted_stale_answer_comes_first_and_unasked(steps: tuple[Step, ...]) -> None:
    """Also where no list is configured; nothing is needed behind it."""
    assert plan(steps, stale(permitted=True)) == (ServeStale(),)


@given(
    steps=st.lists(st.sampled_from([ServeStale(), ToApi("a"), ToApi("b"), OWN])), hand=st.sampled_from([None, False])
)
def test_a_plan_is_the_list_less_what_cannot_be_had(steps: list[Step], hand: bool | None) -> None:
    """Order and repetition are the operator's; a stale answer nobody asked for is in no plan."""
    planned = plan(tuple(steps), None if hand is None else stale(permitted=hand))
    assert planned == tuple(step for step in steps if hand is not None or step != ServeStale())


def test_nothing_is_configured_by_default() -> None:
    """A route with a cache and no list serves what the cache may serve, and no more."""
    assert FallbackSettings().steps == ()
    assert plan(FallbackSettings().steps, stale(permitted=False)) == ()


# --- the operator's own answer ------------------------------------------------------------------------------


def test_a_static_answer_is_what_the_operator_wrote_and_is_marked() -> None:
    """Status, phrase, fields and body; nothing about repeating, for it is a good answer."""
    response = render(OWN, "weather", "circuit_open", 13.2)
    assert (response.status, response.reason, response.body) == (200, b"OK", b"sorry")
    assert list(response.headers) == [
        (b"Content-Type", b"text/plain"),
        (b"Backstay-Outcome", b"fallback"),
        (b"Content-Length", b"5"),
    ]


@pytest.mark.parametrize(("retry_after", "seconds"), [(None, 0), (0.0, 1), (0.2, 1), (13.0, 13), (13.2, 14)])
def test_the_templates_are_filled(retry_after: float | None, seconds: int) -> None:
    """Seconds are whole and never too few; zero only where nobody knows."""
    body = '{"api": "${api}", "why": "${reason}", "again": ${retry_after}, "${api}": "${other} $api $${x}"}'
    problem = json.loads(render(Static(200, (), body), "weather", "503", retry_after).body)
    assert problem == {"api": "weather", "why": "503", "again": seconds, "weather": "${other} $api $${x}"}
    assert all(f"${{{name}}}" in body for name in TEMPLATES)


def test_the_templates_are_filled_in_fields_too() -> None:
    """What is no template stays what it is, be it no UTF-8."""
    fields = ((b"Retry-After", b"${retry_after}"), (b"X-Api", b"${api}/${other}"), (b"X-Raw", b"\xff"))
    headers = render(Static(200, fields), "weather", "503", 13.1).headers
    assert [headers.get(name) for name in (b"retry-after", b"x-api", b"x-raw")] == [b"14", b"weather/${other}", b"\xff"]


def test_a_second_dollar_sign_makes_a_literal_of_a_template() -> None:
    """Of a template only: whatever else a body holds is its own."""
    body = "$${api} ${api} $$${reason} $${other} $$ {api}"
    assert render(Static(200, (), body), "${api}", "503", None).body == b"${api} ${api} $${reason} $${other} $$ {api}"


def test_a_body_is_sent_as_utf8_and_its_length_counts_bytes() -> None:
    """Whatever the operator wrote."""
    response = render(Static(200, (), "später"), "weather", "503", None)
    assert response.body == "später".encode()
    assert response.headers.get(b"content-length") == b"7"


@pytest.mark.parametrize("status", [400, 429, 500, 503, 599])
def test_a_static_error_is_not_to_be_repeated(status: int) -> None:
    """In the dialect of every SDK, as every other error of ours."""
    headers = list(render(Static(status), "weather", "503", None).headers)
    assert all(field in headers for field in DO_NOT_REPEAT)


@pytest.mark.parametrize(("status", "told"), [(200, None), (404, None), (429, b"14"), (500, None), (503, b"14")])
def test_a_static_error_says_when_to_come_again(status: int, told: bytes | None) -> None:
    """Where the status says that there is a when, and somebody knows it."""
    assert render(Static(status), "weather", "circuit_open", 13.2).headers.get(b"retry-after") == told
    assert b"retry-after" not in render(Static(status), "weather", "timeout", None).headers


def test_the_operators_own_fields_are_kept() -> None:
    """Who writes a Retry-After or wants a repeat knows why."""
    own = Static(503, ((b"Retry-After", b"60"), (b"X-Should-Retry", b"true")))
    headers = render(own, "weather", "circuit_open", 1.0).headers
    assert [value for lower, _, value in headers.fields if lower == b"retry-after"] == [b"60"]
    assert [value for lower, _, value in headers.fields if lower == b"x-should-retry"] == [b"true"]
    assert headers.get(b"stripe-should-retry") == b"false"


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_has_none(status: int) -> None:
    """Nor does it announce one (RFC 9110, 8.6): it would be taken for the beginning of the next answer."""
    response = render(Static(status, (), "x"), "weather", "503", None)
    assert response.body == b""
    assert b"content-length" not in response.headers


def test_a_status_that_nobody_knows_has_no_phrase() -> None:
    """It needs none (RFC 9112, 4)."""
    assert render(Static(299), "weather", "503", None).reason == b""


@given(
    status=st.integers(200, 599),
    body=st.text(st.characters()),
    retry_after=st.none() | st.floats(0.0, 1e6),
    reason=st.sampled_from(["circuit_open", "503", "connect_timeout"]),
)
def test_every_static_answer_can_be_sent(status: int, body: str, retry_after: float | None, reason: str) -> None:
    """It is marked, complete, and says once, and rightly, how long it is."""
    response = render(Static(status, (), body), "weather", reason, retry_after)
    lengths = [int(value) for lower, _, value in response.headers.fields if lower == b"content-length"]
    assert lengths == ([] if status in {204, 304} else [len(response.body)])
    assert response.headers.get(b"backstay-outcome") == b"fallback"
    assert response.stream is None
    assert not any(f"${{{name}}}".encode() in response.body for name in TEMPLATES)


def test_two_answers_share_nothing() -> None:
    """A field that is added to one on its way to its agent is not in the next."""
    first, second = (render(OWN, "weather", "503", None) for _ in range(2))
    first.headers.add(b"X-A", b"1")
    assert b"x-a" not in second.headers


def test_fields_of_the_hop_and_marks_of_ours_are_reserved() -> None:
    """Two lengths in one answer are a way in for a smuggler."""
    assert {b"content-length", b"transfer-encoding", b"connection", b"backstay-outcome"} <= RESERVED_FIELDS
    assert all(name == name.lower() for name in RESERVED_FIELDS)
