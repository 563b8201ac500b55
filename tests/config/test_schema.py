"""The models as a whole: their defaults can be read, and every key has a sentence."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from proxy.config import schema
from proxy.config.schema import Model

MODELS = [*Model.__subclasses__(), *schema.Policies.__subclasses__()]
WITH_DEFAULTS = [model for model in MODELS if not any(field.is_required() for field in model.model_fields.values())]


@pytest.mark.parametrize("model", WITH_DEFAULTS, ids=lambda model: model.__name__)
def test_defaults_are_valid(model: type[Model]) -> None:
    """A default is read like anything that is written; what is written back is read the same."""
    made = model()
    written = {key: value for key, value in made.model_dump(mode="json", exclude_none=True).items() if value != {}}
    assert model.model_validate(written) == made


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_key_has_a_sentence(model: type[Model]) -> None:
    """It ends in the reference and in editors."""
    assert model.__doc__
    for field in model.model_fields.values():
        assert field.description
        assert field.description.endswith(".")


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_unknown_keys_are_errors(model: type[Model]) -> None:
    """A slip of the finger is never ignored."""
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        model.model_validate({"unknown": 1})


def test_no_key_or_word_is_one_that_yaml_1_1_reads_as_a_boolean() -> None:
    """Tools in between, Helm among them, would rewrite it."""
    keys = {key for model in MODELS for key in model.model_fields}
    assert not keys & {"on", "off", "yes", "no", "y", "n", "true", "false"}
