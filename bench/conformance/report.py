"""The report: a table for people (CONFORMANCE.md), every test that was not passed for machines (CONFORMANCE.json).

Called by run.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bench.conformance.reasons import explained
from bench.conformance.suite import Verdict

KINDS = {
    "required": "what a cache must do, as the suite reads the RFC",
    "optimal": "an answer used or validated where that is allowed",
    "check": '"yes" to a question that has no right answer',
}
Run = Mapping[str, Sequence[Verdict]]
"""Cache -> the suite's verdicts on it."""


def score(verdicts: Iterable[Verdict]) -> str:
    """``passed / all`` of some verdicts."""
    each = list(verdicts)
    return f"{sum(verdict.passed for verdict in each)} / {len(each)}"


def of_kind(verdicts: Iterable[Verdict], kind: str) -> list[Verdict]:
    """The verdicts on tests of one kind."""
    return [verdict for verdict in verdicts if verdict.kind == kind]


def categories(run: Run) -> list[str]:
    """The suite's categories, in its order."""
    return list(dict.fromkeys(verdict.category for verdicts in run.values() for verdict in verdicts))


def table(run: Run, rows: Mapping[str, Mapping[str, Sequence[Verdict]]]) -> list[str]:
    """A line for each row, a column for each cache."""
    head = ["| | " + " | ".join(run) + " |", "|---|" + "---:|" * len(run)]
    return head + [
        f"| {title} | " + " | ".join(score(cells[cache]) for cache in run) + " |" for title, cells in rows.items()
    ]


def by_kind(run: Run) -> list[str]:
    """The totals: one row for each kind of test."""
    rows = {
        f"{kind}: {told}": {cache: of_kind(verdicts, kind) for cache, verdicts in run.items()}
        for kind, told in KINDS.items()
    }
    return table(run, rows)


def by_category(run: Run) -> list[str]:
    """One row for each category, required and optimal tests together."""
    judged = {cache: [verdict for verdict in verdicts if verdict.kind != "check"] for cache, verdicts in run.items()}
    rows = {
        name: {cache: [each for each in verdicts if each.category == name] for cache, verdicts in judged.items()}
        for name in categories(judged)
    }
    return table(run, rows)


def own_failures(run: Run) -> list[str]:
    """What Backstay did not pass, and why."""
    if "Backstay" not in run:
        return []
    return ["## What Backstay does not pass, and why", "", *explained(run["Backstay"]), ""]


def markdown(run: Run, told: Mapping[str, str], version: str) -> str:
    """The whole of CONFORMANCE.md."""
    parts = [
        "# Results of `make conformance`",
        "",
        f"[http-cache-tests](https://www.npmjs.com/package/http-cache-tests) {version}, the suite behind",
        "[cache-tests.fyi](https://cache-tests.fyi), run against each cache as a reverse proxy before the suite's own",
        "origin, all on loopback. How each one was set up:",
        "",
        *(f"- {cache}: {sentence}." for cache, sentence in told.items()),
        "",
        "## By kind of test",
        "",
        *by_kind(run),
        "",
        "## By category",
        "",
        "Passed of the required and optimal tests.",
        "",
        *by_category(run),
        "",
        *own_failures(run),
        "A test counts as passed only if those it depends on are. Those that were not passed, cache by cache, are in",
        "[CONFORMANCE.json](CONFORMANCE.json).",
    ]
    return "\n".join(parts) + "\n"


def failures(verdicts: Sequence[Verdict]) -> dict[str, dict[str, str]]:
    """The tests that were not passed, with the suite's reason."""
    return {
        each.id: {"kind": each.kind, "verdict": each.verdict, "detail": each.detail, "test": each.name}
        for each in verdicts
        if not each.passed and each.kind != "check"
    }


def write(run: Run, told: Mapping[str, str], version: str, folder: Path) -> None:
    """Write CONFORMANCE.md and CONFORMANCE.json."""
    (folder / "CONFORMANCE.md").write_text(markdown(run, told, version))
    document = {cache: failures(verdicts) for cache, verdicts in run.items()}
    (folder / "CONFORMANCE.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
