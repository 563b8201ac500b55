"""Tests of our containers: what they run, with which rights, and that a foreign image's roots are really copied."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.kubernetes.containers import ROOT_FILES
from proxy.kubernetes.model import Resources
from tests.support.injected import INSTALLATION, YAML, a_pod, a_supply, container, injected, names

HARDENED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
ALL = a_pod(capture="both", sidecar="container", shims="true")


def mounts(of: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["mountPath"] for each in of["volumeMounts"]}


@pytest.mark.parametrize("name", ["backstay", "backstay-prepare", "backstay-ca"])
def test_ours_run_as_a_user_of_their_own_without_rights(name: str) -> None:
    """No root, no capability, nothing to write to but volumes."""
    context = container(injected(ALL), name)["securityContext"]
    assert context == {"runAsUser": 7070, "runAsGroup": 7070, "runAsNonRoot": True, **HARDENED}


def test_redirection_alone_has_a_capability() -> None:
    """And nothing else: no volume, no other right of root's."""
    found = container(injected(ALL), "backstay-redirect")
    capabilities = {"drop": ["ALL"], "add": ["NET_ADMIN"]}
    root = {"runAsUser": 0, "runAsGroup": 0, "runAsNonRoot": False}
    assert found["securityContext"] == {**HARDENED, **root, "capabilities": capabilities}
    assert "volumeMounts" not in found


def test_redirection_passes_backstays_user_and_what_is_excluded() -> None:
    """To the port of listen.transparent."""
    pod = a_pod(capture="both", exclude_ports="22,53", exclude_networks="10.0.0.0/8")
    found = container(injected(pod, installation=replace(INSTALLATION, uid=7171)), "backstay-redirect")
    excluded = ["--exclude-port=22", "--exclude-port=53", "--exclude-network=10.0.0.0/8"]
    assert found["args"] == ["redirect", "--uid", "7171", "--port", "7071", *excluded, "--apply"]


def test_the_key_is_mounted_where_it_is_made_and_where_it_signs() -> None:
    """The agent, and what runs in its image, never sees it."""
    pod = injected(ALL)
    every = pod["spec"]["initContainers"] + pod["spec"]["containers"]
    holders = {each["name"] for each in every if "backstay-ca" in mounts({"volumeMounts": [], **each})}
    assert holders == {"backstay", "backstay-ca"}


