"""Tests of TLS that is ended here: agents that do not trust it, or do not get to its end, and who is counted."""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
import time
from typing import Any

import pytest

from proxy.wire.ca import Authority
from tests.support.captured import API, ASK, INTERNAL_ERROR, Caught, connect
from tests.support.hello import real
from tests.support.intercepted import CONNECT_API, Gated, Hand, begin, client, intercepted, secure
from tests.support.raw import End, mute, until


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.how for each in caplog.records if each.levelno == logging.WARNING]  # type: ignore[attr-defined]


@pytest.fixture
def gated(tmp_path_factory: pytest.TempPathFactory) -> Gated:
    authority = Authority.load(tmp_path_factory.mktemp("gated") / "ca", time.time())
    made = Gated(authority._key, [authority._certificate])
    made.gate, made.error = threading.Event(), None
    return made


# --- who does not trust


async def test_an_alert_that_says_so(
    caught: Caught, authority: Authority, virtual_authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted each time, and told once, with the api, the host and what to do."""
    other = virtual_authority  # the one that the agents trust
    await begin(caught, authority)
    for _ in range(3):
        agent, tls = await caught.tunnel(CONNECT_API), Hand(API, client(other))
        with pytest.raises(ssl.SSLCertVerificationError):
            await tls.shake(agent)
        await agent.send(tls.take())
    await until(lambda: caught.stack.distrusted == ["api"] * 3)
    (record,) = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert (record.api, record.host, record.how) == ("api", API, "TLSV1_ALERT_UNKNOWN_CA")  # type: ignore[attr-defined]
    assert "backstay env" in record.remedy  # type: ignore[attr-defined]
    await until(lambda: caught.stack.listener.connections == 0)


@pytest.mark.parametrize("leave", [End.close, End.reset])
async def test_leaving_in_the_middle(
    caught: Caught, authority: Authority, caplog: pytest.LogCaptureFixture, leave: Any
) -> None:
    """Some say nothing when they see a certificate that they do not trust."""
    await begin(caught, authority)
    agent = await caught.tunnel(CONNECT_API, real(API))
    await agent.some()
    leave(agent)
    await until(lambda: caught.stack.distrusted == ["api"])
    assert warnings(caplog) == ["closed in the middle of the handshake"]
    await until(lambda: caught.stack.listener.connections == 0)


@pytest.mark.parametrize("leave", [End.close, End.reset])
async def test_leaving_behind_the_handshake(
    caught: Caught, authority: Authority, caplog: pytest.LogCaptureFixture, leave: Any
) -> None:
    """Others look at the certificate only then."""
    await begin(caught, authority)
    agent = await intercepted(caught, authority)
    await until(lambda: caught.stack.agents != [])
    leave(agent)
    await until(lambda: caught.stack.distrusted == ["api"])
    assert warnings(caplog) == ["closed behind the handshake, without a request"]


@pytest.mark.virtual_time
async def test_it_is_told_again_after_a_minute(
    caught: Caught, virtual_authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """And not for each; nor is every leave distrust: not one after a call, and not a late one."""
    await begin(caught, virtual_authority)
    for pause in (0.0, 59.0, 2.0):
        await caught.clock.sleep(pause)
        (await secure(await caught.tunnel(CONNECT_API))).reset()
        await until(lambda: caught.stack.listener.connections == 0)
    assert (len(caught.stack.distrusted), len(warnings(caplog))) == (3, 2)
    busy, slow = [await secure(await caught.tunnel(CONNECT_API)) for _ in range(2)]
    assert (await busy.ask(ASK)).status == 200
    busy.reset()
    await caught.clock.sleep(1.5)
    slow.reset()
    await until(lambda: caught.stack.listener.connections == 0)
    assert len(caught.stack.distrusted) == 3


# --- what goes wrong


async def test_an_agent_that_shares_no_cipher(
    caught: Caught, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """It is nobody's distrust, and is told once, with the reason."""
    await begin(caught, authority)
    for _ in range(2):
        context = client(authority)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("AES128-GCM-SHA256")  # whose key exchange a certificate of ECDSA cannot serve
        agent = await caught.tunnel(CONNECT_API, Hand(API, context).take())
        assert await agent.closed()
    (record,) = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert record.why == "NO_SHARED_CIPHER"  # type: ignore[attr-defined]
    assert caught.stack.distrusted == []


@pytest.mark.parametrize("size", [1, 70_000, 200_000])
async def test_garbage_behind_the_hello(caught: Caught, authority: Authority, size: int) -> None:
    """It ends the connection: no time is spent on it, and it is nobody's distrust."""
    await begin(caught, authority)
    agent = await caught.connect()
    agent.writer.write(connect(CONNECT_API) + real(API) + b"\xff" * size)
    await agent.until(b"\r\n\r\n")
    if size > 1:
        assert await agent.closed() or agent.received
        await until(lambda: caught.stack.listener.connections == 0)
    assert caught.stack.distrusted == []


@pytest.mark.virtual_time
@pytest.mark.parametrize("more", [b"", b"\x14\x03\x03\x00\x01\x01"])
async def test_a_handshake_that_hangs(caught: Caught, virtual_authority: Authority, more: bytes) -> None:
    """It is cut after ten seconds, and is no distrust."""
    await begin(caught, virtual_authority)
    agent = await caught.tunnel(CONNECT_API, real(API) + more)
    await agent.some()  # our part of it, for which a thread is waited for in real time
    began = caught.clock.now()
    await agent.rest()
    assert 9.0 <= caught.clock.now() - began <= 12.0
    assert caught.stack.distrusted == []
    await until(lambda: caught.stack.listener.connections == 0)


@pytest.mark.both_loops
async def test_an_end_in_the_middle_of_the_handshake(caught: Caught, authority: Authority) -> None:
    """Who has said that no more comes cannot end the handshake."""
    await begin(caught, authority)
    agent = await caught.connect()
    agent.writer.write(connect(CONNECT_API) + real(API))
    agent.writer.write_eof()
    await agent.until(b"\r\n\r\n")
    await agent.closed()
    await until(lambda: caught.stack.listener.connections == 0)


@pytest.mark.both_loops
async def test_an_end_without_a_goodbye(caught: Caught, authority: Authority) -> None:
    """A connection that ends below TLS has ended: the call under way is given up, and nothing is left."""
    await begin(caught, authority, mute)
    agent, tls = await caught.tunnel(CONNECT_API), Hand(API)
    await tls.shake(agent)
    tls.object.write(ASK)
    await agent.send(tls.take())
    await until(lambda: caught.vendor.received != b"")
    agent.writer.write_eof()
    await until(lambda: caught.vendor.connections[0].gone)
    await until(lambda: caught.stack.listener.connections == 0)
    assert caught.stack.endings == ["CancelledError"]


async def test_closing_in_the_middle_of_the_handshake(caught: Caught, authority: Authority) -> None:
    """What we cut ourselves is nobody's distrust."""
    await begin(caught, authority)
    agent = await caught.tunnel(CONNECT_API, real(API))
    await agent.some()
    assert caught.stack.listener.close() == 1
    await until(lambda: caught.stack.listener.connections == 0)
    assert caught.stack.distrusted == []


async def test_it_has_one_place(caught: Caught, authority: Authority) -> None:
    """With as many connections as there may be, its own among them, it is served."""
    await begin(caught, authority, connections=1)
    agent = await intercepted(caught, authority)
    assert (await agent.ask(ASK)).body == b"ok"


@pytest.mark.virtual_time
async def test_drain(caught: Caught, virtual_authority: Authority) -> None:
    """Answers say that the connection ends, and it does; who only connected meanwhile is not distrustful."""
    await begin(caught, virtual_authority)
    agent = await secure(await caught.tunnel(CONNECT_API))
    caught.stack.listener.draining = True
    answer = await agent.ask(ASK)
    assert (answer.status, answer.field(b"Connection")) == (200, b"close")
    assert await agent.closed()
    resting = await secure(await caught.tunnel(CONNECT_API))
    assert await caught.stack.listener.drain(5.0) == 0
    assert await resting.closed()
    await until(lambda: caught.stack.listener.connections == 0)
    assert caught.stack.distrusted == []


async def test_leaving_while_the_certificate_is_made(caught: Caught, gated: Gated) -> None:
    """It is made for whoever comes next."""
    await begin(caught, gated)
    agent = await caught.tunnel(CONNECT_API, real(API))
    agent.reset()
    await until(lambda: caught.stack.listener.connections == 0)
    gated.gate.set()
    assert (await (await intercepted(caught, gated)).ask(ASK)).status == 200
    assert caught.stack.distrusted == []


async def test_garbage_that_came_while_the_certificate_was_made(caught: Caught, gated: Gated) -> None:
    """More than TLS has room for: what ended with the first of it is not fed the rest."""
    await begin(caught, gated)
    agent = await caught.connect()
    agent.writer.write(connect(CONNECT_API) + real(API) + b"\xff" * 300_000)
    await until(lambda: [each for each in caught.stack.openings if len(each.data) > 100_000] != [])
    gated.gate.set()
    assert await agent.closed() or agent.received
    await until(lambda: caught.stack.listener.connections == 0)


@pytest.mark.parametrize("error", [None, ValueError("the authority has expired"), RuntimeError("a defect")])
async def test_no_certificate(caught: Caught, gated: Gated, caplog: pytest.LogCaptureFixture, error: Any) -> None:
    """A reload takes the mint away, or it cannot sign: an alert, at once."""
    await begin(caught, gated)
    gated.error = error
    agent = await caught.tunnel(CONNECT_API, real(API))
    await until(lambda: repr(caught.stack.mint).startswith("<Mint 0/256 kept, 1"))
    if error is None:
        caught.stack.intercept(None)
    gated.gate.set()
    assert await agent.rest() == INTERNAL_ERROR
    assert caught.stack.refused == ["overloaded" if error is None else "internal"]
    await until(lambda: caught.stack.listener.connections == 0)
    if isinstance(error, RuntimeError):
        assert "a captured connection failed inside Backstay" in caplog.text
        caplog.clear()


async def test_a_certificate_that_comes_when_the_agent_leaves(caught: Caught, authority: Authority) -> None:
    """In one moment: in either order nothing is left."""
    await begin(caught, authority)
    for pause in range(8):
        agent = await caught.tunnel(CONNECT_API, real(API))
        await asyncio.sleep(pause * 0.0002)
        agent.reset()
    await until(lambda: caught.stack.listener.connections == 0)
