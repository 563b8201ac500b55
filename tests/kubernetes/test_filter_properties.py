"""Properties of `backstay inject`, whatever the pod and however it is written."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from proxy.kubernetes.manifests import Changed, change
from proxy.kubernetes.model import Patch, Refused, Skipped
from proxy.kubernetes.review import Asked, answer
from proxy.kubernetes.text import read
from proxy.kubernetes.workloads import Workload
from tests.support.any_pods import pods
from tests.support.injected import Pod, a_supply, outcome, patched
from tests.support.properties import examples
from tests.support.reviews import patched as patched_by

SUPPLY = a_supply(is_carried=True)
STYLES = st.fixed_dictionaries(
    {"default_flow_style": st.sampled_from([None, False]), "indent": st.sampled_from([2, 4])}
)
_thorough = settings(
    max_examples=examples(30), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def ask(workload: Workload) -> Patch | Skipped:
    return outcome(workload.pod, SUPPLY)


def expected(pod: Pod) -> Pod:
    """The pod as injection makes it, by itself."""
    try:
        found = outcome(pod, SUPPLY)
    except Refused:
        return pod
    return patched(pod, found) if isinstance(found, Patch) else pod


def deployment(pod: Pod) -> Pod:
    return {"kind": "Deployment", "metadata": {"name": "x"}, "spec": {"replicas": 1, "template": pod}}


def changed(text: str) -> Changed:
    return change(text, "x.yaml", ask)


@_thorough
@given(pods(), STYLES)
def test_yaml_says_what_the_patch_says(pod: Pod, style: Any) -> None:
    """No comment of what was there is lost or changes its order; through the filter again, all stays."""
    lines = yaml.safe_dump(deployment(pod), **style, width=1 << 20).splitlines()
    text = "".join(f"{line}  # {number}.\n" for number, line in enumerate(lines))
    assume(read(text) == deployment(pod))  # no line is within a text
    once = changed(text).text
    assert read(once) == deployment(expected(pod))
    assert changed(once).text == once
    assert re.findall(r"# (\d+)\.$", once, re.MULTILINE) == [str(number) for number in range(len(lines))]


@_thorough
@given(pods())
def test_json_says_what_the_patch_says(pod: Pod) -> None:
    """And nothing else."""
    once = changed(json.dumps(deployment(pod))).text
    assert json.loads(once) == deployment(expected(pod))
    assert changed(once).text == once


@_thorough
@given(pods())
def test_a_review_says_what_the_patch_says(pod: Pod) -> None:
    """After its way through JSON and base64."""
    asked = Asked("uid", "n", "x", is_dry_run=False, pod=pod)
    try:
        found = answer(asked, outcome(pod, SUPPLY))
    except Refused as refused:
        found = answer(asked, refused)
    allowed, has_patch = found["response"]["allowed"], "patch" in found["response"]
    if has_patch:
        assert patched_by({"request": {"object": pod}}, found) == expected(pod)
    else:
        assert expected(pod) == pod
    assert allowed or "message" in found["response"]["status"]
