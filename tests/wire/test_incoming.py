"""Tests of heads turned into requests; the refusals, as bytes on a connection, are in test_request_rules.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Loop
from proxy.model import Request
from proxy.wire.framing import CHUNKED
from proxy.wire.head import Malformed
from proxy.wire.incoming import read_request, split_authority

FRAGMENTS = [
    b"GET ", b"POST ", b"/", b"*", b"http://a", b" HTTP/1.1", b" HTTP/1.0", b"\r\n", b"Host: a", b"Host:", b"Via: me",
    b"Connection: close", b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: 3", b"Expect: 100-continue",
    b"Transfer-Encoding: chunked", b"TE: trailers", b"\n", b"\x00", b": ",
]  # fmt: skip


def read(*lines: bytes, start: bytes = b"GET /x HTTP/1.1") -> Request:
    head = b"\r\n".join([start, *lines])
    return read_request(head + b"\r\n\r\nrest", len(head), b"me")


def test_a_plain_request() -> None:
    """What most requests are."""
    request = read(b"Host: a:80", b"X: y")
    assert (request.method, request.target, request.host, request.length) == (b"GET", b"/x", b"a:80", 0)
    assert list(request.headers) == [(b"X", b"y")]
    assert request.keep_alive
    assert not (request.http10)
    assert not (request.expects_continue)
    assert not (request.trailers_wanted)
    assert not (request.upgrade)


@pytest.mark.parametrize(
    ("target", "host", "path"),
    [
        (b"http://b/x", b"b", b"/x"),
        (b"HTTP://b:8080/x?y#z", b"b:8080", b"/x?y#z"),
        (b"http://b", b"b", b"/"),
        (b"http://b?y", b"b", b"/?y"),
        (b"http://b?y/z?w", b"b", b"/?y/z?w"),
        (b"http://[::1]:80/", b"[::1]:80", b"/"),
        (b"https://b/x", b"b", b"/x"),
    ],
)
def test_absolute_targets(target: bytes, host: bytes, path: bytes) -> None:
    """The host in the target is the host; Host is not looked at (RFC 9112, 3.2.2)."""
    request = read(b"Host: a", start=b"GET " + target + b" HTTP/1.1")
    assert (request.host, request.target) == (host, path)
    assert request.forward == target.partition(b":")[0].lower()


@pytest.mark.parametrize("host", [b"a", b"a:1", b"a.b-c_d~e", b"127.0.0.1:80", b"[::1]", b"[::1]:65535", b"", b"a:"])
def test_hosts(host: bytes) -> None:
    """Names and addresses with or without a port; and nothing, which RFC 9112 allows."""
    assert read(b"Host: " + host).host == host


def test_a_host_is_no_longer_than_a_name_can_be() -> None:
    """What is checked is remembered, so it must be short."""
    with pytest.raises(Malformed):
        read(b"Host: " + b"a" * 263)


@pytest.mark.parametrize("host", [b"a:65536", b"a:99999", b"[::1]:65616"])
def test_there_is_no_port_beyond_65535(host: bytes) -> None:
    """Resolvers take it for another one, of which no rule was asked: 65616 for 80."""
    with pytest.raises(Malformed):
        read(b"Host: " + host)
    with pytest.raises(Malformed):
        read(b"Host: a", start=b"GET http://" + host + b"/ HTTP/1.1")


def test_framing() -> None:
    """The length is that of the body, or CHUNKED."""
    assert read(b"Host: a", b"Content-Length: 3").length == 3
    assert read(b"Host: a", b"Transfer-Encoding: chunked").length == CHUNKED


def test_rare_fields() -> None:
    """Fields that the wire acts upon."""
    request = read(b"Host: a", b"Expect: 100-Continue", b"TE: gzip, trailers", b"Via: 1.1 you")
    assert request.expects_continue
    assert request.trailers_wanted
    assert list(request.headers) == [(b"Expect", b"100-Continue"), (b"Via", b"1.1 you")]


@pytest.mark.parametrize(
    ("lines", "upgrade"),
    [
        ([b"Connection: upgrade", b"Upgrade: WebSocket"], True),
        ([b"Upgrade: websocket"], False),
        ([b"Connection: upgrade"], False),
        ([b"Connection: upgrade", b"Upgrade: h2c"], False),
        ([b"Connection: upgrade", b"Upgrade: h2c, websocket"], False),
        ([b"Connection: upgrade", b"Upgrade: websocket", b"Content-Length: 1"], False),
        ([b"Connection: upgrade", b"Upgrade: websocket", b"Transfer-Encoding: chunked"], False),
    ],
)
def test_upgrades(lines: list[bytes], upgrade: bool) -> None:
    """Only a websocket, and only without a body."""
    assert read(b"Host: a", *lines).upgrade is upgrade


@pytest.mark.parametrize("method", [b"POST", b"DELETE", b"HEAD", b"get"])
def test_only_a_get_upgrades(method: bytes) -> None:
    """RFC 6455, 4.1: what may change something is a call like any other, whatever it asks for besides."""
    start = method + b" / HTTP/1.1"
    assert not read(b"Host: a", b"Connection: upgrade", b"Upgrade: websocket", start=start).upgrade


def test_http10() -> None:
    """HTTP/1.0 needs no Host, does not persist unless asked to, and knows neither Expect nor Upgrade."""
    start = b"GET / HTTP/1.0"
    request = read(start=start)
    assert (request.host, request.keep_alive, request.http10) == (b"", False, True)
    assert read(b"Connection: keep-alive", start=start).keep_alive
    assert not read(b"Connection: keep-alive, close", start=start).keep_alive
    request = read(b"Expect: 100-continue", b"Connection: upgrade", b"Upgrade: websocket", start=start)
    assert not (request.expects_continue)
    assert not (request.upgrade)


@pytest.mark.parametrize("via", [b"Via: me", b"Via: 1.1 you, 1.1 me", b"Via: 1.0 a\r\nVia: 1.1 me (x)"])
def test_loops(via: bytes) -> None:
    """A request that this instance has sent before is a loop."""
    with pytest.raises(Loop):
        read(b"Host: a", via)


@pytest.mark.parametrize(
    ("target", "authority"),
    [
        (b"a:1", ("a", 1)),
        (b"A.b.:65535", ("a.b", 65535)),
        (b"127.0.0.1:443", ("127.0.0.1", 443)),
        (b"[::1]:80", ("::1", 80)),
    ],
)
def test_connect(target: bytes, authority: tuple[str, int]) -> None:
    """The target of a CONNECT is a host with its port, whatever Host says (RFC 9112, 3.2.3)."""
    request = read(b"Host: other", start=b"CONNECT " + target + b" HTTP/1.1")
    assert (request.forward, request.host) == (b"connect", target)
    assert split_authority(request.target) == authority


@pytest.mark.parametrize(
    "target", [b"a", b"a:", b":1", b"a:0", b"a:65536", b"a:1/", b"http://a:1", b"u@a:1", b"::1:80", b"a:1:2", b"*"]
)
def test_a_connect_to_anything_else(target: bytes) -> None:
    """A target that is not host:port has no meaning that is certain."""
    with pytest.raises(Malformed):
        read(b"Host: a", start=b"CONNECT " + target + b" HTTP/1.1")


@given(st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=6), max_size=12).map(b"".join))
def test_any_head_is_read_or_refused(head: bytes) -> None:
    """Nothing but a refusal is ever raised."""
    head = head.split(b"\r\n\r\n")[0]
    try:
        request = read_request(head + b"\r\n\r\n", len(head), b"me")
    except (Malformed, Loop):
        return
    assert request.forward == b"connect" or request.target.startswith((b"/", b"*"))
