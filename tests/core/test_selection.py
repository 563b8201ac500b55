"""The answer that a request gets out of a stored one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.asked import asked
from proxy.core.selection import select
from proxy.core.stored import Stored
from proxy.model import Headers, Response
from tests.core.answers import DATE, WALL, at, fields, stored

MODIFIED = at(-60)
TEXT = f'Content-Type: text/plain\nETag: "a"\nLast-Modified: {MODIFIED}\nCache-Control: max-age=60'


def serve(request: str, answer: Stored | None = None, *, method: bytes = b"GET", after: float = 5.0) -> Response:
    headers = fields(request)
    found = stored(TEXT, body=b"0123456789") if answer is None else answer
    return select(found, method, asked(headers), headers, WALL + after)


def status(request: str, answer: Stored | None = None, *, method: bytes = b"GET") -> int:
    return serve(request, answer, method=method).status


# --- the whole answer


def test_the_plain_answer_is_what_was_stored_with_its_age() -> None:
    """RFC 9111, 4: Age on each use, in whole seconds."""
    answer = stored(TEXT)
    response = serve("Accept: */*", answer, after=5.9)
    assert (response.status, response.reason, response.body) == (200, b"OK", b"hello")
    assert list(response.headers) == [*answer.headers, (b"Age", b"5")]


def test_the_headers_are_the_callers_own() -> None:
    """What one caller's answer is given stays with it."""
    answer = stored(TEXT)
    before = list(answer.headers)
    serve("", answer).headers.add(b"Cache-Status", b"backstay; hit")
    assert list(answer.headers) == before


def test_an_age_that_came_goes_on_growing() -> None:
    """One Age field, ours."""
    response = serve("", stored("Age: 30", took=0.5), after=10.0)
    assert [value for name, value in response.headers if name == b"Age"] == [b"40"]


def test_a_head_has_the_fields_without_the_body() -> None:
    """RFC 9110, 9.3.2: the length is still that of the body."""
    response = serve("", method=b"HEAD")
    assert (response.status, response.body) == (200, b"")
    assert response.headers.get(b"content-length") == b"10"


# --- conditions (RFC 9111, 4.3.2; RFC 9110, 13.2.2)


@pytest.mark.parametrize(
    ("request_text", "found"),
    [
        ('If-None-Match: "a"', 304),
        ('If-None-Match: W/"a"', 304),
        ("If-None-Match: a", 304),
        ('If-None-Match: "b", "a"', 304),
        ('If-None-Match: "b"\nIf-None-Match: "a"', 304),
        ("If-None-Match: *", 304),
        ('If-None-Match: "b"', 200),
        (f"If-Modified-Since: {MODIFIED}", 304),
        (f"If-Modified-Since: {at(0)}", 304),
        (f"If-Modified-Since: {at(-61)}", 200),
        ("If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT", 304),
        ("If-Modified-Since: Sun Nov  6 08:49:37 1994", 304),
        ("If-Modified-Since: yesterday", 200),
        (f"If-Modified-Since: {MODIFIED}\nIf-Modified-Since: {MODIFIED}", 200),
        (f'If-None-Match: "b"\nIf-Modified-Since: {MODIFIED}', 200),
        (f'If-None-Match: "a"\nIf-Modified-Since: {at(-61)}', 304),
        ('If-None-Match: "a"\nRange: bytes=0-1', 304),
    ],
)
def test_a_caller_that_has_the_answer_is_told_so(request_text: str, found: int) -> None:
    """By tag, weakly; by date only where there is no tag in the request."""
    assert status(request_text) == found
    assert status(request_text, method=b"HEAD") == found


