"""The agent's pod: as its owner writes it, as ``backstay inject`` leaves it, as podman takes it. Used by tests/pod.

Debian 12 has podman 4.3, which is not a kubelet. What it cannot do is taken out of the pod after injection:

====================  ==============================================================================================
annotations           values longer than 63 characters are refused
``ports``             each is published on the host
probes                are asked by curl in the container, on timers of systemd; ``backstay health`` is run instead
``lifecycle``         is not read: the agent starts beside Backstay, not after it, and has to be patient
``restartPolicy``     ``Always`` holds for init containers, too, which then never end
volumes               those of all pods with the same name are one: they get the pod's name before theirs
``podman pod stop``    takes the pod's network away first: its containers are told to end, each by itself
native sidecars       are not known: the form that is tested is the plain container
====================  ==============================================================================================

All the rest is as a kubelet has it: namespaces, volumes, users, capabilities, seccomp, the read-only root.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from tests.pod.engine import IMAGE, ROOT, run

Object = dict[str, Any]

CONFIG: Object = {
    "version": 1,
    "listen": {"agent": "127.0.0.1:7070", "transparent": "127.0.0.1:7071", "metrics": "0.0.0.0:9464"},
    "tls_intercept": {},
    "egress": {"allow": ["corporate.test"]},
    # No policy mends anything here, nor gives up on a busy machine: a call that is lost is one that Backstay has lost.
    "defaults": {"timeout": {"connect": "30s"}, "breaker": "off", "retry": "off"},
    "apis": {"vendor": {"url": "https://vendor.test", "tls": {"ca_file": "/etc/backstay/vendor.crt"}}},
}


@dataclass(frozen=True)
class Asked:
    """What a test asks for."""

    name: str
    image: str
    vendor: str  # the address
    command: Sequence[str]
    annotations: dict[str, str] = field(default_factory=dict)
    restart: str = "Always"


def documents(asked: Asked, authority: str) -> list[Object]:
    """The pod, and the ConfigMap that it names; ``authority`` vouches for the vendor."""
    config = {"backstay.yaml": yaml.safe_dump(CONFIG), "vendor.crt": authority}
    hardened = {
        "runAsUser": 1000,
        "runAsGroup": 1000,
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    agent = {"name": "agent", "image": asked.image, "command": list(asked.command), "securityContext": hardened}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": asked.name,
            "annotations": {
                "backstay.dev/config": asked.name,
                "backstay.dev/sidecar": "container",
                **asked.annotations,
            },
        },
        "spec": {
            "restartPolicy": asked.restart,
            "hostAliases": [{"ip": asked.vendor, "hostnames": ["vendor.test", "corporate.test"]}],
            "containers": [agent],
        },
    }
    return [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": asked.name}, "data": config}, pod]


def injected(manifests: Sequence[Object]) -> list[Object]:
    """What ``backstay inject`` makes of them."""
    backstay = str(ROOT / ".venv/bin/backstay")
    printed = run(backstay, "inject", "-f", "-", "--image", IMAGE, said=yaml.safe_dump_all(manifests)).stdout
    return list(yaml.safe_load_all(printed))


def for_podman(pod: Object) -> Object:
    """The same pod without what podman cannot do; see above."""
    spec = pod["spec"]
    containers = [*spec.get("initContainers", []), *spec["containers"]]
    for container in containers:
        for part in ("ports", "lifecycle", "startupProbe", "livenessProbe", "readinessProbe"):
            container.pop(part, None)
        for mount in container.get("volumeMounts", []):
            mount["name"] = f"{pod['metadata']['name']}-{mount['name']}"
    for volume in spec["volumes"]:
        volume["name"] = f"{pod['metadata']['name']}-{volume['name']}"
    return {**pod, "metadata": {"name": pod["metadata"]["name"]}, "spec": {**spec, "restartPolicy": "Never"}}
