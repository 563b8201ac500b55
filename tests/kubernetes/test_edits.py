"""proxy/kubernetes/edits.py: what is not changed stays as it was written."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.kubernetes.edits import rewrite
from proxy.kubernetes.text import read


def edited(text: str, **changes: Any) -> str:
    """``text`` with other values at its top."""
    wanted = read(text) | changes
    changed = rewrite(text, wanted)
    assert read(changed) == wanted
    return changed


@pytest.mark.parametrize(
    ("text", "changes", "expected"),
    [
        ("a: 1  # one\n", {"b": {"c": "d"}}, "a: 1  # one\nb:\n  c: d\n"),
        ("a: 0x10\nb:   'x'\n", {"b": "z"}, "a: 0x10\nb:   z\n"),
        ("a: # none yet\nb: 1\n", {"a": {"x": "z"}}, "a: # none yet\n  x: z\nb: 1\n"),
        ("a: {}  # none\n", {"a": {"x": "p\nq\n"}}, "a:  # none\n  x: |\n    p\n    q\n"),
        ("a: []\nb: 1\n", {"a": [{"x": 1}]}, "a:\n- x: 1\nb: 1\n"),
        ("a: {x: 1} # c\n", {"a": {"x": 1, "z": "2"}}, 'a: {x: 1, z: "2"} # c\n'),
        ("a: {x: {}}\n", {"a": {"x": {"z": 1}}}, "a: {x: {z: 1}}\n"),
        ("a: [1, # one\n  2]\n", {"a": [0, 1, 2, 3]}, "a: [0, 1, # one\n  2, 3]\n"),
        ("a: null", {"a": True}, "a: true\n"),
        ("a:\nb: 1\n", {"a": 5}, "a: 5\nb: 1\n"),
        ("a: |\n  x\n\nb: 1\n", {"a": 5}, "a: 5\nb: 1\n"),
        ("a: |+\n  x\n\n", {"b": 1}, "a: |+\n  x\n\nb: 1\n"),
        ("a: [1]\n", {"a": [2]}, "a: [2]\n"),
        ("a:\n- 1  # one\n- 2\nb: 1\n", {"a": [3, 2]}, "a:\n- 3  # one\n- 2\nb: 1\n"),
        ("a:\n- 1  # one\n- 2\nb: 1\n", {"a": [3]}, "a:\n  [3]\nb: 1\n"),  # less than before
        ("---\na: 1\n...\n", {"b": 2}, "---\na: 1\nb: 2\n...\n"),
    ],
)
def test_a_change_is_made_where_it_belongs(text: str, changes: dict[str, Any], expected: str) -> None:
    """Beside comments, in the style of what is there; what is not changed stays as it is."""
    assert edited(text, **changes) == expected


CONTAINERS = """\
containers:
  # the agent
  - name: agent
    env: []
    # of the agent
  # the other
  - name: other
    image: "o"   # pinned
  # no more of them
# of what follows
volumes: []
"""


def test_items_go_between_the_comments_of_others() -> None:
    """A comment above an item stays with it; one that is indented like an item's content, with that one."""
    first, last = {"name": "first"}, {"name": "last"}
    agent = {"name": "agent", "env": [{"name": "A", "value": "1"}], "image": "x"}
    changed = edited(CONTAINERS, containers=[first, agent, {"name": "between"}, {"name": "other", "image": "o"}, last])
    assert changed == (
        "containers:\n  - name: first\n  # the agent\n  - name: agent\n"
        '    env:\n      - name: A\n        value: "1"\n    # of the agent\n    image: x\n  - name: between\n'
        '  # the other\n  - name: other\n    image: "o"   # pinned\n  - name: last\n  # no more of them\n'
        "# of what follows\nvolumes: []\n"
    )


def test_what_has_no_name_is_known_by_what_is_in_it() -> None:
    """Also where it gets more itself, while its list does."""
    text = "a:\n- null  # nothing\n- []\n- - 1  # one\n"
    assert edited(text, a=[0, None, [2], [1, 3]]) == "a:\n- 0\n- null  # nothing\n- [2]\n- - 1  # one\n  - 3\n"


def test_an_alias_is_written_out_before_something_changes_at_its_anchor() -> None:
    """Else what is added to one container would be added to the other, too."""
    text = "x: &x\n- {name: A}\ny: *x # same\nz: {<<: &m {p: 1}, q: 2}\nw:\n  <<: *m\n"
    changed = edited(text, x=[{"name": "A"}, {"name": "B"}], w={"p": 1, "r": 3})
    assert changed == (
        "x: &x\n- {name: A}\n- name: B\ny: [{name: A}] # same\nz: {<<: &m {p: 1}, q: 2}\nw:\n  <<: {p: 1}\n  r: 3\n"
    )


