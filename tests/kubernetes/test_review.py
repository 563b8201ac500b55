"""proxy/kubernetes/review.py: what the API server asks, and how it is answered."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.kubernetes.model import Patch, Refused, Skipped
from proxy.kubernetes.review import Asked, BadReview, answer, read
from tests.support.reviews import patched, recorded

ASKED = Asked("uid-1", "agents", "agent-*", is_dry_run=False, pod={})


def test_a_pod_that_is_to_be_made_is_asked_about() -> None:
    """With what is known of it: pods of a controller have but the beginning of a name."""
    review = recorded("create")
    asked = read(review)
    assert asked.pod == review["request"]["object"]
    assert (asked.uid, asked.namespace, asked.name) == (review["request"]["uid"], "agents", "agent-6d4cf56db6-*")
    assert not asked.is_dry_run
    assert read(recorded("create-dry-run")).is_dry_run
    assert read(recorded("create-bare")).name == "bare"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("update", "the pod is there already"),
        ("delete", "the pod is there already"),
        ("update-ephemeral-containers", "it is about a part of a pod"),
        ("create-binding", "it is about something else than pods"),
        ("create-deployment", "it is about something else than pods"),
        ("create-without-containers", "the pod has no containers, and the API server will refuse it"),
    ],
)
def test_all_else_is_let_through(name: str, why: str) -> None:
    """Silently: a webhook that is registered for too much is in nobody's way."""
    asked = read(recorded(name))
    assert asked.pod == Skipped(why, unasked=True)
    assert answer(asked, asked.pod)["response"] == {"uid": asked.uid, "allowed": True}


@pytest.mark.parametrize(
    ("document", "error"),
    [
        (None, "this is no AdmissionReview"),
        ([], "this is no AdmissionReview"),
        ({"kind": "Pod", "apiVersion": "v1"}, "this is no AdmissionReview"),
        (recorded("v1beta1"), "its version is 'admission.k8s.io/v1beta1'; this webhook speaks admission.k8s.io/v1"),
        ({**recorded("create"), "request": None}, "it has no request"),
        (recorded("create", uid=""), "its request has no uid"),
        (recorded("create", uid=1), "its request has no uid"),
        (recorded("create", object=None), "its request has no object"),
        (recorded("create", object="text"), "its request has no object"),
    ],
)
def test_what_is_no_review_is_said(document: Any, error: str) -> None:
    """In a sentence: somebody is setting a webhook up, or has found it."""
    with pytest.raises(BadReview, match=error):
        read(document)


@pytest.mark.parametrize("field", ["namespace", "name", "dryRun", "kind", "operation", "userInfo", "options"])
def test_a_field_may_be_missing(field: str) -> None:
    """What does not say that it is about a new pod is let through."""
    review = recorded("create")
    review["request"].pop(field, None)
    asked = read(review)
    assert isinstance(asked.pod, Skipped) is (field in {"kind", "operation"})


def test_a_patch_goes_back_as_the_protocol_has_it() -> None:
    """In base64, with its type and the uid; warnings beside it, as long as they may be."""
    patch = Patch(({"op": "add", "path": "/spec/dnsPolicy", "value": "é"},), ("see to it", "x" * 300))
    review = recorded("create-bare")
    found = answer(ASKED, patch)
    assert found["apiVersion"] == "admission.k8s.io/v1"
    assert found["kind"] == "AdmissionReview"
    assert found["response"] | {"patch": ""} == {
        "uid": "uid-1",
        "allowed": True,
        "patchType": "JSONPatch",
        "patch": "",
        "warnings": ["backstay: see to it", f"backstay: {'x' * 246}"],
    }
    assert patched(review, found)["spec"]["dnsPolicy"] == "é"


def test_a_pod_that_stays_as_it_is() -> None:
    """Its maker is told if it was wanted otherwise."""
    assert answer(ASKED, Skipped("it is on the host's network"))["response"] == {
        "uid": "uid-1",
        "allowed": True,
        "warnings": ["backstay: not injected: it is on the host's network"],
    }


def test_a_pod_that_is_refused() -> None:
    """The sentence is what `kubectl` and the event of its owner show."""
    assert answer(ASKED, Refused("write capture: env"))["response"] == {
        "uid": "uid-1",
        "allowed": False,
        "status": {"code": 400, "reason": "BadRequest", "message": "backstay: write capture: env"},
    }
