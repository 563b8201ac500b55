"""From a tree of nodes to a typed Document: shape, kinds and names, with every mistake at its place.

Called by ``load.py``. pydantic stops at what is broken, so a mistake is noted, its node is taken out, and the
rest is validated again: what is left can then be checked for the rules that span several keys.
"""

from __future__ import annotations

from typing import Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel, ValidationError

from proxy.config.document import Mapping, Node, Scalar, Sequence, display, plain
from proxy.config.keys import keys_of
from proxy.config.problems import Mark, Problems, near
from proxy.config.schema import Document
from proxy.config.units import UnitError


class Place(NamedTuple):
    """What a path leads to: ``key`` is where its last key stands."""

    key: Mark
    node: Node
    path: str


def validate(root: Mapping, problems: Problems) -> Document:
    """The typed document of what is not broken; mistakes go to ``problems``, and their nodes are marked broken."""
    while True:
        try:
            return Document.model_validate(plain(root))
        except ValidationError as error:
            details = error.errors(include_url=False)
            places = [(_site(root, detail), detail) for detail in details]  # all, before any is taken out
            for place, detail in places:
                _note(place, detail, problems)


def find(root: Mapping, loc: tuple[int | str, ...]) -> Place:
    """Follow ``loc`` as far as the tree has it. Indexes count what is not broken, as pydantic saw it."""
    place = Place(root.mark, root, "")
    for step in loc:
        node = place.node
        path = f"{place.path}.{step}".lstrip(".")
        if isinstance(node, Mapping) and str(step) in node.entries:
            entry = node.entries[str(step)]
            place = Place(entry.key, entry.node, path)
        elif isinstance(node, Sequence) and isinstance(step, int):
            index, item = [(index, item) for index, item in enumerate(node.items) if not item.broken][step]
            place = Place(item.mark, item, f"{place.path}.{index}")
    return place


def _site(root: Mapping, detail: Any) -> Place:
    """Where a mistake is; a missing key is one of the mapping that misses it."""
    loc = detail["loc"]
    return find(root, loc[:-1] if detail["type"] == "missing" else loc)


def _note(place: Place, detail: Any, problems: Problems) -> None:
    place.node.broken = True
    key = str(detail["loc"][-1])
    match detail["type"]:
        case "missing":  # what contains it is useless without
            if isinstance(place.node, Mapping) and key not in place.node.entries:  # else it is there, and broken
                problems.add(place.key, f"{place.path}.{key}", f"{key!r} is missing", f"add {key}: to this mapping")
        case "extra_forbidden":
            problems.add(place.key, place.path, *_unknown(detail["loc"]))
        case "too_short" if isinstance(place.node, Sequence) and place.node.items:
            pass  # what was in it is broken, and reported
        case _:
            problems.add(place.node.mark, place.path, *_wrong(place.node, detail))


def _unknown(loc: tuple[int | str, ...]) -> tuple[str, str]:
    known = [*keys_of(model_at(loc[:-1]))]
    key = str(loc[-1])
    return f"unknown key {key!r}", near(key, known) or f"known here: {', '.join(known)}"


def model_at(loc: tuple[int | str, ...]) -> type[BaseModel]:
    """The model of the mapping that ``loc`` leads to."""
    model: type[BaseModel] = Document
    steps = iter(loc)
    for step in steps:
        annotation = model.model_fields[str(step)].annotation
        model = inner_model(annotation) or model
        if _is_collection(annotation):
            next(steps, None)  # the name of an api, or the index of a route
    return model


def _is_collection(annotation: Any) -> bool:
    return get_origin(annotation) in {dict, list} or any(map(_is_collection, get_args(annotation)))


def inner_model(annotation: Any) -> type[BaseModel] | None:
    """The model within ``Model | None``, ``list[Model]`` or ``dict[str, Model]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := inner_model(part))), None)


def _wrong(node: Node, detail: Any) -> tuple[str, str]:
    shown = display(node)
    match detail["type"]:
        case "model_type" | "dict_type":
            needed = ", ".join(f"{key}: ..." for key in _needed(detail))
            form = f"{{NAME: {{{needed}}}}}" if detail["type"] == "dict_type" else f"{{{needed}}}"
            return (
                f"{shown} is not a mapping of keys",
                f"write {form}" if needed else "write the keys below it, indented",
            )
        case "list_type":
            hint = isinstance(node, Scalar) and node.shown is None and node.value is not None
            return f"{shown} is not a list", f"write [{node.value}]" if hint and isinstance(
                node, Scalar
            ) else "write [one, two]"
        case "too_short":
            return "the list is empty", "give at least one, or leave the key out"
        case _:
            error = detail.get("ctx", {}).get("error")
            assert isinstance(error, UnitError), detail  # noqa: S101 - every other kind of error has its case above
            secret = isinstance(node, Scalar) and node.shown is not None
            return f"{shown} is not {error.expected}", error.remedy if secret or error.hint is None else error.hint


def _needed(detail: Any) -> list[str]:
    """The keys without which a mapping is of no use."""
    return [key for key, field in keys_of(model_at(detail["loc"])).items() if field.is_required()]
