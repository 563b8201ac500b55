"""Owns which reads share one call upstream, and what the others get when it ends. Called by policies/cache.py.

Identical reads (the same key as the cache's) that come while one is on its way wait for that one:

===========================================  =====================================================================
how the one ends                             the others
===========================================  =====================================================================
an answer that may be stored                 get it, once its body is complete (at most ``max_object``)
an answer that says FAILURE or THROTTLED     get a copy: nobody sends it again, that would be the storm
no answer: an error, a refusal of ours       get the same error, for the same reason
any other answer, or a body too large        are let go at its headers, each to a call of its own; the key is left
                                             alone for a while, since its answers are no use to others
===========================================  =====================================================================
"""

from __future__ import annotations

from typing import Final

from proxy.model import Verdict

ALONE_SECONDS: Final = 10.0
"""How long the reads of a key are not coalesced after an answer that could not be shared."""

_LARGEST: Final = 10_000


def shares(verdict: Verdict, why_not: str) -> bool:
    """Whether callers that wait get this answer too; ``why_not`` it may not be stored, or ''."""
    return not why_not or verdict is Verdict.FAILURE or verdict is Verdict.THROTTLED


class Loners:
    """Keys whose reads are not coalesced for now; the oldest are forgotten when there are too many."""

    __slots__ = ("_largest", "_until")

    def __init__(self, largest: int = _LARGEST) -> None:
        self._largest = largest
        self._until: dict[str, float] = {}  # monotonic seconds; in the order in which they were set

    def add(self, key: str, now: float) -> None:
        """Leave ``key`` alone from now on."""
        self._until.pop(key, None)
        self._until[key] = now + ALONE_SECONDS
        while len(self._until) > self._largest:
            del self._until[next(iter(self._until))]

    def has(self, key: str, now: float) -> bool:
        """Whether the reads of ``key`` are to go each by itself."""
        until = self._until.get(key)
        if until is None:
            return False
        if now < until:
            return True
        del self._until[key]
        return False

    def __len__(self) -> int:
        return len(self._until)

    def __repr__(self) -> str:
        return f"<Loners {len(self._until)}>"
