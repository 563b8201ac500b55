"""Tests of the keys of calls that must happen once: the agent's, the record's, and the one sent upstream."""

from __future__ import annotations

import re
from itertools import product
from typing import Final

import pytest
from hypothesis import example
from hypothesis import given as given_examples
from hypothesis import strategies as st

from proxy.core.idempotency_key import LONGEST, given, ident, scope_of, upstream_key
from proxy.core.vendors import VENDORS
from proxy.errors import KeyMalformed
from proxy.model import Headers

NAMES: Final = (b"idempotency-key", b"paypal-request-id")
TRACE: Final = b"0af7651916cd43dd8448eb211c80319c"
PARENT: Final = b"b7ad6b7169203331"
DIGITS: Final = re.compile("[0-9a-f]{32}")


def key_of(*fields: tuple[bytes, bytes]) -> bytes | None:
    return given(Headers.of(*fields), NAMES)


def refusal(*fields: tuple[bytes, bytes]) -> str:
    with pytest.raises(KeyMalformed) as caught:
        key_of(*fields)
    assert (caught.value.status, caught.value.source) == (400, "agent")
    return caught.value.detail


# --- the agent's key ----------------------------------------------------------------------------------------


def test_a_key_is_taken_as_it_stands() -> None:
    """In a field of any case; quotes belong to it, as commas and spaces do."""
    assert key_of((b"IDEMPOTENCY-KEY", b"a")) == b"a"
    assert key_of((b"Idempotency-Key", b'"a"')) == b'"a"'
    assert key_of((b"Idempotency-Key", b"a, b ~")) == b"a, b ~"


def test_no_key_is_none() -> None:
    """Absence is no error here."""
    assert key_of() is None
    assert key_of((b"Idempotency-Keys", b"a")) is None
    assert given(Headers.of((b"Idempotency-Key", b"a")), ()) is None


def test_the_first_name_that_is_present_counts() -> None:
    """Whatever comes first in the request; the other is left to the vendor, good or bad."""
    assert key_of((b"PayPal-Request-Id", b"p"), (b"Idempotency-Key", b"i")) == b"i"
    assert key_of((b"PayPal-Request-Id", b"p")) == b"p"
    assert key_of((b"PayPal-Request-Id", b""), (b"Idempotency-Key", b"i")) == b"i"
    assert "paypal-request-id" in refusal((b"PayPal-Request-Id", b""))


@pytest.mark.parametrize("other", [b"a", b"b", b""])
def test_a_key_given_twice_is_refused(other: bytes) -> None:
    """The same one too: who reads it on the way may make one key of both."""
    detail = refusal((b"Idempotency-Key", b"a"), (b"idempotency-key", other))
    assert detail == "idempotency-key was sent 2 times. Send one field with one key."


def test_an_empty_key_is_refused() -> None:
    """Nobody means all calls without a key to be the same one."""
    detail = refusal((b"Idempotency-Key", b""))
    assert detail.startswith("idempotency-key is empty. Send one that is new for each call")
    assert detail.endswith("or leave the field out.")


def test_a_key_may_have_255_characters() -> None:
    """As with the vendors; the detail says how many there are, and not which."""
    assert key_of((b"Idempotency-Key", b"k" * LONGEST)) == b"k" * 255
    detail = refusal((b"Idempotency-Key", b"k" * 256))
    assert detail.startswith("idempotency-key has 256 characters, and may have 255. Send ")
    assert "kk" not in detail


@pytest.mark.parametrize("value", [b"a\x1f", b"\x7f", b"\xc3\xa9", b"a\tb", b"a\n", b"\x00"])
def test_a_key_that_is_not_printable_ascii_is_refused(value: bytes) -> None:
    """It may be read in other ways on its way; the detail does not repeat it."""
    detail = refusal((b"Idempotency-Key", value))
    assert detail.startswith("idempotency-key has a character that is not printable ASCII. Send ")
    assert detail.isascii()
    assert detail.isprintable()


@given_examples(value=st.binary(max_size=260))
def test_what_is_taken_is_short_and_printable(value: bytes) -> None:
    """All of it, and nothing else."""
    headers = Headers.of((b"Idempotency-Key", value))
    if 0 < len(value) <= 255 and all(0x20 <= byte <= 0x7E for byte in value):
        assert given(headers, NAMES) == value
    else:
        with pytest.raises(KeyMalformed):
            given(headers, NAMES)