@pytest.mark.parametrize(
    ("text", "request_text", "found"),
    [
        ("", f"If-Modified-Since: {at(0)}", 304),
        ("", f"If-Modified-Since: {at(-1)}", 200),
        ("", 'If-None-Match: "a"', 200),
        ("", "If-None-Match: *", 304),
        (f"Last-Modified: {MODIFIED}", f'If-None-Match: "a"\nIf-Modified-Since: {at(0)}', 200),
        ("Last-Modified: yesterday", f"If-Modified-Since: {at(0)}", 304),
        ('ETag: "\xe4"', 'If-None-Match: "\xe4"', 304),
    ],
)
def test_answers_with_fewer_validators(text: str, request_text: str, found: int) -> None:
    """RFC 9111, 4.3.2: without Last-Modified its Date is when it was not modified since."""
    assert status(request_text, stored(text)) == found


def test_what_a_304_says() -> None:
    """RFC 9110, 15.4.5: all that guides the caller's cache, nothing of the body."""
    text = f"{TEXT}\nVary: Accept\nContent-Location: /x\nContent-Encoding: gzip\nX-Id: 7\nExpires: {at(9)}"
    response = serve('If-None-Match: "a"', stored(text))
    assert (response.reason, response.body) == (b"Not Modified", b"")
    assert list(response.headers) == [
        (b"ETag", b'"a"'),
        (b"Cache-Control", b"max-age=60"),
        (b"Vary", b"Accept"),
        (b"Content-Location", b"/x"),
        (b"X-Id", b"7"),
        (b"Expires", at(9).encode()),
        (b"Date", DATE),
        (b"Age", b"5"),
    ]


def test_a_304_without_a_tag_says_when_it_was_modified() -> None:
    """It is then the only validator the caller's cache has."""
    response = serve(f"If-Modified-Since: {at(0)}", stored(f"Last-Modified: {MODIFIED}"))
    assert response.headers.get(b"last-modified") == MODIFIED.encode()


@pytest.mark.parametrize("code", [203, 204, 301, 404])
def test_conditions_are_for_successes(code: int) -> None:
    """RFC 9110, 13.2.1: of anything else the caller gets what it would get without them."""
    answer = stored('ETag: "a"', status=code)
    assert status('If-None-Match: "a"', answer) == (304 if code < 300 else code)
    assert status("Range: bytes=0-1", answer) == code


@pytest.mark.parametrize("method", [b"POST", b"QUERY"])
def test_conditions_and_ranges_are_for_get(method: bytes) -> None:
    """RFC 9110, 13.1.2 and 14.2: on another method they mean something else."""
    answer = stored('ETag: "a"', method=method)
    assert status('If-None-Match: "a"\nRange: bytes=0-1', answer, method=method) == 200


# --- ranges (RFC 9110, 14)


@pytest.mark.parametrize(
    ("ranges", "body", "content_range"),
    [
        ("bytes=0-3", b"0123", b"bytes 0-3/10"),
        ("bytes=3-3", b"3", b"bytes 3-3/10"),
        ("bytes=4-", b"456789", b"bytes 4-9/10"),
        ("bytes=4-99", b"456789", b"bytes 4-9/10"),
        ("bytes=-3", b"789", b"bytes 7-9/10"),
        ("bytes=-99", b"0123456789", b"bytes 0-9/10"),
        ("bytes=0-99999999999999999999", b"0123456789", b"bytes 0-9/10"),
        ("BYTES=0-3", b"0123", b"bytes 0-3/10"),
    ],
)
def test_a_part_of_the_answer(ranges: str, body: bytes, content_range: bytes) -> None:
    """First to last, first on, and the last so many."""
    response = serve(f"Range: {ranges}")
    assert (response.status, response.reason, response.body) == (206, b"Partial Content", body)
    assert response.headers.get(b"content-range") == content_range
    assert response.headers.get(b"content-length") == b"%d" % len(body)
    assert response.headers.get(b"content-type") == b"text/plain"
    assert response.headers.get(b"age") == b"5"


@pytest.mark.parametrize("ranges", ["bytes=10-", "bytes=10-20", "bytes=-0"])
def test_a_part_that_is_not_there(ranges: str) -> None:
    """RFC 9110, 15.5.17: how long the answer is."""
    response = serve(f"Range: {ranges}")
    assert (response.status, response.reason, response.body) == (416, b"Range Not Satisfiable", b"")
    assert response.headers.get(b"content-range") == b"bytes */10"
    assert response.headers.get(b"content-length") == b"0"
    assert b"content-type" not in response.headers


