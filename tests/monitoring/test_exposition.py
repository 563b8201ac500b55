"""What a running Backstay serves at /metrics: promtool finds no fault in it, and the rules may rely on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
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


POLICIES: Final[dict[str, Any]] = {
    "breaker": {"consecutive": 2},
    "rate_limit": {"rate": "100/s"},
    "cache": {},
    "idempotency": {"on_store_error": "open"},
}


@pytest.fixture(scope="module")
def vendors() -> Iterator[dict[str, dict[str, Any]]]:
    """Apis of a vendor that is not there: plainly, with something in its place, with a breaker that only looks."""
    with closed_port() as port:
        plain = {**POLICIES, "url": f"http://127.0.0.1:{port}"}
        yield {
            "plain": plain,
            "helped": {**plain, "fallback": [{"status": 200, "body": "{}"}]},
            "watched": {**plain, "breaker": {"consecutive": 2, "mode": "shadow"}, "retry": {}},
        }


@contextmanager
def running(folder: Path, apis: dict[str, dict[str, Any]]) -> Iterator[Sidecar]:
    write(folder / "backstay.yaml", document(apis))
    sidecar = Sidecar(folder, folder / "backstay.yaml")
    try:
        yield sidecar.start()
    finally:
        sidecar.stop()


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory, vendors: dict[str, dict[str, Any]]) -> Iterator[str]:
    """What is served before the first call."""
    with running(tmp_path_factory.mktemp("untouched"), vendors) as sidecar:
        yield sidecar.get("/metrics", "metrics").text


@pytest.fixture(scope="module")
def called(tmp_path_factory: pytest.TempPathFactory, vendors: dict[str, dict[str, Any]]) -> Iterator[Sidecar]:
    """After calls that have failed, until a circuit is open."""
    with running(tmp_path_factory.mktemp("called"), vendors) as sidecar:
        for name in vendors:
            for number in range(4):
                sidecar.get(f"/{name}/{number}")
            sidecar.wait_value(4, "backstay_requests_total", api=name)
        yield sidecar


def series(text: str) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    return {(each.name, frozenset(each.labels.items())) for family in parse(text) for each in family.samples}


@pytest.mark.slow
class TestASidecar:
    """A real process."""

    @pytest.mark.parametrize(("name", "labels"), FROM_THE_START, ids=str)
    def test_what_increase_must_see_is_there_at_zero(self, untouched: str, name: str, labels: dict[str, str]) -> None:
        """Else an alert on its first increase would never fire."""
        assert any(each == name and labels.items() <= set(own) for each, own in series(untouched))

    def test_what_begins_with_its_first_is_not_there(self, untouched: str) -> None:
        """Rules that knew it to be there would be simpler, and should be."""
        assert {name for name, _ in series(untouched)}.isdisjoint(FROM_THE_FIRST_ON)

    def test_promtool_finds_no_fault(self, untouched: str, called: Sidecar) -> None:
        """Neither at its start nor after calls that have failed."""
        for text in (untouched, called.get("/metrics", "metrics").text):
            done = promtool("check", "metrics", stdin=text)
            assert (done.returncode, done.stdout + done.stderr) == (0, "")

    @pytest.mark.parametrize(("api", "outcome", "count"), [("plain", "refused", 2), ("helped", "fallback", 2)])
    def test_calls_that_meet_an_open_circuit_say_so(self, called: Sidecar, api: str, outcome: str, count: int) -> None:
        """Whatever the agent got instead: BackstayCircuitOpen counts by this reason."""
        assert called.values("backstay_requests_total", "outcome", api=api, reason="circuit_open") == {outcome: count}

    def test_a_circuit_in_shadow_is_open_and_refuses_nothing(self, called: Sidecar) -> None:
        """Its state alone would say that calls are kept from the vendor."""
        assert called.value("backstay_breaker_state", breaker="watched", state="open") == 1
        assert called.value("backstay_requests_total", api="watched", reason="circuit_open") == 0


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
