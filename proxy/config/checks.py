"""The rules of a configuration that span several keys.

Called by ``load.py`` on what is not broken. ``check_document`` sees the file as written, ``check_policies``
the policies of one api or route after merging.
"""

from __future__ import annotations

import ipaddress
from typing import Final, TypeAlias

from proxy.config import kinds
from proxy.config.document import Mapping, Node, display, has_broken
from proxy.config.problems import Problems
from proxy.config.process import Listen
from proxy.config.schema import (
    Api,
    Breaker,
    Cache,
    Derive,
    Document,
    Idempotency,
    Policies,
    RateLimit,
    Retry,
    Step,
    StoreErrors,
    Timeout,
)
from proxy.config.units import UnitError, write_duration
from proxy.config.validate import Place, find
from proxy.core.fallback import RESERVED_FIELDS

Loc: TypeAlias = tuple[str | int, ...]

_NO_BODY: Final = {204, 205, 304}  # RFC 9110, 15.3.5, 15.3.6 and 15.4.5


def check_document(document: Document, root: Mapping, problems: Problems) -> None:
    """Everything but the policies."""
    checker = _Checker(root, problems)
    checker.required(document)
    checker.names(document)
    checker.listen(document.listen)
    checker.mounts(document.apis)
    checker.hosts(document.apis)
    for name, api in document.apis.items():
        checker.api(name, api)


class _Checker:
    def __init__(self, root: Mapping, problems: Problems) -> None:
        self._root = root
        self._problems = problems

    def _add(self, loc: tuple[str | int, ...], message: str, remedy: str) -> None:
        place = find(self._root, loc)
        self._problems.add(place.node.mark, place.path, message, remedy)

    def _at(self, *loc: str | int) -> Place:
        return find(self._root, loc)

    def required(self, document: Document) -> None:
        entries = self._root.entries
        if "version" not in entries:
            self._problems.add(self._root.mark, "version", "'version' is missing", "start with version: 1")
        if not document.apis and ("apis" not in entries or _is_empty(entries["apis"].node)):
            self._problems.add(self._root.mark, "apis", "no api is configured", "add apis: {name: {url: https://host}}")

    def names(self, document: Document) -> None:
        for name in document.apis:
            try:
                kinds.NAME.read(name)
            except UnitError as error:
                place = self._at("apis", name)
                self._problems.add(place.key, place.path, f"{name!r} is no name of an api", error.remedy)

    def listen(self, listen: Listen) -> None:
        if "listen" in self._root.entries and has_broken(self._root.entries["listen"].node):
            return
        taken: list[tuple[str, tuple[str, int]]] = []
        for key in ("agent", "transparent", "metrics", "admin"):
            address = getattr(listen, key)
            if address is None or address[1] == 0:
                continue
            for other, used in taken:
                if _clash(address, used):
                    loc = next(loc for loc in (("listen", key), ("listen", other)) if has(self._root, *loc))
                    self._add(loc, f"{key} and {other} listen at the same address", "give each its own port")
            taken.append((key, address))

    def mounts(self, apis: dict[str, Api]) -> None:
        seen: dict[str, str] = {}
        for name, api in apis.items():
            folded = (api.mount or "").lower()
            if folded and (other := seen.setdefault(folded, name)) != name:
                same = (
                    "the same mount as"
                    if apis[other].mount == api.mount
                    else "a mount that differs only in case from that of"
                )
                place = self._at("apis", other, "mount")
                self._add(
                    ("apis", name, "mount"), f"{same} {other!r} ({place.node.mark})", "give each api its own mount"
                )

    def hosts(self, apis: dict[str, Api]) -> None:
        """A host belongs to one api; an api may share the host of its url if it has a mount or another name."""
        owners: dict[str, str] = {}
        for name, api in apis.items():
            for index, host in enumerate(api.hosts):
                if (other := owners.setdefault(host, name)) != name:
                    self._add(
                        ("apis", name, "hosts", index), f"the api {other!r} has this host already", "name it once"
                    )
        for name, api in apis.items():
            self._own_host(name, api, owners)

    def _own_host(self, name: str, api: Api, owners: dict[str, str]) -> None:
        host = str(api.url.hostname)
        other = owners.setdefault(host, name)
        if other != name and api.mount is None and not api.hosts:
            message = f"the api {other!r} has this host already, so that nothing would reach {name!r}"
            self._add(("apis", name, "url"), message, "give it a mount or another name in hosts")

    def api(self, name: str, api: Api) -> None:
        self._tls(name, api)
        seen: dict[str, int] = {}
        for index, route in enumerate(api.routes):
            loc = ("apis", name, "routes", index)
            if route.name == "default":
                self._add((*loc, "name"), "'default' is the name of the calls that no route matches", "choose another")
            elif seen.setdefault(route.name, index) != index:
                self._add((*loc, "name"), f"two routes of {name!r} have this name", "give each route its own name")
            everything = route.match.methods is None and route.match.paths is None
            if everything and not has_broken(self._at(*loc, "match").node):
                self._add(
                    (*loc, "match"), "a route that matches everything", "set methods or paths, or use the api itself"
                )

    def _tls(self, name: str, api: Api) -> None:
        if api.tls.client_key is not None and api.tls.client_cert is None:
            self._add(("apis", name, "tls", "client_key"), "a key without its certificate", "set client_cert too")
        if api.url.scheme == "http":
            for key, value in api.tls:
                if value is not None:
                    self._add(
                        ("apis", name, "tls", key),
                        "the url is not https, so that this has no effect",
                        "write https:// in url, or remove it",
                    )


