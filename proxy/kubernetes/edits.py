"""Changes to YAML as edits of its text: what is not changed stays byte for byte, comments and all.

Called by manifests.py.

The rules:

1. What is new goes behind what it follows, in the indentation of its neighbours. A comment stays with what stands below
   it, unless it is indented like what stands above.
2. A document with aliases has each written out first, since a change at the anchor would be one at each alias.
3. What comes out is read again. Should it not say what it was to say, the whole document is written anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from proxy.kubernetes.text import TAG, Loader, compose, in_line, key_of, read, value_of, write


def rewrite(text: str, wanted: Any) -> str:
    """``text``, one document, with the fewest changes that make it say ``wanted``. Raises yaml.MarkedYAMLError."""
    source = _without_aliases(text if text.endswith("\n") else text + "\n")
    root = compose(source)
    if root is not None:
        changed = _Editor(source).changed(root, wanted)
        if _says(changed, wanted):
            return changed
    return write(wanted)


def _says(text: str, wanted: Any) -> bool:
    try:
        return bool(read(text) == wanted)
    except yaml.YAMLError:
        return False


class _Edit(NamedTuple):
    start: int
    end: int
    text: str


class _Editor:
    """The edits of one text, in the order of their places; of those at one place, the inner ones first."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._indented = False  # sequences stand to the right of their key
        self._edits: list[_Edit] = []

    def changed(self, root: Node, wanted: Any) -> str:
        self._indented = self._is_indented(root)
        self._change(root, wanted, 0)
        done, parts = 0, []
        for edit in sorted(self._edits, key=lambda edit: edit.start):
            parts += [self._text[done : edit.start], edit.text]
            done = edit.end
        return "".join([*parts, self._text[done:]])

    def _is_indented(self, root: Node) -> bool:
        """As the first sequence is."""
        for node in _nodes(root, set()):
            for key, value in node.value if isinstance(node, MappingNode) else ():
                if isinstance(value, SequenceNode) and self._text[value.start_mark.index] == "-":
                    return bool(value.start_mark.column > key.start_mark.column)
        return False

    def _change(self, node: Node, new: Any, behind: int) -> None:
        """``behind``: where what stands before the node (its key) has ended."""
        old = value_of(node)
        if old == new:
            return
        if isinstance(node, MappingNode) and node.value and isinstance(new, Mapping) and old.keys() <= new.keys():
            self._mapping(node, old, new)
        elif isinstance(node, SequenceNode) and node.value and isinstance(new, list) and (ways := _aligned(old, new)):
            if node.flow_style:
                self._flow_sequence(node, new, ways)
            else:
                self._block_sequence(node, new, ways, behind)
        else:
            self._replace(node, new)

    def _mapping(self, node: MappingNode, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        said = {key_of(key): (key, value) for key, value in node.value if key.tag != f"{TAG}merge"}
        for name, (key, value) in said.items():
            self._change_entry(key, value, new[name])
        missing = {
            name: value for name, value in new.items() if name not in said and (name not in old or old[name] != value)
        }
        if not missing:
            return
        if node.flow_style:
            self._put(_end(node.value[-1][1]), f", {in_line(missing)[1:-1]}")
        else:
            column = node.value[0][0].start_mark.column
            self._put_lines(self._after(_end(node), column), write(missing, indented=self._indented), column)

    def _change_entry(self, key: Node, value: Node, new: Any) -> None:
        """A value of one line that becomes a block moves below its key."""
        empty = isinstance(value, ScalarNode) or not value.value
        if not empty or not isinstance(new, Mapping | list) or not new or self._in_flow(key):
            self._change(value, new, key.end_mark.index)
            return
        start, end = value.start_mark.index, value.end_mark.index
        start -= len(self._text[:start]) - len(self._text[:start].rstrip(" "))
        self._edits.append(_Edit(start, end, ""))
        step = 0 if isinstance(new, list) and not self._indented else 2
        self._put_lines(self._after(end), write(new, indented=self._indented), key.start_mark.column + step)

    def _block_sequence(self, node: SequenceNode, new: list[Any], ways: list[int | None], behind: int) -> None:
        column = self._dash(node)
        place = self._after(behind)
        for each, way in zip(new, ways, strict=True):
            if way is None:
                self._put_lines(place, write([each], indented=self._indented), column)
            else:
                item = node.value[way]
                self._change(item, each, item.start_mark.index)
                place = self._after(_end(item), column + 1)

    def _flow_sequence(self, node: SequenceNode, new: list[Any], ways: list[int | None]) -> None:
        place = node.value[0].start_mark.index
        for each, way in zip(new, ways, strict=True):
            if way is not None:
                self._change(node.value[way], each, place)
                place = _end(node.value[way])
            elif place == node.value[0].start_mark.index:
                self._put(place, f"{in_line(each)}, ")
            else:
                self._put(place, f", {in_line(each)}")

    def _replace(self, node: Node, new: Any) -> None:
        start, end = node.start_mark.index, _end(node)
        if isinstance(node, SequenceNode) and not node.flow_style:
            before = "  "  # dashes may stand below their key, brackets not
        else:
            before = " " if self._text[start - 1 : start] == ":" else ""  # of a key without a value
        after = "\n" if end > start and self._text[end - 1] == "\n" else ""
        self._edits.append(_Edit(start, end, before + in_line(new) + after))

    def _in_flow(self, key: Node) -> bool:
        """Whether the entry of ``key`` does not begin its line, as in braces."""
        start = key.start_mark.index
        before = self._text[self._text.rfind("\n", 0, start) + 1 : start]
        return before.strip(" -") != ""

    def _dash(self, node: SequenceNode) -> int:
        """The column of a block sequence's dashes."""
        start = node.start_mark.index
        if self._text[start] != "-":  # an anchor or a tag stands there
            start = self._text.rfind("-", 0, node.value[0].start_mark.index)
        return start - self._text.rfind("\n", 0, start) - 1

    def _after(self, end: int, column: int | None = None) -> int:
        """The start of the line after what has ended at ``end``, and after comments that are as deep as ``column``."""
        if end == 0 or self._text[end - 1] != "\n":
            end = self._text.index("\n", end) + 1
        comment = re.compile(rf" {{{column},}}#[^\n]*\n") if column is not None else None
        while comment is not None and (found := comment.match(self._text, end)):
            end = found.end()
        return end

    def _put(self, place: int, text: str) -> None:
        self._edits.append(_Edit(place, place, text))

    def _put_lines(self, place: int, text: str, column: int) -> None:
        lines = text.splitlines(keepends=True)
        self._put(place, "".join(line if line == "\n" else " " * column + line for line in lines))


def _end(node: Node) -> int:
    """Where the last thing in a node ends. A block itself ends where the next thing begins, behind its comments."""
    if isinstance(node, MappingNode | SequenceNode) and node.value and not node.flow_style:
        last = node.value[-1]
        return _end(last[1] if isinstance(node, MappingNode) else last)
    return int(node.end_mark.index)


def _aligned(old: list[Any], new: list[Any]) -> list[int | None] | None:
    """For each of ``new`` which of ``old`` it is, if all of these are there in their order."""
    if len(old) == len(new):
        return list(range(len(old)))
    ways: list[int | None] = []
    taken = 0
    for each in new:
        same = taken < len(old) and _is_same(old[taken], each)
        ways.append(taken if same else None)
        taken += same
    return ways if taken == len(old) else None


def _is_same(old: Any, new: Any) -> bool:
    """Of one name, by which the lists of a pod are known; or the same, with or without more in it."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        if isinstance(old.get("name"), str):
            return bool(old["name"] == new.get("name"))
        return old.keys() <= new.keys() and all(_is_same(value, new[key]) for key, value in old.items())
    if isinstance(old, list) and isinstance(new, list):
        rest = iter(new)
        return all(any(_is_same(each, other) for other in rest) for each in old)
    return bool(old == new)


# --- aliases ------------------------------------------------------------------------------------------


def _without_aliases(text: str) -> str:
    """Each alias as the value that it stands for, within its line."""
    if "*" not in text:
        return text
    for start, end, value in reversed(list(_aliases(text))):
        text = text[:start] + in_line(value) + text[end:]
    return text


def _aliases(text: str) -> Iterator[tuple[int, int, Any]]:
    """Where an alias stands, and what for."""
    root = compose(text)
    nodes = {} if root is None else {node.start_mark.index: node for node in _nodes(root, set())}  # the innermost each
    anchors: dict[str, Any] = {}
    event: Any
    for event in yaml.parse(text, Loader):
        if isinstance(event, yaml.AliasEvent):
            yield _index(event.start_mark), _index(event.end_mark), anchors[str(event.anchor)]
        elif isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            anchors[event.anchor] = value_of(nodes[_index(event.start_mark)])


def _index(mark: Any) -> int:
    """PyYAML says of no event that it has a place, and all have."""
    return int(mark.index)


def _nodes(node: Node, seen: set[Node]) -> Iterator[Node]:
    """Every node once, outer ones first."""
    if node in seen:
        return
    seen.add(node)
    yield node
    if isinstance(node, SequenceNode):
        for item in node.value:
            yield from _nodes(item, seen)
    if isinstance(node, MappingNode):
        for entry in node.value:
            for each in entry:
                yield from _nodes(each, seen)