def test_anchors_are_of_what_is_behind_them() -> None:
    """A key, a list, the first key of the first item of it: they begin at one place, and are not one thing."""
    text = "a: &a 1\nb: *a\n&b c: &c\n- &d d: 2\nf: [*a, *b, *c, *d]\n"
    assert edited(text, new=1) == "a: &a 1\nb: 1\n&b c: &c\n- &d d: 2\nf: [1, c, [{d: 2}], d]\nnew: 1\n"


def test_what_is_merged_can_be_overruled() -> None:
    """A key that only a merge has is said anew, beside it."""
    text = "base: &b {env: [1]}\na:\n  <<: *b\n  x: 1\n"
    assert edited(text, a={"env": [1, 2], "x": 1}).endswith("a:\n  <<: {env: [1]}\n  x: 1\n  env:\n  - 1\n  - 2\n")


def test_a_document_of_nothing_becomes_what_it_shall_say() -> None:
    """As does one from which something is to go, for which there is no edit."""
    assert rewrite("# nothing\n", {"a": 1}) == "a: 1\n"
    assert rewrite("a: 1  # gone\nb: 2\n", {"b": 2}) == "{b: 2}\n"
    assert rewrite("? |\n  a\n: 1  # an odd key\n", {"a\n": 1, "b": 2}) == "? |\n  a\n: 1\nb: 2\n"


# --- anything at all --------------------------------------------------------------------------------------

KEYS = st.sampled_from(["a", "name", "x: y", "yes", "1", "# no", "é", "two  spaces", "-"])
SCALARS = st.sampled_from([None, True, 7, "a", "yes", "1", "# no", "", "p\nq\n"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=2),
    max_leaves=6,
)
OBJECTS = st.dictionaries(KEYS, VALUES, min_size=1, max_size=3)
STYLES = st.tuples(st.sampled_from([None, True, False]), st.sampled_from([2, 4]), st.booleans())


def grown(value: Any, more: Iterator[Any]) -> Any:
    """``value`` with more in it, as injection makes it: nothing is taken away, and no scalar is changed.

    What is the first item of an item has that one's dash before it, on its line: nothing goes between the two.
    """
    if isinstance(value, dict):
        added = {f"new {index}": each for index, each in enumerate(islice(more, 1))}
        return {key: grown(each, more) for key, each in value.items()} | added
    if isinstance(value, list):
        return [*islice(more, 1), *(_appended(grown(each, more), each) for each in value), *islice(more, 1)]
    return value


def _appended(grown: Any, value: Any) -> Any:
    """A list in a list, with what was put before it behind it."""
    if not (isinstance(value, list) and value and len(grown) > len(value)):
        return grown
    return [*grown[1:], grown[0]]


def written(value: Any, style: tuple[bool | None, int, bool]) -> str:
    """In one of the styles that people write, with comments where there can be some."""
    flow, indent, is_commented = style
    text = yaml.safe_dump(value, default_flow_style=flow, allow_unicode=True, indent=indent, width=1000)
    commented = "".join(f"{line}  # a comment\n" for line in text.splitlines())
    return commented if is_commented and _says(commented, value) else text


def _says(text: str, value: Any) -> bool:
    try:
        return bool(read(text) == value)
    except yaml.YAMLError:
        return False


@settings(deadline=None)
@example({"a": [None, []]}, [None, None, None], (None, 2, False))
@given(OBJECTS, st.lists(VALUES, max_size=6), STYLES)
def test_what_is_added_takes_nothing_away(value: Any, more: list[Any], style: tuple[bool | None, int, bool]) -> None:
    """In any style, every line stays, but for those with brackets that get a content; the same again is none."""
    text, wanted = written(value, style), grown(value, iter(more))
    changed = rewrite(text, wanted)
    assert read(changed) == wanted
    assert rewrite(changed, wanted) == changed
    left = iter(changed.splitlines())
    assert [line for line in text.splitlines() if not {*"[]{}"} & {*line} and line not in left] == []


@settings(deadline=None)
@given(OBJECTS, OBJECTS, STYLES)
def test_any_change_comes_true(value: Any, wanted: Any, style: tuple[bool | None, int, bool]) -> None:
    """Also one that takes away, and makes another thing of something."""
    changed = rewrite(written(value, style), value | wanted)
    assert read(changed) == value | wanted
    assert rewrite(changed, value | wanted) == changed
