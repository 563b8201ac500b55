"""Owns which api and which route a request belongs to.

Called by ``config`` (settings), ``chain.py`` (which builds the table) and the wire (which asks it).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Match:
    """What a route asks of a request; None means anything."""

    methods: frozenset[bytes] | None = None
    paths: tuple[str, ...] | None = None
