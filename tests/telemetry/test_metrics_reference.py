"""The page about the metrics says what the table says."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.chain import _IDEMPOTENCY_RESULTS
from proxy.telemetry.metrics import METRICS, Spec
from proxy.telemetry.reference import render

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_the_page_is_fresh() -> None:
    """docs/metrics.md is what the generator writes today."""
    assert PAGE.read_text() == render()


@pytest.mark.parametrize("spec", METRICS, ids=lambda spec: spec.name)
def test_every_metric_is_on_the_page(spec: Spec) -> None:
    """Each metric has a row of four cells, and a histogram its buckets."""
    [line] = [line for line in render().splitlines() if line.startswith(f"| `{spec.name}` |")]
    assert line.count("|") == 5
    assert line.endswith(f"{spec.help} |")
    assert render().count(f"`{spec.name}`") == (2 if spec.kind == "histogram" else 1)


@pytest.mark.parametrize(
    "words",
    [
        (
            "hit", "stale", "coalesced", "replayed", "fallback", "forwarded", "refused", "failed", "rejected",
            "abandoned", "broken",
        ),
        ("hit", "miss", "stale", "revalidated", "coalesced", "bypass", "refreshed"),
        _IDEMPOTENCY_RESULTS,
        ("stale", "api", "static", "none"),
        ("memory", "ledger", "shared", "shared_ledger"),
        ("cache_entries", "idempotency_bodies", "rate_limit_keys"),
    ],
    ids=["outcome", "result", "of the ledger", "kind", "store", "what"],
)  # fmt: skip
def test_the_page_tells_every_value_of_a_closed_list(words: tuple[str, ...]) -> None:
    """Who writes an alert finds the words to write it with."""
    for word in words:
        assert f"`{word}`" in render()
