"""The certificate that Helm makes: once, and then kept, which only a cluster can show. So there is a small one here."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import yaml
from cryptography import x509

from tests.support.helm import BACKSTAY, CASES, HELM, Object, one, rendered

CASE = next(case for case in CASES if case.name.startswith("minimal"))
SECRET = "backstay-injector-tls"


class Cluster(BaseHTTPRequestHandler):
    """An API server that knows the kinds of a release, and has the objects of `there`."""

    kinds: dict[str, list[Object]]
    there: dict[str, Object]

    def do_GET(self) -> None:
        found = self._found(self.path.partition("?")[0])
        body = json.dumps(found or {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _found(self, path: str) -> Object | None:
        groups = [version for version in self.kinds if "/" in version]
        fixed: dict[str, Object] = {
            "/version": {"major": "1", "minor": "29", "gitVersion": "v1.29.0"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [a_group(each) for each in groups]},
        }
        version = path.removeprefix("/apis/").removeprefix("/api/")
        if version in self.kinds:
            return {"kind": "APIResourceList", "groupVersion": version, "resources": self.kinds[version]}
        return fixed.get(path) or self.there.get(path)

    def log_message(self, *_: object) -> None:
        """Nothing: a test shows what failed."""


def a_group(version: str) -> Object:
    group, _, number = version.partition("/")
    versions = {"groupVersion": version, "version": number}
    return {"name": group, "versions": [versions], "preferredVersion": versions}


def kinds_of(objects: list[Object]) -> dict[str, list[Object]]:
    """What discovery says of them."""
    found: dict[str, dict[str, Object]] = defaultdict(dict)
    for each in objects:
        plural = f"{each['kind'].lower()}{'es' if each['kind'].endswith('s') else 's'}".replace("ys", "ies")
        is_in_one = "namespace" in each["metadata"]
        found[each["apiVersion"]][each["kind"]] = {
            "name": plural,
            "kind": each["kind"],
            "namespaced": is_in_one,
            "verbs": ["get", "list"],
        }
    return {version: list(kinds.values()) for version, kinds in found.items()}


@contextmanager
def cluster(objects: list[Object], *there: Object) -> Iterator[str]:
    """Its address; ``there`` are Secrets."""
    paths = {f"/api/v1/namespaces/prod/secrets/{each['metadata']['name']}": each for each in there}
    handler = type("Handler", (Cluster,), {"kinds": kinds_of(objects), "there": paths})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def asked_of(address: str, home: Path) -> list[Object]:
    """What an upgrade would apply there."""
    command: list[str | Path] = [
        HELM,
        "template",
        "backstay",
        BACKSTAY,
        "--namespace",
        "prod",
        "--values",
        CASE,
        "--dry-run=server",
    ]
    command += ["--disable-openapi-validation", "--kube-apiserver", address]
    env = {**os.environ, "HOME": str(home), "KUBECONFIG": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50, env=env)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def test_an_upgrade_keeps_the_certificate(tmp_path: Path) -> None:
    """Else every one would part the injector from those who trust it, until all of it has come round."""
    first = rendered(CASE)
    data = one(first, "Secret", SECRET)["data"]
    with cluster(first, a_secret(data)) as address:
        later = asked_of(address, tmp_path)
    assert one(later, "Secret", SECRET)["data"] == data
    assert trusted(later) == {data["ca.crt"]}


def test_a_secret_without_all_of_it_is_made_anew(tmp_path: Path) -> None:
    """Half of a certificate would not serve."""
    with cluster(rendered(CASE), a_secret({"tls.crt": "eA=="})) as address:
        later = asked_of(address, tmp_path)
    made = one(later, "Secret", SECRET)["data"]
    assert base64.b64decode(made["tls.crt"]).startswith(b"-----BEGIN CERTIFICATE-----")
    assert trusted(later) == {made["ca.crt"]}


def a_secret(data: dict[str, str]) -> Object:
    """As the release before has left it."""
    owner = {"meta.helm.sh/release-name": "backstay", "meta.helm.sh/release-namespace": "prod"}
    labels = {"app.kubernetes.io/managed-by": "Helm"}
    metadata = {"name": SECRET, "namespace": "prod", "labels": labels, "annotations": owner}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}


def trusted(objects: list[Object]) -> set[str]:
    (hook,) = (each for each in objects if each["kind"] == "MutatingWebhookConfiguration")
    return {webhook["clientConfig"]["caBundle"] for webhook in hook["webhooks"]}


def certificate(data: dict[str, Any], name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(base64.b64decode(data[name]))


def test_a_certificate_is_for_the_service_and_for_long() -> None:
    """Nobody renews it: it has the names by which it is called, and the days that are asked for."""
    data = one(rendered(CASE, {"injector.certificate.days": 400}), "Secret", SECRET)["data"]
    made = certificate(data, "tls.crt")
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "backstay-injector.prod.svc" in names.get_values_for_type(x509.DNSName)
    assert (made.not_valid_after_utc - made.not_valid_before_utc).days == 400
    made.verify_directly_issued_by(certificate(data, "ca.crt"))
