"""Which answers are stored, and as what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core import cache
from proxy.core.cache import CacheSettings
from proxy.core.freshness import HEURISTIC, control
from proxy.core.storing import may_set_cookies
from proxy.model import Headers
from tests.core.answers import (
    DATE,
    NOTHING,
    PRIVATE,
    SHARED,
    STRICT,
    TTL,
    TTL_SHARED,
    WALL,
    at,
    fields,
    stored,
    why_not,
)

FRESH = "Cache-Control: max-age=60"
BY_BODY = CacheSettings(key_body=True)
NEVER = (100, 103, 304, 401, 403, 407, 408, 412, 416, 417, 421, 425, 426, 429, 431, 500, 502, 503, 504, 599)


# --- RFC 9111, 3: which answers


@pytest.mark.parametrize("status", NEVER)
@pytest.mark.parametrize("settings", [PRIVATE, SHARED, TTL])
def test_answers_for_the_moment_or_the_caller_are_never_stored(status: int, settings: CacheSettings) -> None:
    """Whatever anybody says of their freshness."""
    assert why_not(FRESH, settings, status=status) == "status"


@pytest.mark.parametrize(
    "status", [200, 201, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 405, 410, 414, 451, 499]
)
def test_any_other_final_answer_is_stored_if_it_says_how_long_it_is_fresh(status: int) -> None:
    """RFC 9111, 3: also where nobody knows the status."""
    assert not why_not(FRESH, SHARED, status=status)


def test_a_part_is_not_stored() -> None:
    """RFC 9111, 3.3: a cache need not, and we pass ranges through."""
    assert why_not(FRESH + "\nContent-Range: bytes 0-1/5", status=206) == "partial"


def test_only_reads_are_stored() -> None:
    """RFC 9111, 3: the method must be understood."""
    assert why_not(FRESH, method=b"PUT") == "method"
    assert why_not(FRESH, method=b"POST") == "method"
    assert not why_not(FRESH, method=b"HEAD")


@pytest.mark.parametrize(
    ("text", "private", "shared"),
    [
        ("Cache-Control: no-store, max-age=60", "no-store", "no-store"),
        ("Cache-Control: private, max-age=60", "", "private"),
        ('Cache-Control: private="x-a", max-age=60', "", ""),
        ('Cache-Control: private="etag", max-age=60', "", "private"),
        ("Cache-Control: s-maxage=60", "", ""),
        (f"Expires: {at(60)}", "", ""),
        (f"Expires: {at(60)}\nDate: {DATE.decode()}", "", ""),
        ("Vary: *\nCache-Control: max-age=60", "vary", "vary"),
        ("Vary: Accept\nCache-Control: max-age=60", "", ""),
        ("CDN-Cache-Control: no-store\nCache-Control: max-age=60", "", "no-store"),
        ("CDN-Cache-Control: max-age=60\nCache-Control: no-store", "no-store", ""),
        ("CDN-Cache-Control: private, max-age=60", "", "private"),
    ],
)
def test_what_an_answer_says_of_being_stored(text: str, private: str, shared: str) -> None:
    """RFC 9111, 5.2.2.5, 5.2.2.7, 4.1; RFC 9213."""
    assert why_not(text, PRIVATE) == private
    assert why_not(text, SHARED) == shared


@pytest.mark.parametrize("settings", [PRIVATE, SHARED, TTL])
def test_a_request_may_forbid_it(settings: CacheSettings) -> None:
    """RFC 9111, 5.2.1.5; also in mode ttl, which overrides the vendor and not the agent."""
    assert why_not(FRESH, settings, request="Cache-Control: no-store") == "no-store"


@pytest.mark.parametrize(
    ("status", "word"), [(200, ""), (404, ""), (422, ""), (302, ""), (299, "must-understand"), (451, "must-understand")]
)
def test_must_understand(status: int, word: str) -> None:
    """RFC 9111, 5.2.2.3: with it no-store is for caches that do not know the status."""
    assert why_not("Cache-Control: max-age=60, no-store, must-understand", status=status) == word


# --- RFC 9111, 3.5 and 7.3: what may be another caller's


@pytest.mark.parametrize(
    ("directive", "word"),
    [
        ("max-age=60", "authorization"),
        ("max-age=60, proxy-revalidate", "authorization"),
        ("max-age=60, public", ""),
        ("max-age=60, must-revalidate", ""),
        ("s-maxage=60", ""),
    ],
)
def test_an_answer_to_a_request_with_authorization(directive: str, word: str) -> None:
    """A shared cache needs to be told that it may; to a private one it is no matter."""
    text, request = f"Cache-Control: {directive}", "Authorization: Bearer x"
    assert why_not(text, SHARED, request=request) == word
    assert why_not(text, TTL_SHARED, request=request) == word
    assert not why_not(text, PRIVATE, request=request)
    assert not why_not(text, TTL, request=request)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (FRESH, ""),
        (f"Expires: {at(60)}", ""),
        ("Cache-Control: s-maxage=60", ""),
        (f"Last-Modified: {at(-1000)}", "set-cookie"),
        (f"Expires: {at(-60)}\nDate: {DATE.decode()}", "set-cookie"),
        ("Expires: 0\nCache-Control: public", "set-cookie"),
        ('Cache-Control: max-age=0\nETag: "a"', "set-cookie"),
        ('Cache-Control: max-age=60, no-cache\nETag: "a"', "set-cookie"),
        ('Cache-Control: public, no-cache="set-cookie"\nETag: "a"', ""),
    ],
)
def test_an_answer_that_sets_a_cookie(text: str, word: str) -> None:
    """A vendor that has not thought of caches would have one caller's cookie given to all."""
    assert why_not(f"Set-Cookie: a=b\n{text}", SHARED) == word
    assert why_not(f"Set-Cookie: a=b\n{text}", TTL_SHARED) == "set-cookie"
    assert not why_not(f"Set-Cookie: a=b\n{text}", PRIVATE)
    assert not why_not(f"Set-Cookie: a=b\n{text}", TTL)


