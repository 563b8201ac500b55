"""The rules for captured traffic: what may be reached, by which way, and where what interception needs is kept.

Called by ``load.py`` on what is not broken. What ``egress`` means is asked of ``core/egress.py``, which also answers
real connections. Only what is a mistake wherever it runs is refused: an entry that never has an effect, an api that
nothing would reach, a key that the agent would see.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path, PurePath
from typing import Final, TypeAlias

from proxy.config.checks import has
from proxy.config.document import Mapping, display, has_broken
from proxy.config.problems import Problems
from proxy.config.process import Egress
from proxy.config.schema import Document
from proxy.config.settings import UpstreamProxy
from proxy.config.validate import Place, find
from proxy.core.egress import (
    Decision,
    EgressSettings,
    Pattern,
    Via,
    judge_address,
    judge_name,
    judge_unresolved,
    literal,
)

_Network: TypeAlias = IPv4Network | IPv6Network | None
_ANY: Final = EgressSettings()
_PORTS: Final = {"http": 80, "https": 443}
_LOOPBACK: Final = "127.0.0.1"  # what localhost is (RFC 6761, 6.3)
_UNREACHABLE: Final = {
    "own_listener": (
        "Backstay itself listens there, and refuses to call itself",
        "write the address of the upstream",
    ),
    "metadata": (
        "this is a metadata service, which gives out the credentials of the machine: nothing would reach it",
        "add this very host to egress.allow if that is meant, or remove the api",
    ),
    "not_a_host": ("its host is neither a name nor an address", "correct it"),
}


def egress_settings(given: Egress) -> EgressSettings:
    """``egress`` as the rest of the program sees it."""
    return EgressSettings(
        unlisted=given.unlisted,
        private_networks=given.private_networks,
        allow=tuple(given.allow),
        deny=tuple(given.deny),
        pass_through=tuple(given.pass_through),
    )


def authority_files(document: Document) -> list[Path]:
    """What an authority may be kept in: renewed in place, as Kubernetes renews a secret."""
    if document.tls_intercept is None:
        return []
    folder = Path(document.tls_intercept.ca_dir)
    return [folder / name for name in ("ca.crt", "ca.key", "tls.crt", "tls.key")]


def check_capture(document: Document, root: Mapping, problems: Problems) -> None:
    """Note what is wrong with ``egress``, ``tls_intercept`` and ``upstream_proxy``."""
    checker = _Checker(document, root, problems)
    checker.twice()
    checker.without_effect()
    checker.folders()
    checker.proxies()
    checker.apis()


class _Checker:
    def __init__(self, document: Document, root: Mapping, problems: Problems) -> None:
        self._document = document
        self._root = root
        self._problems = problems
        self._egress = egress_settings(document.egress)
        self._own = list(_own(document))

    def twice(self) -> None:
        for key in ("allow", "deny", "pass_through"):
            seen: dict[tuple[object, ...], int] = {}
            for index, pattern in enumerate(getattr(self._egress, key)):
                what = (pattern.host, pattern.network, pattern.port)
                if seen.setdefault(what, index) != index:
                    place = self._at("egress", key, index)
                    self._add(place, f"{display(place.node)} is listed twice", "keep the first")

    def without_effect(self) -> None:
        """Entries that mean nothing beside others: ``deny`` goes before ``allow``, however exact that is."""
        for index, pattern in enumerate(self._egress.allow):
            by = next((at for at, other in enumerate(self._egress.deny) if _covers(other, pattern)), None)
            if by is not None:
                place, other = self._at("egress", "allow", index), self._at("egress", "deny", by)
                message = f"{display(place.node)} is denied by {display(other.node)} in deny ({other.node.mark})"
                self._add(place, message, "keep one of the two: deny goes first")
        if self._egress.pass_through and self._document.tls_intercept is None and not self._is_broken("tls_intercept"):
            message = "nothing is intercepted, so that this has no effect"
            self._add(self._at("egress", "pass_through"), message, "add tls_intercept: {}, or remove it")

    def folders(self) -> None:
        """The agent mounts one of them, and must not find the key there."""
        given = self._document.tls_intercept
        if given is None or self._is_broken("tls_intercept"):
            return
        ca_dir, trust_dir = (PurePath(os.path.realpath(folder)) for folder in (given.ca_dir, given.trust_dir))
        if ca_dir == trust_dir:
            self._same("ca_dir and trust_dir are the same folder")
        elif ca_dir.is_relative_to(trust_dir) or trust_dir.is_relative_to(ca_dir):
            self._same("one of ca_dir and trust_dir is within the other")

    def _same(self, message: str) -> None:
        key = next(key for key in ("trust_dir", "ca_dir") if has(self._root, "tls_intercept", key))
        message += ": the agent mounts trust_dir, and must never see the key"
        self._add(self._at("tls_intercept", key), message, "write two folders side by side")

    def proxies(self) -> None:
        """A proxy that is Backstay itself would be asked for ever."""
        given: dict[tuple[str, ...], UpstreamProxy | str | None] = {
            ("upstream_proxy",): self._document.upstream_proxy,
            **{("apis", name, "upstream_proxy"): api.upstream_proxy for name, api in self._document.apis.items()},
        }
        for loc, proxy in given.items():
            if isinstance(proxy, UpstreamProxy) and self._is_own(proxy.host, proxy.port):
                self._add(self._at(*loc), _UNREACHABLE["own_listener"][0], "write the address of the proxy, or off")

    def apis(self) -> None:
        """What an api names has to be reachable by it."""
        if self._is_broken("egress"):
            return
        for name, api in self._document.apis.items():
            host, port = str(api.url.hostname), api.url.port or _PORTS[api.url.scheme]
            proxy = self._document.upstream_proxy if api.upstream_proxy is None else api.upstream_proxy
            decision = self._judged(host, port, through=isinstance(proxy, UpstreamProxy))
            if decision is not None and decision.verdict == "deny":
                self._add(self._at("apis", name, "url"), *self._said(decision, name))

    def _judged(self, host: str, port: int, *, through: bool) -> Decision | None:
        """What is known of a host before it is resolved, here or by a proxy."""
        if through:
            return judge_unresolved(self._egress, host, port, Via.API)
        decision = judge_name(self._egress, host, port, Via.API, own=self._own)
        if decision is None and host == "localhost":
            return judge_address(self._egress, host, _LOOPBACK, port, Via.API, own=self._own)
        return decision

    def _said(self, decision: Decision, api: str) -> tuple[str, str]:
        if decision.rule in _UNREACHABLE:
            return _UNREACHABLE[decision.rule]
        text = decision.rule.removeprefix("deny: ")
        index = next(index for index, pattern in enumerate(self._egress.deny) if pattern.text == text)
        entry = self._at("egress", "deny", index).node
        message = f"egress.deny has {display(entry)} ({entry.mark}), so that nothing would reach {api!r}"
        return message, "take it out there, or remove the api"

    def _is_own(self, host: str, port: int) -> bool:
        address = _LOOPBACK if host == "localhost" else literal(host)
        if address is None:
            return False
        return judge_address(_ANY, None, str(address), port, Via.API, own=self._own).rule == "own_listener"

    def _at(self, *loc: str | int) -> Place:
        return find(self._root, loc)

    def _add(self, place: Place, message: str, remedy: str) -> None:
        self._problems.add(place.node.mark, place.path, message, remedy)

    def _is_broken(self, key: str) -> bool:
        return key in self._root.entries and has_broken(self._root.entries[key].node)


def _own(document: Document) -> Iterator[tuple[str, int]]:
    """The listeners whose addresses are known before they are resolved."""
    for _, given in document.listen:
        if given is not None and given[1] != 0:
            address = _LOOPBACK if given[0] == "localhost" else literal(given[0])
            if address is not None:
                yield str(address), given[1]


def _covers(wide: Pattern, narrow: Pattern) -> bool:
    """Whether the one has all that the other has."""
    if wide.port not in {None, narrow.port}:
        return False
    if wide.host is not None and narrow.host is not None:
        return wide.host == narrow.host or (wide.host.startswith("*.") and narrow.host.endswith(wide.host[1:]))
    return _is_within(narrow.network, wide.network)


def _is_within(narrow: _Network, wide: _Network) -> bool:
    if isinstance(narrow, IPv4Network) and isinstance(wide, IPv4Network):
        return narrow.subnet_of(wide)
    return isinstance(narrow, IPv6Network) and isinstance(wide, IPv6Network) and narrow.subnet_of(wide)
