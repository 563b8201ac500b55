"""Keys and values of later versions: refused with the same words wherever they stand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.config.load import Problem
from proxy.config.reserved import REFUSAL


@pytest.mark.parametrize(
    "policy",
    [
        "hedge: {after: 1s}",
        "concurrency: adaptive",
        "fault: {}",
        "rate_limit: {rate: 1/s, learn: true}",
        "rate_limit: {rate: 1/s, store: shared}",
        "timeout: {first_byte: adaptive}",
    ],
)
@pytest.mark.parametrize("scope", ["defaults", "api", "route"])
def test_refuses_policies_of_later_versions(policy: str, scope: str, complains: Callable[[str], list[Problem]]) -> None:
    """In the defaults, in an api and in a route alike, and with one message."""
    text = "version: 1\ndefaults: {DEFAULTS}\napis:\n  x:\n    url: http://x\n    API\n"
    text += "    routes: [{name: r, match: {methods: [GET]}, ROUTE}]\n"
    for name in ("defaults", "api", "route"):
        text = text.replace(name.upper(), policy if name == scope else "timeout: {}" if name == "route" else "")
    (problem,) = complains(text)
    assert problem.message.endswith(REFUSAL)
    assert problem.line == {"defaults": 2, "api": 6, "route": 7}[scope]


def test_a_mistake_in_a_shared_anchor_counts_once(complains: Callable[[str], list[Problem]]) -> None:
    """Where several apis use one anchor, its line is named once."""
    text = "x-p: &p {hedge: {}}\nversion: 1\napis:\n  a: {url: http://a, <<: *p}\n  b: {url: http://b, <<: *p}\n"
    assert [str(problem.line) for problem in complains(text)] == ["1"]
