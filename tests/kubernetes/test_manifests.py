"""proxy/kubernetes/manifests.py: streams of documents, of which pods alone change."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.kubernetes.manifests import BadManifest, Report, change, config_maps
from proxy.kubernetes.model import Patch, Refused, Skipped
from proxy.kubernetes.workloads import Workload

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec:\n  containers:\n  - name: agent  # it\n"
SERVICE = "apiVersion: v1\nkind:   Service  # odd, and left alone\nspec: {x: 0x10}\n"
ADD = Patch(({"op": "add", "path": "/spec/dnsPolicy", "value": "Default"},))
ADDED = "  dnsPolicy: Default\n"


def add(_: Workload) -> Patch:
    return ADD


def leave(_: Workload) -> Skipped:
    return Skipped("as it is")


def changed(text: str) -> str:
    return change(text, "x.yaml", add).text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n# nothing but a comment\n",
        SERVICE,
        f"---\n{SERVICE}---\n---\n# between\n{SERVICE}...\n",
        f"{SERVICE}--- # why\n{POD % 'a'}",
        "\ufeff" + SERVICE.replace("\n", "\r\n"),
        '{"kind": "Pod",\n\t"spec": {"containers": [{"name": "a"}]}}\n\n',
        "[]",
    ],
)
def test_what_nobody_changes_stays_byte_for_byte(text: str) -> None:
    """Documents, what separates them, comments, line ends."""
    assert change(text, "x.yaml", leave).text == text


def test_pods_of_a_stream_change_one_by_one() -> None:
    """What stands between them stays; each is reported by its name, in order."""
    text = f"# first\n{POD % 'a'}--- # second\n{SERVICE}---\n{POD % 'b'}"
    found = change(text, "x.yaml", add)
    assert found.text == f"# first\n{POD % 'a'}{ADDED}--- # second\n{SERVICE}---\n{POD % 'b'}{ADDED}"
    assert found.reports == (Report("pod/a", ADD), Report("pod/b", ADD))


def test_items_of_a_list_change_where_they_are() -> None:
    """Of one document: a pod of two changes, the other one is refused and stays, both are reported."""
    items = "".join(
        f"- kind: Pod\n  metadata: {{name: {name}}}\n  spec: {{containers: [{{name: c}}]}}\n" for name in "ab"
    )

    def ask(workload: Workload) -> Patch:
        if workload.name == "pod/b":
            raise Refused("not this one")
        return ADD

    found = change(f"kind: List\nitems:\n{items}", "x.yaml", ask)
    assert found.text == f"kind: List\nitems:\n{items}".replace("c}]}", "c}], dnsPolicy: Default}", 1)
    assert [str(report.outcome) for report in found.reports] == [str(ADD), "not this one"]


def test_containers_that_are_no_pods_are_not_passed_in_silence() -> None:
    """What stays without a sidecar is told, though nobody was asked about it."""
    text = "kind: Workflow\nmetadata: {name: w}\nspec: {templates: [{container: {image: agent:1}}]}\n"
    found = change(text, "x.yaml", add)
    assert found.text == text
    assert [(name, "spec.template" in str(outcome)) for name, outcome in found.reports] == [("workflow/w", True)]


def test_line_ends_of_windows_stay() -> None:
    """What is added has them, too."""
    text = (POD % "a").replace("\n", "\r\n")
    assert changed(text) == text + ADDED.replace("\n", "\r\n")


@pytest.mark.parametrize("indent", [None, 2, 4])
def test_json_stays_json(indent: int | None) -> None:
    """In its own indentation, with letters as they are; several objects one after the other."""
    pod = {"kind": "Pod", "metadata": {"name": "é"}, "spec": {"containers": [{"name": "a"}]}}
    text = "\n".join(json.dumps(each, indent=indent, ensure_ascii=False) for each in (pod, {"kind": "Service"}, pod))
    after = {**pod, "spec": {"containers": [{"name": "a"}], "dnsPolicy": "Default"}}
    assert (
        changed(text + "\n")
        == text.replace(
            json.dumps(pod, indent=indent, ensure_ascii=False), json.dumps(after, indent=indent, ensure_ascii=False)
        )
        + "\n"
    )


def test_yaml_may_begin_like_json() -> None:
    """Braces, with a comment in them, and several documents of them."""
    text = '{kind: Pod, # a pod\n spec: {containers: [{name: a}]}}\n---\n{"kind": "Service"}\n'
    assert changed(text) == text.replace("}]}}", "}], dnsPolicy: Default}}")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (f"{SERVICE}---\nkind: Pod\n  spec: x\n", "x.yaml:6:7: this is no manifest: mapping values are not allowed"),
        ("a: 1\nb: 1\na: 2\n", "x.yaml:3:1: this is no manifest: the key 'a' is there twice; correct it there"),
        ("a: {{ .Values.x }}\n", "render the template first, as with `helm template`"),
        ("a: \x00\n", "x.yaml: this is no manifest: "),
    ],
)
def test_what_is_no_manifest_is_named_with_its_place(text: str, error: str) -> None:
    """Lines count from the top of the file, not of the document."""
    with pytest.raises(BadManifest) as raised:
        changed(text)
    assert error in str(raised.value)


def test_config_maps_of_a_stream() -> None:
    """By namespace and name, those of lists as well; what is no text is none of the configuration."""
    one: dict[str, Any] = {"kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"a.yaml": "x: 1", "n": 1}}
    bare = {"kind": "ConfigMap", "metadata": {"name": "bare", "namespace": "x"}}
    text = json.dumps({"kind": "List", "items": [one, bare, {"kind": "ConfigMap"}, {"kind": "Secret", "metadata": {}}]})
    assert config_maps(text, "x.json") == {(None, "one"): {"a.yaml": "x: 1"}, ("x", "bare"): {}}
