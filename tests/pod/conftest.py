"""The vendor, the agent's image, and pods that are gone when a test is over. Used by tests/pod (``make test-pod``)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import pytest
import trustme
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.pod.engine import BASE, ROOT, exit_code, inside, logs, podman, run, until
from tests.pod.manifests import Asked, documents, for_podman, injected

HERE = ROOT / "tests/pod"
METRICS = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9464/metrics').read().decode(), end='')"
CONTAINERFILE = f"""
FROM {BASE}
COPY corporate.crt /tmp/corporate.crt
RUN cat /tmp/corporate.crt >> /etc/ssl/certs/ca-certificates.crt
COPY agent.py vendor.py /programs/
"""


@dataclass(frozen=True)
class World:
    """What is around the pods of one run; the network has no way out."""

    network: str
    image: str  # the agent's: it trusts one authority more than others do
    vendor: str  # the address
    vendors: trustme.CA
    corporate: trustme.CA


@dataclass(frozen=True)
class Pod:
    """One that runs, made of what injection made."""

    name: str

    def container(self, name: str) -> str:
        return f"{self.name}-{name}"

    def metric(self, name: str, **labels: str) -> float:
        """As the agent can read it: loopback is one for the whole pod."""
        text = inside(self.container("agent"), "python3", "-c", METRICS)
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return sum(each.value for each in samples if each.name == name and labels.items() <= each.labels.items())

    def says(self, container: str, what: str) -> None:
        """Wait until it has said so."""
        until(lambda: what in logs(self.container(container)), self.container(container))

    def came(self) -> dict[str, Any]:
        """What came of the agent's calls, which it says when it ends."""
        found: dict[str, Any] = json.loads(logs(self.container("agent")).splitlines()[-1])
        return found

    def exit_codes(self) -> dict[str, int]:
        return {name: exit_code(self.container(name)) for name in ("backstay", "agent")}


Play: TypeAlias = Callable[..., AbstractContextManager[Pod]]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    tag, folder = uuid4().hex[:8], tmp_path_factory.mktemp("world")
    network, image, vendor = f"backstay-{tag}", f"localhost/backstay-agent:{tag}", f"backstay-vendor-{tag}"
    vendors, corporate = trustme.CA(), trustme.CA()
    _lay_out(folder, vendors, corporate)
    podman("network", "create", "--internal", "--disable-dns", network)
    try:
        run("buildah", "bud", "--isolation", "chroot", "--tag", image, str(folder))
        serve = (image, "python3", "/programs/vendor.py", "/tls")
        podman("run", "--detach", "--name", vendor, "--network", network, f"--volume={folder}:/tls:ro", *serve)
        until(lambda: "serving" in logs(vendor), vendor)
        address = podman("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", vendor)
        yield World(network, image, address, vendors, corporate)
    finally:
        podman("rm", "--force", "--time=0", vendor, check=False)
        podman("rmi", "--force", image, check=False)
        podman("network", "rm", network, check=False)


def _lay_out(folder: Path, vendors: trustme.CA, corporate: trustme.CA) -> None:
    """What the images of agent and vendor are made of, and the vendor's certificates."""
    for program in ("agent.py", "vendor.py"):
        shutil.copy(HERE / program, folder)
    (folder / "Containerfile").write_text(CONTAINERFILE)
    corporate.cert_pem.write_to_path(folder / "corporate.crt")
    vendors.issue_cert("vendor.test").private_key_and_cert_chain_pem.write_to_path(folder / "vendor.pem")
    corporate.issue_cert("corporate.test").private_key_and_cert_chain_pem.write_to_path(folder / "corporate.pem")


@pytest.fixture(scope="session")
def play(world: World, tmp_path_factory: pytest.TempPathFactory) -> Play:
    """Run a pod as long as it is looked at: one that calls takes its share of a core."""

    @contextmanager
    def played(*arguments: str, annotations: dict[str, str] | None = None, restart: str = "Always") -> Iterator[Pod]:
        pod = Pod(f"pod-{uuid4().hex[:8]}")
        command = ["python3", "/programs/agent.py", *arguments]
        asked = Asked(pod.name, world.image, world.vendor, command, annotations or {}, restart)
        config_map, made = injected(documents(asked, world.vendors.cert_pem.bytes().decode()))
        folder = tmp_path_factory.mktemp(pod.name)
        (folder / "map.yaml").write_text(yaml.safe_dump(config_map))
        (folder / "pod.yaml").write_text(yaml.safe_dump(for_podman(made)))
        try:
            beside = (f"--network={world.network}", f"--configmap={folder}/map.yaml")
            podman("play", "kube", *beside, str(folder / "pod.yaml"))
            yield pod
        finally:
            podman("pod", "rm", "--force", "--time=0", pod.name, check=False)
            volumes = podman("volume", "ls", "--quiet", f"--filter=name={pod.name}").split()
            podman("volume", "rm", *volumes, check=False)  # what only init containers had is left

    return played
