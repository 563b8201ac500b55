"""The injector of a release, started from what the chart renders, answers as the API server would ask it."""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
import jsonpatch

from tests.support.helm import CASES, Object, one, rendered
from tests.support.process import COMMAND, PATIENCE, ROOT

CASE = {case.name.removesuffix("-values.yaml"): case for case in CASES}


def laid_out(objects: list[Object], folder: Path) -> list[str | Path]:
    """The volumes of its pod as folders; the arguments that name them."""
    files: dict[str, dict[str, bytes]] = {
        "config": {k: v.encode() for k, v in one(objects, "ConfigMap", "backstay")["data"].items()},
        "settings": {k: v.encode() for k, v in one(objects, "ConfigMap", "backstay-injector")["data"].items()},
        "tls": {k: base64.b64decode(v) for k, v in one(objects, "Secret", "backstay-injector-tls")["data"].items()},
    }
    for volume, content in files.items():
        (folder / volume).mkdir()
        for name, data in content.items():
            (folder / volume / name).write_bytes(data)
    return ["--settings", folder / "settings" / "settings.yaml", "--config", folder / "config", "--tls", folder / "tls"]


@contextmanager
def injector(*arguments: str | Path) -> Iterator[int]:
    """The port at which it serves."""
    command = [*COMMAND, "injector", *map(str, arguments), "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]
    with subprocess.Popen([*command, "--linger", "0"], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            lines = (json.loads(line) for line in process.stdout if line.startswith("{"))
            yield next(line["port"] for line in lines if line.get("listener") in {"injector", "webhook"})
        finally:
            process.terminate()
            process.stdout.read()


def ask(objects: list[Object], port: int, pod: Object, name: str) -> dict[str, Any]:
    """As the API server: whom it trusts, which name it expects and which path it asks are the webhook's own."""
    (configuration,) = (each for each in objects if each["kind"] == "MutatingWebhookConfiguration")
    client = next(each["clientConfig"] for each in configuration["webhooks"] if each["name"] == name)
    trusted = ssl.create_default_context(cadata=base64.b64decode(client["caBundle"]).decode())
    service = client["service"]
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request(pod)}
    host = f"{service['name']}.{service['namespace']}.svc"
    with httpx.Client(verify=trusted, timeout=PATIENCE, headers={"host": host}) as caller:
        url = f"https://127.0.0.1:{port}{service['path']}"
        answer = caller.post(url, json=review, extensions={"sni_hostname": host})
    response: dict[str, Any] = answer.json()["response"]
    return response


def request(pod: Object) -> dict[str, Any]:
    return {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": pod["metadata"]["namespace"],
        "operation": "CREATE",
        "userInfo": {"username": "system:serviceaccount:kube-system:job-controller"},
        "object": pod,
        "dryRun": False,
    }


def test_the_pod_of_helm_test_is_injected_over_tls_as_the_api_server_asks(tmp_path: Path) -> None:
    """Certificate, trust, names, paths, settings and configuration of one release fit each other."""
    objects = rendered(CASE["minimal"])
    pod = one(objects, "Pod", "backstay-test-injected")
    pod.pop("source")
    with injector(*laid_out(objects, tmp_path)) as port:
        response = ask(objects, port, pod, "pod.backstay.dev")
    assert response["allowed"], response
    injected = jsonpatch.apply_patch(deepcopy(pod), json.loads(base64.b64decode(response["patch"])))
    assert [each["name"] for each in injected["spec"]["initContainers"]][-1] == "backstay"
    carried = one(objects, "ConfigMap", "backstay")["data"]["backstay.yaml"]
    assert injected["metadata"]["annotations"]["config.backstay.dev/backstay.yaml"] == carried


def test_a_pod_of_a_labelled_namespace_is_injected_unasked(tmp_path: Path) -> None:
    """The second webhook has a path of its own."""
    objects = rendered(CASE["minimal"])
    pod = {"metadata": {"name": "a", "namespace": "agents"}, "spec": {"containers": [{"name": "a", "image": "a:1"}]}}
    with injector(*laid_out(objects, tmp_path)) as port:
        by_namespace = ask(objects, port, pod, "namespace.backstay.dev")
        by_annotation = ask(objects, port, pod, "pod.backstay.dev")
    assert "patch" in by_namespace
    assert "patch" not in by_annotation
