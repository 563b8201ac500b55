"""Owns how long an answer is fresh and how old it is (RFC 9111, 4.2; RFC 5861; RFC 8246; RFC 9213).

Called by ``core/storing.py``, ``core/cache.py`` and ``config`` (settings).

Who says how long, the first that says anything (4.2.1, and RFC 9213, 2.2):

======================================  ============================================================================
ttl                                     mode ttl: the operator, whatever the vendor says
Backstay-Cache-Control                  a targeted field: Cache-Control and Expires are then not looked at
CDN-Cache-Control                       the same; only in scope shared, since a CDN's cache is a shared one
s-maxage                                only in scope shared
max-age
Expires less Date                       what is no date has passed
heuristic                               a tenth of the time since Last-Modified, a day at most; only where the status
                                        allows it or the answer is public (4.2.2)
======================================  ============================================================================

How old it is (4.2.3) is reckoned from the Age that came, the time the call took, and Date. Date has whole seconds: one
from within the call proves no age beyond what the call took, or an answer with max-age=1 might be stale on arrival.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from proxy.core import http_date
from proxy.core.directives import LONGEST, Directives, parse_cache_control, parse_targeted
from proxy.core.stored import Stored
from proxy.model import Headers

HEURISTIC: Final = frozenset({200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501})
"""Statuses that are fresh for a while though nobody says so (RFC 9110, 15.1)."""

GOVERNING: Final = frozenset({
    b"age", b"backstay-cache-control", b"cache-control", b"cdn-cache-control", b"date", b"etag", b"expires",
    b"last-modified", b"vary",
})  # fmt: skip
"""Fields from which it is known how an answer may be used; an answer without them could not be judged."""

_TENTH: Final = 0.1
_HOUR: Final = 3600.0
_DAY: Final = 86400.0
_LONGEST_KEPT: Final = 7.0 * _DAY
_CONDITIONAL: Final = frozenset({b"GET", b"HEAD"})
_OURS: Final = (b"backstay-cache-control",)
_SHARED: Final = (b"backstay-cache-control", b"cdn-cache-control")
_DIGITS: Final = re.compile(rb"[0-9]+")


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """What is cached, for whom and for how long; seconds, None means off."""

    mode: Literal["rfc9111", "ttl"] = "rfc9111"
    scope: Literal["credential", "shared"] = "credential"
    ttl: float | None = None  # freshness of every answer, in mode ttl
    key_body: bool = False  # POST and QUERY are reads, told apart by their body
    vary: tuple[bytes, ...] = ()  # lower-cased request fields on which answers depend though the vendor is silent
    stale_if_error: float | None = 3600.0
    stale_while_revalidate: float | None = 30.0
    stale_wait: float = 2.0  # how long an upstream may take when a stale answer is at hand
    max_object: int = 1 << 20  # bytes of a body
    store: str = "memory"


class Control:
    """What an answer says of its own caching: the directives in force, and Expires if it is."""

    __slots__ = ("directives", "expires", "targeted")

    def __init__(self, directives: Directives, expires: bytes | None, *, targeted: bool) -> None:
        self.directives = directives
        self.expires = expires
        self.targeted = targeted  # a targeted field is in force

    def lifetime(self, settings: CacheSettings, date: float) -> float | None:
        """Seconds (0 or more) from ``date`` for which it is fresh by its own word; None if it does not say."""
        said = self.directives
        if said.s_maxage is not None and settings.scope == "shared":
            return said.s_maxage
        if said.max_age is not None:
            return said.max_age
        if self.expires is None:
            return None
        expires = http_date.parse(self.expires)
        return 0.0 if expires is None else max(expires - date, 0.0)

    def __repr__(self) -> str:
        return f"<Control {self.directives!r} expires={self.expires!r} targeted={self.targeted}>"


def control(settings: CacheSettings, headers: Headers) -> Control:
    """The word that is in force for a cache of this scope (RFC 9213, 2.2)."""
    for name in _SHARED if settings.scope == "shared" else _OURS:
        if name in headers and (said := parse_targeted(lines(headers, name))) is not None:
            return Control(said, None, targeted=True)
    return Control(
        parse_cache_control(lines(headers, b"cache-control")),
        headers.get(b"expires"),
        targeted=False,
    )


def lines(headers: Headers, lower: bytes) -> list[bytes]:
    """All values of a field."""
    return [value for name, _, value in headers.fields if name == lower]


def date_of(headers: Headers) -> float | None:
    """When an answer was made, by its own word; wall."""
    value = headers.get(b"date")
    return None if value is None else http_date.parse(value)


def initial_age(headers: Headers, requested_at: float, received_at: float) -> float:
    """Seconds that an answer with these fields was old when it came (4.2.3: corrected_initial_age)."""
    took = max(received_at - requested_at, 0.0)
    corrected = age_value(headers) + took
    date = date_of(headers)
    if date is None or date + 1.0 > requested_at:
        return corrected
    return max(received_at - date, corrected)


def age_value(headers: Headers) -> float:
    """The Age that came: the first member of the first line; what is no number is ignored (RFC 9111, 5.1)."""
    value = headers.get(b"age")
    if value is None:
        return 0.0
    first = value.split(b",", 1)[0].strip(b" \t")
    if not _DIGITS.fullmatch(first):
        return 0.0
    return LONGEST if len(first.lstrip(b"0")) > 10 else min(float(first), LONGEST)


def age(stored: Stored, now: float) -> float:
    """Seconds since the answer was made or validated at its origin (4.2.3: current_age). ``now`` is wall."""
    since = now - stored.received_at
    return stored.initial_age + since if since > 0.0 else stored.initial_age


def derive(stored: Stored, settings: CacheSettings) -> None:
    """Find the facts of an answer that depend on the settings."""
    headers = stored.headers
    date = date_of(headers)
    stored.date = stored.received_at if date is None else date
    _derive_validators(stored)
    if settings.mode == "ttl":
        _derive_ttl(stored, settings)
    else:
        _derive_rfc9111(stored, settings, control(settings, headers))
    stored.settings = settings


def _derive_validators(stored: Stored) -> None:
    headers = stored.headers
    stored.etag = headers.get(b"etag") or None
    modified = headers.get(b"last-modified")
    stored.last_modified_at = None if modified is None else http_date.parse(modified)
    stored.last_modified = modified if stored.last_modified_at is not None else None


def _derive_ttl(stored: Stored, settings: CacheSettings) -> None:
    """The operator's word, which forbids nothing."""
    stored.fresh_until = stored.received_at + (settings.ttl or 0.0)
    stored.no_cache = stored.must_revalidate = stored.immutable = False
    stored.swr = settings.stale_while_revalidate
    stored.sie = settings.stale_if_error


