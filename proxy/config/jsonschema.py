"""The JSON Schema of the configuration, for editors and for the chart.

Called by ``backstay schema`` and by ``reference.py``. It accepts what the loader accepts, except for rules that
span several keys, and for names and values that only expansion will show.
"""

from __future__ import annotations

from typing import Any, Final, cast

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind

from proxy.config import kinds
from proxy.config.schema import Document

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


class _Generator(GenerateJsonSchema):
    """Defaults are those that ``setting`` gives, as a person writes them: pydantic's own are not needed."""

    ignored_warning_kinds: set[JsonSchemaWarningKind] = {"skipped-choice", "non-serializable-default"}


def json_schema() -> dict[str, Any]:
    """The whole schema, with descriptions, defaults and patterns; unknown keys are refused."""
    schema = cast("dict[str, Any]", _untitled(Document.model_json_schema(schema_generator=_Generator)))
    schema["properties"]["apis"].update(minProperties=1, propertyNames=kinds.NAME.forms[0])
    schema["$defs"]["Api"]["properties"]["credentials"].update(propertyNames=kinds.FIELD_OR_PARAMETER)
    schema["required"] = ["version", "apis"]
    schema["patternProperties"] = {"^x-": {}}  # a place for anchors
    return {"$schema": DIALECT, "title": "Backstay configuration", **schema}


def _untitled(node: Any) -> Any:
    """Without the titles that pydantic makes of every name: editors would show them instead of the sentences."""
    if isinstance(node, list):
        return [_untitled(item) for item in node]
    if isinstance(node, dict):
        return {key: _untitled(value) for key, value in node.items() if not (key == "title" and isinstance(value, str))}
    return node
