"""The rules of a configuration that span several apis and routes.

Called by ``load.py`` on merged policies. A *scope* is an api (the calls that match no route of it) or a route.

- What needs a store needs one that is configured, and room in it.
- Nothing lets a call be carried out twice that is to be carried out once.
- What credentials that Backstay sets may see, is shared with nobody else's.
- A fallback names an api that exists. What fails here and there must not be sent round in a circle: any route of an
  api may answer a call that falls back to it, so that a circle of apis is one, whichever routes it leads through.
- A setting has an effect in at least one of the scopes that it reaches: one in ``defaults`` may be idle in some.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as AnyMapping
from itertools import product
from typing import Final, NamedTuple

from proxy.config.build import Merged
from proxy.config.checks import has
from proxy.config.document import Mapping, Scalar, display, has_broken
from proxy.config.problems import Mark, Problems, near
from proxy.config.schema import Document, Idempotency, Policies, Step
from proxy.config.units import write_size
from proxy.config.validate import Place, find
from proxy.core.freshness import CacheSettings
from proxy.core.methods import reads, unsafe
from proxy.core.vendors import vendor_of

_STORES: Final = {
    "shared": ("there is no shared store", "add stores: {shared: redis://host:6379/0}, or write store: memory"),
    "ledger": (
        "there is no ledger",
        "add stores: {ledger: sqlite:/var/lib/backstay/ledger.db}, or write store: memory",
    ),
}


class Room(NamedTuple):
    """What limits a store of a policy, and the largest answer that the policy would put there."""

    policy: str
    store: str
    largest: str
    limit: tuple[str, str, str]


_ROOMS: Final = (
    Room("cache", "memory", "max_object", ("limits", "memory", "cache")),
    Room("idempotency", "memory", "max_body", ("limits", "memory", "idempotency")),
    Room("idempotency", "ledger", "max_body", ("limits", "disk", "ledger")),
)


class Scope(NamedTuple):
    """An api, or one of its routes."""

    loc: tuple[str | int, ...]
    api: str
    route: str  # empty: the api itself
    methods: set[str] | None  # any, if None
    policies: Policies
    nodes: Mapping

    def at(self, *loc: str | int) -> Place:
        """Where one of its policies says something."""
        return find(self.nodes, loc)

    def sound(self, policy: str) -> bool:
        """A policy with a mistake in it has defaults where it is broken: they prove nothing."""
        return not has_broken(self.at(policy).node)

    def path(self, place: Place) -> str:
        """The path of a place in its policies."""
        return ".".join(map(str, (*self.loc, place.path)))

    def __str__(self) -> str:
        return f"{self.api} (route {self.route})" if self.route else self.api


class Edge(NamedTuple):
    """A step that sends calls of a scope to another api."""

    scope: Scope
    target: str
    place: Place


class Claim(NamedTuple):
    """A setting in one scope, and whether it has an effect there."""

    scope: Scope
    place: Place
    effective: bool
    message: str
    remedy: str


def check_scopes(
    document: Document, root: Mapping, merged: AnyMapping[tuple[str | int, ...], Merged], problems: Problems
) -> None:
    """Note what is wrong between apis and routes."""
    checker = _Checker(document, root, list(_scopes(document, root, merged)), problems)
    checker.stores()
    checker.rooms()
    checker.twice()
    checker.whose()
    checker.effects()
    _circles(list(checker.edges()), problems)


def _scopes(document: Document, root: Mapping, merged: AnyMapping[tuple[str | int, ...], Merged]) -> Iterator[Scope]:
    for loc, (policies, nodes) in merged.items():
        api, route, methods = str(loc[1]), "", None
        if len(loc) > 2:
            found = document.apis[api].routes[int(loc[-1])]
            route = found.name
            sound = not has_broken(find(root, (*loc, "match")).node)
            methods = set(found.match.methods) if sound and found.match.methods else None
        yield Scope(loc, api, route, methods, policies, nodes)


class _Checker:
    def __init__(self, document: Document, root: Mapping, scopes: list[Scope], problems: Problems) -> None:
        self._document = document
        self._root = root
        self._scopes = scopes
        self._problems = problems

    def stores(self) -> None:
        if self._is_broken(("stores",)):
            return
        for scope, policy in product(self._scopes, ("cache", "idempotency")):
            given = getattr(scope.policies, policy)
            if given and given.store in _STORES and getattr(self._document.stores, given.store) is None:
                self._add(scope, scope.at(policy, "store"), *_STORES[given.store])

    def rooms(self) -> None:
        """Two of the largest answers fit into a store: one must not throw out all others."""
        if self._is_broken(("limits",)):
            return
        for scope, room in product(self._scopes, _ROOMS):
            given = getattr(scope.policies, room.policy)
            if given and given.store == room.store:
                self._room(scope, room, getattr(given, room.largest))

    def _room(self, scope: Scope, room: Room, largest: int) -> None:
        limit: int = getattr(getattr(self._document.limits, room.limit[1]), room.limit[2])
        named, key = ".".join(room.limit), f"{room.policy}.{room.largest}"
        if 2 * largest <= limit:
            return
        if has(scope.nodes, room.policy, room.largest):
            message = f"this is more than half of {named} ({write_size(limit)})"
            remedy = f"write {write_size(limit // 2)} or less, or raise {named}"
            self._add(scope, scope.at(room.policy, room.largest), message, remedy)
        else:
            place = find(self._root, room.limit)
            message = f"this is less than two answers of {key} ({write_size(largest)})"
            remedy = f"write {write_size(2 * largest)} or more, or lower {key}"
            self._problems.add(place.node.mark, place.path, message, remedy)

    def twice(self) -> None:
        """What would carry out a call twice, or answer it twice."""
        for scope in self._scopes:
            once, cache = scope.policies.idempotency, scope.policies.cache
            if once and once.on_unknown == "resend" and scope.sound("idempotency"):
                self._resend(scope, once)
            if once and cache and cache.key_body and (scope.methods is None or "POST" in scope.methods):
                message = "POST is a read here, and has idempotency, too: both would answer it"
                remedy = "write key_body: false or idempotency: off, or give the reads a route of their own"
                self._add(scope, scope.at("cache", "key_body"), message, remedy)

    def _resend(self, scope: Scope, once: Idempotency) -> None:
        """Only where the upstream gets a key and carries it out once. How long it knows it, is seen to at each call."""
        if once.upstream == "honours":
            return
        host = str(self._document.apis[scope.api].url.hostname)
        vendor = vendor_of(host) if once.upstream == "auto" else None
        remedy = "write on_unknown: refuse, or upstream: honours if its documentation says so"
        if vendor is None:
            why = "it ignores keys" if once.upstream == "ignores" else "it is not known to honour keys"
        elif once.upstream_header is None:
            why, remedy = "the key is not sent", "write on_unknown: refuse, or remove upstream_header: off"
        elif once.upstream_header.lower() not in {"auto", vendor.header.decode().lower()}:
            why = f"{vendor.name} looks for a key in {vendor.header.decode()} alone"
            remedy = "write on_unknown: refuse, or upstream_header: auto"
        else:
            return
        message = f"{scope.api!r} might carry out twice what is sent again: {why}"
        self._add(scope, scope.at("idempotency", "on_unknown"), message, remedy)

    def whose(self) -> None:
        """What the credentials of one pod may see is not for the agents of another, which may have others."""
        for scope in self._scopes:
            cache = scope.policies.cache
            has_own = bool(self._document.apis[scope.api].credentials)
            if cache and (cache.store, cache.scope, has_own) == ("shared", "shared", True) and scope.sound("cache"):
                message = f"pods with other credentials for {scope.api!r} would get the answers to these"
                self._add(scope, scope.at("cache", "scope"), message, "write scope: credential, or store: memory")

    def edges(self) -> Iterator[Edge]:
        """The steps that lead to other apis; those that lead nowhere are noted."""
        apis = self._root.entries.get("apis")
        known = [*apis.node.entries] if apis and isinstance(apis.node, Mapping) else []
        for scope in self._scopes:
            for index, step in _steps(scope):
                if not isinstance(step, Step) or step.api is None:
                    continue
                place = scope.at("fallback", index, "api")
                if step.api not in known:
                    self._unknown(scope, place, step.api, known)
                elif step.api == scope.api:
                    remedy = f"name another api, or give {scope.api!r} a fallback of its own"
                    self._add(scope, place, f"{scope.api!r} falls back to itself", remedy)
                else:
                    yield Edge(scope, step.api, place)

    def _unknown(self, scope: Scope, place: Place, name: str, known: list[str]) -> None:
        shown = isinstance(place.node, Scalar) and place.node.shown is None
        hint = near(name, known) if shown else None
        remedy = hint or f"write one of {', '.join(known)}"
        self._add(scope, place, f"no api is named {display(place.node)}", remedy)

    def effects(self) -> None:
        """Settings without effect in any scope that they reach."""
        reached: dict[tuple[Mark, str], list[Claim]] = {}
        for scope in self._scopes:
            for claim in self._claims(scope):
                reached.setdefault((claim.place.node.mark, claim.message), []).append(claim)
        for claims in reached.values():
            if not any(claim.effective for claim in claims):
                scope, place, _, message, remedy = claims[0]
                self._add(scope, place, message, remedy)

    def _claims(self, scope: Scope) -> Iterator[Claim]:
        policies, has_cache = scope.policies, self._has(scope, "cache")
        for index, step in _steps(scope):
            if step == "stale":
                message = "there is no cache that could have a stale answer"
                yield Claim(scope, scope.at("fallback", index), has_cache, message, "add cache: {}, or remove stale")
        if policies.rate_limit and policies.rate_limit.fallback:
            stands_in = has_cache or self._has(scope, "fallback")
            message = "there is nothing that could stand in for a refusal"
            remedy = "add a fallback or a cache, or remove it"
            yield Claim(scope, scope.at("rate_limit", "fallback"), stands_in, message, remedy)
        if policies.cache:
            yield from _reads(scope, key_body=policies.cache.key_body)
        if policies.idempotency:
            yield from _once(scope, policies.idempotency)

    def _add(self, scope: Scope, place: Place, message: str, remedy: str) -> None:
        self._problems.add(place.node.mark, scope.path(place), message, remedy)

    def _has(self, scope: Scope, policy: str) -> bool:
        """Whether a scope has a policy; if one is broken on the way to it, who knows."""
        layers = [("defaults", policy), (*scope.loc[:2], policy), (*scope.loc, policy)]
        return getattr(scope.policies, policy) is not None or any(map(self._is_broken, layers))

    def _is_broken(self, loc: tuple[str | int, ...]) -> bool:
        place = find(self._root, loc)
        return place.path.count(".") == len(loc) - 1 and has_broken(place.node)


def _steps(scope: Scope) -> Iterator[tuple[int, Step | str]]:
    """The steps of its fallback with their indexes, as ``find`` counts them."""
    yield from enumerate(scope.policies.fallback or ())


def _reads(scope: Scope, *, key_body: bool) -> Iterator[Claim]:
    """What a cache is told about reads means nothing where there are none."""
    plain = {method for method in scope.methods or () if reads(CacheSettings(), method.encode())}
    by_body = {method for method in scope.methods or () if reads(CacheSettings(key_body=True), method.encode())} - plain
    if key_body:
        message, remedy = "no call with POST or QUERY comes here", "add POST to methods, or remove key_body"
        yield Claim(scope, scope.at("cache", "key_body"), scope.methods is None or bool(by_body), message, remedy)
    elif has(scope.nodes, "cache", "ttl"):
        message, remedy = "no call that comes here is a read", "add GET to methods, or key_body: true for POST"
        yield Claim(scope, scope.at("cache", "ttl"), scope.methods is None or bool(plain), message, remedy)


def _once(scope: Scope, once: Idempotency) -> Iterator[Claim]:
    """Nothing has to happen once where nothing happens; and where keys are ignored, they need no field."""
    writes = scope.methods is None or any(unsafe(method.encode()) for method in scope.methods)
    message, remedy = (
        "no call that comes here could happen twice: all its methods are safe",
        "add POST to methods, or remove it",
    )
    yield Claim(scope, scope.at("idempotency"), writes, message, remedy)
    if once.upstream_header not in {None, "auto"}:
        message, remedy = "an upstream that ignores keys needs no field for them", "remove it, or upstream: ignores"
        place = scope.at("idempotency", "upstream_header")
        yield Claim(scope, place, once.upstream != "ignores", message, remedy)


def _circles(edges: list[Edge], problems: Problems) -> None:
    """Note every circle of apis once, at the first step of it that the files have."""
    seen: set[frozenset[str]] = set()
    for edge in edges:
        circle = _way(edges, edge)
        apis = frozenset(step.scope.api for step in circle)
        if circle and apis not in seen:
            seen.add(apis)
            chain = " -> ".join([*(str(step.scope) for step in circle), edge.scope.api])
            message = f"the fallbacks go round in a circle: {chain}"
            problems.add(edge.place.node.mark, edge.scope.path(edge.place), message, "take one of these steps out")


def _way(edges: list[Edge], first: Edge) -> list[Edge]:
    """The shortest way that begins with a step and comes back to its api; empty if there is none."""
    ways = {first.target: [first]}
    heads = [first.target]
    for head in heads:
        for edge in edges:
            if edge.scope.api == head and edge.target not in ways:
                ways[edge.target] = [*ways[head], edge]
                heads.append(edge.target)
    return ways.get(first.scope.api, [])
