"""What changes stored answers: a 304, a HEAD, an unsafe request."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.cache import CacheSettings, confirms, freshen, invalidated, outdated, refresh
from proxy.core.stored import Stored, VaryValues
from proxy.model import Headers
from tests.core.answers import PRIVATE, SHARED, TTL, WALL, at, fields, stored

LATER = WALL + 100.0
ORIGIN = ("https", b"api.example.com", 443)


def refreshed(old: str, new: str, settings: CacheSettings = PRIVATE) -> Stored:
    return refresh(settings, stored(old, settings), Headers(), fields(new), LATER - 0.5, LATER)


def pairs(answer: Stored, *names: bytes) -> list[tuple[bytes, bytes]]:
    return [(lower, value) for lower, _, value in answer.headers.fields if lower in names]


# --- a 304 (RFC 9111, 3.2 and 4.3.4)


def test_a_304_replaces_fields_and_leaves_the_rest() -> None:
    """Every field of the same name goes, new ones come, the body stays."""
    fresh = refreshed("X-A: 1\nX-A: 2\nX-B: 3\nCache-Control: max-age=5", "x-a: 9\nX-C: 4\nCache-Control: max-age=60")
    assert pairs(fresh, b"x-a", b"x-b", b"x-c") == [(b"x-b", b"3"), (b"x-a", b"9"), (b"x-c", b"4")]
    assert (fresh.status, fresh.body, fresh.target) == (200, b"hello", b"/v1/now?city=Rome")
    assert fresh.fresh_until == LATER + 60.0 - 0.5
    assert fresh.settings is PRIVATE


def test_the_fields_that_frame_encode_and_prove_the_stored_body_stay() -> None:
    """RFC 9111, 3.2: without them it could not be read. Of what kind it is the vendor may say anew."""
    old = "Content-Encoding: gzip\nContent-MD5: rL0Y\nContent-Type: text/plain"
    fresh = refreshed(old, "Content-Encoding: br\nContent-Type: x/y\nContent-MD5: N7Ud\nContent-Length: 9")
    assert sorted((name, value) for name, value in fresh.headers if name.startswith(b"Content-")) == [
        (b"Content-Encoding", b"gzip"),
        (b"Content-Length", b"5"),
        (b"Content-MD5", b"rL0Y"),
        (b"Content-Type", b"x/y"),
    ]


def test_fields_of_the_hop_are_no_update() -> None:
    """RFC 9111, 3.1; Age is reckoned, not kept."""
    fresh = refreshed("X-A: 1", "Connection: x-a\nX-A: 2\nKeep-Alive: 1\nAge: 7")
    assert pairs(fresh, b"x-a", b"connection", b"keep-alive", b"age") == [(b"x-a", b"1")]
    assert fresh.initial_age == 7.5


@pytest.mark.parametrize(("new", "date"), [("", at(100)), (f"Date: {at(99)}", at(99)), ("Date: today", at(100))])
def test_the_date_is_that_of_the_304(new: str, date: str) -> None:
    """The old one would make the answer as old as it was before."""
    fresh = refreshed("Cache-Control: max-age=60", new)
    assert pairs(fresh, b"date") == [(b"date", date.encode())]
    assert fresh.fresh_until > LATER


def test_new_directives_count_from_now_on() -> None:
    """They are fields like others: here some are for the caller of that moment only."""
    fresh = refreshed("X-A: 1", 'X-A: 2\nX-B: 3\nCache-Control: max-age=9, no-cache="x-a", private="x-b"', SHARED)
    assert pairs(fresh, b"x-a", b"x-b") == []
    assert refreshed("Cache-Control: max-age=5", "Cache-Control: no-cache").no_cache


@pytest.mark.parametrize(
    ("new", "vary"),
    [
        ("", ((b"accept", b"a"),)),
        ("Vary: X", ((b"accept", b"a"), (b"x", b"1"))),
        ("Vary: *", ((b"accept", b"a"),)),  # it will not be stored
    ],
)
def test_what_it_varies_by_is_never_less_than_before(new: str, vary: VaryValues) -> None:
    """A 304 may name another field: then it has confirmed the answer for this value of it, and no other."""
    old = stored("Vary: Accept", request="Accept: a")
    assert refresh(PRIVATE, old, fields("X: 1\nAccept: a"), fields(new), LATER, LATER).vary == vary


def test_what_did_not_vary_may_vary_now() -> None:
    """Also by a field that only the operator knows of."""
    settings = CacheSettings(vary=(b"x",))
    fresh = refresh(settings, stored("", PRIVATE), fields("Accept: a"), fields("Vary: Accept"), LATER, LATER)
    assert fresh.vary == ((b"accept", b"a"), (b"x", None))


@pytest.mark.parametrize(
    ("control", "settings", "kept"),
    [
        ("max-age=60", PRIVATE, True),
        ("max-age=0", PRIVATE, True),
        ("max-age=60", SHARED, True),
        ("max-age=0", SHARED, False),
        ("max-age=60, no-cache", SHARED, False),
    ],
)
def test_a_304_gives_no_callers_cookie_to_others(control: str, settings: CacheSettings, *, kept: bool) -> None:
    """The rule for storing one holds for updates too."""
    fresh = refreshed('ETag: "a"', f"Set-Cookie: a=b\nCache-Control: {control}", settings)
    assert pairs(fresh, b"set-cookie") == ([(b"set-cookie", b"a=b")] if kept else [])


def test_in_mode_ttl_a_304_begins_the_ttl_anew() -> None:
    """The operator's word, from when it came."""
    assert refreshed("", "Cache-Control: no-store", TTL).fresh_until == LATER + 30.0


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ('ETag: "a"', 'ETag: "a"', True),
        ('ETag: "a"', 'ETag: W/"a"', True),
        ('ETag: "a"', 'ETag: "b"', False),
        ('ETag: "a"', "", True),
        (f"Last-Modified: {at(-5)}", 'ETag: "b"', True),
    ],
)
def test_which_answer_a_304_is_about(old: str, new: str, *, same: bool) -> None:
    """RFC 9111, 4.3.4: one that names another version must not update this one."""
    assert confirms(stored(old), fields(new)) is same


