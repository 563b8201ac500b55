"""Tests of captured connections: CONNECT to an api, and what it is used for.

TLS that is ended here is in test_intercept.py, other hosts in test_tunnels.py, redirection in test_redirected.py.
"""

from __future__ import annotations

import asyncio
import json

import pytest

from proxy.core.egress import EgressSettings
from tests.support.captured import (
    API,
    ASK,
    OPAQUE,
    PREFACE,
    SECOND,
    UNRECOGNIZED,
    Caught,
    at,
    connect,
    echo,
    greets,
)
from tests.support.hello import real
from tests.support.names import HIDDEN
from tests.support.raw import End, mute, until
from tests.support.wire import OK

# --- CONNECT to an api


@pytest.mark.both_loops
async def test_http_in_the_clear_is_served(caught: Caught) -> None:
    """Inside a CONNECT to an api, calls go through its chain to its url, one after another."""
    await caught.start(OK)
    agent = await caught.tunnel(b"api.test:80")
    for _ in range(2):
        assert (await agent.ask(ASK)).body == b"ok"
    assert caught.vendor.received.count(b"GET /x HTTP/1.1\r\nHost: vendor.test\r\n") == 2
    assert caught.stack.handled == [("connect", "plain")]
    assert caught.stack.listener.connections == 2


@pytest.mark.both_loops
async def test_bytes_that_come_together_with_connect(caught: Caught) -> None:
    """An agent that does not wait for the 200 loses nothing, be it more than one read."""
    body = bytes(range(256)) * 1000
    await caught.start(OK)
    post = b"POST /p HTTP/1.1\r\nHost: api.test\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    agent = await caught.tunnel(b"api.test:80", post + ASK)
    assert [(await agent.answer()).status for _ in range(2)] == [200, 200]
    assert body in caught.vendor.received


