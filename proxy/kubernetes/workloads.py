"""Where the pods are in an object of Kubernetes, whatever its kind. Called by manifests.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Path: TypeAlias = tuple[str | int, ...]

_TEMPLATES: Final[tuple[Path, ...]] = (
    ("spec", "template"),  # Deployment, StatefulSet, DaemonSet, ReplicaSet, Job, and most kinds of others
    ("spec", "jobTemplate", "spec", "template"),  # CronJob
    ("spec", "podTemplate"),  # Sandbox of agents.x-k8s.io
    ("template",),  # PodTemplate
)


@dataclass(frozen=True, slots=True)
class Workload:
    """A pod, or the template of some, in the object that has it."""

    path: Path  # from the root of the document
    name: str  # as kubectl says it: ``deployment/agent``
    namespace: str | None  # None: not said
    pod: dict[str, Any]


def workloads(document: Any) -> Iterator[Workload]:
    """Every pod in ``document``, those in a List included; nothing in what is no workload."""
    return _in(document, ())


def objects(document: Any) -> Iterator[Mapping[str, Any]]:
    """The objects in ``document``: itself, or those of a List."""
    if isinstance(document, Mapping):
        if _is_list(document):
            for item in document["items"]:
                yield from objects(item)
        else:
            yield document


def _in(document: Any, path: Path) -> Iterator[Workload]:
    if not isinstance(document, Mapping):
        return
    if _is_list(document):
        for index, item in enumerate(document["items"]):
            yield from _in(item, (*path, "items", index))
    elif document.get("kind") == "Pod":
        yield from _pod(document, path, document)
    else:
        for template in _TEMPLATES:
            yield from _pod(document, (*path, *template), _at(document, template))


def _is_list(document: Mapping[str, Any]) -> bool:
    return str(document.get("kind", "")).endswith("List") and isinstance(document.get("items"), list)


def _at(value: Any, path: Path) -> Any:
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _pod(document: Mapping[str, Any], path: Path, pod: Any) -> Iterator[Workload]:
    """``pod``, if it has containers: a SealedSecret has a spec.template, too."""
    containers = _at(pod, ("spec", "containers"))
    if not isinstance(containers, list) or not containers or not all(isinstance(each, dict) for each in containers):
        return
    metadata = document.get("metadata")
    said = metadata if isinstance(metadata, Mapping) else {}
    name = said.get("name") or said.get("generateName") or "(without a name)"
    namespace = said.get("namespace")
    yield Workload(path, f"{str(document.get('kind')).lower()}/{name}", namespace and str(namespace), pod)
