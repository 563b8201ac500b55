"""What an agent's container gets: variables that send its calls to Backstay and make it trust what Backstay signs.

Called by inject.py. What a container says itself stays; a variable that is a list is joined. ``HTTPS_PROXY`` and
``https_proxy`` are one variable: the other case would overrule what the container says, for clients that read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from proxy.agent.env import Place, kubernetes_value, trust_variables, variables
from proxy.agent.variable import Variable
from proxy.kubernetes.containers import Maker
from proxy.kubernetes.draft import Draft
from proxy.kubernetes.pods import Agent

_LISTED: Final = 3
_NO_PROXY: Final = "NO_PROXY"


def equip(draft: Draft, agents: Iterable[Agent], maker: Maker) -> list[str]:
    """Give all of them what they need; returns what they keep from being caught by, as sentences."""
    ours = variables_for(maker)
    mount = maker.agents_mount()
    warnings: list[str] = []
    for agent in agents:
        if mount is not None:
            draft.append(*agent.path, "volumeMounts", value=mount)
        kept = _environment(draft, agent, ours)
        for what, names in (
            ("go past Backstay", [name for name in kept if _is_proxy(name)]),
            ("not trust it", [name for name in kept if not _is_proxy(name)]),
        ):
            if names:
                warnings.append(
                    f"container {agent.name} sets {_listed(names)} itself, and that stays: clients that read it "
                    f"may {what}; remove it there if their calls should be caught"
                )
        overruled = dict.fromkeys(each.name.upper() for each in ours if _may_come(each.name, agent.container))
        if overruled:
            warnings.append(
                f"container {agent.name} has envFrom: what it sets there of {_listed([*overruled])} is overruled by "
                "what injection sets; set under env what is to stay or to be joined"
            )
    return warnings


def variables_for(maker: Maker) -> list[Variable]:
    """The variables for every agent of a pod. Who is redirected has to know of trust alone."""
    place = Place(shims=None if maker.shims is None else Path(maker.shims))
    make = trust_variables if maker.wish.capture == "transparent" else variables
    found = make(maker.config, place)
    return [replace(each, joined_by=",") if each.name.upper() == _NO_PROXY else each for each in found]


def _environment(draft: Draft, agent: Agent, ours: Sequence[Variable]) -> list[str]:
    """Set what the container does not; returns the names of those of its own that say something else."""
    own = {entry["name"]: (index, entry) for index, entry in enumerate(agent.container.get("env") or [])}
    folded = {name.upper(): entry for name, (_, entry) in own.items()}
    kept: list[str] = []
    for variable in ours:
        value = kubernetes_value(variable)
        index, entry = own.get(variable.name, (None, folded.get(variable.name.upper())))
        if entry is None:
            draft.append(*agent.path, "env", value={"name": variable.name, "value": value})
        elif variable.joined_by and "valueFrom" not in entry:
            joined = _joined(variable, value, entry.get("value") or "")
            if index is None:
                draft.append(*agent.path, "env", value={"name": variable.name, "value": joined})
            else:
                draft.put(*agent.path, "env", index, "value", value=joined)
        elif _says(entry) != value:
            kept.append(entry["name"])
    return list(dict.fromkeys(kept))


def _may_come(name: str, container: Mapping[str, Any]) -> bool:
    """Whether ``envFrom`` may bring it, which nobody here can look into, and ``env`` does not say it anyway."""
    if any(entry["name"].upper() == name.upper() for entry in container.get("env") or []):
        return False
    return any(name.startswith(str(each.get("prefix") or "")) for each in container.get("envFrom") or [])


def _listed(names: Sequence[str]) -> str:
    """The first of them: the API server cuts a warning after 256 characters."""
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def _is_proxy(name: str) -> bool:
    return name.upper().endswith("_PROXY")


def _joined(variable: Variable, ours: str, theirs: str) -> str:
    """Ours before theirs, whose options then overrule ours; what is in both is not repeated."""
    if not theirs or ours == theirs:
        return ours
    if variable.joined_by != ",":
        return f"{ours}{variable.joined_by}{theirs}"
    return ",".join(dict.fromkeys(part.strip() for part in f"{theirs},{ours}".split(",") if part.strip()))


def _says(entry: Mapping[str, Any]) -> Any:
    return None if "valueFrom" in entry else entry.get("value") or ""
