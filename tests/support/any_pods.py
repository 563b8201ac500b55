"""Strategies of Hypothesis: pods of every shape that Kubernetes takes and injection may meet, and what they ask for."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Pod = dict[str, Any]

_WORDS = ("agent", "tool", "db", "istio-proxy", "linkerd-init", "x")
_VARIABLES = (
    "HTTPS_PROXY",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
    "PYTHONPATH",
    "NODE_OPTIONS",
    "JAVA_TOOL_OPTIONS",
    "SSL_CERT_FILE",
    "HOME",
)
_SOURCE: Pod = {"fieldRef": {"fieldPath": "metadata.name"}}


def _some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Pod]:
    """A mapping of any of these."""
    return st.fixed_dictionaries({}, optional=fields)


def _named(names: tuple[str, ...], values: st.SearchStrategy[Pod], fewest: int = 0) -> st.SearchStrategy[list[Pod]]:
    """A list of what has a name of its own each."""

    def each(chosen: list[str]) -> st.SearchStrategy[list[Pod]]:
        return st.fixed_dictionaries(dict.fromkeys(chosen, values)).map(
            lambda found: [{"name": name, **value} for name, value in found.items()]
        )

    return st.lists(st.sampled_from(names), min_size=fewest, max_size=3, unique=True).flatmap(each)


_USERS = st.sampled_from([0, 1000, 65532, 7070])
_ENV = _named(
    _VARIABLES,
    st.sampled_from([{}, {"value": ""}, {"value": "own,$(HOME)"}, {"valueFrom": _SOURCE}]),
)
_VOLUMES = ("work", "cache")
_MOUNTS = st.lists(
    st.tuples(
        st.sampled_from(_VOLUMES),
        st.sampled_from(["/work", "/var/run", "/var/run/backstay/trust", "/etc/ssl", "/etc/ssl/certs/"]),
        st.booleans(),
    ),
    max_size=3,
    unique_by=lambda item: item[1],
).map(lambda found: [{"name": name, "mountPath": path, "readOnly": closed} for name, path, closed in found])
_CONTEXTS = _some(
    runAsUser=_USERS,
    privileged=st.booleans(),
    readOnlyRootFilesystem=st.booleans(),
    capabilities=st.sampled_from([{"drop": ["ALL"]}, {"add": ["NET_ADMIN"]}]),
)
_RESTRICTED: Pod = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
_PORTS = st.lists(st.sampled_from([80, 8080, 7070, 9464]), max_size=2, unique=True).map(
    lambda found: [{"containerPort": port} for port in found]
)
_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "image": st.sampled_from(["a:1", "b:2"]),
    "imagePullPolicy": st.sampled_from(["Always", "Never"]),
    "command": st.just(["run"]),
    "env": st.none() | _ENV,
    "envFrom": st.just([{"configMapRef": {"name": "more"}}]),
    "securityContext": _CONTEXTS | st.just(_RESTRICTED),
    "resources": st.sampled_from([{}, {"limits": {"cpu": "1"}}]),
    "ports": _PORTS,
    "volumeMounts": _MOUNTS,
    "tty": st.booleans(),
}
_CONTAINERS = _some(**_FIELDS)
_INITS = _some(**_FIELDS, restartPolicy=st.just("Always"))

specs: st.SearchStrategy[Pod] = st.fixed_dictionaries(
    {
        "containers": _named(_WORDS[:3], _CONTAINERS, fewest=1),
        "volumes": st.just([{"name": "work", "emptyDir": {}}, {"name": "cache", "configMap": {"name": "ways"}}]),
    },
    optional={
        "initContainers": st.none() | _named(_WORDS[3:], _INITS),
        "restartPolicy": st.sampled_from(["Always", "OnFailure", "Never"]),
        "terminationGracePeriodSeconds": st.integers(0, 600),
        "securityContext": st.none() | _some(runAsUser=_USERS, fsGroup=st.just(2000), runAsNonRoot=st.just(True)),
        "hostNetwork": st.booleans(),
        "hostPID": st.just(True),
        "shareProcessNamespace": st.just(False),
        "nodeSelector": st.sampled_from([{"kubernetes.io/os": "linux"}, {"kubernetes.io/os": "windows"}]),
        "imagePullSecrets": st.sampled_from([[], [{"name": "registry"}]]),
        "serviceAccountName": st.just("agent"),
        "tolerations": st.just([{"operator": "Exists"}]),
    },
)
"""Of pods."""
wishes: st.SearchStrategy[dict[str, str]] = st.fixed_dictionaries(
    {"backstay.dev/inject": st.just("true")},
    optional={
        "backstay.dev/capture": st.sampled_from(["env", "transparent", "both"]),
        "backstay.dev/sidecar": st.sampled_from(["native", "container"]),
        "backstay.dev/shims": st.sampled_from(["true", "false"]),
        "backstay.dev/roots": st.sampled_from(["agent", "system"]),
        "backstay.dev/cpu-limit": st.just("2"),
        "backstay.dev/exclude-ports": st.just("5432"),
        "backstay.dev/exclude-containers": st.sampled_from(["db", "nobody"]),
        "backstay.dev/secret": st.just("keys"),
        "backstay.dev/env-from": st.just("keys"),
    },
)
"""Annotations of pods that ask for injection."""
_OTHERS = st.dictionaries(st.sampled_from(["a", "b.example/c", "prometheus.io/scrape"]), st.just("d"), max_size=2)


@st.composite
def pods(draw: st.DrawFn) -> Pod:
    """Pods that ask for injection, among them those that cannot have it."""
    spec = draw(specs)
    metadata = {"annotations": {**draw(_OTHERS), **draw(wishes)}}
    if draw(st.booleans()):
        metadata["labels"] = draw(_OTHERS)
    return {"metadata": metadata, "spec": spec}


def restricted(pod: Pod) -> Pod:
    """The same with containers that the Pod Security Standard of this name takes."""
    for container in [*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]]:
        container["securityContext"] = _RESTRICTED
    return pod
