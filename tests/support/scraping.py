"""How pods come to be scraped: what the Prometheus operator makes of a PodMonitor, and what finds pods by annotations.

For tests of monitoring. Both are written after what these projects generate: prometheus-operator v0.70 and later
(pkg/prometheus/promcfg.go), and the job `kubernetes-pods` of the chart prometheus-community/prometheus.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

Job = dict[str, Any]


def of_pod_monitor(monitor: Mapping[str, Any], api_server: str) -> list[Job]:
    """A job for each endpoint. ``api_server``: in a cluster it is found by itself."""
    name, namespace = monitor["metadata"]["name"], monitor["metadata"]["namespace"]
    return [
        {
            "job_name": f"podMonitor/{namespace}/{name}/{number}",
            "honor_labels": endpoint.get("honorLabels", False),
            "kubernetes_sd_configs": [{"role": "pod", "api_server": api_server, **_namespaces(monitor, namespace)}],
            "metrics_path": endpoint.get("path", "/metrics"),
            "scheme": endpoint.get("scheme", "http"),
            **_times(endpoint),
            "relabel_configs": [
                *_chosen(monitor["spec"]["selector"]),
                *_labelled(endpoint["port"], f"{namespace}/{name}"),
                *map(_snake, endpoint.get("relabelings", [])),
            ],
            "metric_relabel_configs": [*map(_snake, endpoint.get("metricRelabelings", []))],
        }
        for number, endpoint in enumerate(monitor["spec"]["podMetricsEndpoints"])
    ]


def _namespaces(monitor: Mapping[str, Any], own: str) -> dict[str, Any]:
    selector = monitor["spec"].get("namespaceSelector", {})
    return {} if selector.get("any") else {"namespaces": {"names": selector.get("matchNames") or [own]}}


def _times(endpoint: Mapping[str, Any]) -> dict[str, str]:
    names = {"interval": "scrape_interval", "scrapeTimeout": "scrape_timeout"}
    return {names[key]: endpoint[key] for key in names if key in endpoint}


def _chosen(selector: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"source_labels": ["job"], "target_label": "__tmp_prometheus_job_name"}
    yield {"source_labels": ["__meta_kubernetes_pod_phase"], "regex": "(Failed|Succeeded)", "action": "drop"}
    assert not selector.get("matchExpressions"), "write down what the operator makes of these"
    for label, value in sorted(selector.get("matchLabels", {}).items()):
        name = "".join(char if char.isalnum() else "_" for char in label)
        labels = [f"__meta_kubernetes_pod_{kind}_{name}" for kind in ("label", "labelpresent")]
        yield {"source_labels": labels, "regex": f"({value});true", "action": "keep"}


def _labelled(port: str, job: str) -> Iterator[dict[str, Any]]:
    yield {"source_labels": ["__meta_kubernetes_pod_container_port_name"], "regex": port, "action": "keep"}
    for label, source in (("namespace", "namespace"), ("container", "pod_container_name"), ("pod", "pod_name")):
        yield {"source_labels": [f"__meta_kubernetes_{source}"], "target_label": label}
    yield {"target_label": "job", "replacement": job}
    yield {"target_label": "endpoint", "replacement": port}
    yield {"source_labels": ["__address__"], "target_label": "__tmp_hash", "modulus": 1, "action": "hashmod"}
    yield {"source_labels": ["__tmp_hash"], "regex": "0", "action": "keep"}


def _snake(relabeling: Mapping[str, Any]) -> dict[str, Any]:
    names = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    return {names.get(key, key): value for key, value in relabeling.items()}


def of_annotations(api_server: str) -> Job:
    """The job that scrapes whatever pods ask for by `prometheus.io/...`."""
    annotation, pod = "__meta_kubernetes_pod_annotation_prometheus_io", "__meta_kubernetes_pod"
    return {
        "job_name": "kubernetes-pods",
        "honor_labels": True,
        "kubernetes_sd_configs": [{"role": "pod", "api_server": api_server}],
        "relabel_configs": [
            {"source_labels": [f"{annotation}_scrape"], "action": "keep", "regex": True},
            {"source_labels": [f"{annotation}_scrape_slow"], "action": "drop", "regex": True},
            {"source_labels": [f"{annotation}_scheme"], "regex": "(https?)", "target_label": "__scheme__"},
            {"source_labels": [f"{annotation}_path"], "regex": "(.+)", "target_label": "__metrics_path__"},
            {
                "source_labels": [f"{annotation}_port", f"{pod}_ip"],
                "regex": r"(\d+);((([0-9]+?)(\.|$)){4})",
                "replacement": "$2:$1",
                "target_label": "__address__",
            },
            {"regex": f"{annotation}_param_(.+)", "replacement": "__param_$1", "action": "labelmap"},
            {"regex": f"{pod}_label_(.+)", "action": "labelmap"},
            {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
            {"source_labels": [f"{pod}_name"], "target_label": "pod"},
            {"source_labels": [f"{pod}_phase"], "regex": "Pending|Succeeded|Failed|Completed", "action": "drop"},
            {"source_labels": [f"{pod}_node_name"], "target_label": "node"},
        ],
    }


def by_http(job: Job) -> Job:
    """The same job for a Prometheus without a client for Kubernetes: it asks for the targets that one would find."""
    changed = dict(job)
    (asked,) = changed.pop("kubernetes_sd_configs")
    names = asked.get("namespaces", {}).get("names", [])
    url = f"{asked['api_server']}/targets?{urlencode([('namespace', name) for name in names])}"
    return {**changed, "http_sd_configs": [{"url": url, "refresh_interval": "1s"}]}
