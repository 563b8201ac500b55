"""The stored answers of one api under one set of rules: keys, variants, and what a failing store means.

Made by state.py, used by policies/cache.py. A key stands for one answer, or for a list of the request fields that
the answers vary by (RFC 9111, 4.1); then each variant has a key of its own, made from the values of those fields.
The list bears a nonce that is part of those keys: once it is forgotten, none of its variants can come back.

A store that fails costs answers, never calls: what cannot be read is a miss, what cannot be written is lost, and
both are counted. That is this policy's one mode (``open``): nothing depends on a cache but speed and vendors' quotas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from proxy.core import vary
from proxy.core.stored import MAX_VARIANTS, Stored, Variants
from proxy.stores.base import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.model import Headers
    from proxy.stores.base import CacheStore


_LIST_SECONDS: Final = 7 * 86400.0  # as long as anything is kept: a variant that lives shortly must take no other along


class Found(NamedTuple):
    """What is stored under a key."""

    stored: Stored | None  # the answer for these request fields
    variants: Variants | None  # the list, if answers vary

    @property
    def varies(self) -> bool:
        """Whether there are answers, but none for these request fields."""
        return self.stored is None and self.variants is not None


_NOTHING: Final = Found(None, None)


class Shelf:
    """See the module. ``space`` tells its keys from those of other apis, rules and upstreams."""

    __slots__ = ("_count_error", "_nonce", "_space", "shared", "store")

    def __init__(
        self, store: CacheStore, space: str, *, shared: bool, nonce: Callable[[], str], count_error: Callable[[], None]
    ) -> None:
        self.store = store
        self.shared = shared  # one partition for all callers
        self._space = space
        self._nonce = nonce
        self._count_error = count_error

    def key(self, partition: str, method: bytes, target: bytes, digest: str = "") -> str:
        """The key of a read: ``digest`` is that of its body, if that is a part of what it asks for."""
        word = "GET" if method == b"HEAD" else method.decode("latin-1")
        whose = "" if self.shared else partition
        return f"{self._space}\n{whose}\n{word} {target.decode('latin-1')}\n{digest}"

    async def find(self, key: str, headers: Headers) -> Found:
        """What is stored under ``key`` for these request fields; the newest, if several fit."""
        try:
            value = await self.store.get(key)
            if value is None:
                return _NOTHING
            if isinstance(value, Stored):
                return Found(value, None)
            return Found(await self._variant(key, value, headers), value)
        except StoreError:
            self._count_error()
            return _NOTHING

    async def _variant(self, key: str, variants: Variants, headers: Headers) -> Stored | None:
        newest: Stored | None = None
        for names in variants.sets:
            candidate = await self.store.get(vary.key(key, variants.nonce, vary.values(names, headers)))
            if not isinstance(candidate, Stored) or not vary.matches(candidate.vary, headers):
                continue
            if newest is None or candidate.date > newest.date:
                newest = candidate
        return newest

    async def keep(self, key: str, stored: Stored, seconds: float, found: Found) -> bool:
        """Store an answer for ``seconds``; ``found`` is what there was when it was asked for. False if it was lost."""
        try:
            if not stored.vary:
                if found.variants is not None:
                    await self.store.delete(found.variants.keys)
                await self.store.put(key, stored, seconds)
            else:
                await self._keep_variant(key, stored, seconds)
        except StoreError:
            self._count_error()
            return False
        return True

    async def _keep_variant(self, key: str, stored: Stored, seconds: float) -> None:
        present = await self.store.get(key)
        old = present if isinstance(present, Variants) else Variants(self._nonce())
        names = tuple(name for name, _ in stored.vary)
        own = vary.key(key, old.nonce, stored.vary)
        sets = (names, *(each for each in old.sets if each != names))
        keys = (own, *(each for each in old.keys if each != own))
        if keys[MAX_VARIANTS:]:
            await self.store.delete(keys[MAX_VARIANTS:])
        await self.store.put(own, stored, seconds)
        await self.store.put(key, Variants(old.nonce, sets, keys), max(seconds, _LIST_SECONDS))

    async def forget(self, key: str) -> None:
        """Drop what is stored under ``key``, with all its variants. A store that is away is told when it is back."""
        variants: tuple[str, ...] = ()
        try:
            value = await self.store.get(key)
            variants = value.keys if isinstance(value, Variants) else ()
        except StoreError:
            self._count_error()
        try:
            await self.store.delete((key, *variants))
        except StoreError:
            self._count_error()

    def __repr__(self) -> str:
        return f"<Shelf {self._space!r} in {self.store.name}>"
