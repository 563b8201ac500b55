"""Tests of the draft: its operations give, by somebody else's library, the pod that it shows."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.kubernetes.draft import Draft


def applied(pod: dict[str, Any], draft: Draft) -> Any:
    return jsonpatch.apply_patch(pod, [dict(each) for each in draft.operations])


@pytest.mark.parametrize("pod", [{}, {"metadata": None}, {"metadata": {"labels": None}}, {"metadata": {"labels": {}}}])
def test_mappings_on_the_way_are_made(pod: dict[str, Any]) -> None:
    """Null counts as absent, as it does for Kubernetes."""
    draft = Draft(pod)
    draft.put("metadata", "labels", "a/b~c", value="x")
    assert applied(pod, draft) == {"metadata": {"labels": {"a/b~c": "x"}}}


@pytest.mark.parametrize("items", [{}, {"items": None}, {"items": []}])
def test_a_list_that_is_not_there_is_made(items: dict[str, Any]) -> None:
    """Once, however many are put into it."""
    draft = Draft(items)
    draft.append("items", value=2)
    draft.insert("items", index=0, value=1)
    assert applied(items, draft) == {"items": [1, 2]}


def test_what_was_there_is_replaced() -> None:
    """Also within a list."""
    pod = {"items": [{"name": "a", "value": "1"}, {"name": "b"}], "grace": 1}
    draft = Draft(pod)
    draft.put("items", 0, "value", value="2")
    draft.put("items", 1, value={"name": "c"})
    draft.put("grace", value=2)
    assert [each["op"] for each in draft.operations] == ["replace"] * 3
    assert applied(pod, draft) == {"items": [{"name": "a", "value": "2"}, {"name": "c"}], "grace": 2}


def test_the_pod_that_is_given_is_left_alone() -> None:
    """And so are values that are put into it."""
    pod: dict[str, Any] = {"items": [{"name": "a"}]}
    value: dict[str, Any] = {"env": []}
    draft = Draft(pod)
    draft.append("items", value=value)
    draft.append("items", 1, "env", value="x")
    assert (pod, value) == ({"items": [{"name": "a"}]}, {"env": []})
    assert draft.operations[0]["value"] == {"env": []}
    assert repr(draft) == "<Draft of 2 operations>"


def test_what_is_not_there_is_nothing() -> None:
    """However deep one asks."""
    assert Draft({"a": None}).get("a", "b", "c") is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers())))
def test_what_a_draft_shows_is_what_its_operations_give(steps: list[tuple[str, bool, int]]) -> None:
    """In the order in which they were made."""
    pod: dict[str, Any] = {"a": [0], "b": None}
    draft = Draft(deepcopy(pod))
    for key, first, value in steps:
        if first:
            draft.insert(key, index=0, value=value)
        else:
            draft.append(key, value=value)
    after = applied(pod, draft)
    assert after == {**pod, **{key: draft.get(key) for key, _, _ in steps}}
