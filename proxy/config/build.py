"""From a checked Document to settings: policies merged, defaults filled in, origins kept.

Called by ``load.py``. The models of ``schema.py`` end here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, cast

from proxy.config import checks, schema
from proxy.config import settings as out
from proxy.config.capture import egress_settings
from proxy.config.document import Entry, Mapping, Node, Scalar, Sequence, plain, walk
from proxy.config.merge import overlay
from proxy.config.outbound import PARAMETER
from proxy.config.problems import Mark, Problems
from proxy.config.process import TlsIntercept
from proxy.config.upstreams import Credential
from proxy.config.validate import find
from proxy.core import placeholders
from proxy.core.breaker import BreakerSettings
from proxy.core.bucket import RateSettings
from proxy.core.classify import ClassifySettings
from proxy.core.fallback import FallbackSettings, ServeStale, Static, ToApi
from proxy.core.fallback import Step as FallbackStep
from proxy.core.freshness import CacheSettings
from proxy.core.idempotency import Derive, IdempotencySettings, StoreErrors
from proxy.core.retry import RetrySettings
from proxy.core.routing import Match
from proxy.core.timeouts import Timeouts

POLICIES: Final = tuple(schema.Policies.model_fields)
_PARTS: Final = Derive().parts
_PORTS: Final = {"http": 80, "https": 443}
_BUILT_IN: Final = Mark("", 0, 0)  # the file of what no file says


class Merged(NamedTuple):
    """The policies of one api or route, with the nodes that they came from."""

    policies: schema.Policies
    nodes: Mapping


def merge_policies(document: schema.Document, root: Mapping, problems: Problems) -> dict[tuple[str | int, ...], Merged]:
    """The policies of every api and route, by its path: defaults, then the api, then the route."""
    merged: dict[tuple[str | int, ...], Merged] = {}
    base = _lay(_built_in(), root.entries["defaults"].node if "defaults" in root.entries else None)
    for name, api in document.apis.items():
        loc: tuple[str | int, ...] = ("apis", name)
        own = _lay(base, find(root, loc).node)
        merged[loc] = _checked(own, loc, problems)
        for index, _ in enumerate(api.routes):
            inner = (*loc, "routes", index)
            merged[inner] = _checked(_lay(own, find(root, inner).node), inner, problems)
    return merged


def _built_in() -> Mapping:
    on = {name: Entry(_BUILT_IN, Mapping(_BUILT_IN)) for name in ("timeout", "breaker")}
    return Mapping(_BUILT_IN, dict[str, Entry](on))


def _lay(base: Mapping, top: Node | None) -> Mapping:
    """The policies of ``top`` over ``base``; what is broken counts as absent."""
    entries = dict(base.entries)
    for name in POLICIES:
        entry = top.entries.get(name) if isinstance(top, Mapping) else None
        if entry is not None and not entry.node.broken:
            below = entries.get(name)
            entries[name] = Entry(entry.key, overlay(below.node if below else None, entry.node))
    return Mapping(base.mark, entries)


def _checked(nodes: Mapping, loc: tuple[str | int, ...], problems: Problems) -> Merged:
    policies = schema.Policies.model_validate(plain(nodes))
    checks.check_policies(policies, nodes, ".".join(map(str, loc)), problems)
    return Merged(policies, nodes)


# --- settings -----------------------------------------------------------------------------------------------


def build(
    document: schema.Document, root: Mapping, merged: dict[tuple[str | int, ...], Merged], watched: tuple[Path, ...]
) -> out.Config:
    """The settings of a document in which nothing is wrong."""
    effective = _effective(document, root, merged)
    listen, limits = document.listen, document.limits
    return out.Config(
        listen=out.Listen(
            agent=out.Address(*listen.agent),
            transparent=_address(listen.transparent),
            metrics=_address(listen.metrics),
            admin=_address(listen.admin),
        ),
        admin_token=document.admin_token,
        limits=out.Limits(
            connections=limits.connections,
            header_bytes=limits.header_bytes,
            body_bytes=limits.body_bytes,
            memory_cache=limits.memory.cache,
            memory_idempotency=limits.memory.idempotency,
            disk_ledger=limits.disk.ledger,
        ),
        drain_timeout=document.drain.timeout,
        log_level=document.log.level,
        log_access=document.log.access,
        stores_shared=document.stores.shared,
        stores_ledger=document.stores.ledger,
        upstream_proxy=document.upstream_proxy,
        egress=egress_settings(document.egress),
        tls_intercept=None if document.tls_intercept is None else _tls_intercept(document.tls_intercept),
        apis=tuple(_api(name, document, root, merged) for name in document.apis),
        digest=hashlib.sha256(json.dumps(effective, sort_keys=True).encode()).hexdigest(),
        effective=effective,
        origins=dict(_origins(document, root, merged)),
        watched=watched,
    )


def _address(address: tuple[str, int] | None) -> out.Address | None:
    return None if address is None else out.Address(*address)


def _tls_intercept(given: TlsIntercept) -> out.TlsIntercept:
    return out.TlsIntercept(Path(given.ca_dir), Path(given.trust_dir))


def _api(name: str, document: schema.Document, root: Mapping, merged: dict[tuple[str | int, ...], Merged]) -> out.Api:
    api = document.apis[name]
    scheme = cast("Literal['http', 'https']", api.url.scheme)
    loc: tuple[str | int, ...] = ("apis", name)
    return out.Api(
        name=name,
        scheme=scheme,
        host=str(api.url.hostname),
        port=api.url.port or _PORTS[scheme],
        base_path=api.url.path.rstrip("/"),
        mount=api.mount,
        hosts=tuple(api.hosts),
        tls=out.Tls(**dict(api.tls)),
        max_connections=api.connections.max,
        idle_connection=api.connections.idle,
        upstream_proxy=document.upstream_proxy if api.upstream_proxy is None else _own_proxy(api.upstream_proxy),
        credentials=tuple(_credential(field, given) for field, given in api.credentials.items()),
        policies=_policies(merged[loc].policies),
        routes=tuple(
            out.Route(route.name, _match(route.match), _policies(merged[(*loc, "routes", index)].policies))
            for index, route in enumerate(api.routes)
        ),
        line=str(find(root, loc).key),
    )


def _own_proxy(given: out.UpstreamProxy | str) -> out.UpstreamProxy | None:
    return None if isinstance(given, str) else given


def _credential(field: str, given: Credential) -> placeholders.Credential:
    name, query = field.removeprefix(PARAMETER), field.startswith(PARAMETER)
    placeholder = None if given.placeholder is None else given.placeholder.encode()
    return placeholders.Credential(name.encode(), given.value.encode(), query, placeholder)


def _match(match: schema.Match) -> Match:
    methods = None if match.methods is None else frozenset(method.encode() for method in match.methods)
    return Match(methods=methods, paths=None if match.paths is None else tuple(match.paths))


def _policies(policies: schema.Policies) -> out.Policies:
    breaker, classify = policies.breaker, policies.classify
    return out.Policies(
        timeout=Timeouts(**dict(policies.timeout)),
        breaker=None if breaker is None else BreakerSettings(**dict(breaker)),
        retry=None if policies.retry is None else _retry(policies.retry),
        rate_limit=None if policies.rate_limit is None else _rate_limit(policies.rate_limit),
        classify=ClassifySettings(failure=tuple(classify.failure), ignore=tuple(classify.ignore)),
        cache=None if policies.cache is None else _cache(policies.cache),
        fallback=None if policies.fallback is None else FallbackSettings(tuple(map(_step, policies.fallback))),
        idempotency=None if policies.idempotency is None else _idempotency(policies.idempotency),
    )


def _retry(retry: schema.Retry) -> RetrySettings:
    values = {**dict(retry), "when": frozenset(retry.when), "base": retry.backoff.base, "max": retry.backoff.max}
    del values["backoff"]
    return RetrySettings(**values)


def _rate_limit(limit: schema.RateLimit) -> RateSettings:
    assert limit.rate is not None  # noqa: S101 - checks.py has demanded it
    quota, window = limit.rate
    return RateSettings(**{**dict(limit), "rate": quota / window, "quota": quota, "window": window})


def _cache(cache: schema.Cache) -> CacheSettings:
    return CacheSettings(**{**dict(cache), "vary": tuple(sorted({name.encode() for name in cache.vary}))})


def _idempotency(once: schema.Idempotency) -> IdempotencySettings:
    return IdempotencySettings(**{
        **dict(once),
        "header": once.header.encode(),
        "derive": None if once.derive is None else _derive(once.derive),
        "fingerprint": _parts(once.fingerprint),
        "upstream_header": None if once.upstream_header is None else once.upstream_header.encode(),
        "store_errors": StoreErrors(**{name: tuple(ranges) for name, ranges in once.store_errors}),
    })  # fmt: skip


def _derive(derive: schema.Derive) -> Derive:
    assert derive.scope is not None  # noqa: S101 - checks.py has demanded it
    assert derive.window is not None  # noqa: S101 - "
    return Derive(_parts(derive.from_), derive.scope, derive.window)


def _parts(parts: list[str]) -> tuple[str, ...]:
    """In one order, however they were written: pods and reloads have to make the same of the same call."""
    return tuple(sorted(parts, key=lambda part: (_PARTS.index(part) if part in _PARTS else len(_PARTS), part)))


def _step(step: schema.Step | str) -> FallbackStep:
    if isinstance(step, str):
        return ServeStale()
    if step.api is not None:
        return ToApi(step.api)
    assert step.status is not None  # noqa: S101 - checks.py has demanded it
    headers = tuple((name.encode(), value.encode()) for name, value in step.fields().items())
    return Static(step.status, headers, step.body)


# --- what people see ----------------------------------------------------------------------------------------


def _effective(document: schema.Document, root: Mapping, merged: dict[tuple[str | int, ...], Merged]) -> dict[str, Any]:
    """Every setting with its value in canonical form, secrets masked."""
    effective: dict[str, Any] = _mask(document.model_dump(mode="json", exclude={"apis", "defaults"}), root)
    effective["apis"] = {}
    for name, api in document.apis.items():
        loc: tuple[str | int, ...] = ("apis", name)
        own = _mask(api.model_dump(mode="json", exclude={"routes", *POLICIES}), find(root, loc).node)
        own |= _shown_policies(merged[loc])
        if api.upstream_proxy is None:
            own["upstream_proxy"] = effective["upstream_proxy"]
        own["routes"] = {}
        for index, route in enumerate(api.routes):
            inner = (*loc, "routes", index)
            match = _mask(route.match.model_dump(mode="json"), find(root, (*inner, "match")).node)
            own["routes"][route.name] = {"match": match, **_shown_policies(merged[inner])}
        effective["apis"][name] = own
    return effective


def _shown_policies(merged: Merged) -> dict[str, Any]:
    shown: dict[str, Any] = _mask(merged.policies.model_dump(mode="json"), merged.nodes)
    return shown


def _mask(value: Any, node: Node | None) -> Any:
    """``value``, with the masked text wherever its node was made from a secret."""
    match node:
        case Scalar(shown=str() as shown):
            return shown
        case Mapping() if isinstance(value, dict):
            return {key: _mask(inner, _child(node, key)) for key, inner in value.items()}
        case Sequence() if isinstance(value, list):
            return [_mask(inner, item) for inner, item in zip(value, node.items, strict=True)]
        case _:
            return value


def _child(node: Mapping, key: str) -> Node | None:
    return node.entries[key].node if key in node.entries else None


def _origins(
    document: schema.Document, root: Mapping, merged: dict[tuple[str | int, ...], Merged]
) -> Iterator[tuple[str, str]]:
    """Path in the effective configuration, and the line that set it."""
    if "upstream_proxy" in root.entries:
        for name in document.apis:
            yield f"apis.{name}.upstream_proxy", str(root.entries["upstream_proxy"].key)
    for path, mark, _ in walk(root):
        if path[0] not in {"apis", "defaults"} or (len(path) > 2 and path[2] not in {"routes", *POLICIES}):
            yield ".".join(path), str(mark)
    for loc, (_, nodes) in merged.items():
        head = [*loc]
        if len(loc) > 2:
            head[-1] = document.apis[str(loc[1])].routes[int(loc[-1])].name
        yield ".".join(map(str, head)), str(find(root, loc).key)
        for path, mark, _ in walk(nodes):
            if mark != _BUILT_IN:
                yield ".".join(map(str, (*head, *path))), str(mark)
