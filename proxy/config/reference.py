"""Writes docs/configuration.md from the schema: every key with its kind, its default and one sentence.

Run as ``python -m proxy.config.reference``, which prints it; a test compares the file with it.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Annotated, Any, Final, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from proxy.config import process, schema, upstreams
from proxy.config.keys import Model, keys_of
from proxy.config.kinds import Either, Kind, Switch
from proxy.config.validate import inner_model

_HEAD: Final = """\
# Configuration

<!-- Generated from the schema by `make docs`; edit proxy/config/schema.py, process.py and upstreams.py instead. -->

One YAML file, several, or a folder of `*.yaml` and `*.yml`: they are merged, and what two files give is a mistake.
`backstay check CONFIG` prints every mistake with its line and what to write instead; `backstay explain CONFIG METHOD
URL` prints what applies to a call, each setting with the line it came from; `backstay schema` prints the JSON Schema
for editors. `config/` holds examples: `minimal.yaml`, `full.yaml` and one for each common case.

| written | as |
|---|---|
| duration | `250ms`, `2s`, `5m`, `1h`, `1h30m` |
| size | `64KiB`, `10MiB`, or bytes as a number |
| rate | `10/s`, `600/m`, `5/100ms` |
| ratio | `0.5` or `50%` |
| off | `off` or `false`, which mean the same |
| boolean | `true` or `false` only: `yes`, `no` and `on` are text, as YAML 1.2 has it |

In values, `${env:NAME}`, `${env:NAME:-default}` and `${file:/path}` are expanded, and never shown again; `$${` is a
literal `${`. Anchors and merge keys (`<<`) work, and top-level keys that begin with `x-` are a place for them.

Policies are merged key by key: `defaults`, then the api, then the route. Lists and scalars replace; `off` removes a
policy; `{}` switches it on with its defaults. Every api has `timeout` and `breaker`; other policies are absent until
their key is there. Keys of later versions are refused: nothing is ignored in silence.
"""
_SECTIONS: Final[tuple[tuple[str, type[Model]], ...]] = (
    ("The file", schema.Document),
    ("`listen`", process.Listen),
    ("`stores`", process.Stores),
    ("`limits`", process.Limits),
    ("`limits.memory`", process.Memory),
    ("`limits.disk`", process.Disk),
    ("`drain`", process.Drain),
    ("`log`", process.Log),
    ("`egress`", process.Egress),
    ("`tls_intercept`", process.TlsIntercept),
    ("`apis.NAME`", schema.Api),
    ("`apis.NAME.tls`", upstreams.Tls),
    ("`apis.NAME.connections`", upstreams.Connections),
    ("`apis.NAME.credentials.FIELD`", upstreams.Credential),
    ("`apis.NAME.routes[]`", schema.Route),
    ("`apis.NAME.routes[].match`", schema.Match),
    ("Policies: in `defaults`, `apis.NAME` and `apis.NAME.routes[]`", schema.Policies),
    ("`timeout`", schema.Timeout),
    ("`breaker`", schema.Breaker),
    ("`retry`", schema.Retry),
    ("`retry.backoff`", schema.Backoff),
    ("`rate_limit`", schema.RateLimit),
    ("`cache`", schema.Cache),
    ("`idempotency`", schema.Idempotency),
    ("`idempotency.derive`", schema.Derive),
    ("`idempotency.store_errors`", schema.StoreErrors),
    ("`fallback[]`", schema.Step),
    ("`classify`", schema.Classify),
)


def reference() -> str:
    """The whole page."""
    sections = ("\n".join(_section(title, model)) for title, model in _SECTIONS)
    return "\n".join([_HEAD, *sections])


def _section(title: str, model: type[Model]) -> Iterator[str]:
    has_policies = issubclass(model, schema.Policies) and model is not schema.Policies
    yield f"## {title}\n"
    yield f"{inspect.getdoc(model)}\n"
    yield "| key | kind | default | meaning |"
    yield "|---|---|---|---|"
    for name, field in keys_of(model).items():
        if not has_policies or name not in schema.Policies.model_fields:
            yield f"| `{name}` | {kind_of(field)} | {default_of(field)} | {field.description} |"
    if has_policies:
        yield "| policies | | | See below. |"
    yield ""


def kind_of(field: FieldInfo) -> str:
    """The kind of a key, in words."""
    found = next((item for item in field.metadata if isinstance(item, Kind)), None)
    switch = " or off" if any(isinstance(item, Switch) for item in field.metadata) else ""
    return (found.name if found else _in_words(field.annotation)) + switch


def _in_words(annotation: Any) -> str:
    parts = [part for part in get_args(annotation) if part is not type(None)]
    if get_origin(annotation) is Annotated:
        kind = next((item for item in annotation.__metadata__ if isinstance(item, Kind | Either)), None)
        return kind.name if kind else _in_words(parts[0])
    if get_origin(annotation) is dict and inner_model(annotation) is None:
        return f"mapping of names to: {_in_words(parts[1])}"
    if inner_model(annotation) in parts or isinstance(annotation, type):
        return "list of keys" if get_origin(annotation) is list else "keys"
    return f"list of: {_in_words(parts[0])}" if get_origin(annotation) is list else _in_words(parts[0])


def default_of(field: FieldInfo) -> str:
    """The default of a key, as it would be written."""
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "default" in extra:
        return _written(extra["default"])
    factory: Any = field.default_factory
    if isinstance(factory, type) and issubclass(factory, BaseModel):
        return "see below"
    return "required"


def _written(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`" if value != "" else "empty"


if __name__ == "__main__":
    sys.stdout.write(reference())
