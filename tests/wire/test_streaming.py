"""Bodies on their way: bytes survive, readers slow senders down, connections stay usable, nothing grows unbounded."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib

import pytest

from proxy.model import Ending, Verdict
from tests.support.raw import Agent, End, answers, deaf, flood, sends, turns, until
from tests.support.wire import GET, OK, Stack, Wire

PATTERN = hashlib.sha256(b"pattern").digest() * 2048  # 64 KiB that no framing looks like
MIB = 2**20


def buffered(stack: Stack) -> int:
    """Bytes that the proxy itself holds for agents and upstreams."""
    agents = [each.transport for each in stack.agents]
    return sum(transport.get_write_buffer_size() for transport in agents)


async def read_all(end: End, count: int) -> str:
    digest = hashlib.sha256()
    while count:
        data = await end.reader.read(min(count, 2**17))
        assert data, f"{count} bytes are missing"
        digest.update(data)
        count -= len(data)
    return digest.hexdigest()


@pytest.mark.both_loops
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_twenty_megabytes_pass(wire: Wire, framing: str) -> None:
    """A large answer arrives byte for byte, and the proxy never holds more than a few reads of it."""
    heads = {
        "length": b"Content-Length: %d\r\n" % (20 * MIB),
        "chunked": b"Transfer-Encoding: chunked\r\n",
        "close": b"",
    }

    async def script(end: End) -> None:
        await end.message()
        end.writer.write(b"HTTP/1.1 200 OK\r\n" + heads[framing] + b"\r\n")
        for _ in range(20 * MIB // len(PATTERN)):
            end.writer.write(b"%x\r\n%b\r\n" % (len(PATTERN), PATTERN) if framing == "chunked" else PATTERN)
            await end.writer.drain()
        if framing == "chunked":
            end.writer.write(b"0\r\n\r\n")

    agent = await wire.start(script)
    await agent.send(GET)
    head = await agent.until(b"\r\n\r\n")
    digest = hashlib.sha256()
    left, most = 20 * MIB, 0
    while left:
        if b"chunked" in head:
            size = int(await agent.until(b"\r\n"), 16)
            digest.update(await agent.exactly(size))
            await agent.exactly(2)
        else:
            size = len(data := await agent.some())
            digest.update(data)
        agent.received.clear()
        left -= size
        most = max(most, buffered(wire.stack))
    assert digest.hexdigest() == hashlib.sha256(PATTERN * (20 * MIB // len(PATTERN))).hexdigest()
    assert most <= 512 * 1024  # asyncio's own loop reads 256 KiB at once


@pytest.mark.both_loops
@pytest.mark.parametrize("chunked", [False, True])
async def test_twenty_megabytes_are_sent(wire: Wire, chunked: bool) -> None:
    """A large request arrives at the upstream byte for byte."""
    count = 20 * MIB // len(PATTERN)

    async def script(end: End) -> None:
        head = await end.until(b"\r\n\r\n")
        assert (b"chunked" in head) is chunked
        if chunked:
            got = hashlib.sha256()
            while size := int(await end.until(b"\r\n"), 16):
                got.update(await end.exactly(size))
                await end.exactly(2)
                end.received.clear()
            await end.exactly(2)
            digest = got.hexdigest()
        else:
            digest = await read_all(end, 20 * MIB)
        await end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + digest.encode())

    agent = await wire.start(script)
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % (20 * MIB)
    agent.writer.write(b"PUT /x HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n")
    for _ in range(count):
        agent.writer.write(b"%x\r\n%b\r\n" % (len(PATTERN), PATTERN) if chunked else PATTERN)
        await agent.writer.drain()
    if chunked:
        agent.writer.write(b"0\r\n\r\n")
    assert (await agent.answer()).body.decode() == hashlib.sha256(PATTERN * count).hexdigest()


async def test_a_slow_reader_stops_the_upstream(wire: Wire) -> None:
    """While the agent reads nothing, what the upstream gets rid of is bounded by the buffers on the way."""
    taken: list[int] = []

    async def script(end: End) -> None:
        await end.message()
        end.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (256 * MIB))
        taken.append(await flood(end, 256 * MIB))
        await end.rest()

    await wire.start(script)
    agent = await wire.connect(receive_buffer=32 * 1024)
    await agent.send(GET)
    await until(lambda: taken != [])
    assert taken[0] < 64 * MIB  # the kernel's own buffers, several megabytes for each of two connections
    assert buffered(wire.stack) <= 192 * 1024
    agent.reset()
    await until(lambda: wire.stack.endings != [])
    assert wire.stack.endings == [Ending.ABANDONED]
    assert wire.stack.verdicts == [Verdict.IGNORED]


async def test_a_slow_upstream_stops_the_agent(wire: Wire) -> None:
    """While the upstream reads nothing, what the agent gets rid of is bounded."""
    agent = await wire.start(deaf)
    agent.writer.write(b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (256 * MIB))
    assert await flood(agent, 256 * MIB) < 64 * MIB
    agent.reset()


async def test_server_sent_events_arrive_one_by_one(wire: Wire) -> None:
    """Each event is at the agent before the next is sent: nothing is held back."""
    read = asyncio.Event()

    async def script(end: End) -> None:
        await end.message()
        await end.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(20):
            await end.send(b"9\r\ndata: %d\n\n\r\n" % (number % 10))
            await read.wait()
            read.clear()
        await end.send(b"0\r\n\r\n")

    agent = await wire.start(script)
    await agent.send(GET)
    await agent.until(b"\r\n\r\n")
    for number in range(20):
        assert await agent.exactly(14) == b"9\r\ndata: %d\n\n\r\n" % (number % 10)
        read.set()
    assert await agent.exactly(5) == b"0\r\n\r\n"


async def test_headers_arrive_before_the_body(wire: Wire) -> None:
    """An answer whose first byte of body is late is at the agent with its headers."""

    async def script(end: End) -> None:
        await end.message()
        await end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        await end.some()  # nothing comes: until the test ends

    agent = await wire.start(script)
    await agent.send(GET)
    assert await agent.until(b"\r\n\r\n") == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    agent.close()


@pytest.mark.both_loops
@pytest.mark.parametrize("size", [60_000, 100_000, 130_000, 200_000, 400_000, 1_000_000])
async def test_a_connection_lives_on_after_a_body_that_waited(wire: Wire, size: int) -> None:
    """A request body that came before there was a connection to send it on leaves the agent's connection readable."""
    agent = await wire.start(OK)
    for _ in range(3):
        await agent.send(b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
        assert (await agent.answer()).status == 200
        wire.stack.pool._idle[0].abort()  # the next one has to wait for a connection again


@pytest.mark.both_loops
@pytest.mark.parametrize("size", [100_000, 200_000, 400_000])
async def test_a_connection_lives_on_after_a_body_nobody_took(wire: Wire, size: int) -> None:
    """A request that was refused while its body came leaves the connection readable, or closes it."""
    agent = await wire.start(OK)
    await agent.send(b"PUT /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
    answer = await agent.answer()
    assert answer.status == 404
    try:
        await agent.send(GET)
        assert (await agent.answer()).status == 200
    except (ConnectionError, asyncio.IncompleteReadError):
        assert size > 64 * 1024, "closed, though the body was short"


@pytest.mark.both_loops
@pytest.mark.parametrize("spare", range(0, 80_000, 9_973))
async def test_an_upstream_connection_lives_on_after_a_slow_reader(wire: Wire, spare: int) -> None:
    """An answer whose last piece fills the agent's buffer leaves the upstream connection readable."""
    size = 8 * MIB + spare
    large = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size
    await wire.start(answers(large, OK))
    slow = await wire.connect(receive_buffer=4096)
    await slow.send(GET)
    await slow.until(b"\r\n\r\n")
    left = size
    while left:
        left -= len(await slow.some())
        slow.received.clear()
    await until(lambda: wire.stack.pool.counts()["idle"] == 1)
    assert (await slow.ask(GET)).body == b"ok"
    assert len(wire.vendor.connections) == 1


async def test_pipelining_without_reading_is_bounded(wire: Wire) -> None:
    """An agent that asks again and again and never reads is not read from: answers do not pile up."""
    body = b"x" * 60_000
    agent = await wire.start(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    agent = await wire.connect(receive_buffer=4096)
    task = asyncio.get_running_loop().create_task(agent.send(GET * 2000))
    before = -1
    while before != len(wire.stack.exchanges):
        before = len(wire.stack.exchanges)
        await asyncio.sleep(0.1)
    assert before < 2000
    assert buffered(wire.stack) <= 256 * 1024
    for _ in range(2000):
        assert (await agent.answer()).body == body
        agent.received.clear()
    await task


async def test_asking_on_without_reading_is_bounded(wire: Wire) -> None:
    """The same for requests that come one by one, each after the answer to the one before has been written."""
    body = b"x" * 60_000
    await wire.start(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    agent = await wire.connect(receive_buffer=4096)
    agent.reader._transport.pause_reading()  # type: ignore[attr-defined]
    with contextlib.suppress(AssertionError):
        for count in range(1, 500):
            await agent.send(GET)
            await until(lambda count=count: len(wire.stack.endings) == count, turns=200)  # type: ignore[misc]
    assert len(wire.stack.endings) < 400
    assert buffered(wire.stack) <= 256 * 1024
    agent.reset()


@pytest.mark.parametrize("count", [9000])
async def test_a_burst_of_pipelined_requests(wire: Wire, count: int) -> None:
    """A quarter of a megabyte of requests at once is answered in order, a few at a time."""

    async def script(end: End) -> None:
        while True:
            request = await end.message()
            path = request.head.split(b" ")[1]
            end.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))

    agent = await wire.start(script)
    burst = b"".join(b"GET /%d HTTP/1.1\r\nHost:a\r\n\r\n" % number for number in range(count))
    assert len(burst) > 250_000
    task = asyncio.get_running_loop().create_task(agent.send(burst))
    for number in range(count):
        assert (await agent.answer()).body == b"/%d" % number
        assert all(len(each._buffer) <= 192 * 1024 for each in wire.stack.agents)
    await task
    assert len(wire.vendor.connections) == 1


# --- cut bodies ------------------------------------------------------------------------------------------

CUT = {
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", b"1.1"),
    "length, nothing came": (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", b"1.1"),
    "chunked": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", b"1.1"),
    "chunked, inside a chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc", b"1.1"),
    "chunked, before the last line": (
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" b"\r\n3\r\nabc\r\n0\r\n"), b"1.1",
    ),
    "chunked, inside the trailers": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n",
        b"1.1",
    ),
    "chunked, for HTTP/1.0": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", b"1.0"),
    "malformed chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n", b"1.1"),
    "malformed chunk, for HTTP/1.0": (
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" b"\r\n3\r\nabc\r\nzz\r\n"), b"1.0",
    ),
}  # fmt: skip