async def test_pieces_of_one_byte(caught: Caught) -> None:
    """However the bytes are cut, they mean the same."""
    agent = await caught.start(OK)
    await agent.send(*(bytes([each]) for each in connect(b"api.test:80") + ASK))
    assert (await agent.message(bodiless=True)).head == b"HTTP/1.1 200 Connection Established\r\n\r\n"
    assert (await agent.answer()).body == b"ok"


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_connect_in_both_versions(caught: Caught, version: bytes) -> None:
    """HTTP/1.0 has CONNECT too."""
    agent = await caught.start(OK)
    await agent.send(b"CONNECT api.test:80 HTTP/%b\r\nHost: api.test:80\r\n\r\n" % version)
    assert (await agent.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    assert (await agent.ask(ASK)).status == 200


@pytest.mark.parametrize("field", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
async def test_a_connect_has_no_body(caught: Caught, field: bytes) -> None:
    """Where it would end, and the tunnel begin, is ambiguous: refused, and nothing behind it is read."""
    agent = await caught.start(OK)
    await agent.send(connect(b"api.test:80", field) + b"5\r\nhello\r\n0\r\n\r\n" + ASK)
    assert (await agent.answer()).status == 400
    assert await agent.closed()
    assert caught.stack.handled == []
    assert caught.vendor.connections == []


async def test_what_was_for_the_proxy_alone_is_not_forwarded(caught: Caught) -> None:
    """Neither in the CONNECT nor in the calls inside."""
    secret = [b"Proxy-Authorization: Basic c2VjcmV0", b"Proxy-Connection: keep-alive"]
    agent = await caught.start(OK)
    await agent.send(connect(b"api.test:80", *secret))
    await agent.until(b"\r\n\r\n")
    upgrade = [b"Connection: Upgrade", b"Upgrade: websocket"]
    for fields in (secret, secret + upgrade):
        await agent.send(b"\r\n".join([b"GET /x HTTP/1.1", b"Host: api.test", *fields, b"", b""]))
        assert (await agent.answer()).status == 200
    assert b"proxy-" not in caught.vendor.received.lower()
    assert b"Upgrade: websocket" in caught.vendor.received


@pytest.mark.parametrize("inside", [b"second.test", b"third.test", b"127.0.0.1", b""])
async def test_a_call_to_another_host_ends_the_connection(caught: Caught, inside: bytes) -> None:
    """A connection is for one api: 421 for any other host, and what is pipelined behind it is not read."""
    await caught.start(OK)
    agent = await caught.tunnel(b"api.test:80")
    await agent.send(ASK + b"POST /x HTTP/1.1\r\nHost: %b\r\nContent-Length: 2\r\n\r\nno" % inside + ASK)
    assert (await agent.answer()).status == 200
    answer = await agent.answer()
    assert (answer.status, answer.field(b"Connection")) == (421, b"close")
    assert json.loads(answer.body)["reason"] == "wrong_host"
    assert await agent.closed()
    assert caught.vendor.received.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    ("url", "status"), [(b"http://api.test/x", 200), (b"https://also.test/x", 200), (b"http://second.test/x", 421)]
)
async def test_absolute_form_within(caught: Caught, url: bytes, status: int) -> None:
    """Its host is the one that counts, there as everywhere."""
    await caught.start(OK)
    agent = await caught.tunnel(b"api.test:80")
    assert (await agent.ask(b"GET %b HTTP/1.1\r\nHost: api.test\r\n\r\n" % url)).status == status


@pytest.mark.parametrize(
    ("authority", "status"), [(b"api.test:80", 501), (b"second.test:80", 501), (b"third.test:22", 501)]
)
async def test_a_tunnel_within(caught: Caught, authority: bytes, status: int) -> None:
    """A connection that is an api's leads nowhere else."""
    await caught.start(OK)
    agent = await caught.tunnel(b"api.test:80")
    assert (await agent.ask(connect(authority))).status == status
    assert await agent.closed()


async def test_a_loop_through_a_tunnel(caught: Caught) -> None:
    """A call that has been here before is refused, wherever it comes from; and no tunnel leads to ourselves."""
    agent = await caught.start(OK)
    inside = await caught.tunnel(b"api.test:80")
    answer = await inside.ask(b"GET /x HTTP/1.1\r\nHost: api.test\r\nVia: 1.1 backstay-test\r\n\r\n")
    assert answer.status == 508
    for port in (caught.stack.port, caught.stack.transparent_port):
        other = await caught.connect()
        assert (await other.ask(connect(b"loop.test:%d" % port))).status == 403
    assert (await agent.ask(connect(b"127.0.0.1:%d" % caught.stack.port))).status == 403


async def test_expectations_within(caught: Caught) -> None:
    """Expect: 100-continue works end to end inside a tunnel too."""

    async def script(end: End) -> None:
        await end.until(b"\r\n\r\n")
        await end.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await end.exactly(3) == b"abc"
        await end.send(OK)

    await caught.start(script)
    agent = await caught.tunnel(b"api.test:80")
    await agent.send(b"POST /x HTTP/1.1\r\nHost: api.test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert (await agent.message()).status == 100
    assert (await agent.ask(b"abc")).body == b"ok"


@pytest.mark.parametrize(
    ("first", "handling"), [(PREFACE + b"\x00" * 9, "http2"), (real(API), "not_intercepted"), (real(SECOND), "421")]
)
async def test_what_is_not_for_us_goes_to_the_url_untouched(caught: Caught, first: bytes, handling: str) -> None:
    """HTTP/2, and TLS where none is ended, lead to the api's url; but not TLS with another's name."""
    await caught.start(echo)
    elsewhere = await caught.elsewhere(echo)
    agent = await caught.tunnel(at(API, elsewhere))
    await agent.send(first)
    if handling == "421":
        assert await agent.rest() == UNRECOGNIZED
        assert caught.stack.handled == [("connect", "refused")]
    else:
        assert await agent.exactly(len(first)) == first
        assert caught.stack.handled == [("connect", handling)]
    assert elsewhere.connections == []


@pytest.mark.both_loops
@pytest.mark.parametrize("first", [OPAQUE, b"EHLO me\r\n", b"\x16\x03\x01\x00\x00", b"GET / HTTP/2.0\r\n\r\n"])
async def test_another_service_of_an_apis_host(caught: Caught, first: bytes) -> None:
    """What is neither HTTP nor TLS goes where it was going: databases keep working."""
    await caught.start(OK)
    elsewhere = await caught.elsewhere(echo)
    agent = await caught.tunnel(at(API, elsewhere))
    await agent.send(first)
    assert await agent.exactly(len(first)) == first
    assert caught.stack.handled == [("connect", "opaque")]


# --- who says nothing


@pytest.mark.parametrize("host", ["api.test", "other.test"])
async def test_a_server_that_speaks_first(caught: Caught, host: str) -> None:
    """The agent is silent, as its protocol wants it: the other side is dialled, and heard."""
    await caught.start(OK)
    elsewhere = await caught.elsewhere(greets)
    agent = await caught.tunnel(at(host, elsewhere))
    assert await agent.until(b"\n") == b"220 hello\r\n"
    await agent.send(b"QUIT")
    assert await agent.exactly(4) == b"QUIT"
    assert caught.stack.handled == [("connect", "opaque" if host == API else "unlisted")]


async def test_an_agent_that_speaks_late(caught: Caught) -> None:
    """A connection made ahead of its calls: what was dialled meanwhile is dropped, and the api's chain serves."""
    await caught.start(OK)
    elsewhere = await caught.elsewhere(mute)
    agent = await caught.tunnel(at(API, elsewhere))
    await until(lambda: elsewhere.connections != [])
    assert (await agent.ask(ASK)).body == b"ok"
    await until(lambda: elsewhere.connections[0].gone)
    assert elsewhere.received == b""


@pytest.mark.virtual_time
async def test_an_agent_that_speaks_late_where_nobody_listens(caught: Caught) -> None:
    """That the other side cannot be reached is no error as long as the agent may want the api; then it is cut."""
    await caught.start(OK)
    agents = [await caught.tunnel(authority) for authority in (b"api.test:1", b"api.test:1", b"api.test:1")]
    await caught.clock.sleep(30.0)
    assert (await agents[0].ask(ASK)).status == 200
    await agents[1].send(OPAQUE)
    assert await agents[1].closed()
    await caught.clock.sleep(40.0)
    assert await agents[2].closed()


@pytest.mark.virtual_time
async def test_an_agent_that_speaks_late_while_the_other_side_is_still_looked_for(caught: Caught) -> None:
    """A name that is looked up without end keeps nobody waiting who says that the api is wanted."""
    await caught.start(OK)
    caught.stack.apis[HIDDEN] = "api"
    agent = await caught.tunnel(b"%b:2222" % HIDDEN.encode())
    await caught.clock.sleep(1.0)
    asked = caught.clock.now()
    answer = await agent.ask(b"GET /x HTTP/1.1\r\nHost: %b\r\n\r\n" % HIDDEN.encode())
    assert answer.status == 200
    assert not [task for task in asyncio.all_tasks() if "silent agent" in task.get_name()]
    assert caught.clock.now() - asked < 1.0


# --- ends


@pytest.mark.parametrize("first", [b"GET / HT", b"\x16\x03", ASK[:-2]])
async def test_an_agent_of_an_api_that_says_no_more(caught: Caught, first: bytes) -> None:
    """What it has said so far is not a call: nothing of it is left."""
    await caught.start(OK)
    agent = await caught.connect()
    agent.writer.write(connect(b"api.test:%d" % caught.vendor.port) + first)
    agent.writer.write_eof()
    await agent.until(b"\r\n\r\n")
    agent.close()
    await until(lambda: caught.stack.listener.connections == 1)


async def test_an_api_that_a_reload_took_away(caught: Caught) -> None:
    """A tunnel that was made for it is refused when it speaks."""
    await caught.start(OK)
    agent = await caught.tunnel(b"api.test:80")
    caught.stack.apis.clear()
    await agent.send(PREFACE)
    assert await agent.closed()
    assert caught.stack.refused == ["wrong_host"]


# --- past the policies of an api


@pytest.mark.parametrize(
    "first", [OPAQUE, b"GE", b"GET /y\r\n", b"\x16\x03\x01\x00\x01\x01" + b"\x16\x03\x01\x00\x00" * 70], ids=repr
)
async def test_what_is_neither_tls_nor_http_is_not_for_an_api(caught: Caught, first: bytes) -> None:
    """At the port of its url it would pass every policy by; the vendor hears nothing of it."""
    await caught.start(OK)
    agent = await caught.tunnel(at(API, caught.vendor))
    await agent.send(first)
    assert await agent.closed()
    await until(lambda: caught.stack.handled == [("connect", "refused")])
    assert caught.vendor.received == b""


async def test_another_service_of_an_apis_host_is_judged_like_any_other(caught: Caught) -> None:
    """That its host is named for one port opens no other."""
    await caught.start(OK)
    elsewhere = await caught.elsewhere(echo)
    caught.stack.guard.settings = EgressSettings(unlisted="deny")
    agent = await caught.tunnel(at(API, elsewhere))
    await agent.send(OPAQUE)
    assert await agent.closed()
    assert elsewhere.received == b""