def _is_empty(node: Node) -> bool:
    return isinstance(node, Mapping) and not node.entries


def _clash(one: tuple[str, int], two: tuple[str, int]) -> bool:
    """Whether two sockets would fight for a port: the same host, or one of them on every interface."""
    return one[1] == two[1] and (one[0] == two[0] or _is_wildcard(one[0]) or _is_wildcard(two[0]))


def _is_wildcard(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def check_policies(policies: Policies, merged: Mapping, path: str, problems: Problems) -> None:
    """The rules within each policy; ``merged`` tells where the settings came from."""
    checker = _PolicyChecker(merged, path, problems)
    if policies.breaker and checker.sound("breaker"):
        checker.breaker(policies.breaker)
    if policies.retry and checker.sound("retry"):
        checker.retry(policies.retry)
    if policies.rate_limit and checker.sound("rate_limit"):
        checker.rate_limit(policies.rate_limit)
    if policies.cache and checker.sound("cache"):
        checker.cache(policies.cache)
        if checker.sound("timeout"):
            checker.stale_wait(policies.cache, policies.timeout)
    if policies.idempotency and checker.sound("idempotency"):
        checker.idempotency(policies.idempotency)
    if policies.fallback:
        checker.fallback(policies.fallback)


class _PolicyChecker:
    def __init__(self, merged: Mapping, path: str, problems: Problems) -> None:
        self._merged = merged
        self._path = path
        self._problems = problems

    def sound(self, policy: str) -> bool:
        """A policy with a mistake in it has defaults where it is broken: they prove nothing."""
        return not has_broken(self._merged.entries[policy].node)

    def breaker(self, breaker: Breaker) -> None:
        if breaker.max_open < breaker.open:
            loc = self._given(("breaker", "open"), ("breaker", "max_open"))
            self._add(loc, "open is longer than max_open", "raise max_open, or lower open")
        if breaker.error_ratio is None and breaker.consecutive is None and breaker.slow_call is None:
            remedy = "set error_ratio, consecutive or slow_call, or write breaker: off"
            self._add(("breaker",), "nothing can open this breaker", remedy)

    def retry(self, retry: Retry) -> None:
        if retry.backoff.base > retry.backoff.max:
            loc = self._given(("retry", "backoff", "base"), ("retry", "backoff", "max"))
            self._add(loc, "base is longer than max", "raise max, or lower base")

    def rate_limit(self, limit: RateLimit) -> None:
        if limit.rate is None:
            self._add(("rate_limit",), "'rate' is missing", "add rate: 100/s, for instance")

    def cache(self, cache: Cache) -> None:
        if cache.mode == "ttl" and cache.ttl is None:
            loc = self._given(("cache", "ttl"), ("cache", "mode"))
            self._add(loc, "mode ttl needs a ttl", "add ttl: 30s, for instance")
        if cache.mode != "ttl" and cache.ttl is not None:
            self._add(("cache", "ttl"), "ttl has no effect in mode rfc9111", "add mode: ttl, or write ttl: off")

    def stale_wait(self, cache: Cache, timeout: Timeout) -> None:
        if cache.stale_wait >= timeout.total:
            loc = self._given(("cache", "stale_wait"), ("timeout", "total"))
            remedy = f"lower cache.stale_wait below {write_duration(timeout.total)}, or raise total"
            self._add(loc, "stale_wait is not below timeout.total", remedy)

    def idempotency(self, once: Idempotency) -> None:
        if once.lease > once.retain:
            loc = self._given(("idempotency", "lease"), ("idempotency", "retain"))
            self._add(loc, "lease is longer than retain", "raise retain, or lower lease")
        if once.store == "shared" and not has(self._merged, "idempotency", "scope"):
            message = "in a shared store, who may get whose answers has to be said"
            remedy = "add scope: credential, or scope: api if all callers are one tenant"
            self._add(("idempotency", "store"), message, remedy)
        self._listed_once(("idempotency", "fingerprint"), once.fingerprint)
        if once.derive:
            self._derive(once.derive)
        self._apart(once.store_errors)

    def _derive(self, derive: Derive) -> None:
        loc = ("idempotency", "derive")
        examples = {"scope": "traceparent, or header:x-run-id", "window": "10m"}
        for key, example in examples.items():
            if getattr(derive, key) is None:
                message = f"{key!r} is missing: two equal calls may both be meant, and it tells them apart"
                self._add(loc, message, f"add {key}: {example}, for instance")
        self._listed_once((*loc, "from"), derive.from_)

    def _listed_once(self, loc: Loc, parts: list[str]) -> None:
        for index, part in enumerate(parts):
            if part in parts[:index]:
                shown = display(find(self._merged, (*loc, index)).node)
                self._add((*loc, index), f"{shown} is listed twice", "keep the first")

    def _apart(self, rules: StoreErrors) -> None:
        """A status means one thing."""
        seen: list[tuple[tuple[int, int], Loc]] = []
        for name, ranges in rules:
            for index, codes in enumerate(ranges):
                loc: Loc = ("idempotency", "store_errors", name, index)
                other = next((place for taken, place in seen if codes[0] <= taken[1] and taken[0] <= codes[1]), None)
                if other is not None:
                    one, two = find(self._merged, loc).node, find(self._merged, other).node
                    message = f"{display(one)} overlaps with {display(two)} in {other[2]} ({two.mark})"
                    self._add(loc, message, "list each status once")
                seen.append((codes, loc))

    def fallback(self, steps: list[Step | str]) -> None:
        seen: set[str] = set()
        for index, step in enumerate(steps):
            loc, what = ("fallback", index), step if isinstance(step, str) else step.api
            if has_broken(find(self._merged, loc).node):
                continue
            if "" in seen:
                message = "this is never reached: the answer in front of it ends the list"
                self._add(loc, message, "move it in front of that answer, or remove it")
                break
            if what in seen:
                self._add(loc, f"{what!r} is listed twice", "keep the first")
            if isinstance(step, Step):
                self._step(loc, step)
            seen.add(what or "")

    def _step(self, loc: Loc, step: Step) -> None:
        if step.api is None and step.status is None:
            self._add(loc, "a step needs api or status", "write stale, {api: NAME}, or {status: 200, body: '...'}")
        beside = [key for key in ("status", "headers", "body") if key in step.model_fields_set]
        if step.api is not None and beside:
            self._add((*loc, beside[0]), f"{beside[0]} has no effect beside api", "make it a step of its own")
        if step.status in _NO_BODY and step.body:
            self._add((*loc, "body"), f"an answer with status {step.status} has no body", "remove it, or the status")
        names: dict[str, str] = {}
        for name in step.headers:
            self._field((*loc, "headers", name), name, names.setdefault(name.lower(), name))

    def _field(self, loc: Loc, name: str, first: str) -> None:
        place = find(self._merged, loc)
        message, remedy = f"{first!r} is given already", "keep one of the two"
        if first == name and name.lower().encode() in RESERVED_FIELDS:
            message, remedy = f"{name!r} is for Backstay to say", "remove it"
        elif first == name:
            try:
                kinds.FIELD.read(name)
            except UnitError as error:
                message, remedy = f"{name!r} is not {error.expected}", error.remedy
            else:
                return
        self._problems.add(place.key, f"{self._path}.{place.path}", message, remedy)

    def _given(self, first: tuple[str, ...], second: tuple[str, ...]) -> Loc:
        """The first of two keys that is not a default."""
        return first if has(self._merged, *first) else second

    def _add(self, loc: Loc, message: str, remedy: str) -> None:
        place = find(self._merged, loc)
        self._problems.add(place.node.mark, f"{self._path}.{place.path}", message, remedy)


def has(node: Node, *steps: str) -> bool:
    """Whether a key is in the files, be it broken, and not a default."""
    for step in steps:
        if not isinstance(node, Mapping) or step not in node.entries:
            return False
        node = node.entries[step].node
    return True
