"""How long answers are fresh, and how old they are."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from proxy.core.cache import CacheSettings
from proxy.core.directives import LONGEST
from proxy.core.freshness import age, age_value, control, initial_age, retention, validators
from proxy.core.http_date import render
from proxy.model import Headers
from tests.core.answers import DATE, PRIVATE, SHARED, STRICT, TTL, WALL, at, fields, stored

HOUR, DAY = 3600.0, 86400.0


def fresh(text: str, settings: CacheSettings = PRIVATE, *, status: int = 200, dated: bool = True) -> float:
    """Seconds for which an answer that came just now is fresh."""
    return stored(text, settings, status=status, dated=dated).fresh_until - WALL


# --- lifetime (RFC 9111, 4.2.1)


@pytest.mark.parametrize(
    ("text", "private", "shared"),
    [
        ("Cache-Control: max-age=60", 60.0, 60.0),
        ("Cache-Control: max-age=60, s-maxage=30", 60.0, 30.0),
        ("Cache-Control: s-maxage=30", 0.0, 30.0),
        (f"Cache-Control: max-age=60\nExpires: {at(900)}", 60.0, 60.0),
        (f"Cache-Control: s-maxage=30\nExpires: {at(900)}", 900.0, 30.0),
        (f"Expires: {at(900)}", 900.0, 900.0),
        (f"Expires: {at(900)}\nExpires: {at(5)}", 900.0, 900.0),
        (f"Cache-Control: public\nExpires: {at(900)}", 900.0, 900.0),
        ("Cache-Control: max-age=x, s-maxage=y", 0.0, 0.0),
        ("Cache-Control: no-cache, max-age=60", 60.0, 60.0),
        ("", 0.0, 0.0),
    ],
)
def test_the_first_that_says_how_long_counts(text: str, private: float, shared: float) -> None:
    """s-maxage for shared caches, max-age, Expires; without any of them nothing is fresh."""
    assert fresh(text, PRIVATE) == private
    assert fresh(text, SHARED) == shared


@pytest.mark.parametrize("value", ["0", "-1", "never", at(0), at(-60), at(900).replace("GMT", "UTC"), ""])
def test_an_expires_that_has_passed_or_is_no_date(value: str) -> None:
    """RFC 9111, 5.3: stale at once, and no reason to guess by Last-Modified."""
    assert fresh(f"Expires: {value}\nLast-Modified: {at(-DAY)}") == 0.0


def test_expires_without_date_counts_from_when_the_answer_came() -> None:
    """RFC 9110, 6.6.1: the recipient gives it a Date."""
    assert fresh(f"Expires: {at(60)}", dated=False) == 60.0


def test_a_vendor_whose_clock_is_wrong_has_its_lifetimes_all_the_same() -> None:
    """Expires is held against Date, both of the vendor's clock; a date ahead of ours proves no age."""
    assert fresh(f"Expires: {at(DAY + 60)}\nDate: {at(DAY)}", dated=False) == 60.0
    assert fresh(f"Cache-Control: max-age=60\nDate: {at(DAY)}", dated=False) == 60.0


# --- heuristics (4.2.2)


@pytest.mark.parametrize("status", [200, 203, 204, 300, 301, 308, 404, 405, 410, 414])
def test_a_tenth_of_the_time_since_it_was_modified(status: int) -> None:
    """Only for the statuses that RFC 9110, 15.1 lists, and a day at most."""
    assert fresh(f"Last-Modified: {at(-1000)}", status=status) == pytest.approx(100.0)
    assert fresh(f"Last-Modified: {at(-100 * DAY)}", status=status) == DAY


@pytest.mark.parametrize("status", [201, 202, 302, 303, 307, 400, 418, 299])
def test_other_statuses_need_to_be_public(status: int) -> None:
    """4.2.2: or else an explicit lifetime."""
    assert fresh(f"Last-Modified: {at(-1000)}", status=status) == 0.0
    assert fresh(f"Last-Modified: {at(-1000)}\nCache-Control: public", status=status) == pytest.approx(100.0)


