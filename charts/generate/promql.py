"""Expressions of the dashboards, in the words of the table of metrics. Used by charts/generate/*_rows.py.

A name that the table has not, or a label that a metric has not, is an error of the generator, and never an empty panel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proxy.telemetry.metrics import METRICS, Spec

WHERE: Final = 'cluster=~"$cluster", namespace=~"$namespace", pod=~"$pod"'
"""What every selector has: "All" is ``.*``, which a label that is not there matches, too."""

BY_STEP: Final = "$__rate_interval"
"""The step of graphs that show ``events``: with it, each of them is in one step, and in no other."""

_SPECS: Final = {spec.name: spec for spec in METRICS}
_OPERATORS: Final = ("=~", "!~", "!=")
_SUFFIXES: Final = ("_bucket", "_sum", "_count")
# Circuits and budgets are named for the api, or for one of its routes.
_SHARED: Final = {"breaker": '=~"($api)(/.*)?"', "budget": '=~"($api)(/.*)?"', "api": '=~"$api"'}


def of(metric: str, labels: Mapping[str, str] | None = None) -> str:
    """A selector of the pods and apis that are chosen. ``{"code": "!~5.."}``: an operator may come before the value.

    Raises ValueError if there is no such metric, or it has no such label.
    """
    spec = _spec(metric)
    parts = [WHERE]
    parts += [label + matcher for label, matcher in _SHARED.items() if label in spec.labels]
    for label, value in (labels or {}).items():
        if label not in spec.labels:
            raise ValueError(f"{metric} has the labels {list(spec.labels)}, not {label!r}")
        operator = next((each for each in _OPERATORS if value.startswith(each)), "=")
        parts.append(f'{label}{operator}"{value.removeprefix(operator)}"')
    return f"{metric}{{{', '.join(parts)}}}"


def rate(metric: str, labels: Mapping[str, str] | None = None, *, by: str = "", over: str = "$__rate_interval") -> str:
    """Per second, summed."""
    return _sum(f"rate({of(metric, labels)}[{over}])", by)


def grown(metric: str, labels: Mapping[str, str] | None = None) -> str:
    """By how much each series of a counter grew in the time that is shown.

    A counter of something rare begins at 1, and ``increase`` of a series that was not there before misses that: so one
    that began within the time counts as a whole. The alerts do the same.
    """
    counter = of(metric, labels)
    return f"((last_over_time({counter}[$__range]) unless {counter} offset $__range) or increase({counter}[$__range]))"


def total(metric: str, labels: Mapping[str, str] | None = None, *, by: str = "") -> str:
    """How many in the time that is shown."""
    return _sum(grown(metric, labels), by)


def events(metric: str, labels: Mapping[str, str] | None = None, *, by: str = "") -> str:
    """How many in each step of the graph (see BY_STEP): for what is rare, where a rate would be a small fraction."""
    return _sum(f"increase({of(metric, labels)}[{BY_STEP}])", by)


def quantile(share: float, histogram: str, *, by: str = "", over: str = "$__rate_interval") -> str:
    """Of a histogram, in its own unit."""
    buckets = rate(f"{histogram}_bucket", by=", ".join(filter(None, ("le", by))), over=over)
    return f"histogram_quantile({share:g}, {buckets})"


def now(metric: str, labels: Mapping[str, str] | None = None, *, by: str = "", how: str = "sum") -> str:
    """A gauge, as it is: ``how`` is sum, min or max."""
    return _sum(of(metric, labels), by, how)


def most(vector: str) -> str:
    """The largest of what there may be thousands of."""
    return f"topk(20, {vector})"


def unknown_outcomes(*, by: str = "") -> str:
    """Records whose outcome nobody knows: every pod tells the number of a shared store, which must not be summed."""
    name = "backstay_idempotency_unknown_records"
    shared, own = of(name, {"store": "shared"}), of(name, {"store": "!=shared"})
    return _sum(f"max by (cluster, namespace, store) ({shared}) or sum by (cluster, namespace, pod, store) ({own})", by)


def of_process(metric: str, form: str = "{}", *, whose: str = "backstay_config_info") -> str:
    """A ``process_*`` metric, in ``form``: of sidecars alone, for other containers of their pods have it, too."""
    return f"({form.format(f'{metric}{{{WHERE}}}')} and on (job, instance) {of(whose)})"


def _sum(vector: str, by: str, how: str = "sum") -> str:
    return f"{how} by ({by}) ({vector})" if by else f"{how}({vector})"


def _spec(metric: str) -> Spec:
    names = (metric, *(metric.removesuffix(each) for each in _SUFFIXES))
    found = next((_SPECS[name] for name in names if name in _SPECS), None)
    if found is None or (found.kind == "histogram") == (metric in _SPECS):
        raise ValueError(f"METRICS has no series named {metric!r}")
    return found
