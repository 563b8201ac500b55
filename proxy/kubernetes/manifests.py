"""A stream of manifests, YAML or JSON: each pod in it is offered to a function, and changed as that says.

Called by commands.py (``backstay inject``). A document that is not changed stays byte for byte; one of YAML that is, in
all but what is added (edits.py). JSON is written anew, in its own indentation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

import jsonpatch
import yaml

from proxy.kubernetes.edits import rewrite
from proxy.kubernetes.model import Patch, Refused, Skipped
from proxy.kubernetes.text import read
from proxy.kubernetes.workloads import Path, Workload, objects, unreached, workloads

Change: TypeAlias = Callable[[Workload], Patch | Skipped]
"""What becomes of a pod. May raise Refused."""

_ELSEWHERE: Final = "its containers are not in spec.template; annotate its pods there, for the injector"
_SEPARATOR: Final = re.compile(r"^---(?=[ \t\r\n]|\Z)", re.MULTILINE)
_NO_MORE: Final = re.compile(r"\s*\Z")
_INDENTATION: Final = re.compile(r"[\[{]\n( +)")


class BadManifest(ValueError):
    """What is no manifest: where, what, and what to do."""


class Report(NamedTuple):
    """What became of a pod."""

    name: str
    outcome: Patch | Skipped | Refused


@dataclass(frozen=True, slots=True)
class Changed:
    """A stream as it shall be, and what became of each pod in it, in their order."""

    text: str
    reports: tuple[Report, ...]


def change(text: str, source: str, ask: Change) -> Changed:
    """The manifests in ``text`` with their pods as ``ask`` wants them; raises BadManifest, which names ``source``.

    A pod that is refused stays as it is, and is reported.
    """
    reports: list[Report] = []
    parts = [_document(document, ask, reports) for document in _documents(text, source)]
    return Changed("".join(parts), tuple(reports))


def config_maps(text: str, source: str) -> dict[tuple[str | None, str], dict[str, str]]:
    """The data of each ConfigMap in a stream, by namespace (None: not said) and name. Raises BadManifest."""
    found: dict[tuple[str | None, str], dict[str, str]] = {}
    for document in _documents(text, source):
        for each in objects(document.value):
            metadata, data = each.get("metadata"), each.get("data")
            if each.get("kind") == "ConfigMap" and isinstance(metadata, Mapping):
                texts = data if isinstance(data, Mapping) else {}
                namespace = metadata.get("namespace")
                found[namespace and str(namespace), str(metadata.get("name"))] = {
                    key: value for key, value in texts.items() if isinstance(value, str)
                }
    return found


# --- documents ------------------------------------------------------------------------------------------


class _Document(NamedTuple):
    text: str
    value: Any
    is_json: bool = False


def _documents(text: str, source: str) -> Iterator[_Document]:
    """One after the other; together their texts are ``text``."""
    if text.lstrip("\ufeff \t\r\n").startswith(("{", "[")):
        try:
            yield from list(_json_documents(text))
        except ValueError:  # YAML begins like this, too
            pass
        else:
            return
    yield from _yaml_documents(text, source)


def _json_documents(text: str) -> Iterator[_Document]:
    """One after the other, as ``kubectl`` takes them. Raises ValueError."""
    decoder, start = json.JSONDecoder(), len(text) - len(text.lstrip("\ufeff"))
    while not _NO_MORE.match(text, start):
        begin = re.compile(r"\s*").match(text, start).end()  # type: ignore[union-attr]  # it always matches
        value, end = decoder.raw_decode(text, begin)
        last = len(text) if _NO_MORE.match(text, end) else end
        yield _Document(text[start:last], value, is_json=True)
        start = last


def _yaml_documents(text: str, source: str) -> Iterator[_Document]:
    starts = [0, *(found.start() for found in _SEPARATOR.finditer(text) if found.start())]
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        document = text[start:end]
        try:
            yield _Document(document, read(document))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = text.count("\n", 0, start) + 1 + (mark.line if mark else 0)
            column = mark.column + 1 if mark else 1
            raise BadManifest(
                f"{source}:{line}:{column}: this is no manifest: {error.problem or error.context}; {_remedy(document)}"
            ) from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise BadManifest(f"{source}: this is no manifest: {error}; check that it is YAML or JSON") from None


def _remedy(document: str) -> str:
    if "{{" in document:
        return "render the template first, as with `helm template`"
    return "correct it there"


# --- changing -------------------------------------------------------------------------------------------


def _document(document: _Document, ask: Change, reports: list[Report]) -> str:
    wanted = document.value
    for workload in workloads(document.value):
        report = _asked(workload, ask)
        reports.append(report)
        if isinstance(report.outcome, Patch):
            pod = jsonpatch.JsonPatch(report.outcome.operations).apply(workload.pod)
            wanted = _with(wanted, workload.path, pod)
    reports += [Report(name, Skipped(_ELSEWHERE)) for name in unreached(document.value)]
    if wanted is document.value:
        return document.text
    if document.is_json:
        return _as_json(document.text, wanted)
    return _as_yaml(document.text, wanted)


def _asked(workload: Workload, ask: Change) -> Report:
    try:
        return Report(workload.name, ask(workload))
    except Refused as refused:
        return Report(workload.name, refused)


def _with(value: Any, path: Path, pod: Any) -> Any:
    """``value`` with something else at ``path``; what is on the way there is copied."""
    if not path:
        return deepcopy(pod)
    copied = value.copy()
    copied[path[0]] = _with(value[path[0]], path[1:], pod)
    return copied


def _as_json(text: str, wanted: Any) -> str:
    found = _INDENTATION.search(text.replace("\r\n", "\n"))
    body = json.dumps(wanted, indent=len(found[1]) if found else None, ensure_ascii=False)
    before = len(text) - len(text.lstrip("\ufeff \t\r\n"))
    return text[:before] + body + text[len(text.rstrip()) :]


def _as_yaml(text: str, wanted: Any) -> str:
    if "\r\n" not in text:
        return rewrite(text, wanted)
    return rewrite(text.replace("\r\n", "\n"), wanted).replace("\n", "\r\n")
