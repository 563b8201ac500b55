"""The table of metrics, the instruments, and what Prometheus reads of them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from proxy.telemetry.metrics import METRICS, Histogram, Registry, Spec

SPECS = {spec.name: spec for spec in METRICS}


def exposed(registry: Registry) -> dict[str, Metric]:
    """The families that a scrape of ``registry`` shows, by name."""
    target = CollectorRegistry()
    target.register(registry.collector())
    return {family.name: family for family in parse(generate_latest(target).decode())}


def filled() -> Registry:
    """A registry in which every metric of the table has a sample."""
    registry = Registry()
    for spec in METRICS:
        labels = dict.fromkeys(spec.labels, 'a "b"\\\n')
        match spec.kind:
            case "counter":
                registry.counter(spec.name, **labels).inc()
            case "gauge":
                registry.gauge(spec.name, **labels).set(1)
            case "histogram":
                registry.histogram(spec.name, **labels).observe(1)
    return registry


class TestTheTable:
    """Prometheus' conventions, and the rules of the house."""

    def test_names_are_unique(self) -> None:
        """No two families share a name."""
        assert len(SPECS) == len(METRICS)

    @pytest.mark.parametrize("spec", METRICS, ids=lambda spec: spec.name)
    def test_names_and_help(self, spec: Spec) -> None:
        """A name has the prefix, and the suffix that its kind asks for; help is a sentence."""
        assert re.fullmatch(r"backstay_[a-z_]+", spec.name)
        assert spec.name.endswith("_total") == (spec.kind == "counter")
        assert spec.name.endswith("_seconds") or spec.kind != "histogram"
        assert spec.help.endswith(".")

    @pytest.mark.parametrize("spec", METRICS, ids=lambda spec: spec.name)
    def test_buckets(self, spec: Spec) -> None:
        """Histograms, and they alone, have buckets, in ascending order and above zero."""
        assert bool(spec.buckets) == (spec.kind == "histogram")
        assert list(spec.buckets) == sorted(set(spec.buckets))
        assert all(bound > 0 for bound in spec.buckets)

    def test_staleness_is_told_from_a_second_to_a_day(self) -> None:
        """An outage of hours shows in the buckets, and so does a refresh that came a moment late."""
        buckets = SPECS["backstay_cache_stale_age_seconds"].buckets
        assert (buckets[0], buckets[-1]) == (1.0, 86400.0)

    @pytest.mark.parametrize("spec", METRICS, ids=lambda spec: spec.name)
    def test_labels(self, spec: Spec) -> None:
        """Labels are plain words, and none is reserved by Prometheus."""
        assert all(re.fullmatch(r"[a-z]+", label) for label in spec.labels)
        assert not {"le", "quantile", "job", "instance"} & set(spec.labels)


class TestInstruments:
    """What the hot path holds."""

    def test_counter_counts(self) -> None:
        """A counter begins at nought and adds."""
        counter = Registry().counter("backstay_drain_cut_total")
        counter.inc()
        counter.inc(2)
        assert repr(counter) == "<Counter 3.0>"

    def test_gauge_moves_both_ways(self) -> None:
        """A gauge is set, raised and lowered."""
        gauge = Registry().gauge("backstay_agent_connections")
        gauge.set(5)
        gauge.inc()
        gauge.dec(3)
        assert repr(gauge) == "<Gauge 3>"

    def test_a_bucket_includes_its_bound(self) -> None:
        """An observation equal to a bound counts below it, as `le` says; a larger one above."""
        histogram = Histogram((1.0, 2.0))
        for value in (0.5, 1.0, 2.0, 2.5):
            histogram.observe(value)
        assert histogram.counts == [2, 1, 1]
        assert repr(histogram) == "<Histogram of 4, sum 6.0>"

    @given(
        bounds=st.lists(st.floats(0.001, 1000), min_size=1, max_size=20, unique=True).map(sorted).map(tuple),
        values=st.lists(st.floats(0, 2000)),
    )
    def test_cumulative_counts_are_those_of_the_definition(
        self, bounds: tuple[float, ...], values: list[float]
    ) -> None:
        """Whatever is observed, each `le` counts exactly the observations that are not above it."""
        histogram = Histogram(bounds)
        for value in values:
            histogram.observe(value)
        cumulative = histogram.cumulative()
        assert [count for _, count in cumulative[:-1]] == [sum(value <= bound for value in values) for bound in bounds]
        assert cumulative[-1] == ("+Inf", len(values))
        assert [float(name) for name, _ in cumulative[:-1]] == list(bounds)


