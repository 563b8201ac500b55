"""Tests of where the roots of agents come from: images, and what is mounted over their lists of roots."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.kubernetes.containers import ROOT_FILES
from tests.support.injected import YAML, a_pod, a_supply, container, injected, names
from tests.support.valid_pods import faults

OURS = {"backstay-tools", "backstay-trust"}
BUNDLE = {"name": "corp", "mountPath": ROOT_FILES[0], "subPath": "ca.crt"}


def mounting(*mounts: dict[str, Any], kind: str = "configMap", **annotations: str) -> dict[str, Any]:
    """A pod whose agent has these mounts, of volumes of a kind."""
    source = {"name": "x"} if kind == "configMap" else {"path": "/x"} if kind == "hostPath" else {}
    volumes = [{"name": name, kind: source} for name in sorted({mount["name"] for mount in mounts})]
    return a_pod(spec={"volumes": volumes}, agent={"volumeMounts": list(mounts)}, **annotations)


def copied(pod: dict[str, Any], text: str = YAML) -> list[dict[str, Any]]:
    """What of the agent's mounts the copy of its roots has."""
    found = injected(pod, a_supply(text))
    assert faults(found) == []
    return [each for each in container(found, "backstay-roots-1")["volumeMounts"] if each["name"] not in OURS]


def test_a_bundle_that_is_mounted_over_the_images_is_copied() -> None:
    """The key of a ConfigMap over the file, read-only whatever the agent may."""
    assert copied(mounting(BUNDLE)) == [{**BUNDLE, "readOnly": True}]


@pytest.mark.parametrize("path", ["/etc/ssl/certs", "/etc/pki/ca-trust/extracted/pem/", "/etc/ssl", "/etc"])
@pytest.mark.parametrize("kind", ["configMap", "hostPath"])
def test_a_folder_of_roots_that_is_mounted_is_copied_from(path: str, kind: str) -> None:
    """One with a list in it, however far below."""
    mount = {"name": "corp", "mountPath": path}
    assert copied(mounting(mount, kind=kind)) == [{**mount, "readOnly": True}]


@pytest.mark.parametrize("path", ["/", "/work", "/etc/ssl/certs/corp.pem", "/etc/ss"])
def test_what_has_nothing_to_do_with_roots_is_not_mounted(path: str) -> None:
    """Nor what would hide the whole image."""
    assert copied(mounting({"name": "corp", "mountPath": path}, kind="hostPath")) == []


def test_a_place_that_is_made_of_variables_is_not_mounted() -> None:
    """The copy has none of the agent's, and would not start."""
    assert copied(mounting({"name": "corp", "mountPath": "/etc/ssl/certs", "subPathExpr": "$(HOSTNAME)"})) == []


def test_what_an_init_container_fills_is_mounted_once_it_is_filled() -> None:
    """A native sidecar comes before the pod's own init containers, a plain container after them."""
    mount = {"name": "corp", "mountPath": "/etc/ssl/certs"}
    assert copied(mounting(mount, kind="emptyDir")) == []
    assert copied(mounting(mount, kind="emptyDir", sidecar="container")) == [{**mount, "readOnly": True}]


def test_of_a_folder_and_a_file_in_it_the_file_is_mounted() -> None:
    """The folder is read-only there, and has perhaps no place for the file."""
    folder = {"name": "all", "mountPath": "/etc/ssl/certs"}
    assert copied(mounting(folder, BUNDLE)) == [{**BUNDLE, "readOnly": True}]


def test_what_holds_the_place_of_the_copy_is_not_mounted() -> None:
    """The place could not be made in what is read-only."""
    text = YAML.replace("tls_intercept: {}", "tls_intercept: {trust_dir: /etc/trust}")
    assert copied(mounting({"name": "corp", "mountPath": "/etc"}, kind="hostPath"), text) == []


def test_one_image_with_two_lists_of_roots_is_copied_twice() -> None:
    """And once for those who have the same."""
    with_corp = {"image": "a:1", "volumeMounts": [BUNDLE]}
    containers = [{"name": "x", **with_corp}, {"name": "y", "image": "a:1"}, {"name": "z", **with_corp}]
    spec = {"volumes": [{"name": "corp", "configMap": {"name": "x"}}], "containers": containers}
    pod = injected(a_pod(spec=spec))
    assert names(pod) == ["backstay-prepare", "backstay-roots-1", "backstay-roots-2", "backstay"]
    assert [len(container(pod, f"backstay-roots-{number}")["volumeMounts"]) for number in (1, 2)] == [3, 2]
