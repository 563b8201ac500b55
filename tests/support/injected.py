"""Pods for injection to work on, what it has to give, and what becomes of them."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import jsonpatch

from proxy.kubernetes.annotations import read
from proxy.kubernetes.inject import inject
from proxy.kubernetes.model import Installation, Patch, Skipped, Supply, Wish
from proxy.kubernetes.settings import defaults
from proxy.kubernetes.supply import from_config_map

Pod = dict[str, Any]

INSTALLATION = defaults("backstay:1")
YAML = """\
version: 1
listen: {transparent: 127.0.0.1:7071}
tls_intercept: {}
apis:
  stripe: {url: https://api.stripe.com}
"""
IN_THE_CLEAR = YAML.replace("tls_intercept: {}\n", "")


def a_pod(*, spec: Pod | None = None, agent: Pod | None = None, **annotations: str) -> Pod:
    """A pod of one agent that asks for injection; ``exclude_ports`` is ``backstay.dev/exclude-ports``."""
    asked = {"backstay.dev/inject": "true"}
    asked |= {f"backstay.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
    container = {"name": "agent", "image": "agent:1", **(agent or {})}
    return {"metadata": {"annotations": asked}, "spec": {"containers": [container], **(spec or {})}}


def a_supply(text: str = YAML, *, is_carried: bool = False) -> Supply:
    """A configuration in the ConfigMap ``ways``, or one that the pod carries."""
    found = from_config_map("ways", {"backstay.yaml": text})
    return replace(found, config_map=None, files={"backstay.yaml": text}) if is_carried else found


def a_wish(pod: Pod, installation: Installation = INSTALLATION) -> Wish:
    """What a pod asks for that does ask."""
    wish = read(pod, installation)
    assert isinstance(wish, Wish), wish
    return wish


def outcome(pod: Pod, supply: Supply | None = None, installation: Installation = INSTALLATION) -> Patch | Skipped:
    """What injection says to it. Raises Refused."""
    return inject(pod, a_wish(pod, installation), installation, supply or a_supply())


def patched(pod: Pod, patch: Patch) -> Pod:
    """The pod with a patch applied by somebody else's library."""
    found: Pod = jsonpatch.apply_patch(deepcopy(pod), [dict(each) for each in patch.operations])
    return found


def injected(pod: Pod, supply: Supply | None = None, installation: Installation = INSTALLATION) -> Pod:
    """The pod with its sidecar."""
    patch = outcome(pod, supply, installation)
    assert isinstance(patch, Patch), patch
    return patched(pod, patch)


def warnings(pod: Pod, supply: Supply | None = None, installation: Installation = INSTALLATION) -> str:
    """What its owner is told."""
    patch = outcome(pod, supply, installation)
    assert isinstance(patch, Patch), patch
    return "\n".join(patch.warnings)


def container(pod: Pod, name: str) -> Pod:
    """One of its containers, of any kind."""
    every = [*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]]
    return next(each for each in every if each["name"] == name)


def names(pod: Pod, kind: str = "initContainers") -> list[str]:
    """Of its containers of a kind, in order."""
    return [each["name"] for each in pod["spec"].get(kind) or []]


def environment(pod: Pod, name: str = "agent") -> dict[str, Any]:
    """The variables of a container; one that is not text is what says where it is from."""
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container(pod, name).get("env") or []}
