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


def unreached(document: Any) -> Iterator[str]:
    """The names of objects that have containers, though not where pods are looked for: a JobSet, a Workflow of Argo."""
    for each in objects(document):
        if _has_containers(each) and next(_in(each, ()), None) is None:
            yield _name(each)


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
    namespace = _metadata(document).get("namespace")
    yield Workload(path, _name(document), namespace and str(namespace), pod)


def _name(document: Mapping[str, Any]) -> str:
    said = _metadata(document)
    name = said.get("name") or said.get("generateName") or "(without a name)"
    return f"{str(document.get('kind')).lower()}/{name}"


def _metadata(document: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = document.get("metadata")
    return metadata if isinstance(metadata, Mapping) else {}


def _has_containers(document: Mapping[str, Any]) -> bool:
    left: list[Any] = [document]
    while left:
        value = left.pop()
        if isinstance(value, list):
            left += value
        elif isinstance(value, Mapping):
            if any(_has_image(each) for each in (value.get("container"), *_listed(value.get("containers")))):
                return True
            left += value.values()
    return False


def _has_image(container: Any) -> bool:
    return isinstance(container, Mapping) and isinstance(container.get("image"), str)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
