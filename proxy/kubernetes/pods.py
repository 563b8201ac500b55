"""A pod as injection reads it: its containers, and which of them are agents. Used by inject.py and objections.py.

Whatever is not built as a pod is refused here, so that nobody else has to look. So is what is larger than any pod: the
API server asks before it looks itself, and the time that one pod takes is time that all others wait.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from proxy.kubernetes.model import Refused, Wish

MESHES: Final = frozenset(
    {"istio-init", "istio-proxy", "istio-validation", "linkerd-init", "linkerd-network-validator", "linkerd-proxy"}
)
"""Containers of other sidecars that carry the traffic of agents: none of them is one."""
_MOST: Final = {"containers": 256, "initContainers": 256, "volumes": 1024}  # a whole node runs some hundred containers
_MOST_PARTS: Final = 16384  # variables, mounts, steps of their paths, and ports, of all containers together


@dataclass(frozen=True, slots=True)
class Agent:
    """A container whose calls are to be caught, and where it stands in the pod."""

    path: tuple[str, str, int]
    container: dict[str, Any]

    @property
    def name(self) -> str:
        """Of the container."""
        return str(self.container["name"])


class Pod:
    """Reads a pod, or the template of one. Raises Refused if it is not built like one."""

    def __init__(self, pod: Mapping[str, Any]) -> None:
        spec = pod.get("spec")
        if not isinstance(spec, Mapping):
            raise Refused("spec: it is missing, or not a mapping; this is no pod")
        self.spec: Mapping[str, Any] = spec
        metadata = _mapping(pod, "metadata", "")
        self.annotations = _mapping(metadata, "annotations", "metadata.")
        self.labels = _mapping(metadata, "labels", "metadata.")
        self.containers = _containers(spec, "containers")
        self.init_containers = _containers(spec, "initContainers")
        self.volumes = _named(spec, "volumes", "spec.")
        self.pull_secrets = _items(spec, "imagePullSecrets", "spec.")
        self.grace = _number(spec, "terminationGracePeriodSeconds", "spec.")
        self.security_context = _mapping(spec, "securityContext", "spec.")
        self.resources = _mapping(spec, "resources", "spec.")
        self.os = _mapping(spec, "os", "spec.").get("name")
        self.node_selector = _mapping(spec, "nodeSelector", "spec.")
        if not self.containers:
            raise Refused("spec.containers: there is none; a pod has at least one")
        parts = sum(map(_parts, (*self.init_containers, *self.containers)))
        if parts > _MOST_PARTS:
            raise Refused(
                f"spec: its containers have {parts} variables, ports, mounts and steps of their paths in all, and "
                f"Backstay looks at {_MOST_PARTS} at most; use fewer"
            )

    def __repr__(self) -> str:
        return f"<Pod of {', '.join(str(each['name']) for each in self.containers)}>"

    @property
    def lasting(self) -> list[dict[str, Any]]:
        """The containers that run side by side: those of the pod, and sidecars among the init containers."""
        return [*(each for each in self.init_containers if is_sidecar(each)), *self.containers]

    @property
    def names(self) -> set[str]:
        """Of all its containers."""
        return {str(each["name"]) for each in (*self.init_containers, *self.containers)}

    def agents(self, wish: Wish) -> Iterator[Agent]:
        """Whose calls are caught. Init containers come before a sidecar that is a plain container."""
        kinds = [("containers", self.containers)]
        if wish.sidecar == "native":
            kinds.append(("initContainers", self.init_containers))
        for kind, containers in kinds:
            for index, container in enumerate(containers):
                if container["name"] not in MESHES.union(wish.exclude_containers):
                    yield Agent(("spec", kind, index), container)

    def user(self, container: Mapping[str, Any]) -> Any:
        """Whom a container runs as; None: whom its image says."""
        own = (container.get("securityContext") or {}).get("runAsUser")
        return self.security_context.get("runAsUser") if own is None else own


def is_sidecar(container: Mapping[str, Any]) -> bool:
    """Whether an init container stays for the life of the pod."""
    return container.get("restartPolicy") == "Always"


def _containers(spec: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    found = _named(spec, kind, "spec.")
    for index, container in enumerate(found):
        where = f"spec.{kind}[{index}]."
        _named(container, "env", where)
        _named(container, "volumeMounts", where)
        _items(container, "envFrom", where)
        _items(container, "volumeDevices", where)
        _mapping(container, "securityContext", where)
        for number, port in enumerate(_items(container, "ports", where)):
            _number(port, "containerPort", f"{where}ports[{number}].")
    return found


def _parts(container: Mapping[str, Any]) -> int:
    steps = sum(str(mount.get("mountPath")).count("/") for mount in container.get("volumeMounts") or [])
    return steps + sum(len(container.get(key) or ()) for key in ("env", "envFrom", "volumeMounts", "ports"))


def _named(parent: Mapping[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    found = _items(parent, key, where)
    for index, item in enumerate(found):
        if not isinstance(item.get("name"), str):
            raise Refused(f"{where}{key}[{index}].name: it is missing, or no text; give it a name")
    return found


def _items(parent: Mapping[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    found = parent.get(key)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(item, Mapping) for item in found):
        raise Refused(f"{where}{key}: this is not a list of mappings; correct it")
    if len(found) > _MOST.get(key, math.inf):
        raise Refused(f"{where}{key}: there are {len(found)}, and Backstay looks at {_MOST[key]} at most; use fewer")
    return found


def _number(parent: Mapping[str, Any], key: str, where: str) -> int | None:
    found = parent.get(key)
    if found is not None and (not isinstance(found, int) or isinstance(found, bool)):
        raise Refused(f"{where}{key}: this is not a whole number; correct it")
    return found


def _mapping(parent: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    found = parent.get(key)
    if found is not None and not isinstance(found, Mapping):
        raise Refused(f"{where}{key}: this is not a mapping; correct it")
    return found or {}
