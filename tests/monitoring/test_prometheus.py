"""A real Prometheus finds Backstay as the chart says, and has an answer to everything that a dashboard asks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.support.grafana import FILES, FOLDER, Chosen, Query, Viewer, dashboard, panels, queries, variables
from tests.support.prometheus import Series
from tests.support.scene import INJECTOR_POD, NAMESPACE, POD, Scene, scene

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
Drawn: TypeAlias = dict[Path, list[tuple[Query, list[Series]]]]
by_dashboard = pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
by_way = pytest.mark.parametrize("way", ["by_monitor", "by_annotations"])


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("scene")) as made:
        yield made


@pytest.fixture
def viewer(played: Scene, way: str) -> Viewer:
    found: Viewer = getattr(played, way)
    return found


@pytest.fixture(scope="module")
def drawn(played: Scene) -> Drawn:
    """All that somebody sees who chooses nothing."""
    boards = {file: dashboard(file) for file in FILES}
    return {
        file: [(query, played.by_monitor.run(query, dict.fromkeys(variables(board), ()))) for query in queries(board)]
        for file, board in boards.items()
    }


def chosen_one_by_one(viewer: Viewer, board: dict[str, Any]) -> Chosen:
    """Every value that each variable offers, picked by hand."""
    chosen: dict[str, list[str]] = {name: [] for name in variables(board)}
    for name, query in variables(board).items():
        chosen[name] = viewer.offered(query, chosen)
    return chosen


@by_way
def test_every_pod_is_found_once(viewer: Viewer) -> None:
    """The sidecar, which is an init container, and the injector: neither is missed, nor scraped twice."""
    targets = viewer.prometheus.targets()
    assert sorted(target["labels"]["pod"] for target in targets) == [POD, INJECTOR_POD]
    assert {target["labels"]["namespace"] for target in targets} == {NAMESPACE}
    assert {target["health"] for target in targets} == {"up"}


@by_way
@by_dashboard
def test_every_expression_has_data(viewer: Viewer, file: Path) -> None:
    """No panel is empty after half a minute in which everything happens."""
    board = dashboard(file)
    everything: Chosen = dict.fromkeys(variables(board), ())
    empty = [str(query) for query in queries(board) if not any(each.finite for each in viewer.run(query, everything))]
    assert empty == []


@by_way
@by_dashboard
def test_every_expression_has_data_with_every_value_picked(viewer: Viewer, file: Path) -> None:
    """What variables offer is what the panels can be narrowed to. No cluster is told here, as in many installations."""
    board = dashboard(file)
    chosen = chosen_one_by_one(viewer, board)
    assert [name for name, values in chosen.items() if not values] == ["cluster"]
    empty = [str(query) for query in queries(board) if not any(each.finite for each in viewer.run(query, chosen))]
    assert empty == []


@by_dashboard
def test_a_pod_that_is_not_there_has_no_data(played: Scene, file: Path) -> None:
    """Each expression heeds what is chosen; else the test above would say nothing."""
    board, viewer = dashboard(file), played.by_monitor
    chosen: Chosen = {name: ["nobody"] if name == "pod" else [] for name in variables(board)}
    assert [str(query) for query in queries(board) if viewer.run(query, chosen)] == []


@by_dashboard
def test_legends_name_labels_that_there_are(drawn: Drawn, file: Path) -> None:
    """A legend with a label that its series do not have would be shown with a hole."""
    for query, found in drawn[file]:
        named = set(re.findall(r"{{(\w+)}}", query.legend))
        assert named <= {label for series in found for label in series.labels}, query


@by_dashboard
def test_states_are_those_that_have_a_word(drawn: Drawn, file: Path) -> None:
    """A value of a timeline without a word and a colour would be a number in grey."""
    words = {
        panel["title"]: {float(value) for value in panel["fieldConfig"]["defaults"]["mappings"][0]["options"]}
        for panel in panels(dashboard(file))
        if panel["type"] == "state-timeline"
    }
    for query, found in drawn[file]:
        values = {value for series in found for value in series.values}
        assert query.title not in words or values <= words[query.title], query


def test_the_circuit_is_seen_to_open_and_to_close(played: Scene) -> None:
    """Its transitions are counted even where no scrape has fallen into an outage of half a second."""
    (seen,) = played.by_monitor.prometheus.at(
        'sum(backstay_breaker_transitions_total{breaker="down", to="open"})', played.by_monitor.end
    )
    assert seen.values[0] >= 2
    assert played.sidecar.breaker_state("down") == "closed"


@by_way
@pytest.mark.parametrize(
    ("title", "name", "labels"),
    [
        ("Mended by trying again", "attempts_total", [{"try": "again", "verdict": "success"}]),
        ("Answered from before", "fallbacks_total", [{"kind": "stale"}]),
        ("Answered from elsewhere", "fallbacks_total", [{"kind": "api"}, {"kind": "static"}]),
        ("Not done twice", "idempotency_requests_total", [{"result": "replayed"}, {"result": "joined"}]),
        ("Refused at once, not left hanging", "requests_total", [{"outcome": "refused", "reason": "circuit_open"}]),
    ],
)
def test_what_was_saved_is_counted_to_the_call(
    played: Scene, viewer: Viewer, title: str, name: str, labels: list[dict[str, str]]
) -> None:
    """The numbers on top are those of the metrics, the first of each kind included."""
    counted = sum(played.sidecar.value(f"backstay_{name}", **each) for each in labels)
    assert counted >= 2
    assert shown(viewer, title) == counted


@by_way
def test_rescued_are_those_that_were_mended_and_those_that_got_something_else(viewer: Viewer) -> None:
    """The headline is the sum of its parts."""
    parts = ("Mended by trying again", "Answered from before", "Answered from elsewhere")
    assert shown(viewer, "Would have failed, and did not") == sum(shown(viewer, part) for part in parts)


def test_every_rule_is_evaluated(played: Scene) -> None:
    """Prometheus takes the chart's rules as they are, and none of them fails on what there is."""
    found = played.by_monitor.prometheus.evaluated()
    assert found
    assert [rule["name"] for rule in found if rule["health"] != "ok"] == []


def shown(viewer: Viewer, title: str) -> float:
    """The number in a panel of the first row of all."""
    board = dashboard(FOLDER / "backstay.json")
    query = next(query for query in queries(board) if query.title == title)
    (series,) = viewer.run(query, dict.fromkeys(variables(board), ()))
    return series.values[0]