# --- the name of a record -----------------------------------------------------------------------------------


def test_a_record_is_known_by_api_scope_key_and_kind() -> None:
    """Another of any of them is another record, and no part can be made to look like the end of the one before."""
    texts = ["", "a", "aa", "1:a", "a1:"]
    names = {
        ident(api, scope, key.encode(), derived=derived)
        for api, scope, key, derived in product(texts, texts, texts, (False, True))
    }
    assert len(names) == len(texts) ** 3 * 2
    assert all(DIGITS.fullmatch(name) for name in names)
    assert ident("stripe", "", b"k", derived=False) == ident("stripe", "", b"k", derived=False)


@example(scope="\udcff")
@given_examples(scope=st.text(max_size=5))
def test_any_scope_will_do(scope: str) -> None:
    """It is whatever the agent has sent, surrogates of undecodable bytes among it."""
    assert DIGITS.fullmatch(ident("stripe", scope, b"k", derived=False))


# --- the scope of a derived key -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "trace"),
    [
        (b"00-%b-%b-01" % (TRACE, PARENT), TRACE),
        (b"00-%b-%b-00" % (TRACE, PARENT), TRACE),
        (b"01-%b-%b-01" % (TRACE, PARENT), TRACE),
        (b"fe-%b-%b-01-more-to-come" % (TRACE, PARENT), TRACE),
        (b"01-%b-%b-01-" % (TRACE, PARENT), TRACE),
        (b"ff-%b-%b-01" % (TRACE, PARENT), None),
        (b"00-%b-%b-01-more" % (TRACE, PARENT), None),
        (b"00-%b-%b-01-" % (TRACE, PARENT), None),
        (b"01-%b-%b-01more" % (TRACE, PARENT), None),
        (b"00-%b-%b-01" % (b"0" * 32, PARENT), None),
        (b"00-%b-%b-01" % (TRACE, b"0" * 16), None),
        (b"00-%b-%b-01" % (TRACE.upper(), PARENT), None),
        (b"00-%b-%b-01" % (TRACE[1:], PARENT), None),
        (b"00-%b-%b-1" % (TRACE, PARENT), None),
        (b"0-%b-%b-01" % (TRACE, PARENT), None),
        (b" 00-%b-%b-01" % (TRACE, PARENT), None),
        (b"", None),
    ],
)
def test_the_trace_id_of_a_valid_traceparent(value: bytes, trace: bytes | None) -> None:
    """W3C Trace Context, 3.2: version ff and ids of zeros are invalid, and only later versions may have more in it."""
    assert scope_of("traceparent", Headers.of((b"TraceParent", value))) == trace


def test_without_one_traceparent_there_is_no_trace() -> None:
    """Nobody knows which of several to believe."""
    field = (b"traceparent", b"00-%b-%b-01" % (TRACE, PARENT))
    assert scope_of("traceparent", Headers()) is None
    assert scope_of("traceparent", Headers.of(field, field)) is None


def test_a_header_may_be_the_scope() -> None:
    """Its name in any case; of several fields all values count, and those that are empty are none."""
    for scope in ("header:x-run-id", "header:X-Run-Id"):
        assert scope_of(scope, Headers.of((b"X-RUN-ID", b"7"), (b"other", b"8"))) == b"7"
        assert scope_of(scope, Headers.of((b"x-run-id", b"7"), (b"x-run-id", b""), (b"x-run-id", b"8"))) == b"7, 8"
        assert scope_of(scope, Headers.of((b"x-run-id", b""))) is None
        assert scope_of(scope, Headers()) is None


# --- the key sent upstream ----------------------------------------------------------------------------------


def test_a_derived_key_is_recognised_and_says_nothing() -> None:
    """Letters, digits and dashes, as the strictest vendor wants them, and short enough for all."""
    name = ident("stripe", "run-7", b"derived from", derived=True)
    key = upstream_key(name, "nonce")
    assert re.fullmatch(b"bs-[0-9a-f]{32}", key)
    assert 16 <= len(key) <= min(vendor.longest for vendor in VENDORS)
    assert name[:8].encode() not in key


def test_a_derived_key_is_that_of_its_record() -> None:
    """The same for the same record; another record of the same call has another nonce, and is another call upstream."""
    keys = {upstream_key(name, nonce) for name, nonce in product(["a", "ab", "a1:"], ["", "a", "b"])}
    assert len(keys) == 9
    assert upstream_key("a", "b") == upstream_key("a", "b")
