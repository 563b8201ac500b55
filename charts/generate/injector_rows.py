"""Rows of the dashboard of the injector: reviews, and what of Backstay runs in the cluster. Used by dashboard.py."""

from __future__ import annotations

from typing import Final

from charts.generate.panels import GREEN, ORANGE, RED, YELLOW, Bars, Heat, Lines, Number, Row
from charts.generate.promql import events, now, of, of_process, quantile, rate, total

DAY: Final = 86400
_REVIEWS: Final = "backstay_injector_reviews_total"
_TIME: Final = "backstay_injector_review_duration_seconds"
_EXPIRY: Final = "backstay_certificate_expiry_seconds"
_COUNT: Final = f"{_TIME}_count"  # there from the start of an injector on

REVIEWS: Final = Row(
    "Reviews",
    (
        Number(
            "Injectors",
            "Processes that are scraped. At 0, pods start without a sidecar, or not at all, as failurePolicy says.",
            f"count({of(_COUNT)})",
            steps=((None, RED), (1, GREEN)),
            live=True,
        ),
        Number(
            "Injected",
            "Pods that were given a sidecar, in the time that is shown.",
            total(_REVIEWS, {"result": "injected"}),
            steps=((None, GREEN),),
        ),
        Number(
            "Left as they are",
            "Pods that did not ask for it, have it already, or cannot have one.",
            total(_REVIEWS, {"result": "skipped"}),
        ),
        Number(
            "Refused",
            "Pods whose annotations ask for what cannot be given. Whoever made them was told what to write instead.",
            total(_REVIEWS, {"result": "refused"}),
            steps=((None, GREEN), (1, ORANGE)),
        ),
        Number(
            "Failed",
            "Reviews for which the configuration could not be read: is the ConfigMap there, and may the injector read "
            "it?",
            total(_REVIEWS, {"result": "failed"}),
            steps=((None, GREEN), (1, RED)),
        ),
        Number(
            "Certificate expires in",
            "After it, the API server no longer calls the injector.",
            now(_EXPIRY, {"certificate": "injector"}, how="min"),
            "s",
            ((None, RED), (DAY, ORANGE), (7 * DAY, GREEN)),
            none="unknown",
            live=True,
        ),
        Bars(
            "Reviews by result",
            "What the API server was answered. A deployment that scales is a burst; a workload that is refused comes "
            "again and again.",
            {"{{result}}": events(_REVIEWS, by="result")},
        ),
        Lines(
            "How long reviews take",
            "The API server waits for them whenever a pod is made, 5 s at most by the chart's own setting; 2 s of it "
            "are for a ConfigMap.",
            {f"p{share * 100:g}": quantile(share, _TIME) for share in (0.5, 0.95, 0.99)},
            "s",
            ((None, GREEN), (0.5, YELLOW), (1, RED)),
        ),
        Heat(
            "Reviews by how long they took",
            "Slow ones asked the API server for a ConfigMap.",
            events(f"{_TIME}_bucket", by="le"),
        ),
    ),
    closed=False,
)
"""What it did to pods."""

PROCESS: Final = Row(
    "The process",
    (
        Lines(
            "Reviews per second",
            "By injector: all of them should be called.",
            {"{{pod}}": rate(_COUNT, by="pod")},
            "reqps",
            stacked=True,
        ),
        Lines(
            "Memory",
            "Resident memory by pod.",
            {"{{pod}}": f"sum by (pod) {of_process('process_resident_memory_bytes', whose=_COUNT)}"},
            "bytes",
        ),
        Lines(
            "Processor",
            "Cores by pod.",
            {
                "{{pod}}": "sum by (pod) "
                + of_process("process_cpu_seconds_total", "rate({}[$__rate_interval])", whose=_COUNT)
            },
        ),
    ),
)
"""The injector itself."""

CLUSTER: Final = Row(
    "What runs in the cluster",
    (
        Lines(
            "Sidecars by namespace",
            "Processes that are scraped.",
            {"{{namespace}}": f"count by (namespace) ({of('backstay_config_info')})"},
            stacked=True,
        ),
        Lines(
            "Sidecars by version",
            "A pod keeps the sidecar that it was made with: an upgrade of the injector shows here as pods are rolled "
            "out.",
            {
                "{{version}}": f"count by (version) ({of('backstay_build_info')} "
                f"and on (job, instance) {of('backstay_config_info')})"
            },
            stacked=True,
        ),
        Lines(
            "Sidecars by configuration",
            "By the hash of the configuration in force. A configuration that pods carry changes when they are rolled "
            "out; one in a ConfigMap within a minute.",
            {"{{hash}}": f"count by (hash) ({of('backstay_config_info')})"},
            stacked=True,
        ),
    ),
)
"""What came of it."""

ROWS: Final = (REVIEWS, PROCESS, CLUSTER)
"""In the order in which one asks."""
