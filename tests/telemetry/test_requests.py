"""Counting finished requests: which samples one request leaves, and the bound on what an agent can make of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Verdict
from proxy.telemetry.metrics import Registry
from proxy.telemetry.requests import METHODS, AttemptMetrics, RequestMetrics, code_label, method_label


def samples(registry: Registry, family: str) -> dict[tuple[str, ...], float]:
    """Values of a family's samples, by the suffix of the name and the values of the labels (no empty buckets)."""
    found = next(each for each in registry.families() if each.name == family)
    return {(s.name.removeprefix(family), *s.labels.values()): s.value for s in found.samples if s.value}


def test_a_request_is_one_sample_of_each_family() -> None:
    """A forwarded request is counted once, and each of its times is observed."""
    registry = Registry()
    RequestMetrics(registry, "weather", "search").record(b"GET", 200, "forwarded", "", 0.5, 0.4, 0.3, 0.0002)
    assert samples(registry, "backstay_requests") == {("_total", "weather", "search", "GET", "200", "forwarded", ""): 1}
    assert samples(registry, "backstay_request_duration_seconds")["_sum", "weather", "search", "forwarded"] == 0.5
    assert samples(registry, "backstay_time_to_first_byte_seconds")["_sum", "weather", "search"] == 0.4
    assert samples(registry, "backstay_upstream_duration_seconds")["_sum", "weather", "search"] == 0.3
    assert samples(registry, "backstay_overhead_seconds")["_sum", "weather", "search"] == 0.0002


def test_moments_that_were_not_are_not_observed() -> None:
    """A request that reached no upstream has a duration, but no time of an upstream's."""
    registry = Registry()
    RequestMetrics(registry, "weather", "default").record(b"GET", 503, "refused", "circuit_open", 0.1, None, None, None)
    assert samples(registry, "backstay_request_duration_seconds")["_count", "weather", "default", "refused"] == 1
    for family in ("time_to_first_byte", "upstream_duration", "overhead"):
        assert samples(registry, f"backstay_{family}_seconds") == {}


def test_requests_without_an_api_are_counted_too() -> None:
    """What is refused before its api is known has an empty api and route."""
    registry = Registry()
    RequestMetrics(registry, "", "").record(b"", 400, "rejected", "bad_request", 0.0, None, None, None)
    assert samples(registry, "backstay_requests") == {("_total", "", "", "OTHER", "400", "rejected", "bad_request"): 1}


def test_repeated_requests_share_a_sample_across_objects() -> None:
    """The chain of after a reload counts on where the chain of before it stopped."""
    registry = Registry()
    before, after = (RequestMetrics(registry, "weather", "default") for _ in range(2))
    for metrics in (before, before, after):
        metrics.record(b"GET", 200, "forwarded", "", 0.1, None, None, None)
    assert list(samples(registry, "backstay_requests").values()) == [3]
    assert repr(after) == "<RequestMetrics weather/default>"


@given(methods=st.lists(st.binary(max_size=12), min_size=1, max_size=50))
def test_an_agent_cannot_grow_the_metrics_by_method(methods: list[bytes]) -> None:
    """Whatever methods it sends, each request is counted, under a known name or as OTHER."""
    registry = Registry()
    metrics = RequestMetrics(registry, "weather", "default")
    for method in methods:
        metrics.record(method, 200, "forwarded", "", 0.1, None, None, None)
    counted = samples(registry, "backstay_requests")
    assert sum(counted.values()) == len(methods)
    assert {labels[3] for labels in counted} <= {*METHODS.values(), "OTHER"}
    assert len(metrics._children) <= len(METHODS)


@given(status=st.integers())
def test_an_upstream_cannot_grow_the_metrics_by_code(status: int) -> None:
    """A code is a label if HTTP knows it as one (RFC 9110, 15), and 000 if not."""
    registry = Registry()
    metrics = RequestMetrics(registry, "weather", "default")
    metrics.record(b"GET", status, "forwarded", "", 0.1, None, None, None)
    [(labels, count)] = samples(registry, "backstay_requests").items()
    assert (labels[4], count) == (code_label(status), 1)
    assert len(metrics._children) == (100 <= status <= 599)


def test_labels_at_their_borders() -> None:
    """Methods are case-sensitive; codes run from 100 to 599."""
    assert [code_label(status) for status in (99, 100, 599, 600)] == ["000", "100", "599", "000"]
    assert [method_label(method) for method in (b"PATCH", b"patch", b"PROPFIND", b"")] == ["PATCH", *["OTHER"] * 3]


def test_tries_are_told_apart_by_whether_they_were_the_first() -> None:
    """What a vendor gives unasked twice is counted by itself, and a later try beside it."""
    registry = Registry()
    metrics = AttemptMetrics(registry, "weather", "search")
    for number, verdict in ((1, Verdict.FAILURE), (2, Verdict.FAILURE), (3, Verdict.SUCCESS)):
        metrics.record(number, verdict)
    counted = {("first", "failure"): 1, ("again", "failure"): 1, ("again", "success"): 1}
    expected = {("_total", "weather", "search", *key): value for key, value in counted.items()}
    assert samples(registry, "backstay_attempts") == expected


def test_every_kind_of_try_is_there_before_the_first() -> None:
    """`increase()` sees the first of each, since its series begins at 0."""
    registry = Registry()
    AttemptMetrics(registry, "weather", "default")
    (family,) = registry.families()
    assert {sample.labels["verdict"] for sample in family.samples} == {verdict.value for verdict in Verdict}
    assert [sample.value for sample in family.samples] == [0] * 8
