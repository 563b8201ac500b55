"""Owns what a request asks of a cache (RFC 9111, 5.2.1; RFC 9110, 13 and 14).

Called by ``policies/cache.py`` once per request.
"""

from __future__ import annotations

from proxy.model import Headers


class Asked:
    """What one request asks of a cache; not to be changed, since requests that ask for nothing share one."""

    __slots__ = (
        "authorization", "conditional", "max_age", "max_stale", "min_fresh", "no_cache", "no_store", "only_if_cached",
        "precondition", "range", "stale_if_error",
    )  # fmt: skip

    def __init__(
        self,
        *,
        no_cache: bool = False,
        no_store: bool = False,
        only_if_cached: bool = False,
        max_age: float | None = None,
        min_fresh: float | None = None,
        max_stale: float | None = None,
        stale_if_error: float | None = None,
        conditional: bool = False,
        precondition: bool = False,
        range_: bool = False,
        authorization: bool = False,
    ) -> None:
        self.no_cache = no_cache
        self.no_store = no_store
        self.only_if_cached = only_if_cached
        self.max_age = max_age  # seconds
        self.min_fresh = min_fresh  # seconds
        self.max_stale = max_stale  # seconds; inf: however stale
        self.stale_if_error = stale_if_error  # seconds (RFC 5861, 4)
        self.conditional = conditional  # If-None-Match or If-Modified-Since: a cache answers these
        self.precondition = precondition  # If-Match or If-Unmodified-Since: only the origin can answer these
        self.range = range_
        self.authorization = authorization


def asked(headers: Headers) -> Asked:
    """What a request with these fields asks."""
    raise NotImplementedError
