"""What a running Backstay serves at /metrics: promtool finds no fault in it, and the rules may rely on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, cast

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families as parse

from proxy.kubernetes.webhook import Webhook
from proxy.telemetry.metrics import METRICS, Registry
from tests.support.process import Sidecar, closed_port, document, write
from tests.support.rules import promtool

# The first of these is seen by increase(): rules ask for it without further ado.
FROM_THE_START: Final[tuple[tuple[str, dict[str, str]], ...]] = (
    ("backstay_idempotency_requests_total", {"result": "unprotected"}),
    ("backstay_idempotency_requests_total", {"result": "refused"}),
    ("backstay_store_errors_total", {"mode": "open"}),
    ("backstay_store_errors_total", {"mode": "owed"}),
    ("backstay_ratelimit_decisions_total", {"decision": "limited"}),
    ("backstay_attempts_total", {"try": "first", "verdict": "failure"}),
    ("backstay_overhead_seconds_count", {}),
    ("backstay_config_last_reload_successful", {}),
    ("backstay_idempotency_unknown_records", {"store": "memory"}),
    ("backstay_breaker_state", {"state": "forced_open"}),
)
# The first of these begins a series: rules count it whole, or ask for what goes on for minutes.
FROM_THE_FIRST_ON: Final = (
    "backstay_requests_total",
    "backstay_retries_total",
    "backstay_egress_decisions_total",
    "backstay_client_trust_failures_total",
    "backstay_breaker_transitions_total",
)


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """One with every policy that counts, before a vendor that is not there."""
    folder = tmp_path_factory.mktemp("exposition")
    policies: dict[str, Any] = {"breaker": {}, "retry": {}, "rate_limit": {"rate": "100/s"}, "cache": {}}
    with closed_port() as port:
        policies |= {"url": f"http://127.0.0.1:{port}", "idempotency": {"on_store_error": "open"}}
        write(folder / "backstay.yaml", document({"gone": policies}))
        running = Sidecar(folder, folder / "backstay.yaml").start()
        yield running
        running.stop()


def series(text: str) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    return {(each.name, frozenset(each.labels.items())) for family in parse(text) for each in family.samples}


@pytest.mark.slow
class TestASidecar:
    """One process for all of these: the first call is the last test's."""

    @pytest.mark.parametrize(("name", "labels"), FROM_THE_START, ids=str)
    def test_what_increase_must_see_is_there_at_zero(self, sidecar: Sidecar, name: str, labels: dict[str, str]) -> None:
        """Else an alert on its first increase would never fire."""
        found = series(sidecar.get("/metrics", "metrics").text)
        assert any(each == name and labels.items() <= set(own) for each, own in found)

    def test_promtool_finds_no_fault(self, sidecar: Sidecar) -> None:
        """Before and after a call that has failed; and what begins a series is not there before."""
        before = sidecar.get("/metrics", "metrics").text
        sidecar.get("/gone/x")
        sidecar.wait_value(1, "backstay_requests_total", outcome="failed")
        after = sidecar.get("/metrics", "metrics").text
        for text in (before, after):
            done = promtool("check", "metrics", stdin=text)
            assert (done.returncode, done.stdout + done.stderr) == (0, "")
        assert {name for name, _ in series(before)}.isdisjoint(FROM_THE_FIRST_ON)
        assert "backstay_requests_total" in {name for name, _ in series(after)}


def test_promtool_finds_no_fault_in_any_metric_of_the_table() -> None:
    """Those that one sidecar does not serve, too."""
    registry = Registry()
    for spec in METRICS:
        make = {"counter": registry.counter, "gauge": registry.gauge, "histogram": registry.histogram}[spec.kind]
        make(spec.name, **dict.fromkeys(spec.labels, "x"))
    done = promtool("check", "metrics", stdin=exposed(registry))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_an_injector_is_there_before_its_first_review() -> None:
    """BackstayInjectorDown asks whether there is one by the count of its reviews, and the others for its results."""
    registry = Registry()
    anything = cast("Any", None)
    Webhook(anything, registry, anything, anything)
    found = series(exposed(registry))
    assert ("backstay_injector_review_duration_seconds_count", frozenset()) in found
    for result in ("failed", "refused"):
        assert ("backstay_injector_reviews_total", frozenset({("result", result)})) in found


def exposed(registry: Registry) -> str:
    target = CollectorRegistry()
    target.register(registry.collector())
    return generate_latest(target).decode()