@pytest.mark.parametrize("value", [at(60), at(0), "yesterday"])
def test_no_guess_without_a_time_since(value: str) -> None:
    """A Last-Modified of the future, or none."""
    assert fresh(f"Last-Modified: {value}") == 0.0


# --- targeted control (RFC 9213)


@pytest.mark.parametrize(
    ("text", "private", "shared"),
    [
        ("Cache-Control: no-store\nCDN-Cache-Control: max-age=60", 0.0, 60.0),
        ("Cache-Control: max-age=5\nBackstay-Cache-Control: max-age=60", 60.0, 60.0),
        ("CDN-Cache-Control: max-age=5\nBackstay-Cache-Control: max-age=60", 60.0, 60.0),
        ("CDN-Cache-Control: max-age=60\nCDN-Cache-Control: max-age=50", 0.0, 50.0),
        ("Cache-Control: max-age=60\nCDN-Cache-Control: max-age=5", 60.0, 5.0),
        ("Cache-Control: max-age=60\nCDN-Cache-Control: max-age=5,", 60.0, 60.0),
        ("Cache-Control: max-age=60\nBackstay-Cache-Control:\nCDN-Cache-Control: max-age=5", 60.0, 5.0),
        ("Cache-Control: max-age=60\nCDN-Cache-Control: none", 60.0, 0.0),
        (f"Expires: {at(60)}\nCDN-Cache-Control: public", 60.0, 0.0),
        ("CDN-Cache-Control: s-maxage=7", 0.0, 7.0),
    ],
)
def test_the_most_specific_field_that_can_be_read_counts_alone(text: str, private: float, shared: float) -> None:
    """2.2: Cache-Control and Expires are then not looked at. A CDN's field is for shared caches."""
    assert fresh(text, PRIVATE) == private
    assert fresh(text, SHARED) == shared


def test_control_shows_what_it_found() -> None:
    """For failing tests."""
    text = "<Control <Directives max_age=5> expires=None targeted=True>"
    assert repr(control(SHARED, fields("CDN-Cache-Control: max-age=5"))) == text


# --- mode ttl


@pytest.mark.parametrize("text", ["", "Cache-Control: no-store, no-cache, private, must-revalidate", "Age: 500"])
def test_in_mode_ttl_the_operator_says_how_long(text: str) -> None:
    """Whatever the vendor says; the windows of staleness are the operator's too."""
    found = stored(text, TTL)
    assert found.fresh_until == WALL + 30.0
    assert (found.no_cache, found.must_revalidate, found.swr, found.sie) == (False, False, 30.0, 3600.0)


# --- the windows of staleness (RFC 5861)


@pytest.mark.parametrize(
    ("own", "setting", "swr", "sie"),
    [(None, None, None, None), (None, 30.0, None, 30.0), (60.0, None, None, 60.0), (60.0, 30.0, 30.0, 60.0),
     (5.0, 30.0, 5.0, 30.0), (0.0, 30.0, 0.0, 30.0)],
)  # fmt: skip
def test_who_says_how_long_stale_is_good_enough(
    own: float | None, setting: float | None, swr: float | None, sie: float | None
) -> None:
    """While revalidating: the vendor's word, with the operator's as a ceiling. On errors: the larger of the two."""
    settings = CacheSettings(stale_while_revalidate=setting, stale_if_error=setting)
    said = "" if own is None else f", stale-while-revalidate={own:.0f}, stale-if-error={own:.0f}"
    found = stored(f"Cache-Control: max-age=60{said}", settings)
    assert (found.swr, found.sie) == (swr, sie)


