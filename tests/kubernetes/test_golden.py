"""Tests of whole pods against what was read and found right.

``python -m tests.support.golden_pods`` makes them anew.
"""

from __future__ import annotations

import pytest
import yaml

from tests.support.golden_pods import GOLDEN, cases, expected, given, made
from tests.support.valid_pods import faults


@pytest.mark.parametrize("name", cases())
def test_a_pod_becomes_what_it_became_before(name: str) -> None:
    """A change that is meant is seen in the diff of these files."""
    assert made(name) == expected(name).read_text()


@pytest.mark.parametrize("name", cases())
def test_golden_pods_are_pods(name: str) -> None:
    """Both what goes in and what comes out."""
    assert faults(given(name)) == []
    assert faults(yaml.safe_load(expected(name).read_text())) == []


def test_no_golden_file_is_left_over() -> None:
    """Of a case that has been taken away."""
    assert {path.name for path in GOLDEN.glob("*.injected.yaml")} == {expected(name).name for name in cases()}
