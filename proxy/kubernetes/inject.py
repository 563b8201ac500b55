"""Injection: a pod in, what makes it one with a sidecar out. No I/O, no clock; the same pod gives the same patch.

Called by filter.py and webhook.py. What is in the pod stays, but for what has to change with a sidecar:
docs/kubernetes.md. A pod that has its sidecar stays as it is.
"""

from __future__ import annotations

import json
from typing import Any, Final

from proxy import __version__
from proxy.kubernetes import agents, names, objections, sidecar
from proxy.kubernetes.containers import Maker
from proxy.kubernetes.draft import Draft
from proxy.kubernetes.model import Installation, Patch, Skipped, Supply, Wish
from proxy.kubernetes.pods import Pod

_DEFAULT_CONTAINER: Final = "kubectl.kubernetes.io/default-container"
_EVICTABLE: Final = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"
_SCRAPE: Final = "prometheus.io/scrape"


def inject(pod: dict[str, Any], wish: Wish, installation: Installation, supply: Supply) -> Patch | Skipped:
    """What makes ``pod`` (or the template of one) as ``wish`` asks. Raises Refused."""
    seen = Pod(pod)
    why = objections.skipped(seen)
    if why is not None:
        return why
    maker = Maker(installation, wish, supply.config, with_resources=not seen.resources)
    objections.check(seen, maker, supply)
    draft = Draft(pod)
    caught = list(seen.agents(wish))
    warnings = [*objections.warnings(seen, maker), *agents.equip(draft, caught, maker)]
    sidecar.place(draft, seen, maker, caught)
    _spec(draft, seen, maker, supply)
    warnings += _metadata(draft, seen, maker, supply)
    return Patch(draft.operations, tuple(warnings))


def _spec(draft: Draft, pod: Pod, maker: Maker, supply: Supply) -> None:
    for volume in sidecar.volumes(maker, supply):
        draft.append("spec", "volumes", value=volume)
    draft.put("spec", "terminationGracePeriodSeconds", value=sidecar.grace(pod, maker))
    there = [each.get("name") for each in pod.pull_secrets]
    for secret in maker.installation.pull_secrets:
        if secret not in there:
            draft.append("spec", "imagePullSecrets", value={"name": secret})


def _metadata(draft: Draft, pod: Pod, maker: Maker, supply: Supply) -> list[str]:
    wish = maker.wish
    status = {"version": __version__, "capture": wish.capture, "sidecar": wish.sidecar}
    found = {names.STATUS: json.dumps(status), _EVICTABLE: _evictable(pod, maker, supply)}
    found |= {f"{names.CARRIED}{name}": text for name, text in supply.files.items() if supply.config_map is None}
    if wish.sidecar == "container" and _DEFAULT_CONTAINER not in pod.annotations:
        found[_DEFAULT_CONTAINER] = str(pod.containers[0]["name"])  # else kubectl would show ours, which is the first
    scrape, warnings = _scrape(pod, maker)
    for key, value in (found | scrape).items():
        draft.put("metadata", "annotations", key, value=value)
    draft.put("metadata", "labels", names.INJECTED, value="true")
    return warnings


def _evictable(pod: Pod, maker: Maker, supply: Supply) -> str:
    """The cluster's autoscaler leaves nodes alone whose pods have volumes of their own, unless it is told."""
    ours = [volume["name"] for volume in sidecar.volumes(maker, supply) if "emptyDir" in volume]
    theirs = str(pod.annotations.get(_EVICTABLE) or "").split(",")
    return ",".join(dict.fromkeys(name for name in (*theirs, *ours) if name))


def _scrape(pod: Pod, maker: Maker) -> tuple[dict[str, str], list[str]]:
    metrics = maker.config.listen.metrics
    if not maker.installation.scrape_annotations or metrics is None:
        return {}, []
    if any(key.startswith("prometheus.io/") for key in pod.annotations):
        return {}, ["the pod has prometheus.io annotations of its own, which stay: Backstay is not scraped by them"]
    return {_SCRAPE: "true", "prometheus.io/port": str(metrics.port), "prometheus.io/path": "/metrics"}, []