def looks_complete(raw: bytes, *, reset: bool) -> bool:
    """Whether an agent would take these bytes for a whole answer."""
    head, _, body = raw.partition(b"\r\n\r\n")
    if b"chunked" in head:
        return body.endswith(b"0\r\n\r\n")
    if b"Content-Length: 10" in head:
        return len(body) >= 10
    return not reset


@pytest.mark.both_loops
@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize(("raw", "version"), CUT.values(), ids=CUT.keys())
async def test_a_cut_answer_is_a_broken_answer(wire: Wire, raw: bytes, version: bytes, end: str) -> None:
    """An answer that breaks off looks broken to the agent, and counts as a failure of the upstream."""
    head, mark, body = raw.partition(b"\r\n\r\n")
    agent = await wire.start(sends(head + mark, body, then=End.close if end == "close" else End.reset))
    await agent.send(b"GET /x HTTP/%b\r\nHost: a\r\n\r\n" % version)
    await assert_broken(agent)
    await until(lambda: wire.stack.endings != [])
    assert wire.stack.endings == [Ending.BROKEN]
    assert wire.stack.verdicts == [Verdict.FAILURE]
    assert wire.stack.pool.counts()["idle"] == 0


async def assert_broken(agent: Agent) -> None:
    received, reset = b"", False
    try:
        while data := await agent.some():
            received += data
    except ConnectionResetError:
        reset = True
    assert not looks_complete(received, reset=reset), received


