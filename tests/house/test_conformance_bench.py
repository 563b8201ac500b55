"""The parts of the conformance bench that can be wrong without anybody noticing: its configurations and its report."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench.conformance.caches import Cache, all_caches, argv
from bench.conformance.report import markdown, write
from bench.conformance.suite import Verdict
from proxy.config.load import load

PASSED = Verdict("Freshness", "max-age", "Reuses a fresh answer", "optimal", "pass", "")
FAILED = Verdict("Freshness", "no-store", "Never stores it", "required", "fail", "Assertion: it comes from the cache")
ANSWERED = Verdict("Stale", "stale-503", "Does it serve a stale answer?", "check", "no", "Assertion: it does not")


@pytest.mark.parametrize("cache", all_caches(), ids=lambda cache: cache.peer.name)
def test_every_template_is_filled(tmp_path: Path, cache: Cache) -> None:
    """No @NAME@ and no {name} is left in a configuration or a command."""
    command = argv(cache, tmp_path, 1, 2)
    assert not any("{" in part for part in command)
    for template in cache.peer.templates:
        assert not re.search(r"@[A-Z_]+@", (tmp_path / template).read_text())


def test_the_table_counts_what_was_passed_of_each_kind_and_category() -> None:
    """A question that has no right answer counts in no category."""
    page = markdown({"A": [PASSED, FAILED, ANSWERED], "B": [PASSED, PASSED, ANSWERED]}, {"A 1.0": "as it comes"}, "0.4")
    assert "- A 1.0: as it comes." in page
    assert "| required: what a cache must do, as the suite reads the RFC | 0 / 1 | 0 / 0 |" in page
    assert "| Freshness | 1 / 2 | 2 / 2 |" in page
    assert "| Stale |" not in page


def test_what_backstay_does_not_pass_has_a_reason_or_is_a_defect() -> None:
    """Tests of one group are told of once; a question is never a failure."""
    ages = [Verdict("Age", f"age-parse-{number}", "", "required", "fail", "") for number in range(5)]
    page = markdown({"Backstay": [*ages, FAILED, PASSED, ANSWERED]}, {}, "0.4")
    assert "- `age-parse-0` and 4 like it: RFC 9111, 5.1" in page
    assert "- `no-store`: a defect." in page
    assert "stale-503" not in page


def test_the_document_holds_the_reason_of_each_failure(tmp_path: Path) -> None:
    """What is to be mended can be read from the file alone."""
    write({"A": [PASSED, FAILED, ANSWERED]}, {}, "0.4", tmp_path)
    document = json.loads((tmp_path / "CONFORMANCE.json").read_text())
    assert document == {
        "A": {
            "no-store": {
                "kind": "required",
                "verdict": "fail",
                "detail": "Assertion: it comes from the cache",
                "test": "Never stores it",
            }
        }
    }


def test_backstay_is_measured_as_a_shared_cache(tmp_path: Path) -> None:
    """What the table claims to compare is what the configuration says."""
    argv(all_caches()[0], tmp_path, 1, 2)
    (api,) = load([tmp_path / "backstay.yaml"], {}).apis
    assert api.policies.cache is not None
    assert api.policies.cache.scope == "shared"