@pytest.mark.parametrize(
    "ranges",
    [
        "bytes=0-1, 3-4",
        "bytes=-",
        "bytes=3-1",
        "bytes=a-b",
        "lines=0-1",
        "bytes 0-1",
        "",
        "bytes=0-1\nRange: bytes=3-4",
    ],
)
def test_a_range_that_is_not_for_us_is_ignored(ranges: str) -> None:
    """RFC 9110, 14.2: the whole answer is always right."""
    response = serve(f"Range: {ranges}")
    assert (response.status, response.body) == (200, b"0123456789")
    assert b"content-range" not in response.headers


def test_ranges_of_nothing_and_of_a_head() -> None:
    """An empty body has no part, and HEAD has no body."""
    assert status("Range: bytes=0-1", stored(TEXT, body=b"")) == 200
    assert status("Range: bytes=-1", stored(TEXT, body=b"")) == 200
    assert status("Range: bytes=0-1", method=b"HEAD") == 200


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ('"a"', 206),
        ('"b"', 200),
        ('W/"a"', 200),
        (MODIFIED, 206),
        (at(-61), 200),
        (at(0), 200),
        ("yesterday", 200),
        ('"a"\nIf-Range: "a"', 200),
    ],
)
def test_if_range_names_the_version_of_which_a_part_is_wanted(condition: str, found: int) -> None:
    """RFC 9110, 13.1.5: strongly; of another version the whole is sent."""
    assert status(f"Range: bytes=0-1\nIf-Range: {condition}") == found


@pytest.mark.parametrize(
    ("text", "condition", "found"),
    [
        ('ETag: W/"a"', 'W/"a"', 200),
        ("", '"a"', 200),
        (f"Last-Modified: {at(-1)}", at(-1), 206),
        (f"Last-Modified: {at(0)}", at(0), 200),
        ("", at(0), 200),
    ],
)
def test_if_range_against_weak_validators(text: str, condition: str, found: int) -> None:
    """RFC 9110, 8.8.2.2: an answer modified in the second in which it was sent may be another by now."""
    assert status(f"Range: bytes=0-1\nIf-Range: {condition}", stored(text)) == found


# --- whatever comes

VALUES = st.binary(max_size=12) | st.sampled_from(
    [b"bytes=", b'"a"', b"*", b"bytes=1-", b"bytes=-2", MODIFIED.encode()]
)
REQUESTS = st.lists(
    st.tuples(
        st.sampled_from([b"Range", b"If-Range", b"If-None-Match", b"If-Modified-Since"]),
        st.lists(VALUES, max_size=3).map(b"".join),
    ),
    max_size=4,
)


@given(REQUESTS, st.sampled_from([b"GET", b"HEAD", b"POST"]), st.binary(max_size=12), st.floats(-10.0, 1e6))
def test_whatever_is_asked_the_answer_is_of_what_was_stored(
    pairs: list[tuple[bytes, bytes]], method: bytes, body: bytes, after: float
) -> None:
    """A slice of the body under its own length, and one Age that is not negative."""
    headers = Headers.of(*pairs)
    response = select(stored(TEXT, body=body), method, asked(headers), headers, WALL + after)
    assert response.body in body
    ages = [int(value) for name, value in response.headers if name == b"Age"]
    assert len(ages) == 1
    assert ages[0] >= 0
    if response.status in {206, 416} or (response.status == 200 and method != b"HEAD"):
        assert response.headers.get(b"content-length") == b"%d" % len(response.body)


@given(st.integers(0, 30), st.integers(0, 30))
def test_a_range_is_the_slice_it_says(first: int, last: int) -> None:
    """For every pair of positions, within and without."""
    body = b"0123456789"
    response = serve(f"Range: bytes={first}-{last}")
    if first > last:
        assert response.status == 200
    elif first >= len(body):
        assert response.status == 416
    else:
        assert (response.status, response.body) == (206, body[first : last + 1])
