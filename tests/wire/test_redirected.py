"""Tests of captured connections: those that netfilter redirects to listen.transparent.

The system is asked where they were going through a seam; it is asked for real in test_original_dst.py.
"""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.support.captured import (
    ACCESS_DENIED,
    ASK,
    OPAQUE,
    PREFACE,
    Caught,
    echo,
    greets,
)
from tests.support.hello import real
from tests.support.names import ABSENT
from tests.support.raw import Agent, mute, until
from tests.support.wire import OK

# --- redirected connections


@pytest.mark.both_loops
async def test_redirected_http_is_served(caught: Caught) -> None:
    """By the host that it names, at the api's url, wherever the connection was bound."""
    await caught.start(OK)
    agent = await caught.redirected("192.0.2.1", 80)
    for _ in range(2):
        assert (await agent.ask(ASK)).body == b"ok"
    assert (await agent.ask(ASK.replace(b"api", b"second"))).status == 421
    assert caught.stack.handled == [("transparent", "plain")]


@pytest.mark.both_loops
@pytest.mark.parametrize(
    ("first", "handling"),
    [
        (OPAQUE, "opaque"),
        (PREFACE, "http2"),
        (b"GET / HTTP/1.0\r\n\r\n", "http1"),
        (real(None), "tls"),
        (real("other.test"), "unlisted"),
        (b"GET / HTTP/1.1\r\nHost: other.test\r\n\r\n", "unlisted"),
        (real(ABSENT), "tls"),
    ],
)
async def test_other_redirected_connections_go_where_they_were_bound(
    caught: Caught, first: bytes, handling: str
) -> None:
    """Untouched; a name that has no address proves nothing."""
    await caught.start(OK)
    elsewhere = await caught.elsewhere(echo)
    agent = await caught.redirected("127.0.0.1", elsewhere.port)
    await agent.send(first)
    assert await agent.exactly(len(first)) == first
    assert caught.stack.handled == [("transparent", handling)]


async def test_a_name_of_several_addresses(caught: Caught) -> None:
    """The one that the agent chose is kept: behind a name there may be many, and it had a reason, or a session."""
    await caught.start(OK)
    first = await caught.elsewhere(echo)
    second = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.2", first.port)
    agent = await caught.redirected("127.0.0.2", first.port)
    await agent.send(b"GET / HTTP/1.1\r\nHost: twice.test\r\n\r\n")
    assert await agent.closed()
    second.close()
    assert caught.stack.handled == [("transparent", "unlisted")]
    assert first.connections == []


async def test_a_redirected_agent_that_waits_to_be_spoken_to(caught: Caught) -> None:
    """SMTP and MySQL keep working."""
    await caught.start(OK)
    elsewhere = await caught.elsewhere(greets)
    agent = await caught.redirected("127.0.0.1", elsewhere.port)
    assert await agent.until(b"\n") == b"220 hello\r\n"
    assert caught.stack.handled == [("transparent", "opaque")]


async def test_a_redirected_agent_that_speaks_late(caught: Caught) -> None:
    """It has been dialled for where it was bound; what it says then decides all the same."""
    await caught.start(OK)
    elsewhere = await caught.elsewhere(mute)
    agent = await caught.redirected("127.0.0.1", elsewhere.port)
    await until(lambda: elsewhere.connections != [])
    assert (await agent.ask(ASK)).body == b"ok"
    await until(lambda: elsewhere.connections[0].gone)


@pytest.mark.parametrize(
    ("first", "told"),
    [
        (real("denied.test"), ACCESS_DENIED),
        (b"GET / HTTP/1.1\r\nHost: denied.test\r\n\r\n", b"HTTP/1.1 403 "),
        (OPAQUE, b""),
        (b"", b""),
    ],
)
async def test_redirected_connections_that_are_denied(caught: Caught, first: bytes, told: bytes) -> None:
    """Each is told in its own language, if that can be told."""
    await caught.start(OK)
    agent = await caught.redirected("169.254.169.254" if told == b"" else "127.0.0.1", 80)
    await agent.send(first)
    if told:
        assert (await agent.rest()).startswith(told)
    else:
        agent.writer.write_eof()
        assert await agent.closed()
    assert caught.stack.handled == [("transparent", "refused")]
    assert caught.stack.refused == ["egress_denied"]


async def test_what_was_not_redirected(caught: Caught, caplog: pytest.LogCaptureFixture) -> None:
    """It has no destination: closed, with a word about it, but not one for each."""
    await caught.start(OK)
    for _ in range(5):
        agent = await Agent.connect(caught.stack.transparent_port)
        assert await agent.closed()
        agent.close()
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING] == [
        "what came to listen.transparent was not redirected"
    ]
