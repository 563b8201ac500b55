"""What requests ask of a cache."""

from __future__ import annotations

import math

import pytest

from proxy.core.asked import asked
from proxy.model import Headers
from tests.core.answers import asking, fields


def test_requests_that_ask_for_nothing_share_one_record() -> None:
    """The plain case costs one look at the names."""
    plain = asked(fields("Accept: */*\nAuthorization: Bearer x"))
    assert plain is asked(Headers())
    flags = (plain.no_cache, plain.no_store, plain.only_if_cached, plain.conditional, plain.precondition, plain.range)
    assert not any(flags)
    assert (plain.max_age, plain.min_fresh, plain.max_stale, plain.stale_if_error) == (None, None, None, None)


def test_the_directives_of_a_request() -> None:
    """RFC 9111, 5.2.1 and RFC 5861, 4."""
    found = asking("Cache-Control: max-age=10, min-fresh=5, max-stale=60, no-store\nCache-Control: stale-if-error=9")
    assert (found.max_age, found.min_fresh, found.max_stale, found.stale_if_error) == (10.0, 5.0, 60.0, 9.0)
    assert found.no_store
    assert asking("Cache-Control: only-if-cached").only_if_cached
    assert asking("Cache-Control: max-stale").max_stale == math.inf


@pytest.mark.parametrize(
    ("text", "no_cache"),
    [
        ("Cache-Control: no-cache", True),
        ('Cache-Control: no-cache="x"', True),
        ("Pragma: no-cache", True),
        ("Pragma: x, No-Cache ", True),
        ("Pragma: x\nPragma: no-cache", True),
        ("Pragma: nothing", False),
        ("Pragma: no-cache\nCache-Control: max-age=5", False),
        ("Range: bytes=0-1", False),
    ],
)
def test_no_cache_of_a_request_old_and_new(text: str, *, no_cache: bool) -> None:
    """RFC 9111, 5.4: Pragma counts where there is no Cache-Control."""
    assert asking(text).no_cache is no_cache


@pytest.mark.parametrize(
    ("name", "attribute"),
    [
        ("If-None-Match", "conditional"),
        ("If-Modified-Since", "conditional"),
        ("If-Match", "precondition"),
        ("If-Unmodified-Since", "precondition"),
        ("Range", "range"),
    ],
)
def test_conditions_and_ranges_are_seen(name: str, attribute: str) -> None:
    """Their values are looked at when there is an answer to hold them against."""
    found = asking(f"{name}: x")
    assert [word for word in ("conditional", "precondition", "range") if getattr(found, word)] == [attribute]
