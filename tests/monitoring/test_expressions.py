"""What the harder expressions of the dashboards make of series that are written down, by promtool."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from charts.generate.promql import of_process, total, unknown_outcomes
from tests.support.grafana import FOLDER, dashboard, queries
from tests.support.rules import promtool

EVERYTHING: Final = {"$cluster": ".*", "$namespace": ".*", "$pod": ".*", "$api": ".*", "$__range": "10m"}
AT: Final = "30m"  # when it is looked at: from 20 to 30 minutes after the first sample

Series = dict[str, str]


def filled(expression: str) -> str:
    for name, value in EVERYTHING.items():
        expression = expression.replace(name, value)
    return expression


def on_board(title: str) -> str:
    """The first expression of a panel."""
    return next(query.expression for query in queries(dashboard(FOLDER / "backstay.json")) if query.title == title)


def state(breaker: str, pod: str, current: str) -> Series:
    """What one sidecar says of a circuit."""
    known = ("closed", "open", "half_open", "ramp", "forced_open", "disabled")
    return {
        f'backstay_breaker_state{{breaker="{breaker}", pod="{pod}", state="{each}"}}': f"{int(each == current)}x40"
        for each in known
    }


def unknown(pod: str, store: str, count: int) -> Series:
    labels = f'namespace="a", pod="{pod}", store="{store}"'
    return {f"backstay_idempotency_unknown_records{{{labels}}}": f"{count}x40"}


TRIES: Final = 'backstay_attempts_total{api="a", try="again", verdict="success", pod='
CASES: Final[dict[str, tuple[str, Series, dict[str, float]]]] = {
    "every pod tells the number of a shared store, and each the number of its own": (
        unknown_outcomes(),
        unknown("p", "shared", 3) | unknown("q", "shared", 3) | unknown("p", "ledger", 1) | unknown("q", "ledger", 1),
        {"{}": 5},
    ),
    "by store": (
        unknown_outcomes(by="store"),
        unknown("p", "shared", 3) | unknown("q", "shared", 3) | unknown("p", "ledger", 1),
        {'{store="shared"}': 3, '{store="ledger"}': 1},
    ),
    "a counter that was there before has grown, one that began is counted whole, one that stands is not": (
        total("backstay_attempts_total"),
        {f'{TRIES}"old"}}': "0+1x40", f'{TRIES}"new"}}': "_x24 2x20", f'{TRIES}"idle"}}': "7x40"},
        {"{}": 12},
    ),
    "the first call that is rescued at all is seen": (
        on_board("Would have failed, and did not"),
        {f'{TRIES}"p"}}': "0x40", 'backstay_fallbacks_total{api="a", kind="stale", pod="p"}': "_x25 1x20"},
        {"{}": 1},
    ),
    "fallbacks that had nothing to give have rescued nobody": (
        on_board("Would have failed, and did not"),
        {f'{TRIES}"p"}}': "0x40", 'backstay_fallbacks_total{api="a", kind="none", pod="p"}': "0+5x40"},
        {"{}": 0},
    ),
    "a circuit is as bad as in the pod where it is worst": (
        on_board("State of each circuit"),
        state("a", "p", "closed") | state("a", "q", "open") | state("b", "p", "ramp") | state("c", "p", "closed"),
        {'{breaker="a"}': 4, '{breaker="b"}': 2, '{breaker="c"}': 0},
    ),
    "the memory of an agent in the same pod is not ours": (
        f"sum by (pod) {of_process('process_resident_memory_bytes')}",
        {
            'backstay_config_info{pod="p", job="j", instance="p:9464", hash="h"}': "1x40",
            'process_resident_memory_bytes{pod="p", job="j", instance="p:9464"}': "60x40",
            'process_resident_memory_bytes{pod="p", job="agents", instance="p:8000"}': "900x40",
        },
        {'{pod="p"}': 60},
    ),
    "an answer that an agent cannot work with is no good one": (
        on_board("Agents: good answers"),
        {
            'backstay_requests_total{api="a", outcome="forwarded", code="200"}': "0+6x40",
            'backstay_requests_total{api="a", outcome="forwarded", code="404"}': "0+2x40",
            'backstay_requests_total{api="a", outcome="forwarded", code="503"}': "0+1x40",
            'backstay_requests_total{api="a", outcome="refused", code="503"}': "0+1x40",
            'backstay_requests_total{api="a", outcome="abandoned", code="499"}': "0+9x40",
        },
        {"{}": 0.8},
    ),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_expression_means_what_its_panel_says(case: str, tmp_path: Path) -> None:
    """Worked out by Prometheus's own engine, on series that are known."""
    expression, series, expected = CASES[case]
    asked: dict[str, Any] = {
        "expr": filled(expression),
        "eval_time": AT,
        "exp_samples": [{"labels": labels, "value": value} for labels, value in expected.items()],
    }
    given = [{"series": name, "values": values} for name, values in series.items()]
    unit = {"interval": "1m", "input_series": given, "promql_expr_test": [asked]}
    file = tmp_path / "unit.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [], "evaluation_interval": "1m", "tests": [unit]}))
    done = promtool("test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr
