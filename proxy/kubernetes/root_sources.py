"""Where the roots of a pod's agents come from: their images, and what is mounted over the roots of these.

Called by sidecar.py, which has one init container for each source. A company's authority is often not in the image: a
ConfigMap lies over the system's list of roots, and the copy has to be of what the agent sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, Final

from proxy.kubernetes import names
from proxy.kubernetes.containers import ROOT_FILES, Container, Maker
from proxy.kubernetes.pods import Agent, Pod

Mount = dict[str, Any]

_FULL: Final = frozenset({"configMap", "secret", "projected", "downwardAPI", "hostPath", "csi", "image"})
"""Kinds of volumes with something in them before any container has run."""


def sources(pod: Pod, maker: Maker, agents: Sequence[Agent]) -> list[tuple[Container, list[Mount]]]:
    """For each image with other roots, the first container that has it, and what of its mounts brings roots."""
    found: dict[str, tuple[Container, list[Mount]]] = {}
    for container in (agent.container for agent in agents):
        if container.get("image"):
            mounts = _mounts(pod, maker, container)
            found.setdefault(repr((container["image"], mounts)), (container, mounts))
    return list(found.values())


def _mounts(pod: Pod, maker: Maker, container: Container) -> list[Mount]:
    """Of two, one in the other, the inner: the volume of the outer is read-only here, and may lack a place for it."""
    full = {volume["name"] for volume in pod.volumes if maker.wish.sidecar == "container" or _FULL & volume.keys()}
    found = [
        (PurePath(str(mount.get("mountPath"))), mount)
        for mount in container.get("volumeMounts") or []
        if mount["name"] in full and "subPathExpr" not in mount  # which is made of variables
    ]
    over = [(path, mount) for path, mount in found if _brings_roots(path, maker)]
    outer = {above for path, _ in over for above in path.parents}
    return [_read_only(mount) for path, mount in over if path not in outer]


def _brings_roots(path: PurePath, maker: Maker) -> bool:
    """Whether it lies over a list of roots, and not over a place of ours or the whole image."""
    ours = (names.TOOLS_PATH, str(maker.trust.trust_dir))
    return (
        path != PurePath("/")
        and any(PurePath(file).is_relative_to(path) for file in ROOT_FILES)
        and not any(PurePath(each).is_relative_to(path) for each in ours)
    )


def _read_only(mount: Mount) -> Mount:
    kept = {key: mount[key] for key in ("name", "mountPath", "subPath") if mount.get(key)}
    return {**kept, "readOnly": True}
