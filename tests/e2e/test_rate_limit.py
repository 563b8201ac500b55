"""The rate limit over the process: refusals that say when there is room, and waits that spare the agent one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.e2e.conftest import Start
from tests.support.process import document
from tests.support.vendor import Vendor


def test_over_the_limit_is_a_429_that_says_when(start: Start, vendor: Vendor) -> None:
    """The vendor's quota is not touched by what is refused, and the headers are the standard's."""
    sidecar = start(document({"shop": {"url": vendor.url, "rate_limit": {"rate": "2/m", "burst": 2}}}))
    assert [sidecar.get("/shop/echo").status_code for _ in range(2)] == [200, 200]
    answer = sidecar.get("/shop/echo")
    assert (answer.status_code, answer.json()["reason"]) == (429, "rate_limited")
    assert 1 <= int(answer.headers["retry-after"]) <= 30
    assert answer.headers["ratelimit-policy"] == '"default";q=2;w=60'
    assert answer.headers["ratelimit"] == f'"default";r=0;t={answer.headers["retry-after"]}'
    assert f"room again in {answer.headers['retry-after']} s" in answer.json()["advice"]
    assert "x-should-retry" not in answer.headers
    assert len(vendor.calls) == 2
    assert sidecar.value("backstay_ratelimit_decisions_total", decision="allowed") == 2
    assert sidecar.value("backstay_ratelimit_decisions_total", decision="limited") == 1


def test_a_call_may_wait_for_its_token(start: Start, vendor: Vendor) -> None:
    """With ``wait``, a burst is spread out instead of refused; the wait is not counted as our slowness."""
    limit = {"rate": "20/s", "burst": 1, "wait": "10s"}
    sidecar = start(document({"shop": {"url": vendor.url, "rate_limit": limit}}))
    with ThreadPoolExecutor(6) as agents:
        answers = list(agents.map(lambda _: sidecar.get("/shop/echo").status_code, range(6)))
    assert answers == [200] * 6
    assert sidecar.value("backstay_ratelimit_decisions_total", decision="delayed") >= 3
    assert sidecar.value("backstay_ratelimit_decisions_total", decision="limited") == 0


def test_each_credential_has_its_own_bucket(start: Start, vendor: Vendor) -> None:
    """``key: credential`` tells agents apart, and no metric or admin answer shows what they sent."""
    limit = {"rate": "1/m", "burst": 1, "key": "credential"}
    sidecar = start(document({"shop": {"url": vendor.url, "rate_limit": limit}}))
    keys = [{"authorization": f"Bearer {name}"} for name in ("alice-key", "bob-key")]
    first = [sidecar.get("/shop/echo", headers=key).status_code for key in keys]
    second = [sidecar.get("/shop/echo", headers=key).status_code for key in keys]
    assert (first, second) == ([200, 200], [429, 429])
    shown = sidecar.get("/metrics", "metrics").text + sidecar.admin("GET", "/v1/buckets").text + sidecar.transcript()
    assert "alice-key" not in shown


def test_each_try_spends_a_token(start: Start, vendor: Vendor) -> None:
    """A retry is a call to the vendor like any other; one that is refused leaves the agent the vendor's last word."""
    retry = {"attempts": 3, "backoff": {"base": "1ms", "max": "5ms"}}
    limit = {"rate": "1/m", "burst": 2}
    sidecar = start(document({"shop": {"url": vendor.url, "rate_limit": limit, "retry": retry, "breaker": False}}))
    vendor.mode = "failing"
    assert sidecar.get("/shop/echo").status_code == 503
    assert len(vendor.calls) == 2
    assert sidecar.value("backstay_ratelimit_decisions_total", decision="limited") == 1
