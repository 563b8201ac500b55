"""YAML as kubectl reads it: text to plain values, and back.

Called by edits.py and manifests.py. The grammar is YAML 1.1, in which ``yes`` is true; what is written means the same
in YAML 1.2.
"""

from __future__ import annotations

import re
from typing import Any, Final

import yaml
from yaml.composer import ComposerError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

try:
    from yaml import CSafeLoader as SafeLoader  # much faster
except ImportError:  # PyYAML was built without libyaml
    from yaml import SafeLoader  # type: ignore[assignment]

TAG: Final = "tag:yaml.org,2002:"
DEEPEST: Final = 100
_MOST_AGAIN: Final = 100_000  # values in one document that aliases repeat
_WIDE: Final = 1 << 30  # columns: no line is folded
_AMBIGUOUS: Final = re.compile(r"[yYnN]|[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?|0o[0-7]+")
"""Text by PyYAML's reading, and not by all others'."""


class Loader(SafeLoader):
    """Knows the scalars that Kubernetes knows: a date is text."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag not in {f"{TAG}timestamp", f"{TAG}value"}]
    for first, found in SafeLoader.yaml_implicit_resolvers.items()
}


# --- reading ------------------------------------------------------------------------------------------


def read(text: str) -> Any:
    """What the one document in ``text`` says, in dicts, lists and scalars. Raises yaml.MarkedYAMLError."""
    node = compose(text)
    return None if node is None else value_of(node)


def compose(text: str) -> Node | None:
    """The root of the one document in ``text``, with the place of everything. Raises yaml.MarkedYAMLError."""
    loader = Loader(text)
    try:
        node: Node | None = loader.get_single_node()
    finally:
        loader.dispose()
    return node


def value_of(node: Node) -> Any:
    """What a node says. Raises ComposerError if it says a thing twice, or is beyond measure."""
    return _Reader().value(node)


class _Reader:
    """Nodes to values, as long as they are not too many."""

    def __init__(self) -> None:
        self._seen: set[Node] = set()
        self._left = _MOST_AGAIN

    def value(self, node: Node, depth: int = 0) -> Any:
        self._left -= node in self._seen
        self._seen.add(node)
        if depth > DEEPEST or self._left < 0:
            raise ComposerError(None, None, "this is too deep or too much for a manifest", node.start_mark)
        if isinstance(node, MappingNode):
            return self._mapping(node, depth)
        if isinstance(node, SequenceNode):
            return [self.value(item, depth + 1) for item in node.value]
        return _scalar(node)

    def _mapping(self, node: MappingNode, depth: int) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key, value in node.value:
            if key.tag == f"{TAG}merge":
                found = self.value(value, depth + 1)
                for each in reversed(found if isinstance(found, list) else [found]):
                    merged |= each if isinstance(each, dict) else {}
            else:
                name = key_of(key)
                if name in own:
                    raise ComposerError(None, None, f"the key {name!r} is there twice", key.start_mark)
                own[name] = self.value(value, depth + 1)
        return {**merged, **own}


def key_of(node: Node) -> str:
    """The text of a key."""
    if not isinstance(node, ScalarNode):
        raise ComposerError(None, None, "a key is no text", node.start_mark)
    return str(node.value)


def _scalar(node: Node) -> Any:
    text = str(node.value)
    match node.tag.removeprefix(TAG):
        case "null":
            return None
        case "bool":
            return text.lower() in {"true", "yes", "on"}
        case "int" | "float" as kind if ":" not in text:  # 12:30 is a time of day, and no number to Go
            return _number(text.replace("_", ""), kind)
        case _:
            return text


def _number(text: str, kind: str) -> int | float:
    if kind == "float":
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    sign, digits = (text[0], text[1:]) if text[0] in "+-" else ("", text)
    octal = digits.startswith("0") and digits.isdigit()
    return int(sign + digits, 8 if octal else 0)


# --- writing ------------------------------------------------------------------------------------------


class _Dumper(yaml.SafeDumper):
    """As a person would write it."""

    indented = False  # sequences below their key

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: FBT001, FBT002 -- PyYAML's
        super().increase_indent(flow, indentless and not self.indented)

    def choose_scalar_style(self) -> str:
        style = str(super().choose_scalar_style())
        text = self.analysis.scalar if self.analysis else ""
        return '"' if style == "'" and '"' not in text else style

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 -- PyYAML's
        return True


class _Indented(_Dumper):
    indented = True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> ScalarNode:
    style = "|" if "\n" in text else '"' if _AMBIGUOUS.fullmatch(text) else None
    return dumper.represent_scalar(f"{TAG}str", text, style=style)


_Dumper.add_representer(str, _represent_text)
_Indented.add_representer(str, _represent_text)


def write(value: Any, *, indented: bool = False) -> str:
    """``value`` as a document of its own, with a line end."""
    return _dump(value, _Indented if indented else _Dumper, flow=False)


def in_line(value: Any) -> str:
    """``value`` in flow style, for a place within a line."""
    return _dump([value], _Dumper, flow=True).strip()[1:-1]


def _dump(value: Any, dumper: type[_Dumper], *, flow: bool) -> str:
    return str(
        yaml.dump(value, Dumper=dumper, default_flow_style=flow, sort_keys=False, width=_WIDE, allow_unicode=True)
    )
