"""Owns which calls a page in a browser may have made, that the agent's own code would not make.

Called by ``runtime.py`` for calls by mount to apis whose credentials Backstay sets: a browser in the pod reaches the
agent's port, too, and any page that it opens can make it call. Two things give such a page away:

- ``Sec-Fetch-Site``, which browsers set and scripts cannot (Fetch Metadata): the page is of another origin.
- A Host that is a name of the public DNS. Only a page needs one: one whose own name was rebound to loopback, so that
  its calls are of one origin with it. An agent's base url has an address, localhost, or a name known here alone.
"""

from __future__ import annotations

from typing import Final

from proxy.core.addresses import literal
from proxy.core.routing import normalise_host
from proxy.model import Headers

_ELSEWHERE: Final = frozenset({b"cross-site", b"same-site"})
_LOCAL: Final = (".localhost", ".local", ".internal", ".svc", ".cluster.local", ".home.arpa", ".test")


def of_a_page(host: bytes, headers: Headers) -> bool:
    """Whether a page of another site may be behind a call to a mount at ``host``, which is that of Host."""
    return headers.get(b"sec-fetch-site") in _ELSEWHERE or _is_public(normalise_host(host))


def _is_public(name: str) -> bool:
    return "." in name and not name.endswith(_LOCAL) and literal(name) is None
