"""Tests of templates/prometheusrule.yaml: what the operator gets is what promtool has checked."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.helm import one, refusal, rendered
from tests.support.rules import ALL, NAMES, RULES, Rule, promtool, rules_of

ON = {"config": {"version": 1, "apis": {"github": {"url": "https://api.github.com"}}}}
WHERE = "https://git.example/runbooks"


def given(**values: Any) -> list[Rule]:
    """The rules that a release has."""
    found = one(rendered(ON, {"prometheusRule": {"enabled": True, **values}}), "PrometheusRule", "backstay")
    return [rule for group in found["spec"]["groups"] for rule in group["rules"]]


def bare(rules: list[Rule]) -> list[str]:
    """All of the rules but their links, to be compared."""
    notes = [{k: v for k, v in rule.get("annotations", {}).items() if k != "runbook_url"} for rule in rules]
    bared = [{**rule, "annotations": note} for rule, note in zip(rules, notes, strict=True)]
    return sorted(json.dumps(rule, sort_keys=True) for rule in bared)


def test_there_are_none_unless_they_are_asked_for() -> None:
    """A cluster without the operator does not know their kind."""
    assert [each for each in rendered(ON) if each["kind"] == "PrometheusRule"] == []


def test_they_are_those_of_the_files() -> None:
    """Every rule, its expression and its texts to the letter, with what Prometheus is to fill in."""
    assert bare(given()) == bare(ALL)


def test_prometheus_takes_what_is_rendered(tmp_path: Path) -> None:
    """The operator hands the groups to Prometheus as they are."""
    found = one(rendered(ON, {"prometheusRule": {"enabled": True}}), "PrometheusRule", "backstay")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(found["spec"]))
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", tmp_path / "rules.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(ALL)} rules found" in done.stdout


@pytest.mark.parametrize("base", [WHERE, f"{WHERE}/"])
def test_links_lead_to_where_the_runbooks_are(base: str) -> None:
    """Each alert to its own page."""
    alerts = [rule for rule in given(runbookUrl=base) if "alert" in rule]
    assert {rule["alert"]: rule["annotations"]["runbook_url"] for rule in alerts} == {
        name: f"{WHERE}/{name}.md" for name in NAMES
    }


def test_without_a_place_there_are_no_links() -> None:
    """A link that leads nowhere is worse than none."""
    assert not any("runbook_url" in rule.get("annotations", {}) for rule in given())


def test_alerts_can_be_left_out() -> None:
    """All degrees of them, and no others."""
    names = {rule["alert"] for rule in given(disabled=["BackstayDown", "BackstayRateLimited"]) if "alert" in rule}
    assert names == set(NAMES) - {"BackstayDown", "BackstayRateLimited"}


def test_a_name_that_is_none_is_refused() -> None:
    """Who mistypes it believes the alert to be off."""
    said = refusal(ON, {"prometheusRule": {"enabled": True, "disabled": ["BackstayRateLimit"]}})
    assert 'prometheusRule.disabled: there is no alert "BackstayRateLimit"; there are' in said
    assert "BackstayRateLimited" in said


def test_without_an_injector_nobody_is_told_that_it_is_down() -> None:
    """Its rules are left out with it; names of them may stay in the list of what is off."""
    values = {"prometheusRule": {"enabled": True, "disabled": ["BackstayInjectorSlow"]}, "injector": {"enabled": False}}
    found = one(rendered(ON, values), "PrometheusRule", "backstay")
    rest = [rule for path in RULES if path.stem != "injector" for rule in rules_of(path)]
    assert sum(len(group["rules"]) for group in found["spec"]["groups"]) == len(rest)


def test_what_the_api_server_lets_through_is_told_of_each_webhook() -> None:
    """BackstayInjectorFailedOpen goes by their names, as the API server counts by them."""
    (rule,) = [each for each in ALL if each.get("alert") == "BackstayInjectorFailedOpen"]
    asked = set(re.findall(r'name=~"([^"]+)"', rule["expr"]))
    hooks = one(rendered(ON), "MutatingWebhookConfiguration", "backstay-injector")["webhooks"]
    assert len(hooks) == 2
    assert [(hook["name"], name) for hook in hooks for name in asked if not re.fullmatch(name, hook["name"])] == []


def test_labels_are_those_by_which_prometheus_selects() -> None:
    """Beside the chart's own."""
    values = {"prometheusRule": {"enabled": True, "labels": {"release": "kube-prometheus-stack"}}}
    labels = one(rendered(ON, values), "PrometheusRule", "backstay")["metadata"]["labels"]
    assert labels["release"] == "kube-prometheus-stack"
    assert labels["app.kubernetes.io/name"] == "backstay"
