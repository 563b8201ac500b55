"""An environment variable for an agent, and the forms to write it in.

Made by ``env.py`` and ``base_urls.py``, written down by ``env.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Format = Literal["shell", "dotenv", "kubernetes"]
FORMATS: Final[tuple[Format, ...]] = ("shell", "dotenv", "kubernetes")


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable, what to set it to, and who reads it."""

    name: str
    value: str
    why: str
    joined_by: str = ""  # between this value and one that the agent had before; empty: ours alone counts
