"""An outage as agent, operator and vendor see it: the circuit opens, spares the vendor, and closes again."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from tests.e2e.conftest import Start
from tests.support.process import Document, Sidecar, document, wait_until
from tests.support.vendor import Vendor

QUICK = {"consecutive": 3, "open": "300ms", "max_open": "1s", "probes": 2, "ramp": "100ms"}


def guarded(vendor: Vendor, breaker: dict[str, Any], **api: Any) -> Document:
    return document({"shop": {"url": vendor.url, "breaker": breaker, **api}})


def fail_until_open(sidecar: Sidecar, vendor: Vendor) -> None:
    vendor.mode = "failing"
    for _ in range(3):
        assert sidecar.get("/shop/echo").json()["error"]["code"] == "503"
    assert sidecar.value("backstay_breaker_state", breaker="shop", state="open") == 1


def call_until(sidecar: Sidecar, condition: Callable[[], bool]) -> None:
    """An agent that calls again and again."""

    def called() -> bool:
        sidecar.get("/shop/echo")
        return condition()

    wait_until(called)


def send(sidecar: Sidecar, path: str, stack: ExitStack) -> socket.socket:
    connection = stack.enter_context(sidecar.connect())
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    return connection


def test_an_open_circuit_refuses_with_advice_and_spares_the_vendor(start: Start, vendor: Vendor) -> None:
    """The refusal is instant, says when to come back, and is told from the vendor's own 503."""
    sidecar = start(guarded(vendor, {"consecutive": 3, "open": "60s"}))
    fail_until_open(sidecar, vendor)
    vendor.forget()
    answer = sidecar.get("/shop/echo")
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert answer.headers["backstay-outcome"] == problem["reason"] == "circuit_open"
    assert 1 <= int(answer.headers["retry-after"]) == problem["retry_after"] <= 60
    assert f"try it again in {problem['retry_after']} s" in problem["advice"]
    assert answer.headers["x-should-retry"] == "false"
    assert not vendor.calls
    assert sidecar.value("backstay_requests_total", outcome="refused", reason="circuit_open") == 1


def test_the_circuit_closes_by_itself_once_the_vendor_is_well(start: Start, vendor: Vendor) -> None:
    """OPEN, HALF_OPEN, RAMP, CLOSED: each transition is counted, and no operator is needed."""
    sidecar = start(guarded(vendor, QUICK))
    fail_until_open(sidecar, vendor)
    vendor.mode = "well"
    wait_until(lambda: sidecar.get("/shop/echo").status_code == 200, "being served again")
    call_until(sidecar, lambda: sidecar.breaker_state("shop") == "closed")
    for frm, to in (("closed", "open"), ("open", "half_open"), ("half_open", "ramp"), ("ramp", "closed")):
        labels = {"from": frm, "to": to}
        assert sidecar.value("backstay_breaker_transitions_total", breaker="shop", **labels) == 1


def test_a_vendor_that_stays_down_is_asked_ever_more_rarely(start: Start, vendor: Vendor) -> None:
    """A failed probe opens the circuit again; the vendor sees one call at a time meanwhile."""
    sidecar = start(guarded(vendor, {**QUICK, "open": "100ms"}))
    fail_until_open(sidecar, vendor)
    vendor.forget()
    reopened = {"from": "half_open", "to": "open", "reason": "probe_failed"}
    call_until(sidecar, lambda: sidecar.value("backstay_breaker_transitions_total", **reopened) >= 2)
    assert len(vendor.calls) == sidecar.value("backstay_breaker_transitions_total", **reopened)


def test_a_hanging_vendor_opens_the_circuit_while_its_calls_still_hang(start: Start, vendor: Vendor) -> None:
    """Slowness of calls in flight counts: nobody waits for the end of the first hang."""
    sidecar = start(guarded(vendor, {"slow_call": "200ms", "min_calls": 5, "open": "60s"}))
    with ExitStack() as stack:
        for _ in range(8):
            send(sidecar, "/shop/hang", stack)
        wait_until(lambda: sidecar.value("backstay_breaker_state", state="open") == 1, "the circuit opening")
        assert len(vendor.seen("running", "hang")) == 8
        assert sidecar.get("/shop/echo").json()["reason"] == "circuit_open"
        assert sidecar.value("backstay_inflight_requests") == 8


