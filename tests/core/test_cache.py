"""When stored answers are used."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core import cache
from proxy.core.cache import Asked, CacheSettings, Use, conditional, decide, stale_forbidden, stale_permitted
from tests.core.answers import NOTHING, PRIVATE, SHARED, STRICT, TTL, WALL, asking, at, fields, stored

MINUTE = "Cache-Control: max-age=60"


def use(text: str, after: float, request: str = "", settings: CacheSettings = PRIVATE) -> Use:
    return decide(stored(text, settings), asking(request), settings, WALL + after)


# --- fresh (RFC 9111, 4.2)


@pytest.mark.parametrize(("after", "found"), [(0.0, Use.FRESH), (59.9, Use.FRESH), (60.0, Use.VALIDATE)])
def test_an_answer_is_fresh_while_its_lifetime_is_above_its_age(after: float, found: Use) -> None:
    """At the very moment it is stale."""
    assert use(MINUTE, after) is found


@pytest.mark.parametrize("request_text", ["", "Authorization: Bearer x", "Cache-Control: max-age=60"])
def test_an_answer_without_lifetime_is_never_fresh(request_text: str) -> None:
    """RFC 9111, 4: it is validated before each use."""
    assert use('ETag: "a"', 0.0, request_text) is Use.VALIDATE


@pytest.mark.parametrize(
    ("request_text", "after", "found"),
    [
        ("no-cache", 1.0, Use.VALIDATE),
        ("max-age=10", 9.0, Use.FRESH),
        ("max-age=10", 10.0, Use.VALIDATE),
        ("max-age=0", 0.0, Use.VALIDATE),
        ("max-age=x", 1.0, Use.VALIDATE),
        ("min-fresh=10", 50.0, Use.FRESH),
        ("min-fresh=10", 51.0, Use.VALIDATE),
        ("max-stale=0", 59.0, Use.FRESH),
        ("only-if-cached", 59.0, Use.FRESH),
        ("no-store", 59.0, Use.FRESH),
    ],
)
def test_what_a_request_asks_of_a_fresh_answer(request_text: str, after: float, found: Use) -> None:
    """RFC 9111, 5.2.1."""
    assert use(MINUTE, after, f"Cache-Control: {request_text}") is found
    assert use("", after, f"Cache-Control: {request_text}", CacheSettings(mode="ttl", ttl=60.0)) is found


@pytest.mark.parametrize(
    ("directive", "settings", "found"),
    [
        ("no-cache", PRIVATE, Use.VALIDATE),
        ('no-cache="x"', PRIVATE, Use.FRESH),
        ("must-revalidate", SHARED, Use.FRESH),
        ("private", PRIVATE, Use.FRESH),
    ],
)
def test_what_an_answer_says_of_its_use_while_it_is_fresh(directive: str, settings: CacheSettings, found: Use) -> None:
    """RFC 9111, 5.2.2."""
    assert use(f"{MINUTE}, {directive}", 1.0, "", settings) is found


@pytest.mark.parametrize(
    ("request_text", "after", "found"),
    [
        ("max-age=0", 10.0, Use.FRESH),
        ("min-fresh=55", 10.0, Use.VALIDATE),
        ("no-cache", 10.0, Use.VALIDATE),
        ("max-age=0", 61.0, Use.VALIDATE),
    ],
)
def test_an_immutable_answer_needs_no_validation_on_a_reload(request_text: str, after: float, found: Use) -> None:
    """RFC 8246, 2: while it is fresh, and unless the request insists."""
    assert use(f"{MINUTE}, immutable", after, f"Cache-Control: {request_text}") is found


# --- stale (4.2.4, 5.2.1.2; RFC 5861, 3)


@pytest.mark.parametrize(
    ("request_text", "after", "found"),
    [
        ("max-stale", 99999.0, Use.ALLOWED),
        ("max-stale=10", 70.0, Use.ALLOWED),
        ("max-stale=10", 70.5, Use.VALIDATE),
        ("max-stale=x", 61.0, Use.VALIDATE),
        ("max-stale, max-age=90", 80.0, Use.ALLOWED),
        ("max-stale, max-age=70", 80.0, Use.VALIDATE),
        ("max-stale, min-fresh=1", 61.0, Use.VALIDATE),
        ("max-stale, no-cache", 61.0, Use.VALIDATE),
        ("max-age=90", 61.0, Use.VALIDATE),
    ],
)
def test_what_a_request_allows_of_a_stale_answer(request_text: str, after: float, found: Use) -> None:
    """Every directive is kept: a max-age beside a max-stale is still a limit."""
    assert use(MINUTE, after, f"Cache-Control: {request_text}") is found


@pytest.mark.parametrize(
    ("directives", "settings", "found"),
    [
        ("stale-while-revalidate=10", PRIVATE, Use.BEHIND),
        ("stale-while-revalidate=5", PRIVATE, Use.VALIDATE),
        ("stale-while-revalidate=10", SHARED, Use.BEHIND),
        ("stale-while-revalidate=10", STRICT, Use.VALIDATE),
        ("stale-while-revalidate=10", CacheSettings(stale_while_revalidate=5.0), Use.VALIDATE),
        ("stale-while-revalidate=10, must-revalidate", PRIVATE, Use.VALIDATE),
        ("stale-while-revalidate=10, proxy-revalidate", PRIVATE, Use.BEHIND),
        ("stale-while-revalidate=10, proxy-revalidate", SHARED, Use.VALIDATE),
        ("stale-while-revalidate=10, s-maxage=60", SHARED, Use.VALIDATE),
        ("stale-while-revalidate=10, no-cache", PRIVATE, Use.VALIDATE),
        ("x", PRIVATE, Use.VALIDATE),
    ],
)
def test_stale_while_revalidate(directives: str, settings: CacheSettings, found: Use) -> None:
    """Where the vendor says so, as far as the operator lets it, and nothing forbids it."""
    assert use(f"{MINUTE}, {directives}", 65.0, "", settings) is found


@pytest.mark.parametrize(
    ("request_text", "found"),
    [
        ("max-age=90", Use.VALIDATE),
        ("min-fresh=1", Use.VALIDATE),
        ("no-cache", Use.VALIDATE),
        ("max-stale=1", Use.BEHIND),
    ],
)
def test_a_request_that_asks_for_freshness_is_not_answered_while_revalidating(request_text: str, found: Use) -> None:
    """RFC 9111, 5.2.1.1: with max-age it is not willing to have what is stale; with max-stale it is."""
    text = f"{MINUTE}, stale-while-revalidate=30"
    assert use(text, 65.0, f"Cache-Control: {request_text}") is found


@pytest.mark.parametrize(("after", "found"), [(29.0, Use.FRESH), (59.0, Use.BEHIND), (61.0, Use.VALIDATE)])
def test_in_mode_ttl_the_operator_says_what_is_fresh_and_how_stale_is_served(after: float, found: Use) -> None:
    """Whatever the vendor says."""
    assert use("Cache-Control: no-store, no-cache, must-revalidate", after, "", TTL) is found


def test_a_reload_judges_anew() -> None:
    """What was stored under other settings follows those in force."""
    answer = stored("Cache-Control: max-age=60, s-maxage=5")
    assert decide(answer, NOTHING, PRIVATE, WALL + 10.0) is Use.FRESH
    assert decide(answer, NOTHING, STRICT, WALL + 10.0) is Use.VALIDATE
    assert decide(answer, NOTHING, TTL, WALL + 10.0) is Use.FRESH
    assert not stale_permitted(answer, NOTHING, STRICT, WALL + 10.0)
    assert stale_permitted(answer, NOTHING, PRIVATE, WALL + 99.0)


# --- instead of an error (4.2.4; RFC 5861, 4)


@pytest.mark.parametrize(
    ("text", "request_text", "settings", "longest"),
    [
        (MINUTE, "", PRIVATE, 3600.0),
        (MINUTE, "", STRICT, 0.0),
        (f"{MINUTE}, stale-if-error=9", "", STRICT, 9.0),
        (f"{MINUTE}, stale-if-error=9000", "", PRIVATE, 9000.0),
        (MINUTE, "Cache-Control: stale-if-error=9", STRICT, 9.0),
        (MINUTE, "Cache-Control: max-age=0", PRIVATE, 3600.0),
    ],
)
def test_how_long_a_stale_answer_stands_in_for_an_error(
    text: str, request_text: str, settings: CacheSettings, longest: float
) -> None:
    """The longest that the vendor, the agent or the operator allows."""
    answer, asked, end = stored(text, settings), asking(request_text), WALL + 60.0 + longest
    assert stale_permitted(answer, asked, settings, end - 0.1)
    assert not stale_permitted(answer, asked, settings, end + 0.1)


@pytest.mark.parametrize(
    ("text", "request_text", "settings", "forbidden"),
    [
        (MINUTE, "", PRIVATE, False),
        (f"{MINUTE}, must-revalidate", "", PRIVATE, True),
        (f"{MINUTE}, proxy-revalidate", "", PRIVATE, False),
        (f"{MINUTE}, proxy-revalidate", "", SHARED, True),
        ("Cache-Control: s-maxage=60", "", PRIVATE, False),
        ("Cache-Control: s-maxage=60", "", SHARED, True),
        (f"{MINUTE}, no-cache", "", PRIVATE, True),
        (MINUTE, "Cache-Control: no-cache", PRIVATE, True),
        (MINUTE, "Pragma: no-cache", PRIVATE, True),
        (MINUTE, "Cache-Control: max-age=0, min-fresh=9", PRIVATE, False),
        (f"{MINUTE}, must-revalidate, no-cache", "", TTL, False),
        ("", "Cache-Control: no-cache", TTL, True),
    ],
)
def test_what_forbids_it(text: str, request_text: str, settings: CacheSettings, *, forbidden: bool) -> None:
    """RFC 9111, 4.2.4: the vendor's word, but in mode ttl, and the agent's."""
    answer, asked = stored(text, settings), asking(request_text)
    assert stale_forbidden(answer, asked) is forbidden
    assert stale_permitted(answer, asked, settings, WALL + 61.0) is not forbidden


# --- validation (4.3.1)


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ('ETag: "a"', 'If-None-Match: "a"'),
        ('ETag: W/"a"', 'If-None-Match: W/"a"'),
        ("ETag: a", "If-None-Match: a"),
        (f"Last-Modified: {at(-5)}", f"If-Modified-Since: {at(-5)}"),
        (f'ETag: "a"\nLast-Modified: {at(-5)}', f'If-None-Match: "a"\nIf-Modified-Since: {at(-5)}'),
        ("Last-Modified: Sunday, 06-Nov-94 08:49:32 GMT", "If-Modified-Since: Sunday, 06-Nov-94 08:49:32 GMT"),
    ],
)
def test_the_vendor_is_asked_by_what_it_gave(text: str, asks: str) -> None:
    """Byte for byte; the agent's own conditions are answered here, and all else goes as it came."""
    agent = fields(f'Accept: */*\nIf-None-Match: "z"\nIf-Modified-Since: {at(0)}\nIf-Range: "z"\nX-A: 1')
    asked = conditional(agent, stored(text))
    assert list(asked) == list(fields(f'Accept: */*\nIf-Range: "z"\nX-A: 1\n{asks}'))
    assert len(agent) == 5


