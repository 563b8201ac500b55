"""Owns what a cache holds: an answer with the facts that decide its use, and the record of an answer's variants.

Made by ``core/storing.py``, judged by ``core/cache.py``, served by ``core/selection.py``, kept by ``proxy/stores``.

A store need keep only what came with the answer: the arguments of ``Stored``. The facts below them depend on the
settings as well, which a reload or another pod may change: ``core/freshness.py`` derives them again when it meets an
answer whose ``settings`` are not the ones in force. Until then they say "do not use": a fact that is forgotten must
not make a stale answer look fresh.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from proxy.core.freshness import CacheSettings
    from proxy.model import Headers

VaryValues: TypeAlias = tuple[tuple[bytes, bytes | None], ...]
"""(request field, its normalised value or None if it was absent), sorted by field."""

MAX_VARIANTS: Final = 64  # of one target; the oldest makes room
MAX_SETS: Final = 4  # of Vary fields that one target has been seen with

_OBJECT: Final = 1000  # bytes: a Stored, its numbers, its entry in a store
_FIELD: Final = 150  # bytes: a tuple, two values with their heads, a place in the list


class Stored:
    """A complete answer. ``wall`` is epoch seconds everywhere."""

    __slots__ = (
        "api", "body", "date", "etag", "fresh_until", "headers", "immutable", "initial_age", "last_modified",
        "last_modified_at", "method", "must_revalidate", "no_cache", "reason", "received_at", "requested_at", "route",
        "settings", "sie", "size", "status", "swr", "target", "vary",
    )  # fmt: skip

    def __init__(
        self,
        *,
        status: int,
        reason: bytes,
        headers: Headers,
        body: bytes,
        requested_at: float,
        received_at: float,
        initial_age: float = 0.0,
        vary: VaryValues = (),
        api: str = "",
        route: str = "",
        method: bytes = b"GET",
        target: bytes = b"/",
    ) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers  # as they are served: no hop-by-hop fields, no Age; with a Date
        self.body = body
        self.requested_at = requested_at  # wall
        self.received_at = received_at  # wall
        self.initial_age = initial_age  # seconds, when it was received (RFC 9111, 4.2.3: corrected_initial_age)
        self.vary = vary
        self.api = api
        self.route = route
        self.method = method
        self.target = target
        self.size = len(body) + _OBJECT + weight(headers)  # bytes of memory it costs

        # Derived from the above and the settings (freshness.derive).
        self.settings: CacheSettings | None = None
        self.date = received_at  # wall
        self.fresh_until = -math.inf  # wall; the first moment at which it is stale
        self.no_cache = True  # never used without validation
        self.must_revalidate = True  # never used stale without validation
        self.immutable = False  # RFC 8246
        self.swr: float | None = None  # seconds past freshness during which it is served and refreshed behind
        self.sie: float | None = None  # seconds past freshness during which it is served instead of an error
        self.etag: bytes | None = None
        self.last_modified: bytes | None = None
        self.last_modified_at: float | None = None  # wall

    def __repr__(self) -> str:
        return (
            f"<Stored {self.api}/{self.route} {self.method.decode('latin-1')} {self.target!r} {self.status} "
            f"{len(self.body)} bytes, fresh until {self.fresh_until:.3f}>"
        )


def weight(headers: Headers) -> int:
    """Bytes of memory that header fields cost."""
    return sum([_FIELD + len(name) + len(value) for _, name, value in headers.fields])


class Variants:
    """Which answers a target has: they depend on the request fields of one of ``sets`` (RFC 9111, 4.1)."""

    __slots__ = ("keys", "nonce", "sets")

    def __init__(self, nonce: str, sets: tuple[tuple[bytes, ...], ...] = (), keys: tuple[str, ...] = ()) -> None:
        self.nonce = nonce  # part of every variant's key: a new record forgets all variants at once
        self.sets = sets[:MAX_SETS]  # newest first
        self.keys = keys[:MAX_VARIANTS]  # newest first

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Variants) and (self.nonce, self.sets, self.keys) == (
            other.nonce,
            other.sets,
            other.keys,
        )

    __hash__ = None  # type: ignore[assignment]  # equality is for tests

    def __repr__(self) -> str:
        return f"<Variants {self.nonce} {len(self.keys)} by {self.sets}>"
