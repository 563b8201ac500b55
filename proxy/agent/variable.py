"""An environment variable for an agent; made by ``env.py`` and ``base_urls.py``, written down by ``env.py``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable, what to set it to, and who reads it."""

    name: str
    value: str
    why: str
    joined_by: str = ""  # between this value and one that the agent had before; empty: ours alone counts
