"""A connection that was caught: its first bytes say whose it is. Made by catcher.py.

    CONNECT to an api's host  --> 200 --------------> looking --> TLS: intercepted, and HTTP served inside
    redirected ---------------------------------------^           HTTP/1: served as it is
                                                                  HTTP/2, and TLS that is not ours to end: relayed
                                                                  anything else: refused at the ports of the api
    redirected, for no api ---------------------------------------> judged, dialled, relayed untouched
    CONNECT to another host   --> judged, dialled, 200 --> looking --> relayed untouched, if it is what it said

Where the agent says nothing, the other side may have to speak first: it is dialled, and whoever speaks first decides.
What belongs to an api goes to the api's url, never to where the agent's connection was bound.
"""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.core.egress import Via
from proxy.core.first_bytes import First, Kind
from proxy.core.routing import normalise_host
from proxy.errors import CallError, ConnectFailed, ConnectTimeout, EgressDenied, Internal, Unsupported, WrongHost
from proxy.wire.bound import BoundDoor
from proxy.wire.dial import dial
from proxy.wire.opening import Opening
from proxy.wire.relay import Relay
from proxy.wire.server import BODY_IDLE_SECONDS, LINGER_SECONDS, AgentConnection

if TYPE_CHECKING:
    import asyncio

    from proxy.clock import Clock
    from proxy.core.client_hello import ClientHello
    from proxy.wire.catcher import Catcher
    from proxy.wire.dial import Way

_log = logging.getLogger("backstay.capture")

_ESTABLISHED: Final = b"HTTP/1.1 200 Connection Established\r\n\r\n"
_SILENCE: Final = 0.25  # seconds; then the other side is dialled: in some protocols it speaks first
_CONNECT_SECONDS: Final = 10.0  # to reach what no api names
_ALERT: Final = b"\x15\x03\x01\x00\x02\x02%c"  # fatal (RFC 8446, 6.2), for who is sent no ServerHello
_ALERTS: Final = {EgressDenied.reason: 49, WrongHost.reason: 112}  # access_denied, unrecognized_name
_INTERNAL_ERROR: Final = 80
_WEB: Final = b"http/1.1"
_WEB_PORTS: Final = (80, 443)  # on which nothing else is expected of an api's host


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