# --- a HEAD (RFC 9111, 4.3.5)


@pytest.mark.parametrize(
    "new",
    ["", 'ETag: "a"', f"Last-Modified: {at(-5)}", "Content-Length: 5", f'ETag: "a"\nLast-Modified: {at(-5)}'],
)
def test_a_head_that_agrees_refreshes(new: str) -> None:
    """What it does not say it does not contradict."""
    old = stored(f'ETag: "a"\nLast-Modified: {at(-5)}')
    fresh = freshen(PRIVATE, old, Headers(), fields(f"{new}\nX-A: 1\nCache-Control: max-age=60"), LATER, LATER)
    assert fresh is not None
    assert pairs(fresh, b"x-a") == [(b"x-a", b"1")]
    assert fresh.fresh_until == LATER + 60.0


@pytest.mark.parametrize("new", ['ETag: "b"', f"Last-Modified: {at(-4)}", "Content-Length: 6", 'ETag: "a"\nETag: "b"'])
def test_a_head_that_differs_tells_that_the_answer_has_changed(new: str) -> None:
    """Then what is stored is to be forgotten."""
    old = stored(f'ETag: "a"\nLast-Modified: {at(-5)}')
    assert freshen(PRIVATE, old, Headers(), fields(new), LATER, LATER) is None


# --- an unsafe request (RFC 9111, 4.4)


@pytest.mark.parametrize("status", [200, 201, 204, 301, 303, 304])
def test_an_unsafe_request_makes_its_target_unsure(status: int) -> None:
    """2xx and 3xx count as no error."""
    assert invalidated(b"/v1/x?y=1", ORIGIN, status, Headers()) == [b"/v1/x?y=1"]


@pytest.mark.parametrize("status", [100, 400, 404, 412, 500, 503])
def test_an_error_has_changed_nothing(status: int) -> None:
    """Or else anybody could empty the cache."""
    assert invalidated(b"/v1/x", ORIGIN, status, fields("Location: /v1/y")) == []


@pytest.mark.parametrize(
    ("reference", "named"),
    [
        ("/v1/y", b"/v1/y"),
        ("y?z=1", b"/v1/y?z=1"),
        ("?z=1", b"/v1/x?z=1"),
        ("../y#part", b"/y"),
        ("https://api.example.com/v1/y", b"/v1/y"),
        ("https://API.example.com:443/v1/y?a", b"/v1/y?a"),
        ("//api.example.com", b"/"),
        ("/v1/\xe4", b"/v1/\xe4"),
    ],
)
def test_what_it_names_at_the_same_origin_is_unsure_too(reference: str, named: bytes) -> None:
    """Location and Content-Location, relative or not; a fragment is none of the target."""
    for field in ("Location", "Content-Location"):
        assert invalidated(b"/v1/x", ORIGIN, 201, fields(f"{field}: {reference}")) == [b"/v1/x", named]


@pytest.mark.parametrize(
    "reference",
    [
        "https://other.example.com/v1/y",
        "http://api.example.com/v1/y",
        "https://api.example.com:8443/v1/y",
        "//evil/v1/y",
        "https://[bad/v1/y",
        "https://api.example.com:port/",
        "mailto:someone@example.com",
        "/v1/x",
        "",
    ],
)
def test_another_origin_is_none_of_this_vendors(reference: str) -> None:
    """Or else it could empty the cache of others; and its own target is named once."""
    assert invalidated(b"/v1/x", ORIGIN, 201, fields(f"Location: {reference}")) == [b"/v1/x"]


def test_both_fields_and_other_origins() -> None:
    """A port of its own, plain http, an address of IPv6."""
    both = fields("Location: /a\nContent-Location: http://127.0.0.1:8080/b")
    assert invalidated(b"/x", ("http", b"127.0.0.1", 8080), 201, both) == [b"/x", b"/a", b"/b"]
    six = fields("Location: http://[::1]/a")
    assert invalidated(b"/x", ("http", b"::1", 80), 201, six) == [b"/x", b"/a"]
    assert invalidated(b"/x", ("http", b"[::1]", 80), 201, six) == [b"/x", b"/a"]


@given(st.binary(max_size=30), st.binary(max_size=30))
def test_no_bytes_break_the_reader(target: bytes, reference: bytes) -> None:
    """A vendor may send anything; its own target is always unsure."""
    found = invalidated(b"/" + target, ORIGIN, 200, Headers.of((b"Location", reference)))
    assert found[0] == b"/" + target
    assert all(named.startswith(b"/") for named in found)


@pytest.mark.parametrize(
    ("status", "own", "shared"),
    [
        (200, True, True),
        (302, True, True),
        (206, False, False),
        (304, False, False),
        (404, True, True),
        (410, True, True),
        (401, True, False),
        (403, True, False),
        (400, False, False),
        (412, False, False),
        (429, False, False),
        (503, False, False),
    ],
)
def test_what_an_answer_that_is_not_stored_says_of_what_is(status: int, *, own: bool, shared: bool) -> None:
    """Another answer takes its place, an error of the moment does not; a denial is one caller's."""
    assert outdated(status, shared=False) is own
    assert outdated(status, shared=True) is shared
