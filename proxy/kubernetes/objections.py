"""What stands against an injection: pods that stay as they are, and what is refused, with all of it said at once.

Called by inject.py before anything is built. A pod that would not start, or whose calls would silently not be caught,
is refused here, where somebody is there to read why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any, Final

from proxy.config.expand import NOT_HERE
from proxy.config.settings import Address, Config
from proxy.kubernetes import names
from proxy.kubernetes.containers import Maker
from proxy.kubernetes.model import PREFIX, Refused, Skipped, Supply
from proxy.kubernetes.pods import Pod
from proxy.kubernetes.sidecar import agents_grace, ends_with_agent

_READ_ONLY: Final = ("configMap", "secret", "projected", "downwardAPI")
_ANNOTATIONS: Final = 256 << 10  # bytes: the limit of Kubernetes for all annotations of an object
_MARGIN: Final = 4 << 10  # for their names, and for the others that injection sets
_METRICS: Final = "write listen: {metrics: 0.0.0.0:9464}"


def skipped(pod: Pod) -> Skipped | None:
    """Why the pod stays as it is, if it does."""
    if names.STATUS in pod.annotations and names.SIDECAR in pod.names:
        return Skipped("the pod has its sidecar already", unasked=True)
    if pod.spec.get("hostNetwork") is True:
        return Skipped(
            "the pod is in the network of its host, whose connections are not its own; its calls are not caught"
        )
    if pod.os == "windows" or pod.node_selector.get("kubernetes.io/os") == "windows":
        return Skipped("the pod is for Windows, and Backstay's image is for Linux; its calls are not caught")
    return None


def check(pod: Pod, maker: Maker, supply: Supply) -> None:
    """Raises Refused if the pod cannot have what it asks for."""
    found = [*_of_config(maker), *_of_paths(maker), *_of_names(pod), *_of_size(pod, supply), *_of_agents(pod, maker)]
    if found:
        raise Refused(". ".join(found))


def warnings(pod: Pod, maker: Maker) -> Iterator[str]:
    """What its owner should know, though it can be done."""
    wish = maker.wish
    if maker.config.tls_intercept is None:
        yield (
            "the configuration has no tls_intercept: https calls pass through as they are, and no policy but egress "
            "applies to them; write tls_intercept: {}"
        )
    unknown = [name for name in wish.exclude_containers if name not in pod.names]
    if unknown:
        yield f"{PREFIX}exclude-containers names {', '.join(unknown)}, and the pod has no such container"
    if pod.resources:
        yield "the pod has resources as a whole (spec.resources): those of Backstay's containers are a part of them"
    if wish.capture != "env" and any(name.startswith(("istio-", "linkerd-")) for name in pod.names):
        yield "a mesh redirects the pod's connections, too, and one of the two sees none; use capture: env beside it"
    yield from _of_plain(pod, maker)


def _of_plain(pod: Pod, maker: Maker) -> Iterator[str]:
    if maker.wish.sidecar == "native":
        return
    time, drain = agents_grace(pod), maker.config.drain_timeout
    if time > drain:
        yield (
            f"the agent has {time} s to end, and a plain container of Backstay ends beside it within drain.timeout, "
            f"{drain:g} s: calls after that fail; set drain.timeout to {time}s, or use sidecar: native"
        )
    if any(each.get("restartPolicy") == "Always" for each in pod.init_containers):
        yield "sidecars of the pod's own start before a plain container, and are not caught; use sidecar: native"
    if ends_with_agent(pod, maker):
        if pod.spec.get("restartPolicy") == "OnFailure":
            yield "Backstay ends with the agent, and an agent that is restarted is without it; use restartPolicy: Never"
        if pod.spec.get("shareProcessNamespace") is False:
            yield "shareProcessNamespace becomes true: Backstay has to see when the agent has ended"


def _of_config(maker: Maker) -> Iterator[str]:
    listen = maker.config.listen
    if listen.metrics is None:
        yield f"the configuration has no listen.metrics, where the kubelet asks whether Backstay is well; {_METRICS}"
    elif _is_loopback(listen.metrics):
        yield f"listen.metrics is {listen.metrics}, where the kubelet does not reach it; {_METRICS}"
    for name, address in (("agent", listen.agent), ("metrics", listen.metrics), ("transparent", listen.transparent)):
        if address is not None and address.port == 0:
            yield f"listen.{name} has port 0, which is any free one; name a port that a pod can be told"
        if address is not None and NOT_HERE in address.host:
            yield f"listen.{name} is made of a variable or file of the pod, and has to be known here; write it out"
    if maker.wish.capture != "env" and listen.transparent is None:
        yield (
            f"capture: {maker.wish.capture} needs listen.transparent, which the configuration does not have; "
            "write listen: {transparent: 127.0.0.1:7071}, or ask for capture: env"
        )


def _of_paths(maker: Maker) -> Iterator[str]:
    """Whether every place of the configuration can be a mount, and what Backstay writes has one."""
    if maker.config.tls_intercept is not None:
        for key, path in (("ca_dir", maker.trust.ca_dir), ("trust_dir", maker.trust.trust_dir)):
            yield from _of_path(f"tls_intercept.{key}", path)
    ledger = maker.config.stores_ledger
    if ledger is not None and not any(PurePath(ledger).is_relative_to(each["mountPath"]) for each in maker.writable()):
        yield f"stores.ledger is {ledger}, where Backstay may not write in a pod; put it below {names.STATE_PATH}"


_CLOSED: Final = (
    names.CONFIG_PATH,
    names.SECRET_PATH,
    names.TOOLS_PATH,
    "/opt/backstay",  # the program in our own image
    "/usr/lib/backstay",  # and its busybox
)
"""Where nothing may be mounted below, nor above."""
_FIXED: Final = (*_CLOSED, names.STATE_PATH, names.TMP_PATH)


def _of_path(key: str, path: PurePath) -> Iterator[str]:
    taken = next((each for each in _FIXED if path == PurePath(each)), None) or next(
        (each for each in _CLOSED if path.is_relative_to(each) or PurePath(each).is_relative_to(path)), None
    )
    if taken is not None:
        yield f"{key} is {path}, and {taken} has another use in a pod; leave {key} away, or name another folder"
    if NOT_HERE in str(path):
        yield f"{key} is made of a variable or file of the pod, and has to be known here; write the folder itself"
    if ":" in str(path):
        yield f"{key} is {path}, and a mount cannot have ':' in its path; name another folder"


def _of_names(pod: Pod) -> Iterator[str]:
    for kind, found in (("container", pod.names), ("volume", {str(each["name"]) for each in pod.volumes})):
        taken = sorted(filter(names.is_ours, found))
        if taken:
            yield f"the pod has a {kind} named {', '.join(taken)}, which is Backstay's name; call it something else"
    for container in (*pod.init_containers, *pod.containers):
        mounts = (*(container.get("volumeMounts") or ()), *(container.get("volumeDevices") or ()))
        taken = sorted({each["name"] for each in mounts if names.is_ours(each.get("name"))})
        if taken:
            yield (
                f"container {container['name']} mounts {', '.join(taken)}, which is for Backstay's containers alone; "
                "remove it there"
            )
    foreign = sorted(key for key in pod.annotations if key.startswith(names.CARRIED))
    if foreign:
        yield (
            f"the pod has {', '.join(foreign)}, which injection sets; remove it, and put a configuration of your own "
            f"into a ConfigMap that {PREFIX}config names"
        )


def _of_size(pod: Pod, supply: Supply) -> Iterator[str]:
    carried = 0 if supply.config_map is not None else sum(len(text.encode()) for text in supply.files.values())
    there = sum(len(f"{key}{value}".encode(errors="replace")) for key, value in pod.annotations.items())
    if carried + there > _ANNOTATIONS - _MARGIN:
        yield (
            f"the configuration has {carried} bytes and the pod's annotations {there}, and it can carry {_ANNOTATIONS} "
            f"in all; put the configuration into a ConfigMap that {PREFIX}config names"
        )


def _of_agents(pod: Pod, maker: Maker) -> Iterator[str]:
    ports = _ports(maker.config)
    uid = maker.installation.uid
    for container in pod.lasting:
        for port in container.get("ports") or []:
            if port.get("containerPort") in ports:
                listener = ports[port["containerPort"]]
                yield (
                    f"container {container['name']} listens on port {port['containerPort']}, which is Backstay's "
                    f"listen.{listener}; give one of them another"
                )
    for agent in pod.agents(maker.wish):
        shared = maker.wish.capture != "env" or ends_with_agent(pod, maker)
        if shared and pod.user(agent.container) == uid:
            yield (
                f"container {agent.name} runs as user {uid}, which is Backstay's own and so is never redirected; "
                "give it another runAsUser"
            )
        yield from _of_mounts(pod, agent.name, agent.container, maker)
    if ends_with_agent(pod, maker) and pod.spec.get("hostPID") is True:
        yield "the pod sees the processes of its host, so that Backstay cannot tell the agent's; use sidecar: native"


def _of_mounts(pod: Pod, name: str, container: Mapping[str, Any], maker: Maker) -> Iterator[str]:
    """Whether the trust can be mounted beside what the container mounts itself."""
    ours = maker.agents_mount()
    if ours is None:
        return
    place = PurePath(ours["mountPath"])
    fixed = {volume["name"] for volume in pod.volumes if any(kind in volume for kind in _READ_ONLY)}
    for mount in container.get("volumeMounts") or []:
        path = PurePath(str(mount.get("mountPath")))
        closed = mount.get("readOnly") is True or mount["name"] in fixed
        if path.is_relative_to(place) or (closed and place.is_relative_to(path)):
            yield (
                f"container {name} mounts {path}, so that Backstay's {place} cannot be there; mount it elsewhere, or "
                "write another tls_intercept.trust_dir"
            )


def _ports(config: Config) -> dict[int, str]:
    listen = config.listen
    named = {"agent": listen.agent, "transparent": listen.transparent, "metrics": listen.metrics, "admin": listen.admin}
    return {address.port: name for name, address in named.items() if address is not None}


def _is_loopback(address: Address) -> bool:
    return address.host in {"localhost", "::1"} or address.host.startswith("127.")
