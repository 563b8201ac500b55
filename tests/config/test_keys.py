"""What a key is: named, with a default or demanded later, and listed as it is written."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from proxy.config.keys import keys_of
from proxy.config.schema import Derive, Route


def test_keys_are_listed_as_they_are_written() -> None:
    """In their order, whatever the attribute has to be called."""
    assert [*keys_of(Derive)] == ["from", "scope", "window"]


def test_a_key_is_read_and_written_under_its_name() -> None:
    """A default is read like anything else; what is demanded later is absent until then."""
    derive = Derive.model_validate({"from": ["body"], "window": "90s"})
    assert (derive.from_, derive.scope, derive.window) == (["body"], None, 90.0)
    assert derive.model_dump(mode="json", exclude_none=True) == {"from": ["body"], "window": "1m30s"}
    assert Derive().from_ == ["method", "path", "query", "body"]


@pytest.mark.parametrize("keys", [{"from_": ["body"]}, {"window": None}])
def test_the_name_of_an_attribute_is_no_key_and_nothing_no_value(keys: dict[str, object]) -> None:
    """What is demanded may be absent; it may not be empty."""
    with pytest.raises(ValidationError):
        Derive.model_validate(keys)


def test_what_is_needed_is_needed_at_once() -> None:
    """Nothing could be merged without it."""
    with pytest.raises(ValidationError, match=r"name\n  Field required"):
        Route.model_validate({"match": {}})
