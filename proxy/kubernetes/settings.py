"""An installation's ways, read from its settings file: what holds for pods that say nothing else.

Called by commands.py and injector.py. The keys are the fields of ``Installation``, written as in annotations; an
unknown one is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from proxy.config import document
from proxy.config.problems import Mark, Problems, near
from proxy.kubernetes import values
from proxy.kubernetes.annotations import READERS, check_resources
from proxy.kubernetes.model import Installation, Resources

_Reader = Callable[[str], Any]
_RESOURCES: Final[Mapping[str, _Reader]] = dict.fromkeys(
    ("cpu_request", "memory_request", "cpu_limit", "memory_limit"), values.quantity
)
_KEYS: Final[Mapping[str, _Reader]] = {
    "image": values.image,
    "pull_policy": values.one_of("Always", "IfNotPresent", "Never"),
    "pull_secrets": values.names,
    "uid": values.number,
    "scrape_annotations": values.switch,
    "config_map_namespaces": values.names,
    **{
        key.replace("-", "_"): READERS[key]
        for key in ("capture", "sidecar", "shims", "roots", "exclude-ports", "exclude-networks")
    },
}


_MAY_BE_NULL: Final = ("pull_policy", "config_map_namespaces")


class BadSettings(ValueError):
    """Settings that cannot be used: each mistake in a line of its own, with its place and what to write instead."""


def defaults(image: str) -> Installation:
    """Of an installation that says no more than which image. Raises BadSettings."""
    try:
        return Installation(image=values.image(image))
    except ValueError as error:
        raise BadSettings(f"the image {values.shown(image)} is not understood; {error}") from None


def load(path: Path) -> Installation:
    """The settings in ``path``. Raises BadSettings."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadSettings(f"{path}: the file cannot be read: {error.strerror}; check the path") from None
    problems = Problems()
    reader = _Settings(problems)
    found: dict[str, Any] = {}
    for root in document.read(data, str(path), problems):
        found |= reader.top(root)
    if not problems and "image" not in found:
        problems.add(Mark(str(path), 1, 1), "image", "it is missing", "name the image of Backstay")
    if problems:
        raise BadSettings(str(problems.error([path])))
    return Installation(**found)


class _Settings:
    """Reads the nodes of a settings file; notes what is wrong with them."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems

    def top(self, root: document.Mapping) -> dict[str, Any]:
        known = [*_KEYS, "resources"]
        found = self._fields(root, _KEYS, known, "")
        entry = root.entries.get("resources")
        if entry is not None and not entry.node.broken:
            found["resources"] = self._resources(entry)
        return found

    def _resources(self, entry: document.Entry) -> Resources:
        if not isinstance(entry.node, document.Mapping):
            self._add(entry.key, "resources", "it is not a mapping", f"write keys below it: {', '.join(_RESOURCES)}")
            return Resources()
        found = self._fields(entry.node, _RESOURCES, list(_RESOURCES), "resources.")
        resources = replace(Resources(), **found)
        try:
            check_resources(resources)
        except ValueError as error:
            what, _, remedy = str(error).partition("; ")
            self._add(entry.key, "resources", what, remedy)
        return resources

    def _fields(
        self, node: document.Mapping, readers: Mapping[str, _Reader], known: list[str], above: str
    ) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, entry in node.entries.items():
            if key not in known:
                self._add(
                    entry.key, above + key, "there is no such setting", near(key, known) or f"use {', '.join(known)}"
                )
            elif key in readers and not entry.node.broken:
                self._field(entry, readers[key], found, above, key)
        return found

    def _field(self, entry: document.Entry, reader: _Reader, found: dict[str, Any], above: str, key: str) -> None:
        value = document.plain(entry.node)
        if value is None and (key in _RESOURCES or key in _MAY_BE_NULL):
            found[key] = None  # not set, as in `cpu_limit: null`
            return
        try:
            found[key] = reader(_text(value))
        except ValueError as error:
            shown = document.display(entry.node)
            self._add(entry.key, above + key, f"{shown} is not understood", str(error))

    def _add(self, mark: Mark, path: str, message: str, remedy: str) -> None:
        self._problems.add(mark, path, message, remedy)


def _text(value: object) -> str:
    """As an annotation would say it: lists with commas, numbers and switches as text."""
    if isinstance(value, list):
        return ",".join(_text(item) for item in value)
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (str, int, float)) else "{}"
