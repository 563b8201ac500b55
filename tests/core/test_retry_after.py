"""Every dialect in which an upstream asks to be left alone, and everything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.retry_after import retry_after, whole_seconds
from proxy.model import Headers

WALL = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110
MODERN = 1_750_000_000.0


def ask(*pairs: tuple[bytes, bytes], wall: float = WALL) -> float | None:
    return retry_after(Headers.of(*pairs), wall)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"120", 120.0),
        (b"0", 0.0),
        (b" 1.5 ", 1.5),
        (b"30s", 30.0),
        (b"Sun, 06 Nov 1994 08:50:07 GMT", 30.0),
        (b"Sunday, 06-Nov-94 08:50:07 GMT", 30.0),
        (b"Sun Nov  6 08:50:07 1994", 30.0),
        (b"Sun, 06 Nov 1994 08:50:07 -0000", 30.0),
        (b"Sun, 06 Nov 1994 09:50:07 +0100", 30.0),
        (b"Sun, 06 Nov 1994 08:00:00 GMT", 0.0),
    ],
)
def test_retry_after_in_seconds_and_as_a_date(value: bytes, seconds: float) -> None:
    """RFC 9110, 10.2.3 with the three forms of a date; a date that has passed asks for nothing."""
    assert ask((b"Retry-After", value)) == seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"1750000030", 30.0), (b"1749999999", 0.0), (b"1750000030500", 30.5), (b"86400", 86400.0)],
)
def test_a_number_is_an_epoch_if_it_can_be_no_delta(value: bytes, seconds: float) -> None:
    """GitHub sends epoch seconds, others milliseconds, most a delta."""
    assert ask((b"X-RateLimit-Reset", value), wall=MODERN) == seconds
    assert ask((b"Retry-After", value), wall=MODERN) == seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"1m30s", 90.0), (b"6ms", 0.006), (b"6m0s", 360.0), (b"1h2m3.5s", 3723.5), (b"1D", 86400.0), (b"12", 12.0)],
)
def test_resets_come_as_durations(value: bytes, seconds: float) -> None:
    """OpenAI writes Go's durations."""
    assert ask((b"x-ratelimit-reset-tokens", value)) == pytest.approx(seconds)


def test_milliseconds_are_the_most_exact_word() -> None:
    """retry-after-ms wins over retry-after, and that over any reset."""
    everything = [(b"x-ratelimit-reset", b"7"), (b"retry-after", b"2"), (b"retry-after-ms", b"1500")]
    assert [ask(*everything[:count]) for count in (1, 2, 3)] == [7.0, 2.0, 1.5]


def test_garbage_in_one_dialect_leaves_the_word_to_the_next() -> None:
    """What cannot be read says nothing."""
    assert ask((b"retry-after-ms", b"soon"), (b"retry-after", b"later"), (b"ratelimit-reset", b"9")) == 9.0


def test_a_reset_counts_only_if_its_quota_is_spent() -> None:
    """Resets stand on every answer, so tokens that are left ask for no wait; of two spent quotas the longer counts."""
    requests = (b"x-ratelimit-reset-requests", b"2s")
    tokens = (b"x-ratelimit-reset-tokens", b"6m0s")
    left = (b"x-ratelimit-remaining-tokens", b"1")
    spent = (b"x-ratelimit-remaining-requests", b"0")
    assert ask(requests, tokens, left, spent) == 2.0
    assert ask(requests, tokens, spent) == 360.0
    assert ask(tokens, left) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b'"default";r=0;t=30', 30.0), (b'"a"; r=0; t=5', 5.0), (b'"a";r=10;t=30', None), (b'"a";r=0', None)],
)
def test_the_ratelimit_field_counts_if_nothing_remains(value: bytes, seconds: float | None) -> None:
    """draft-ietf-httpapi-ratelimit-headers, with r for remaining and t for the seconds to the reset."""
    assert ask((b"RateLimit", value)) == seconds


@pytest.mark.parametrize(
    "value",
    [b"", b"-1", b"nan", b"inf", b"1e9", b"0x10", b"9" * 300, b"1,2", b"\xff\xfe", b"tomorrow", b"s", b"5 s",
     b"Sun, 99 Nov 1994 08:49:37 GMT", b"Sun, 06 Nov 99999999 08:49:37 GMT", b"1.2.3s"],
)  # fmt: skip
def test_garbage_says_nothing(value: bytes) -> None:
    """None, never an exception and never a wait that nobody meant."""
    assert ask((b"retry-after", value)) is None
    assert ask((b"x-ratelimit-reset", value), (b"retry-after-ms", value)) is None


@given(
    name=st.sampled_from([b"retry-after", b"retry-after-ms", b"ratelimit", b"x-ratelimit-reset", b"ratelimit-reset"]),
    value=st.binary(max_size=60) | st.from_regex(rb"[A-Z][a-z]{2}, [0-9]{1,3}.[A-Z][a-z]{2}.[0-9:. +-]{0,30}"),
    wall=st.floats(0.0, 4e9),
)
def test_arbitrary_bytes_give_a_finite_wait_or_none(name: bytes, value: bytes, wall: float) -> None:
    """The other side chooses them."""
    answer = ask((name, value), wall=wall)
    assert answer is None or 0.0 <= answer < 1e16


@pytest.mark.parametrize(("seconds", "whole"), [(0.0, 1), (0.2, 1), (1.0, 1), (13.2, 14), (60.0, 60)])
def test_a_wait_is_told_in_whole_seconds(seconds: float, whole: int) -> None:
    """Never too few, and never none: who asks again at once, asks too early."""
    assert whole_seconds(seconds) == whole
