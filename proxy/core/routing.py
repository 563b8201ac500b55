"""Owns which api a request belongs to, which of its routes, and what target is sent upstream.

Called by ``config`` (settings) and ``runtime.py``, which builds the table and asks it once per request.

An api is found by the Host, else by the longest mount of which the path is a part; the port of the Host is ignored.
An address or ``localhost`` as Host comes last instead, and only with the port of the api's url: there Backstay itself
is meant more often than an upstream that runs beside it, and a call with a mistyped mount, and the credentials of one
api in its headers, must not end at another.

Mounts and routes are matched against the *normalised* path (RFC 3986, 6.2.2), so that no spelling evades a policy:
unreserved characters decoded, other escapes in upper case, ``//`` collapsed, then dot segments resolved. An encoded
slash stays encoded, and so does every other reserved character; a ``%`` that escapes nothing stays as it is.

What is *forwarded* is the path as it came, less the mount, after the path of the api's url: signatures and picky
servers depend on its spelling. Only where that would mean another place than the one that was matched (a mount spelt
in escapes, dot segments that climb out of the mount or of the url) the normalised path is forwarded instead.

Patterns of a route:

===================  ==========================================================================
``/v1/charges``      this path alone
``/v1/refunds/*``    everything below it, at any depth; not ``/v1/refunds`` itself
``/v1/*/lines``      exactly one segment
``/v1/in_*.pdf``     anything within a segment, also nothing
===================  ==========================================================================
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, TypeVar

from proxy.core.addresses import inner, literal

T = TypeVar("T")

_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_ADDRESS: Final = re.compile(r"localhost|[0-9.]+|\[.*\]|.*:.*")
_END_OF_PATH: Final = frozenset({b"", b"/", b"?"})  # or of a segment


@dataclass(frozen=True, slots=True)
class Match:
    """What a route asks of a request; None means anything."""

    methods: frozenset[bytes] | None = None
    paths: tuple[str, ...] | None = None


# --- spelling


def normalise_host(host: bytes) -> str:
    """The name in a Host field: lower case, without port and final dots; an IPv6 address without brackets."""
    name = host.decode("latin-1").lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0].rstrip(".")


def port_of(host: bytes, default: int = 80) -> int:
    """The port in a Host field, or that of its scheme."""
    digits = host.rpartition(b"]")[2].partition(b":")[2]
    return int(digits) if digits.isdigit() else default


def _one_spelling(name: str) -> str:
    """A host as it is compared: an address has many spellings (core/addresses.py), of which none evades its api."""
    name = name.lower().rstrip(".").strip("[]")
    address = literal(name)
    return name if address is None else str(inner(address)[0])


def moved(target: bytes, own: bytes, other: bytes) -> bytes:
    """A target below the path of a url, ``own``, as it is below that of another; what is not below it is kept whole."""
    if target == b"*":
        return target
    if target.startswith(own) and target[len(own) : len(own) + 1] in _END_OF_PATH:
        target = target[len(own) :]
    target = other + target
    return target if target.startswith(b"/") else b"/" + target


def normalise_path(path: bytes) -> str:
    """The path (no query) in the one spelling that is matched; begins with a slash, and keeps a final one."""
    text = path.decode("latin-1")
    return text if _is_clean(text) else _resolve(_ESCAPE.sub(_unescape, text))


def _is_clean(path: str) -> bool:
    """Whether a path is normalised as it stands; nearly every path of a real client is."""
    return "%" not in path and "//" not in path and "/." not in path


def _unescape(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return character if character in _UNRESERVED else escape[0].upper()


def _resolve(path: str) -> str:
    """Collapse empty segments, then remove dot segments (RFC 3986, 5.2.4)."""
    segments = [segment for segment in path.split("/") if segment]
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    names_a_folder = path.endswith("/") or not segments or segments[-1] in {".", ".."}
    return "/" + "/".join(kept) + ("/" if kept and names_a_folder else "")


# --- routes of an api


class _Rule(Generic[T]):
    """A Match, compiled."""

    __slots__ = ("_anything", "_exact", "_methods", "_pattern", "payload")

    def __init__(self, match: Match, payload: T) -> None:
        self.payload = payload
        self._methods = match.methods
        self._anything = match.paths is None
        paths = [normalise_path(path.encode()) for path in match.paths or ()]
        self._exact = frozenset(path for path in paths if "*" not in path)
        globs = [_regex(path) for path in paths if "*" in path]
        self._pattern = re.compile("|".join(globs), re.DOTALL) if globs else None

    def fits(self, method: bytes, path: str) -> bool:
        if self._methods is not None and method not in self._methods:
            return False
        if self._anything or path in self._exact:
            return True
        return self._pattern is not None and self._pattern.fullmatch(path) is not None


def _regex(glob: str) -> str:
    """A pattern as a regular expression that takes linear time, since the other side chooses the path."""
    *segments, last = glob.split("/")
    tail = ".*" if last == "*" else _segment_regex(last)
    return "/".join([*map(_segment_regex, segments), tail])


def _segment_regex(segment: str) -> str:
    if segment == "*":
        return "[^/]+"
    first, *rest = (re.escape(part) for part in re.split(r"\*+", segment))
    if not rest:
        return first
    # The earliest place of each inner part is as good as any later one, so the group may be atomic: no backtracking.
    inner = "".join(f"(?>[^/]*?{part})" for part in rest[:-1])
    return f"{first}{inner}[^/]*{rest[-1]}"


class ApiEntry(Generic[T]):
    """An api with its routes: where it is found, and what (``T``) answers which of its calls."""

    __slots__ = ("_rules", "base", "base_path", "default", "hosts", "mount", "name", "port", "prefix")

    def __init__(
        self,
        *,
        name: str,
        mount: str | None,
        hosts: tuple[str, ...],
        base_path: str,
        routes: Sequence[tuple[Match, T]],
        default: T,
        port: int = 80,
    ) -> None:
        self.name = name
        self.port = port  # of the url: what an address as Host must have too
        self.mount = mount  # "/stripe", or "/" for everything
        self.prefix = "" if mount is None else mount.rstrip("/")
        self.hosts = hosts  # that of the url first; further names win over another api's url
        self.base_path = base_path  # "" or "/v1"
        self.base = base_path.encode("latin-1")
        self.default = default
        self._rules = [_Rule(match, payload) for match, payload in routes]

    def pick(self, method: bytes, path: str) -> T:
        """What answers a call to this (normalised) path of the api: the first route that fits, or the default."""
        for rule in self._rules:
            if rule.fits(method, path):
                return rule.payload
        return self.default

    def __repr__(self) -> str:
        return f"<ApiEntry {self.name} mount={self.mount} hosts={self.hosts} routes={len(self._rules)}>"


# --- the table


class Found(NamedTuple, Generic[T]):
    """The api of a request."""

    entry: ApiEntry[T]
    path: str  # normalised, within the api: what routes are matched against
    query: bytes  # without the question mark
    upstream_target: bytes  # what to ask the upstream for


class _HostNames(dict[bytes, str]):
    """Memo of normalised hosts; bounded, since the other side chooses the keys."""

    _LIMIT: Final = 256

    def __missing__(self, host: bytes) -> str:
        name = normalise_host(host)
        if len(self) < self._LIMIT and len(host) <= 64:
            self[host] = name
        return name


class Table(Generic[T]):
    """Every api, found by host or mount in a time that does not depend on how many there are."""

    __slots__ = ("_addresses", "_by_segment", "_hosts", "_names", "_root")

    def __init__(self, apis: Sequence[ApiEntry[T]]) -> None:
        self._names = _HostNames()
        self._hosts: dict[str, ApiEntry[T]] = {}
        self._addresses: dict[tuple[str, int], ApiEntry[T]] = {}  # hosts that come after mounts, with the port
        self._by_segment: dict[str, list[ApiEntry[T]]] = {}  # first segment of the mount; longest mounts first
        self._root: ApiEntry[T] | None = None
        for names in (slice(1, None), slice(0, 1)):
            for api in apis:
                self._add_hosts(api, api.hosts[names])
        for api in sorted(apis, key=lambda api: -len(api.prefix)):
            self._add_mount(api)

    def _add_hosts(self, api: ApiEntry[T], hosts: tuple[str, ...]) -> None:
        for host in hosts:
            name = _one_spelling(host)
            if _ADDRESS.fullmatch(name):
                self._addresses.setdefault((name, api.port), api)
            else:
                self._hosts.setdefault(name, api)

    def _add_mount(self, api: ApiEntry[T]) -> None:
        if api.prefix:
            self._by_segment.setdefault(_first_segment(api.prefix), []).append(api)
        elif api.mount is not None and self._root is None:
            self._root = api

    def find(self, host: bytes, target: bytes) -> Found[T] | None:
        """The api of a request by its Host field and its target in origin-form (or ``*``), or None."""
        raw, mark, query = target.partition(b"?")
        if not raw.startswith(b"/"):
            return self._find_server(host) if target == b"*" else None
        path = raw.decode("latin-1")
        if not (clean := _is_clean(path)):
            path = normalise_path(raw)
        entry, prefix = self._locate(host, path)
        if entry is None:
            return None
        inside = path[len(prefix) :]
        forwarded = raw[len(prefix) :] if clean else _spelling(entry, prefix, inside, raw)
        upstream = entry.base + forwarded or b"/"
        return Found(entry, inside or "/", query, upstream + mark + query)

    def named(self, host: bytes, port: int = 80) -> ApiEntry[T] | None:
        """The api of this host, whatever the path: as in Host and in CONNECT; ``port``: if the host has none."""
        return self._hosts.get(self._names[host]) or self._at_address(host, port)

    def find_named(self, host: bytes, target: bytes, port: int = 80) -> Found[T] | None:
        """The same where the agent called the host itself and was caught, or takes us for its proxy: without mounts.

        At the url's own host the path is the vendor's, and is sent as it came; routes see it without the path of the
        url, of which it is usually a part. By a further name, it is a path below the url, as in ``find``.
        """
        entry = self.named(host, port)
        if entry is None:
            return None
        raw, mark, query = target.partition(b"?")
        if target == b"*":
            return Found(entry, "*", b"", b"*")
        path = normalise_path(raw)
        name, own = self._names[host], entry.hosts[0]
        if name == own or _one_spelling(name) == _one_spelling(own):
            inside = path[len(entry.base_path) :] if _is_part(path, entry.base_path) else path
            return Found(entry, inside or "/", query, target)
        upstream = entry.base + _spelling(entry, "", path, raw) or b"/"
        return Found(entry, path, query, upstream + mark + query)

    def _locate(self, host: bytes, path: str) -> tuple[ApiEntry[T] | None, str]:
        """The api, and the part of the path that is its mount."""
        if (entry := self._hosts.get(self._names[host])) is not None:
            return entry, ""
        if (entry := self._mounted(path)) is not None:
            return entry, entry.prefix
        return self._at_address(host), ""

    def _at_address(self, host: bytes, port: int = 80) -> ApiEntry[T] | None:
        if not self._addresses:
            return None
        return self._addresses.get((_one_spelling(self._names[host]), port_of(host, port)))

    def _mounted(self, path: str) -> ApiEntry[T] | None:
        for api in self._by_segment.get(_first_segment(path), ()):
            if _is_part(path, api.prefix):
                return api
        return self._root

    def _find_server(self, host: bytes) -> Found[T] | None:
        """``OPTIONS *`` asks about a server as a whole (RFC 9110, 9.3.7): a mount is a part of one."""
        entry = self._hosts.get(self._names[host]) or self._root or self._at_address(host)
        return None if entry is None else Found(entry, "*", b"", b"*")

    def __repr__(self) -> str:
        mounts = sum(map(len, self._by_segment.values())) + (self._root is not None)
        return f"<Table hosts={len(self._hosts) + len(self._addresses)} mounts={mounts}>"


def _first_segment(path: str) -> str:
    end = path.find("/", 1)
    return path if end < 0 else path[:end]


def _is_part(path: str, prefix: str) -> bool:
    return path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in {"", "/"}


def _spelling(entry: ApiEntry[T], prefix: str, inside: str, raw: bytes) -> bytes:
    """The path as it came, less the mount, if after the url's path it means the place that was matched."""
    rest = raw.removeprefix(prefix.encode())
    cut = len(rest) == len(raw) - len(prefix) and rest[:1] in {b"", b"/"}
    if cut and normalise_path(entry.base + rest) == entry.base_path + inside:
        return rest
    return inside.encode("latin-1")
