"""Where agents connect: accepts, counts and sweeps connections, finds routes, drains. Composed by app.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from proxy.wire.server import AgentConnection

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from proxy.clock import Clock
    from proxy.errors import CallError
    from proxy.model import Chain, Request

_BACKLOG: Final = 4096
_SWEEP_SECONDS: Final = 1.0
_LAST_SECONDS: Final = 1.0  # of drain.timeout, for what was accepted just before the listener closed
_QUIET_SECONDS: Final = 0.25  # without an exchange, before drain believes that there is none


def _none() -> int:
    return 0


class Router(Protocol):
    """Finds who serves a request; replaced as a whole when the configuration is reloaded."""

    def route(self, request: Request, /) -> Chain:
        """See server.Door.route."""


class Rejections(Protocol):
    """Counts requests that never had a route."""

    def rejected(self, error: CallError, method: bytes, /) -> None:
        """See server.Door.rejected."""


class Listener:
    """See the module. Implements server.Door."""

    def __init__(
        self,
        clock: Clock,
        router: Router,
        rejections: Rejections,
        scratch: memoryview,
        *,
        pseudonym: bytes,
        max_connections: int,
        header_limit: int,
        body_limit: int | None,
    ) -> None:
        self.clock = clock
        self.router = router
        self._rejections = rejections
        self.scratch = scratch
        self.pseudonym = pseudonym
        self.max_connections = max_connections
        self.header_limit = header_limit
        self.body_limit = body_limit
        self.pending: Callable[[], int] = _none  # calls that must end although no connection waits for them
        self.draining = False
        self._connections: set[AgentConnection] = set()
        self._excess: set[AgentConnection] = set()  # over the cap, while they are told so
        self._server: asyncio.Server | None = None

    # --- server.Door ------------------------------------------------------------------------------------

    def enter(self, connection: AgentConnection) -> bool:
        """See server.Door."""
        if len(self._connections) < self.max_connections:
            self._connections.add(connection)
            return True
        if len(self._excess) < self.max_connections:
            self._excess.add(connection)
        else:
            connection.shut()  # too many even to be told
        return False

    def leave(self, connection: AgentConnection) -> None:
        """See server.Door."""
        self._connections.discard(connection)
        self._excess.discard(connection)

    def route(self, request: Request) -> Chain:
        """See server.Door."""
        return self.router.route(request)

    def rejected(self, error: CallError, method: bytes) -> None:
        """See server.Door."""
        self._rejections.rejected(error, method)

    # --- life -------------------------------------------------------------------------------------------

    async def open(self, host: str, port: int) -> int:
        """Listen; returns the port. Raises OSError."""
        self._server = await self.clock.loop.create_server(
            lambda: AgentConnection(self),  # type: ignore[arg-type,return-value]  # a protocol by its methods
            host,
            port,
            backlog=_BACKLOG,
            reuse_address=True,
        )
        self.clock.spawn(self._sweep(), "sweep of idle connections")
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def _sweep(self) -> None:
        """Expire connections whose deadline has passed: one loop instead of a timer each."""
        while True:
            await self.clock.sleep(_SWEEP_SECONDS)
            now = self.clock.now()
            for connection in [each for each in (*self._connections, *self._excess) if each.deadline <= now]:
                connection.expire()

    @property
    def busy(self) -> int:
        """Connections with an exchange under way, or with a part of a request."""
        return sum(not each.at_rest for each in self._connections)

    @property
    def under_way(self) -> int:
        """Exchanges that are not over, those included whose agents have left."""
        return max(self.busy, self.pending())

    @property
    def connections(self) -> int:
        """Connections of agents."""
        return len(self._connections)

    async def drain(self, seconds: float) -> int:
        """Let every exchange end, for up to ``seconds``; returns how many were cut.

        The listener stays open meanwhile, and answers carry Connection: close, so that agents move on
        by themselves and none meets a closed port with a call in hand.
        """
        self.draining = True
        until = self.clock.now() + seconds
        await self._quiet(until - min(_LAST_SECONDS, seconds / 2))
        if self._server is not None:
            self._server.close()
        await self._quiet(until)  # what was accepted in the last moment
        return self.close()

    async def _quiet(self, until: float) -> None:
        """Wait until nothing has been under way for a moment, at most until ``until``."""
        quiet_since = self.clock.now()
        while (now := self.clock.now()) < until:
            if self.under_way:
                quiet_since = now
            elif now - quiet_since >= _QUIET_SECONDS:
                return
            await self.clock.sleep(_QUIET_SECONDS / 5)

    def close(self) -> int:
        """Stop listening and cut every connection; returns how many had an exchange under way."""
        if self._server is not None:
            self._server.close()
        cut = self.under_way
        for connection in (*self._connections, *self._excess):
            connection.shut()
        return cut

    def __repr__(self) -> str:
        return f"<Listener {len(self._connections)} connections, {self.busy} busy{', draining' * self.draining}>"
