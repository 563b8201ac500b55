"""A connection that was caught: its first bytes say whose it is. Called by listener.py.

    CONNECT to an api's host  --> 200 --------------> looking --> TLS: intercepted, and HTTP served inside
    redirected ---------------------------------------^           HTTP/1: served as it is
                                                                  anything else: judged, dialled, relayed untouched
    CONNECT to another host   --> judged, dialled, 200 --> looking --> relayed untouched, if it is what it said

Where the agent says nothing, the other side may have to speak first: it is dialled, and whoever speaks first decides.
What belongs to an api goes to the api's url, never to where the agent's connection was bound.
"""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Final

from proxy.core.egress import Via
from proxy.core.first_bytes import First, Kind
from proxy.core.routing import normalise_host
from proxy.errors import CallError, ConnectFailed, ConnectTimeout, WrongHost
from proxy.wire.answer import encode_answer_head
from proxy.wire.bound import BoundDoor
from proxy.wire.dial import dial
from proxy.wire.incoming import split_authority
from proxy.wire.opening import Opening
from proxy.wire.original_dst import original_destination
from proxy.wire.relay import Relay
from proxy.wire.rescue import rescue
from proxy.wire.server import BODY_IDLE_SECONDS, HANDSHAKE_SECONDS, AgentConnection

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from proxy.clock import Clock
    from proxy.core.client_hello import ClientHello
    from proxy.guard import Guard
    from proxy.model import Request
    from proxy.wire.dial import Way
    from proxy.wire.intercept import Interceptor
    from proxy.wire.listener import Listener

_log = logging.getLogger("backstay.capture")

_ESTABLISHED: Final = b"HTTP/1.1 200 Connection Established\r\n\r\n"
_SILENCE: Final = 0.25  # seconds; then the other side is dialled: in some protocols it speaks first
_CONNECT_SECONDS: Final = 10.0  # to reach what no api names
_ACCESS_DENIED: Final = b"\x15\x03\x01\x00\x02\x02\x31"  # alerts (RFC 8446, 6.2), for who is sent no ServerHello
_UNRECOGNIZED_NAME: Final = b"\x15\x03\x01\x00\x02\x02\x70"
_WEB: Final = b"http/1.1"


@dataclass(slots=True)
class Target:
    """Where the agent wanted to go."""

    mode: str  # connect | transparent
    port: int
    host: str | None = None  # as CONNECT, SNI or Host name it
    address: str | None = None  # as its connection was bound, if it was redirected

    @property
    def via(self) -> Via:
        """How egress sees it."""
        return Via.FORWARD if self.mode == "connect" else Via.TRANSPARENT

    @property
    def place(self) -> str:
        """The name, or the address if there is none."""
        return self.host or self.address or ""

    def __str__(self) -> str:
        return f"{self.place}:{self.port}"


class Catcher:
    """What all captured connections share. Implements listener.Catches."""

    def __init__(self, listener: Listener, guard: Guard, count: Callable[[str, str], None]) -> None:
        self.listener = listener
        self.guard = guard
        self.count = count  # of (mode, handling)
        self.interceptor: Interceptor | None = None  # None: TLS is not intercepted

    def connect(self, request: Request, transport: asyncio.Transport, early: bytes) -> None:
        """See listener.Catches."""
        host, port = split_authority(request.target)
        api = self.listener.router.named(host, port)
        if api is None:
            self.guard.name(host, port, Via.FORWARD)
        opening = Capture(self, Target("connect", port, host), api).opening
        opening.data = early
        transport.set_protocol(opening)  # type: ignore[arg-type]  # a protocol by its methods
        opening.connection_made(transport)

    def redirected(self) -> Opening:
        """See listener.Catches."""
        return Capture(self, Target("transparent", 0), None).opening


