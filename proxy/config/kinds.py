"""The kinds of scalar that keys take: how each is read, written back, and described to an editor.

Called by ``schema.py``. A kind stands in an ``Annotated`` and replaces pydantic's own validation, so that
every message is ours; it is imported only while a configuration is being loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias
from urllib.parse import SplitResult

from pydantic import (
    BaseModel,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    ValidatorFunctionWrapHandler,
)
from pydantic_core import CoreSchema, core_schema

from proxy.config import outbound, units, urls
from proxy.config.problems import near
from proxy.config.units import UnitError
from proxy.core.credentials import CREDENTIALS
from proxy.core.fallback import RESERVED_FIELDS

Json: TypeAlias = dict[str, Any]
PLACEHOLDER: Final = r"\$\{"
_NAME: Final = r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_FIELD_NAME: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110, 5.6.2
_NOT_FOR_KEYS: Final = CREDENTIALS | RESERVED_FIELDS | {b"host"}
_FIELD_VALUE: Final = r"(?:[^\x00-\x20\x7f](?:[^\x00-\x08\x0a-\x1f\x7f]*[^\x00-\x20\x7f])?)?"  # RFC 9110, 5.5


@dataclass(frozen=True, eq=False)  # hashed by identity: typing hashes what stands in an Annotated
class Kind:
    """One kind of scalar. ``read`` raises UnitError; ``forms`` are the JSON Schemas of what may be written."""

    name: str
    read: Callable[[Any], Any]
    write: Callable[[Any], Any]
    forms: tuple[Json, ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        del source, handler
        writer = core_schema.plain_serializer_function_ser_schema(self.write)
        return core_schema.no_info_plain_validator_function(self.read, serialization=writer)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Json:
        del schema, handler
        return {"anyOf": [*self.forms, {"type": "string", "pattern": PLACEHOLDER}]}

    def off(self, meaning: Any = None) -> Kind:
        """The same kind, where ``off`` (or ``false``) may be written instead and stands for ``meaning``."""

        def read(value: Any) -> Any:
            try:
                return meaning if units.is_off(value) else self.read(value)
            except UnitError as error:
                raise UnitError(f"{error.expected}, nor off", f"{error.remedy}, or off", error.hint) from None

        def write(value: Any) -> Any:
            return "off" if value is None else self.write(value)

        return Kind(f"{self.name} or off", read, write, (*self.forms, {"enum": ["off", False]}))

    def above(self, minimum: float, remedy: str, *, also_equal: bool = False) -> Kind:
        """The same kind with a lower bound."""

        def read(value: Any) -> Any:
            result = self.read(value)
            if result > minimum or (also_equal and result == minimum):
                return result
            raise UnitError(f"a {self.name} {'of at least' if also_equal else 'above'} {self.write(minimum)}", remedy)

        bound = {"minimum" if also_equal else "exclusiveMinimum": minimum}
        return replace(self, read=read, forms=_limited(self.forms, bound))

    def below(self, maximum: float, remedy: str) -> Kind:
        """The same kind with an upper bound, which belongs to it."""

        def read(value: Any) -> Any:
            result = self.read(value)
            if result <= maximum:
                return result
            raise UnitError(f"a {self.name} of at most {self.write(maximum)}", remedy)

        return replace(self, read=read, forms=_limited(self.forms, {"maximum": maximum}))


def _limited(forms: tuple[Json, ...], bound: Json) -> tuple[Json, ...]:
    """Bounds show in the forms that are numbers; a bare zero is no form of what is above zero."""
    numbers = ({**form, **bound} if form.get("type") in {"integer", "number"} else form for form in forms)
    return tuple(form for form in numbers if form != {"const": 0})


class Switch:
    """Annotates a policy that may be ``off``: a mapping of keys or a list, else None."""

    def __init__(self, expected: str = "a mapping of keys", remedy: str = "write {} for the defaults") -> None:
        self._expected = expected
        self._remedy = remedy

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        inner = handler(source)
        writer = core_schema.wrap_serializer_function_ser_schema(_write_switch, schema=inner)
        return core_schema.no_info_before_validator_function(self._read, inner, serialization=writer)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Json:
        found = handler(schema)
        return {"anyOf": [form for form in found["anyOf"] if form != {"type": "null"}] + [{"enum": ["off", False]}]}

    def _read(self, value: Any) -> Any:
        if value is None:
            raise UnitError(f"{self._expected}, nor off", f"{self._remedy}, or off")
        return None if units.is_off(value) else value


def _write_switch(value: Any, write: SerializerFunctionWrapHandler) -> Any:
    return "off" if value is None else write(value)


class Either:
    """Annotates what is a word or a mapping of keys: the word stays a word, the mapping becomes ``model``."""

    def __init__(self, word: str, model: type[BaseModel], expected: str, remedy: str) -> None:
        self.name = f"`{word}` or keys"
        self._word = word
        self._model = model
        self._expected = expected
        self._remedy = remedy

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        del source
        return core_schema.no_info_wrap_validator_function(
            self._read,
            handler.generate_schema(self._model),
            serialization=core_schema.plain_serializer_function_ser_schema(_write_either),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Json:
        return {"anyOf": [{"enum": [self._word]}, handler(schema)]}

    def _read(self, value: Any, model: ValidatorFunctionWrapHandler) -> Any:
        if isinstance(value, dict) or value == self._word:
            return model(value) if isinstance(value, dict) else value
        hint = near(value, (self._word,)) if isinstance(value, str) else None
        raise UnitError(self._expected, self._remedy, hint)


def _write_either(value: str | BaseModel) -> Any:
    return value if isinstance(value, str) else value.model_dump(mode="json")


def _same(value: Any) -> Any:
    return value


def words(*known: str, off: bool = False) -> Kind:
    """One of some words; ``off`` (or ``false``) too, if asked for, which stays the word ``off``."""
    listed = (*known, "off") if off else known

    def read(value: Any) -> str:
        if off and units.is_off(value):
            return "off"
        if isinstance(value, str) and value in known:
            return value
        hint = near(value, listed) if isinstance(value, str) else None
        raise UnitError(f"one of {', '.join(listed)}", f"write one of {', '.join(listed)}", hint)

    forms: tuple[Json, ...] = ({"enum": [*listed, False]},) if off else ({"enum": list(listed)},)
    return Kind(" or ".join(f"`{word}`" for word in listed), read, _same, forms)


def or_header(expected: str, *known: str) -> Kind:
    """One of some words, or ``header:NAME``, which is lower-cased."""
    remedy = f"write {', '.join(known)} or header:NAME"

    def read(value: Any) -> str:
        if isinstance(value, str) and (value in known or re.fullmatch(f"header:{_FIELD_NAME}", value)):
            return value.lower()
        raise UnitError(expected, remedy, near(value, known) if isinstance(value, str) else None)

    forms: tuple[Json, ...] = ({"enum": [*known]}, {"type": "string", "pattern": f"^header:{_FIELD_NAME}$"})
    return Kind(f"{', '.join(f'`{word}`' for word in known)} or `header:NAME`", read, _same, forms)


def _pattern(name: str, pattern: str, expected: str, remedy: str) -> Kind:
    """Text of a certain form."""
    compiled = re.compile(pattern)

    def read(value: Any) -> str:
        if isinstance(value, str) and compiled.fullmatch(value):
            return value
        raise UnitError(expected, remedy)

    return Kind(name, read, _same, ({"type": "string", "pattern": f"^(?:{pattern})$"},))


def _number_or(pattern: str, **number: Any) -> tuple[Json, ...]:
    return ({"type": "string", "pattern": f"^(?:{pattern})$"}, number)


# --- readers ------------------------------------------------------------------------------------------


def _read_path_pattern(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(r"/[!-~]*", value) and not {"?", "#"} & set(value):
        return value
    hint = f"write /{value}" if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9]\S*", value) else None
    raise UnitError("a path", "write a path such as /v1/charges or /v1/refunds/*, without a query", hint)


def _read_method(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(_FIELD_NAME, value) and value == value.upper():
        return value
    hint = f"write {value.upper()}: methods are case-sensitive" if isinstance(value, str) and value.isalpha() else None
    raise UnitError("a method", "write GET, POST and the like", hint)


def _read_field(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(_FIELD_NAME, value) and value != "*":
        return value.lower()
    raise UnitError("the name of a field", "write a name such as Accept-Language")


def _read_key_field(value: Any) -> str:
    """Keys are shown to people, which credentials must not be."""
    name = _read_field(value)
    if name.encode() in _NOT_FOR_KEYS:
        raise UnitError("a field for keys", "write a name such as Idempotency-Key")
    return name


def _read_key_sent_as(value: Any) -> str:
    """The word, or a name as it is to be sent."""
    if value == "auto":
        return "auto"
    name = _read_key_field(value)
    if name in {"auto", "off", "false"}:
        raise UnitError("`auto` or the name of a field", f"write {name}")
    return str(value)


def _read_field_value(value: Any) -> str:
    """Numbers may be written without quotes."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(text, str) and re.fullmatch(_FIELD_VALUE, text):
        return text
    raise UnitError(
        "the value of a field", "write one line of text without blanks around it; put it in quotes if it is not text"
    )


