"""What a captured connection is, told from its first bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.client_hello import ClientHello
from proxy.core.first_bytes import First, Kind, look
from tests.support.hello import hello, protocols, real, server_name

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_GET = b"GET /x HTTP/1.1\r\nHost: api.example\r\nAccept: */*\r\n\r\n"
_LIMIT = 1000


def test_tls_with_its_hello_complete() -> None:
    """TLS is told only when its hello can be acted upon, at its last byte."""
    data = hello(server_name(b"api.example"), protocols(b"http/1.1"))
    assert {look(data[:end], _LIMIT) for end in range(len(data))} == {First(Kind.MORE)}
    assert look(data, _LIMIT) == First(Kind.TLS, ClientHello("api.example", (b"http/1.1",)))


def test_the_limit_of_a_head_is_not_that_of_a_hello() -> None:
    """A hello has a limit of its own."""
    assert look(real(), 10).kind is Kind.TLS


@pytest.mark.parametrize(
    "data", [b"\x16\x02", b"\x16\x03\x01\x00\x00", b"\x80\x2e\x01\x03\x01", hello(server_name(b" "))]
)
def test_what_only_resembles_tls_is_opaque(data: bytes) -> None:
    """SSL 2.0, another record, a name that is none."""
    assert look(data, _LIMIT) == First(Kind.OPAQUE)


def test_the_preface_of_http2() -> None:
    """RFC 9113, 3.4: 24 bytes; each of their beginnings may still become something else."""
    assert {look(_PREFACE[:end], _LIMIT).kind for end in range(len(_PREFACE))} == {Kind.MORE}
    assert look(_PREFACE + b"\x00\x00\x00", _LIMIT) == First(Kind.HTTP2)
    assert look(b"PRI /x HTTP/1.1", _LIMIT).kind is Kind.HTTP1


def test_http1_is_told_by_its_request_line_and_its_host_by_its_head() -> None:
    """MORE until the version has begun, then HTTP1; the host comes with the end of the head, and stays."""
    seen = [look(_GET[:end], _LIMIT) for end in range(len(_GET) + 1)]
    sure = _GET.index(b"1.") + 2
    assert set(seen[:sure]) == {First(Kind.MORE)}
    assert set(seen[sure:-1]) == {First(Kind.HTTP1)}
    assert (
        seen[-1]
        == look(_GET + b"body\r\nHost: b\r\n\r\n", _LIMIT)
        == First(Kind.HTTP1, host=b"api.example", whole=True)
    )


@pytest.mark.parametrize(
    ("head", "host"),
    [
        (b"GET / HTTP/1.1\r\nhOsT:\t api.example:8080 \r\n", b"api.example:8080"),
        (b"GET / HTTP/1.1\r\nHost:a\r\n", b"a"),
        (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n", b"a"),
        (b"\nGET  / HTTP/1.1\r\nHost: a\r\n", b"a"),
        (b"purge+x / HTTP/1.0\r\nX-Host: b\r\nHost: a\r\n", b"a"),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n", b"a"),
        (b"CONNECT b:443 HTTP/1.1\r\nHost: a\r\n", b"a"),
        (b"GET /a b\xc3\xbc HTTP/1.1\r\nHost: a\r\n", b"a"),
        (b"GET http://b.example:81/x?y HTTP/1.1\r\nHost: a\r\n", b"b.example:81"),
        (b"GET HTTPS://[::1]?y HTTP/1.1\r\nHost: a\r\nHost: c\r\n", b"[::1]"),
        (b"GET http://user@b/x HTTP/1.1\r\nHost: a\r\n", b"a"),
        (b"GET / HTTP/1.0\r\nAccept: */*\r\n", None),
        (b"GET / HTTP/1.0\r\n", None),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n", b"a"),
        (b"GET / HTTP/1.1\r\nHost : a\r\n", b"a"),
        (b"GET / HTTP/1.1\r\nHost: \r\n", None),
        (b"GET / HTTP/1.1\r\nX: y\nHost: a\r\n", b"a"),
    ],
)
def test_the_host_of_a_head(head: bytes, host: bytes | None) -> None:
    """The first Host field, unless the target names a host itself; whether the rest is right is not judged here."""
    assert look(head + b"\r\n", _LIMIT) == First(Kind.HTTP1, host=host, whole=True)


@pytest.mark.parametrize(
    ("head", "host"),
    [
        (b"GET / HTTP/1.1\nHost: a\n\n", b"a"),
        (b"GET http://b/ HTTP/1.1\nHost: a\r\n\n", b"b"),
        (b"GET / HTTP/1.0\n\r\nHost: a", None),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * _LIMIT, b"a"),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * _LIMIT + b"\r\nHost: a\r\n", None),
    ],
)
def test_a_head_whose_end_is_not_to_be_waited_for(head: bytes, host: bytes | None) -> None:
    """The strict parser is to refuse it, if its host is an api's: left alone, it would go past the policies."""
    assert look(head, _LIMIT) == First(Kind.HTTP1, host=host, whole=True)


@pytest.mark.parametrize("head", [b"GET / HTTP/1.1\n", b"GET / HTTP/1.1\nHost: a\n", b"GET / HTTP/1.1\r\nX: y\n"])
def test_a_head_that_breaks_the_rules_may_still_name_its_host(head: bytes) -> None:
    """It is not decided before."""
    assert look(head, _LIMIT) == First(Kind.HTTP1)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"EHLO mail.example\r\n",
        b"PING\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"set key 0 900 5\r\n",
        b"GET /\r\n",
        b" GET / HTTP/1.1\r\n",
        b"GET / HTTP/2.0\r\n",
        b"OPTIONS rtsp://a/b RTSP/1.0\r\n",
        b"\r\rGET / HTTP/1.1\r\n",
        b"GET /\x00",
        b"A" * 33,
        b"\x10\x10\x00\x04MQTT",
        b"GET /" + b"x" * _LIMIT,
    ],
)
def test_what_cannot_become_a_request_line_is_opaque(data: bytes) -> None:
    """Databases, mail and shells go on untouched, as soon as they show what they are."""
    assert look(data, _LIMIT) == First(Kind.OPAQUE)


@pytest.mark.parametrize("data", [b"", b"\r", b"\r\n", b"\r\n\r\nG", b"SS", b"A" * 32, b"PUT ", b"GET /" + b"x" * 995])
def test_what_may_still_become_one_waits(data: bytes) -> None:
    """Up to the limit of a head."""
    assert look(data, _LIMIT) == First(Kind.MORE)


@given(
    st.lists(
        st.sampled_from([_GET, _PREFACE, b"\r\n", b"G", b" ", b"HTTP/1.", b"\x16\x03\x01", b"\n"])
        | st.binary(max_size=3)
    )
)
def test_once_told_more_bytes_change_nothing(pieces: list[bytes]) -> None:
    """Whatever comes in whatever pieces: MORE, then one kind for good; what is whole stays as it was seen."""
    seen, told = b"", First(Kind.MORE)
    for piece in pieces:
        seen += piece
        now = look(seen, 60)
        assert told.kind in {Kind.MORE, now.kind}
        assert not told.whole or now.whole
        told = now
