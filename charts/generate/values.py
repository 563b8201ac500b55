"""Reads charts/backstay/values.yaml: every value with its default and the comment above it, in sections.

Called by ``schema.py`` and ``values_table.py``, so that what a value means is written once, where people look first.
``## Title`` begins a section; a comment that a blank line follows speaks of the section, any other of the key below it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

CHART: Final = Path(__file__).resolve().parents[1] / "backstay"
_KEY: Final = re.compile(r"( *)([A-Za-z][A-Za-z0-9]*):")
_INDENT: Final = 2


@dataclass(frozen=True, slots=True)
class Value:
    """One value that has a comment; ``default`` is what YAML makes of it."""

    path: tuple[str, ...]
    default: Any
    meaning: str


@dataclass(slots=True)
class Section:
    """Values that belong together."""

    title: str
    about: str = ""
    values: list[Value] = field(default_factory=list)


def sections(text: str) -> list[Section]:
    """The sections in the order of the file; what stands before the first is about the file itself."""
    defaults = yaml.safe_load(text)
    found: list[Section] = []
    path: tuple[str, ...] = ()
    said: list[str] = []
    for line in text.splitlines():
        if line.startswith("## "):
            found.append(Section(line[3:]))
        elif line.lstrip().startswith("#"):
            said.append(line.lstrip(" #"))
        elif not line:
            if said and found:
                found[-1].about = " ".join(said)
            said = []
        elif key := _KEY.match(line):
            path = (*path[: len(key[1]) // _INDENT], key[2])
            if said:
                found[-1].values.append(Value(path, _at(defaults, path), " ".join(said)))
            said = []
    return found


def _at(node: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        node = node[key]
    return node


def unexplained(text: str) -> list[str]:
    """Paths of values with no comment of their own nor above them."""
    explained = {value.path for section in sections(text) for value in section.values}

    def walk(node: Any, path: tuple[str, ...]) -> Iterator[str]:
        if path in explained:
            return
        if not isinstance(node, Mapping) or not node:
            yield ".".join(path)
            return
        for key, inner in node.items():
            yield from walk(inner, (*path, key))

    return list(walk(yaml.safe_load(text), ()))
