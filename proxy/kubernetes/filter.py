"""What ``backstay inject`` puts into the pods of manifests: what manifests.py asks, answered without a cluster.

Made by commands.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from proxy.config.files import listing
from proxy.kubernetes.annotations import read as wish_of
from proxy.kubernetes.inject import inject
from proxy.kubernetes.model import Installation, Patch, Refused, Skipped, Supply
from proxy.kubernetes.supply import carried, from_config_map
from proxy.kubernetes.workloads import Workload


@dataclass(frozen=True)
class Filter:
    """Called with a workload, it says what becomes of it. Raises Refused."""

    installation: Installation
    config: Sequence[Path] = ()
    config_map: str | None = None  # whose content is that of ``config``; of pods that name none themselves
    maps: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # ConfigMaps among the manifests, by name

    def __call__(self, workload: Workload) -> Patch | Skipped:
        """See the class."""
        wish = wish_of(workload.pod, self.installation, unless_told=True)
        if isinstance(wish, Skipped):
            return wish
        name = self.config_map if wish.config_map is None else wish.config_map
        supply = self._own if name is None else self._named(name)
        return inject(workload.pod, replace(wish, config_map=name), self.installation, supply)

    @cached_property
    def _own(self) -> Supply:
        if not self.config:
            raise Refused("there is no configuration for it; name one with --config, or a ConfigMap with --config-map")
        return carried(self.config)

    def _named(self, name: str) -> Supply:
        if name in self.maps:
            return from_config_map(name, self.maps[name])
        if name == self.config_map and self.config:
            return from_config_map(name, self._texts)
        raise Refused(
            f"ConfigMap {name} is not among the manifests; add it with -f, or say what is in it: "
            f"--config-map {name} --config FILE"
        )

    @cached_property
    def _texts(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for path in self.config:
            try:
                for file in listing(path) if path.is_dir() else [path]:
                    found[file.name] = file.read_text("utf-8-sig")
            except (OSError, UnicodeDecodeError) as error:
                raise Refused(f"{path}: it cannot be read: {error}; check the path") from None
        return found
