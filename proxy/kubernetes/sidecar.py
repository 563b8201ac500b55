"""Puts the sidecar into a pod, with the volumes it needs and what has to run before it. Called by inject.py.

native      prepare, roots, redirect, backstay (for the life of the pod), then the pod's own init containers
container   the pod's own init containers, prepare, roots, authority, redirect; backstay is the first container
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from proxy.kubernetes import names
from proxy.kubernetes.containers import LINGER, Container, Maker, started
from proxy.kubernetes.draft import Draft
from proxy.kubernetes.model import Supply
from proxy.kubernetes.pods import Agent, Pod
from proxy.kubernetes.root_sources import sources

_GRACE = 30  # seconds: what Kubernetes gives if a pod says nothing
_MARGIN = 5  # seconds: for the last words of a process


def place(draft: Draft, pod: Pod, maker: Maker, agents: Sequence[Agent]) -> None:
    """Put the containers of ours where they belong."""
    before = list(_before(pod, maker, agents))
    if maker.wish.sidecar == "native":
        for index, container in enumerate([*before, {**maker.sidecar(), "restartPolicy": "Always"}]):
            draft.insert("spec", "initContainers", index=index, value=container)
        return
    for container in before:
        draft.append("spec", "initContainers", value=container)
    draft.insert("spec", "containers", index=0, value=_plain(pod, maker))
    if ends_with_agent(pod, maker):
        draft.put("spec", "shareProcessNamespace", value=True)


def volumes(maker: Maker, supply: Supply) -> list[dict[str, Any]]:
    """Those that the containers of ours mount."""
    intercepts = maker.config.tls_intercept is not None
    found = [_config(supply), _empty(names.STATE), _empty(names.TMP, sizeLimit="16Mi")]
    if intercepts:  # the key of the authority is never on a disk
        found.append(_empty(names.CA, medium="Memory", sizeLimit="1Mi"))
    if maker.has_trust:
        found.append(_empty(names.TRUST))
    if maker.has_roots:
        found.append(_empty(names.TOOLS, sizeLimit="16Mi"))
    if maker.wish.secret:
        found.append({"name": names.SECRET, "secret": {"secretName": maker.wish.secret}})
    return found


def grace(pod: Pod, maker: Maker) -> int:
    """Seconds until whatever still runs is killed: beside the agent's own time, there has to be that of the drain.

    A native sidecar is told to end when the agent has ended, a plain container at the same time as the agent.
    """
    agents = agents_grace(pod)
    drain = math.ceil(maker.config.drain_timeout) + _MARGIN
    return agents + drain if maker.wish.sidecar == "native" else max(agents, drain)


def agents_grace(pod: Pod) -> int:
    """Seconds that the pod gives to its own containers."""
    return _GRACE if pod.grace is None else pod.grace


def ends_with_agent(pod: Pod, maker: Maker) -> bool:
    """Whether the sidecar has to see for itself when the work is done: a plain container of a Job would never end."""
    return maker.wish.sidecar == "container" and pod.spec.get("restartPolicy", "Always") != "Always"


def _before(pod: Pod, maker: Maker, agents: Sequence[Agent]) -> Iterator[Container]:
    if maker.has_roots or maker.shims:
        yield maker.prepare()
    if maker.has_roots:
        for number, (container, mounts) in enumerate(sources(pod, maker, agents), 1):
            yield maker.roots(number, container, mounts)
    if maker.wish.sidecar == "container" and maker.config.tls_intercept is not None:
        yield maker.authority()
    transparent = maker.config.listen.transparent
    if maker.wish.capture != "env" and transparent is not None:
        yield maker.redirect(transparent.port)


def _plain(pod: Pod, maker: Maker) -> Container:
    metrics = maker.config.listen.metrics
    arguments = ["--linger", str(LINGER), *(["--with-agent"] if ends_with_agent(pod, maker) else [])]
    return {**maker.sidecar(*arguments), **({} if metrics is None else {"lifecycle": started(metrics)})}


def _config(supply: Supply) -> dict[str, Any]:
    if supply.config_map is not None:
        return {"name": names.CONFIG, "configMap": {"name": supply.config_map}}
    items = [
        {"path": name, "fieldRef": {"fieldPath": f"metadata.annotations['{names.CARRIED}{name}']"}}
        for name in supply.files
    ]
    return {"name": names.CONFIG, "downwardAPI": {"items": items}}


def _empty(name: str, **of: str) -> dict[str, Any]:
    return {"name": name, "emptyDir": of}
