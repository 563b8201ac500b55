"""Tests of charts/backstay/rules: Prometheus takes them, each alert fires when it should, and can be acted upon."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.rules import (
    ALERTS,
    ALL,
    NAMES,
    RECORDED,
    RULES,
    UNIT_TESTS,
    Rule,
    promtool,
    unknown_labels,
    unknown_names,
)


def firing(test: dict[str, Any]) -> list[tuple[str, bool]]:
    """The alerts that a unit test asks for, and whether it expects them to fire."""
    asked = test.get("promql_expr_test", [])
    names = [re.search(r'alertname="(\w+)", alertstate="firing"', each["expr"]) for each in asked]
    return [(name[1], bool(each["exp_samples"])) for name, each in zip(names, asked, strict=True) if name]


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_prometheus_takes_them(path: Path) -> None:
    """Expressions and templates are understood, and no rule stands there twice."""
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should(path: Path) -> None:
    """Each fires in what it is for, and is silent in the near miss."""
    done = promtool("test", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_both_ways() -> None:
    """One that has never been seen to be silent may always fire, and the other way round."""
    seen: dict[str, set[bool]] = defaultdict(set)
    for path in UNIT_TESTS:
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            for name, fires in firing(test):
                seen[name].add(fires)
    assert seen == {name: {True, False} for name in NAMES}


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.get("alert") or rule["record"])
def test_expressions_are_of_series_that_there_are(rule: Rule) -> None:
    """A name or a label that nobody serves makes a rule that never fires, and says nothing of it."""
    assert unknown_names(rule["expr"]) == []
    assert unknown_labels(rule["expr"]) == []


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_series_are_named_for_what_they_are(name: str) -> None:
    """level:metric:operations, as Prometheus recommends."""
    assert re.fullmatch(r"(instance|namespace_(api|pod)):backstay_[a-z_]+:[a-z0-9_]*[0-9]+m", name)


class TestAnAlert:
    """What prometheus-community's reviewers ask for."""

    @pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
    def test_says_how_urgent_it_is_and_what_to_do(self, rule: Rule) -> None:
        """A summary that is the same for all, a description that tells which, and a page."""
        notes = rule["annotations"]
        assert rule["alert"].startswith("Backstay")
        assert rule["labels"].keys() == {"severity"}
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert notes.keys() == {"summary", "description", "runbook_url"}
        assert re.fullmatch(r"[A-Z][^{]*\.", notes["summary"])
        assert re.fullmatch(r"(?s)(.*[.}] )?.*\.", notes["description"])
        assert notes["runbook_url"] == f"docs/runbooks/{rule['alert']}.md"

    @pytest.mark.parametrize("name", NAMES)
    def test_has_each_severity_once(self, name: str) -> None:
        """Two rules of a name are two degrees of one thing."""
        severities = [rule["labels"]["severity"] for rule in ALERTS if rule["alert"] == name]
        assert len(severities) == len(set(severities))

    def test_reads_well_when_it_fires(self, tmp_path: Path) -> None:
        """Everything in double braces is filled in: there is no label or value that the expression does not give."""
        texts = [text for path in UNIT_TESTS for text in fired(path, tmp_path)]
        assert {name for name, _ in texts} == set(NAMES)
        for name, text in texts:
            assert not re.search(r"\{\{|<no value>|<error|  | [.,;:]|/ |\(\)|NaN|%!", text), f"{name}: {text}"


def fired(path: Path, folder: Path) -> list[tuple[str, str]]:
    """Name and description of each alert that fires in a file of unit tests: what promtool says if none is expected."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    document["rule_files"] = [str((path.parent / each).resolve()) for each in document["rule_files"]]
    for test in document["tests"]:
        expected = [each for each in test.pop("promql_expr_test") if each["exp_samples"]]
        test["alert_rule_test"] = [
            {"alertname": name[1], "eval_time": each["eval_time"], "exp_alerts": []}
            for each in expected
            if (name := re.search(r'alertname="(\w+)"', each["expr"]))
        ]
    copy = folder / path.name
    copy.write_text(yaml.safe_dump(document))
    told = promtool("test", "rules", copy)
    pattern = r'Labels:\{alertname="(\w+)".*\n\s+Annotations:\{description="(.*?)", runbook_url='
    return re.findall(pattern, told.stdout + told.stderr)
