"""proxy/kubernetes/text.py: YAML as kubectl reads it, and what is written for it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from proxy.kubernetes.text import in_line, read, write

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(min_size=1, max_size=4), inner, max_size=2),
    max_leaves=4,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("off", False),
        ("~", None),
        ("0644", 420),
        ("0x1F", 31),
        ("-12", -12),
        ("1_000", 1000),
        ("1.5", 1.5),
        (".inf", float("inf")),
        ("12:30", "12:30"),
        ("2026-11-30", "2026-11-30"),
        ("=", "="),
        ("'1'", "1"),
        ("!vault secret", "secret"),
        ("50m", "50m"),
    ],
)
def test_scalars_mean_what_kubectl_takes_them_for(text: str, value: Any) -> None:
    """YAML 1.1 without its dates and times of day."""
    assert read(text) == value
    assert type(read(text)) is type(value)


def test_what_is_merged_stands_behind_what_is_said() -> None:
    """Merge keys, of one mapping and of several: the first of them wins, and what is said itself before all."""
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], x: 3}\nd: {<<: *b}\n"
    assert read(text)["c"] == {"x": 3, "y": 1, "z": 2}
    assert read(text)["d"] == {"y": 2, "z": 2}


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\na: 2\n",
        "a: 1\n b: 2\n",
        "? [1]\n: 2\n",
        "a: &a [*a]\n",
        "a: *nowhere\n",
        "[" * 200 + "]" * 200,
        "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 30)),
    ],
    ids=["twice", "indentation", "key", "in itself", "no anchor", "deep", "a billion"],
)
def test_what_is_no_manifest_is_refused(text: str) -> None:
    """With its place; neither depth nor a few lines that stand for millions take the process with them."""
    with pytest.raises(yaml.MarkedYAMLError) as raised:
        read(text)
    assert raised.value.problem_mark is not None


@settings(deadline=None)
@given(JSON)
def test_what_is_written_is_read_alike_by_everybody(value: Any) -> None:
    """By us, and by a reader of YAML 1.2, below a key and within a line."""
    for text in (write({"key": value}), write({"key": value}, indented=True), f"key: {in_line(value)}\n"):
        assert read(text) == {"key": value}
        assert YAML(typ="safe", pure=True).load(text) == {"key": value}


@pytest.mark.parametrize("text", ["y", "N", "yes", "off", "1e3", "12e4", "0o17", "017", "1_0", ".5", "null", "12:30"])
def test_text_that_others_may_misread_is_quoted(text: str) -> None:
    """PyYAML and Go do not agree on what a number is, or a yes."""
    assert in_line(text) == f'"{text}"'


def test_lines_are_written_as_lines() -> None:
    """A file in an annotation stays readable, and long lines are not folded."""
    assert write({"a": f"x: 1\n\n  y: {'z' * 200} z\n"}) == f"a: |\n  x: 1\n\n    y: {'z' * 200} z\n"
    assert write({"a": [{"b": 1}]}) == "a:\n- b: 1\n"
    assert write({"a": [{"b": 1}]}, indented=True) == "a:\n  - b: 1\n"
