"""What the configuration makes of one call: its api, its route, and every setting with the line it came from.

Called by ``backstay explain``. It asks the table that also answers real calls, and shows what is effective:
secrets are masked there already.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

from proxy.config.settings import Api, Config
from proxy.core.routing import ApiEntry, Found, Table

CHAIN: Final = ("retry", "breaker", "rate_limit", "timeout", "classify")  # outermost first; see chain.py
_TARGET: Final = re.compile(r"(?:https?://([^/?#]*))?(/[^#]*)?(?:#.*)?", re.IGNORECASE)
Row: TypeAlias = tuple[str, ...]
"""A name, its value and where that came from; or a heading alone; or nothing, for an empty line."""


def explain(config: Config, method: str, url: str) -> str:
    """The explanation of a call with ``method`` to ``url``, which is absolute or a path at ``listen.agent``.

    Raises ValueError if ``url`` is neither.
    """
    parts = _TARGET.fullmatch(url)
    if parts is None or not url:
        raise ValueError(
            f"{url!r} is neither a url with http or https nor a path: write https://host/path or /mount/path"
        )
    method, host, target = method.upper(), parts[1] or str(config.listen.agent), parts[2] or "/"
    found = _table(config).find(host.rpartition("@")[2].encode(), target.encode())
    rows = _nothing(config) if found is None else _rows(config, found, method)
    return "\n".join([f"{method} {url}", *_aligned(list(rows))])


def _aligned(rows: list[Row]) -> Iterator[str]:
    names, values = (max(len(row[column]) for row in rows if len(row) == 3) for column in (0, 1))
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


def _rows(config: Config, found: Found[str], method: str) -> Iterator[Row]:
    name, route = found.entry.name, found.entry.pick(method.encode(), found.path)
    here, shown = f"apis.{name}", config.effective["apis"][name]
    policies = here if route == "default" else f"{here}.routes.{route}"
    target = found.upstream_target.removeprefix(found.entry.base).decode("latin-1")
    yield "api", name, _origin(config, here)
    yield "route", route, "no route matches" if route == "default" else _origin(config, policies)
    yield "path", found.path, "what routes are matched against"
    yield "sent to", shown["url"].rstrip("/") + target, _origin(config, f"{here}.url")
    for policy in CHAIN:
        effective = shown if route == "default" else shown["routes"][route]
        yield from _setting(config, f"{policies}.{policy}", policy, effective[policy])
    for name in ("connections", "tls"):
        yield from _setting(config, f"{here}.{name}", name, shown[name])


def _setting(config: Config, path: str, name: str, value: Any) -> Iterator[Row]:
    """One setting, or all those below it."""
    yield ()
    if not isinstance(value, dict):
        yield name, _text(value), _origin(config, path)
        return
    yield (f"  {name}",)
    for key, inner in _flat(value):
        yield f"  {key}", _text(inner), _origin(config, f"{path}.{key}")


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
