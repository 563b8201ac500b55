"""The status page: plain text, for eyes and for ``curl``, since a browser cannot send the token by itself.

Used by ``admin/api.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from proxy.admin.control import Control, State


def page(control: Control) -> str:
    """The program's state on one screen."""
    parts = [facts(control.status())]
    for title, states in (
        ("breakers", control.breakers()),
        ("rate limits", control.buckets()),
        ("connections", control.pools()),
        ("cache", control.stores()),
        ("ledgers", control.ledgers()),
    ):
        parts.append(f"{title.upper()}\n{table(states) or 'none'}")
    return "\n\n".join(parts) + "\n"


def facts(state: State) -> str:
    """One line for each field."""
    width = max(map(len, state), default=0)
    return "\n".join(f"{name:{width}}  {word(value)}" for name, value in state.items())


def table(states: Sequence[State]) -> str:
    """One row for each state, one column for each field that any of them has; empty if there is none."""
    columns = list(dict.fromkeys(name for state in states for name in state))
    rows = [columns, *([word(state.get(column)) for column in columns] for state in states)]
    widths = [max(map(len, cells)) for cells in zip_longest(*rows, fillvalue="")]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows if row)


def word(value: Any) -> str:
    """A value as one writes it in a table."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6g}"
        case Mapping():
            return ", ".join(f"{name} {word(each)}" for name, each in value.items()) or "-"
        case list():
            return ", ".join(map(word, value)) or "-"
        case _:
            return str(value)
