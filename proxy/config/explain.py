"""What the configuration makes of one call: its api, its route, and every setting with the line it came from.

Called by ``backstay explain``. It asks the table that also answers real calls, and shows what is effective:
secrets are masked there already.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from proxy.config.caught import Destination, Row, of_api, of_nobody, split_authority
from proxy.config.settings import Api, Config
from proxy.core.freshness import CacheSettings
from proxy.core.idempotency import IdempotencySettings
from proxy.core.methods import reads, unsafe
from proxy.core.routing import ApiEntry, Found, Table
from proxy.core.upstream_key import UpstreamKey
from proxy.core.vendors import Vendor, vendor_of

CHAIN: Final = (
    "fallback",
    "idempotency",
    "cache",
    "retry",
    "breaker",
    "rate_limit",
    "timeout",
    "classify",
)  # outermost first; see chain.py
_TARGET: Final = re.compile(r"(?:(https?)://([^/?#]*))?(/[^#]*)?(?:#.*)?", re.IGNORECASE)
_WIDEST: Final = 120  # characters of a step of a fallback
_COLUMN: Final = 48  # characters of a value: a wider one stands out, and leaves the others in line


class Call(NamedTuple):
    """What a vendor would see."""

    method: bytes
    target: bytes


def explain(config: Config, method: str, url: str) -> str:
    """The explanation of a call with ``method`` to ``url``, which is absolute or a path at ``listen.agent``.

    Raises ValueError if ``url`` is neither.
    """
    parts = _TARGET.fullmatch(url)
    to = split_authority(parts[1], parts[2]) if parts and parts[1] else None
    if parts is None or not url or (parts[1] and to is None):
        raise ValueError(
            f"{url!r} is neither a url with http or https nor a path: write https://host/path or /mount/path"
        )
    table, target = _table(config), (parts[3] or "/").encode()
    if to is None or _is_own(config, to):
        found = table.find(str(config.listen.agent).encode(), target)
        rows = _nothing(config) if found is None else _rows(config, found, method.upper())
    else:
        found = table.find_named(_in_host(to), target)
        rows = of_nobody(config, to) if found is None else _rows(config, found, method.upper(), to)
    return "\n".join([f"{method.upper()} {url}", *_aligned(list(rows))])


def _is_own(config: Config, to: Destination) -> bool:
    agent = config.listen.agent
    return to.port == agent.port and to.host in {agent.host, "localhost", "127.0.0.1"}


def _in_host(to: Destination) -> bytes:
    return f"[{to.host}]:{to.port}".encode() if ":" in to.host else f"{to.host}:{to.port}".encode()


def _aligned(rows: list[Row]) -> Iterator[str]:
    full = [row for row in rows if len(row) == 3]
    names, values = max(len(row[0]) for row in full), max(min(len(row[1]), _COLUMN) for row in full)
    for row in rows:
        yield f"  {row[0]:<{names}}  {row[1]:<{values}}  {row[2]}" if len(row) == 3 else "".join(row)


def _table(config: Config) -> Table[str]:
    return Table([
        ApiEntry(
            name=api.name,
            mount=api.mount,
            hosts=(api.host, *api.hosts),
            base_path=api.base_path,
            port=api.port,
            routes=[(route.match, route.name) for route in api.routes],
            default="default",
        )
        for api in config.apis
    ])  # fmt: skip


def _nothing(config: Config) -> Iterator[Row]:
    yield ("  no api has this host or mount: the agent gets a 404 (no_api). There are:",)
    for api in config.apis:
        mount = f"http://{config.listen.agent}{api.mount}" if api.mount else "no mount"
        yield api.name, mount, f"host {', '.join(_hosts(config, api))}"


def _hosts(config: Config, api: Api) -> list[str]:
    """As they may be shown: a host that was expanded is masked."""
    shown = config.effective["apis"][api.name]
    return [str(shown["url"]).partition("//")[2].partition("/")[0], *shown["hosts"]]


def _rows(config: Config, found: Found[str], method: str, to: Destination | None = None) -> Iterator[Row]:
    name, route = found.entry.name, found.entry.pick(method.encode(), found.path)
    here, shown = f"apis.{name}", config.effective["apis"][name]
    policies = here if route == "default" else f"{here}.routes.{route}"
    yield "api", name, _origin(config, here)
    yield "route", route, "no route matches" if route == "default" else _origin(config, policies)
    yield "path", found.path, "what routes are matched against"
    yield "sent to", _sent_to(shown["url"], found), _origin(config, f"{here}.url")
    if to is not None:
        yield from of_api(config, to)
    effective = shown if route == "default" else shown["routes"][route]
    api = next(api for api in config.apis if api.name == name)
    given = next((given.policies for given in api.routes if given.name == route), api.policies)
    for policy in CHAIN:
        yield from _setting(config, f"{policies}.{policy}", policy, effective[policy])
        if policy == "cache" and given.cache is not None:
            yield from _cached(given.cache, method)
        if policy == "idempotency" and given.idempotency is not None:
            call = Call(method.encode(), found.upstream_target)
            yield from _once(config, f"{policies}.idempotency", given.idempotency, api.host, call)
    yield from _credentials(config, here, shown["credentials"])
    for name in ("connections", "tls", "upstream_proxy"):
        yield from _setting(config, f"{here}.{name}", name, shown[name])


def _sent_to(url: str, found: Found[str]) -> str:
    """The url as it may be shown, and the target."""
    target, base = found.upstream_target.decode("latin-1"), found.entry.base.decode("latin-1")
    if target.startswith(base):
        return url.rstrip("/") + target.removeprefix(base)
    return "/".join(url.split("/", 3)[:3]) + target


def _credentials(config: Config, here: str, shown: dict[str, dict[str, Any]]) -> Iterator[Row]:
    """What is set on the call; what the agent may send in its place."""
    yield ()
    if not shown:
        yield "credentials", "none", "default"
        return
    yield ("  credentials",)
    for name, given in shown.items():
        yield f"  {name}", given["value"], _origin(config, f"{here}.credentials.{name}.value")
        if given["placeholder"] is not None:
            yield "    instead of", given["placeholder"], _origin(config, f"{here}.credentials.{name}.placeholder")


def _cached(settings: CacheSettings, method: str) -> Iterator[Row]:
    """What a cache does with the call."""
    if reads(settings, method.encode()):
        yield "  this call", "is answered from here, where that may be", f"{method} is a read"
    elif unsafe(method.encode()):
        yield "  this call", "passes, and drops what is kept of its target", f"{method} may change it"
    else:
        yield "  this call", "passes", f"{method} is no read"


def _once(config: Config, path: str, settings: IdempotencySettings, host: str, call: Call) -> Iterator[Row]:
    """What the ledger does with the call: its key, and what that is worth upstream."""
    if not unsafe(call.method):
        yield "  this call", "passes", f"{call.method.decode()} is safe"
        return
    vendor = None if settings.upstream == "ignores" else vendor_of(host)
    key = UpstreamKey(settings, vendor)
    happens = "would happen" if settings.mode == "shadow" else "happens"
    yield "  this call", f"{happens} once for each key", f"{call.method.decode()} may change something"
    yield "  with a key", " or ".join(name.decode() for name in key.names(settings)), _origin(config, f"{path}.header")
    yield "  without one", *_keyless(config, path, settings)
    sent = "is sent no key but the agent's" if key.name is None else f"gets it as {key.name.decode()}"
    yield "  the vendor", sent, _origin(config, f"{path}.upstream_header")
    yield "  and there", _worth(settings, vendor, key, call), _origin(config, f"{path}.upstream")


def _keyless(config: Config, path: str, settings: IdempotencySettings) -> tuple[str, str]:
    derive = settings.derive
    if derive is not None:
        made = f"one is made of {', '.join(derive.parts)} within {derive.scope}"
        return made, _origin(config, f"{path}.derive")
    return "it is refused (400)" if settings.require else "it passes", _origin(config, f"{path}.require")


def _worth(settings: IdempotencySettings, vendor: Vendor | None, key: UpstreamKey, call: Call) -> str:
    """Whether it protects a call that is sent again."""
    if settings.upstream == "honours":
        return "it is honoured, as you say"
    if vendor is None:
        return "it is not known to be honoured" if settings.upstream == "auto" else "it is ignored, as you say"
    if key.name is not None and key.name.lower() != vendor.header.lower():
        return f"{vendor.name} does not look for it there"
    return f"{vendor.name} {'honours it' if vendor.honours(*call) else 'does not honour it on this call'}"


def _setting(config: Config, path: str, name: str, value: Any) -> Iterator[Row]:
    """One setting, or all those below it."""
    yield ()
    if name == "fallback" and isinstance(value, list):
        yield (f"  {name}",)
        for index, step in enumerate(value):
            yield f"  {index + 1}.", _step(step), _origin(config, f"{path}.{index}")
        return
    if not isinstance(value, dict):
        yield name, _text(value), _origin(config, path)
        return
    yield (f"  {name}",)
    for key, inner in _flat(value):
        yield f"  {key}", _text(inner), _origin(config, f"{path}.{key}")


def _step(step: str | dict[str, Any]) -> str:
    """A step of a fallback on one line."""
    if isinstance(step, str):
        return step
    if "api" in step:
        return f"api {step['api']}"
    fields = [f"{name}: {value}" for name, value in step["headers"].items()]
    body = " ".join(step["body"].split())
    return _cut(", ".join([f"answer {step['status']}", *fields, *filter(None, [body])]))


def _cut(text: str) -> str:
    return text if len(text) <= _WIDEST else text[: _WIDEST - 3] + "..."


def _flat(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from _flat(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner


def _text(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else "none" if value is None else str(value)


def _origin(config: Config, path: str) -> str:
    return config.origins.get(path, "default")
