"""How trees are put together: several files into one configuration, and policies laid over one another.

Called by ``load.py``. Files *combine*: mappings merge, and what two of them set is a mistake, since neither
has precedence. Policies *overlay*: ``defaults``, then the api, then the route, key by key; the later wins,
lists and scalars replace, and ``off`` removes a policy.
"""

from __future__ import annotations

from collections.abc import Iterable

from proxy.config.document import Entry, Mapping, Node, Scalar
from proxy.config.problems import Mark, Problems


def combine(roots: Iterable[Mapping], problems: Problems) -> Mapping:
    """One tree from the documents of all files; a value that two of them give goes to ``problems``.

    Top-level keys that begin with ``x-`` are a place for anchors, and mean nothing.
    """
    combined = Mapping(Mark("", 1, 1))
    for root in roots:
        if not combined.mark.file:
            combined.mark = root.mark
        _combine_into(combined, root, (), problems)
    combined.entries = {key: entry for key, entry in combined.entries.items() if not key.startswith("x-")}
    return combined


def _combine_into(target: Mapping, source: Mapping, path: tuple[str, ...], problems: Problems) -> None:
    for key, entry in source.entries.items():
        first = target.entries.get(key)
        here = (*path, key)
        if first is None:
            target.entries[key] = Entry(entry.key, _copy(entry.node))
        elif isinstance(first.node, Mapping) and isinstance(entry.node, Mapping):
            _combine_into(first.node, entry.node, here, problems)
        elif not _agree(here, first.node, entry.node):
            message = f"{key!r} is already given at {first.key}"
            problems.add(entry.key, ".".join(here), message, "keep one of the two: no file goes before another")


def _copy(node: Node) -> Node:
    """Mappings are copied, since they are merged into; an anchor may share one among several places."""
    if not isinstance(node, Mapping):
        return node
    entries = {key: Entry(entry.key, _copy(entry.node)) for key, entry in node.entries.items()}
    return Mapping(node.mark, entries, broken=node.broken)


def _agree(path: tuple[str, ...], first: Node, second: Node) -> bool:
    """Every file may state the version."""
    return (
        path == ("version",)
        and isinstance(first, Scalar)
        and isinstance(second, Scalar)
        and first.value == second.value
    )


def overlay(base: Node | None, top: Node) -> Node:
    """``top`` laid over ``base``: mappings key by key, anything else replaces."""
    if not isinstance(base, Mapping) or not isinstance(top, Mapping):
        return top
    entries = dict(base.entries)
    for key, entry in top.entries.items():
        below = entries.get(key)
        entries[key] = Entry(entry.key, overlay(below.node if below else None, entry.node))
    return Mapping(top.mark, entries)
