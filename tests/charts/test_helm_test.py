"""What `helm test` runs proves what it says: with the variables of its pod the doctor is content, without them not."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.helm import CASES, Object, one, rendered
from tests.support.process import COMMAND, PATIENCE, ROOT, Sidecar

CASE = next(case for case in CASES if case.name.startswith("minimal"))


@pytest.fixture
def objects(tmp_path: Path) -> list[Object]:
    """A release whose folders are here: a test may not write to /var."""
    intercept = {"ca_dir": f"{tmp_path}/ca", "trust_dir": f"{tmp_path}/trust"}
    return rendered(CASE, {"config.tls_intercept": intercept, "config.listen.admin": "off"})


@pytest.fixture
def port(objects: list[Object], tmp_path: Path) -> Iterator[str]:
    """Of its sidecar, which runs at any that is free; `backstay.yaml` names it."""
    text = one(objects, "ConfigMap", "backstay")["data"]["backstay.yaml"]
    anywhere = tmp_path / "anywhere.yaml"
    anywhere.write_text(text.replace("127.0.0.1:7070", "127.0.0.1:0").replace("0.0.0.0:9464", "127.0.0.1:0"))
    sidecar = Sidecar(tmp_path, anywhere)
    try:
        sidecar.start()
        found = str(sidecar.ports["agent"])
        (tmp_path / "backstay.yaml").write_text(text.replace("127.0.0.1:7070", f"127.0.0.1:{found}"))
        yield found
    finally:
        sidecar.stop()


def doctor(pod: Object, env: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """The pod's own command, with `/etc/backstay` where the configuration is here."""
    (container,) = pod["spec"]["containers"]
    arguments = [argument.replace("/etc/backstay", f"{folder}/backstay.yaml") for argument in container["args"]]
    environ = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
    command = [*COMMAND, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**environ, **env}, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def env_of(pod: Object) -> dict[str, Any]:
    (container,) = pod["spec"]["containers"]
    return {entry["name"]: entry["value"] for entry in container["env"]}


def test_it_passes_where_calls_are_caught_and_fails_where_not(objects: list[Object], port: str, tmp_path: Path) -> None:
    """Whatever a vendor does: none is called."""
    pod = one(objects, "Pod", "backstay-test-traffic")
    caught = doctor(pod, {name: value.replace("7070", port) for name, value in env_of(pod).items()}, tmp_path)
    assert caught.returncode == 0, caught.stdout
    assert "https_proxy: caught, and signed for by our authority" in caught.stdout
    missed = doctor(pod, {}, tmp_path)
    assert missed.returncode == 1, missed.stdout


def test_the_injected_pod_fails_without_injection(tmp_path: Path) -> None:
    """Its configuration comes with the sidecar; of an annotation that is not there, the kubelet makes an empty file."""
    pod = one(rendered(CASE), "Pod", "backstay-test-injected")
    (container,) = pod["spec"]["containers"]
    (tmp_path / "backstay.yaml").write_text("")
    arguments = [argument.replace("/check", str(tmp_path)) for argument in container["args"]]
    done = subprocess.run([*COMMAND, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert str(tmp_path) in done.stderr


@pytest.mark.parametrize(("listen", "asked"), [("0.0.0.0:9464", "127.0.0.1:9464"), ("[::]:9565", "[::1]:9565")])
def test_of_an_unknown_configuration_the_sidecar_is_asked(listen: str, asked: str) -> None:
    """Where it listens, in the pod that it shares."""
    values = {"configMap.existing": "ours", "config.listen.metrics": listen}
    (container,) = one(rendered(CASE, values), "Pod", "backstay-test-injected")["spec"]["containers"]
    assert container["args"][:3] == ["health", "--at", asked]


@pytest.mark.parametrize("name", ["backstay-test-traffic", "backstay-test-injected"])
def test_both_are_tests_of_helm_and_leave_nothing(name: str) -> None:
    """They are made by `helm test` alone, end by themselves, and go away."""
    pod = one(rendered(CASE), "Pod", name)
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert "hook-succeeded" in pod["metadata"]["annotations"]["helm.sh/hook-delete-policy"]
    assert pod["spec"]["restartPolicy"] == "Never"


def test_no_sidecar_of_a_test_is_a_plain_container() -> None:
    """Such a pod would not end: nobody tells its sidecar to."""
    pod = one(rendered(CASE, {"sidecar": "container"}), "Pod", "backstay-test-traffic")
    assert [each["name"] for each in pod["spec"]["containers"]] == ["doctor"]
    assert pod["spec"]["initContainers"][-1]["restartPolicy"] == "Always"