def _derive_rfc9111(stored: Stored, settings: CacheSettings, said: Control) -> None:
    directives = said.directives
    lifetime = said.lifetime(settings, stored.date)
    if lifetime is None:
        lifetime = _heuristic(directives, stored)
    stored.fresh_until = stored.received_at + lifetime - stored.initial_age
    stored.no_cache = directives.no_cache or not GOVERNING.isdisjoint(directives.no_cache_fields)
    # 5.2.2.10: s-maxage has the meaning of proxy-revalidate; both are for shared caches.
    by_proxy = directives.proxy_revalidate or directives.s_maxage is not None
    stored.must_revalidate = directives.must_revalidate or (by_proxy and settings.scope == "shared")
    stored.immutable = directives.immutable
    stored.swr = _least(directives.stale_while_revalidate, settings.stale_while_revalidate)
    stored.sie = _most(directives.stale_if_error, settings.stale_if_error)


def _heuristic(directives: Directives, stored: Stored) -> float:
    if stored.last_modified_at is None or not (directives.public or stored.status in HEURISTIC):
        return 0.0
    return min(max(stored.date - stored.last_modified_at, 0.0) * _TENTH, _DAY)


def _least(own: float | None, ceiling: float | None) -> float | None:
    """Seconds that the answer allows and the operator too."""
    return None if own is None or ceiling is None else min(own, ceiling)


def _most(own: float | None, setting: float | None) -> float | None:
    """Seconds that the answer or the operator allows."""
    if own is None or setting is None:
        return setting if own is None else own
    return max(own, setting)


def validators(stored: Stored) -> bool:
    """Whether the upstream can be asked if it is still good; only reads by GET have a 304 (RFC 9110, 13.1.2)."""
    return stored.method in _CONDITIONAL and (stored.etag is not None or stored.last_modified is not None)


def retention(stored: Stored, settings: CacheSettings) -> float:
    """Seconds from ``received_at`` for which it may be of use; 0: it never is."""
    if stored.settings is not settings:
        derive(stored, settings)
    seconds = 0.0
    if not stored.no_cache:
        seconds = max(stored.fresh_until - stored.received_at, 0.0)
        if not stored.must_revalidate:
            seconds += max(stored.swr or 0.0, stored.sie or 0.0)
    return min(seconds + _HOUR if validators(stored) else seconds, _LONGEST_KEPT)
