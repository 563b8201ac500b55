"""Agents whose TLS is ended by Backstay, with a stack that does so. For tests of interception.

await begin(caught, authority)                   # TLS is ended under this authority
agent = await intercepted(caught, authority)     # and this agent trusts it
"""

from __future__ import annotations

import ssl
import threading
from typing import Any, Final

from proxy.wire.ca import Authority
from tests.support.captured import API, Caught
from tests.support.raw import Agent, Script, until
from tests.support.virtual import VirtualLoop
from tests.support.wire import OK

CONNECT_API: Final = b"api.test:443"


async def begin(caught: Caught, authority: Authority, script: Script | bytes = OK, **options: Any) -> None:
    """Start, with TLS ended under this authority and no agent yet."""
    (await caught.start(script, **options)).close()
    caught.stack.intercept(authority)
    await until(lambda: caught.stack.listener.connections == 0)
    if isinstance(caught.clock.loop, VirtualLoop) and caught.stack.mint is not None:
        await caught.stack.mint.context(API)  # now: virtual time runs away while a thread works


async def intercepted(caught: Caught, authority: Authority, name: str | None = API, **options: Any) -> Agent:
    """An agent that trusts the authority, with its handshake behind it."""
    return await secure(await caught.tunnel(CONNECT_API), authority, name, **options)


async def secure(agent: Agent, trusted: Authority | None = None, name: str | None = API, **options: Any) -> Agent:
    """The same agent with TLS over its connection. ``trusted``: whose certificates it accepts; None: anybody's."""
    await agent.writer.start_tls(client(trusted, **options), server_hostname=name)
    return agent


def client(
    trusted: Authority | None = None, *, alpn: tuple[str, ...] = (), version: ssl.TLSVersion | None = None
) -> ssl.SSLContext:
    """A client's side of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if trusted is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(cadata=trusted.pem.decode())
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


class Hand:
    """TLS by hand, for a client whose bytes a test sends itself."""

    def __init__(self, name: str, context: ssl.SSLContext | None = None) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = (context or client()).wrap_bio(self._in, self._out, server_hostname=name)
        self._step()

    def _step(self) -> bool:
        try:
            self.object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def take(self) -> bytes:
        """What is to be sent."""
        return self._out.read()

    async def shake(self, agent: Agent) -> None:
        while not self._step():
            await agent.send(self.take())
            self._in.write(await agent.some())

    async def read(self, agent: Agent, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                data += self.object.read(size - len(data))
            except ssl.SSLWantReadError:
                self._in.write(await agent.some())
        return data


class Gated(Authority):
    """Signs when the gate is open, what it is told to."""

    gate: threading.Event
    error: Exception | None

    def issue(self, name: str, wall: float) -> bytes:
        self.gate.wait(10)
        if self.error is not None:
            raise self.error
        return super().issue(name, wall)
