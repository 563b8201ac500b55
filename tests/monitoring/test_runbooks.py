"""Tests of docs/runbooks and docs/monitoring.md: there is a page for each alert, and what it says to type exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from proxy.admin.api import admin_app
from proxy.cli import main
from tests.support.rules import ALERTS, NAMES, RECORDED, ROOT, RUNBOOKS, promtool, unknown_labels, unknown_names

MONITORING = ROOT / "docs" / "monitoring.md"
PAGES = sorted((ROOT / "docs").rglob("*.md"))


def blocks(page: Path, language: str) -> list[str]:
    """What stands between fences of this language."""
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return found


def test_there_is_a_page_for_each_alert_and_an_alert_for_each_page() -> None:
    """A link that leads nowhere is found at three in the morning."""
    assert [page.stem for page in RUNBOOKS] == NAMES


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_a_page_says_what_whom_where_and_how(page: Path) -> None:
    """The same four questions in the same order, so that a tired reader knows where to look."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"(?s)```.*?```", "", page.read_text(encoding="utf-8")), re.MULTILINE)
    assert headings == [page.stem, "Meaning", "Impact", "Look", "Mend"]
    assert blocks(page, "console")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_metrics_and_labels_are_those_of_the_table(page: Path) -> None:
    """A query with a name that nobody serves answers nothing, and reads as if all were well."""
    text = page.read_text(encoding="utf-8")
    assert unknown_names(text) == []
    assert unknown_labels(text) == []


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_queries_are_understood(page: Path, tmp_path: Path) -> None:
    """Each is an expression, which promtool reads as a rule of its own."""
    queries = "\n".join(blocks(page, "promql")).splitlines()
    rules = [{"record": f"query{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    done = promtool("check", "rules", tmp_path / "queries.yaml")
    assert done.returncode == 0, done.stderr


class AnyControl:
    """Its methods are bound when the routes are made, and not called."""

    def __getattr__(self, name: str) -> str:
        return name


def routes() -> list[str]:
    """Method and path of all that the admin API has, as patterns."""
    app = admin_app(cast("Any", AnyControl()), "a token")
    found = [(route.method, route.resource) for route in app.router.routes()]
    return [f"{method} {re.sub(r'{[^}]*}', '[^/]+', where.canonical)}" for method, where in found if where is not None]


def requests(page: Path) -> list[str]:
    """Method and path of all that a page sends to the admin API."""
    found = []
    for line in re.findall(r"curl .*localhost:7072.*", page.read_text(encoding="utf-8")):
        (path,) = re.findall(r"localhost:7072(/[^\s'?]*)", line)
        named = re.search(r"-X (\w+)", line)
        method = named[1] if named else "POST" if " -d " in line else "GET"
        found.append(f"{method} {path}")
    return found


def test_requests_to_the_admin_api_are_answered() -> None:
    """What the pages send with curl is something that the admin API has."""
    asked = {request for page in RUNBOOKS for request in requests(page)}
    assert "PUT /v1/breakers/github" in asked
    assert [each for each in sorted(asked) if not any(re.fullmatch(route, each) for route in routes())] == []


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_commands_of_backstay_exist(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the pages have the sidecar run is something that it can do."""
    console = "\n".join(blocks(page, "console"))
    for name in set(re.findall(r"(?:-- |^\$ )backstay (\w+)", console, re.MULTILINE)):
        with pytest.raises(SystemExit) as left:
            main([name, "--help"])
        assert left.value.code == 0
        assert name in capsys.readouterr().out


def test_the_table_of_alerts_is_that_of_the_rules() -> None:
    """Names, severities and how long each has to hold, in the order of the files."""
    row = r"^\| \[(\w+)\]\(runbooks/\1\.md\) \| ([\w, ]+) \| ([\w, ]*?) ?\|"
    rows = re.findall(row, MONITORING.read_text(encoding="utf-8"), re.MULTILINE)
    told = {name: (severities.split(", "), times.split(", ") if times else []) for name, severities, times in rows}
    assert told == {name: degrees(name) for name in NAMES}


def degrees(name: str) -> tuple[list[str], list[str]]:
    """The severities of an alert, and the times for which it has to hold, without repetitions."""
    rules = [rule for rule in ALERTS if rule["alert"] == name]
    times = dict.fromkeys(rule["for"] for rule in rules if "for" in rule)
    return [rule["labels"]["severity"] for rule in rules], list(times)


def test_recorded_series_are_listed() -> None:
    """They are there for others' queries, too."""
    rows = re.findall(r"^\| `(\w+:backstay\w+:\w+)` \|", MONITORING.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == RECORDED
