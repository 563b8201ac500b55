"""Which requests an answer is for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core import vary
from proxy.core.stored import VaryValues
from proxy.model import Headers
from tests.core.answers import fields


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        ("Vary:", ()),
        ("Vary: Accept", (b"accept",)),
        ("Vary: X-B , Accept,\nVary: ACCEPT,x-a", (b"accept", b"x-a", b"x-b")),
        ("Vary: *\nServer: x", None),
        ("Vary: Accept\nVary: X, *", None),
    ],
)
def test_the_names_an_answer_varies_by(text: str, names: tuple[bytes, ...] | None) -> None:
    """RFC 9110, 12.5.5: a list over lines; "*" is beyond the request."""
    assert vary.names(fields(text), ()) == names


def test_the_operator_may_name_more() -> None:
    """For vendors that do not say so."""
    assert vary.names(fields("Vary: Accept"), (b"x-tenant", b"accept")) == (b"accept", b"x-tenant")
    assert vary.names(fields("Vary: *"), (b"x-tenant",)) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("", ""),
        ("Accept: a, b", "Accept: a,b"),
        ("Accept: a, b", "Accept: a\t ,  b"),
        ("Accept: a, b", "Accept: a\nAccept: b"),
        ("Accept: a, b", "accept: a, b\nX-Other: 1"),
        ('Accept: a, "b"', ' Accept:  a, "b" '),
        ("Accept:", "Accept: "),
        ("Accept-Language: de-CH, en", "Accept-Language: de-ch,EN"),
        ("Accept-Encoding: GZIP", "Accept-Encoding: gzip"),
    ],
)
def test_requests_that_are_the_same(one: str, other: str) -> None:
    """RFC 9111, 4.1: whitespace that means nothing, how it came in lines, case that means nothing."""
    stored = vary.values((b"accept", b"accept-encoding", b"accept-language", b"x-absent"), fields(one))
    assert vary.matches(stored, fields(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Accept: a", "Accept: b"),
        ("Accept: a", "Accept: A"),
        ("Accept: a, b", "Accept: b, a"),
        ("Accept: a", ""),
        ("", "Accept: a"),
        ("", "Accept:"),
        ("Accept: a b", "Accept: ab"),
        ('Accept: "a, b"', 'Accept: "a,b"'),
    ],
)
def test_requests_that_differ(one: str, other: str) -> None:
    """An absent field matches an absent one only; order, case and what is in quotes mean something."""
    assert not vary.matches(vary.values((b"accept",), fields(one)), fields(other))


def test_an_answer_that_varies_by_nothing_is_for_every_request() -> None:
    """The plain case."""
    assert vary.values((), fields("Accept: a")) == ()
    assert vary.matches((), fields("Accept: a"))


def test_what_tells_who_calls_is_kept_as_a_digest() -> None:
    """A store may be shared, and what is stored be looked at; it matches all the same."""
    stored = vary.values((b"accept", b"cookie"), fields("Accept: a\nCookie: session=secret"))
    assert stored[0] == (b"accept", b"a")
    assert b"secret" not in (stored[1][1] or b"secret")
    assert vary.matches(stored, fields("Accept: a\nCookie:  session=secret "))
    assert not vary.matches(stored, fields("Accept: a\nCookie: session=other"))


def test_the_key_of_a_variant() -> None:
    """It begins with the key of its target, and changes with the record's nonce."""
    values = vary.values((b"accept",), fields("Accept: a"))
    key = vary.key("primary", "n1", values)
    assert key.startswith("primary:")
    assert key == vary.key("primary", "n1", values)
    assert key != vary.key("primary", "n2", values)


VALUES = st.lists(st.tuples(st.binary(max_size=6), st.none() | st.binary(max_size=6)), max_size=3).map(tuple)


@given(VALUES, VALUES, st.text("n1:", max_size=4), st.text("n1:", max_size=4))
def test_no_two_variants_share_a_key(one: VaryValues, other: VaryValues, nonce: str, other_nonce: str) -> None:
    """Whatever bytes callers send, absent and empty told apart."""
    same = (one, nonce) == (other, other_nonce)
    assert (vary.key("p", nonce, one) == vary.key("p", other_nonce, other)) is same


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.binary(max_size=6)), max_size=4))
def test_a_request_matches_what_was_stored_for_it(pairs: list[tuple[bytes, bytes]]) -> None:
    """An answer is at least for the request that brought it."""
    headers = Headers.of(*pairs)
    assert vary.matches(vary.values((b"a", b"b"), headers), headers)
