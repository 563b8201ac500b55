"""Writes the dashboards of the chart: ``python -m charts.generate.dashboard`` (charts/backstay/dashboards/*.json).

They are written with Grafana's own builders (see panels.py), and every name in an expression is looked up in the table
of metrics (promql.py). A test fails when the files are stale, and another runs every expression on a real Prometheus.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from grafana_foundation_sdk.builders import dashboard as d
from grafana_foundation_sdk.models import dashboard

from charts.generate import call_rows, injector_rows, policy_rows, process_rows
from charts.generate.panels import label_variable, mark, place, plain, source_variable
from charts.generate.promql import of

FOLDER: Final = Path(__file__).parents[1] / "backstay" / "dashboards"
TAGS: Final = ["backstay"]
NARROWING: Final = ("cluster", "namespace", "pod")


def dashboards() -> Mapping[str, Any]:
    """Each by the name of its file, without the ending."""
    return {"backstay": sidecars(), "backstay-injector": injector()}


def text(content: Any) -> str:
    """As it stands in the file."""
    return json.dumps(content, indent=1) + "\n"


def sidecars() -> Any:
    """What agents saw, what vendors gave, and what Backstay made of it."""
    board = _board(
        "Backstay", "backstay", "Calls of agents through Backstay: what it saved, and how the vendors and it are."
    )
    for variable in (
        *_pods("backstay_build_info"),
        label_variable("api", _values("backstay_inflight_requests", "api")),
    ):
        board.with_variable(variable)
    opened = of("backstay_breaker_transitions_total", {"to": "open"})
    reloaded = of("backstay_config_reloads_total", {"result": "ok"})
    board.annotation(mark("Circuit opened", f"sum by (breaker) (increase({opened}[$__rate_interval])) > 0", "red"))
    board.annotation(mark("New configuration", f"sum(increase({reloaded}[$__rate_interval])) > 0", "blue"))
    return plain(place(board, [*call_rows.ROWS, *policy_rows.ROWS, *process_rows.ROWS]))


def injector() -> Any:
    """The webhook, and what runs in the cluster."""
    board = _board(
        "Backstay: injector", "backstay-injector", "The webhook that puts Backstay into pods, and what came of it."
    )
    for variable in _pods('{__name__=~"backstay_build_info|backstay_injector_review_duration_seconds_count"}'):
        board.with_variable(variable)
    return plain(place(board, injector_rows.ROWS))


def _pods(series: str) -> list[d.QueryVariable]:
    """Where it runs, from the widest to the narrowest: each offers what is left by those before it."""
    return [label_variable(name, _values(series, name, *NARROWING[:depth])) for depth, name in enumerate(NARROWING)]


def _values(series: str, label: str, *within: str) -> str:
    """The query of a variable: the values of ``label`` among ``series`` of the pods that are chosen already."""
    chosen = ", ".join(f'{each}=~"${each}"' for each in within or (() if label in NARROWING else NARROWING))
    if not chosen:
        return f"label_values({series}, {label})"
    name, _, matchers = series.rstrip("}").partition("{")
    return f"label_values({name}{{{', '.join(filter(None, (matchers, chosen)))}}}, {label})"


def _board(title: str, uid: str, description: str) -> d.Dashboard:
    link = (
        d.DashboardLink("Backstay")
        .type(dashboard.DashboardLinkType.DASHBOARDS)
        .tags(TAGS)
        .include_vars(include_vars=True)
        .keep_time(keep_time=True)
    )
    return (
        d.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(TAGS)
        .timezone("browser")
        .time("now-1h", "now")
        .refresh("30s")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .link(link)
        .with_variable(source_variable())
    )


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(exist_ok=True)
    for name, content in dashboards().items():
        (FOLDER / f"{name}.json").write_text(text(content))


if __name__ == "__main__":
    main()
