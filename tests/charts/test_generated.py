"""What is made from values.yaml and from the schema of the configuration is what they would make now."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
import yaml

from charts.generate.schema import schema
from charts.generate.values import sections, unexplained
from charts.generate.values_table import table
from proxy.config.jsonschema import json_schema
from tests.support.helm import BACKSTAY, ROOT

VALUES = (BACKSTAY / "values.yaml").read_text(encoding="utf-8")


def test_the_schema_is_fresh() -> None:
    """`make docs` writes it."""
    assert json.loads((BACKSTAY / "values.schema.json").read_text(encoding="utf-8")) == schema()


def test_the_table_of_values_is_fresh() -> None:
    """`make docs` writes it."""
    assert (ROOT / "docs" / "helm-values.md").read_text(encoding="utf-8") == table()


def test_every_value_is_explained() -> None:
    """By a comment of its own, or by one above."""
    assert unexplained(VALUES) == []


def test_the_schema_knows_every_value_and_no_other() -> None:
    """What values.yaml does not show is not found by whoever looks there."""
    shown = {value.path for section in sections(VALUES) for value in section.values}
    known = set(paths_of(schema(), shown)) - {("global",), ("enabled",)}
    assert known == shown


def paths_of(node: dict[str, Any], shown: set[tuple[str, ...]], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Of what is shown, or is no group."""
    if path in shown or "properties" not in node:
        return [path]
    return [found for key, inner in node["properties"].items() for found in paths_of(inner, shown, (*path, key))]


def test_the_schema_is_draft_7_and_takes_the_defaults() -> None:
    """Helm before 3.18 knows no other."""
    jsonschema.Draft7Validator.check_schema(schema())
    jsonschema.Draft7Validator(schema()).validate(yaml.safe_load(VALUES))


def test_the_configuration_in_it_is_the_contract() -> None:
    """All definitions of `backstay schema` are there, word for word but for how names are checked."""
    contract = json.loads(json.dumps(json_schema()).replace("#/$defs/", "#/definitions/"))
    names = contract["$defs"]["Api"]["properties"].pop("credentials")["propertyNames"]["pattern"]
    found = schema()["definitions"]
    credentials = found["Api"]["properties"].pop("credentials")
    assert {name: found[name] for name in contract["$defs"]} == contract["$defs"]
    assert credentials["patternProperties"] == {names: {"$ref": "#/definitions/Credential"}}


def test_nothing_in_the_configuration_is_open() -> None:
    """Each of its groups refuses what it does not know."""
    open_ones = [
        name
        for name, found in schema()["definitions"].items()
        if "properties" in found and found.get("additionalProperties") is not False
    ]
    assert open_ones == []


def test_a_section_is_read_as_people_read_it() -> None:
    """A comment is about the key below it; one with a blank line below, about the section."""
    text = "# the file\n\n## Names\n\n# about\n# all\n\nname:\n  # first\n  # words\n  of: {a: 1}\n"
    (section,) = sections(text)
    (value,) = section.values
    assert (section.title, section.about) == ("Names", "about all")
    assert (value.path, value.default, value.meaning) == (("name", "of"), {"a": 1}, "first words")


@pytest.mark.parametrize("text", ["a: 1\n", "## T\n\na:\n  # b\n  b: 1\n  c: 2\n"])
def test_a_value_without_a_word_is_found(text: str) -> None:
    """A new value without a comment is one that nobody can look up."""
    assert unexplained(text) == ["a"] if text.startswith("a") else ["a.c"]