def test_without_a_validator_the_request_goes_as_it_came() -> None:
    """The agent's own conditions too: it may have what the vendor has."""
    agent = fields('If-None-Match: "z"')
    assert conditional(agent, stored("Last-Modified: yesterday")) is agent


# --- properties

SAID = (
    "max-age=30", "max-age=0", "s-maxage=20", "no-cache", "must-revalidate", "proxy-revalidate", "public", "private",
    "immutable", "stale-while-revalidate=10", "stale-while-revalidate=90", "stale-if-error=40",
)  # fmt: skip
DIRECTIVES = st.lists(st.sampled_from(SAID), max_size=4, unique=True)
WISHES = st.builds(
    Asked,
    no_cache=st.booleans(),
    max_age=st.sampled_from([None, 0.0, 10.0, 40.0]),
    min_fresh=st.sampled_from([None, None, 5.0]),
    max_stale=st.sampled_from([None, 0.0, 50.0, math.inf]),
)
SETTINGS = st.sampled_from([PRIVATE, SHARED, STRICT, TTL])
MOMENTS = st.lists(st.floats(0.0, 200.0), min_size=2, max_size=8).map(sorted)
ORDER = [Use.FRESH, Use.BEHIND, Use.ALLOWED, Use.VALIDATE]


@given(DIRECTIVES, WISHES, SETTINGS, MOMENTS)
def test_an_answer_never_gets_better_by_waiting(
    directives: list[str], asked: Asked, settings: CacheSettings, moments: list[float]
) -> None:
    """Fresh, then behind or allowed, then to be validated, and that for good."""
    answer = stored(f"Cache-Control: {', '.join(directives)}", settings)
    ranks = [ORDER.index(decide(answer, asked, settings, WALL + moment)) for moment in moments]
    assert ranks == sorted(ranks)
    permitted = [stale_permitted(answer, asked, settings, WALL + moment) for moment in moments]
    assert permitted == sorted(permitted, reverse=True)