def test_no_more_than_probes_reach_the_vendor_at_once(start: Start, vendor: Vendor) -> None:
    """Many callers on a half-open circuit; and a probe whose caller vanishes frees its permit."""
    sidecar = start(guarded(vendor, {**QUICK, "probes": 2, "max_open": "60s"}))
    fail_until_open(sidecar, vendor)
    vendor.forget()
    vendor.mode = "hanging"
    with ExitStack() as stack:
        wait_until(lambda: [send(sidecar, "/shop/echo", stack)] and vendor.calls, "the first probe")
        for _ in range(200):
            send(sidecar, "/shop/echo", stack)
        sidecar.wait_value(2, "backstay_inflight_requests")
        sidecar.wait_value(100, "backstay_requests_total", reason="circuit_open")
        assert len(vendor.calls) == 2
    wait_until(lambda: len(vendor.seen("gone")) == 2, "the probes vanishing")
    vendor.mode = "well"
    wait_until(lambda: sidecar.get("/shop/echo").status_code == 200, "a new probe passing")


def test_throttling_opens_nothing(start: Start, vendor: Vendor) -> None:
    """A 429 is the vendor's word about the agent, not about its own health."""
    sidecar = start(guarded(vendor, QUICK))
    vendor.mode = "throttling"
    assert {sidecar.get("/shop/echo").status_code for _ in range(20)} == {429}
    assert sidecar.breaker_state("shop") == "closed"


def test_in_shadow_it_only_counts(start: Start, vendor: Vendor) -> None:
    """Every call passes; the metric tells which would not have."""
    sidecar = start(guarded(vendor, {"consecutive": 3, "open": "60s", "mode": "shadow"}))
    fail_until_open(sidecar, vendor)
    assert sidecar.get("/shop/echo").json()["error"]["code"] == "503"
    assert sidecar.value("backstay_shadow_decisions_total", policy="breaker", decision="refused") == 1
    assert len(vendor.calls) == 4


def test_an_operator_forces_a_breaker(start: Start, vendor: Vendor) -> None:
    """Forced open refuses all, closed admits all, auto gives it back to itself; /metrics shows each."""
    sidecar = start(guarded(vendor, {"consecutive": 3, "open": "60s"}))
    seen = []
    for forced, mode in (("open", "well"), ("closed", "failing"), ("auto", "well")):
        vendor.mode = mode
        answer = sidecar.admin("PUT", "/v1/breakers/shop", {"state": forced})
        assert answer.status_code == 200
        seen.append((answer.json()["state"], sidecar.get("/shop/echo").status_code))
        assert sidecar.value("backstay_breaker_state", breaker="shop", state=seen[-1][0]) == 1
        for _ in range(5):
            sidecar.get("/shop/echo")
        assert sidecar.value("backstay_breaker_state", breaker="shop", state=seen[-1][0]) == 1
    assert seen == [("forced_open", 503), ("disabled", 503), ("closed", 200)]
    assert len(vendor.calls) == 12
    assert sidecar.admin("PUT", "/v1/breakers/shp", {"state": "open"}).json()["near"] == ["shop"]


@pytest.mark.parametrize(("scope", "name"), [("route", "shop/reports"), ("host", None)])
def test_a_breaker_has_the_scope_it_was_given(start: Start, vendor: Vendor, scope: str, name: str | None) -> None:
    """A route of its own may fail alone."""
    routes = [{"name": "reports", "match": {"paths": ["/status/503"]}}]
    sidecar = start(guarded(vendor, {"consecutive": 3, "open": "60s", "scope": scope}, routes=routes))
    answers = [sidecar.get("/shop/status/503") for _ in range(4)]
    assert answers[-1].json()["reason"] == "circuit_open"
    assert sidecar.get("/shop/echo").status_code == (200 if scope == "route" else 503)
    assert sidecar.breaker_state(name or f"localhost:{vendor.port}") == "open"
