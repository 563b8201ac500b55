"""Our member of Cache-Status."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core import structured
from proxy.core.cache_status import append, forwarded, hit
from tests.core.answers import fields


@pytest.mark.parametrize(
    ("ttl", "detail", "member"),
    [
        (376.9, "", b"backstay; hit; ttl=376"),
        (-0.5, "", b"backstay; hit; ttl=-1"),
        (-412.0, "stale-while-revalidate", b"backstay; hit; ttl=-412; detail=stale-while-revalidate"),
        (1.0, "because of it", b'backstay; hit; ttl=1; detail="because of it"'),
        (1.0, "503", b'backstay; hit; ttl=1; detail="503"'),
        (1.0, 'a"\\\u00fc\n', b'backstay; hit; ttl=1; detail="a\\"\\\\??"'),
    ],
)
def test_a_hit_tells_how_long_it_is_still_fresh(ttl: float, detail: str, member: bytes) -> None:
    """RFC 9211, 2.1, 2.4, 2.8: a detail is a token, or a string where it cannot be one."""
    assert hit(ttl, detail) == member


def test_a_call_forward_tells_why_and_what_came_of_it() -> None:
    """RFC 9211, 2.2, 2.3, 2.5, 2.6."""
    assert forwarded("uri-miss") == b"backstay; fwd=uri-miss"
    assert forwarded("miss", detail="no-store") == b"backstay; fwd=miss; detail=no-store"
    full = forwarded("stale", status=304, stored=True, collapsed=True, ttl=60.0, detail="x")
    assert full == b"backstay; fwd=stale; fwd-status=304; ttl=60; stored; collapsed; detail=x"


def test_ours_comes_last() -> None:
    """RFC 9211, 2: the cache nearest to the agent is the last of the list."""
    headers = fields("Cache-Status: origin; hit")
    append(headers, hit(5.0))
    assert list(headers)[-1] == (b"Cache-Status", b"backstay; hit; ttl=5")
    assert len(headers) == 2


@given(st.text(max_size=30), st.floats(-1e9, 1e9))
def test_whatever_the_detail_the_member_is_a_structured_item(detail: str, ttl: float) -> None:
    """RFC 9651; parsed as a member of a dictionary, whose syntax is the same."""
    for member in (hit(ttl, detail), forwarded("bypass", status=200, detail=detail)):
        assert structured.dictionary([member]) == {b"backstay": True}
