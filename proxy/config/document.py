"""YAML with the place of every key and value: text in, a tree of nodes out.

Called by ``load.py``. YAML 1.2's core schema, not PyYAML's 1.1: ``on``, ``off``, ``yes``, ``no`` and ``12:30``
are text, ``010`` is ten. Anchors and merge keys work; what aliases expand to is bounded, as is the depth.
A mistake is noted in ``Problems``, and reading goes on where it can.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias, assert_never

import yaml
from yaml.composer import Composer
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from proxy.config.problems import Mark, Problems

MAX_BYTES: Final = 4 << 20
MAX_DEPTH: Final = 50
MAX_NODES: Final = 100_000
_TAG: Final = "tag:yaml.org,2002:"
# YAML 1.2.2, section 10.3.2: the core schema, in the order of its table.
_CORE_SCHEMA: Final = (
    ("null", re.compile("~|null|Null|NULL|")),
    ("bool", re.compile("true|True|TRUE|false|False|FALSE")),
    ("int", re.compile("[-+]?[0-9]{1,18}|0o[0-7]{1,20}|0x[0-9a-fA-F]{1,15}")),
    (
        "float",
        re.compile(r"[-+]?(?:\.[0-9]{1,30}|[0-9]{1,30}(?:\.[0-9]{0,30})?)(?:[eE][-+]?[0-9]{1,3})?|[-+]?\.inf|\.nan"),
    ),
)
_REMEDIES: Final = (
    ("'\\t'", "indent with spaces, not with tabs"),
    ("cannot start any token", "put the value in quotes"),
    ("mapping values are not allowed", "check the indentation, and put a value that contains ': ' in quotes"),
    ("could not find expected ':'", "write 'key: value', with a space after the colon"),
    ("undefined alias", "define the anchor (&name) before its alias (*name)"),
    ("found unexpected end of stream", "close the quote"),
)


@dataclass(slots=True)
class Scalar:
    """A single value, as YAML resolves it; ``shown`` is its masked text if it was made from a secret."""

    value: str | int | float | bool | None
    mark: Mark
    shown: str | None = None
    broken: bool = False


@dataclass(slots=True)
class Sequence:
    """A list."""

    items: list[Node]
    mark: Mark
    broken: bool = False


class Entry(NamedTuple):
    """The value of a key, and the place of the key."""

    key: Mark
    node: Node


@dataclass(slots=True)
class Mapping:
    """Keys and values, in order."""

    mark: Mark
    entries: dict[str, Entry] = field(default_factory=dict)
    broken: bool = False


Node: TypeAlias = Scalar | Sequence | Mapping


def plain(node: Node) -> Any:
    """The data of a node without its places, and without what is known to be broken."""
    match node:
        case Scalar():
            return node.value
        case Sequence():
            return [plain(item) for item in node.items if not item.broken]
        case Mapping():
            return {key: plain(entry.node) for key, entry in node.entries.items() if not entry.node.broken}
        case _:
            assert_never(node)


def display(node: Node) -> str:
    """How a message shows a node; secrets stay masked."""
    match node:
        case Scalar():
            text = node.shown if node.shown is not None else _yaml_text(node.value)
            return repr(text if len(text) <= 60 else text[:57] + "...") if text else "an empty value"
        case Sequence():
            return "a list"
        case Mapping():
            return "a mapping"
        case _:
            assert_never(node)


def _yaml_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


def walk(node: Node, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Mark, Node]]:
    """Every node below ``node`` with its path and the place of its key, less what is broken."""
    children: list[tuple[str, Mark, Node]] = []
    if isinstance(node, Mapping):
        children = [(key, entry.key, entry.node) for key, entry in node.entries.items()]
    elif isinstance(node, Sequence):
        children = [(str(index), item.mark, item) for index, item in enumerate(node.items)]
    for key, mark, child in children:
        if not child.broken:
            yield (*path, key), mark, child
            yield from walk(child, (*path, key))


def has_broken(node: Node) -> bool:
    """Whether a mistake has been found in a node or below it."""
    match node:
        case Scalar():
            return node.broken
        case Sequence():
            return node.broken or any(has_broken(item) for item in node.items)
        case Mapping():
            return node.broken or any(has_broken(entry.node) for entry in node.entries.values())
        case _:
            assert_never(node)


def resolve(text: str) -> str:
    """The kind of a plain scalar under the core schema: null, bool, int, float or str."""
    return next((kind for kind, pattern in _CORE_SCHEMA if pattern.fullmatch(text)), "str")


def read(data: bytes, file: str, problems: Problems) -> list[Mapping]:
    """The documents of a file, an empty one if it says nothing; mistakes go to ``problems``, never raised."""
    text = _decode(data, file, problems)
    if text is None:
        return []
    builder = _Builder(file, problems)
    nodes = _compose(text, file, problems)
    found = [root for node in nodes if (root := builder.root(node)) is not None]
    return found or [Mapping(Mark(file, 1, 1))]


def _compose(text: str, file: str, problems: Problems) -> list[yaml.Node]:
    composed: list[yaml.Node] = []
    try:
        loader = _Loader(text)
        while loader.check_node():
            composed += filter(None, [loader.get_node()])
    except yaml.MarkedYAMLError as error:
        _syntax(error, file, problems)
    except yaml.reader.ReaderError as error:
        _unprintable(error, text, file, problems)
    except (ValueError, OverflowError):  # PyYAML does not guard \U escapes and %YAML directives
        problems.add(Mark(file, 1, 1), "", "this is not valid YAML", "check escapes (\\U) and directives (%YAML)")
    return composed


def _decode(data: bytes, file: str, problems: Problems) -> str | None:
    if len(data) > MAX_BYTES:
        problems.add(
            Mark(file, 1, 1), "", "the file is larger than 4 MiB", "split it, or check that it is the right file"
        )
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        head = data[: error.start]
        place = Mark(file, head.count(b"\n") + 1, error.start - (head.rfind(b"\n") + 1) + 1)
        problems.add(place, "", "the file is not UTF-8", "save it as UTF-8")
        return None


def _syntax(error: yaml.MarkedYAMLError, file: str, problems: Problems) -> None:
    message = error.problem or "this is not valid YAML"
    place = error.problem_mark or error.context_mark
    mark = Mark(file, 1, 1) if place is None else _mark(file, place)
    remedy = next(
        (remedy for part, remedy in _REMEDIES if part in message), "check indentation, quotes and colons near here"
    )
    problems.add(mark, "", message, remedy)


def _unprintable(error: yaml.reader.ReaderError, text: str, file: str, problems: Problems) -> None:
    head = text[: error.position]
    place = Mark(file, head.count("\n") + 1, error.position - (head.rfind("\n") + 1) + 1)
    problems.add(
        place, "", "a control character is not allowed here", "remove it, or write it as an escape in double quotes"
    )


def _mark(file: str, mark: Any) -> Mark:
    return Mark(file, mark.line + 1, mark.column + 1)


class _Loader(Reader, Scanner, Parser, Composer, BaseResolver):
    """PyYAML up to its composer, with the core schema of YAML 1.2 and a bounded depth."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)
        self._depth = 0

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode:
            return _TAG + (resolve(value) if implicit[0] else "str")
        return _TAG + ("seq" if kind is yaml.SequenceNode else "map")

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            place = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, f"nested deeper than {MAX_DEPTH} levels", place)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Builder:
    """Turns PyYAML's nodes into ours: merge keys applied, duplicate keys and foreign tags refused."""

    def __init__(self, file: str, problems: Problems) -> None:
        self._file = file
        self._problems = problems
        self._left = MAX_NODES
        self._open: set[int] = set()  # nodes under construction: an alias to one of them has no end

    def root(self, node: yaml.Node) -> Mapping | None:
        """The mapping that a document is; None, and a problem unless it is empty, if it is none."""
        if isinstance(node, yaml.ScalarNode) and node.value == "" and node.style is None:
            return None
        built = self._build(node, ())
        if isinstance(built, Mapping):
            return built
        if not built.broken:
            self._add(node, (), "the document is not a mapping", "start with keys such as 'version: 1'")
        return None

    def _add(self, node: yaml.Node, path: tuple[str, ...], message: str, remedy: str) -> None:
        self._problems.add(_mark(self._file, node.start_mark), ".".join(path), message, remedy)

    def _build(self, node: yaml.Node, path: tuple[str, ...]) -> Node:
        self._left -= 1
        if self._left < 0 or id(node) in self._open:
            return self._endless(node, path)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if node.tag not in {_TAG + "seq", _TAG + "map"}:
            self._add(node, path, f"the tag {node.tag!r} does not fit here", "remove the tag")
            return Scalar(None, _mark(self._file, node.start_mark), broken=True)
        self._open.add(id(node))
        try:
            return self._sequence(node, path) if isinstance(node, yaml.SequenceNode) else self._mapping(node, path)
        finally:
            self._open.discard(id(node))

    def _endless(self, node: yaml.Node, path: tuple[str, ...]) -> Node:
        if self._left >= 0:
            self._add(node, path, "an alias contains itself", "remove the alias from its own anchor")
        elif self._left == -1:
            self._add(node, path, f"the file expands to more than {MAX_NODES} values", "use fewer aliases")
        return Scalar(None, _mark(self._file, node.start_mark), broken=True)

    def _scalar(self, node: yaml.ScalarNode, path: tuple[str, ...]) -> Scalar:
        mark = _mark(self._file, node.start_mark)
        kind = node.tag.removeprefix(_TAG)
        if kind not in {"str", resolve(node.value)}:
            self._add(node, path, f"the tag {node.tag!r} does not fit here", "remove the tag")
            return Scalar(None, mark, broken=True)
        if not _is_text(node.value):
            self._add(node, path, "half of a surrogate pair is no text", r"write the character itself, or \U0001F600")
            return Scalar(None, mark, broken=True)
        return Scalar(_construct(kind, node.value), mark)

    def _sequence(self, node: yaml.SequenceNode, path: tuple[str, ...]) -> Sequence:
        items = [self._build(item, (*path, str(index))) for index, item in enumerate(node.value)]
        return Sequence(items, _mark(self._file, node.start_mark))

    def _mapping(self, node: yaml.Node, path: tuple[str, ...]) -> Mapping:
        mapping = Mapping(_mark(self._file, node.start_mark))
        merged: list[Entry] = []
        for key_node, value_node in node.value:
            self._entry(mapping, merged, key_node, value_node, path)
        for entry in merged:  # what the mapping says itself comes first, then the merged ones in their order
            if isinstance(entry.node, Mapping):
                for key, inherited in entry.node.entries.items():
                    mapping.entries.setdefault(key, inherited)
        return mapping

    def _entry(
        self, mapping: Mapping, merged: list[Entry], key_node: yaml.Node, value_node: yaml.Node, path: tuple[str, ...]
    ) -> None:
        if not isinstance(key_node, yaml.ScalarNode) or not key_node.value or not _is_text(key_node.value):
            self._add(key_node, path, "a key has to be a word", "write 'key: value'")
            return
        key, place = key_node.value, _mark(self._file, key_node.start_mark)
        if key == "<<" and key_node.style is None:
            merged.extend(self._merge(place, value_node, path))
            return
        if (first := mapping.entries.get(key)) is not None:
            message = f"{key!r} is given twice, first in line {first.key.line}"
            self._add(key_node, (*path, key), message, "keep one of the two")
            return
        mapping.entries[key] = Entry(place, self._build(value_node, (*path, key)))

    def _merge(self, place: Mark, node: yaml.Node, path: tuple[str, ...]) -> list[Entry]:
        """The mappings that a merge key names (https://yaml.org/type/merge.html)."""
        built = self._build(node, path)
        sources = built.items if isinstance(built, Sequence) else [built]
        if not all(isinstance(source, Mapping) or source.broken for source in sources):
            self._add(node, path, "'<<' takes an alias of a mapping, or a list of them", "write <<: *name")
        return [Entry(place, source) for source in sources]


def _is_text(value: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in value)


def _construct(kind: str, text: str) -> str | int | float | bool | None:
    match kind:
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            return int(text, 0) if text[:2] in {"0o", "0x"} else int(text)
        case "float":
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        case _:
            return text
