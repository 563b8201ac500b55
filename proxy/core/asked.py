"""Owns what a request asks of a cache (RFC 9111, 5.2.1; RFC 9110, 13 and 14).

Called by ``policies/cache.py`` once per request.
"""

from __future__ import annotations

from typing import Final

from proxy.core.directives import parse_cache_control
from proxy.model import Headers


class Asked:
    """What one request asks of a cache; not to be changed, since requests that ask for nothing share one."""

    __slots__ = (
        "conditional", "max_age", "max_stale", "min_fresh", "no_cache", "no_store", "only_if_cached", "precondition",
        "range", "stale_if_error",
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


_CONDITIONAL: Final = frozenset({b"if-none-match", b"if-modified-since"})
_PRECONDITION: Final = frozenset({b"if-match", b"if-unmodified-since"})
_CONTROL: Final = frozenset({b"cache-control", b"pragma"})
_RELEVANT: Final = _CONDITIONAL | _PRECONDITION | _CONTROL | {b"range"}

_NOTHING: Final = Asked()


def asked(headers: Headers) -> Asked:
    """What a request with these fields asks."""
    for field in headers.fields:
        if field[0] in _RELEVANT:
            return _read(headers)
    return _NOTHING


def _read(headers: Headers) -> Asked:
    names = {field[0] for field in headers.fields}
    said = parse_cache_control([value for lower, _, value in headers.fields if lower == b"cache-control"])
    no_cache = said.no_cache or bool(said.no_cache_fields)  # no-cache has no argument in a request
    if b"cache-control" not in names:
        no_cache = _pragma(headers)
    return Asked(
        no_cache=no_cache,
        no_store=said.no_store,
        only_if_cached=said.only_if_cached,
        max_age=said.max_age,
        min_fresh=said.min_fresh,
        max_stale=said.max_stale,
        stale_if_error=said.stale_if_error,
        conditional=not names.isdisjoint(_CONDITIONAL),
        precondition=not names.isdisjoint(_PRECONDITION),
        range_=b"range" in names,
    )


def _pragma(headers: Headers) -> bool:
    """The no-cache of HTTP/1.0 (RFC 9111, 5.4), which counts where there is no Cache-Control."""
    return any(
        member.strip(b" \t").lower() == b"no-cache"
        for lower, _, value in headers.fields
        if lower == b"pragma"
        for member in value.split(b",")
    )
