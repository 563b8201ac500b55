"""Tests of what tells one call from another."""

from __future__ import annotations

import re
from itertools import combinations, pairwise, permutations
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.fingerprint import Fingerprint
from proxy.model import Headers, Request

USUAL: Final = ("method", "path", "query", "body")
ALL: Final = (*USUAL, "header:X-Org", "header:X-Run")
BYTES: Final = st.binary(max_size=6)
REQUESTS: Final = st.builds(
    lambda method, target, fields, body: Request(method, target, Headers.of(*fields), body=body),
    st.sampled_from([b"POST", b"PUT", b"P", b""]),
    st.lists(st.sampled_from([b"/", b"?", b"a", b"1:", b"-1:"]), max_size=5).map(b"".join),
    st.lists(st.tuples(st.sampled_from([b"x-org", b"X-Run", b"other"]), BYTES), max_size=4),
    BYTES,
)


def a_request(
    method: bytes = b"POST", target: bytes = b"/v1/charges", *fields: tuple[bytes, bytes], body: bytes = b"a=1"
) -> Request:
    return Request(method, target, Headers.of(*fields), body=body)


def values(request: Request, name: bytes) -> list[bytes]:
    return [value for lower, _, value in request.headers.fields if lower == name]


def told(request: Request) -> tuple[object, ...]:
    """All that ALL names, as one would compare it without a digest."""
    path, mark, query = request.target.partition(b"?")
    headers = [values(request, name) for name in (b"x-org", b"x-run")]
    return request.method, path, query if mark else None, headers, request.body


def test_a_fingerprint_is_short_and_says_nothing() -> None:
    """32 hexadecimal digits, the same for the same call."""
    fingerprint = Fingerprint(USUAL)
    assert re.fullmatch("[0-9a-f]{32}", fingerprint.of(a_request()))
    assert fingerprint.of(a_request()) == Fingerprint(USUAL).of(a_request())
    assert repr(fingerprint) == "<Fingerprint of method path query body>"


@pytest.mark.parametrize(
    "other",
    [
        a_request(b"PUT"),
        a_request(target=b"/v1/charge"),
        a_request(target=b"/v1/charges?"),
        a_request(target=b"/v1/charges?a"),
        a_request(body=b"a=2"),
        a_request(body=b""),
    ],
    ids=["method", "path", "empty query", "query", "body", "no body"],
)
def test_every_part_counts(other: Request) -> None:
    """A query that is empty is another than none."""
    fingerprint = Fingerprint(USUAL)
    assert fingerprint.of(other) != fingerprint.of(a_request())


def test_a_question_mark_within_the_query_is_a_part_of_it() -> None:
    """The path ends at the first."""
    path, query = Fingerprint(("path",)), Fingerprint(("query",))
    one, other = a_request(target=b"/a?b?c"), a_request(target=b"/a?b")
    assert path.of(one) == path.of(other)
    assert query.of(one) != query.of(other)


@pytest.mark.parametrize("left_out", ["method", "path", "query", "body"])
def test_a_part_that_is_not_named_does_not_count(left_out: str) -> None:
    """And all the others do."""
    fingerprint = Fingerprint(tuple(part for part in USUAL if part != left_out))
    others = {
        "method": a_request(b"PUT"),
        "path": a_request(target=b"/v1/refunds"),
        "query": a_request(target=b"/v1/charges?a"),
        "body": a_request(body=b"a=2"),
    }
    same = [part for part, other in others.items() if fingerprint.of(other) == fingerprint.of(a_request())]
    assert same == [left_out]
    assert fingerprint.needs_body is (left_out != "body")


def test_headers_count_by_value_number_and_order() -> None:
    """And one that is empty is another than none. Their names are known in any case."""
    fingerprint = Fingerprint(("header:X-Org",))
    fields: list[list[tuple[bytes, bytes]]] = [
        [],
        [(b"x-org", b"")],
        [(b"x-org", b"a")],
        [(b"x-org", b"a"), (b"x-org", b"b")],
        [(b"x-org", b"b"), (b"x-org", b"a")],
        [(b"x-org", b"a, b")],
        [(b"x-org", b""), (b"x-org", b"")],
    ]
    assert len({fingerprint.of(a_request(b"POST", b"/", *each)) for each in fields}) == len(fields)
    for each in fields:
        renamed = [(b"X-ORG", value) for _, value in each]
        assert fingerprint.of(a_request(b"GET", b"/", *renamed)) == fingerprint.of(a_request(b"POST", b"/a", *each))


def test_the_order_in_the_configuration_means_nothing() -> None:
    """A list that is only written in another way makes no key stand for another call."""
    request = a_request(b"POST", b"/a?b", (b"x-org", b"1"), (b"x-run", b"2"))
    orders = [tuple(order) for order in permutations(("method", "body", "header:X-Org", "header:x-run"))]
    assert len({Fingerprint(order).of(request) for order in orders}) == 1
    assert Fingerprint((*ALL, "header:x-org", "body")).of(request) == Fingerprint(ALL).of(request)


def test_other_parts_give_other_fingerprints() -> None:
    """Even where there is nothing to tell: what was kept before a reload is never mistaken for what comes after it."""
    request = a_request(b"", b"", body=b"")
    chosen = [parts for size in range(len(ALL) + 1) for parts in combinations(ALL, size)]
    assert len({Fingerprint(parts).of(request) for parts in chosen}) == len(chosen)


@given(one=REQUESTS, other=REQUESTS)
def test_calls_have_the_same_fingerprint_only_if_they_are_the_same(one: Request, other: Request) -> None:
    """Nothing can be made to look like the end of one part and the beginning of the next."""
    fingerprint = Fingerprint(ALL)
    assert (fingerprint.of(one) == fingerprint.of(other)) is (told(one) == told(other))


@given(request=REQUESTS, data=st.data(), parts=st.sampled_from([USUAL, ALL, ("method",), ()]))
def test_a_body_in_pieces_gives_the_same(request: Request, data: st.DataObject, parts: tuple[str, ...]) -> None:
    """However it is cut; and where it does not count it is not asked for, and changes nothing."""
    fingerprint = Fingerprint(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(request.body)))))
    digest = fingerprint.begin(request)
    for start, end in pairwise([0, *cuts, len(request.body)]):
        digest.feed(request.body[start:end])
    assert digest.end() == fingerprint.of(request)
    assert digest.end() == digest.end()
    assert repr(digest) == f"<Digest {digest.end()[:8]} so far>"