class Capture:
    """One such connection. ``api``: whose it is, as far as CONNECT tells."""

    def __init__(self, catcher: Catcher, target: Target, api: str | None) -> None:
        self._catcher = catcher
        self._clock: Clock = catcher.listener.clock
        self._target = target
        self._api = api
        self._first: First | None = None  # what the agent speaks, once that is known
        self._relay: Relay | None = None  # to the other side, until it is joined
        self._established = False  # a CONNECT was answered
        self._task: asyncio.Task[None] | None = None
        self.opening = Opening(catcher.listener, self._made, self._lost)

    def _made(self) -> None:
        if self._target.mode == "transparent":
            found = original_destination(self.opening.transport.get_extra_info("socket"))
            if found is None:
                _log.warning(
                    "what came to listen.transparent was not redirected", extra={"remedy": "backstay redirect"}
                )
                self.opening.shut()
                return
            self._target.address, self._target.port = found
        self._task = self._clock.spawn(self._run(), "captured connection")

    def _lost(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            await self._find_out()
        except CallError as error:
            self._refuse(error)
        finally:
            self._drop_relay()

    # --- whose it is ------------------------------------------------------------------------------------

    async def _find_out(self) -> None:
        target = self._target
        foreign = target.mode == "connect" and self._api is None
        if foreign:
            self._relay = await self._dial(target.place, self._onward())
        if target.mode == "connect":
            self.opening.transport.write(_ESTABLISHED)
            self._established = True
        first = await self._look(_SILENCE)
        if first is None and self._relay is None:
            await self._try_other_side()
            first = await self._look(None)
        self._first = first = first or First(Kind.OPAQUE)
        if foreign:
            self._agree(first)
            self._join("unlisted")
        else:
            await self._deliver(first)

    async def _look(self, patience: float | None) -> First | None:
        return await self.opening.look(whole=self._api is None, patience=None if self._relay is not None else patience)

    async def _try_other_side(self) -> None:
        """The agent is silent. What cannot be reached is not an error yet: it may still say that it wants an api."""
        self.opening.deadline = inf
        try:
            self._relay = await self._dial(self._target.place, self._onward())
        except CallError as error:
            _log.debug("nobody speaks yet", extra={"target": str(self._target), "why": error.detail})
            self.opening.deadline = self._clock.now() + BODY_IDLE_SECONDS

    def _agree(self, first: First) -> None:
        """A tunnel may not be for another host than CONNECT said. Raises WrongHost, EgressDenied."""
        name, target = _name(first), self._target
        if name is not None and name != target.host:
            if self._catcher.listener.router.named(name, target.port) is not None:
                raise WrongHost(f"A CONNECT to {target} is no way to {name}.")
            self._catcher.guard.name(name, target.port, target.via)

    async def _deliver(self, first: First) -> None:
        target = self._target
        if target.mode == "transparent":
            target.host = _name(first)
            self._api = self._catcher.listener.router.named(target.place, target.port)
        if self._api is None:
            await self._pass_on(first)
        elif first.hello is not None:
            await self._end_tls(self._api, first.hello)
        elif first.kind is Kind.HTTP1:
            self._serve(self._api)
        else:
            await self._tunnel(self._api, first.kind.value)

    # --- to an api --------------------------------------------------------------------------------------

    async def _end_tls(self, api: str, hello: ClientHello) -> None:
        catcher, target = self._catcher, self._target
        host = hello.server_name or target.place
        interceptor = catcher.interceptor
        if interceptor is None:
            await self._tunnel(api, "not_intercepted")
        elif catcher.guard.passes_through(host):
            await self._tunnel(api, "pass_through")
        elif hello.alpn is not None and _WEB not in hello.alpn:
            await self._tunnel(api, "no_http1")
        elif catcher.listener.router.named(host, target.port) is None:
            raise WrongHost(f"A connection to {target} asks for a certificate of {host}.")
        else:
            self._drop_relay()
            context = await interceptor.context(host)
            door = BoundDoor(catcher.listener, api, target.port)
            connection = AgentConnection(door)
            catcher.count(target.mode, "intercepted")
            self.opening.deadline = self._clock.now() + HANDSHAKE_SECONDS
            done = interceptor.terminate(self.opening.transport, context, self.opening.data, connection)
            done.add_done_callback(lambda _: self.opening.release())  # its place is the connection's now
            interceptor.watch(done, door, api, host)

    def _serve(self, api: str) -> None:
        """HTTP in the clear."""
        self._drop_relay()
        connection, transport = (
            AgentConnection(BoundDoor(self._catcher.listener, api, self._target.port)),
            self.opening.transport,
        )
        self._hand_over("plain")
        transport.set_protocol(connection)  # type: ignore[arg-type]  # a protocol by its methods
        connection.connection_made(transport)
        transport.resume_reading()
        connection.data_received(self.opening.data)
        if self.opening.ended:
            transport.close()

    async def _tunnel(self, api: str, handling: str) -> None:
        """What belongs to an api and is not for us to read: to its url, unless it is another service of that host."""
        if handling != Kind.OPAQUE.value:
            self._drop_relay()
            host, port, way = self._catcher.listener.router.to_url(api)
            self._relay = await self._dial(host, way, port=port)
        elif self._relay is None:
            self._relay = await self._dial(self._target.place, self._onward())
        self._join(handling)

    # --- to anything else -------------------------------------------------------------------------------

    async def _pass_on(self, first: First) -> None:
        """A redirected connection that is for no api."""
        target, handling = self._target, first.kind.value
        if target.host is not None:
            handling = "unlisted"
            self._drop_relay()
            self._catcher.guard.name(target.host, target.port, target.via)
            try:
                self._relay = await self._dial(target.host, self._onward(), prefer=target.address)
            except _NoSuchName:
                target.host = None  # a name that means nothing proves nothing: its address decides
        if self._relay is None:
            self._relay = await self._dial(target.place, self._onward())
        self._join(handling)

    def _onward(self) -> Way:
        target = self._target
        via = Via.API if self._api is not None else target.via
        return self._catcher.listener.router.onward(target.host, target.port, via, target.address)

    async def _dial(self, host: str, way: Way, *, port: int = 0, prefer: str | None = None) -> Relay:
        """The other side, at the target's port unless another is given. Raises CallError."""
        listener, port = self._catcher.listener, port or self._target.port
        late = ConnectTimeout(f"{host}:{port} did not accept a connection in {_CONNECT_SECONDS:g} s.")
        dialling = dial(self._clock, host, port, way, prefer=prefer)
        try:
            sock, early = await self._clock.wait(dialling, _CONNECT_SECONDS, late)
        except socket.gaierror as error:
            raise _NoSuchName(f"{host}:{port} has no address: {error.strerror}.") from None
        except OSError as error:
            raise ConnectFailed(f"{host}:{port} cannot be reached: {error.strerror or error}.") from None
        relay = Relay(self._clock, listener.scratch, lambda: listener.leave(relay))
        relay.upstream_first = self.opening.other_side_spoke
        if early:
            relay.upstream.data_received(early)  # before it reads on: what it reads comes behind this
        await self._clock.loop.create_connection(lambda: relay.upstream, sock=sock)  # type: ignore[type-var]
        return relay

    def _join(self, handling: str) -> None:
        """From here on, bytes pass untouched."""
        relay, self._relay = self._relay, None
        assert relay is not None  # noqa: S101 - it was dialled
        self._hand_over(handling)
        self._catcher.listener.enter(relay)
        relay.begin(self.opening.transport, self.opening.data)
        if self.opening.ended:
            relay.agent.eof_received()

    def _hand_over(self, handling: str) -> None:
        self._catcher.count(self._target.mode, handling)
        self.opening.release()

    def _drop_relay(self) -> None:
        relay, self._relay = self._relay, None
        if relay is not None:
            relay.shut()

    # --- to nobody --------------------------------------------------------------------------------------

    def _refuse(self, error: CallError) -> None:
        """Tell the agent, in the language that it speaks."""
        transport, connect = self.opening.transport, self._target.mode == "connect"
        kind = self._first.kind if self._first is not None else Kind.MORE
        self._catcher.listener.rejected(error, b"CONNECT" if connect else b"")
        self._hand_over("refused")
        if kind is Kind.HTTP1 or (connect and not self._established):
            response = rescue(error)
            head, _ = encode_answer_head(response, b"", http10=False, close=True)
            transport.write(head + response.body)
            transport.close()
        elif kind is Kind.TLS:
            transport.write(_UNRECOGNIZED_NAME if isinstance(error, WrongHost) else _ACCESS_DENIED)
            transport.close()
        else:
            transport.abort()

    def __repr__(self) -> str:
        return f"<Capture of {self._target}, {self.opening!r}>"


class _NoSuchName(ConnectFailed):
    """The name has no address."""


def _name(first: First) -> str | None:
    """The host that the first bytes ask for."""
    if first.hello is not None:
        return first.hello.server_name
    return normalise_host(first.host) or None if first.host is not None else None
