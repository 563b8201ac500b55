"""Owns the containers of ours in a pod: the sidecar, and what has to be done before it or beside it.

Called by sidecar.py, which says which of them a pod gets. Each is a value of its own, and knows nothing of the pod.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from shlex import quote
from typing import Any, Final

from proxy.agent.env import reachable
from proxy.config.settings import Address, Config, TlsIntercept
from proxy.kubernetes import names
from proxy.kubernetes.model import Installation, Wish
from proxy.wire.trust_roots import ROOTS

Container = dict[str, Any]

ROOT_FILES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where systems keep the roots that they trust: Go's list (crypto/x509/root_linux.go), in its order."""
LINGER: Final = 5  # seconds: until nobody sends new work to a pod that is ending
_BUSYBOX: Final = f"{names.TOOLS_PATH}/busybox"
_STARTED_WITHIN: Final = 60  # seconds
_METRICS: Final = Address("127.0.0.1", 9464)  # where ``backstay health`` asks by itself


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes the containers that ``wish`` asks for, of ``installation``'s image and for ``config``."""

    installation: Installation
    wish: Wish
    config: Config
    with_resources: bool = True  # False: the pod has resources of its own, in which ours have to fit

    def sidecar(self, *arguments: str) -> Container:
        """The one that serves, with ``arguments`` for ``backstay run``."""
        listen = self.config.listen
        ports = [(names.AGENT_PORT, listen.agent), (names.METRICS_PORT, listen.metrics)]
        return self._reading(
            names.SIDECAR,
            ["run", names.CONFIG_PATH, *arguments],
            self.writable(),
            ports=[_port(name, address) for name, address in ports if address is not None],
            startupProbe={**_probe("/readyz"), "periodSeconds": 1, "failureThreshold": _STARTED_WITHIN},
            livenessProbe={**_probe("/healthz"), "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3},
            readinessProbe={**_probe("/readyz"), "periodSeconds": 5, "timeoutSeconds": 3},
        )

    def prepare(self) -> Container:
        """Lays out what the next ones need: a shell for foreign images, the shims for agents."""
        tools = ["--tools", names.TOOLS_PATH] if self.has_roots else []
        shims = ["--shims", str(self.shims)] if self.shims else []
        mounts = [_mount(names.TRUST, str(self.trust.trust_dir))]
        mounts += [_mount(names.TOOLS, names.TOOLS_PATH)] if tools else []
        return self._reading(names.PREPARE, ["prepare", names.CONFIG_PATH, *tools, *shims], mounts)

    def roots(self, number: int, agent: Container, mounts: Sequence[Mapping[str, Any]]) -> Container:
        """Copies the roots of an agent's own image to where Backstay makes the bundle, and ends well whatever it finds.

        It runs as the agent would, so that whatever admits the agent admits it, but without any of its privileges.
        ``mounts``: of the agent, those that bring roots of their own.
        """
        to = quote(str(self.trust.trust_dir / ROOTS / f"{number}.pem"))
        script = (
            f"b={_BUSYBOX}; to={to}; for from in {' '.join(ROOT_FILES)}; do "
            'if [ -s "$from" ]; then $b cp -L "$from" "$to"; $b chmod 0644 "$to"; break; fi; done; exit 0'
        )
        return _without_none(
            name=f"{names.ROOTS}{number}",
            image=agent["image"],
            imagePullPolicy=agent.get("imagePullPolicy"),
            command=[_BUSYBOX, "sh", "-c", script],
            resources=self._resources(),
            securityContext=_tamed(agent.get("securityContext") or {}),
            volumeMounts=[
                _mount(names.TOOLS, names.TOOLS_PATH, read_only=True),
                _mount(names.TRUST, str(self.trust.trust_dir)),
                *mounts,
            ],
        )

    def authority(self) -> Container:
        """Makes the authority before an agent starts that does not wait for the sidecar."""
        mounts = [
            _mount(names.STATE, names.STATE_PATH),
            _mount(names.CA, str(self.trust.ca_dir)),
            _mount(names.TRUST, str(self.trust.trust_dir)),
        ]
        return self._reading(names.AUTHORITY, ["ca", names.CONFIG_PATH], mounts)

    def redirect(self, port: int) -> Container:
        """Sends the pod's connections to ``port``; of all its containers, this one alone has a capability."""
        excluded = [f"--exclude-port={each}" for each in self.wish.exclude_ports]
        excluded += [f"--exclude-network={each}" for each in self.wish.exclude_networks]
        arguments = ["redirect", "--uid", str(self.installation.uid), "--port", str(port), *excluded, "--apply"]
        root = {"runAsUser": 0, "runAsGroup": 0, "runAsNonRoot": False}
        capabilities = {"drop": ["ALL"], "add": ["NET_ADMIN"]}
        context = {**_hardened(), **root, "capabilities": capabilities}
        return self._ours(names.REDIRECT, arguments, securityContext=context)

    def writable(self) -> list[dict[str, Any]]:
        """What the sidecar may write to."""
        found = [_mount(names.STATE, names.STATE_PATH), _mount(names.TMP, names.TMP_PATH)]
        if self.config.tls_intercept is not None:
            found.append(_mount(names.CA, str(self.trust.ca_dir)))
        if self.has_trust:
            found.append(_mount(names.TRUST, str(self.trust.trust_dir)))
        return found

    def agents_mount(self) -> dict[str, Any] | None:
        """Where an agent finds what to trust; None if there is nothing to find."""
        return _mount(names.TRUST, str(self.trust.trust_dir), read_only=True) if self.has_trust else None

    @property
    def trust(self) -> TlsIntercept:
        """Where things are to trust; without interception there may be shims, which need a place as well."""
        return self.config.tls_intercept or TlsIntercept()

    @property
    def has_trust(self) -> bool:
        """Whether there is anything for an agent to read."""
        return self.config.tls_intercept is not None or self.wish.shims

    @property
    def has_roots(self) -> bool:
        """Whether the bundle is made from the agents' own roots."""
        return self.config.tls_intercept is not None and self.wish.roots == "agent"

    @property
    def shims(self) -> PurePath | None:
        """Where agents find the shims, if they get any."""
        return self.trust.trust_dir / "shims" if self.wish.shims else None

    def _reading(self, name: str, arguments: list[str], mounts: list[dict[str, Any]], **more: Any) -> Container:
        """One that reads the configuration, which may refer to secrets and variables."""
        wish = self.wish
        found = [_mount(names.CONFIG, names.CONFIG_PATH, read_only=True), *mounts]
        if wish.secret:
            found.append(_mount(names.SECRET, names.SECRET_PATH, read_only=True))
        variables = [{"secretRef": {"name": wish.env_from}}] if wish.env_from else None
        return self._ours(name, arguments, envFrom=variables, **more, volumeMounts=found)

    def _ours(self, name: str, arguments: list[str], **more: Any) -> Container:
        installation = self.installation
        nobody = {"runAsUser": installation.uid, "runAsGroup": installation.uid, "runAsNonRoot": True}
        made = {
            "name": name,
            "image": installation.image,
            "imagePullPolicy": installation.pull_policy,
            "args": arguments,
            "resources": self._resources(),
            "securityContext": {**nobody, **_hardened()},
        }
        return _without_none(**(made | more))

    def _resources(self) -> dict[str, Any] | None:
        of = self.wish.resources
        requests = _without_none(cpu=of.cpu_request, memory=of.memory_request)
        limits = _without_none(cpu=of.cpu_limit, memory=of.memory_limit)
        found = {key: value for key, value in (("requests", requests), ("limits", limits)) if value}
        return found if found and self.with_resources else None


def started(metrics: Address) -> dict[str, Any]:
    """Holds back the containers that follow until this one is ready: the kubelet starts them in order."""
    where = reachable(metrics)
    at = [] if where == _METRICS else ["--at", str(where)]
    command = ["backstay", "health", *at, "--ready", "--wait", str(_STARTED_WITHIN)]
    return {"postStart": {"exec": {"command": command}}}


def _hardened() -> dict[str, Any]:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _tamed(context: dict[str, Any]) -> dict[str, Any]:
    """A container's own security context, less every right that copying a file does not take."""
    kept = {key: value for key, value in context.items() if key not in {"privileged", "procMount", "capabilities"}}
    return {
        **kept,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def _probe(path: str) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": names.METRICS_PORT}}


def _port(name: str, address: Address) -> dict[str, Any]:
    return {"name": name, "containerPort": address.port}


def _mount(name: str, path: str, *, read_only: bool = False) -> dict[str, Any]:
    return {"name": name, "mountPath": path, **({"readOnly": True} if read_only else {})}


def _without_none(**fields: Any) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}
