"""Rules of the wire on the response side, as bytes: what may not be forwarded is a 502, its connection used no more."""

from __future__ import annotations

import json

import pytest

from proxy.model import Ending, Verdict
from tests.support.raw import Answer, End, answers, sends, until
from tests.support.wire import GET, OK, Wire


def head(*lines: bytes, start: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join([start, *lines, b"", b""])


CHUNKED = head(b"Transfer-Encoding: chunked")

# reason to refuse -> the bytes
REFUSED: dict[str, bytes] = {
    "both lengths": head(b"Content-Length: 3", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "both lengths, other order": head(b"Transfer-Encoding: chunked", b"Content-Length: 3") + b"0\r\n\r\n",
    "differing lengths": head(b"Content-Length: 3", b"Content-Length: 4") + b"abcd",
    "the same length twice": head(b"Content-Length: 3", b"Content-Length: 3") + b"abc",
    "a list of lengths": head(b"Content-Length: 3, 3") + b"abc",
    "signed length": head(b"Content-Length: +3") + b"abc",
    "negative length": head(b"Content-Length: -3") + b"abc",
    "hexadecimal length": head(b"Content-Length: 0x3") + b"abc",
    "no length": head(b"Content-Length:") + b"abc",
    "length beyond any integer": head(b"Content-Length: 99999999999999999999999") + b"abc",
    "gzip before chunked": head(b"Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n",
    "chunked before gzip": head(b"Transfer-Encoding: chunked, gzip") + b"0\r\n\r\n",
    "chunked twice": head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "identity": head(b"Transfer-Encoding: identity") + b"abc",
    "chunked on 1.0": head(b"Transfer-Encoding: chunked", start=b"HTTP/1.0 200 OK") + b"0\r\n\r\n",
    "both lengths for no body": head(b"Content-Length: 3", b"Transfer-Encoding: chunked", start=b"HTTP/1.1 304 X"),
    "HTTP/0.9": b"<html>hello</html>\r\n\r\n",
    "HTTP/2": head(start=b"HTTP/2 200 OK"),
    "HTTP/2.0": head(start=b"HTTP/2.0 200 OK"),
    "HTTP/1.2": head(start=b"HTTP/1.2 200 OK"),
    "another protocol": head(start=b"ICY 200 OK"),
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "two digits": head(start=b"HTTP/1.1 20 OK"),
    "four digits": head(start=b"HTTP/1.1 2000 OK"),
    "status 600": head(start=b"HTTP/1.1 600 OK"),
    "status 099": head(start=b"HTTP/1.1 099 OK"),
    "two spaces": head(start=b"HTTP/1.1  200 OK"),
    "a control byte in the reason": head(b"Content-Length: 0", start=b"HTTP/1.1 200 O\x01K"),
    "NUL in the reason": head(b"Content-Length: 0", start=b"HTTP/1.1 200 O\x00K"),
    "CR in the reason": head(b"Content-Length: 0", start=b"HTTP/1.1 200 O\rK"),
    "LF in the reason": head(b"Content-Length: 0", start=b"HTTP/1.1 200 O\nK: v"),
    "DEL in the reason": head(b"Content-Length: 0", start=b"HTTP/1.1 200 O\x7fK"),
    "LF alone behind a field": b"HTTP/1.1 200 OK\r\nContent-Length: 0\nX: y\r\n\r\n",
    "CR alone in a value": head(b"Content-Length: 0", b"X: a\rb"),
    "obs-fold": head(b"Content-Length: 0", b"X: a", b" b"),
    "obs-fold of the first field": head(b" X: a", b"Content-Length: 0"),
    "a space before the colon": head(b"Content-Length : 0"),
    "a space in a name": head(b"Content-Length: 0", b"X Y: a"),
    "no colon": head(b"Content-Length: 0", b"Xa"),
    "no name": head(b"Content-Length: 0", b": a"),
    "NUL in a value": head(b"Content-Length: 0", b"X: a\x00b"),
    "a control byte in a value": head(b"Content-Length: 0", b"X: a\x01b"),
    "DEL in a value": head(b"Content-Length: 0", b"X: a\x7fb"),
    "NUL in a name": head(b"Content-Length: 0", b"X\x00: a"),
    "headers over the limit": head(b"Content-Length: 0", b"X: " + b"x" * 5000),
    "headers without end": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 5000,
    "a status line without end": b"HTTP/1.1 200 " + b"x" * 5000,
    "a chunk size that is no number": CHUNKED + b"zz\r\nabc\r\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKED + b"2\r\nabc\r\n0\r\n\r\n",
    "a long chunk extension": CHUNKED + b"3;" + b"a" * 1100 + b"\r\nabc\r\n",
    "LF alone behind a chunk size": CHUNKED + b"3\nabc\r\n0\r\n\r\n",
    "a trailer that frames": CHUNKED + b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "large trailers": CHUNKED + b"0\r\nX: " + b"x" * 5000 + b"\r\n\r\n",
    "a 101 that nobody asked for": head(b"Connection: Upgrade", b"Upgrade: websocket", start=b"HTTP/1.1 101 X"),
    "informational answers without end": b"HTTP/1.1 103 X\r\n\r\n" * 20 + OK,
}


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED.keys())
async def test_malformed_answers_are_refused(wire: Wire, raw: bytes) -> None:
    """The agent gets a 502 that says why, its connection goes on, and the upstream's is closed."""
    agent = await wire.start(answers(raw, OK), header_limit=4096)
    await agent.send(GET)
    answer = await agent.answer()
    problem = json.loads(answer.body)
    assert (answer.status, problem["reason"]) == (502, "protocol")
    assert wire.stack.verdicts == [Verdict.FAILURE]
    assert await wire.vendor.connections[0].closed()
    assert (await agent.ask(GET)).body == b"ok"
    assert len(wire.vendor.connections) == 2


async def byte_by_byte(end: End, raw: bytes) -> None:
    await end.message()
    await end.send(*[raw[index : index + 1] for index in range(len(raw))])


@pytest.mark.parametrize("raw", [raw for raw in REFUSED.values() if len(raw) < 120])
async def test_malformed_answers_are_refused_in_any_pieces(wire: Wire, raw: bytes) -> None:
    """An answer that comes byte by byte ends as a 502, or as a stream that looks broken."""

    async def script(end: End) -> None:
        await byte_by_byte(end, raw)

    agent = await wire.start(script)
    await agent.send(GET)
    answer = Answer(await agent.until(b"\r\n\r\n"))
    if answer.status == 502:
        assert answer.field(b"Content-Type") == b"application/problem+json"
    else:
        assert not (await agent.rest()).endswith(b"0\r\n\r\n")
        assert wire.stack.endings == [Ending.BROKEN]
    assert wire.stack.verdicts == [Verdict.FAILURE]


PASSED = {
    "case, order and repetition": (
        (b"HTTP/1.1 200 OK\r\nset-cookie: a\r\nX-B: 1\r\nSet-Cookie: b\r\n"
        b"Empty:\r\nX-b: \xe9\r\nContent-Length: 0\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nset-cookie: a\r\nX-B: 1\r\nSet-Cookie: b\r\n"
        b"Empty: \r\nX-b: \xe9\r\nContent-Length: 0\r\n\r\n"),
    ),
    "no reason": (
        b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
    ),
    "an empty reason": (
        b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
    ),
    "an unknown status": (
        b"HTTP/1.1 599 What \xe9ver\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 599 What \xe9ver\r\nContent-Length: 0\r\n\r\n",
    ),
    "hop-by-hop": (
        (b"HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
        b"Proxy-Connection: x\r\nUpgrade: h2c\r\nX: 1\r\nContent-Length: 0\r\n\r\n"),
        b"HTTP/1.1 200 OK\r\nX: 1\r\nContent-Length: 0\r\n\r\n",
    ),
    "Connection cannot take away the framing": (
        b"HTTP/1.1 200 OK\r\nConnection: content-length\r\nContent-Length: 1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
    ),
    "204 has no length": (
        b"HTTP/1.1 204 No\r\nContent-Length: 0\r\nX: 1\r\n\r\n",
        b"HTTP/1.1 204 No\r\nX: 1\r\n\r\n",
    ),
    "304 keeps its length": (
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
    ),
    "304 without length": (
        b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n",
    ),
    "a short chunked answer is sent whole": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n1\r\n!\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok!",
    ),
    "bytes of a body": (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x00\r",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x00\r",
    ),
    "a body of a 4xx": (
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
    ),
    "informational answers": (
        (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nConnection: X-Hop\r\n"
        b"X-Hop: 1\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n") + OK,
        b"HTTP/1.1 103 \r\nLink: </x>\r\n\r\nHTTP/1.1 102 \r\n\r\n" + OK,
    ),
    "an informational answer announces no body": (
        b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n" + OK,
        b"HTTP/1.1 103 \r\n\r\n" + OK,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "expected"), PASSED.values(), ids=PASSED.keys())
async def test_what_is_passed_on(wire: Wire, raw: bytes, expected: bytes) -> None:
    """The agent gets exactly these bytes, and both connections go on."""
    agent = await wire.start(raw)
    for _ in range(2):
        await agent.send(GET)
        assert await agent.exactly(len(expected)) == expected
    assert len(wire.vendor.connections) == 1


@pytest.mark.parametrize("raw", [PASSED["informational answers"], PASSED["bytes of a body"], PASSED["hop-by-hop"]])
async def test_what_is_passed_on_in_any_pieces(wire: Wire, raw: tuple[bytes, bytes]) -> None:
    """How the upstream cuts its bytes changes nothing."""

    async def script(end: End) -> None:
        await byte_by_byte(end, raw[0])

    agent = await wire.start(script)
    await agent.send(GET)
    assert await agent.exactly(len(raw[1])) == raw[1]


HEAD_ANSWERS = {
    "length": (head(b"Content-Length: 1000"), head(b"Content-Length: 1000")),
    "chunked": (CHUNKED, head()),
    "neither": (head(b"X: y"), head(b"X: y")),
}


@pytest.mark.parametrize(("raw", "expected"), HEAD_ANSWERS.values(), ids=HEAD_ANSWERS.keys())
async def test_head_has_no_body(wire: Wire, raw: bytes, expected: bytes) -> None:
    """The length in the answer to a HEAD is passed on, and takes nothing of the next answer."""
    agent = await wire.start(answers(raw, OK))
    await agent.send(b"HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
    assert await agent.exactly(len(expected) + len(OK)) == expected + OK
    assert len(wire.vendor.connections) == 1


UNSOLICITED = {
    "behind a whole answer": (OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",),
    "behind a streamed answer": (OK[:-1], OK[-1:] + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
    "behind a chunked answer": (CHUNKED + b"2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",),
    "behind a chunked answer that streams": (CHUNKED + b"2\r\n", b"ok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
    "while idle": (OK, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
    "a stray newline": (OK, b"\r\n"),
}


@pytest.mark.parametrize("pieces", UNSOLICITED.values(), ids=UNSOLICITED.keys())
async def test_bytes_nobody_asked_for(wire: Wire, pieces: tuple[bytes, ...]) -> None:
    """Bytes behind an answer close the connection: they would be taken for the answer to the next request."""

    async def script(end: End) -> None:
        while True:
            await end.message()
            await end.send(*pieces)

    agent = await wire.start(script)
    for _ in range(2):
        assert (await agent.ask(GET)).body == b"ok"
        await until(lambda: wire.stack.pool.counts()["idle"] == 0, "the connection is closed")
    assert len(wire.vendor.connections) == 2


PERSISTENCE = {
    "1.1": (OK, True),
    "1.1, close": (OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), False),
    "1.0": (OK.replace(b"1.1", b"1.0"), False),
    "1.0, keep-alive": (OK.replace(b"1.1", b"1.0").replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n"), True),
    "1.0, both": (OK.replace(b"1.1", b"1.0").replace(b"\r\n\r\n", b"\r\nConnection: keep-alive, close\r\n\r\n"), False),
}


@pytest.mark.parametrize(("raw", "kept"), PERSISTENCE.values(), ids=PERSISTENCE.keys())
async def test_which_upstream_connections_are_kept(wire: Wire, raw: bytes, kept: bool) -> None:
    """The upstream's word about its connection is its own: the agent's goes on in any case."""
    agent = await wire.start(raw)
    for _ in range(2):
        answer = await agent.ask(GET)
        assert (answer.body, answer.field(b"Connection")) == (b"ok", None)
    assert len(wire.vendor.connections) == (1 if kept else 2)


async def test_an_answer_before_the_body_has_ended(wire: Wire) -> None:
    """The upstream's early answer reaches the agent at once; its connection is not used again."""

    async def script(end: End) -> None:
        await end.until(b"\r\n\r\n")
        await end.send(head(b"Content-Length: 5", start=b"HTTP/1.1 413 Too Large") + b"no!!!")
        await end.rest()

    agent = await wire.start(script)
    await agent.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc")
    answer = await agent.answer()
    assert (answer.status, answer.body) == (413, b"no!!!")
    await agent.send(b"x" * 997 + GET)  # short: it is read past, and the connection goes on
    await until(lambda: len(wire.vendor.connections) == 2)
    assert (await agent.answer()).status == 413
    assert wire.vendor.connections[0].received.endswith(b"\r\n\r\nabc")


async def test_an_answer_before_a_long_body_has_ended(wire: Wire) -> None:
    """The rest of a long body is not read for ever: the agent can read the answer, then the connection ends."""

    async def script(end: End) -> None:
        await end.until(b"\r\n\r\n")
        await end.send(head(b"Content-Length: 0", start=b"HTTP/1.1 413 Too Large"))
        await end.rest()

    agent = await wire.start(script)
    await agent.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
    assert (await agent.answer()).status == 413
    await agent.send(b"x" * 200_000)
    assert await agent.closed()


async def test_an_early_answer_streams_while_the_body_is_sent(wire: Wire) -> None:
    """Both directions flow at once: an answer may depend on a body that still comes."""

    async def script(end: End) -> None:
        await end.until(b"\r\n\r\n")
        await end.send(CHUNKED)
        for _ in range(3):
            size = await end.until(b"\r\n")
            await end.send(size + await end.exactly(int(size, 16) + 2))
        assert await end.exactly(5) == b"0\r\n\r\n"
        await end.send(b"0\r\n\r\n")

    agent = await wire.start(script)
    await agent.send(b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    await agent.until(b"\r\n\r\n")
    for piece in (b"a", b"bb", b"ccc"):
        await agent.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        assert await agent.exactly(5 + len(piece)) == b"%x\r\n%b\r\n" % (len(piece), piece)
    await agent.send(b"0\r\n\r\n")
    assert await agent.exactly(5) == b"0\r\n\r\n"
    assert wire.stack.endings == [Ending.COMPLETE]


@pytest.mark.parametrize("pieces", [(), (b"HTT",), (b"HTTP/1.1 200 OK\r\nContent-",)])
async def test_a_connection_that_ends_without_an_answer(wire: Wire, pieces: tuple[bytes, ...]) -> None:
    """A close before the final headers is a 502 reset."""
    agent = await wire.start(sends(*pieces))
    answer = await agent.ask(GET)
    assert (answer.status, json.loads(answer.body)["reason"]) == (502, "reset")
    assert wire.stack.verdicts == [Verdict.FAILURE]


async def test_informational_answers_are_not_for_http10(wire: Wire) -> None:
    """HTTP/1.0 knows no 1xx."""
    agent = await wire.start(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK)
    await agent.send(b"GET /x HTTP/1.0\r\n\r\n")
    assert (await agent.message()).status == 200
