"""Tests of model.py: headers, and what happens exactly once."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Timeout
from proxy.model import LOWER, Attempt, Effect, Ending, Exchange, Headers, Request, Response, Stale, Verdict
from tests.support.script import Flow

NAMES = st.sampled_from([b"Accept", b"ACCEPT", b"Set-Cookie", b"x-a"])


def an_attempt() -> Attempt:
    return Attempt(Exchange(Request(b"GET", b"/thing", Headers()), "vendor", "default", 10.0), 1)


# --- headers ------------------------------------------------------------------------------------------------


def test_headers_keep_case_order_and_repetition() -> None:
    """What came in goes out as it came."""
    pairs = [(b"Set-Cookie", b"a=1"), (b"ETag", b'"x"'), (b"set-cookie", b"b=2")]
    headers = Headers.of(*pairs)
    assert list(headers) == pairs
    assert headers.get(b"set-cookie") == b"a=1"
    assert len(headers) == 3


def test_an_absent_field_is_none() -> None:
    """Absence is no error."""
    headers = Headers()
    assert headers.get(b"etag") is None
    assert b"etag" not in headers


def test_set_replaces_every_repetition() -> None:
    """Whatever its case was, and at the end."""
    headers = Headers.of((b"X-A", b"1"), (b"b", b"2"), (b"x-a", b"3"))
    headers.set(b"X-a", b"4")
    assert list(headers) == [(b"b", b"2"), (b"X-a", b"4")]


def test_a_copy_is_independent() -> None:
    """Changing one leaves the other; equal content is equality."""
    headers = Headers.of((b"a", b"1"))
    copy = headers.copy()
    assert copy == headers
    copy.add(b"B", b"2")
    assert b"b" in copy
    assert b"b" not in headers
    assert copy != headers
    assert headers != [(b"a", b"1")]


def test_headers_show_themselves() -> None:
    """And are no key of a dict, since they change."""
    assert repr(Headers.of((b"A", b"1"))) == "Headers([(b'A', b'1')])"
    with pytest.raises(TypeError):
        hash(Headers())


@given(fields=st.lists(st.tuples(NAMES, st.binary(max_size=3))), removed=NAMES)
def test_removing_a_field_leaves_the_others_in_order(fields: list[tuple[bytes, bytes]], removed: bytes) -> None:
    """Every spelling of the name goes, nothing else moves."""
    headers = Headers.of(*fields)
    headers.remove(removed.lower())
    assert list(headers) == [field for field in fields if field[0].lower() != removed.lower()]


def test_names_are_remembered_only_while_there_are_few() -> None:
    """The other side chooses the names: the memo is bounded in number and in length."""
    assert LOWER[b"X-Request-ID"] == b"x-request-id"
    assert b"X-Request-ID" in LOWER
    assert LOWER[b"X" * 65] == b"x" * 65
    assert b"X" * 65 not in LOWER
    for number in range(5000):
        assert LOWER[b"X-%d" % number] == b"x-%d" % number
    assert len(LOWER) <= 2048


# --- an answer ----------------------------------------------------------------------------------------------


def test_a_whole_answer_has_ended() -> None:
    """Who asks to be told is told at once."""
    endings: list[Ending] = []
    response = Response(200, Headers(), body=b"x")
    response.on_end(endings.append)
    response.end(Ending.BROKEN)
    assert endings == [Ending.COMPLETE]
    assert repr(response) == "<Response 200 Ending.COMPLETE>"


def test_a_stream_ends_once_for_every_listener() -> None:
    """In the order in which they asked; who asks later is told what it was."""
    told: list[tuple[str, Ending]] = []
    response = Response(200, Headers(), stream=Flow())
    response.on_end(lambda ending: told.append(("first", ending)))
    response.on_end(lambda ending: told.append(("second", ending)))
    response.end(Ending.STALLED)
    response.end(Ending.COMPLETE)
    response.on_end(lambda ending: told.append(("late", ending)))
    assert told == [("first", Ending.STALLED), ("second", Ending.STALLED), ("late", Ending.STALLED)]


def test_discarding_stops_a_stream_that_still_comes() -> None:
    """What has ended, or was whole, is left alone."""
    flow = Flow()
    flow.response = Response(200, Headers(), stream=flow)
    flow.response.discard()
    assert flow.response.ending is Ending.ABANDONED
    flow.abandoned = False
    flow.response.discard()
    Response(200, Headers()).discard()
    assert not flow.abandoned


# --- an attempt ---------------------------------------------------------------------------------------------


def test_an_attempt_settles_once() -> None:
    """The first verdict is the verdict, for every listener."""
    attempt = an_attempt()
    verdicts: list[Verdict] = []
    attempt.on_settle(verdicts.append)
    attempt.on_settle(verdicts.append)
    attempt.settle(Verdict.FAILURE)
    attempt.settle(Verdict.SUCCESS)
    assert verdicts == [Verdict.FAILURE, Verdict.FAILURE]
    assert attempt.verdict is Verdict.FAILURE
    assert repr(attempt) == (
        "<Attempt 1 of <Exchange vendor/default <Request GET b'/thing'> forwarded> Verdict.FAILURE>"
    )


def test_an_attempt_tells_when_it_is_sent_and_answered() -> None:
    """Sending marks attempt and exchange as written; without listeners nothing else happens."""
    attempt, told = an_attempt(), []
    attempt.on_sent(lambda now: told.append(("sent", now)))
    attempt.on_headers(lambda verdict, now: told.append((verdict.value, now)))
    attempt.sent(11.0)
    attempt.answered(Verdict.SUCCESS, 12.0)
    assert told == [("sent", 11.0), ("success", 12.0)]
    assert (attempt.sent_at, attempt.written, attempt.exchange.written) == (11.0, True, True)
    an_attempt().sent(1.0)
    an_attempt().answered(Verdict.SUCCESS, 1.0)


def test_what_comes_after_the_verdict_is_not_told() -> None:
    """A settled attempt holds on to no listener."""
    attempt, told = an_attempt(), []
    attempt.on_headers(lambda verdict, now: told.append(now))
    attempt.settle(Verdict.IGNORED)
    attempt.answered(Verdict.SUCCESS, 12.0)
    assert told == []


async def test_abort_ends_the_wait_of_the_wire() -> None:
    """Once; with nothing to wait for, or when the answer is there already, it does nothing."""
    attempt = an_attempt()
    attempt.abort(Timeout())
    attempt.waiter = waiter = asyncio.get_running_loop().create_future()
    attempt.abort(Timeout("The first."))
    attempt.abort(Timeout("The second."))
    with pytest.raises(Timeout, match="The first"):
        await waiter


def test_a_branch_has_its_own_account_until_it_is_absorbed() -> None:
    """What a call on behalf of another spends is charged to that one when it is taken over."""
    exchange = Exchange(Request(b"GET", b"/a", Headers()), "weather", "default", 5.0)
    exchange.deadline = 9.0
    branch = exchange.branch(exchange.request)
    branch.attempts, branch.upstream_seconds, branch.waited, branch.written, branch.probed = 2, 1.5, 0.5, True, True
    assert (branch.api, branch.route, branch.started, branch.deadline) == ("weather", "default", 5.0, 9.0)
    assert (exchange.attempts, exchange.written) == (0, False)
    exchange.absorb(branch)
    assert (exchange.attempts, exchange.upstream_seconds, exchange.waited) == (2, 1.5, 0.5)
    assert (exchange.written, exchange.probed) == (True, True)


def test_a_revised_request_differs_in_its_fields_alone() -> None:
    """Other header fields, the same call."""
    request = Request(b"POST", b"/a?b", Headers.of((b"A", b"1")), host=b"h", body=b"x")
    request.path, request.query, request.length = "/a", b"b", 1
    revised = request.revised(Headers.of((b"B", b"2")))
    assert (revised.method, revised.target, revised.host, revised.body) == (b"POST", b"/a?b", b"h", b"x")
    assert (revised.path, revised.query, revised.length) == ("/a", b"b", 1)
    assert (list(request.headers), list(revised.headers)) == ([(b"A", b"1")], [(b"B", b"2")])


def test_stale_says_whether_it_may_be_served_unasked() -> None:
    """Its representation tells how old it is and whether only a fallback may ask for it."""
    assert repr(Stale(lambda _: Response(200, Headers()), 40.0, permitted=True)) == "<Stale by 40 s>"
    assert repr(Stale(lambda _: Response(200, Headers()), 40.0, permitted=False)) == "<Stale by 40 s, on demand>"


@pytest.mark.parametrize(("before", "in_branch"), [(False, False), (False, True), (True, False), (True, True)])
def test_what_was_lost_in_a_branch_is_lost(before: bool, in_branch: bool) -> None:
    """And what was lost before stays so: it makes a call one whose outcome is not known."""
    exchange = Exchange(Request(b"POST", b"/a", Headers()), "stripe", "charges", 5.0)
    assert not exchange.lost
    branch = exchange.branch(exchange.request)
    exchange.lost, branch.lost = before, in_branch
    exchange.absorb(branch)
    assert exchange.lost is (before or in_branch)


def test_what_the_ledger_knows_of_a_call_is_not_true_of_its_branches() -> None:
    """A call to another api on its behalf does not carry its key, and does not happen once because of it."""
    exchange = Exchange(Request(b"POST", b"/a", Headers()), "stripe", "charges", 5.0)
    exchange.effect = Effect(honoured=True, repeatable=True)
    branch = exchange.branch(exchange.request)
    assert branch.effect is None
    exchange.absorb(branch)
    assert exchange.effect is not None
    assert (exchange.honoured, branch.honoured) == (True, False)


@pytest.mark.parametrize("honoured", [False, True])
def test_a_call_that_must_happen_once_goes_on_once_it_was_sent(honoured: bool) -> None:
    """Whether or not the upstream honours its key; any other call ends with its agent."""
    exchange = Exchange(Request(b"POST", b"/a", Headers()), "stripe", "charges", 5.0)
    exchange.written = True
    assert (exchange.honoured, exchange.persistent) == (False, False)
    exchange.effect = Effect(honoured=honoured, repeatable=False)
    assert (exchange.honoured, exchange.persistent) == (honoured, True)
    exchange.written = False
    assert not exchange.persistent


def test_an_effect_says_what_it_means_for_repeats() -> None:
    """Known until the contrary is told."""
    effect = Effect(honoured=True, repeatable=False)
    assert (effect.honoured, effect.repeatable, effect.unknown) == (True, False, False)
    assert repr(effect) == "<Effect honoured>"
    effect.unknown = True
    assert repr(effect) == "<Effect honoured unknown>"
    assert repr(Effect(honoured=False, repeatable=True)) == "<Effect>"
