"""The names and places of what injection puts into a pod.

Used by all that builds it or tells it from what was there. Every name begins with ``backstay``, and a pod that has such
names without an injection is refused.
"""

from __future__ import annotations

from typing import Final

from proxy.kubernetes.model import PREFIX

INJECT: Final = f"{PREFIX}inject"
STATUS: Final = f"{PREFIX}status"
INJECTED: Final = f"{PREFIX}injected"
CARRIED: Final = f"config.{PREFIX}"
"""Of the annotations that hold a configuration; what follows is the name of a file."""

SIDECAR: Final = "backstay"
PREPARE: Final = "backstay-prepare"
ROOTS: Final = "backstay-roots-"
AUTHORITY: Final = "backstay-ca"
REDIRECT: Final = "backstay-redirect"

CONFIG: Final = "backstay-config"
CA: Final = "backstay-ca"
TRUST: Final = "backstay-trust"
TOOLS: Final = "backstay-tools"
STATE: Final = "backstay-state"
TMP: Final = "backstay-tmp"
SECRET: Final = "backstay-secret"  # noqa: S105  the name of a volume

CONFIG_PATH: Final = "/etc/backstay"
TOOLS_PATH: Final = "/var/run/backstay/tools"
STATE_PATH: Final = "/var/lib/backstay"
TMP_PATH: Final = "/tmp"  # noqa: S108  a volume of its own
SECRET_PATH: Final = "/secrets"  # noqa: S105

AGENT_PORT: Final = "bs-agent"
METRICS_PORT: Final = "bs-metrics"


def is_ours(name: object) -> bool:
    """Whether a container or volume of this name can only be ours."""
    return isinstance(name, str) and (name == SIDECAR or name.startswith(f"{SIDECAR}-"))
