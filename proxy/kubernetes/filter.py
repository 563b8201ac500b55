"""What ``backstay inject`` puts into the pods of manifests: what manifests.py asks, answered without a cluster.

Made by commands.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from proxy.kubernetes.annotations import read as wish_of
from proxy.kubernetes.inject import inject
from proxy.kubernetes.model import Installation, Patch, Refused, Skipped, Supply
from proxy.kubernetes.supply import carried, from_config_map, texts
from proxy.kubernetes.workloads import Workload

Maps: TypeAlias = Mapping[tuple[str | None, str], Mapping[str, str]]
"""What ConfigMaps have, by namespace (None: not said) and name."""


@dataclass(frozen=True)
class Filter:
    """Called with a workload, it says what becomes of it. Raises Refused."""

    installation: Installation
    config: Sequence[Path] = ()
    config_map: str | None = None  # whose content is that of ``config``; of pods that name none themselves
    maps: Maps = field(default_factory=dict)  # ConfigMaps among the manifests

    def __call__(self, workload: Workload) -> Patch | Skipped:
        """See the class."""
        wish = wish_of(workload.pod, self.installation, unless_told=True)
        if isinstance(wish, Skipped):
            return wish
        name = self.config_map if wish.config_map is None else wish.config_map
        supply = self._own if name is None else self._named(name, workload.namespace)
        outcome = inject(workload.pod, replace(wish, config_map=name), self.installation, supply)
        return self._with_warnings(outcome, workload.pod)

    @cached_property
    def _own(self) -> Supply:
        if not self.config:
            raise Refused("there is no configuration for it; name one with --config, or a ConfigMap with --config-map")
        return carried(self.config)

    def _with_warnings(self, outcome: Patch | Skipped, pod: Mapping[str, Any]) -> Patch | Skipped:
        """What concerns a template alone: the ServiceAccount's secrets come to the pod later, if it has none then."""
        if isinstance(outcome, Skipped) or not self.installation.pull_secrets or pod["spec"].get("imagePullSecrets"):
            return outcome
        warning = (
            "imagePullSecrets are now those of Backstay's image, and so none comes from the ServiceAccount: if the "
            "agent's image needs one of these, name it in the pod"
        )
        return replace(outcome, warnings=(*outcome.warnings, warning))

    def _named(self, name: str, namespace: str | None) -> Supply:
        found = self._among(name, namespace)
        if len(found) > 1:
            where = ", ".join(sorted(map(str, found)))
            raise Refused(f"ConfigMap {name} is in the namespaces {where}, and the pod names none; add its namespace")
        if found:
            return from_config_map(name, next(iter(found.values())))
        if name == self.config_map and self.config:
            return from_config_map(name, self._texts)
        raise Refused(
            f"ConfigMap {name} is not among the manifests; add it with -f, or say what is in it: "
            f"--config-map {name} --config FILE"
        )

    def _among(self, name: str, namespace: str | None) -> dict[str | None, Mapping[str, str]]:
        """The ConfigMaps of this name by namespace that a pod may mean: what says no namespace gets it when applied."""
        found = {where: data for (where, its), data in self.maps.items() if its == name}
        if namespace in found:
            return {namespace: found[namespace]}
        return found if namespace is None else {None: found[None]} if None in found else {}

    @cached_property
    def _texts(self) -> dict[str, str]:
        return texts(self.config)
