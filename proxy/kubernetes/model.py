"""What injection speaks of: what is asked for, what there is to give, what comes out.

Made by annotations.py, settings.py and supply.py; taken and given by inject.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from proxy.config.settings import Config  # the parser of the command line reads the words below, and no settings

PREFIX: Final = "backstay.dev/"
"""Of every annotation and label of ours."""

Capture: TypeAlias = Literal["env", "transparent", "both"]
Sidecar: TypeAlias = Literal["native", "container"]
Roots: TypeAlias = Literal["agent", "system"]
Operation: TypeAlias = dict[str, Any]
"""One of RFC 6902: ``op`` (``add`` or ``replace``), ``path``, ``value``."""


class Refused(ValueError):
    """A pod asks for what cannot be given; the message says what, and what to write instead."""


@dataclass(frozen=True, slots=True)
class Resources:
    """Of a container, as Kubernetes writes quantities; None is not set."""

    cpu_request: str | None = "50m"
    memory_request: str | None = "64Mi"
    cpu_limit: str | None = None
    memory_limit: str | None = "256Mi"


@dataclass(frozen=True, slots=True)
class Installation:
    """What holds for all pods of a cluster, as far as they do not say otherwise."""

    image: str
    pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    pull_secrets: tuple[str, ...] = ()
    uid: int = 7070  # Backstay's own: agents may not share it, for its connections are not redirected
    capture: Capture = "env"
    sidecar: Sidecar = "native"
    shims: bool = False
    roots: Roots = "agent"
    resources: Resources = field(default_factory=Resources)
    scrape_annotations: bool = False  # prometheus.io/scrape and its like
    exclude_ports: tuple[int, ...] = ()
    exclude_networks: tuple[str, ...] = ()
    config_map_namespaces: tuple[str, ...] | None = None  # whose ConfigMaps the webhook may read; None: of all


@dataclass(frozen=True, slots=True)
class Wish:
    """What one pod asks for: the installation's ways, with its own annotations put over them."""

    config_map: str | None  # of the pod's namespace; None: the installation's own configuration
    capture: Capture
    sidecar: Sidecar
    shims: bool
    roots: Roots
    resources: Resources
    exclude_ports: tuple[int, ...]
    exclude_networks: tuple[str, ...]
    exclude_containers: tuple[str, ...]
    secret: str | None  # mounted at /secrets
    env_from: str | None  # a Secret whose keys become Backstay's environment


@dataclass(frozen=True, slots=True)
class Supply:
    """A configuration and how it gets into the pod."""

    config: Config  # loaded ``afar``: the agent's variables, ports and limits are read from it
    config_map: str | None = None  # mounted, if it is one of the namespace's
    files: Mapping[str, str] = field(default_factory=dict)  # else what the pod carries: names and YAML


@dataclass(frozen=True, slots=True)
class Patch:
    """What makes a pod one with a sidecar. ``warnings`` are sentences for whoever made the pod."""

    operations: tuple[Operation, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Skipped:
    """Why a pod stays as it is: a sentence. ``unasked``: nobody wanted it otherwise."""

    why: str
    unasked: bool = False
