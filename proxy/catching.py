"""Catching composed: the catcher of captured connections, and the interception that a configuration asks for.

Made by app.py, which tells it of every configuration. The authority is loaded before a configuration is put in force,
so that one which cannot be had leaves the old in place.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from proxy.wire.catcher import Catcher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.clock import Clock
    from proxy.config.settings import Config
    from proxy.guard import Guard
    from proxy.telemetry.metrics import Registry
    from proxy.wire.ca import Authority
    from proxy.wire.listener import Listener
    from proxy.wire.mint import Mint

_log = logging.getLogger("backstay")


def authority_of(config: Config, wall: float) -> Authority | None:
    """The authority that ``config`` names, its trust published; made at the first start. Blocks; raises OSError."""
    if config.tls_intercept is None:
        return None
    from proxy.wire.ca import Authority  # with cryptography, which costs 9 MB

    authority = Authority.load(config.tls_intercept.ca_dir, wall)
    authority.publish(config.tls_intercept.trust_dir)
    return authority


class Catching:
    """See the module."""

    def __init__(self, clock: Clock, registry: Registry, listener: Listener, guard: Guard) -> None:
        self._clock = clock
        self._registry = registry
        self._mint: Mint | None = None
        self._evicted = 0
        self.catcher = listener.catches = Catcher(listener, guard, self._count)
        registry.computed("backstay_certificate_expiry_seconds", self._expiry)

    def intercept(self, authority: Authority | None) -> None:
        """End TLS under this authority from now on; None: not at all."""
        if authority is not None and self._mint is not None and authority.same(self._mint.authority):
            return
        self.close()
        if authority is None:
            self.catcher.interceptor = None
            return
        from proxy.wire.intercept import Interceptor
        from proxy.wire.mint import Mint

        self._mint = Mint(self._clock, authority)
        self.catcher.interceptor = Interceptor(self._clock, self._mint, self._distrusted)
        _log.info("intercepting tls", extra={"authority": authority.fingerprint})

    def close(self) -> None:
        """Sign nothing more."""
        if self._mint is not None:
            self._evicted += self._mint.evictions
            self._mint.close()
            self._mint = None

    @property
    def evictions(self) -> int:
        """Contexts of hosts that were dropped to make room for others."""
        return self._evicted + (0 if self._mint is None else self._mint.evictions)

    def _count(self, mode: str, handling: str) -> None:
        self._registry.counter("backstay_captured_connections_total", mode=mode, handling=handling).inc()

    def _distrusted(self, api: str) -> None:
        self._registry.counter("backstay_client_trust_failures_total", api=api).inc()

    def _expiry(self) -> Iterator[tuple[dict[str, str], float]]:
        if self._mint is not None:
            yield {"certificate": "ca"}, self._mint.authority.not_after - self._clock.wall()