def _read_body(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise UnitError("text", """put it in quotes: '{"degraded": true}'""")


def _read_error_range(value: Any) -> tuple[int, int]:
    codes = units.read_status_range(value)
    if codes[0] >= 400:
        return codes
    remedy = "write a code such as 422, or a range such as 500-599"
    raise UnitError("a status code or a range from 400 to 599", remedy)


_TROUBLES: Final = ("connect", "reset", "timeout")


def _read_trouble(value: Any) -> str:
    """A reason to try again: a word, or a status code that is an error."""
    if value in _TROUBLES or (isinstance(value, int | str) and re.fullmatch("[45][0-9][0-9]", str(value))):
        return str(value)
    hint = near(value, _TROUBLES) if isinstance(value, str) else None
    raise UnitError("a reason to try again", "write connect, reset, timeout, or a status code from 400 to 599", hint)


def _read_version(value: Any) -> int:
    if str(value) == "1":  # not True, 1.0 or 01
        return 1
    raise UnitError("a version of the format that this program knows", "write version: 1")


def _write_trouble(trouble: str) -> int | str:
    return int(trouble) if trouble.isdigit() else trouble


# --- the kinds ------------------------------------------------------------------------------------------

BOOLEAN: Final = Kind(
    "`true` or `false`", units.read_boolean, _same, ({"type": "boolean"}, {"enum": ["true", "false"]})
)
WHOLE: Final = Kind("whole number", units.read_whole, _same, _number_or("[0-9]{1,15}", type="integer"))
COUNT: Final = WHOLE.above(1, "write 1 or more", also_equal=True)
DURATION: Final = Kind(
    "duration", units.read_duration, units.write_duration, _number_or(f"0|{units.DURATION}", const=0)
)
PAUSE: Final = DURATION.above(0, "write a duration above zero, such as 100ms or 2s")
SIZE: Final = Kind("size", units.read_size, units.write_size, _number_or(units.SIZE, type="integer", minimum=0))
RATE: Final = Kind("rate", units.read_rate, units.write_rate, ({"type": "string", "pattern": f"^(?:{units.RATE})$"},))
RATIO: Final = Kind(
    "ratio", units.read_ratio, units.write_ratio, _number_or(units.RATIO, type="number", minimum=0, maximum=1)
)
SHARE: Final = RATIO.above(0, "write a share above zero, such as 0.5 or 50%")
STATUSES: Final = Kind(
    "status code or range", units.read_status_range, units.write_status_range, _number_or(units.STATUS, type="integer")
)
ERRORS: Final = replace(
    STATUSES,
    read=_read_error_range,
    forms=_number_or("[45][0-9][0-9](?:-[45][0-9][0-9])?", type="integer", minimum=400, maximum=599),
)
ADDRESS: Final = Kind(
    "host:port", units.read_address, units.write_address, ({"type": "string", "pattern": f"^(?:{units.ADDRESS})$"},)
)
TEXT: Final = _pattern("text", r"[^\x00-\x1f\x7f]+", "text", "write some text; put what looks like a number in quotes")
PATH: Final = replace(TEXT, name="path of a file")
FOLDER: Final = _pattern(
    "path of a folder",
    r"/[^\x00-\x1f\x7f]*",
    "the path of a folder",
    "write it with a slash first: /path/of/the/folder",
)
NAME: Final = _pattern("name", _NAME, "a name", "use lower-case letters, digits, - and _, 63 at most")
URL: Final = Kind(
    "url", urls.read_url, SplitResult.geturl, ({"type": "string", "pattern": r"^[hH][tT][tT][pP][sS]?://[^\s?#@]+$"},)
)
HOST: Final = Kind("host name", urls.read_host, _same, ({"type": "string", "pattern": f"^{urls.HOST}$"},))
MOUNT: Final = Kind("path", urls.read_mount, _same, ({"type": "string", "pattern": f"^(?:{urls.MOUNT})$"},))
PATH_PATTERN: Final = Kind("path pattern", _read_path_pattern, _same, ({"type": "string", "pattern": r"^/[^\s?#]*$"},))
METHOD: Final = Kind("method", _read_method, _same, ({"type": "string", "pattern": r"^[^\sa-z]+$"},))
LIMIT_KEY: Final = or_header("a key to count by", "api", "route", "credential")
KEY_SCOPE: Final = or_header("a scope of keys", "api", "credential")
DERIVE_SCOPE: Final = or_header("a scope of equal calls", "traceparent")
PART: Final = or_header("a part of a request", "method", "path", "query", "body")
TROUBLE: Final = Kind(
    "`connect`, `reset`, `timeout` or a status code",
    _read_trouble,
    _write_trouble,
    ({"enum": list(_TROUBLES)}, *_number_or("[45][0-9][0-9]", type="integer", minimum=400, maximum=599)),
)
FIELD: Final = Kind("name of a field", _read_field, _same, ({"type": "string", "pattern": f"^(?:{_FIELD_NAME})$"},))
KEY_FIELD: Final = replace(FIELD, read=_read_key_field)
KEY_SENT_AS: Final = replace(FIELD, name="`auto` or name of a field", read=_read_key_sent_as)
FIELD_VALUE: Final = Kind("text", _read_field_value, _same, ({"type": ["string", "integer"]},))
BODY: Final = Kind("text", _read_body, _same, ({"type": "string"},))
ANSWER: Final = (
    replace(WHOLE, name="status code")
    .above(200, "write a status from 200 to 599", also_equal=True)
    .below(599, "write a status from 200 to 599")
)
REDIS: Final = Kind("url", urls.read_redis, _same, ({"type": "string", "pattern": f"^{urls.REDIS}$"},))
LEDGER: Final = Kind(
    "`sqlite:/PATH`",
    urls.read_ledger,
    urls.write_ledger,
    ({"type": "string", "pattern": f"^(?:{urls.LEDGER})$"},),
)
PROXY: Final = Kind(
    "`http://[user:password@]host:port`",
    outbound.read_proxy,
    outbound.write_proxy,
    ({"type": "string", "pattern": f"^(?:{outbound.PROXY})$"},),
)
DESTINATION: Final = Kind(
    "host, address or network",
    outbound.read_destination,
    outbound.write_pattern,
    ({"type": "string", "pattern": f"^(?:{outbound.DESTINATION})$"},),
)
NAMES: Final = Kind(
    "host", outbound.read_names, outbound.write_pattern, ({"type": "string", "pattern": f"^(?:{outbound.NAMES})$"},)
)
SECRET: Final = Kind("text", outbound.read_secret, _same, ({"type": "string", "pattern": f"^(?:{outbound.VALUE})$"},))
STAND_IN: Final = _pattern(
    "text", outbound.STAND_IN, "a placeholder", "write 8 to 128 letters, digits, - and _, such as bs_stripe_key"
)
FIELD_OR_PARAMETER: Final[Json] = {"pattern": f"^(?:{_FIELD_NAME}|{outbound.PARAMETER}[!-~]+)$"}
VERSION: Final = Kind("`1`", _read_version, _same, ({"enum": [1, "1"]},))
MODE: Final = words("enforce", "shadow")