def test_a_callers_own_cache_may_hold_its_cookies() -> None:
    """Asked of updates too, which come to either kind of cache."""
    headers = fields("Cache-Control: max-age=0")
    assert may_set_cookies(PRIVATE, control(PRIVATE, headers), headers)
    assert not may_set_cookies(SHARED, control(SHARED, headers), headers)


# --- without explicit freshness


@pytest.mark.parametrize("status", sorted(HEURISTIC - {206, 501}))
def test_what_says_nothing_is_stored_where_the_status_allows_it(status: int) -> None:
    """RFC 9111, 3: it is stale at once, and there for the vendor's next outage."""
    assert not why_not("", PRIVATE, status=status)


@pytest.mark.parametrize("status", [201, 202, 302, 303, 307, 400, 422, 299])
def test_what_says_nothing_is_not_stored_where_the_status_does_not_allow_it(status: int) -> None:
    """RFC 9111, 3; public allows it, and private does to a private cache."""
    assert why_not('ETag: "a"', PRIVATE, status=status) == "freshness"
    assert not why_not('ETag: "a"\nCache-Control: public', SHARED, status=status)
    assert not why_not('ETag: "a"\nCache-Control: private', PRIVATE, status=status)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "freshness"),
        ("Cache-Control: max-age=0", "freshness"),
        ("Expires: 0", "freshness"),
        ("Cache-Control: no-cache, max-age=60", "no-cache"),
        ('ETag: "a"', ""),
        (f"Last-Modified: {at(-60)}", ""),
        ('Cache-Control: no-cache\nETag: "a"', ""),
        ("Cache-Control: max-age=0, stale-if-error=60", ""),
        ("Cache-Control: max-age=0, stale-if-error=60, must-revalidate", "freshness"),
    ],
)
def test_what_could_never_be_used_is_not_stored(text: str, word: str) -> None:
    """Not fresh, not to be validated, and stale of no use."""
    assert why_not(text, STRICT) == word


