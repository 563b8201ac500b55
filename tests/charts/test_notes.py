"""What helm says after an installation: the next step, and what one may have overlooked."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.helm import BACKSTAY, CASES, as_json, helm

CASE = next(case for case in CASES if case.name.startswith("minimal"))
PATCH = '"annotations": {"backstay.dev/inject": "true"}'


def notes(**values: Any) -> str:
    """As `helm install` prints them."""
    given = as_json({key.replace("__", "."): value for key, value in values.items()})
    done = helm("install", "outward", BACKSTAY, "--dry-run=client", "--namespace", "prod", "--values", CASE, *given)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("\nNOTES:\n")[2]


def test_they_say_how_an_agent_gets_its_sidecar_and_how_to_test_it() -> None:
    """Both can be copied."""
    said = notes()
    assert PATCH in said
    assert "kubectl label namespace NAMESPACE backstay.dev/inject=enabled" in said
    assert "helm test outward --namespace prod" in said
    assert "Pods in prod, where this release is, are left alone" in said


@pytest.mark.parametrize(
    ("values", "warning"),
    [
        ({"config__tls_intercept": False}, "https calls of agents that have no base URL pass through unseen"),
        ({"imagePullSecrets": [{"name": "registry"}]}, "Injection is not among what it tests"),
        ({"injector__enabled": False}, "Your chart places the sidecar with the templates"),
    ],
)
def test_they_warn_of_what_is_easily_overlooked(values: dict[str, Any], warning: str) -> None:
    """And say it only then."""
    assert warning in " ".join(notes(**values).split())
    assert warning not in " ".join(notes().split())
