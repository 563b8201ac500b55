"""proxy/kubernetes/workloads.py: where the pods are in objects of any kind."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.kubernetes.workloads import Workload, objects, unreached, workloads

POD: dict[str, Any] = {"spec": {"containers": [{"name": "agent", "image": "agent:1"}]}}


def of(kind: str, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": "x", "namespace": "n"}, **more}


@pytest.mark.parametrize(
    ("document", "path"),
    [
        (of("Pod", **POD), ()),
        (of("PodTemplate", template=POD), ("template",)),
        *(
            (of(kind, spec={"template": POD}), ("spec", "template"))
            for kind in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "Rollout", "SomethingNew")
        ),
        (of("CronJob", spec={"jobTemplate": {"spec": {"template": POD}}}), ("spec", "jobTemplate", "spec", "template")),
        (of("Sandbox", spec={"podTemplate": POD}), ("spec", "podTemplate")),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_a_pod_is_found_where_its_kind_has_it(document: dict[str, Any], path: tuple[str, ...]) -> None:
    """The pod, its place, and what people call the object."""
    (found,) = workloads(document)
    assert found.path == path
    assert found.pod["spec"] == POD["spec"]
    assert (found.name, found.namespace) == (f"{document['kind'].lower()}/x", "n")


def test_lists_have_the_pods_of_their_items() -> None:
    """A List, one of a kind, and a list in a list; each pod with its place from the root."""
    inner = {"kind": "DeploymentList", "items": [of("Deployment", spec={"template": POD})]}
    document = {"kind": "List", "items": [of("Service"), inner, of("Pod", **POD), None]}
    assert [found.path for found in workloads(document)] == [("items", 1, "items", 0, "spec", "template"), ("items", 2)]
    assert [each["kind"] for each in objects(document)] == ["Service", "Deployment", "Pod"]


@pytest.mark.parametrize(
    "document",
    [
        None,
        "text",
        [POD],
        of("Service", spec={"selector": {}}),
        of("SealedSecret", spec={"template": {"metadata": {}, "type": "Opaque"}}),
        of("Pod"),
        of("Pod", spec={"containers": []}),
        of("Pod", spec={"containers": [None]}),
        of("Pod", spec={"containers": {"name": "agent"}}),
        of("Deployment", spec=None),
        of("List", items=None),
    ],
)
def test_what_is_no_workload_has_none(document: Any) -> None:
    """Neither other kinds, nor documents that are cut off."""
    assert list(workloads(document)) == []


def test_a_name_may_be_missing() -> None:
    """Objects that are made with generateName, and templates that were never named."""
    pods = [{**POD, "kind": "Pod", "metadata": {"generateName": "x-"}}, {**POD, "kind": "Pod"}]
    found = [each for pod in pods for each in workloads(pod)]
    assert [(each.name, each.namespace) for each in found] == [("pod/x-", None), ("pod/(without a name)", None)]
    assert found[0] == Workload((), "pod/x-", None, pods[0])


def test_containers_elsewhere_are_told() -> None:
    """Of other kinds, whose pods are elsewhere; not of what has none, nor of workloads."""
    job_set = of("JobSet", spec={"replicatedJobs": [{"template": {"spec": {"template": POD}}}]})
    workflow = of("Workflow", spec={"templates": [{"name": "main", "container": {"image": "agent:1"}}]})
    schema = of("CustomResourceDefinition", spec={"containers": {"type": "array"}, "container": {"image": {}}})
    others = [of("Deployment", spec={"template": POD}), schema, of("Pod", spec={"containers": [1]}), "text"]
    assert list(unreached({"kind": "List", "items": [job_set, *others, workflow]})) == ["jobset/x", "workflow/x"]
