"""Owns under which name an upstream gets the key of a call, and whether it will then not carry it out twice.

Called by ``chain.py`` and ``keyed.py``, and by ``config`` to explain it. A key in a header proves nothing about the
other side: only a vendor of the table (core/vendors.py), which looks for it in its own field and in no other, or the
operator's word (``upstream: honours``) makes it count.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from proxy.model import Headers

if TYPE_CHECKING:
    from proxy.core.idempotency import IdempotencySettings
    from proxy.core.vendors import Vendor
    from proxy.model import Request


_BY_DEFAULT: Final = 86400.0  # seconds for which a vendor is believed to know a key, if it names no time


class UpstreamKey:
    """What holds for the calls of one route. ``vendor``: the one whose host the api has, if it is known."""

    __slots__ = ("_declared", "_lower", "_vendor", "name")

    def __init__(self, settings: IdempotencySettings, vendor: Vendor | None) -> None:
        self._declared = settings.upstream == "honours"
        self._vendor = None if settings.upstream == "ignores" else vendor
        self.name = self._name(settings)  # of the field, as it is written on the wire; None: no key is added
        self._lower = (self.name or self._known_name(settings)).lower()
        if vendor is not None and self._lower != vendor.header.lower():
            self._vendor = None  # the operator has named a field in which it does not look for a key

    def _name(self, settings: IdempotencySettings) -> bytes | None:
        if settings.upstream_header != b"auto":
            return settings.upstream_header
        if self._vendor is not None or self._declared:
            return self._known_name(settings)
        return None

    def _known_name(self, settings: IdempotencySettings) -> bytes:
        """Where the upstream looks for a key."""
        if self._vendor is not None:
            return self._vendor.header
        return b"-".join([part.capitalize() for part in settings.header.split(b"-")])

    def names(self, settings: IdempotencySettings) -> tuple[bytes, ...]:
        """The fields, lower-cased, in which the agent may give a key: the route's, and the one the upstream reads."""
        return tuple(dict.fromkeys((settings.header, self._lower)))

    @property
    def remembered(self) -> float:
        """Seconds from the first call for which a key counts."""
        if self._declared or self._vendor is None:
            return math.inf
        return self._vendor.remembers or _BY_DEFAULT

    def honours(self, request: Request, key: bytes) -> bool:
        """Whether a call is not carried out twice if it comes again with ``key``.

        Not if the upstream gets another key than that, or several: nobody knows whether those stay the same.
        """
        if not self._declared and (self._vendor is None or not self._vendor.honours(request.method, request.target)):
            return False
        values = [value for lower, _, value in request.headers.fields if lower == self._lower]
        return values in ([], [key])

    def send(self, request: Request, key: bytes) -> tuple[Headers, bool]:
        """The fields to send for a call with ``key``, and whether it counts there.

        A field that the agent has set under that name stays.
        """
        headers = request.headers
        present = self._lower in headers
        if not present and self.name is not None:
            headers = headers.copy()
            headers.add(self.name, key)
            present = True
        fits = self._declared or self._vendor is None or len(key) <= self._vendor.longest
        return headers, present and fits and self.honours(request, key)

    def __repr__(self) -> str:
        return f"<UpstreamKey {(self.name or b'none').decode()}>"
