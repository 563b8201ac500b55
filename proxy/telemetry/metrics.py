"""Every metric of Backstay: one table, and the plain objects that count.

Policies, wire and app bind their instruments once, when a chain is linked; ``admin`` reads them all at scrape.

The rules:

1. A metric exists if, and only if, it stands in ``METRICS``. A name or label that does not is refused at once.
2. Label values come from the configuration or from a closed list, never from traffic as it came.
3. The hot path touches a plain attribute: no lock, no lookup, no library. The event loop is the only writer, so that
   a scrape on the same loop sees a consistent state.
4. Histograms count each bucket by itself; the cumulative form that Prometheus wants is made at scrape.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Literal, TypeAlias, TypeVar

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector as PrometheusCollector
from prometheus_client.utils import floatToGoString

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
Callback: TypeAlias = Callable[[], Iterable[tuple[Mapping[str, str], float]]]
"""Yields (labels, value) for each sample of a family."""

WHOLE_CALLS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds: from a cached answer to a model that streams for minutes."""

OUR_SHARE: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05)
"""Seconds: what a proxy may add."""

STALENESS: Final = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 10800.0, 43200.0, 86400.0)
"""Seconds past freshness: from an answer that is refreshed behind the call to an outage of a day."""


@dataclass(frozen=True, slots=True)
class Spec:
    """One metric family: its name, kind and label names, a sentence of help, and a histogram's upper bounds."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()


_CALL: Final = ("api", "route")

METRICS: Final = (
    # --- calls ---
    Spec(
        "backstay_requests_total",
        "counter",
        ("api", "route", "method", "code", "outcome", "reason"),
        "Requests of the agent, each counted once, at its end. A request refused before its api is known has api=''.",
    ),
    Spec(
        "backstay_request_duration_seconds",
        "histogram",
        ("api", "route", "outcome"),
        "From the request's headers to the end of its answer, retries and waits included.",
        WHOLE_CALLS,
    ),
    Spec(
        "backstay_upstream_duration_seconds",
        "histogram",
        _CALL,
        "Time of a request spent waiting for upstreams, over all its attempts.",
        WHOLE_CALLS,
    ),
    Spec(
        "backstay_time_to_first_byte_seconds",
        "histogram",
        _CALL,
        "From the request's headers to the final headers of its answer.",
        WHOLE_CALLS,
    ),
    Spec(
        "backstay_overhead_seconds",
        "histogram",
        _CALL,
        "The part of a request's time that is Backstay's own: neither the upstream's nor a wait that was asked for.",
        OUR_SHARE,
    ),
    Spec("backstay_inflight_requests", "gauge", ("api",), "Requests that have begun and not ended."),
    # --- policies ---
    Spec(
        "backstay_breaker_state",
        "gauge",
        ("breaker", "state"),
        "1 for the state that the circuit breaker is in, 0 for the others.",
    ),
    Spec(
        "backstay_breaker_transitions_total",
        "counter",
        ("breaker", "from", "to", "reason"),
        "Changes of a circuit breaker's state, and why.",
    ),
    Spec(
        "backstay_attempts_total",
        "counter",
        ("api", "route", "try", "verdict"),
        "Tries at an upstream, each counted once it has settled: the first of a call, or one that followed it.",
    ),
    Spec(
        "backstay_retries_total",
        "counter",
        ("api", "route", "reason", "result"),
        "Decisions to retry a failed attempt or not: reason is what failed, result what was done about it.",
    ),
    Spec(
        "backstay_retry_budget_ratio",
        "gauge",
        ("budget",),
        "Share of the retry budget that is left, from 0 (no retry is allowed) to 1.",
    ),
    Spec(
        "backstay_ratelimit_decisions_total",
        "counter",
        ("api", "route", "decision"),
        "Decisions of the rate limit, one for each attempt.",
    ),
    Spec(
        "backstay_shadow_decisions_total",
        "counter",
        ("api", "policy", "decision"),
        "What a policy in mode: shadow would have done to a call that it let pass.",
    ),
    # --- cached and other answers in place of the upstream's ---
    Spec(
        "backstay_cache_requests_total",
        "counter",
        ("api", "route", "result"),
        "Requests that met the cache, each counted once; `refreshed` counts refreshes behind an answer on top of that.",
    ),
    Spec(
        "backstay_cache_stale_age_seconds",
        "histogram",
        _CALL,
        "How long an answer had been past its freshness when it was served stale.",
        STALENESS,
    ),
    Spec("backstay_cache_bytes", "gauge", ("store",), "Memory that the answers in a store take."),
    Spec(
        "backstay_idempotency_requests_total",
        "counter",
        ("api", "route", "result"),
        "Calls that must happen once, each counted once, by what the ledger made of them.",
    ),
    Spec(
        "backstay_idempotency_unknown_records",
        "gauge",
        ("store",),
        "Records of calls that were sent and whose outcome is not known: each waits for a person, or for its end.",
    ),
    Spec(
        "backstay_fallbacks_total",
        "counter",
        ("api", "route", "kind"),
        "Calls that would have ended in an error, by what the agent got in its place.",
    ),
    Spec(
        "backstay_store_errors_total",
        "counter",
        ("store", "mode"),
        "Operations that a store failed, and what became of the call.",
    ),
    # --- what leaves, and how it was caught ---
    Spec(
        "backstay_egress_decisions_total",
        "counter",
        ("decision", "rule"),
        "Decisions on destinations that no api names, and on addresses of those that one does, by the rule that made "
        "them.",
    ),
    Spec(
        "backstay_captured_connections_total",
        "counter",
        ("mode", "handling"),
        "Connections through CONNECT or by redirection (mode), and what became of each.",
    ),
    Spec(
        "backstay_client_trust_failures_total",
        "counter",
        ("api",),
        "TLS handshakes that the agent broke off when it saw the certificate of Backstay's own authority.",
    ),
    Spec(
        "backstay_certificate_expiry_seconds",
        "gauge",
        ("certificate",),
        "Seconds until a certificate expires: that of the authority that signs for hosts (ca), or of the injector.",
    ),
    # --- the wire ---
    Spec("backstay_agent_connections", "gauge", (), "Open connections of the agent."),
    Spec("backstay_upstream_connections", "gauge", ("api", "state"), "Open connections to an upstream."),
    Spec(
        "backstay_drain_cut_total",
        "counter",
        (),
        "Calls that were still running at the end of drain.timeout, and were cut.",
    ),
    Spec(
        "backstay_evictions_total",
        "counter",
        ("what",),
        "Entries that a bounded table dropped to make room for others.",
    ),
    # --- the process ---
    Spec("backstay_config_reloads_total", "counter", ("result",), "Reloads of the configuration."),
    Spec("backstay_dependency_up", "gauge", ("name",), "1 while something that Backstay relies on answers, else 0."),
    Spec(
        "backstay_config_last_reload_successful",
        "gauge",
        (),
        "1 if the configuration on disk is the one in force, 0 if the last reload failed.",
    ),
    Spec("backstay_config_info", "gauge", ("hash",), "1 for the configuration in force, named by its hash."),
    Spec("backstay_build_info", "gauge", ("version", "python"), "1 for this build."),
    # --- the injector: another process, in the cluster once ---
    Spec(
        "backstay_injector_reviews_total",
        "counter",
        ("result",),
        "Admission reviews of pods, by what the injector answered.",
    ),
    Spec(
        "backstay_injector_review_duration_seconds",
        "histogram",
        (),
        "From an admission review's arrival to its answer, the look at a ConfigMap included.",
        WHOLE_CALLS,
    ),
)


class Counter:
    """A number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0.0

    def inc(self, n: float = 1) -> None:
        """Add ``n``, which is not negative (not checked: hot path)."""
        self.value += n

    def __repr__(self) -> str:
        return f"<Counter {self.value}>"


