"""An API server that has pods, and what service discovery makes of them. For tests of monitoring.

with PodsApi() as api:
    api.add(pod, name="agent", namespace="prod")     # runs at once, on the loopback interface

It is asked in two ways: as an API server, with list and watch; and for targets by HTTP (`http_sd_configs`), since
Debian builds its Prometheus without a client for Kubernetes. They are those of the role `pod`, label for label as
Prometheus has them (discovery/kubernetes/pod.go; without images, ids and controllers), which
tests/monitoring/test_discovery.py holds against a real client.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, Self

from aiohttp import web

from tests.support.process import PATIENCE

Pod = dict[str, Any]


class PodsApi:
    """An API server that has pods and nothing else."""

    def __init__(self) -> None:
        self.pods: list[Pod] = []
        self.port = 0
        self.asked: list[str] = []

    def __enter__(self) -> Self:
        self._listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._listening.wait(PATIENCE), "the API server does not listen"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(PATIENCE)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def add(self, pod: Mapping[str, Any], *, name: str, namespace: str) -> Pod:
        """A pod that is there when somebody lists: as it is, with what the API server and the kubelet fill in."""
        there = deepcopy(dict(pod))
        mark = {"name": name, "namespace": namespace, "uid": f"uid-{name}", "resourceVersion": "1"}
        there["metadata"] = {**there.get("metadata", {}), **mark}
        there["spec"]["nodeName"] = "node-1"
        for container in _containers(there["spec"]):
            for port in container.get("ports", []):
                port.setdefault("protocol", "TCP")
        ready = [{"type": "Ready", "status": "True"}]
        address = "127.0.0.1"
        there["status"] = {
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "hostIP": address, "conditions": ready,
        }  # fmt: skip
        self.pods.append(there)
        return there

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        app = web.Application()
        app.router.add_get("/api/v1/pods", self._answer)
        app.router.add_get("/api/v1/namespaces/{namespace}/pods", self._answer)
        app.router.add_get("/targets", self._discovered)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        self._listening.set()
        await self._over.wait()
        await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        if request.query.get("watch") in {"1", "true"}:
            return await self._watched(request)
        namespace = request.match_info.get("namespace")
        items = self._of([] if namespace is None else [namespace])
        version = {"resourceVersion": "1"}
        return web.json_response({"kind": "PodList", "apiVersion": "v1", "metadata": version, "items": items})

    async def _watched(self, request: web.Request) -> web.StreamResponse:
        """Nothing ever happens to the pods, which is said now and then as API servers do."""
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        bookmark = {"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}}
        await response.write(json.dumps({"type": "BOOKMARK", "object": bookmark}).encode() + b"\n")
        await self._over.wait()
        return response

    async def _discovered(self, request: web.Request) -> web.StreamResponse:
        pods = self._of(request.query.getall("namespace", []))
        return web.json_response([target for pod in pods for target in targets(pod)])

    def _of(self, namespaces: Sequence[str]) -> list[Pod]:
        """The pods of these; of all, if there are none."""
        return [pod for pod in self.pods if not namespaces or pod["metadata"]["namespace"] in namespaces]


# --- the role `pod` -----------------------------------------------------------------------------------------


def targets(pod: Pod) -> Iterator[dict[str, Any]]:
    """One for each port of each container, init containers among them; one without a port where there is none."""
    spec, address = pod["spec"], pod["status"]["podIP"]
    for container in _containers(spec):
        is_init = container not in spec["containers"]
        own = {"name": container["name"], "init": str(is_init).lower()}
        for port in container.get("ports") or [None]:
            labels = _of_pod(pod) | _prefixed("container_", own) | ({} if port is None else _of_port(port))
            place = address if port is None else f"{address}:{port['containerPort']}"
            yield {"targets": [place], "labels": labels}


def _containers(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*spec["containers"], *(spec.get("initContainers") or [])]


def _of_port(port: Mapping[str, Any]) -> dict[str, str]:
    named = {"name": port.get("name", ""), "number": port["containerPort"], "protocol": port["protocol"]}
    return _prefixed("container_port_", named)


def _of_pod(pod: Pod) -> dict[str, str]:
    meta, status = pod["metadata"], pod["status"]
    ready = next(each["status"] for each in status["conditions"] if each["type"] == "Ready").lower()
    plain = {
        "name": meta["name"], "ip": status["podIP"], "ready": ready, "phase": status["phase"],
        "node_name": pod["spec"]["nodeName"], "host_ip": status["hostIP"], "uid": meta["uid"],
    }  # fmt: skip
    found = {"__meta_kubernetes_namespace": meta["namespace"], **_prefixed("", plain)}
    for kind in ("label", "annotation"):
        values = {_name(key): value for key, value in (meta.get(f"{kind}s") or {}).items()}
        found |= _prefixed(f"{kind}_", values) | _prefixed(f"{kind}present_", dict.fromkeys(values, "true"))
    return found


def _prefixed(prefix: str, values: Mapping[str, Any]) -> dict[str, str]:
    return {f"__meta_kubernetes_pod_{prefix}{key}": str(value) for key, value in values.items()}


def _name(key: str) -> str:
    """A key as a label can have it."""
    return "".join(char if char.isascii() and char.isalnum() else "_" for char in key)
