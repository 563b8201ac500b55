"""Writes charts/backstay/values.schema.json: what kind each value is, and the schema of the configuration as `config`.

Run as ``python -m charts.generate.schema``, which prints it; a test compares the file with it. Meanings come from the
comments of values.yaml. It is draft 7, without `$defs` and later words: Helm before 3.18 knows no other.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Final, TypeAlias

from charts.generate.values import CHART, Value, sections
from proxy.config.jsonschema import json_schema

Json: TypeAlias = dict[str, Any]

_TEXT: Final[Json] = {"type": "string"}
_YES_OR_NO: Final[Json] = {"type": "boolean"}
_NAME: Final[Json] = {"type": "string", "pattern": "^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)?$"}
_DURATION: Final[Json] = {"type": "string", "pattern": "^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"}  # as Go has it
_INTERVAL: Final[Json] = {  # as Prometheus has it, or empty
    "type": "string",
    "pattern": "^([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$",
}
_TEXTS: Final[Json] = {"type": "object", "additionalProperties": _TEXT}
_OBJECT: Final[Json] = {"type": "object"}
_OBJECTS: Final[Json] = {"type": "array", "items": _OBJECT}
_MOUNTS: Final[Json] = {"type": "array", "items": {**_OBJECT, "required": ["name", "mountPath"]}}
_QUANTITY: Final[Json] = {
    "anyOf": [
        {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$"},
        {"type": "number", "exclusiveMinimum": 0},
        {"type": "null"},
    ]
}


def _words(*known: str) -> Json:
    return {"enum": [*known]}


def _list(item: Json) -> Json:
    return {"type": "array", "items": item, "uniqueItems": True}


def _group(**properties: Json) -> Json:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _named(**properties: Json) -> Json:
    return {**_group(name={"type": "string", "minLength": 1}, **properties), "required": ["name"]}


def _whole(**properties: Json) -> Json:
    """A group whose groups may not be taken away: one with nothing below it is null, and templates look into it."""
    groups = [name for name, kind in properties.items() if "properties" in kind and kind is not _RESOURCES]
    return {**_group(**properties), "required": groups}


_AMOUNTS: Final = _group(cpu=_QUANTITY, memory=_QUANTITY)
_RESOURCES: Final = _group(requests=_AMOUNTS, limits=_AMOUNTS)
_NETWORK: Final[Json] = {"type": "string", "pattern": "^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$"}
_PORT: Final[Json] = {"type": "integer", "minimum": 1, "maximum": 65535}
_CERTIFICATE: Final = _whole(
    provider=_words("helm", "certManager", "existing"),
    days={"type": "integer", "minimum": 1, "maximum": 36500},
    existing=_group(secret=_NAME, caBundle=_TEXT),
    certManager=_group(
        issuerRef=_group(name=_TEXT, kind=_TEXT, group=_TEXT), duration=_DURATION, renewBefore=_DURATION
    ),
)
_INJECTOR: Final = _whole(
    enabled=_YES_OR_NO,
    replicas={"type": "integer", "minimum": 1},
    listenHost=_words("0.0.0.0", "::"),
    failurePolicy=_words("Ignore", "Fail"),
    timeoutSeconds={"type": "integer", "minimum": 1, "maximum": 30},
    reinvocationPolicy=_words("IfNeeded", "Never"),
    matchPolicy=_words("Equivalent", "Exact"),
    namespaces=_group(
        exclude=_list(_NAME),
        excludeRelease=_YES_OR_NO,
        selector=_group(matchLabels=_TEXTS, matchExpressions=_OBJECTS),
        labelled=_YES_OR_NO,
    ),
    rbac=_group(scope=_words("cluster", "namespaces", "none"), namespaces=_list(_NAME)),
    serviceAccount=_group(create=_YES_OR_NO, name=_NAME, annotations=_TEXTS),
    certificate=_CERTIFICATE,
    annotations=_TEXTS,
    podAnnotations=_TEXTS,
    podLabels=_TEXTS,
    resources=_RESOURCES,
    nodeSelector=_TEXTS,
    tolerations=_OBJECTS,
    affinity=_OBJECT,
    topologySpreadConstraints=_OBJECTS,
    priorityClassName=_NAME,
    podDisruptionBudget=_group(enabled=_YES_OR_NO),
)
_POD_MONITOR: Final = _group(
    enabled=_YES_OR_NO,
    labels=_TEXTS,
    annotations=_TEXTS,
    namespace=_NAME,
    namespaces=_list(_NAME),
    interval=_INTERVAL,
    scrapeTimeout=_INTERVAL,
    relabelings=_OBJECTS,
    metricRelabelings=_OBJECTS,
)
_KINDS: Final = _whole(
    config={"$ref": "#/definitions/Document"},
    configMap=_group(create=_YES_OR_NO, existing=_NAME),
    image=_group(
        repository={"type": "string", "minLength": 1},
        tag={"type": "string", "pattern": "^([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$"},
        digest={"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
        pullPolicy=_words("Always", "IfNotPresent", "Never"),
    ),
    imagePullSecrets={"type": "array", "items": _named()},
    capture=_words("env", "transparent", "both"),
    sidecar=_words("native", "container"),
    shims=_YES_OR_NO,
    roots=_words("agent", "system"),
    exclude=_group(ports=_list(_PORT), networks=_list(_NETWORK)),
    resources=_RESOURCES,
    scrapeAnnotations=_YES_OR_NO,
    env={"type": "array", "items": _named(value=_TEXT, valueFrom=_OBJECT)},
    envFrom={"type": "array", "items": _group(prefix=_TEXT, configMapRef=_OBJECT, secretRef=_OBJECT)},
    secret=_group(existing=_NAME),
    volumeMounts=_MOUNTS,
    agentImages={
        "type": "array",
        "items": {
            **_group(
                image={"type": "string", "minLength": 1},
                pullPolicy=_words("Always", "IfNotPresent", "Never"),
                securityContext=_OBJECT,
                volumeMounts=_MOUNTS,
            ),
            "required": ["image"],
        },
    },
    terminationGracePeriodSeconds={"type": ["integer", "null"], "minimum": 1},
    injector=_INJECTOR,
    podMonitor=_POD_MONITOR,
    prometheusRule=_group(enabled=_YES_OR_NO, labels=_TEXTS, disabled=_list(_TEXT), runbookUrl=_TEXT),
    dashboards=_group(enabled=_YES_OR_NO, labels=_TEXTS, namespace=_NAME, folder=_TEXT),
    networkPolicy=_whole(
        injector=_group(enabled=_YES_OR_NO, metricsFrom=_OBJECTS),
        agents=_group(enabled=_YES_OR_NO, namespaces=_list(_NAME), dns=_OBJECTS, egress=_OBJECTS),
    ),
    tests=_group(enabled=_YES_OR_NO, namespace=_NAME),
    nameOverride=_NAME,
    fullnameOverride=_NAME,
    commonLabels=_TEXTS,
)
# Helm's own, and a chart's that depends on this one.
_FROM_OUTSIDE: Final[Json] = {
    "global": {"type": "object", "description": "Helm's own; nothing of it is read."},
    "enabled": {"type": "boolean", "description": "For the `condition` of a chart that depends on this one."},
}


def schema() -> Json:
    """The whole schema."""
    values = json.loads(json.dumps(_KINDS))
    for section in sections((CHART / "values.yaml").read_text()):
        for value in section.values:
            _explain(values, value)
    values["properties"].update(_FROM_OUTSIDE)
    values["required"].insert(0, "config")
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the Backstay chart",
        **values,
        "definitions": _configuration(),
    }


def _explain(kinds: Json, value: Value) -> None:
    for key in value.path:
        kinds = kinds["properties"][key]
    kinds["description"] = value.meaning


def _configuration() -> Json:
    """The definitions of the configuration, whose root is `Document`.

    That there is an api is asked for by the templates: Helm's word for it would be `minProperties: got 0, want 1`.
    """
    document = json_schema()
    definitions: Json = document.pop("$defs")
    del document["$schema"], document["properties"]["apis"]["minProperties"]
    configuration: Json = _draft_7({**definitions, "Document": document})
    return configuration


def _draft_7(node: Any) -> Any:
    if isinstance(node, list):
        return [_draft_7(item) for item in node]
    if isinstance(node, dict):
        moved = {key: _draft_7(value) for key, value in node.items()}
        if isinstance(node.get("$ref"), str):
            moved["$ref"] = node["$ref"].replace("#/$defs/", "#/definitions/")
        return _by_pattern(moved) if isinstance(node.get("propertyNames"), dict) else moved
    return node


def _by_pattern(node: Json) -> Json:
    """The same without `propertyNames`, of which Helm says the wrong path (4.3)."""
    pattern = node.pop("propertyNames")["pattern"]
    return {**node, "patternProperties": {pattern: node["additionalProperties"]}, "additionalProperties": False}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(schema(), indent=2) + "\n")