class Gauge:
    """A number that goes up and down."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0.0

    def set(self, value: float) -> None:
        """Make it ``value``."""
        self.value = value

    def inc(self, n: float = 1) -> None:
        """Add ``n``."""
        self.value += n

    def dec(self, n: float = 1) -> None:
        """Take ``n`` off."""
        self.value -= n

    def __repr__(self) -> str:
        return f"<Gauge {self.value}>"


class Histogram:
    """Counts of observations by upper bound, each bucket by itself, the last one without a bound."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count ``value`` in the first bucket whose upper bound is not below it."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def cumulative(self) -> list[tuple[str, float]]:
        """(le, observations of at most le) in ascending order, as Prometheus wants them."""
        names = [*map(floatToGoString, self.bounds), "+Inf"]
        return list(zip(names, accumulate(self.counts), strict=True))

    def __repr__(self) -> str:
        return f"<Histogram of {sum(self.counts)}, sum {self.sum}>"


_I = TypeVar("_I", Counter, Gauge, Histogram)
_Values: TypeAlias = tuple[str, ...]  # of labels, in the order of the table
_Children: TypeAlias = dict[str, dict[_Values, _I]]  # by name of the family, then by values


class Registry:
    """The instruments of one process, made when first asked for and the same ever after.

    Since a reload gets the instruments of the time before, no count is lost by it.
    """

    def __init__(self, metrics: Iterable[Spec] = METRICS) -> None:
        self._specs = {spec.name: spec for spec in metrics}
        self._counters: _Children[Counter] = {}
        self._gauges: _Children[Gauge] = {}
        self._histograms: _Children[Histogram] = {}
        self._callbacks: dict[str, Callback] = {}

    def counter(self, name: str, /, **labels: str) -> Counter:
        """The counter of that name and labels. Raises ValueError if ``METRICS`` has no such counter."""
        return _child(self._counters, self._spec(name, "counter"), labels, Counter())

    def gauge(self, name: str, /, **labels: str) -> Gauge:
        """The gauge of that name and labels. Raises ValueError if ``METRICS`` has no such gauge."""
        return _child(self._gauges, self._spec(name, "gauge"), labels, Gauge())

    def histogram(self, name: str, /, **labels: str) -> Histogram:
        """The histogram of that name and labels. Raises ValueError if ``METRICS`` has no such histogram."""
        spec = self._spec(name, "histogram")
        return _child(self._histograms, spec, labels, Histogram(spec.buckets))

    def computed(self, name: str, callback: Callback) -> None:
        """Read more samples of a gauge or counter from ``callback`` at each scrape, in place of an earlier callback.

        Raises ValueError if ``METRICS`` has no such gauge or counter.
        """
        self._spec(name, "gauge", "counter")
        self._callbacks[name] = callback

    def collector(self) -> Collector:
        """What prometheus_client reads at a scrape."""
        return Collector(self)

    def families(self) -> Iterator[Metric]:
        """Every family that has samples, in the order of ``METRICS``. Raises what a callback raises."""
        for spec in self._specs.values():
            family = self._histogram_family(spec) if spec.kind == "histogram" else self._plain_family(spec)
            if family.samples:
                yield family

    def _spec(self, name: str, *kinds: Kind) -> Spec:
        spec = self._specs.get(name)
        if spec is None or spec.kind not in kinds:
            raise ValueError(f"METRICS has no {' or '.join(kinds)} named {name!r}")
        return spec

    def _plain_family(self, spec: Spec) -> Metric:
        of_kind: Mapping[str, Mapping[_Values, Counter | Gauge]]
        of_kind = self._counters if spec.kind == "counter" else self._gauges
        samples = {values: child.value for values, child in of_kind.get(spec.name, {}).items()}
        if (callback := self._callbacks.get(spec.name)) is not None:
            samples.update((_values(spec, labels), value) for labels, value in callback())
        make = CounterMetricFamily if spec.kind == "counter" else GaugeMetricFamily
        family = make(spec.name, spec.help, labels=spec.labels)
        for values, sample in samples.items():
            family.add_metric(values, sample)
        return family

    def _histogram_family(self, spec: Spec) -> Metric:
        family = HistogramMetricFamily(spec.name, spec.help, labels=spec.labels)
        for values, child in self._histograms.get(spec.name, {}).items():
            family.add_metric(values, child.cumulative(), child.sum)
        return family


class Collector(PrometheusCollector):
    """A registry, as prometheus_client wants to see it."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """Every family that has samples."""
        return self._registry.families()


def _child(children: _Children[_I], spec: Spec, labels: Mapping[str, str], new: _I) -> _I:
    return children.setdefault(spec.name, {}).setdefault(_values(spec, labels), new)


def _values(spec: Spec, labels: Mapping[str, str]) -> _Values:
    if labels.keys() != set(spec.labels):
        raise ValueError(f"{spec.name} has the labels {list(spec.labels)}, not {list(labels)}")
    return tuple(labels[name] for name in spec.labels)