@given(DIRECTIVES, WISHES, SETTINGS, st.floats(0.0, 200.0))
def test_no_stale_answer_is_used_where_it_is_forbidden(
    directives: list[str], asked: Asked, settings: CacheSettings, after: float
) -> None:
    """Neither way; and what no-cache of either side is about is never used without a question."""
    answer = stored(f"Cache-Control: {', '.join(directives)}", settings)
    found = decide(answer, asked, settings, WALL + after)
    if stale_forbidden(answer, asked):
        assert found in {Use.FRESH, Use.VALIDATE}
    if answer.no_cache or asked.no_cache:
        assert found is Use.VALIDATE
    assert (found is Use.FRESH) <= (WALL + after < answer.fresh_until)


def test_one_door_to_the_rules() -> None:
    """The policies import them from here."""
    assert all(hasattr(cache, name) for name in cache.__all__)


# --- collapsed requests (RFC 9111, 4)


@pytest.mark.parametrize(
    ("answer", "serves"),
    [
        ("Cache-Control: max-age=60", True),
        ('ETag: "a"', True),
        ("Cache-Control: max-age=0", True),
        ("Cache-Control: no-cache", False),
        ("Cache-Control: max-age=0, must-revalidate", False),
        ("Cache-Control: max-age=60, must-revalidate", True),
    ],
)
def test_an_answer_serves_those_who_asked_while_it_came_unless_each_use_is_to_be_validated(
    answer: str, *, serves: bool
) -> None:
    """One that says nothing of its freshness is as new as the one that each of them would have got."""
    assert cache.collapses(stored(answer, PRIVATE), WALL) is serves
    assert cache.collapses(stored(answer, TTL), WALL)