def test_the_sidecar_says_where_it_listens() -> None:
    """Its probes, and whatever scrapes it, ask by the name of the port."""
    text = YAML.replace("listen: {", "listen: {agent: 127.0.0.1:7171, metrics: 0.0.0.0:9565, ")
    found = container(injected(a_pod(), a_supply(text)), "backstay")
    assert found["ports"] == [
        {"name": "bs-agent", "containerPort": 7171},
        {"name": "bs-metrics", "containerPort": 9565},
    ]
    for probe, path in (("startupProbe", "/readyz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        assert found[probe]["httpGet"] == {"path": path, "port": "bs-metrics"}


def test_whoever_reads_the_configuration_has_its_secrets() -> None:
    """They may be what a value refers to."""
    pod = injected(a_pod(sidecar="container", secret="keys", env_from="words"))
    for name in ("backstay", "backstay-prepare", "backstay-ca"):
        found = container(pod, name)
        assert found["envFrom"] == [{"secretRef": {"name": "words"}}]
        assert mounts(found)["backstay-secret"] == "/secrets"
    assert "envFrom" not in container(pod, "backstay-roots-1")


@pytest.mark.parametrize("name", ["backstay", "backstay-prepare", "backstay-roots-1", "backstay-redirect"])
def test_every_container_of_ours_has_the_resources_that_are_asked_for(name: str) -> None:
    """A quota of the namespace would refuse a pod with one that has none."""
    pod = a_pod(capture="both", cpu_limit="1", memory_limit="128Mi")
    assert container(injected(pod), name)["resources"] == {
        "requests": {"cpu": "50m", "memory": "64Mi"},
        "limits": {"cpu": "1", "memory": "128Mi"},
    }


def test_resources_that_are_not_set_are_not_written() -> None:
    """A LimitRange may set them."""
    installation = replace(INSTALLATION, resources=Resources(None, None, None, None))
    assert "resources" not in container(injected(a_pod(), installation=installation), "backstay")


def test_in_a_pod_with_resources_as_a_whole_ours_are_a_part() -> None:
    """Kubernetes refuses containers that ask for more than their pod has."""
    pod = injected(a_pod(spec={"resources": {"requests": {"cpu": "10m"}}}))
    assert "resources" not in container(pod, "backstay")


def test_the_image_is_pulled_as_the_installation_says() -> None:
    """Where it says nothing, as Kubernetes does by the image's tag."""
    assert "imagePullPolicy" not in container(injected(a_pod()), "backstay")
    installation = replace(INSTALLATION, pull_policy="Always")
    assert container(injected(a_pod(), installation=installation), "backstay")["imagePullPolicy"] == "Always"


# --- the roots of foreign images ---------------------------------------------------------------------


def test_each_image_of_an_agent_brings_its_roots_once() -> None:
    """Init containers are agents beside a native sidecar; what has no image has no roots."""
    spec = {
        "initContainers": [{"name": "migrate", "image": "b:1"}],
        "containers": [{"name": "x", "image": "a:1"}, {"name": "y", "image": "a:1"}, {"name": "z"}],
    }
    pod = injected(a_pod(spec=spec))
    assert names(pod)[:3] == ["backstay-prepare", "backstay-roots-1", "backstay-roots-2"]
    assert [container(pod, name)["image"] for name in names(pod)[1:3]] == ["a:1", "b:1"]


def test_a_foreign_image_runs_as_the_agent_does_without_its_privileges() -> None:
    """Whatever admits the agent admits it, and copying a file takes no right."""
    own = {"runAsUser": 1000, "privileged": True, "procMount": "Unmasked", "capabilities": {"add": ["SYS_ADMIN"]}}
    found = container(injected(a_pod(agent={"securityContext": own, "imagePullPolicy": "Never"})), "backstay-roots-1")
    assert found["securityContext"] == {
        "runAsUser": 1000,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert found["imagePullPolicy"] == "Never"


def roots_script(folder: Path, *, tools: str = "/bin:/usr/bin") -> subprocess.CompletedProcess[str]:
    """Run what the container runs, with this machine's tools, and ``folder`` for the root of the image."""
    text = YAML.replace("tls_intercept: {}", f"tls_intercept: {{trust_dir: {folder}/trust dir}}")
    command = container(injected(a_pod(), a_supply(text)), "backstay-roots-1")["command"]
    busybox = folder / "busybox"
    busybox.write_text(f'#!/bin/sh\nPATH={tools} exec "$@"\n')
    busybox.chmod(0o755)
    script = command[-1].replace(command[0], str(busybox))
    for path in ROOT_FILES:
        script = script.replace(f" {path}", f" {folder}{path}")
    (folder / "trust dir" / "roots").mkdir(parents=True)
    return subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=False)


def put(folder: Path, path: str, text: str) -> None:
    file = folder / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_the_first_roots_of_an_image_are_copied_for_backstay_to_read(tmp_path: Path) -> None:
    """In the order of Go's list; an empty file is none."""
    put(tmp_path, ROOT_FILES[0], "")
    put(tmp_path, ROOT_FILES[1], "the roots")
    put(tmp_path, ROOT_FILES[2], "others")
    (tmp_path / ROOT_FILES[1].lstrip("/")).chmod(0o600)
    assert roots_script(tmp_path).returncode == 0
    copied = tmp_path / "trust dir" / "roots" / "1.pem"
    assert copied.read_text() == "the roots"
    assert copied.stat().st_mode & 0o777 == 0o644
    assert not copied.is_symlink()


def test_an_image_without_roots_brings_none(tmp_path: Path) -> None:
    """One made from scratch: the pod starts all the same."""
    assert roots_script(tmp_path).returncode == 0
    assert list((tmp_path / "trust dir" / "roots").iterdir()) == []


def test_roots_that_cannot_be_copied_stop_no_pod(tmp_path: Path) -> None:
    """The agent is without them, as its log of the container says."""
    put(tmp_path, ROOT_FILES[0], "the roots")
    done = roots_script(tmp_path, tools="/nowhere")
    assert done.returncode == 0
    assert done.stderr
