"""Admission reviews: what the API server asks, and how it wants to be answered. No I/O.

Called by webhook.py. The protocol is ``admission.k8s.io/v1``:
https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/

Only a pod that is to be made is looked at. All else (another kind, a subresource, an update, a deletion) is allowed as
it is: a webhook that is registered for too much must not be in anybody's way. A dry run is answered like any other, as
nothing is done but to answer.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, assert_never

from proxy.kubernetes.model import Patch, Refused, Skipped

API_VERSION: Final = "admission.k8s.io/v1"
_LONGEST_WARNING: Final = 256  # characters; the API server cuts what is longer
_SHOWN: Final = 64

Outcome: TypeAlias = Patch | Skipped | Refused


class BadReview(ValueError):
    """What was sent is no review that can be answered: a sentence."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A review. ``pod`` is what is to be made, or why that is no business of ours."""

    uid: str
    namespace: str
    name: str  # of the pod, for the log; it may not have one yet
    is_dry_run: bool
    pod: dict[str, Any] | Skipped


def read(document: Any) -> Asked:
    """The review in a document. Raises BadReview."""
    if not isinstance(document, Mapping) or document.get("kind") != "AdmissionReview":
        raise BadReview("this is no AdmissionReview; send one, as the API server does")
    if document.get("apiVersion") != API_VERSION:
        said = repr(str(document.get("apiVersion"))[:_SHOWN])
        raise BadReview(
            f"its version is {said}; this webhook speaks {API_VERSION}: set admissionReviewVersions to [v1]"
        )
    request = document.get("request")
    if not isinstance(request, Mapping):
        raise BadReview("it has no request: it is an answer, or cut off")
    uid = request.get("uid")
    if not isinstance(uid, str) or not uid:
        raise BadReview("its request has no uid, by which an answer is known")
    pod = _pod(request)
    return Asked(
        uid=uid,
        namespace=str(request.get("namespace") or ""),
        name=_name(request, pod),
        is_dry_run=request.get("dryRun") is True,
        pod=pod,
    )


def _pod(request: Mapping[str, Any]) -> dict[str, Any] | Skipped:
    if (why := _not_ours(request)) is not None:
        return Skipped(why, unasked=True)
    pod = request.get("object")
    if not isinstance(pod, dict):
        raise BadReview("it is about a pod that is to be made, and its request has no object")
    spec = pod.get("spec")
    containers = spec.get("containers") if isinstance(spec, Mapping) else None
    if not isinstance(containers, list) or not containers or not all(isinstance(each, Mapping) for each in containers):
        return Skipped("the pod has no containers, and the API server will refuse it", unasked=True)
    return pod


def _not_ours(request: Mapping[str, Any]) -> str | None:
    kind = request.get("kind")
    said = kind if isinstance(kind, Mapping) else {}
    if (said.get("group") or "", said.get("version"), said.get("kind")) != ("", "v1", "Pod"):
        return "it is about something else than pods"
    if request.get("subResource"):
        return "it is about a part of a pod"
    if request.get("operation") != "CREATE":
        return "the pod is there already"
    return None


def _name(request: Mapping[str, Any], pod: dict[str, Any] | Skipped) -> str:
    """Pods of a controller have no name before they are admitted, only its beginning."""
    metadata = pod.get("metadata") if isinstance(pod, dict) else None
    said = metadata if isinstance(metadata, Mapping) else {}
    return str(request.get("name") or said.get("name") or f"{said.get('generateName') or ''}*")


def answer(asked: Asked, outcome: Outcome) -> dict[str, Any]:
    """The review that goes back."""
    response: dict[str, Any] = {"uid": asked.uid, "allowed": not isinstance(outcome, Refused)}
    match outcome:
        case Patch(operations, warnings):
            patch = json.dumps(list(operations)).encode()
            response |= {"patchType": "JSONPatch", "patch": base64.b64encode(patch).decode()}
        case Skipped(why, unasked):
            warnings = () if unasked else (f"not injected: {why}",)
        case Refused():
            response["status"] = {"code": 400, "reason": "BadRequest", "message": f"backstay: {outcome}"}
            warnings = ()
        case _:
            assert_never(outcome)
    if warnings:
        response["warnings"] = [f"backstay: {warning}"[:_LONGEST_WARNING] for warning in warnings]
    return {"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response}
