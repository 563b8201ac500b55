"""Properties of injection, whatever the pod: it stays a pod, nothing of its own is lost, and twice is once."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from proxy.kubernetes.model import Patch, Refused, Skipped
from proxy.kubernetes.names import is_ours
from tests.support.any_pods import pods, restricted
from tests.support.injected import IN_THE_CLEAR, Pod, a_supply, outcome, patched
from tests.support.properties import examples
from tests.support.valid_pods import faults, is_restricted

SUPPLIES = st.sampled_from([a_supply(), a_supply(is_carried=True), a_supply(IN_THE_CLEAR)])
_thorough = settings(
    max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def after(pod: Pod, supply: Any) -> Pod:
    """The pod as it comes out; the same where it stays as it is."""
    try:
        found = outcome(pod, supply)
    except Refused as refused:
        event(f"refused: {str(refused)[:20]}")
        return pod
    event("skipped" if isinstance(found, Skipped) else f"{len(found.operations) // 20 * 20} operations")
    return patched(pod, found) if isinstance(found, Patch) else pod


@_thorough
@given(pods(), SUPPLIES)
def test_what_was_a_pod_stays_one(pod: Pod, supply: Any) -> None:
    """By the schemas of an old and a new Kubernetes, and by its rules; none that it would take is broken."""
    whole = faults(pod)
    found = after(pod, supply)
    assert whole or faults(found) == []


@_thorough
@given(pods(), SUPPLIES)
def test_twice_is_once(pod: Pod, supply: Any) -> None:
    """A webhook may be asked again, and a manifest may have been through the filter."""
    before = deepcopy(pod)
    once = after(pod, supply)
    assert pod == before
    assert after(once, supply) == once


@_thorough
@given(pods(), SUPPLIES)
def test_nothing_of_the_pod_is_lost(pod: Pod, supply: Any) -> None:
    """Ours is added to what it has; only what has to change with a sidecar does."""
    found = after(pod, supply)
    for part in ("labels", "annotations"):
        assert (pod["metadata"].get(part) or {}).items() <= found["metadata"].get(part, {}).items()
    changing = {"containers", "initContainers", "volumes", "imagePullSecrets", "shareProcessNamespace"}
    changing.add("terminationGracePeriodSeconds")
    for key, value in pod["spec"].items():
        assert key in changing or found["spec"][key] == value
    assert _others(found["spec"], "volumes") == pod["spec"]["volumes"]
    for kind in ("initContainers", "containers"):
        theirs = _others(found["spec"], kind)
        assert [_bare(each) for each in theirs] == [_bare(each) for each in pod["spec"].get(kind) or []]


@_thorough
@given(pods(), SUPPLIES)
def test_what_a_container_sets_stays_in_what_it_gets(pod: Pod, supply: Any) -> None:
    """As it was, or as a part of a list; and each variable is there once."""
    found = after(pod, supply)
    for kind in ("initContainers", "containers"):
        for before, now in zip(pod["spec"].get(kind) or [], _others(found["spec"], kind), strict=True):
            values = {each["name"]: each for each in now.get("env") or []}
            assert len(values) == len(now.get("env") or [])
            for own in before.get("env") or []:
                assert values[own["name"]] == own or own.get("value", "") in values[own["name"]]["value"]


@_thorough
@given(pods().map(restricted), SUPPLIES)
def test_an_agent_that_passes_the_restricted_standard_still_does(pod: Pod, supply: Any) -> None:
    """Its namespace would refuse it otherwise; only redirection asks for more."""
    redirected = pod["metadata"]["annotations"].get("backstay.dev/capture", "env") != "env"
    assert is_restricted(pod)
    assert is_restricted(after(pod, supply)) != redirected or after(pod, supply) == pod


def _others(spec: Pod, kind: str) -> list[Pod]:
    return [each for each in spec.get(kind) or [] if not is_ours(each["name"])]


def _bare(container: Pod) -> Pod:
    """Without what injection adds to."""
    mounts = [each for each in container.get("volumeMounts") or [] if not is_ours(each["name"])]
    return {**{key: value for key, value in container.items() if key != "env"}, "volumeMounts": mounts}
