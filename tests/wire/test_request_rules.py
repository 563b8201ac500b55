"""Rules of the wire on the request side, as bytes: what is refused never reaches the upstream, what passes is kept."""

from __future__ import annotations

import contextlib
import json

import pytest

from tests.support.raw import End
from tests.support.wire import GET, OK, Wire

HOST = b"Host: api\r\n"


def head(*lines: bytes, start: bytes = b"POST /x HTTP/1.1") -> bytes:
    return b"\r\n".join([start, *lines, b"", b""])


# reason to refuse -> the bytes
AMBIGUOUS: dict[str, bytes] = {
    "both lengths": head(b"Host: a", b"Content-Length: 3", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "both lengths, other order": head(b"Host: a", b"Transfer-Encoding: chunked", b"Content-Length: 3") + b"0\r\n\r\n",
    "differing lengths": head(b"Host: a", b"Content-Length: 3", b"Content-Length: 4") + b"abcd",
    "the same length twice": head(b"Host: a", b"Content-Length: 3", b"Content-Length: 3") + b"abc",
    "a list of lengths": head(b"Host: a", b"Content-Length: 3, 3") + b"abc",
    "signed length": head(b"Host: a", b"Content-Length: +3") + b"abc",
    "negative length": head(b"Host: a", b"Content-Length: -3") + b"abc",
    "hexadecimal length": head(b"Host: a", b"Content-Length: 0x3") + b"abc",
    "length with a fraction": head(b"Host: a", b"Content-Length: 3.0") + b"abc",
    "no length": head(b"Host: a", b"Content-Length:") + b"abc",
    "length with a space inside": head(b"Host: a", b"Content-Length: 3 3") + b"abc",
    "length beyond any integer": head(b"Host: a", b"Content-Length: 99999999999999999999999") + b"abc",
    "length of nineteen digits": head(b"Host: a", b"Content-Length: 1000000000000000000"),
    "gzip before chunked": head(b"Host: a", b"Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n",
    "chunked before gzip": head(b"Host: a", b"Transfer-Encoding: chunked, gzip") + b"0\r\n\r\n",
    "chunked twice": head(b"Host: a", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "chunked and identity": head(b"Host: a", b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
    "identity": head(b"Host: a", b"Transfer-Encoding: identity") + b"abc",
    "an unknown coding": head(b"Host: a", b"Transfer-Encoding: xchunked") + b"0\r\n\r\n",
    "chunked with a parameter": head(b"Host: a", b"Transfer-Encoding: chunked;q=1") + b"0\r\n\r\n",
    "chunked behind a vertical tab": head(b"Host: a", b"Transfer-Encoding: \x0bchunked") + b"0\r\n\r\n",
    "no coding": head(b"Host: a", b"Transfer-Encoding:") + b"0\r\n\r\n",
    "chunked on 1.0": head(b"Host: a", b"Transfer-Encoding: chunked", start=b"POST /x HTTP/1.0") + b"0\r\n\r\n",
    "HTTP/0.9": b"GET /x\r\n\r\n",
    "HTTP/2.0": head(b"Host: a", start=b"GET /x HTTP/2.0"),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/1.2": head(b"Host: a", start=b"GET /x HTTP/1.2"),
    "HTTP/1.10": head(b"Host: a", start=b"GET /x HTTP/1.10"),
    "HTTP/1": head(b"Host: a", start=b"GET /x HTTP/1"),
    "lower-case version": head(b"Host: a", start=b"GET /x http/1.1"),
    "another protocol": head(b"Host: a", start=b"GET /x ICY/1.1"),
    "two spaces in the request line": head(b"Host: a", start=b"GET  /x HTTP/1.1"),
    "a tab in the request line": head(b"Host: a", start=b"GET\t/x\tHTTP/1.1"),
    "a space behind the version": head(b"Host: a", start=b"GET /x HTTP/1.1 "),
    "a space before the method": head(b"Host: a", start=b" GET /x HTTP/1.1"),
    "a space in the target": head(b"Host: a", start=b"GET /x y HTTP/1.1"),
    "a raw byte in the target": head(b"Host: a", start=b"GET /\xc3\xa9 HTTP/1.1"),
    "NUL in the target": head(b"Host: a", start=b"GET /\x00 HTTP/1.1"),
    "DEL in the target": head(b"Host: a", start=b"GET /\x7f HTTP/1.1"),
    "no target": head(b"Host: a", start=b"GET  HTTP/1.1"),
    "no method": head(b"Host: a", start=b" /x HTTP/1.1"),
    "a method that is no token": head(b"Host: a", start=b"GE(T /x HTTP/1.1"),
    "LF alone": b"GET /x HTTP/1.1\nHost: a\n\n",
    "LF alone behind a field": b"GET /x HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
    "LF alone at the end": b"GET /x HTTP/1.1\r\nHost: a\r\n\n",
    "LF first": b"\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
    "CR alone in the request line": head(b"Host: a", start=b"GET /x\r HTTP/1.1"),
    "CR alone in a value": head(b"Host: a", b"X: a\rb"),
    "CR alone before a name": head(b"Host: a", b"\rX: a"),
    "obs-fold": head(b"Host: a", b"X: a", b" b"),
    "obs-fold with a tab": head(b"Host: a", b"X: a", b"\tb"),
    "obs-fold of the first field": head(b" Host: a"),
    "a space before the colon": head(b"Host: a", b"Content-Length : 3") + b"abc",
    "a tab before the colon": head(b"Host: a", b"X\t: a"),
    "a space in a name": head(b"Host: a", b"X Y: a"),
    "no name": head(b"Host: a", b": a"),
    "no colon": head(b"Host: a", b"Xa"),
    "NUL in a name": head(b"Host: a", b"X\x00: a"),
    "NUL in a value": head(b"Host: a", b"X: a\x00b"),
    "a control byte in a value": head(b"Host: a", b"X: a\x01b"),
    "a vertical tab in a value": head(b"Host: a", b"X: a\x0bb"),
    "ESC in a value": head(b"Host: a", b"X: a\x1bb"),
    "DEL in a value": head(b"Host: a", b"X: a\x7fb"),
    "a raw byte in a name": head(b"Host: a", b"X\xe9: a"),
    "no Host": head(b"X: a"),
    "two Hosts": head(b"Host: a", b"Host: b"),
    "the same Host twice": head(b"Host: a", b"Host: a"),
    "Host with a path": head(b"Host: a/b"),
    "Host with a user": head(b"Host: u@a"),
    "Host with a space": head(b"Host: a b"),
    "Host with a bad port": head(b"Host: a:8o"),
    "Host with a broken address": head(b"Host: [::1"),
    "an absolute target of another scheme": head(b"Host: a", start=b"GET ftp://a/x HTTP/1.1"),
    "an absolute target without a host": head(b"Host: a", start=b"GET http:///x HTTP/1.1"),
    "an absolute target with a user": head(b"Host: a", start=b"GET http://u@a/x HTTP/1.1"),
    "a target that is neither a path nor a URL": head(b"Host: a", start=b"GET x HTTP/1.1"),
    "an asterisk for another method": head(b"Host: a", start=b"GET * HTTP/1.1"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a chunk size that is no number": head(b"Host: a", b"Transfer-Encoding: chunked") + b"zz\r\nabc\r\n0\r\n\r\n",
    "a chunk size with a sign": head(b"Host: a", b"Transfer-Encoding: chunked") + b"+3\r\nabc\r\n0\r\n\r\n",
    "a chunk size with 0x": head(b"Host: a", b"Transfer-Encoding: chunked") + b"0x3\r\nabc\r\n0\r\n\r\n",
    "a chunk size behind a space": head(b"Host: a", b"Transfer-Encoding: chunked") + b" 3\r\nabc\r\n0\r\n\r\n",
    "no chunk size": head(b"Host: a", b"Transfer-Encoding: chunked") + b"\r\nabc\r\n0\r\n\r\n",
    "a chunk size without end": head(b"Host: a", b"Transfer-Encoding: chunked") + b"0" * 1100,
    "a chunk size beyond any integer": head(b"Host: a", b"Transfer-Encoding: chunked") + b"f" * 17 + b"\r\nabc",
    "a chunk longer than its size": head(b"Host: a", b"Transfer-Encoding: chunked") + b"2\r\nabc\r\n0\r\n\r\n",
    "LF alone behind a chunk size": head(b"Host: a", b"Transfer-Encoding: chunked") + b"3\nabc\r\n0\r\n\r\n",
    "LF alone behind a chunk": head(b"Host: a", b"Transfer-Encoding: chunked") + b"3\r\nabc\n0\r\n\r\n",
    "a control byte in a chunk extension": head(b"Host: a", b"Transfer-Encoding: chunked")
    + b"3;a\x01\r\nabc\r\n0\r\n\r\n",
    "LF in a chunk extension": head(b"Host: a", b"Transfer-Encoding: chunked") + b"3;a\nb\r\nabc\r\n0\r\n\r\n",
    "a long chunk extension": head(b"Host: a", b"Transfer-Encoding: chunked") + b"3;" + b"a" * 1100 + b"\r\nabc\r\n",
    "a trailer that frames": head(b"Host: a", b"Transfer-Encoding: chunked") + b"0\r\nContent-Length: 3\r\n\r\n",
    "a trailer that routes": head(b"Host: a", b"Transfer-Encoding: chunked") + b"0\r\nHost: b\r\n\r\n",
    "a malformed trailer": head(b"Host: a", b"Transfer-Encoding: chunked") + b"0\r\nX : 3\r\n\r\n",
    "large trailers": head(b"Host: a", b"Transfer-Encoding: chunked") + b"0\r\nX: " + b"x" * 33_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("raw", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
async def test_ambiguous_requests_are_refused(wire: Wire, raw: bytes) -> None:
    """Nothing of the request reaches the upstream; the agent gets one 400 and a closed connection."""
    agent = await wire.start(OK)
    await agent.send(raw)
    answer = await agent.answer()
    problem = json.loads(answer.body)
    assert (answer.status, problem["reason"], answer.field(b"Connection")) == (400, "bad_request", b"close")
    assert await agent.closed()
    assert b"abc" not in wire.vendor.received
    assert wire.vendor.received.count(b"\r\n0\r\n\r\n") == 0, "no complete request reached the upstream"


@pytest.mark.parametrize("raw", [raw for raw in AMBIGUOUS.values() if len(raw) < 200])
async def test_ambiguous_requests_are_refused_in_any_pieces(wire: Wire, raw: bytes) -> None:
    """A request that comes byte by byte is refused as one that comes at once is, and what is behind it is not read."""
    agent = await wire.start(OK)
    with contextlib.suppress(ConnectionError):
        await agent.send(*[raw[index : index + 1] for index in range(len(raw))], GET)
    answers = [await agent.answer()]
    assert answers[0].status == 400
    assert await agent.closed()
    assert b"GET /x" not in wire.vendor.received or raw.startswith(b"GET")


LIMITS = {
    "request line": (b"GET /" + b"x" * 3000, 414),
    "request line, complete": (head(b"Host: a", start=b"GET /" + b"x" * 3000 + b" HTTP/1.1"), 414),
    "headers": (head(b"Host: a", b"X: " + b"x" * 3000), 431),
    "headers without end": (b"GET / HTTP/1.1\r\nX: " + b"x" * 3000, 431),
    "many headers": (head(b"Host: a", *[b"X: x"] * 500), 431),
    "an unfinished name": (b"GET / HTTP/1.1\r\n" + b"x" * 3000, 431),
}


@pytest.mark.parametrize(("raw", "status"), LIMITS.values(), ids=LIMITS.keys())
async def test_heads_over_the_limit(wire: Wire, raw: bytes, status: int) -> None:
    """limits.header_bytes is counted in raw bytes; a request line over it is a 414, fields over it a 431."""
    agent = await wire.start(OK, header_limit=2000)
    await agent.send(raw)
    assert (await agent.answer()).status == status
    assert await agent.closed()
    assert wire.vendor.received == b""


async def test_a_head_at_the_limit_passes(wire: Wire) -> None:
    """The limit is the last size that passes."""
    agent = await wire.start(OK, header_limit=2000)
    raw = head(b"Host: a", b"X: ", start=b"GET / HTTP/1.1")
    padding = b"x" * (2000 - raw.index(b"\r\n\r\n"))
    assert (await agent.ask(raw.replace(b"X: ", b"X: " + padding))).status == 200
    await agent.send(raw.replace(b"X: ", b"X: x" + padding))
    assert (await agent.answer()).status == 431


async def test_connect_is_not_served(wire: Wire) -> None:
    """CONNECT is 501, and what comes behind it is not read as requests."""
    agent = await wire.start(OK)
    await agent.send(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n" + GET)
    assert (await agent.answer()).status == 501
    assert await agent.closed()
    assert wire.vendor.received == b""


async def test_loop(wire: Wire) -> None:
    """A request that has been here before is a 508."""
    agent = await wire.start(OK)
    answer = await agent.ask(head(b"Host: a", b"Via: 1.1 other, 1.1 backstay-test", start=b"GET / HTTP/1.1"))
    assert answer.status == 508
    assert wire.vendor.received == b""


async def test_no_route(wire: Wire) -> None:
    """A request that leads nowhere is a 404, and the connection goes on."""
    agent = await wire.start(OK)
    assert (await agent.ask(b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n")).status == 404
    assert (await agent.ask(GET)).status == 200
    assert wire.stack.refused == ["no_api"]


PASSED = {
    "unknown method": (
        b"PURGE /x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PURGE /x HTTP/1.1\r\nHost: vendor.test\r\nVia: 1.1 backstay-test\r\n\r\n",
    ),
    "case, order and repetition": (
        b"GET /x HTTP/1.1\r\nX-a: 1\r\nHost: a\r\nx-B: 2\r\nX-a: 3\r\nEmpty:\r\nX-A: \xe9\r\n\r\n",
        (b"GET /x HTTP/1.1\r\nHost: vendor.test\r\nX-a: 1\r\nx-B: 2\r\nX-a: 3\r\n"
        b"Empty: \r\nX-A: \xe9\r\nVia: 1.1 backstay-test\r\n\r\n"),
    ),
    "Via of others": (
        b"GET /x HTTP/1.1\r\nHost: a\r\nVia: 1.0 fred\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: vendor.test\r\nVia: 1.0 fred\r\nVia: 1.1 backstay-test\r\n\r\n",
    ),
    "hop-by-hop": (
        (b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n"
        b"Proxy-Connection: keep-alive\r\nTE: gzip\r\nUpgrade: foo\r\nX: 1\r\n\r\n"),
        b"GET /x HTTP/1.1\r\nHost: vendor.test\r\nX: 1\r\nVia: 1.1 backstay-test\r\n\r\n",
    ),
    "Connection cannot take away the framing": (
        b"POST /x HTTP/1.1\r\nHost: a\r\nConnection: content-length, host\r\nContent-Length: 1\r\n\r\na",
        b"POST /x HTTP/1.1\r\nHost: vendor.test\r\nContent-Length: 1\r\nVia: 1.1 backstay-test\r\n\r\na",
    ),
    "absolute form": (
        b"GET http://api:80/x?y=/z HTTP/1.1\r\nHost: other\r\n\r\n",
        b"GET /x?y=/z HTTP/1.1\r\nHost: vendor.test\r\nVia: 1.1 backstay-test\r\n\r\n",
    ),
    "absolute form without a path": (
        b"GET HTTP://api?y/z HTTP/1.1\r\nHost: api\r\n\r\n",
        b"GET /?y/z HTTP/1.1\r\nHost: vendor.test\r\nVia: 1.1 backstay-test\r\n\r\n",
    ),
    "asterisk form": (
        b"OPTIONS * HTTP/1.1\r\nHost: api\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: vendor.test\r\nVia: 1.1 backstay-test\r\n\r\n",
    ),
    "HTTP/1.0 without Host": (
        b"GET /x HTTP/1.0\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: vendor.test\r\nVia: 1.0 backstay-test\r\n\r\n",
    ),
    "empty lines before": (
        b"\r\n\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: vendor.test\r\nVia: 1.1 backstay-test\r\n\r\n",
    ),
    "TE: trailers": (
        b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: TE\r\nTE: trailers\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: vendor.test\r\nConnection: TE\r\nTE: trailers\r\nVia: 1.1 backstay-test\r\n\r\n",
    ),
    "a whole chunked body gets its length": (
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: vendor.test\r\nContent-Length: 5\r\nVia: 1.1 backstay-test\r\n\r\nabcde",
    ),
    "an empty chunked body gets its length": (
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: vendor.test\r\nContent-Length: 0\r\nVia: 1.1 backstay-test\r\n\r\n",
    ),
    "trailers": (
        (b"POST /x HTTP/1.1\r\nHost: a\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n"
        b"\r\n3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n"),
        (b"POST /x HTTP/1.1\r\nHost: vendor.test\r\nTrailer: X-Sum\r\n"
        b"Transfer-Encoding: chunked\r\nVia: 1.1 backstay-test\r\n\r\n"
        b"3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n"),
    ),
    "bytes of a body": (
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x00\r",
        (b"POST /x HTTP/1.1\r\nHost: vendor.test\r\nContent-Encoding: gzip\r\n"
        b"Content-Length: 4\r\nVia: 1.1 backstay-test\r\n\r\n"
        b"\x1f\x8b\x00\r"),
    ),
    "Upgrade: h2c is as if absent": (
        (b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        b"Upgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n"),
        b"GET /x HTTP/1.1\r\nHost: vendor.test\r\nVia: 1.1 backstay-test\r\n\r\n",
    ),
    "Upgrade: h2c with a body does not smuggle it": (
        (b"POST /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 34\r\n\r\n"
        b"GET /evil HTTP/1.1\r\nHost: evil\r\n\r\n"),
        (b"POST /x HTTP/1.1\r\nHost: vendor.test\r\nContent-Length: 34\r\nVia: 1.1 backstay-test\r\n\r\n"
        b"GET /evil HTTP/1.1\r\nHost: evil\r\n\r\n"),
    ),
    "Upgrade: websocket with a body is as if absent": (
        b"POST /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\na",
        b"POST /x HTTP/1.1\r\nHost: vendor.test\r\nContent-Length: 1\r\nVia: 1.1 backstay-test\r\n\r\na",
    ),
    "Upgrade of HTTP/1.0 is as if absent": (
        b"GET /x HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: vendor.test\r\nVia: 1.0 backstay-test\r\n\r\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "expected"), PASSED.values(), ids=PASSED.keys())
async def test_what_is_forwarded(wire: Wire, raw: bytes, expected: bytes) -> None:
    """The upstream gets exactly these bytes."""
    agent = await wire.start(OK)
    assert (await agent.ask(raw)).status == 200
    assert bytes(wire.vendor.connections[0].received) == expected


async def test_a_body_upgraded_in_pieces_does_not_smuggle(wire: Wire) -> None:
    """A body that comes behind the head of an h2c upgrade is a body, whatever it looks like."""
    evil = b"GET /evil HTTP/1.1\r\nHost: evil\r\n\r\n"
    agent = await wire.start(OK)
    await agent.send(
        head(b"Host: a", b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: %d" % len(evil)),
        evil[:10],
        evil[10:],
    )
    assert (await agent.answer()).status == 200
    assert len(wire.stack.exchanges) == 1


async def test_refusal_after_a_head_request_has_its_body(wire: Wire) -> None:
    """The 400 to a request that was not understood is framed for itself, not as the answer to the HEAD before it."""
    agent = await wire.start(OK)
    assert (await agent.ask(b"HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
    await agent.send(b"GET /x HTTP/1.1\r\n\r\n")
    answer = await agent.answer()
    assert json.loads(answer.body)["status"] == 400


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("connection", [b"close", b"keep-alive", b"close, keep-alive", b""])
async def test_persistence(wire: Wire, version: bytes, connection: bytes) -> None:
    """The agent's close is honoured, also beside keep-alive; HTTP/1.0 has to ask for persistence (RFC 9112, 9.3)."""
    agent = await wire.start(OK)
    line = b"Connection: " + connection if connection else b"X: x"
    answer = await agent.ask(head(b"Host: a", line, start=b"GET /x HTTP/" + version))
    persists = b"close" not in connection and (version == b"1.1" or connection == b"keep-alive")
    assert (answer.field(b"Connection") == b"close") is not persists
    if persists:
        assert (await agent.ask(GET)).status == 200
    else:
        assert await agent.closed()


async def expect_and_answer(end: End) -> None:
    received = await end.until(b"\r\n\r\n")
    assert b"Expect: 100-continue" in received
    await end.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    await end.exactly(5)
    await end.send(OK)


async def test_expect_continue_end_to_end(wire: Wire) -> None:
    """The 100 is the upstream's: the body waits for it."""
    agent = await wire.start(expect_and_answer)
    await agent.send(head(b"Host: a", b"Expect: 100-continue", b"Content-Length: 5"))
    assert (await agent.message()).status == 100
    await agent.send(b"hello")
    assert (await agent.answer()).status == 200
    assert wire.vendor.received.endswith(b"\r\n\r\nhello")


async def test_expectation_that_fails(wire: Wire) -> None:
    """A final answer instead of the 100 passes, and closes: whether the body comes is not known."""

    async def script(end: End) -> None:
        await end.until(b"\r\n\r\n")
        await end.send(b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")

    agent = await wire.start(script)
    await agent.send(head(b"Host: a", b"Expect: 100-continue", b"Content-Length: 5"))
    answer = await agent.answer()
    assert (answer.status, answer.field(b"Connection")) == (417, b"close")
    assert await agent.closed()
