"""Owns what counts as success, failure, throttled and ignored: the only definition there is.

Called by the wire at the final headers and at the end of the stream, and by retry.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClassifySettings:
    """Inclusive ranges of status codes."""

    failure: tuple[tuple[int, int], ...] = ((500, 599),)
    ignore: tuple[tuple[int, int], ...] = ()
