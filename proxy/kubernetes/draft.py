"""A pod while it is changed: each change is noted as an operation of JSON Patch (RFC 6902), and seen by the next.

Used by inject.py and what it is made of. The pod that is given is left alone.
"""

from __future__ import annotations

from copy import copy
from typing import Any, TypeAlias

from proxy.kubernetes.model import Operation

Step: TypeAlias = str | int


class Draft:
    """Changes of ``pod``, in the order in which they apply. ``null`` counts as absent, as it does for Kubernetes.

    What lies on the way to a change is copied then, and nothing else: whoever makes a pod may have put much into it.
    """

    def __init__(self, pod: dict[str, Any]) -> None:
        self._pod = copy(pod)
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
        if isinstance(last, str):
            self._ensure(tuple(above), {})
        parent = self._own(tuple(above))
        there = last in parent if isinstance(last, str) else True
        parent[last] = value
        self._note("replace" if there else "add", path, value)

    def insert(self, *path: Step, index: int, value: Any) -> None:
        """Put an item into a list before the ``index``-th; the list is made if there is none."""
        self._ensure(path, [])
        items = self._own(path)
        items.insert(index, value)
        self._note("add", (*path, index), value)

    def append(self, *path: Step, value: Any) -> None:
        """Put an item at the end of a list, which is made if there is none."""
        self.insert(*path, index=len(self.get(*path) or ()), value=value)

    def _ensure(self, path: tuple[Step, ...], empty: Any) -> None:
        if self.get(*path) is None:
            self.put(*path, value=empty)

    def _own(self, path: tuple[Step, ...]) -> Any:
        """What is there, to be changed: no part of the pod that was given."""
        found: Any = self._pod
        for step in path:
            found[step] = copy(found[step])
            found = found[step]
        return found

    def _note(self, op: str, path: tuple[Step, ...], value: Any) -> None:
        self._operations.append({"op": op, "path": _pointer(path), "value": value})


def _pointer(path: tuple[Step, ...]) -> str:
    """RFC 6901, section 3."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)
