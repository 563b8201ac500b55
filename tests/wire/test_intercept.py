"""Tests of TLS that is ended here: what is served inside, and what is left alone.

Who does not want it, and what goes wrong, is in test_intercept_trust.py.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl

import pytest

from proxy.core.egress import EgressSettings, parse_pattern
from proxy.wire.ca import Authority
from tests.support.captured import ALSO, API, ASK, SECOND, UNRECOGNIZED, Caught, connect, echo
from tests.support.hello import real
from tests.support.intercepted import CONNECT_API, Hand, begin, client, intercepted, secure
from tests.support.raw import End, deaf, flood, until
from tests.support.wire import OK, Stack

MIB = 2**20
SWITCH = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


# --- what is served


@pytest.mark.both_loops
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_calls_within(caught: Caught, authority: Authority, version: ssl.TLSVersion) -> None:
    """Under a certificate for the host, HTTP is served as anywhere: one call after another, and pipelined."""
    await begin(caught, authority)
    agent = await intercepted(caught, authority, version=version, alpn=("h2", "http/1.1"))
    tls = agent.writer.get_extra_info("ssl_object")
    assert (tls.selected_alpn_protocol(), tls.version()) == ("http/1.1", version.name.replace("v1_", "v1."))
    assert (await agent.ask(ASK)).body == b"ok"
    await agent.send(ASK * 3)
    assert [(await agent.answer()).body for _ in range(3)] == [b"ok"] * 3
    assert caught.vendor.received.count(b"GET /x HTTP/1.1\r\nHost: vendor.test\r\n") == 4
    assert (caught.stack.handled, caught.stack.distrusted) == ([("connect", "intercepted")], [])
    assert caught.stack.listener.connections == 1


async def test_where_openssl_is_not_used_directly(caught: Caught, authority: Authority) -> None:
    """A Python that has it built in is served by its own ssl module."""
    await begin(caught, authority)
    assert caught.stack.mint is not None
    context = await caught.stack.mint.context(API)
    context._aiofastnet_force_fallback_ssl = True  # type: ignore[attr-defined]
    agent = await intercepted(caught, authority)
    body = random.Random(4).randbytes(50_000)
    agent.writer.write(b"POST /p HTTP/1.1\r\nHost: api.test\r\nContent-Length: 50000\r\n\r\n" + body)
    assert (await agent.answer()).body == b"ok"
    assert body in caught.vendor.received
    silent = await caught.tunnel(CONNECT_API, real(API))
    await silent.some()
    silent.close()
    await until(lambda: caught.stack.distrusted == ["api"])


@pytest.mark.both_loops
async def test_bodies_within(caught: Caught, authority: Authority) -> None:
    """Of requests and of answers, announced and chunked, and what has none."""

    async def script(end: End) -> None:
        while True:
            asked = await end.message()
            if asked.head.startswith(b"HEAD"):
                await end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
            else:
                size = b"%x" % len(asked.body)
                await end.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%b\r\n" % size, asked.body)
                await end.send(b"\r\n0\r\n\r\n")

    await begin(caught, authority, script)
    agent = await intercepted(caught, authority)
    body = random.Random(1).randbytes(300_000)
    for framed in (
        b"Content-Length: 300000\r\n\r\n" + body,
        b"Transfer-Encoding: chunked\r\n\r\n493e0\r\n%b\r\n0\r\n\r\n" % body,
    ):
        agent.writer.write(b"POST /p HTTP/1.1\r\nHost: api.test\r\n" + framed)
        answer = await agent.answer()
        assert answer.body == body
    assert (await agent.ask(ASK.replace(b"GET", b"HEAD"))).field(b"Content-Length") == b"5"


async def test_expectations_and_old_versions_within(caught: Caught, authority: Authority) -> None:
    """Expect: 100-continue goes end to end, HTTP/1.0 is closed behind the answer, and h2c is not asked for."""

    async def script(end: End) -> None:
        while head := await end.until(b"\r\n\r\n"):
            if b"Expect" in head:
                await end.send(b"HTTP/1.1 100 Continue\r\n\r\n")
                await end.exactly(3)
            await end.send(OK)

    await begin(caught, authority, script)
    agent = await intercepted(caught, authority)
    await agent.send(b"POST /x HTTP/1.1\r\nHost: api.test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert (await agent.message()).status == 100
    assert (await agent.ask(b"abc")).body == b"ok"
    h2c = b"Connection: Upgrade, HTTP2-Settings, TE\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\nTE: trailers\r\n\r\n"
    assert (await agent.ask(ASK[:-2] + h2c)).body == b"ok"
    assert (await agent.ask(ASK.replace(b"1.1", b"1.0"))).body == b"ok"
    assert await agent.closed()
    assert b"h2c" not in caught.vendor.received


@pytest.mark.both_loops
async def test_a_websocket_within(caught: Caught, authority: Authority) -> None:
    """Wss works: after the 101, bytes pass both ways; and what was for the proxy alone is not passed."""

    async def script(end: End) -> None:
        await end.until(b"\r\n\r\n")
        await end.send(SWITCH)
        await echo(end)

    await begin(caught, authority, script)
    agent = await intercepted(caught, authority)
    fields = b"Connection: Upgrade\r\nUpgrade: websocket\r\nProxy-Authorization: Basic x\r\n\r\n"
    assert (await agent.ask(ASK[:-2] + fields)).status == 101
    for message in (b"\x81\x05hello", ASK, b"\x00" * 300_000):
        agent.writer.write(message)
        assert await agent.exactly(len(message)) == message
    assert b"Proxy-" not in caught.vendor.received
    agent.close()
    await until(lambda: caught.vendor.connections[0].gone)


@pytest.mark.parametrize("sends", [ASK, b"GET /x HTTP/1.1\r\nHost: second.test\r\n\r\n", connect(b"api.test:443")])
async def test_what_a_connection_is_for(caught: Caught, authority: Authority, sends: bytes) -> None:
    """The host of CONNECT, of SNI and of Host must be of one api; and no tunnel leads out of it."""
    await begin(caught, authority)
    agent = await intercepted(caught, authority, ALSO)
    answer = await agent.ask(sends)
    assert answer.status == {ASK: 200}.get(sends, 501 if sends.startswith(b"CONNECT") else 421)
    if answer.status != 200:
        assert await agent.closed()


async def test_a_misdirected_call_with_a_large_body(caught: Caught, authority: Authority) -> None:
    """The agent reads why, although it is still sending; and nothing behind it is served."""
    await begin(caught, authority)
    agent = await intercepted(caught, authority)
    agent.writer.write(
        b"POST /x HTTP/1.1\r\nHost: second.test\r\nContent-Length: 400000\r\n\r\n" + b"x" * 400_000 + ASK
    )
    answer = await agent.answer()
    assert (answer.status, json.loads(answer.body)["reason"]) == (421, "wrong_host")
    assert await agent.closed()
    assert caught.vendor.connections == []


@pytest.mark.parametrize("name", [SECOND, "third.test"])
@pytest.mark.parametrize("alpn", [(), ("h2",)])
async def test_another_name_in_the_hello(
    caught: Caught, authority: Authority, name: str, alpn: tuple[str, ...]
) -> None:
    """No certificate for it, and no way to it either: neither as another api nor untouched."""
    await begin(caught, authority)
    caught.stack.guard.settings = EgressSettings(private_networks="allow", pass_through=(parse_pattern(SECOND),))
    agent = await caught.tunnel(CONNECT_API, real(name, alpn))
    assert await agent.rest() == UNRECOGNIZED
    assert caught.stack.handled == [("connect", "refused")]
    assert caught.vendor.connections == []


async def test_without_a_name_in_the_hello(caught: Caught, authority: Authority) -> None:
    """The host of the CONNECT is the one that is meant."""
    await begin(caught, authority)
    context = client(authority)
    context.check_hostname = False
    agent = await caught.tunnel(CONNECT_API)
    await agent.writer.start_tls(context)
    assert agent.writer.get_extra_info("peercert")["subjectAltName"] == (("DNS", API),)
    assert (await agent.ask(ASK)).body == b"ok"


async def test_redirected_tls(caught: Caught, authority: Authority) -> None:
    """By its SNI, wherever it was bound."""
    await begin(caught, authority)
    agent = await secure(await caught.redirected("192.0.2.1", 443), authority, ALSO)
    assert (await agent.ask(ASK)).body == b"ok"
    assert caught.stack.handled == [("transparent", "intercepted")]


@pytest.mark.parametrize("size", [1, 100, 100_000])
async def test_a_hello_in_pieces(caught: Caught, authority: Authority, size: int) -> None:
    """However it comes, and be it together with the CONNECT, TLS is ended."""
    await begin(caught, authority)
    tls = Hand(API)
    whole = connect(CONNECT_API) + tls.take()
    agent = await caught.connect()
    await agent.send(*(whole[start : start + size] for start in range(0, len(whole), size)))
    await agent.until(b"\r\n\r\n")
    await tls.shake(agent)
    tls.object.write(ASK)
    await agent.send(tls.take())
    assert await tls.read(agent, len(OK)) == OK.replace(b"\r\n\r\n", b"\r\n\r\n")


# --- back-pressure


def held(stack: Stack) -> int:
    """Bytes that wait for agents."""
    return sum(each.transport.get_write_buffer_size() + len(each._buffer) for each in stack.agents)


@pytest.mark.both_loops
async def test_a_slow_reader_of_a_large_answer(caught: Caught, authority: Authority) -> None:
    """Little of it is held at any time, and all of it arrives."""
    body = random.Random(2).randbytes(20 * MIB)

    async def script(end: End) -> None:
        await end.message()
        end.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        for start in range(0, len(body), MIB):
            end.writer.write(body[start : start + MIB])
            await end.writer.drain()
            sent.append(start)

    sent: list[int] = []
    await begin(caught, authority, script)
    agent = await caught.tunnel(CONNECT_API)
    await secure(agent, authority)
    await agent.send(ASK)
    head = await agent.until(b"\r\n\r\n")
    got, most = bytearray(), 0
    while len(got) < len(body):
        got += await agent.exactly(min(700_001, len(body) - len(got)))
        await asyncio.sleep(0.001)
        most = max(most, held(caught.stack))
    assert head.startswith(b"HTTP/1.1 200")
    assert bytes(got) == body
    assert most <= 192 * 1024


async def test_an_agent_that_does_not_read(caught: Caught, authority: Authority) -> None:
    """The upstream is stopped; nothing piles up in between."""
    taken: list[int] = []

    async def script(end: End) -> None:
        await end.message()
        await end.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % 2**30)
        taken.append(await flood(end, 2**28))

    await begin(caught, authority, script)
    agent = await intercepted(caught, authority)
    agent.reader._transport.pause_reading()  # type: ignore[attr-defined]
    await agent.send(ASK)
    await until(lambda: taken != [], turns=10_000)
    assert taken[0] < 2**26
    assert 0 < held(caught.stack) <= 192 * 1024
    agent.reset()


async def test_an_upstream_that_does_not_read(caught: Caught, authority: Authority) -> None:
    """The agent is stopped, and then goes on where it was."""
    await begin(caught, authority, deaf)
    agent = await intercepted(caught, authority)
    await agent.send(b"POST /x HTTP/1.1\r\nHost: api.test\r\nContent-Length: %d\r\n\r\n" % 2**30)
    assert await flood(agent, 2**28) < 2**26
    assert held(caught.stack) <= 192 * 1024
    agent.reset()


async def test_a_body_that_was_held_back(caught: Caught, authority: Authority) -> None:
    """What TLS had decrypted when reading was paused is not lost, nor overtaken."""
    read = asyncio.Event()
    body = random.Random(3).randbytes(5 * MIB)

    async def script(end: End) -> None:
        await end.until(b"\r\n\r\n")
        await read.wait()
        assert await end.exactly(len(body)) == body
        await end.send(OK)

    await begin(caught, authority, script)
    agent = await intercepted(caught, authority)
    agent.writer.write(b"POST /x HTTP/1.1\r\nHost: api.test\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    await until(lambda: caught.vendor.received != b"")
    await asyncio.sleep(0.05)
    read.set()
    assert (await agent.answer()).body == b"ok"


# --- what is left alone


@pytest.mark.parametrize(
    ("hello", "handling"),
    [(real(API, ["h2"]), "no_http1"), (real(API, ["acme-tls/1"]), "no_http1"), (real(ALSO), "pass_through")],
)
async def test_tls_that_is_not_ended(caught: Caught, authority: Authority, hello: bytes, handling: str) -> None:
    """It goes to the api's url untouched, and is counted."""
    await begin(caught, authority, echo)
    caught.stack.guard.settings = EgressSettings(pass_through=(parse_pattern(ALSO),))
    agent = await caught.tunnel(CONNECT_API, hello)
    await agent.send(b"more")
    assert await agent.exactly(len(hello) + 4) == hello + b"more"
    assert (caught.stack.handled, caught.stack.distrusted) == ([("connect", handling)], [])


async def test_a_reload_that_ends_interception(caught: Caught, authority: Authority) -> None:
    """What is intercepted is served to its end; what comes then is left alone."""
    await begin(caught, authority)
    agent = await intercepted(caught, authority)
    caught.stack.intercept(None)
    assert (await agent.ask(ASK)).body == b"ok"
    other = await caught.tunnel(CONNECT_API, real(API))
    await until(lambda: len(caught.stack.handled) == 2)
    assert caught.stack.handled[1] == ("connect", "not_intercepted")
    other.close()
