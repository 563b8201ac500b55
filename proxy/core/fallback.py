"""Owns what may stand in for an answer that went wrong, in which order, and the operator's own answers.

Called by ``config`` (settings) and ``policies/fallback.py`` (every exchange that would end in an error).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

TEMPLATES: Final = ("api", "reason", "retry_after")
"""What ``${...}`` in the body of a static answer may name; anything else is left as it is."""

RESERVED_FIELDS: Final = frozenset(
    {
        b"connection", b"content-length", b"keep-alive", b"proxy-connection", b"te", b"trailer",
        b"transfer-encoding", b"upgrade", b"backstay-outcome", b"cache-status",
    }
)  # fmt: skip
"""Fields, lower-cased, that a static answer may not set: those of the hop, and those that are Backstay's to say."""


@dataclass(frozen=True, slots=True)
class ServeStale:
    """The answer that the cache still has, however old."""


@dataclass(frozen=True, slots=True)
class ToApi:
    """The same call at another api, under that api's own policies."""

    api: str


@dataclass(frozen=True, slots=True)
class Static:
    """An answer that the operator wrote; ``body`` may hold the templates."""

    status: int  # 200 to 599
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: str = ""


Step: TypeAlias = ServeStale | ToApi | Static


@dataclass(frozen=True, slots=True)
class FallbackSettings:
    """What to try, in this order; nothing: only what the cache may serve unasked."""

    steps: tuple[Step, ...] = ()
