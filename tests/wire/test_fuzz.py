"""Arbitrary bytes in arbitrary pieces from either side: nothing unhandled, nothing ambiguous, and life goes on.

What reached the other side is read by h11, a strict parser that is not ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import h11
import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.clock import Clock
from proxy.core.timeouts import Timeouts
from proxy.wire.ca import Authority
from tests.support.captured import CatchingStack, connect
from tests.support.hello import real
from tests.support.names import NamedUvloop, NamedVirtualLoop
from tests.support.properties import examples
from tests.support.raw import Agent, End, Vendor, turns
from tests.support.virtual import VirtualLoop, clock_of
from tests.support.wire import GET, OK, Options, Stack

FUZZ = settings(max_examples=examples(50), deadline=None, suppress_health_check=list(HealthCheck))

REQUESTS = [
    GET,
    b"HEAD /h HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /x HTTP/1.0\r\n\r\n",
    b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"PUT /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
    b"POST /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    b"GET /u HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    (
        b"POST /h2 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 40\r\n\r\n"
        b"GET /evil HTTP/1.1\r\nHost: evil\r\nX: y\r\n\r\n"
    ),
    b"GET http://api/abs?q HTTP/1.1\r\nHost: a\r\nConnection: X-Hop, close\r\nX-Hop: 1\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\nVia: 1.1 x\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n",
]
ANSWERS = [
    OK,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 204 No\r\n\r\n",
    b"HTTP/1.1 304 Not\r\nContent-Length: 9\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nuntil the close",
    b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
    b"HTTP/1.1 101 Switch\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nbytes",
    b"HTTP/1.1 503 No\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno!",
]
FRAGMENTS = [
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\x00", b" ", b"\t", b":", b"0\r\n\r\n", b"5\r\n", b"ffffffff\r\n", b";x=y",
    b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: b\r\n", b"HTTP/1.1",
    b"HTTP/1.0", b"HTTP/1.1 200 OK\r\n", b"GET / HTTP/1.1\r\n", b"Connection: close\r\n", b"Upgrade: websocket\r\n",
    b"Connection: Upgrade\r\n", b"Expect: 100-continue\r\n", b"x" * 300, b"\x80\xff", b" folded\r\n",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, messages: list[bytes]) -> bytes:
    """Some valid messages, one behind another, with a few edits."""
    raw = b"".join(draw(st.lists(st.sampled_from(messages), min_size=1, max_size=4)))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(raw)))
        end = min(start + draw(st.sampled_from([0, 0, 1, 2, 10])), len(raw))
        middle = draw(st.sampled_from([b"", *FRAGMENTS]) | st.binary(max_size=3) | st.just(raw[start:end] * 2))
        raw = raw[:start] + middle + raw[end:]
    return raw


def hostile(messages: list[bytes]) -> st.SearchStrategy[list[bytes]]:
    """Pieces to send."""
    soup = st.lists(st.sampled_from(FRAGMENTS + messages) | st.binary(max_size=40), max_size=12).map(b"".join)
    whole = mutated(messages) | soup | st.binary(max_size=300)
    cuts = st.lists(st.integers(1, 60), max_size=6)
    return st.tuples(whole, cuts).map(lambda drawn: cut(*drawn))


def cut(raw: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(raw[:size])
        raw = raw[size:]
    return [piece for piece in [*pieces, raw] if piece]


class Strict:
    """An upstream that reads what comes with h11, and answers every request that is complete."""

    def __init__(self) -> None:
        self.requests: list[tuple[bytes, bytes]] = []
        self.errors: list[str] = []

    async def __call__(self, end: End) -> None:
        parser = h11.Connection(h11.SERVER)
        while data := await end.some():
            try:
                parser.receive_data(data)
                await self._answer(parser, end)
            except h11.RemoteProtocolError as error:
                self.errors.append(f"{error}: {bytes(end.received)!r}")
                return

    async def _answer(self, parser: h11.Connection, end: End) -> None:
        while (event := parser.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.Request):
                self.requests.append((event.method, event.target))
            elif isinstance(event, h11.EndOfMessage):
                parser.send(h11.Response(status_code=200, headers=[("Content-Length", "2")]))
                bodiless = self.requests[-1][0] == b"HEAD"
                parser.send(h11.Data(data=b"" if bodiless else b"ok"))
                parser.send(h11.EndOfMessage())
                await end.send(OK[:-2] if bodiless else OK)
                parser.start_next_cycle()


S = TypeVar("S", bound=Stack)


@contextlib.asynccontextmanager
async def watched(script: Callable[[End], Any], clock: Clock, kind: type[S]) -> AsyncIterator[S]:
    """A stack and a vendor, and the claim that nothing went wrong between them and nothing is left."""
    unhandled: list[Any] = []
    clock.loop.set_exception_handler(lambda _, context: unhandled.append(context))
    logged = Collect(logging.ERROR if kind is CatchingStack else logging.WARNING)  # what is denied is told
    logging.getLogger("backstay").addHandler(logged)
    vendor = await Vendor.start(script)
    stack = await kind.start(vendor.port, Options(timeouts=Timeouts(first_byte=5.0, idle=5.0, total=20.0)), clock)
    try:
        try:
            yield stack
        finally:
            await stack.stop()  # in any case: uvloop's end waits for what is open
    finally:
        await vendor.stop()
        logging.getLogger("backstay").removeHandler(logged)
    gc.collect()
    assert not unhandled, unhandled
    assert not logged.messages, logged.messages


class Collect(logging.Handler):
    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


async def throw(port: int, pieces: list[bytes], *, reset: bool) -> bytes:
    """Send ``pieces`` as an agent, take what comes, and leave."""
    agent = await Agent.connect(port)
    with contextlib.suppress(ConnectionError):
        await agent.send(*pieces)
    await turns(30)
    agent.reset() if reset else agent.close()
    return bytes(agent.received)


@pytest.mark.parametrize("factory", [uvloop.new_event_loop, VirtualLoop])
def test_any_bytes_from_the_agent(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """The process lives, and the upstream gets exactly the requests that were understood."""

    async def scenario(bursts: list[list[bytes]], *, reset: bool) -> None:
        loop = asyncio.get_running_loop()
        clock = clock_of(loop) if isinstance(loop, VirtualLoop) else Clock(loop)
        vendor = Strict()
        async with watched(vendor, clock, Stack) as stack:
            for pieces in bursts:
                await throw(stack.port, pieces, reset=reset)
            agent = await Agent.connect(stack.port)
            assert (await agent.ask(GET)).body == b"ok"
            agent.close()
            sent = Counter((each.exchange.request.method, each.exchange.request.target) for each in stack.attempts)
        assert not vendor.errors, vendor.errors
        extra = Counter(vendor.requests) - sent
        assert not extra, f"the upstream saw {extra}, but what was forwarded is {sent}"

    @FUZZ
    @given(st.lists(hostile(REQUESTS), min_size=1, max_size=3), st.booleans())
    def fuzz(bursts: list[list[bytes]], reset: bool) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(scenario(bursts, reset=reset))

    fuzz()


def read_strictly(raw: bytes, request: bytes) -> None:
    """Whatever an agent got is what h11 takes for answers, perhaps cut off."""
    if not raw:  # nothing yet; to h11 it were the end of the connection
        return
    parser = h11.Connection(h11.CLIENT)
    method, target, _ = request.split(b" ", 2)
    headers = [("Host", "a")]
    if b"websocket" in request:
        headers += [("Connection", "Upgrade"), ("Upgrade", "websocket")]
    parser.send(h11.Request(method=method, target=target, headers=headers))
    parser.send(h11.EndOfMessage())
    parser.receive_data(raw)
    while not isinstance(event := parser.next_event(), h11.EndOfMessage):
        if event in (h11.NEED_DATA, h11.PAUSED):
            return
    assert parser.trailing_data[0] == b""


@pytest.mark.parametrize("factory", [uvloop.new_event_loop, VirtualLoop])
def test_any_bytes_from_the_upstream(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """The process lives, and the agent gets an answer that is valid, an error of ours, or a broken stream."""

    async def scenario(pieces: list[bytes], request: bytes, *, reset: bool) -> None:
        async def script(end: End) -> None:
            if len(seen) > 1:
                await end.message()
                await end.send(OK)
                return
            seen.append(1)
            await end.message()
            await end.send(*pieces)
            end.reset() if reset else end.close()

        seen: list[int] = [1]
        loop = asyncio.get_running_loop()
        clock = clock_of(loop) if isinstance(loop, VirtualLoop) else Clock(loop)
        async with watched(script, clock, Stack) as stack:
            agent = await Agent.connect(stack.port)
            await agent.send(request)
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(0.02):
                    while data := await agent.reader.read(65536):
                        agent.received += data
            agent.close()
            read_strictly(bytes(agent.received), request)
            other = await Agent.connect(stack.port)
            assert (await other.ask(GET)).body == b"ok"
            other.close()

    @FUZZ
    @given(hostile(ANSWERS), st.sampled_from([GET, REQUESTS[1], REQUESTS[6]]), st.booleans())
    def fuzz(pieces: list[bytes], request: bytes, reset: bool) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(scenario(pieces, request, reset=reset))

    fuzz()


DESTINATIONS = [b"", b"api.test:PORT", b"api.test:443", b"other.test:PORT", b"127.0.0.1:PORT", b"absent.test:1"]
TUNNELLED = [
    b"GET /x HTTP/1.1\r\nHost: api.test\r\n\r\n",
    b"POST /p HTTP/1.1\r\nHost: second.test\r\nContent-Length: 2\r\n\r\nhi",
    b"GET / HTTP/1.1\r\nHost: other.test\r\n\r\n",
    b"CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET http://also.test/x HTTP/1.1\r\nHost: a\r\nProxy-Authorization: x\r\n\r\n",
    b"GET /u HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    real("api.test"),
    real("other.test", ["h2"]),
    b"\x16\x03\x01",
    b"\x00\x01\x02",
    b"220 hello\r\n",
]


async def says_yes(end: End) -> None:
    """Answer whatever comes: not all of it is HTTP."""
    while await end.some():
        await end.send(OK)


@pytest.mark.parametrize("factory", [NamedUvloop, NamedVirtualLoop])
def test_any_bytes_within_a_tunnel(factory: Callable[[], asyncio.AbstractEventLoop], authority: Authority) -> None:
    """To an api or to any other host, redirected or asked for: the process lives, and nothing is left of any."""

    async def scenario(to: bytes, bursts: list[list[bytes]], *, reset: bool) -> None:
        loop = asyncio.get_running_loop()
        clock = clock_of(loop) if isinstance(loop, VirtualLoop) else Clock(loop)
        async with watched(says_yes, clock, CatchingStack) as stack:
            stack.intercept(authority)
            stack.bound_for = "127.0.0.1", stack.endpoint.port
            for pieces in bursts:
                if to:
                    asked = connect(to.replace(b"PORT", b"%d" % stack.endpoint.port))
                    await throw(stack.port, [asked + pieces[0], *pieces[1:]] if pieces else [asked], reset=reset)
                else:
                    await throw(stack.transparent_port, pieces, reset=reset)
            agent = await Agent.connect(stack.port)
            assert (await agent.ask(GET)).body == b"ok"
            agent.close()

    @FUZZ
    @given(
        st.sampled_from(DESTINATIONS),
        st.lists(hostile(TUNNELLED), min_size=1, max_size=2),
        st.booleans(),
    )
    def fuzz(to: bytes, bursts: list[list[bytes]], reset: bool) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(scenario(to, bursts, reset=reset))

    fuzz()