@pytest.mark.parametrize(
    ("text", "word"),
    [(FRESH, ""), (f"Expires: {at(60)}", ""), ('ETag: "a"', "freshness"), (f"Last-Modified: {at(-1000)}", "freshness")],
)
def test_an_answer_to_post_needs_explicit_freshness(text: str, word: str) -> None:
    """RFC 9110, 9.3.3; in mode ttl the operator gives it."""
    assert why_not(text, BY_BODY, method=b"POST") == word
    assert not why_not(text, CacheSettings(mode="ttl", ttl=5.0, key_body=True), method=b"POST")
    assert not why_not(text, BY_BODY, method=b"QUERY")


# --- mode ttl


@pytest.mark.parametrize(
    "text",
    ["", "Cache-Control: no-store", "Cache-Control: no-cache", "Cache-Control: private, max-age=0", "Expires: 0"],
)
def test_in_mode_ttl_the_vendor_is_not_asked(text: str) -> None:
    """That is what it is for."""
    assert not why_not(text, TTL)
    assert not why_not(text, TTL_SHARED)
    assert why_not(text + "\nVary: *", TTL) == "vary"


@pytest.mark.parametrize("status", [201, 202, 400, 402, 409, 422, 451, 299])
def test_in_mode_ttl_a_complaint_is_no_answer(status: int) -> None:
    """Nobody who sets a ttl means that a mistake of one request is the answer for the next."""
    assert why_not("", TTL, status=status) == "status"


@pytest.mark.parametrize("status", [200, 203, 204, 301, 302, 307, 308, 404, 410])
def test_in_mode_ttl_answers_and_redirects_are_stored(status: int) -> None:
    """As nginx's proxy_cache_valid has it, and 404 besides."""
    assert not why_not("", TTL, status=status)


# --- as what (RFC 9111, 3.1)


def test_fields_of_this_hop_and_age_are_not_kept() -> None:
    """RFC 9110, 7.6.1; what Connection names goes with it, and all else stays as it came."""
    text = """
        X-First: 1
        Connection: X-Hop , close
        Connection: x-other
        X-Hop: 1
        x-other: 2
        Keep-Alive: timeout=5
        Proxy-Authenticate: Basic
        Transfer-Encoding: chunked
        Trailer: X-T
        Age: 30
        Via: 1.1 vendor
        X-first: 2
    """
    kept = list(stored(text).headers)
    assert kept == [
        (b"X-First", b"1"),
        (b"Via", b"1.1 vendor"),
        (b"X-first", b"2"),
        (b"Date", DATE),
        (b"Content-Length", b"5"),
    ]


@pytest.mark.parametrize("text", ["", "Date: yesterday", "Date: yesterday\nDate: today"])
def test_an_answer_without_a_date_is_given_one(text: str) -> None:
    """RFC 9110, 6.6.1: that of its arrival; one that is no date is none."""
    found = stored(text, dated=False)
    assert found.headers.get(b"date") == DATE
    assert found.date == WALL


def test_a_date_is_left_as_it_came() -> None:
    """Also if it is another than ours; of several the first."""
    for text in (f"Date: {at(-60)}", f"Date: {at(-60)}\nDate: {at(0)}"):
        assert [value for name, value in stored(text, dated=False).headers if name == b"Date"] == [at(-60).encode()]


@pytest.mark.parametrize(
    ("method", "status", "text", "length"),
    [
        (b"GET", 200, "", b"5"),
        (b"GET", 200, "Content-Length: 5", b"5"),
        (b"GET", 200, "Content-Length: 7", b"5"),
        (b"GET", 204, "Content-Length: 0", None),
        (b"HEAD", 200, "Content-Length: 7", b"7"),
        (b"HEAD", 200, "", None),
    ],
)
def test_the_length_is_that_of_the_body(method: bytes, status: int, text: str, length: bytes | None) -> None:
    """Its framing on the way here is not the way it goes on; 204 has none, and HEAD that of its GET."""
    found = stored(text, method=method, status=status)
    assert [value for name, value in found.headers if name == b"Content-Length"] == ([] if length is None else [length])