@pytest.mark.both_loops
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_a_close_delimited_answer(wire: Wire, version: bytes) -> None:
    """An answer that lasts until the upstream closes is complete; its reset is a broken answer."""
    agent = await wire.start(sends(b"HTTP/1.1 200 OK\r\n\r\n", b"abc", b"def"))
    await agent.send(b"GET /x HTTP/%b\r\nHost: a\r\n\r\n" % version)
    answer = await agent.answer()
    assert answer.body == b"abcdef"
    assert (answer.field(b"Transfer-Encoding") == b"chunked") is (version == b"1.1")
    await until(lambda: wire.stack.endings != [])
    assert wire.stack.endings == [Ending.COMPLETE]


@pytest.mark.both_loops
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_a_close_delimited_answer_that_is_reset(wire: Wire, version: bytes) -> None:
    """A reset is not an end."""
    agent = await wire.start(sends(b"HTTP/1.1 200 OK\r\n\r\n", b"abc", then=End.reset))
    await agent.send(b"GET /x HTTP/%b\r\nHost: a\r\n\r\n" % version)
    await assert_broken(agent)
    await until(lambda: wire.stack.endings != [])
    assert wire.stack.endings == [Ending.BROKEN]


async def test_an_http10_agent_gets_a_chunked_answer_until_close(wire: Wire) -> None:
    """HTTP/1.0 knows no chunks: the body is decoded, its trailers dropped, and the close ends it."""
    agent = await wire.start(
        sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", b"3\r\ndef\r\n0\r\nX: y\r\n\r\n")
    )
    await agent.send(b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    answer = await agent.answer()
    assert (answer.body, answer.field(b"Transfer-Encoding"), answer.field(b"Connection")) == (b"abcdef", None, b"close")


async def test_an_http10_agent_keeps_its_connection_for_a_short_chunked_answer(wire: Wire) -> None:
    """A chunked answer that came whole has a length, so that nothing has to be closed."""
    agent = await wire.start(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n")
    for _ in range(2):
        await agent.send(b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        answer = await agent.answer()
        assert (answer.body, answer.field(b"Connection")) == (b"abc", b"keep-alive")


@pytest.mark.parametrize("whole", [True, False])
async def test_trailers_pass(wire: Wire, whole: bool) -> None:
    """Trailer fields of an answer reach the agent as they came."""
    raw = (
        b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"3\r\nabc\r\n",
        b"0\r\nX-Sum: 6\r\nx-b: c\r\n\r\n",
    )
    agent = await wire.start(sends(b"".join(raw)) if whole else sends(*raw))
    answer = await agent.ask(b"GET /x HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n")
    assert (answer.body, answer.trailers) == (b"abc", b"X-Sum: 6\r\nx-b: c\r\n")
    assert answer.field(b"Trailer") == b"X-Sum"


async def test_turns_are_reads() -> None:
    """The raw ends do send pieces apart, or none of the above would test anything."""
    seen: list[bytes] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            seen.append(data)
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    agent = await Agent.connect(server.sockets[0].getsockname()[1])
    await agent.send(b"a", b"b", b"c")
    agent.close()
    await turns()
    await until(lambda: seen == [b"a", b"b", b"c"], "three reads")
    server.close()