class TestRegistry:
    """Instruments are bound once, and mistakes are refused at once."""

    def test_same_labels_give_the_same_instrument(self) -> None:
        """What a reload binds again goes on counting where it was, in whatever order labels are given."""
        registry = Registry()
        first = registry.counter("backstay_ratelimit_decisions_total", api="a", route="r", decision="allowed")
        again = registry.counter("backstay_ratelimit_decisions_total", decision="allowed", route="r", api="a")
        other = registry.counter("backstay_ratelimit_decisions_total", api="b", route="r", decision="allowed")
        assert first is again
        assert first is not other

    @pytest.mark.parametrize("name", ["requests_total", "backstay_nonsense", "backstay_inflight_requests"])
    def test_an_unknown_name_is_refused(self, name: str) -> None:
        """A metric that is not in the table, or is of another kind, cannot be made."""
        with pytest.raises(ValueError, match="METRICS has no counter named"):
            Registry().counter(name)

    @pytest.mark.parametrize("labels", [{}, {"route": "r"}, {"api": "a", "route": "r"}])
    def test_wrong_labels_are_refused(self, labels: dict[str, str]) -> None:
        """Labels must be those of the table: none missing, none more."""
        with pytest.raises(ValueError, match=r"backstay_inflight_requests has the labels \['api'\]"):
            Registry().gauge("backstay_inflight_requests", **labels)

    def test_a_histogram_cannot_be_computed(self) -> None:
        """Callbacks give single values."""
        with pytest.raises(ValueError, match="no gauge or counter named 'backstay_overhead_seconds'"):
            Registry().computed("backstay_overhead_seconds", list)


class TestScrape:
    """What Prometheus sees."""

    def test_an_untouched_registry_shows_nothing(self) -> None:
        """A family without samples is left out."""
        assert exposed(Registry()) == {}

    def test_every_metric_survives_the_parser(self) -> None:
        """Each family of the table is exposed under its name, kind and help, whatever its label values."""
        families = exposed(filled())
        assert set(families) == {name.removesuffix("_total") for name in SPECS}
        for spec in METRICS:
            family = families[spec.name.removesuffix("_total")]
            assert (family.type, family.documentation) == (spec.kind, spec.help)
            assert all(family.samples[0].labels[label] == 'a "b"\\\n' for label in spec.labels)

    def test_every_metric_survives_the_strict_parser(self) -> None:
        """The OpenMetrics form is valid too; its parser checks order, suffixes and buckets."""
        target = CollectorRegistry()
        target.register(filled().collector())
        text = generate_openmetrics(target).decode()  # type: ignore[no-untyped-call]
        families = list(parse_openmetrics(text))  # type: ignore[no-untyped-call]
        assert len(families) == len(METRICS)

    def test_histogram_samples(self) -> None:
        """A histogram shows cumulative buckets, the count and the sum."""
        registry = Registry()
        histogram = registry.histogram("backstay_overhead_seconds", api="a", route="r")
        for value in (0.0002, 0.0002, 1.0):
            histogram.observe(value)
        samples = exposed(registry)["backstay_overhead_seconds"].samples
        buckets = {sample.labels["le"]: sample.value for sample in samples if "le" in sample.labels}
        assert (buckets["0.0001"], buckets["0.00025"], buckets["0.05"], buckets["+Inf"]) == (0, 2, 2, 3)
        assert {(s.name.rpartition("_")[2], s.value) for s in samples[-2:]} == {("count", 3), ("sum", 1.0004)}

    def test_computed_samples_are_read_at_each_scrape(self) -> None:
        """A callback is asked anew each time, and a later callback takes its place."""
        registry = Registry()
        states = iter((1.0, 0.0))
        registry.computed("backstay_breaker_state", lambda: [({"breaker": "b", "state": "open"}, next(states))])
        first, second = (exposed(registry)["backstay_breaker_state"].samples[0].value for _ in range(2))
        assert (first, second) == (1.0, 0.0)
        registry.computed("backstay_breaker_state", list)
        assert exposed(registry) == {}

    def test_computed_samples_join_the_bound_ones(self) -> None:
        """A family may hold instruments and computed samples; of equal labels the computed sample counts."""
        registry = Registry()
        registry.counter("backstay_evictions_total", what="dns").inc(1)
        registry.counter("backstay_evictions_total", what="bucket").inc(1)
        registry.computed("backstay_evictions_total", lambda: [({"what": "bucket"}, 7)])
        samples = exposed(registry)["backstay_evictions"].samples
        assert {sample.labels["what"]: sample.value for sample in samples} == {"dns": 1, "bucket": 7}

    def test_wrong_labels_of_a_callback_fail_the_scrape(self) -> None:
        """A callback that yields other labels than the table's is a defect, and is not hidden."""
        registry = Registry()
        registry.computed("backstay_config_info", lambda: [({"digest": "x"}, 1)])
        with pytest.raises(ValueError, match="backstay_config_info has the labels"):
            exposed(registry)
