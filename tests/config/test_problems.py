"""Problems: their text, their order, and that each counts once."""

from __future__ import annotations

import pickle
from pathlib import Path

from proxy.config.problems import ConfigError, Mark, Problem, Problems, near


def test_a_problem_reads_like_a_compiler_message() -> None:
    """Editors jump to file:line:column."""
    problem = Problem("a.yaml", 3, 5, "apis.x.url", "'y' is not a url", "write https://host")
    assert str(problem) == "a.yaml:3:5: apis.x.url: 'y' is not a url; write https://host"


def test_a_problem_without_a_path_has_no_empty_part() -> None:
    """A syntax error belongs to no key."""
    assert str(Problem("a.yaml", 1, 1, "", "no YAML", "look")) == "a.yaml:1:1: no YAML; look"


def test_the_same_mistake_at_the_same_place_counts_once() -> None:
    """Ten routes that inherit one bad default make one problem."""
    problems = Problems()
    for path in ("apis.a", "apis.b"):
        problems.add(Mark("a.yaml", 2, 1), path, "bad", "mend it")
    assert [problem.path for problem in problems.error([]).problems] == ["apis.a"]


def test_problems_come_in_the_order_of_the_files_and_then_of_the_lines() -> None:
    """A person mends a file from its top, whatever found the mistakes."""
    problems = Problems()
    for file, line in (("b", 1), ("a", 9), ("a", 2)):
        problems.add(Mark(file, line, 1), "", "bad", "mend it")
    error = problems.error([Path("b"), Path("a")])
    assert [(problem.file, problem.line) for problem in error.problems] == [("b", 1), ("a", 2), ("a", 9)]
    assert str(error).count("\n") == 2


def test_problems_are_true_once_there_is_one() -> None:
    """What collects mistakes is asked whether there are any."""
    problems = Problems()
    assert not problems
    problems.add(Mark("a", 1, 1), "", "bad", "mend it")
    assert problems


def test_an_error_survives_a_process_boundary() -> None:
    """A configuration may be loaded in a process of its own."""
    error = ConfigError([Problem("a", 1, 1, "", "bad", "mend it")], (Path("a"),))
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.problems, copy.watched) == (error.problems, error.watched)


def test_a_close_word_is_suggested() -> None:
    """Near enough is suggested, far off is not."""
    assert near("retrys", ["timeout", "retry"]) == "did you mean 'retry'?"
    assert near("elephant", ["timeout", "retry"]) is None
