"""The door of a connection that was made for one api, and serves no other. Made by capture.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.clock import Clock
    from proxy.errors import CallError
    from proxy.model import Chain, Request
    from proxy.wire.listener import Listener
    from proxy.wire.server import AgentConnection


class BoundDoor:
    """See the module. Implements server.Door over the listener's own."""

    def __init__(self, listener: Listener, api: str, port: int) -> None:
        self._listener = listener
        self.api = api
        self._port = port
        self.clock: Clock = listener.clock
        self.pseudonym = listener.pseudonym
        self.scratch = listener.scratch
        self.header_limit = listener.header_limit
        self.asked = False  # a request has come
        self.on_enter: Callable[[], None] | None = None  # called before its connection asks for a place
        self.on_leave: Callable[[], None] | None = None

    @property
    def body_limit(self) -> int | None:
        """See server.Door."""
        return self._listener.body_limit

    @property
    def draining(self) -> bool:
        """See server.Door."""
        return self._listener.draining

    def enter(self, connection: AgentConnection) -> bool:
        """See server.Door."""
        on_enter, self.on_enter = self.on_enter, None
        if on_enter is not None:
            on_enter()
        return self._listener.enter(connection)

    def leave(self, connection: AgentConnection) -> None:
        """See server.Door."""
        self._listener.leave(connection)
        on_leave, self.on_leave = self.on_leave, None
        if on_leave is not None:
            on_leave()

    def route(self, request: Request) -> Chain:
        """See server.Door."""
        self.asked = True
        return self._listener.bound(request, self.api, self._port)

    def connect(self, connection: AgentConnection, request: Request, early: bytes) -> None:
        """See server.Door: a tunnel within a tunnel is for nobody here."""
        del connection, request, early
        raise Unsupported("A tunnel within a tunnel is not served here.")

    def rejected(self, error: CallError, method: bytes) -> None:
        """See server.Door."""
        self.asked = True
        self._listener.rejected(error, method)

    def __repr__(self) -> str:
        return f"<BoundDoor {self.api}>"