@pytest.mark.parametrize(
    ("directive", "settings", "names"),
    [
        ('no-cache="x-a, set-cookie"', SHARED, []),
        ('no-cache="x-a, set-cookie"', PRIVATE, []),
        ('private="x-a, set-cookie"', SHARED, []),
        ('private="x-a, set-cookie"', PRIVATE, [b"x-a", b"set-cookie"]),
        ('no-cache="x-a", private="x-a"', TTL, [b"x-a", b"set-cookie"]),
    ],
)
def test_fields_that_others_may_not_have_are_not_kept(
    directive: str, settings: CacheSettings, names: list[bytes]
) -> None:
    """RFC 9111, 5.2.2.4 and 5.2.2.7; not in mode ttl, where the vendor is not asked."""
    found = stored(f"X-A: 1\nSet-Cookie: a=b\nCache-Control: max-age=60, {directive}", settings)
    kept = [lower for lower, _, _ in found.headers.fields]
    assert [name for name in kept if name in {b"x-a", b"set-cookie"}] == names
    assert b"cache-control" in kept


def test_what_it_varies_by_is_kept_with_it() -> None:
    """RFC 9111, 4.1, and the operator's fields."""
    settings = CacheSettings(vary=(b"x-region",))
    found = stored("Vary: Accept", settings, request="Accept: a,  b\nX-Region: t")
    assert found.vary == ((b"accept", b"a,b"), (b"x-region", b"t"))
    assert stored("Vary: *", TTL).vary == ()


def test_what_is_kept_knows_where_it_is_from() -> None:
    """For the admin API, and for purges."""
    found = stored(FRESH, took=0.5)
    assert (found.api, found.route, found.method, found.target) == ("weather", "default", b"GET", b"/v1/now?city=Rome")
    assert (found.status, found.reason, found.body) == (200, b"OK", b"hello")
    assert (found.requested_at, found.received_at, found.initial_age) == (WALL - 0.5, WALL, 0.5)
    assert found.settings is PRIVATE


NAMES = st.sampled_from(
    [b"Connection", b"Age", b"Date", b"Cache-Control", b"Set-Cookie", b"Content-Length", b"Keep-Alive", b"X-A", b"Vary"]
)
PIECES = st.lists(
    st.sampled_from([b"x-a", b"age", b"date", b"no-cache", b"private", b'="', b'"', b",", b" ", b"30", b"max-age="])
    | st.binary(max_size=3),
    max_size=5,
).map(b"".join)


@given(st.lists(st.tuples(NAMES, PIECES), max_size=8), st.sampled_from([PRIVATE, SHARED, TTL]), st.binary(max_size=5))
def test_whatever_came_nothing_of_this_hop_is_kept(
    pairs: list[tuple[bytes, bytes]], settings: CacheSettings, body: bytes
) -> None:
    """No Age, no hop-by-hop field; one Date that is one, and one length, that of the body."""
    headers = Headers.of(*pairs)
    assert isinstance(cache.why_not(settings, b"GET", NOTHING, Headers(), 200, headers), str)
    found = cache.store(
        settings, method=b"GET", request_headers=Headers(), api="a", route="r", target=b"/", status=200, reason=b"",
        headers=headers, body=body, requested_at=WALL, received_at=WALL,
    )  # fmt: skip
    names = [lower for lower, _, _ in found.headers.fields]
    assert not {b"age", b"connection", b"keep-alive"} & set(names)
    assert names.count(b"content-length") == 1
    assert found.headers.get(b"content-length") == b"%d" % len(body)
    assert names.count(b"date") == 1


@given(st.lists(st.tuples(NAMES, PIECES), max_size=6))
def test_a_shared_cache_stores_no_more_than_a_private_one(pairs: list[tuple[bytes, bytes]]) -> None:
    """Where both hear the same word; s-maxage and public are what shared caches alone heed."""
    headers = Headers.of(*pairs)
    if not cache.why_not(SHARED, b"GET", NOTHING, Headers(), 200, headers):
        assert not cache.why_not(PRIVATE, b"GET", NOTHING, Headers(), 200, headers)


def test_fields_are_the_callers_to_change() -> None:
    """The answer goes on to the agent while it is stored."""
    headers = fields(FRESH)
    cache.store(
        PRIVATE, method=b"GET", request_headers=Headers(), api="a", route="r", target=b"/", status=200, reason=b"",
        headers=headers, body=b"", requested_at=WALL, received_at=WALL,
    )  # fmt: skip
    assert list(headers) == [(b"Cache-Control", b"max-age=60")]
