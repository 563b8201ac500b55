r"""The data plane with everything that catches before it: CONNECT, redirected connections, TLS that is ended here.

agent = await caught.start(OK)                     # of a vendor that is the api of API and ALSO
await caught.elsewhere(echo)                       # and one that no api names
tunnel = await caught.tunnel(b"api.test:80")
await caught.redirected("192.0.2.1", 80)           # a connection that the system says was bound for there

Names below ``test`` are this machine: see names.py.
"""

from __future__ import annotations

from typing import Final, Self

from proxy.clock import Clock
from proxy.config.settings import UpstreamProxy
from proxy.core.egress import EgressSettings, Via, parse_pattern
from proxy.core.routing import normalise_host
from proxy.errors import WrongHost
from proxy.guard import Guard
from proxy.model import Chain, Request
from proxy.telemetry.metrics import Registry
from proxy.wire.ca import Authority
from proxy.wire.catcher import Catcher
from proxy.wire.dial import Way
from proxy.wire.intercept import Interceptor
from proxy.wire.mint import Mint
from proxy.wire.opening import Opening
from proxy.wire.pool import Endpoint
from tests.support.raw import Agent, End, Script, Vendor, answers
from tests.support.wire import Options, Stack, Wire

API: Final = "api.test"
ALSO: Final = "also.test"  # the same api by a further name
SECOND: Final = "second.test"  # another api
DENIED: Final = "denied.test"  # by name
ASK: Final = b"GET /x HTTP/1.1\r\nHost: api.test\r\n\r\n"
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
OPAQUE: Final = b"\x00\x03binary\xff"
UNRECOGNIZED: Final = bytes.fromhex("15030100020270")  # alerts
ACCESS_DENIED: Final = bytes.fromhex("15030100020231")
INTERNAL_ERROR: Final = bytes.fromhex("15030100020250")
_APIS: Final = {API: "api", ALSO: "api", SECOND: "second"}


class CatchingStack(Stack):
    """A Stack that also catches; records how each connection was handled."""

    def __init__(self, clock: Clock, endpoint: Endpoint, options: Options) -> None:
        super().__init__(clock, endpoint, options)
        self.endpoint = endpoint
        self.registry = Registry()
        deny = (parse_pattern(DENIED),)
        self.guard = Guard(clock, self.registry, EgressSettings(private_networks="allow", deny=deny))
        self.handled: list[tuple[str, str]] = []  # mode, handling
        self.distrusted: list[str] = []
        self.bound_for: tuple[str, int] | None = None  # where redirected connections were going
        self.apis = dict(_APIS)
        self.proxy: UpstreamProxy | None = None  # on the way out
        self.transparent_port = 0
        self.mint: Mint | None = None
        self.catcher = self.listener.catches = Catcher(
            self.listener, self.guard, lambda *handled: self.handled.append(handled), whither=lambda _: self.bound_for
        )

    @classmethod
    async def start(cls, vendor_port: int, options: Options | None = None, clock: Clock | None = None) -> Self:
        stack = await super().start(vendor_port, options, clock)
        stack.transparent_port = await stack.listener.open_transparent("127.0.0.1", 0)
        stack.guard.own = [("127.0.0.1", stack.port), ("127.0.0.1", stack.transparent_port)]
        return stack

    def intercept(self, authority: Authority | None) -> None:
        """End TLS under this authority; None: not any more."""
        if self.mint is not None:
            self.mint.close()
        self.mint = None if authority is None else Mint(self.clock, authority)
        self.catcher.interceptor = (
            None if self.mint is None else Interceptor(self.clock, self.mint, self.distrusted.append)
        )

    @property
    def openings(self) -> list[Opening]:
        """Connections of which nobody knows yet what they are."""
        return [each for each in self.listener._connections if isinstance(each, Opening)]

    # listener.Router

    def bound(self, request: Request, api: str, port: int) -> Chain:
        if self.apis.get(normalise_host(request.host)) != api:
            raise WrongHost
        return self.route(request)

    def named(self, host: str, port: int) -> str | None:
        return self.apis.get(host)

    def to_url(self, api: str) -> tuple[str, int, Way]:
        if api not in self.apis.values():
            raise WrongHost
        return self.endpoint.host, self.endpoint.port, Way()

    def onward(self, host: str | None, port: int, via: Via, original: str | None = None) -> Way:
        return Way(lambda addresses: self.guard.addresses(host, port, addresses, via, original=original), self.proxy)

    async def stop(self) -> None:
        self.intercept(None)
        await super().stop()


class Caught(Wire):
    """See the module."""

    makes = CatchingStack
    stack: CatchingStack

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._others: list[Vendor] = []

    async def elsewhere(self, script: Script | bytes) -> Vendor:
        """A vendor that no api names."""
        vendor = await Vendor.start(answers(script) if isinstance(script, bytes) else script)
        self._others.append(vendor)
        return vendor

    async def tunnel(self, authority: bytes, early: bytes = b"") -> Agent:
        """An agent behind the 200 of its CONNECT, with which ``early`` came."""
        agent = await self.connect()
        await agent.send(connect(authority) + early)
        head = await agent.until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        agent.received.clear()
        return agent

    async def redirected(self, host: str, port: int) -> Agent:
        """An agent that wanted to connect to ``host``, and has been redirected."""
        self.stack.bound_for = host, port
        agent = await Agent.connect(self.stack.transparent_port)
        self._agents.append(agent)
        return agent

    async def stop(self) -> None:
        try:
            await super().stop()
        finally:
            for vendor in self._others:
                await vendor.stop()


def connect(authority: bytes, *fields: bytes) -> bytes:
    """The request for a tunnel."""
    return b"\r\n".join([b"CONNECT %b HTTP/1.1" % authority, b"Host: %b" % authority, *fields, b"", b""])


def at(host: str, vendor: Vendor) -> bytes:
    """Where this vendor is, by this name."""
    return b"%b:%d" % (host.encode(), vendor.port)


async def greets(end: End) -> None:
    """Speak first, as SMTP does; then say back what comes."""
    await end.send(b"220 hello\r\n")
    await echo(end)


async def echo(end: End) -> None:
    """Say back what comes, byte for byte, as it comes, until it ends."""
    while data := await end.some():
        await end.send(data)
