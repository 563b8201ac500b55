"""What others' operators take, as far as the chart makes use of it: JSON Schemas after their CustomResourceDefinitions.

Used by tests/charts. A field that is not here is one that nobody has compared with the operator's own definition.
"""

from __future__ import annotations

from typing import Any, Final

_Json = dict[str, Any]

_TEXT: Final[_Json] = {"type": "string", "minLength": 1}
_GO_DURATION: Final[_Json] = {"type": "string", "pattern": "^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"}
_PROMETHEUS_DURATION: Final[_Json] = {"type": "string", "pattern": "^([0-9]+(ms|s|m|h|d|w|y))+$"}


def _exactly(required: str, **properties: _Json) -> _Json:
    return {
        "type": "object",
        "required": required.split(),
        "properties": properties,
        "additionalProperties": False,
    }


def _resource(version: str, kind: str, spec: _Json) -> _Json:
    return _exactly(
        "apiVersion kind metadata spec",
        apiVersion={"const": version},
        kind={"const": kind},
        metadata=_exactly(
            "name namespace labels",
            name=_TEXT,
            namespace=_TEXT,
            labels={"type": "object", "additionalProperties": {"type": "string", "maxLength": 63}},
            annotations={"type": "object", "additionalProperties": {"type": "string"}},
        ),
        spec=spec,
    )


_SELECTOR: Final = _exactly("matchLabels", matchLabels={"type": "object", "additionalProperties": {"type": "string"}})
_RELABELING: Final = _exactly(
    "",
    sourceLabels={"type": "array", "items": _TEXT},
    separator={"type": "string"},
    targetLabel=_TEXT,
    regex={"type": "string"},
    modulus={"type": "integer"},
    replacement={"type": "string"},
    action={"enum": ["replace", "keep", "drop", "hashmod", "labelmap", "labeldrop", "labelkeep"]},
)
_ENDPOINT: Final = _exactly(
    "port",
    port=_TEXT,
    path={"type": "string", "pattern": "^/"},
    interval=_PROMETHEUS_DURATION,
    scrapeTimeout=_PROMETHEUS_DURATION,
    relabelings={"type": "array", "items": _RELABELING},
    metricRelabelings={"type": "array", "items": _RELABELING},
)
_NAMES: Final = {"type": "array", "items": _TEXT}
_POD_MONITOR: Final = _exactly(
    "selector podMetricsEndpoints",
    selector=_SELECTOR,
    namespaceSelector=_exactly("", any={"type": "boolean"}, matchNames=_NAMES),
    podMetricsEndpoints={"type": "array", "items": _ENDPOINT},
)
_RULE: Final = _exactly(
    "expr",
    record=_TEXT,
    alert=_TEXT,
    expr=_TEXT,
    labels={"type": "object", "additionalProperties": {"type": "string"}},
    annotations={"type": "object", "additionalProperties": {"type": "string"}},
    **{"for": _PROMETHEUS_DURATION, "keep_firing_for": _PROMETHEUS_DURATION},
)
_GROUP: Final = _exactly(
    "name rules", name=_TEXT, interval=_PROMETHEUS_DURATION, rules={"type": "array", "items": _RULE}
)
_CERTIFICATE: Final = _exactly(
    "secretName issuerRef",
    secretName=_TEXT,
    issuerRef=_exactly("name", name=_TEXT, kind={"enum": ["Issuer", "ClusterIssuer"]}, group=_TEXT),
    commonName={"type": "string", "maxLength": 64},
    dnsNames=_NAMES,
    duration=_GO_DURATION,
    renewBefore=_GO_DURATION,
    isCA={"type": "boolean"},
    privateKey=_exactly(
        "", algorithm={"const": "ECDSA"}, size={"enum": [256, 384, 521]}, rotationPolicy={"enum": ["Never", "Always"]}
    ),
)
_ISSUER: Final = {
    **_exactly("", selfSigned=_exactly(""), ca=_exactly("secretName", secretName=_TEXT)),
    "minProperties": 1,
    "maxProperties": 1,
}

SCHEMAS: Final[dict[str, _Json]] = {
    "PodMonitor": _resource("monitoring.coreos.com/v1", "PodMonitor", _POD_MONITOR),
    "PrometheusRule": _resource(
        "monitoring.coreos.com/v1", "PrometheusRule", _exactly("groups", groups={"type": "array", "items": _GROUP})
    ),
    "Certificate": _resource("cert-manager.io/v1", "Certificate", _CERTIFICATE),
    "Issuer": _resource("cert-manager.io/v1", "Issuer", _ISSUER),
}
