"""The contract of every ledger: the store of records of calls that must be carried out once.

``proxy/ledger.py`` reserves, renews and finishes; the admin API looks and settles. The transitions are those of
``core/idempotency.py``, each made as a whole or not at all; what they say is kept as well as the store can: in memory
until this process ends, in a file before the method returns, on Redis as its operator has set it up.

Nothing that protects is evicted. When room is needed, the bodies of answers go, the oldest first; a record stays for
as long as it was to be kept. A ledger that has no room for one more refuses it: LedgerFull.
"""

from __future__ import annotations

from typing import Protocol

from proxy.core.idempotency import Claim, Conclusion, Record, Reserved
from proxy.stores.base import StoreError


class LedgerFull(StoreError):
    """There is no room for another record, and none may be forgotten."""


class LedgerStore(Protocol):
    """Keeps records. Every method raises StoreError, and nothing else; each may be called again with the same words."""

    @property
    def name(self) -> str:
        """What metrics and errors call it: memory, sqlite, redis."""
        ...

    @property
    def up(self) -> bool:
        """Whether it can be asked."""
        ...

    @property
    def why(self) -> str:
        """It cannot."""
        ...

    @property
    def count(self) -> int | None:
        """Records in it; None: it does not know."""
        ...

    @property
    def bytes(self) -> int | None:
        """Room that they take; None: it does not know."""
        ...

    @property
    def limit(self) -> int | None:
        """Bytes that they may take; None: it is not this process's to say."""
        ...

    @property
    def unknown(self) -> int:
        """Records whose outcome is not known, as far as it has heard lately."""
        ...

    @property
    def evictions(self) -> int:
        """Bodies of answers that made room."""
        ...

    def now(self) -> float:
        """The present time of its clock, in seconds: what the times of its records are to be compared with."""
        ...

    async def reserve(self, claim: Claim) -> Reserved:
        """See core.idempotency.reserve. Raises LedgerFull too."""

    async def renew(self, ident: str, token: str, lease: float) -> bool:
        """See core.idempotency.renew."""

    async def finish(self, ident: str, token: str, conclusion: Conclusion) -> bool:
        """See core.idempotency.finish."""

    async def settle(self, ident: str, *, done: bool) -> bool:
        """A person says that an unknown call was carried out, or was not; False if there is no such doubt."""

    async def look(self, ident: str) -> Record | None:
        """The record of that name."""

    async def unsettled(self, *, api: str | None, limit: int) -> list[Record]:
        """At most ``limit`` records (of an api) whose outcome is not known, the oldest first; without their answers."""

    async def close(self) -> None:
        """Finish what was begun, and let go of the outside world."""
