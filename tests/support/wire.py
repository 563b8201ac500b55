r"""The data plane in this process, between a raw agent and a raw vendor on loopback. For tests of bytes.

vendor = await Vendor.start(answers(OK))
stack = await Stack.start(vendor.port)
agent = await Agent.connect(stack.port)
await agent.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
assert (await agent.answer()).status == 200
await stack.stop()  # asserts that nothing leaked: connections, attempts, exchanges, tasks
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, Final, Self

from proxy.clock import Clock
from proxy.core.classify import Classifier, ClassifySettings
from proxy.core.egress import Via
from proxy.core.timeouts import Timeouts
from proxy.errors import CallError, Misdirected
from proxy.model import Attempt, Chain, Ending, Exchange, Request, Response, Send, Verdict
from proxy.policies.attempts import Attempts
from proxy.policies.timeouts import TimeoutPolicy
from proxy.telemetry.metrics import Registry
from proxy.telemetry.requests import AttemptMetrics
from proxy.wire.dial import Way
from proxy.wire.listener import Listener
from proxy.wire.pool import Endpoint, Pool, Upstream
from proxy.wire.server import AgentConnection
from tests.support.raw import Agent, End, Script, Vendor, answers, turns, until

OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GET: Final = b"GET /x HTTP/1.1\r\nHost: api\r\n\r\n"


@dataclass(frozen=True)
class Options:
    """What a test may want otherwise."""

    connections: int = 1024  # of agents
    header_limit: int = 32 * 1024
    body_limit: int | None = None
    pool: int = 100  # connections to the vendor
    idle: float = 60.0  # seconds that they are kept
    timeouts: Timeouts = field(default_factory=lambda: Timeouts(total=30.0))
    declared_safe: bool = False
    replay_body: int = 65536
    endpoint: Endpoint | None = None


class Stack:
    """A Listener whose only chain is attempts > timeouts > upstream; records how everything ended."""

    def __init__(self, clock: Clock, endpoint: Endpoint, options: Options) -> None:
        self.clock = clock
        self.options = options
        self.scratch = memoryview(bytearray(64 * 1024))
        self.pool = Pool(
            clock,
            endpoint,
            self.scratch,
            max_connections=options.pool,
            idle_seconds=options.idle,
            header_limit=options.header_limit,
        )
        self.listener = Listener(
            clock,
            self,
            self,
            self.scratch,
            pseudonym=b"backstay-test",
            max_connections=options.connections,
            header_limit=options.header_limit,
            body_limit=options.body_limit,
        )
        self.port = 0
        self.attempts: list[Attempt] = []
        self.exchanges: list[Exchange] = []
        self.endings: list[Ending | str] = []  # of exchanges: how the answer's body ended, or the reason of its error
        self.refused: list[str] = []  # reasons of requests that had no route
        self._timeout = TimeoutPolicy(clock, options.timeouts)
        self._upstream: Send = Upstream(self.pool, b"backstay-test", declared_safe=options.declared_safe)
        self._bridge = Attempts(clock, Classifier(ClassifySettings()), AttemptMetrics(Registry(), "api", "default"))

    @classmethod
    async def start(cls, vendor_port: int, options: Options | None = None, clock: Clock | None = None) -> Self:
        options = options or Options()
        endpoint = options.endpoint or Endpoint("127.0.0.1", vendor_port, authority=b"vendor.test")
        stack = cls(clock or Clock(asyncio.get_running_loop()), endpoint, options)
        stack.port = await stack.listener.open("127.0.0.1", 0)
        return stack

    # listener.Router and listener.Rejections

    def route(self, request: Request) -> Chain:
        if request.target.startswith(b"/nowhere"):
            raise Misdirected
        return Chain("api", "default", self._proceed, self._proceed)

    def bound(self, request: Request, api: str, port: int) -> Chain:
        return self.route(request)

    def named(self, host: str, port: int) -> str | None:
        return None

    def to_url(self, api: str) -> tuple[str, int, Way]:
        raise LookupError(api)

    def onward(self, host: str | None, port: int, via: Via, original: str | None = None) -> Way:
        return Way()

    def rejected(self, error: CallError, method: bytes) -> None:
        self.refused.append(error.reason)

    # the chain

    async def _proceed(self, exchange: Exchange) -> Response:
        exchange.deadline = exchange.started + self.options.timeouts.total
        self.exchanges.append(exchange)
        if exchange.request.stream is not None:
            exchange.request.stream.keep(self.options.replay_body)
        try:
            response = await self._bridge(exchange, self._send)
        except BaseException as error:
            self.endings.append(getattr(error, "reason", type(error).__name__))
            raise
        response.on_end(self.endings.append)
        return response

    def _send(self, attempt: Attempt) -> Awaitable[Response]:
        self.attempts.append(attempt)
        return self._timeout(attempt, self._upstream)

    @property
    def agents(self) -> list[AgentConnection]:
        """Connections that are served."""
        return [each for each in self.listener._connections if isinstance(each, AgentConnection)]

    @property
    def verdicts(self) -> list[Verdict | None]:
        return [attempt.verdict for attempt in self.attempts]

    # the end

    async def stop(self) -> None:
        """Close everything, and assert that nothing is left: a leak is a failure of whatever test made it."""
        self.listener.close()
        try:
            await self._assert_nothing_left()
        finally:
            self.pool.close()
            await self.clock.stop()

    async def _assert_nothing_left(self) -> None:
        await until(lambda: self.listener.connections == 0, "no agent's connection left")
        await until(lambda: not self.listener._excess, "none of those that were too many left")
        await until(lambda: self.pool.counts()["busy"] == 0, f"no connection busy: {self.pool}")
        self.pool.close()
        await turns()
        assert self.pool.counts() == {"idle": 0, "busy": 0, "waiting": 0}
        assert None not in self.verdicts, "an attempt has not settled"
        assert len(self.endings) == len(self.exchanges), "an exchange has not ended, or twice"


class Wire:
    """Makes and ends what a test needs; ``agent`` is connected on first use."""

    makes: type[Stack] = Stack

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.vendor: Vendor
        self.stack: Stack
        self._agents: list[End] = []

    async def start(self, script: Script | bytes, **options: Any) -> Agent:
        """Start a vendor and the proxy before it; returns a connected agent."""
        await self.start_vendor(script)
        self.stack = await self.makes.start(self.vendor.port, Options(**options), self.clock)
        return await self.connect()

    async def start_vendor(self, script: Script | bytes) -> Vendor:
        """Start a vendor alone."""
        self.vendor = await Vendor.start(answers(script) if isinstance(script, bytes) else script)
        return self.vendor

    async def connect(self, *, receive_buffer: int | None = None) -> Agent:
        agent = await Agent.connect(self.stack.port, receive_buffer=receive_buffer)
        self._agents.append(agent)
        return agent

    async def stop(self) -> None:
        for agent in self._agents:
            agent.close()
        try:
            if hasattr(self, "stack"):
                await self.stack.stop()
        finally:
            if hasattr(self, "vendor"):
                await self.vendor.stop()
            await turns()
