"""What a key of the configuration is: a field of a model, with a default and one sentence.

Called by ``schema.py`` and ``process.py``, which declare them, and by whoever lists them for people.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo


class Model(BaseModel):
    """What all models share: unknown keys are errors, and defaults are read like anything else."""

    model_config = ConfigDict(extra="forbid", validate_default=True, frozen=True, serialize_by_alias=True)


def setting(default: Any, sentence: str, *, key: str | None = None) -> Any:
    """A key with a default; ``key`` is its name if Python has no such attribute."""
    return Field(default, alias=key, description=sentence, json_schema_extra={"default": default})


def needed(sentence: str) -> Any:
    """A key without a default."""
    return Field(description=sentence)


def demanded(sentence: str) -> Any:
    """A key without a default that any layer may give: ``checks.py`` demands it after merging."""
    return Field(None, validate_default=False, description=sentence)


def part(model: type[Model], sentence: str) -> Any:
    """A mapping of keys that may be absent."""
    return Field(default_factory=model, description=sentence)


def keys_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The keys of a model as they are written, in their order."""
    return {field.alias or name: field for name, field in model.model_fields.items()}
