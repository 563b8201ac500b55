"""The chart's dashboards: made by the generator, sound as Grafana's own model has it, and told in words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.models.dashboard import Dashboard

from charts.generate.dashboard import dashboards, text
from charts.generate.panels import WIDTH, plain
from charts.generate.promql import of, quantile, rate, total
from proxy.telemetry.metrics import METRICS
from tests.support import helm
from tests.support.grafana import FILES, dashboard, panels, queries, variables

by_dashboard = pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)


@by_dashboard
def test_the_files_are_fresh(file: Path) -> None:
    """`python -m charts.generate.dashboard` writes what is there."""
    assert file.read_text(encoding="utf-8") == text(dashboards()[file.stem])


def test_there_is_a_file_for_each_dashboard_and_no_other() -> None:
    """One that is renamed takes its file with it."""
    assert {file.stem for file in FILES} == set(dashboards())


@by_dashboard
def test_it_is_a_dashboard_by_grafanas_own_model(file: Path) -> None:
    """The model reads it, and nothing is lost that it would not know."""
    board = dashboard(file)
    assert plain(Dashboard.from_json(board)) == board


def test_no_two_dashboards_are_one() -> None:
    """Grafana tells them apart by uid, and people by title."""
    boards = [dashboard(file) for file in FILES]
    for name in ("uid", "title"):
        assert len({board[name] for board in boards}) == len(boards)
    assert all(len(board["uid"]) <= 40 for board in boards)


@by_dashboard
def test_every_panel_says_what_it_shows(file: Path) -> None:
    """A title, a sentence or more in plain words, and a data source that the viewer chooses."""
    source = {"type": "prometheus", "uid": "${datasource}"}
    for panel in panels(dashboard(file)):
        assert panel["title"]
        assert re.search(r"[a-z]{3}.*[.?]$", panel["description"]), panel["title"]
        assert panel["datasource"] == source
        assert [target["datasource"] for target in panel["targets"]] == [source] * len(panel["targets"])


@by_dashboard
def test_every_panel_has_a_unit(file: Path) -> None:
    """A number without one is a riddle: seconds or milliseconds, shares or percent?"""
    for panel in panels(dashboard(file)):
        if panel["type"] == "heatmap":
            assert panel["options"]["yAxis"]["unit"] == "s"
        else:
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


@by_dashboard
def test_thresholds_begin_below_everything_and_ascend(file: Path) -> None:
    """Each value has exactly one colour."""
    for panel in panels(dashboard(file)):
        steps = panel.get("fieldConfig", {}).get("defaults", {}).get("thresholds", {}).get("steps", [{"value": None}])
        values = [step["value"] for step in steps]
        assert values[0] is None
        assert values[1:] == sorted(set(values[1:])), panel["title"]


@by_dashboard
def test_a_number_that_may_be_absent_says_so_in_words(file: Path) -> None:
    """Grafana's "No data" would leave open whether nothing happened or nothing is seen."""
    numbers = [panel for panel in panels(dashboard(file)) if panel["type"] == "stat"]
    assert numbers
    assert all(panel["fieldConfig"]["defaults"]["noValue"] for panel in numbers)


@by_dashboard
def test_no_expression_hides_that_there_is_no_data(file: Path) -> None:
    """`or vector(0)` has data whatever is scraped: a name that is misspelt would never be found."""
    assert [query.title for query in queries(dashboard(file)) if re.search(r"vector\(|absent", query.expression)] == []


@by_dashboard
def test_every_selector_heeds_what_is_chosen(file: Path) -> None:
    """Cluster, namespace and pod narrow each series of each expression."""
    for query in queries(dashboard(file)):
        for selector in re.findall(r"\w+{([^}]*)}", query.expression):
            for name in ("cluster", "namespace", "pod"):
                assert f'{name}=~"${name}"' in selector, query


