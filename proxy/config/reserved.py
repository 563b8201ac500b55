"""Keys and values that are reserved for later versions, and refused today.

Called by ``load.py`` before validation: nobody shall run a configuration that silently does less than it says.
A key that becomes available is deleted here and declared in ``schema.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Final, TypeAlias

from proxy.config.document import Mapping, Node, Scalar, display, walk
from proxy.config.problems import Mark, Problems

Path: TypeAlias = tuple[str, ...]
REFUSAL: Final = "not available in this version"
_SCOPES: Final[tuple[Path, ...]] = (("defaults",), ("apis", "*"), ("apis", "*", "routes", "*"))


def _any(node: Node) -> bool:
    del node
    return True


def _word(word: str) -> Callable[[Node], bool]:
    return lambda node: isinstance(node, Scalar) and node.value == word


_POLICY_KEYS: Final[tuple[tuple[Path, Callable[[Node], bool]], ...]] = (
    (("hedge",), _any),
    (("concurrency",), _any),
    (("fault",), _any),
    (("rate_limit", "learn"), _any),
    (("rate_limit", "store"), _word("shared")),
    (("timeout", "first_byte"), _word("adaptive")),
)
_REFUSED: Final[tuple[tuple[Path, Callable[[Node], bool]], ...]] = tuple(
    (scope + path, refused) for scope, (path, refused) in product(_SCOPES, _POLICY_KEYS)
)


def refuse(root: Mapping, problems: Problems) -> None:
    """Note every reserved key and value, and take it out of the tree."""
    for path, mark, node in walk(root):
        for pattern, refused in _REFUSED:
            if _fits(pattern, path) and refused(node):
                node.broken = True
                place, what, remedy = _said(refused, path[-1], mark, node)
                problems.add(place, ".".join(path), f"{what} is {REFUSAL}", remedy)


def _fits(pattern: Path, path: Path) -> bool:
    return len(pattern) == len(path) and all(part in ("*", key) for part, key in zip(pattern, path, strict=True))


def _said(refused: Callable[[Node], bool], key: str, mark: Mark, node: Node) -> tuple[Mark, str, str]:
    """A key is refused where it stands, a value where it does."""
    if refused is _any:
        return mark, repr(key), "remove it"
    return node.mark, display(node), "remove it, or choose another value"
