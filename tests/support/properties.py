"""How many examples a property asks for, where that is more or fewer than others do."""

from __future__ import annotations

from typing import Final

from hypothesis import settings

_USUAL: Final = 100  # what Hypothesis takes, and what ``count`` is said by


def examples(count: int) -> int:
    """``count``, or its share where the profile looks less hard, or harder, than usual (tests/conftest.py)."""
    return max(1, count * settings().max_examples // _USUAL)
