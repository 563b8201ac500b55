"""The models as a whole: their defaults can be read, and every key has a sentence."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from proxy.config import schema
from proxy.config.keys import Model, keys_of
from proxy.config.process import Disk, Memory
from proxy.core.idempotency import RELEASING

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
        model.model_validate({"nonsense": 1})


def test_no_key_or_word_is_one_that_yaml_1_1_reads_as_a_boolean() -> None:
    """Tools in between, Helm among them, would rewrite it."""
    keys = {key for model in MODELS for key in keys_of(model)}
    assert not keys & {"on", "off", "yes", "no", "y", "n", "true", "false"}


def test_what_statuses_mean_by_themselves_is_what_the_core_says() -> None:
    """The page lists those that say that nothing was carried out."""
    said = (schema.StoreErrors.__doc__ or "").partition("By themselves, ")[2].partition(" say ")[0]
    assert {int(status) for status in said.replace(" and", ",").split(", ")} == RELEASING


@pytest.mark.parametrize(
    ("model", "key", "good", "bad"),
    [
        (schema.Idempotency, "retain", ("1m", "720h"), ("59s", "721h", "off")),
        (schema.Idempotency, "lease", ("1s", "1h"), ("999ms", "61m", "off")),
        (schema.Idempotency, "max_body", ("1KiB", "1GiB"), (1023, "off")),
        (schema.Idempotency, "fingerprint", (["body"], ["header:x"]), ([], ["bodies"])),
        (schema.Derive, "window", ("1s", "720h"), ("0s", "721h", "off")),
        (schema.Derive, "from", (["body"], ["header:x", "path"]), ([], "body")),
        (schema.StoreErrors, "done", ([400, "500-599"], []), ([399], ["300-499"], 400)),
        (Memory, "idempotency", ("1MiB",), ("1023KiB", "off")),
        (Disk, "ledger", ("1MiB",), (0, "1023KiB", "off")),
    ],
)
def test_bounds(model: type[Model], key: str, good: tuple[object, ...], bad: tuple[object, ...]) -> None:
    """What would protect nobody, or be kept for ever, is refused."""
    for value in good:
        model.model_validate({key: value})
    for value in bad:
        with pytest.raises(ValidationError):
            model.model_validate({key: value})