class Capture:
    """One such connection. ``api``: whose it is, as far as CONNECT tells."""

    def __init__(self, catcher: Catcher, target: Target, api: str | None) -> None:
        self._catcher = catcher
        self._clock: Clock = catcher.listener.clock
        self._target = target
        self._api = api
        self._first: First | None = None  # what the agent speaks, once that is known
        self._relay: Relay | None = None  # to the other side, until it is joined
        self._reached = ""  # the address of the other side
        self._established = False  # a CONNECT was answered
        self._task: asyncio.Task[None] | None = None
        self.opening = Opening(catcher.listener, self._made, self._lost)

    def _made(self) -> None:
        if self._target.mode == "transparent":
            found = self._catcher.whither(self.opening.transport.get_extra_info("socket"))
            if found is None:
                self._catcher.not_redirected()
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
        except Exception:  # noqa: BLE001 -- a defect must cost one connection, and not leave it open
            _log.exception("a captured connection failed inside Backstay", extra={"target": str(self._target)})
            self._refuse(Internal())
        finally:
            self._drop_relay()

    # --- whose it is ------------------------------------------------------------------------------------

    async def _find_out(self) -> None:
        target = self._target
        foreign = target.mode == "connect" and self._api is None
        if foreign:
            self._hear(await self._dial(target.place, self._onward()))
        if target.mode == "connect":
            self.opening.transport.write(_ESTABLISHED)
            self._established = True
        first = await self._look(_SILENCE if self._relay is None else None)
        if first is None and self._relay is None:
            first = await (self._look_on() if self._is_for_api() else self._hear_both())
        self._first = first = first or First(Kind.OPAQUE)
        if foreign:
            self._agree(first)
            self._join("unlisted")
        else:
            await self._deliver(first)

    async def _look(self, patience: float | None) -> First | None:
        return await self.opening.look(whole=self._api is None, patience=patience)

    async def _look_on(self) -> First | None:
        """The agent is silent, where it has to speak first."""
        self.opening.deadline = self._clock.now() + BODY_IDLE_SECONDS
        return await self._look(None)

    def _is_for_api(self) -> bool:
        """Whether it is for the api itself, and not for another service of its host."""
        if self._api is None:
            return False
        return self._target.port in {*_WEB_PORTS, self._catcher.listener.router.to_url(self._api)[1]}

    def _hear(self, relay: Relay) -> None:
        """The other side is there, and may speak first."""
        self._relay = relay
        relay.upstream_first = self.opening.other_side_spoke
        if relay.spoken:
            self.opening.other_side_spoke()

    async def _hear_both(self) -> First | None:
        """The agent is silent: dial the other side, and go on listening meanwhile."""
        dialling = self._clock.spawn(self._try_other_side(), "the other side of a silent agent")
        try:
            return await self._look(None)
        finally:
            dialling.cancel()  # if it still does: the agent has said what it wants

    async def _try_other_side(self) -> None:
        """What cannot be reached is not an error yet: the agent may still say that it wants an api."""
        try:
            self._hear(await self._dial(self._target.place, self._onward()))
        except CallError as error:
            _log.debug("nobody speaks yet", extra={"target": str(self._target), "why": error.detail})
            if not self.opening.data:
                self.opening.deadline = self._clock.now() + BODY_IDLE_SECONDS

    def _agree(self, first: First) -> None:
        """A tunnel may not be for another host than CONNECT said. Raises WrongHost, EgressDenied."""
        name, target = _name(first), self._target
        if name is None or name == target.host:
            return
        router = self._catcher.listener.router
        if router.named(name, target.port) is not None:
            raise WrongHost(f"A CONNECT to {target} is no way to {name}.")
        self._catcher.guard.name(name, target.port, target.via)
        way = router.onward(name, target.port, target.via)
        if way.choose is not None:
            way.choose([self._reached if way.proxy is None else name])

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
        elif first.kind is Kind.OPAQUE and self._is_for_api() and not self._catcher.guard.passes_through(target.place):
            self._turn_away()
        else:
            await self._tunnel(self._api, first.kind.value)

    def _turn_away(self) -> None:
        """What would pass the policies of an api by. Raises Unsupported."""
        if self.opening.data:
            raise Unsupported(f"What came for {self._target} is neither TLS nor HTTP.")
        self.opening.shut()  # the agent has left without a word

    # --- to an api --------------------------------------------------------------------------------------

    async def _end_tls(self, api: str, hello: ClientHello) -> None:
        catcher, target = self._catcher, self._target
        host = hello.server_name or target.place
        interceptor = catcher.interceptor
        if catcher.listener.router.named(host, target.port) != api:
            raise WrongHost(f"A connection to {target} asks for a certificate of {host}.")
        if interceptor is None:
            await self._tunnel(api, "not_intercepted")
        elif catcher.guard.passes_through(host):
            await self._tunnel(api, "pass_through")
        elif hello.alpn is not None and _WEB not in hello.alpn:
            await self._tunnel(api, "no_http1")
        else:
            self._drop_relay()
            context = await interceptor.context(host)
            catcher.count(target.mode, "intercepted")
            interceptor.terminate(self.opening, context, BoundDoor(catcher.listener, api, target.port), host)

    def _serve(self, api: str) -> None:
        """HTTP in the clear."""
        self._drop_relay()
        connection = AgentConnection(BoundDoor(self._catcher.listener, api, self._target.port))
        self._hand_over("plain")
        self.opening.give_to(connection)
        connection.data_received(self.opening.data)
        if self.opening.ended:
            self.opening.transport.close()

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
            self._drop_relay()
            self._catcher.guard.name(target.host, target.port, target.via)
            try:
                self._relay = await self._dial(target.host, self._onward(), prefer=target.address)
                handling = "unlisted"
            except _NoSuchName:
                target.host = None  # a name that means nothing proves nothing: its address decides
        if self._relay is None:
            self._relay = await self._dial(target.place, self._onward())
        self._join(handling)

    def _onward(self) -> Way:
        target = self._target
        via = Via.API if self._is_for_api() else target.via
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
        self._reached = _peer(sock)
        relay = Relay(self._clock, listener.scratch, lambda: listener.leave(relay))
        if early:
            relay.upstream.data_received(early)  # before it reads on: what it reads comes behind this
        try:
            await self._clock.loop.create_connection(lambda: relay.upstream, sock=sock)  # type: ignore[type-var]
        except BaseException as error:
            relay.shut()
            sock.close()
            if isinstance(error, OSError):
                raise ConnectFailed(f"{host}:{port} is gone again: {error.strerror or error}.") from None
            raise
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
        opening, listener, connect = self.opening, self._catcher.listener, self._target.mode == "connect"
        kind = self._first.kind if self._first is not None else Kind.MORE
        if not opening.held:  # it is gone, or another's already
            opening.transport.abort()
            return
        if kind is Kind.HTTP1 or (connect and not self._established):
            self._hand_over("refused")
            connection = AgentConnection(listener)
            opening.give_to(connection)
            if connection.state == "idle":
                connection.refuse(error, b"" if self._established else b"CONNECT")
            return
        self._catcher.count(self._target.mode, "refused")
        listener.rejected(error, b"CONNECT" if connect else b"")
        if kind is Kind.TLS:
            opening.transport.write(_ALERT % _ALERTS.get(error.reason, _INTERNAL_ERROR))
            opening.deadline = self._clock.now() + LINGER_SECONDS
            opening.transport.close()
        else:
            opening.transport.abort()

    def __repr__(self) -> str:
        return f"<Capture of {self._target}, {self.opening!r}>"


class _NoSuchName(ConnectFailed):
    """The name has no address."""


def _peer(sock: socket.socket) -> str:
    try:
        address: str = sock.getpeername()[0]
    except OSError:  # it is gone again
        return ""
    return address


def _name(first: First) -> str | None:
    """The host that the first bytes ask for."""
    if first.hello is not None:
        return first.hello.server_name
    return normalise_host(first.host) or None if first.host is not None else None
