"""What methods mean to a cache."""

from __future__ import annotations

import pytest

from proxy.core.cache import CacheSettings
from proxy.core.methods import reads, unsafe


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PROPFIND", b"REPORT", b"SEARCH", b"QUERY"])
def test_safe_methods_change_nothing(method: bytes) -> None:
    """RFC 9110, 9.2.1, and the registry."""
    assert not unsafe(method)


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH", b"DELETE", b"CONNECT", b"LOCK", b"FROBNICATE", b"get"])
def test_any_other_method_may_change_something(method: bytes) -> None:
    """RFC 9111, 4.4: so may one that nobody knows; names are case-sensitive."""
    assert unsafe(method)


def test_reads_are_get_and_head_and_by_wish_post_and_query() -> None:
    """``key_body`` is the operator's word that these read, and by their body."""
    methods = (b"GET", b"HEAD", b"POST", b"QUERY", b"PUT", b"OPTIONS")
    assert [method for method in methods if reads(CacheSettings(), method)] == [b"GET", b"HEAD"]
    by_body = CacheSettings(key_body=True)
    assert [method for method in methods if reads(by_body, method)] == [b"GET", b"HEAD", b"POST", b"QUERY"]
