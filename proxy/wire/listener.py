"""Where agents connect: accepts, counts and sweeps connections, finds routes, drains. Composed by app.py.

Connections that are caught (CONNECT, redirected) are given to ``capture.py``, which gives them back as what they prove
to be; here all are the same: something that holds a connection.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Protocol

from proxy.errors import CallError, Unsupported
from proxy.wire.server import AgentConnection

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from proxy.clock import Clock
    from proxy.core.egress import Via
    from proxy.model import Chain, Request
    from proxy.wire.dial import Way

_log = logging.getLogger("backstay.wire")

_BACKLOG: Final = 4096
_SWEEP_SECONDS: Final = 1.0
_LAST_SECONDS: Final = 1.0  # of drain.timeout, for what was accepted just before the listener closed
_QUIET_SECONDS: Final = 0.25  # without an exchange, before drain believes that there is none


def _none() -> int:
    return 0


class Router(Protocol):
    """Finds who serves a request, and where caught connections lead; replaced as a whole at a reload."""

    def route(self, request: Request, /) -> Chain:
        """See server.Door.route."""

    def bound(self, request: Request, api: str, port: int, /) -> Chain:
        """The same on a connection that was made for ``api``, to this port. Raises CallError: WrongHost among them."""

    def named(self, host: str, port: int, /) -> str | None:
        """The api of this host: a name, or an address with the port of the api's url."""

    def to_url(self, api: str, /) -> tuple[str, int, Way]:
        """Where an api is. Raises WrongHost: it is not configured any more."""

    def onward(self, host: str | None, port: int, via: Via, original: str | None = None, /) -> Way:
        """The way to anything else; None: to an address that nobody named. ``original``: see Guard.addresses."""


class Held(Protocol):
    """Whatever serves a connection of an agent."""

    deadline: float  # monotonic seconds; past it, expire() is called

    @property
    def at_rest(self) -> bool:
        """Whether nothing would be lost if it were closed now."""

    def expire(self) -> None:
        """The deadline has passed."""

    def shut(self) -> None:
        """Close: kindly at rest, at once otherwise."""


class Catches(Protocol):
    """What becomes of connections that were caught (capture.py)."""

    def connect(self, request: Request, transport: asyncio.Transport, early: bytes, /) -> None:
        """Take a connection over for a CONNECT, with the bytes that came behind it. Raises CallError."""

    def redirected(self) -> object:
        """A protocol (by its methods) for a connection that was redirected here."""


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
        self.catches: Catches | None = None  # set by whoever composes
        self.pending: Callable[[], int] = _none  # calls that must end although no connection waits for them
        self.draining = False
        self.begun = 0  # connections and requests, ever: what was short is seen by it, too
        self._connections: set[Held] = set()
        self._excess: set[Held] = set()  # over the cap, while they are told so
        self._servers: list[asyncio.Server] = []

    # --- server.Door ------------------------------------------------------------------------------------

    def enter(self, connection: Held) -> bool:
        """See server.Door."""
        self.begun += 1
        if len(self._connections) < self.max_connections:
            self._connections.add(connection)
            return True
        if len(self._excess) < self.max_connections:
            self._excess.add(connection)
        else:
            connection.shut()  # too many even to be told
        return False

    def leave(self, connection: Held) -> None:
        """See server.Door."""
        self._connections.discard(connection)
        self._excess.discard(connection)

    def route(self, request: Request) -> Chain:
        """See server.Door."""
        self.begun += 1
        return self.router.route(request)

    def bound(self, request: Request, api: str, port: int) -> Chain:
        """The same on a connection that was made for ``api``: see Router."""
        self.begun += 1
        return self.router.bound(request, api, port)

    def connect(self, connection: AgentConnection, request: Request, early: bytes) -> None:
        """See server.Door."""
        if self.catches is None:
            raise Unsupported("CONNECT is not served here.")
        self.leave(connection)  # what takes it over needs its place
        try:
            self.catches.connect(request, connection.transport, early)
        except CallError:
            self._connections.add(connection)
            raise

    def rejected(self, error: CallError, method: bytes) -> None:
        """See server.Door."""
        self._rejections.rejected(error, method)

    # --- life -------------------------------------------------------------------------------------------

    async def open(self, host: str, port: int) -> int:
        """Listen for agents that know us; returns the port. Raises OSError."""
        await self._listen(lambda: AgentConnection(self), host, port)
        self.clock.spawn(self._sweep(), "sweep of idle connections")
        return self.port

    async def open_transparent(self, host: str, port: int) -> int:
        """Listen for connections that are redirected here; returns the port. Raises OSError."""
        assert self.catches is not None  # noqa: S101 - there is nobody else to give them to
        return await self._listen(self.catches.redirected, host, port)

    async def _listen(self, protocol: Callable[[], object], host: str, port: int) -> int:
        server = await self.clock.loop.create_server(
            protocol,  # type: ignore[arg-type]  # a protocol by its methods
            host,
            port,
            backlog=_BACKLOG,
            reuse_address=True,
        )
        self._servers.append(server)
        bound: int = server.sockets[0].getsockname()[1]
        return bound

    async def _sweep(self) -> None:
        """Expire connections whose deadline has passed: one loop instead of a timer each."""
        while True:
            await self.clock.sleep(_SWEEP_SECONDS)
            now = self.clock.now()
            for connection in [each for each in (*self._connections, *self._excess) if each.deadline <= now]:
                self._expire(connection)

    def _expire(self, connection: Held) -> None:
        try:
            connection.expire()
        except Exception:  # noqa: BLE001 -- a defect must not keep the others open
            _log.exception("a connection could not be ended", extra={"connection": repr(connection)})

    @property
    def port(self) -> int:
        """Where agents that know us connect."""
        port: int = self._servers[0].sockets[0].getsockname()[1]
        return port

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens: addresses, whatever the configuration calls them."""
        return [each.getsockname()[:2] for server in self._servers for each in server.sockets]

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
        self._refuse_more()
        await self._quiet(until)  # what was accepted in the last moment
        return self.close()

    def _refuse_more(self) -> None:
        for server in self._servers:
            server.close()

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
        self._refuse_more()
        cut = self.under_way
        for connection in (*self._connections, *self._excess):
            connection.shut()
        return cut

    def __repr__(self) -> str:
        return f"<Listener {len(self._connections)} connections, {self.busy} busy{', draining' * self.draining}>"