@pytest.mark.parametrize(
    ("directive", "private", "shared"),
    [
        ("must-revalidate", True, True),
        ("proxy-revalidate", False, True),
        ("s-maxage=5", False, True),
        ("max-age=5", False, False),
    ],
)
def test_who_forbids_stale_answers(directive: str, *, private: bool, shared: bool) -> None:
    """RFC 9111, 5.2.2.2, 5.2.2.8, 5.2.2.10."""
    assert stored(f"Cache-Control: {directive}", PRIVATE).must_revalidate is private
    assert stored(f"Cache-Control: {directive}", SHARED).must_revalidate is shared


@pytest.mark.parametrize(
    ("directive", "no_cache"),
    [("no-cache", True), ('no-cache="set-cookie"', False), ('no-cache="x, Expires"', True), ("max-age=5", False)],
)
def test_no_cache_of_fields_that_say_how_the_answer_may_be_used(directive: str, *, no_cache: bool) -> None:
    """Without its Expires an answer could not be judged, so such a no-cache is one of the whole answer."""
    assert stored(f"Cache-Control: {directive}").no_cache is no_cache


# --- age (4.2.3, 5.1)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", 0.0),
        ("Age: 0", 0.0),
        ("Age: 30", 30.0),
        ("Age: 030 ", 30.0),
        ("Age: 30, 60", 30.0),
        ("Age: 30\nAge: 60", 30.0),
        ("Age: -30", 0.0),
        ("Age: 30.5", 0.0),
        ("Age: x, 60", 0.0),
        ('Age: "30"', 0.0),
        ("Age:", 0.0),
        ("Age: 2147483649", LONGEST),
        (f"Age: {'9' * 5000}", LONGEST),
    ],
)
def test_the_age_that_came(text: str, seconds: float) -> None:
    """RFC 9111, 5.1: the first member of a list; what is no number is ignored."""
    assert age_value(fields(text)) == seconds


@pytest.mark.parametrize(
    ("text", "requested", "received", "seconds"),
    [
        ("", 0.0, 0.25, 0.25),
        ("Age: 30", 0.0, 0.25, 30.25),
        (f"Date: {at(0)}", 0.0, 0.25, 0.25),
        (f"Date: {at(0)}", 0.9, 0.95, 0.05),
        (f"Date: {at(0)}", 0.9, 1.05, 0.15),
        (f"Date: {at(-1)}", 0.0, 0.25, 1.25),
        (f"Date: {at(-60)}", 0.0, 0.25, 60.25),
        (f"Date: {at(-60)}\nAge: 100", 0.0, 0.25, 100.25),
        (f"Date: {at(60)}\nAge: 100", 0.0, 0.25, 100.25),
        ("Date: yesterday", 0.0, 0.25, 0.25),
        ("", 0.25, 0.0, 0.0),
    ],
)
def test_how_old_an_answer_is_when_it_comes(text: str, requested: float, received: float, seconds: float) -> None:
    """The larger of what Date proves and of Age with the time the call took; a Date of this second proves nothing."""
    assert initial_age(fields(text), WALL + requested, WALL + received) == pytest.approx(seconds, abs=1e-6)


def test_an_answer_with_a_second_to_live_is_not_stale_on_arrival() -> None:
    """It was made at .9 of the second that Date names, and came at .02 of the next."""
    headers = fields(f"Date: {at(0)}\nCache-Control: max-age=1")
    assert initial_age(headers, WALL + 0.9, WALL + 1.02) == pytest.approx(0.12)


def test_age_grows_from_when_it_came() -> None:
    """4.2.3: current_age; a clock that was set back makes nothing younger."""
    found = stored("Age: 30", took=0.5)
    assert age(found, WALL) == 30.5
    assert age(found, WALL + 10.0) == 40.5
    assert age(found, WALL - 10.0) == 30.5


def test_an_old_answer_is_fresh_for_less() -> None:
    """4.2: fresh while the lifetime is above the age."""
    assert fresh("Cache-Control: max-age=60\nAge: 20") == 40.0
    assert fresh("Cache-Control: max-age=60\nAge: 70") == -10.0


