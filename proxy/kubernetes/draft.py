"""A pod while it is changed: each change is noted as an operation of JSON Patch (RFC 6902), and seen by the next.

Used by inject.py and what it is made of. The pod that is given is left alone.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, TypeAlias

from proxy.kubernetes.model import Operation

Step: TypeAlias = str | int


class Draft:
    """Changes of ``pod``, in the order in which they apply. ``null`` counts as absent, as it does for Kubernetes."""

    def __init__(self, pod: dict[str, Any]) -> None:
        self._pod = deepcopy(pod)
        self._operations: list[Operation] = []

    def __repr__(self) -> str:
        return f"<Draft of {len(self._operations)} operations>"

    @property
    def operations(self) -> tuple[Operation, ...]:
        """What has been changed so far."""
        return tuple(self._operations)

    def get(self, *path: Step) -> Any:
        """What is there now, or None."""
        found: Any = self._pod
        for step in path:
            if found is None:
                return None
            found = found[step] if isinstance(step, int) else found.get(step)
        return found

    def put(self, *path: Step, value: Any) -> None:
        """Set a key of a mapping, or an item of a list, that may have been there; mappings on its way are made."""
        *above, last = path
        parent = self._mapping(tuple(above)) if isinstance(last, str) else self.get(*above)
        there = last in parent if isinstance(last, str) else True
        parent[last] = deepcopy(value)
        self._note("replace" if there else "add", path, value)

    def insert(self, *path: Step, index: int, value: Any) -> None:
        """Put an item into a list before the ``index``-th; the list is made if there is none."""
        items = self._list(path)
        items.insert(index, deepcopy(value))
        self._note("add", (*path, index), value)

    def append(self, *path: Step, value: Any) -> None:
        """Put an item at the end of a list, which is made if there is none."""
        self.insert(*path, index=len(self._list(path)), value=value)

    def _mapping(self, path: tuple[Step, ...]) -> Any:
        found = self.get(*path)
        if found is None:
            self.put(*path, value={})
            found = self.get(*path)
        return found

    def _list(self, path: tuple[Step, ...]) -> Any:
        found = self.get(*path)
        if found is None:
            self.put(*path, value=[])
            found = self.get(*path)
        return found

    def _note(self, op: str, path: tuple[Step, ...], value: Any) -> None:
        self._operations.append({"op": op, "path": _pointer(path), "value": deepcopy(value)})


def _pointer(path: tuple[Step, ...]) -> str:
    """RFC 6901, section 3."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)
