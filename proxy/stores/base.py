"""Owns what a store of answers promises, whatever keeps them: ``CacheStore``, ``StoreError`` and ``Listed``.

``policies/cache.py`` gets, puts and deletes; the admin API lists, looks and purges. An answer that a store gives
belongs to everybody who asked for it: nobody changes it, a newer one is put in its place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from proxy.core.stored import Stored, Variants

Value: TypeAlias = Stored | Variants

IDENT: Final = 32  # characters of a digest by which an entry is called


class StoreError(Exception):
    """A store did not do what it was asked: the call goes on as if there were no cache."""

    def __init__(self, store: str, what: str, why: str) -> None:
        super().__init__(f"{store}: {what}: {why}")
        self.store = store  # its name
        self.what = what  # the operation: get, put, delete, list, look, purge
        self.why = why


def digest_of(key: str) -> str:
    """What stands for a key outside this process: keys are long, and tell what was asked for."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def ident_of(key: str) -> str:
    """What an entry is called in the admin API and on a shared store."""
    return digest_of(key)[:IDENT]


@dataclass(frozen=True, slots=True)
class Listed:
    """An answer that is kept, under the name by which it can be looked at and purged."""

    ident: str  # ident_of its key
    stored: Stored


class CacheStore(Protocol):
    """Keeps answers and the records of their variants for a time. Every method raises StoreError, and nothing else."""

    @property
    def name(self) -> str:
        """What metrics and errors call it."""
        ...

    async def get(self, key: str) -> Value | None:
        """What is kept under ``key``."""

    async def put(self, key: str, value: Value, ttl: float) -> None:
        """Keep ``value`` for ``ttl`` seconds in place of what was there; what cannot be kept only takes that away."""

    async def delete(self, keys: Sequence[str]) -> int:
        """Forget what is kept under ``keys``; how many there were. What fails is made good as soon as possible."""

    async def entries(self, *, api: str | None, route: str | None, limit: int) -> list[Listed]:
        """At most ``limit`` answers (of an api, of its route). A shared store leaves out their bodies."""

    async def look(self, ident: str) -> Listed | None:
        """The answer of that name."""

    async def purge(self, *, api: str | None = None, route: str | None = None, ident: str | None = None) -> int:
        """Forget every answer to which all that is given applies; how many there were."""

    async def close(self) -> None:
        """Let go of what the store holds of the outside world."""