SECONDS = st.floats(0.0, 1e6)
AGES = st.one_of(st.none(), st.integers(-5, 10**12).map(lambda value: b"%d" % value), st.binary(max_size=8))


@given(AGES, st.one_of(st.none(), st.integers(-(10**6), 10**6)), SECONDS, SECONDS, SECONDS)
def test_age_is_never_negative_and_grows_with_time(
    value: bytes | None, date: int | None, took: float, later: float, step: float
) -> None:
    """Whatever Age and Date a vendor sends."""
    headers = Headers()
    if value is not None:
        headers.add(b"Age", value)
    if date is not None:
        headers.add(b"Date", render(WALL + date))
    found = stored("", dated=False)
    found.initial_age = initial_age(headers, WALL - took, WALL)
    assert 0.0 <= age(found, WALL + later) <= age(found, WALL + later + step)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_what_is_fresh_for_longer_is_fresh_for_no_less(lifetime: int, more: int, old: int) -> None:
    """Lifetime and age pull in opposite directions, and by the same measure."""
    short = fresh(f"Cache-Control: max-age={lifetime}\nAge: {old}")
    assert short == lifetime - old
    assert fresh(f"Cache-Control: max-age={lifetime + more}\nAge: {old}") == short + more


# --- how long it is worth keeping


@pytest.mark.parametrize(
    ("text", "settings", "seconds"),
    [
        ("Cache-Control: max-age=60", PRIVATE, 60.0 + HOUR),
        ("Cache-Control: max-age=60", STRICT, 60.0),
        ('Cache-Control: max-age=60\nETag: "a"', STRICT, 60.0 + HOUR),
        (f"Cache-Control: max-age=60\nLast-Modified: {at(-5)}", STRICT, 60.0 + HOUR),
        ("Cache-Control: max-age=60, stale-if-error=600", STRICT, 660.0),
        ("Cache-Control: max-age=60, stale-while-revalidate=20", STRICT, 60.0),
        ("Cache-Control: max-age=60, must-revalidate", SHARED, 60.0),
        ("Cache-Control: max-age=60, no-cache", SHARED, 0.0),
        ('Cache-Control: no-cache\nETag: "a"', SHARED, HOUR),
        ("Cache-Control: max-age=60\nAge: 100", STRICT, 0.0),
        ("Cache-Control: max-age=99999999", STRICT, 7.0 * DAY),
        ("", TTL, 30.0 + HOUR),
    ],
)
def test_an_answer_is_kept_as_long_as_it_may_be_of_use(text: str, settings: CacheSettings, seconds: float) -> None:
    """Fresh, then stale where that is allowed, then an hour for validation; a week at most."""
    assert retention(stored(text, settings), settings) == seconds


def test_retention_follows_the_settings_in_force() -> None:
    """After a reload the answer is judged anew."""
    assert retention(stored("", PRIVATE), TTL) == 30.0 + HOUR


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_what_can_be_validated(method: bytes) -> None:
    """Only GET and HEAD have a 304 (RFC 9110, 13.1.2); a Last-Modified that is no date proves nothing."""
    assert validators(stored('ETag: "a"', method=method))
    assert validators(stored(f"Last-Modified: {at(-5)}", method=method))
    assert not validators(stored("Last-Modified: yesterday\nETag:", method=method))
    assert not validators(stored('ETag: "a"', method=b"POST"))


@given(st.text(max_size=40), st.sampled_from(["Cache-Control", "CDN-Cache-Control", "Expires", "Age", "Last-Modified"]))
def test_no_field_breaks_the_facts(value: str, name: str) -> None:
    """A vendor may send anything."""
    assume("\n" not in value and "\r" not in value)
    headers = Headers.of((name.encode(), value.encode()), (b"Date", DATE))
    found = stored("", SHARED)
    found.headers, found.settings = headers, None
    assert 0.0 <= retention(found, SHARED) <= 7.0 * DAY
