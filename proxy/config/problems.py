"""What is wrong with a configuration, and where: Problem and ConfigError.

Raised by ``load.py``; printed by ``cli`` and logged by ``app`` when a reload fails.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Mark(NamedTuple):
    """A place in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Problem(NamedTuple):
    """One mistake: where it is, which key it concerns (may be empty), what is wrong, what to do."""

    file: str
    line: int
    column: int
    path: str
    message: str
    remedy: str

    def __str__(self) -> str:
        path = f"{self.path}: " if self.path else ""
        return f"{self.file}:{self.line}:{self.column}: {path}{self.message}; {self.remedy}"


class ConfigError(Exception):
    """A configuration that cannot be used, with every mistake in it, in the order of the files.

    ``watched`` are the files whose change may mend it: those it is made of, and the secrets it names.
    """

    def __init__(self, problems: Iterable[Problem], watched: tuple[Path, ...] = ()) -> None:
        self.problems = tuple(problems)
        self.watched = watched
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[tuple[Problem, ...], tuple[Path, ...]]]:
        return ConfigError, (self.problems, self.watched)  # so that it survives a process boundary


class Problems:
    """Collects mistakes; the same one at the same place counts once."""

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}
        self._places: set[tuple[Mark, str]] = set()

    def add(self, mark: Mark, path: str, message: str, remedy: str) -> None:
        """Note a mistake; one that many routes inherit from one line is one mistake."""
        if (mark, message) not in self._places:
            self._places.add((mark, message))
            self._found[Problem(mark.file, mark.line, mark.column, path, message, remedy)] = None

    def __bool__(self) -> bool:
        return bool(self._found)

    def error(self, files: Iterable[Path], watched: Iterable[Path] = ()) -> ConfigError:
        """All of them as one exception, ordered by ``files`` and then by place."""
        order = {str(file): index for index, file in enumerate(files)}
        found = sorted(self._found, key=lambda problem: (order.get(problem.file, -1), problem.line, problem.column))
        return ConfigError(found, tuple(dict.fromkeys(watched)))


def near(word: str, known: Iterable[str]) -> str | None:
    """``did you mean 'retry'?``, if one of the known words is close."""
    found = difflib.get_close_matches(word[:64], list(known), n=1)
    return f"did you mean {found[0]!r}?" if found else None
