"""Owns how credentials that the agent never holds get into its calls, and where their placeholders may not go.

Called by ``config`` (settings) and ``wire/pool.py`` (every call of an api that has some, and of all others while any
placeholder exists).
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Credential:
    """A header field or a query parameter that Backstay sets."""

    name: bytes  # of the field, as it is sent, or of the parameter
    value: bytes = field(repr=False)
    query: bool = False  # a parameter of the query, not a header field
    placeholder: bytes | None = None  # what the agent may send in its place
