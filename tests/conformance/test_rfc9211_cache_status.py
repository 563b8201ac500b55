"""RFC 9211: every answer that met the cache says what the cache did."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest

from tests.conformance.conftest import BOTH
from tests.conformance.origin import SILENCE, Answer, ok, says, unmodified
from tests.conformance.steps import Got, Play, forwarded

FRESH: Final = ok("Cache-Control: max-age=600")
STALE: Final = ok("Cache-Control: max-age=60", "Age: 100", 'ETag: "a"')
PLAIN: Final = ok()


def told(play: Play, api: str, *calls: tuple[Any, ...], method: str = "GET") -> Got:
    """What the last of some calls got, each an answer of the origin and fields of the request; the others are GETs."""
    agent = play.agent(api)
    got = None
    for number, (answer, *asks) in enumerate(calls, 1):
        agent.script.answer = answer
        got = agent.send(forwarded(answer or PLAIN, *asks, method=method if number == len(calls) else "GET"))
    agent.close()
    assert got is not None
    return got


def parameters(got: Got) -> dict[str, str]:
    """The parameters of our member."""
    assert got.cache_status, got.fields
    pairs = (part.strip().partition("=") for part in got.cache_status.split(";")[1:])
    return {name: value or "?1" for name, _, value in pairs}


@pytest.mark.parametrize("api", BOTH)
def test_section_2_1_a_hit_says_so_and_how_long_it_is_fresh(play: Play, api: str) -> None:
    """``hit`` with ``ttl``, and nothing about forwarding."""
    status = parameters(told(play, api, (FRESH,), (None,)))
    assert status["hit"] == "?1"
    assert 570 <= int(status["ttl"]) <= 600
    assert "fwd" not in status


@pytest.mark.parametrize(
    ("calls", "why"),
    [
        (((FRESH,),), "uri-miss"),
        (((ok("Cache-Control: max-age=60", "Vary: Foo"), "Foo: 1"), (PLAIN, "Foo: 2")), "vary-miss"),
        (((STALE,), (PLAIN,)), "stale"),
        (((FRESH,), (PLAIN, "Cache-Control: no-cache")), "request"),
        (((FRESH,), (PLAIN, "Cache-Control: max-age=0")), "request"),
    ],
    ids=["uri-miss", "vary-miss", "stale", "no-cache", "max-age"],
)
@pytest.mark.parametrize("api", BOTH)
def test_section_2_2_a_miss_says_why(play: Play, api: str, calls: tuple[tuple[Any, ...], ...], why: str) -> None:
    """``fwd`` names the reason, and ``hit`` is not there."""
    status = parameters(told(play, api, *calls))
    assert status["fwd"] == why
    assert "hit" not in status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_section_2_2_a_method_that_is_not_cached(play: Play, method: str) -> None:
    """``fwd=method``, whatever is stored."""
    assert parameters(told(play, "shared", (FRESH,), (PLAIN,), method=method))["fwd"] == "method"


def test_section_2_3_a_validated_answer_names_the_origins_status(play: Play) -> None:
    """The agent's 200 came of a 304, and fwd-status says so."""
    status = parameters(told(play, "shared", (STALE,), (unmodified("Cache-Control: max-age=60", 'ETag: "a"'),)))
    assert (status["fwd"], status["fwd-status"]) == ("stale", "304")


@pytest.mark.parametrize(
    ("answer", "stored"),
    [(FRESH, True), (PLAIN, True), (says(404), True), (says(302), False), (says(500), False)],
    ids=["fresh", "for errors alone", "404", "302", "500"],
)
def test_section_2_5_says_whether_it_was_stored(play: Play, answer: Answer, *, stored: bool) -> None:
    """``stored`` is there if the answer was stored."""
    assert ("stored" in parameters(told(play, "shared", (answer,)))) is stored


def test_section_2_4_a_stale_answer_has_a_negative_ttl(play: Play) -> None:
    """How far past its freshness it was, and which failure it stands in for."""
    got = told(play, "shared", (STALE,), (says(503),))
    assert got.joined("Backstay-Outcome") == "stale"
    assert re.search(r"; ?ttl=-4\d\b", got.cache_status)


def test_section_2_the_members_of_other_caches_come_first(play: Play) -> None:
    """A cache appends to the list: the one nearest to the origin is the first."""
    got = told(play, "shared", (ok("Cache-Control: max-age=60", "Cache-Status: CDN; hit; ttl=5"),))
    assert re.fullmatch(r"CDN; hit; ttl=5, backstay; ?fwd=uri-miss.*", got.joined("Cache-Status"))


def test_section_2_errors_of_ours_have_it_too(play: Play) -> None:
    """An agent sees of an error whether the cache was asked."""
    got = told(play, "shared", (SILENCE,))
    assert got.joined("Content-Type") == "application/problem+json"
    assert parameters(got)["fwd"] == "uri-miss"


@pytest.mark.parametrize("answer", [FRESH, PLAIN, says(404), says(500)], ids=["fresh", "plain", "404", "500"])
@pytest.mark.parametrize("api", [*BOTH, "ttl"])
def test_section_2_it_is_a_list_of_structured_items(play: Play, api: str, answer: Answer) -> None:
    """A token with parameters (RFC 9651), in one line."""
    got = told(play, api, (answer,))
    assert len(got.values("Cache-Status")) == 1
    assert re.fullmatch(
        r'backstay(; ?[a-z][a-z0-9_.-]*(=(-?\d+|[A-Za-z*][\w:/!#$%&\'*+.^`|~-]*|"[^"]*"))?)+', got.cache_status
    )
