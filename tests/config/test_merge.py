"""Trees put together: files combined as equals, policies laid over one another."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.config.document import Mapping, plain, read
from proxy.config.merge import combine, overlay
from proxy.config.problems import Problems


def tree(text: str, file: str = "f") -> Mapping:
    (root,) = read(text.encode(), file, Problems())
    return root


def test_files_are_merged_deeply() -> None:
    """One file may add an api, or a key of an api, to what another says."""
    problems = Problems()
    combined = combine([tree("apis: {a: {url: x}}"), tree("apis: {a: {mount: /a}, b: {url: y}}\nlog: {}")], problems)
    assert plain(combined) == {"apis": {"a": {"url": "x", "mount": "/a"}, "b": {"url": "y"}}, "log": {}}
    assert not problems


@pytest.mark.parametrize("second", ["a: {b: 1}", "a: {b: 2}", "a: {b: [1]}", "a: {b: {c: 1}}", "a: 1"])
def test_what_two_files_give_is_a_mistake(second: str) -> None:
    """Neither file has precedence, so that both places are named."""
    problems = Problems()
    combine([tree("a:\n  b: 1", "one"), tree(second, "two")], problems)
    assert "is already given at one:" in str(problems.error([]))
    assert str(problems.error([])).startswith("two:1:")


def test_every_file_may_state_the_version() -> None:
    """The same version is no contradiction; another one is."""
    problems = Problems()
    combine([tree("version: 1"), tree("version: 1")], problems)
    assert not problems
    combine([tree("version: 1"), tree("version: 2")], problems)
    assert problems


def test_extension_keys_hold_anchors() -> None:
    """A key such as x-common means nothing by itself."""
    combined = combine([tree("x-common: &c {total: 1s}\ndefaults: {timeout: *c}")], Problems())
    assert plain(combined) == {"defaults": {"timeout": {"total": "1s"}}}


def test_files_that_share_an_anchor_do_not_share_changes() -> None:
    """Merging into one place of an anchor leaves the other as it was."""
    combined = combine([tree("a: &x {k: {l: 1}}\nb: *x"), tree("a: {k: {m: 2}}")], Problems())
    assert plain(combined) == {"a": {"k": {"l": 1, "m": 2}}, "b": {"k": {"l": 1}}}


@pytest.mark.parametrize(
    ("base", "top", "result"),
    [
        ("{a: 1, b: 2}", "{b: 3, c: 4}", {"a": 1, "b": 3, "c": 4}),
        ("{a: {b: 1, c: 2}}", "{a: {c: 3}}", {"a": {"b": 1, "c": 3}}),
        ("{a: [1, 2]}", "{a: [3]}", {"a": [3]}),
        ("{a: {b: 1}}", "{a: off}", {"a": "off"}),
        ("{a: off}", "{a: {b: 1}}", {"a": {"b": 1}}),
        ("{a: {b: 1}}", "{a: {}}", {"a": {"b": 1}}),
    ],
)
def test_policies_are_laid_over_key_by_key(base: str, top: str, result: dict[str, Any]) -> None:
    """Mappings merge, lists and scalars replace, off removes, and {} keeps what is there."""
    assert plain(overlay(tree(base), tree(top))) == result


def test_an_overlay_keeps_the_place_of_each_setting() -> None:
    """Explaining a setting takes the line that set it."""
    laid = overlay(tree("a: 1\nb: 2", "defaults"), tree("b: 3", "api"))
    assert isinstance(laid, Mapping)
    assert [str(entry.key) for entry in laid.entries.values()] == ["defaults:1", "api:1"]
