"""Tests of docs/threat-model.md: each protection that it promises is held by tests, which exist and run."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import pytest

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "threat-model.md"
HEADER: Final = ["threat", "what Backstay does", "held by"]

_Definition: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Line(NamedTuple):
    """A line of a table of threats."""

    threat: str
    answer: str
    held_by: list[str]  # file::test, below tests/


def lines_of(text: str) -> list[Line]:
    """Every line of the tables of threats; other tables are let be. Raises ValueError: one is not of the form."""
    found, within = [], False
    for number, line in enumerate(text.splitlines(), 1):
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        within = cells == HEADER or (within and bool(cells))
        if not within or cells == HEADER or not line.strip("|-"):
            continue
        if len(cells) != 3 or not all(cells):
            raise ValueError(f"line {number} has not three cells")
        if re.sub(r"`[\w/.:]+`", "", cells[2]).strip(" ,"):
            raise ValueError(f"line {number} has more than tests in its last cell")
        found.append(Line(cells[0], cells[1], re.findall(r"`([^`]+)`", cells[2])))
    return found


@cache
def defined_in(path: Path) -> dict[str, bool]:
    """The tests in a file, as ``name`` or ``Class::name``, and whether each is always skipped."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: dict[str, bool] = {}
    never = any(_is_mark(each) or _skips(each) for each in tree.body)
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            within = [each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
            off = never or _is_skipped(node) or any(map(_is_mark, node.body))
            found |= {f"{node.name}::{each.name}": off or _is_skipped(each) for each in within}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = never or _is_skipped(node)
    return {name: off for name, off in found.items() if name.rpartition("::")[2].startswith("test_")}


def _is_skipped(node: _Definition) -> bool:
    marks = [ast.unparse(each) for each in node.decorator_list]
    marked = any(re.match(r"pytest\.mark\.(skip\b|xfail\b)", each) for each in marks)
    return marked or (not isinstance(node, ast.ClassDef) and any(map(_skips, node.body)))


def _skips(statement: ast.stmt) -> bool:
    """Whether it ends the test, or the file, whatever the circumstances."""
    return isinstance(statement, ast.Expr) and ast.unparse(statement).startswith(("pytest.skip(", "pytest.xfail("))


def _is_mark(statement: ast.stmt) -> bool:
    text = ast.unparse(statement) if isinstance(statement, ast.Assign) else ""
    return re.match(r"pytestmark = .*pytest\.mark\.(skip\b|xfail\b)", text) is not None


def fault(test: str, root: Path = ROOT / "tests") -> str | None:
    """What is wrong with a test that is named; None: nothing."""
    name, _, rest = test.partition("::")
    if not (root / name).is_file():
        return f"{name} is not there"
    known = defined_in(root / name)
    if rest not in known:
        return f"{name} has no {rest}"
    return f"{test} is skipped" if known[rest] else None


LINES: Final = lines_of(PAGE.read_text(encoding="utf-8"))


def test_every_line_has_a_test() -> None:
    """A promise that nothing holds is a wish."""
    assert [line.threat for line in LINES if not line.held_by] == []
    assert len(LINES) > 50
    assert len({line.threat for line in LINES}) == len(LINES)


def test_every_test_exists_and_runs() -> None:
    """A test that was renamed, deleted or switched off takes its line along, or is put back."""
    assert sorted(filter(None, {fault(each) for line in LINES for each in line.held_by})) == []


@pytest.mark.parametrize("section", ["What there is to protect", "Who acts", "Where the boundaries are"])
def test_the_page_stands_alone(section: str) -> None:
    """Whoever decides reads what there is to lose, and to whom, before what is done about it."""
    text = PAGE.read_text(encoding="utf-8")
    assert 0 < text.index(f"## {section}\n") < text.index("| threat |")


def test_what_is_not_protected_is_said() -> None:
    """In one place, linked from the first paragraph, and each with a name in bold."""
    text = PAGE.read_text(encoding="utf-8")
    head, _, limits = text.partition("\n## What it does not protect against\n")
    assert "(#what-it-does-not-protect-against)" in head
    entries = re.findall(r"^- (.*)$", limits, re.MULTILINE)
    assert len(entries) > 20
    assert [each for each in entries if not each.startswith("**")] == []


# --- the checks themselves


def test_a_line_without_a_test_is_found() -> None:
    """An empty cell, a missing one, and words in place of tests."""
    head = "| threat | what Backstay does | held by |\n|---|---|---|\n"
    assert lines_of(f"| a | b |\n\n{head}| x | y | `a/test_b.py::test_c` |\n\n| no | table | of ours |") == [
        Line("x", "y", ["a/test_b.py::test_c"])
    ]
    for bad in ("| x | y | |", "| x | y |", "| x | y | our word |", "| x | y | `test_a.py::test_b` mostly |"):
        with pytest.raises(ValueError, match="line 3 has"):
            lines_of(head + bad)


def test_a_test_that_is_not_there_or_does_not_run_is_found(tmp_path: Path) -> None:
    """By name, by mark, by its body, by its class, by its file."""
    (tmp_path / "test_a.py").write_text(
        "import pytest\n"
        "async def test_runs(): pass\n"
        "@pytest.mark.skipif(True, reason='')\ndef test_depends(): pass\n"
        "@pytest.mark.skip(reason='')\ndef test_marked(): pass\n"
        "@pytest.mark.xfail\ndef test_expected(): pass\n"
        "def test_leaves():\n    pytest.skip('')\n"
        "class TestOff:\n    pytestmark = pytest.mark.skip\n    def test_it(self): pass\n"
        "class TestOn:\n    def test_it(self): pass\n"
    )
    (tmp_path / "test_b.py").write_text("import pytest\npytestmark = [pytest.mark.skip]\ndef test_it(): pass\n")
    good = ("test_a.py::test_runs", "test_a.py::test_depends", "test_a.py::TestOn::test_it")
    assert [fault(each, tmp_path) for each in good] == [None] * 3
    for each in ("test_marked", "test_expected", "test_leaves", "TestOff::test_it", "test_none", "it"):
        assert fault(f"test_a.py::{each}", tmp_path) is not None
    assert fault("test_b.py::test_it", tmp_path) is not None
    assert fault("test_c.py::test_it", tmp_path) == "test_c.py is not there"
