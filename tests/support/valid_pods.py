"""Whether a pod is one that Kubernetes would take.

Asked of its published schemas, and of the rules of its validation that injection could break
(pkg/apis/core/validation), each said here in a line.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from typing import Any

import jsonschema
import kubernetes_validate.utils as schemas
import referencing

from proxy.kubernetes.values import amount

VERSIONS = ("1.29", "1.36")
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LARGEST = 256 << 10


def faults(pod: dict[str, Any]) -> list[str]:
    """What is wrong with a pod, by any version; a template of one gets what makes it a pod."""
    whole = {"apiVersion": "v1", "kind": "Pod", **pod}
    by_schema = [error for version in VERSIONS for error in _by_schema(whole, version)]
    return by_schema or list(_by_rules(pod))


def is_restricted(pod: dict[str, Any]) -> bool:
    """Whether it passes the Pod Security Standard of this name, as far as containers say it."""
    spec = pod["spec"]
    return all(_is_restricted(each, spec.get("securityContext") or {}) for each in _containers(spec))


@functools.cache
def _validator(version: str) -> jsonschema.Draft202012Validator:
    folder = f"kubernetes-json-schema/v{_full(version)}-local-strict"
    found = [schemas.schema_contents(f"{folder}/{name}.json", version) for name in ("pod-v1", "_definitions")]
    registry: referencing.Registry[Any] = referencing.Registry()
    for contents in found:
        registry = referencing.Resource.from_contents(contents) @ registry
    return jsonschema.Draft202012Validator(found[0], registry=registry)


def _full(version: str) -> str:
    return next(str(each) for each in schemas.all_versions() if schemas.major_minor(each) == version)


def _by_schema(pod: dict[str, Any], version: str) -> Iterator[str]:
    for error in _validator(version).iter_errors(pod):
        yield f"{version}: {'.'.join(map(str, error.path))}: {error.message[:200]}"


def _by_rules(pod: dict[str, Any]) -> Iterator[str]:
    spec = pod["spec"]
    containers = list(_containers(spec))
    yield from _twice("container", [each["name"] for each in containers])
    volumes = [each["name"] for each in spec.get("volumes") or []]
    yield from _twice("volume", volumes)
    for name in [*volumes, *(each["name"] for each in containers)]:
        if not _DNS_LABEL.fullmatch(name):
            yield f"{name} is no name"
    for container in containers:
        yield from (f"{container['name']}: {fault}" for fault in _of_container(container, spec, set(volumes)))
    if any(each.get("restartPolicy") not in {None, "Always"} for each in spec.get("initContainers") or []):
        yield "an init container restarts in another way than Always"
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        yield "shareProcessNamespace beside hostPID"
    annotations = (pod.get("metadata") or {}).get("annotations") or {}
    if sum(len(f"{key}{value}".encode()) for key, value in annotations.items()) > _LARGEST:
        yield "too many annotations"


def _of_container(container: dict[str, Any], spec: dict[str, Any], volumes: set[str]) -> Iterator[str]:
    mounts = container.get("volumeMounts") or []
    yield from _twice("mountPath", [each["mountPath"] for each in mounts])
    yield from (f"{each['name']} is no volume" for each in mounts if each["name"] not in volumes)
    yield from (f"{each['mountPath']} has ':'" for each in mounts if ":" in each["mountPath"])
    ports = [each["name"] for each in container.get("ports") or [] if "name" in each]
    yield from _twice("port", ports)
    yield from (f"port {each} is too long" for each in ports if len(each) > 15)
    yield from _twice("variable", [each["name"] for each in container.get("env") or []])
    probes = ("startupProbe", "livenessProbe", "readinessProbe", "lifecycle")
    is_init = container in (spec.get("initContainers") or [])
    if is_init and container.get("restartPolicy") != "Always" and any(each in container for each in probes):
        yield "probes of an init container that ends"
    for probe in probes[:3]:
        port = ((container.get(probe) or {}).get("httpGet") or {}).get("port")
        if isinstance(port, str) and port not in ports:
            yield f"{probe} asks the port {port}, which there is not"
    context = container.get("securityContext") or {}
    if context.get("allowPrivilegeEscalation") is False and context.get("privileged"):
        yield "privileged without escalation"
    if context.get("runAsNonRoot") and context.get("runAsUser") == 0:
        yield "root that is not to be root"
    yield from _of_resources(container.get("resources") or {})


def _of_resources(resources: dict[str, Any]) -> Iterator[str]:
    limits = resources.get("limits") or {}
    for name, request in (resources.get("requests") or {}).items():
        if name in limits and amount(str(request)) > amount(str(limits[name])):
            yield f"the request of {name} is above its limit"


def _is_restricted(container: dict[str, Any], of_pod: dict[str, Any]) -> bool:
    context = of_pod | (container.get("securityContext") or {})
    capabilities = context.get("capabilities") or {}
    return (
        context.get("allowPrivilegeEscalation") is False
        and context.get("runAsNonRoot") is True
        and context.get("runAsUser") != 0
        and not context.get("privileged")
        and "ALL" in (capabilities.get("drop") or [])
        and set(capabilities.get("add") or []) <= {"NET_BIND_SERVICE"}
        and (context.get("seccompProfile") or {}).get("type") in {"RuntimeDefault", "Localhost"}
    )


def _containers(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from spec.get("initContainers") or []
    yield from spec["containers"]


def _twice(what: str, names: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            yield f"{what} {name} is there twice"
        seen.add(name)