@by_dashboard
def test_every_variable_that_is_used_is_there(file: Path) -> None:
    """Those of the dashboard, and those of Grafana's."""
    board = dashboard(file)
    known = {*variables(board), "datasource", "__rate_interval", "__range", "__all"}
    text_of_all = file.read_text(encoding="utf-8")
    assert set(re.findall(r"\$\{?(\w+)", text_of_all)) == known


@by_dashboard
def test_panels_lie_beside_each_other(file: Path) -> None:
    """None lies on another, or beyond the edge; ids are given once."""
    everything = every_panel(dashboard(file))
    assert len({panel["id"] for panel in everything}) == len(everything)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= WIDTH for panel in everything)
    open_ones = [cell for panel in dashboard(file)["panels"] for cell in cells(panel["gridPos"])]
    assert len(set(open_ones)) == len(open_ones)


def test_every_metric_is_on_a_dashboard() -> None:
    """A metric that nobody can look at is one too many, or a panel is missing."""
    shown = " ".join(query.expression for file in FILES for query in queries(dashboard(file)))
    assert [spec.name for spec in METRICS if spec.name not in shown] == []


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: of("backstay_request_total"), "METRICS has no series named 'backstay_request_total'"),
        (lambda: rate("backstay_requests_total", {"verdict": "x"}), "not 'verdict'"),
        (lambda: rate("backstay_overhead_seconds"), "METRICS has no series named"),
        (lambda: total("backstay_requests_total_sum"), "METRICS has no series named"),
        (lambda: quantile(0.5, "backstay_inflight_requests"), "METRICS has no series named"),
    ],
)
def test_the_generator_refuses_names_that_there_are_not(make: Any, said: str) -> None:
    """A misspelt metric or label is an error where it is written, and never an empty panel."""
    with pytest.raises(ValueError, match=said):
        make()


# --- in the chart -------------------------------------------------------------------------------------------

VALUES = {"config": {"version": 1, "listen": {"metrics": "0.0.0.0:9464"}, "apis": {"a": {"url": "https://a.test"}}}}


def config_maps(**values: Any) -> dict[str, dict[str, Any]]:
    """The ConfigMaps with dashboards, by the file that is in them."""
    found = [each for each in helm.rendered({**VALUES, **values}) if each["source"] == "dashboard.yaml"]
    return {file: each for each in found for file in each["data"]}


def test_the_chart_gives_each_dashboard_to_grafana_as_it_is() -> None:
    """Its template language and Grafana's have the same braces: nothing of either is lost."""
    maps = config_maps(dashboards={"enabled": True})
    assert {file: each["data"][file] for file, each in maps.items()} == {file.name: file.read_text() for file in FILES}
    assert all(each["metadata"]["labels"]["grafana_dashboard"] == "1" for each in maps.values())
    assert len({each["metadata"]["name"] for each in maps.values()}) == len(FILES)


def test_grafana_is_told_what_it_looks_for() -> None:
    """Another label, namespace and folder, as other installations of Grafana want them."""
    said = {"enabled": True, "labels": {"dashboards": "1"}, "namespace": "grafana", "folder": "Agents: all"}
    meta = config_maps(dashboards=said)["backstay.json"]["metadata"]
    assert (meta["namespace"], meta["labels"]["dashboards"]) == ("grafana", "1")
    assert meta["annotations"] == {"grafana_folder": "Agents: all"}


def test_without_an_injector_there_is_no_dashboard_of_it() -> None:
    """A chart that depends on this one has none."""
    assert list(config_maps(dashboards={"enabled": True}, injector={"enabled": False})) == ["backstay.json"]


def test_dashboards_are_off_unless_asked_for() -> None:
    """Not everybody has Grafana's sidecar."""
    assert config_maps() == {}


def cells(place: dict[str, int]) -> list[tuple[int, int]]:
    """Squares of Grafana's grid."""
    return [(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])]


def every_panel(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows and what is in them."""
    return [each for panel in board["panels"] for each in (panel, *panel.get("panels", []))]
