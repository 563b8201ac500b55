"""Tests of an installation's settings: each key, and each mistake with its line and what to write instead."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from proxy.kubernetes.model import Installation, Resources
from proxy.kubernetes.settings import BadSettings, defaults, load

EVERY = """\
image: registry.example/backstay:1
pull_policy: Always
pull_secrets: [one, two]
uid: 7171
capture: both
sidecar: container
shims: true
roots: system
resources: {cpu_request: 1, memory_request: 1Gi, cpu_limit: null, memory_limit: 2Gi}
scrape_annotations: true
exclude_ports: [5432, 6379]
exclude_networks: [10.0.0.0/8]
config_map_namespaces: [one, two]
"""


def settings(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text)
    return path


def mistakes(folder: Path, text: str) -> str:
    with pytest.raises(BadSettings) as bad:
        load(settings(folder, text))
    return str(bad.value).replace(f"{folder}/", "")


def test_every_key_is_a_field_of_the_installation(tmp_path: Path) -> None:
    """And every field has a key."""
    assert load(settings(tmp_path, EVERY)) == Installation(
        image="registry.example/backstay:1",
        pull_policy="Always",
        pull_secrets=("one", "two"),
        uid=7171,
        capture="both",
        sidecar="container",
        shims=True,
        roots="system",
        resources=Resources("1", "1Gi", None, "2Gi"),
        scrape_annotations=True,
        exclude_ports=(5432, 6379),
        exclude_networks=("10.0.0.0/8",),
        config_map_namespaces=("one", "two"),
    )
    assert EVERY.count("\n") == len(fields(Installation))


def test_an_image_is_enough(tmp_path: Path) -> None:
    """All else has a default, which is the same on the command line."""
    assert load(settings(tmp_path, "image: backstay:1\n")) == defaults("backstay:1") == Installation("backstay:1")


def test_what_is_null_is_not_set(tmp_path: Path) -> None:
    """Helm writes what is empty so."""
    found = load(
        settings(tmp_path, "image: a\npull_policy: null\nresources: {memory_limit: null}\nexclude_ports: []\n")
    )
    assert (found.pull_policy, found.resources, found.exclude_ports) == (None, Resources(memory_limit=None), ())


@pytest.mark.parametrize(("text", "found"), [("null", None), ("[]", ())])
def test_no_namespaces_are_not_all_of_them(tmp_path: Path, text: str, found: tuple[str, ...] | None) -> None:
    """Whose ConfigMaps may be read."""
    assert load(settings(tmp_path, f"image: a\nconfig_map_namespaces: {text}\n")).config_map_namespaces == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image: a\nimmage: b\n", "settings.yaml:2:1: immage: there is no such setting; did you mean 'image'?"),
        ("image: a\nzzzzzz: b\n", "zzzzzz: there is no such setting; use image, pull_policy"),
        ("image: a\nshims: maybe\n", 'settings.yaml:2:1: shims: \'maybe\' is not understood; write "true" or "false"'),
        ("image: a\nuid: 0\n", "uid: '0' is not understood; write a user id of its own, such as 7070; 0 is root's"),
        ("image: a\nuid: null\n", "uid: an empty value is not understood"),
        (
            "image: a\nexclude_ports: [1, {a: b}]\n",
            "exclude_ports: a list is not understood; write ports from 1 to 65535",
        ),
        ("image: a\nresources: 1\n", "resources: it is not a mapping; write keys below it: cpu_request"),
        (
            "image: a\nresources:\n  cpu: 1\n",
            "settings.yaml:3:3: resources.cpu: there is no such setting; use cpu_request, memory_request",
        ),
        (
            "image: a\nresources: {cpu_request: 2, cpu_limit: 1}\n",
            "settings.yaml:2:1: resources: the request of cpu, 2, is above its limit, 1; set cpu-request",
        ),
        ("shims: true\n", "settings.yaml:1:1: image: it is missing; name the image of Backstay"),
        ("image: [\n", "settings.yaml:2:1:"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_a_remedy(tmp_path: Path, text: str, said: str) -> None:
    """As the mistakes of a configuration are."""
    assert said in mistakes(tmp_path, text)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """Each in a line of its own."""
    assert mistakes(tmp_path, "image: a b\nshims: 1\nroots: mine\n").count("\n") == 2


def test_a_file_that_is_not_there_is_told_by_name(tmp_path: Path) -> None:
    """With what the system says."""
    with pytest.raises(
        BadSettings, match="nothing: the file cannot be read: No such file or directory; check the path"
    ):
        load(tmp_path / "nothing")


def test_an_image_that_is_none_is_refused() -> None:
    """It would be found out by the kubelet, later and elsewhere."""
    with pytest.raises(BadSettings, match="the image 'a b' is not understood; write an image"):
        defaults("a b")
