"""What all captured connections share, and where they begin. Made by catching.py, called by listener.py."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Final

from proxy.core.egress import Via
from proxy.errors import CallError
from proxy.wire.capture import Capture, Target
from proxy.wire.incoming import split_authority
from proxy.wire.original_dst import original_destination

if TYPE_CHECKING:
    import asyncio

    from proxy.guard import Guard
    from proxy.model import Request
    from proxy.wire.intercept import Interceptor
    from proxy.wire.listener import Listener
    from proxy.wire.opening import Opening

_log = logging.getLogger("backstay.capture")

_SAID_AGAIN: Final = 60.0  # seconds until the same is logged once more


class Catcher:
    """What all captured connections share. Implements listener.Catches."""

    def __init__(
        self,
        listener: Listener,
        guard: Guard,
        count: Callable[[str, str], None],
        *,
        whither: Callable[[socket.socket], tuple[str, int] | None] = original_destination,
    ) -> None:
        self.listener = listener
        self.guard = guard
        self.count = count  # of (mode, handling)
        self.whither = whither  # a redirected connection was going
        self._said = -inf  # when it was last logged that one was not redirected
        self.interceptor: Interceptor | None = None  # None: TLS is not intercepted

    def connect(self, request: Request, transport: asyncio.Transport, early: bytes) -> None:
        """See listener.Catches."""
        host, port = split_authority(request.target)
        api = self.listener.router.named(host, port)
        if api is None:
            self._judge(host, port)
        opening = Capture(self, Target("connect", port, host), api).opening
        opening.data = early
        transport.set_protocol(opening)  # type: ignore[arg-type]  # a protocol by its methods
        opening.connection_made(transport)

    def _judge(self, host: str, port: int) -> None:
        try:
            self.guard.name(host, port, Via.FORWARD)
        except CallError:
            self.count("connect", "refused")
            raise

    def redirected(self) -> Opening:
        """See listener.Catches."""
        return Capture(self, Target("transparent", 0), None).opening

    def not_redirected(self) -> None:
        """Somebody has connected to listen.transparent directly."""
        now = self.listener.clock.now()
        if now - self._said >= _SAID_AGAIN:
            self._said = now
            _log.warning("what came to listen.transparent was not redirected", extra={"remedy": "backstay redirect"})
