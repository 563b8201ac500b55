"""A ClientHello: read whole or not at all, whoever sent it and however it was cut."""

from __future__ import annotations

import contextlib
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.client_hello import MAX_HANDSHAKE, MAX_RECORDS, ClientHello, read_client_hello
from tests.support.hello import (
    NODE,
    body,
    extension,
    hello,
    message,
    protocols,
    real,
    records,
    server_name,
    vector,
)

_GREASE = extension(0x0A0A, b"") + extension(0xFAFA, b"\x00")
_FULL = hello(_GREASE, server_name(b"api.example"), protocols(b"h2", b"http/1.1"), extension(0xFE0D, b"\x00ech"))
_MESSAGE = message(body(server_name(b"api.example"), protocols(b"h2")))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_what_openssl_sends(version: ssl.TLSVersion) -> None:
    """The name in lower case, and the protocols in the client's order."""
    data = real("API.Vendor.Example", ["h2", "http/1.1"], (version, version))
    assert read_client_hello(data) == ClientHello("api.vendor.example", (b"h2", b"http/1.1"))


def test_what_node_sends() -> None:
    """A hello that Node 20 sent."""
    assert read_client_hello(NODE) == ClientHello("api.vendor.example", (b"h2", b"http/1.1"))


def test_neither_name_nor_protocols() -> None:
    """None is not the same as nothing in a list: the client has said nothing."""
    assert read_client_hello(real(None)) == ClientHello(None, None)


def test_tls_without_extensions() -> None:
    """Before TLS 1.3 a hello may end behind its compression methods; SSL 3.0's looks alike."""
    for version in (b"\x03\x00", b"\x03\x01", b"\x03\x03"):
        data = records(message(body(version=version, session=bytes(32), block=b"")))
        assert read_client_hello(data) == ClientHello(None, None)


@pytest.mark.parametrize(
    ("name", "host"),
    [
        (b"api.example", "api.example"),
        (b"API.Example.", "api.example"),
        (b"localhost", "localhost"),
        (b"_sip._tcp.x-", "_sip._tcp.x-"),
        (b"1.2.3.4.example", "1.2.3.4.example"),
        (b"xn--bcher-kva.example", "xn--bcher-kva.example"),
        (b".".join([b"a" * 63] * 3) + b"." + b"b" * 61, ".".join(["a" * 63] * 3) + "." + "b" * 61),
        (b"169.254.169.254", None),
        (b"2852039166", None),
        (b"0xa9fea9fe", None),
        (b"1.2.0x3", None),
        (b"::ffff:1.2.3.4", None),
    ],
)
def test_a_server_name(name: bytes, host: str | None) -> None:
    """A plausible host name in one spelling; an address, in any of its spellings, is no name."""
    assert read_client_hello(hello(server_name(name))) == ClientHello(host, None)


@pytest.mark.parametrize(
    "name",
    [
        *[
            b".",
            b"a..b",
            b".a",
            b"a..",
            b"a b",
            b"a\x00.example",
            b"b\xc3\xbccher.example",
            b"*.example",
            b"a/b",
            b"a@b",
        ],
        *[b"a" * 64, b"a.b:443", b".".join([b"a" * 63] * 4)],
    ],
)
def test_what_is_no_server_name(name: bytes) -> None:
    """Nothing goes anywhere by a name that no resolver should see."""
    with pytest.raises(ValueError, match="server's name"):
        read_client_hello(hello(server_name(name)))


def test_names_of_an_unknown_kind_are_stepped_over() -> None:
    """RFC 6066, 3: only host_name is defined; another kind names no host."""
    assert read_client_hello(hello(server_name(b"x", kind=9))) == ClientHello(None, None)


@pytest.mark.parametrize("size", [30, 5, 4, 3])
def test_a_hello_over_several_records(size: int) -> None:
    """RFC 8446, 5.1: a message may be cut anywhere, also within its header."""
    assert read_client_hello(records(_MESSAGE, size=size)) == ClientHello("api.example", (b"h2",))


def test_what_follows_the_hello_in_another_record_is_not_looked_at() -> None:
    """Early data comes at once (RFC 8446, 4.2.10)."""
    assert read_client_hello(_FULL + b"\x17\x03\x03\x00\x05early") == read_client_hello(_FULL)


@pytest.mark.parametrize("data", [_FULL, NODE, real(), records(_MESSAGE, size=3)], ids=["hand", "node", "real", "cut"])
def test_every_beginning_of_a_hello_asks_for_more(data: bytes) -> None:
    """A hello comes in any pieces: until the last byte is there nothing is wrong, and nothing is known."""
    assert {read_client_hello(data[:end]) for end in range(len(data))} == {None}
    assert read_client_hello(data) is not None


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x15", "no TLS handshake record"),
        (b"\x16\x02", "no TLS handshake record"),
        (b"\x16\x03\x05", "no TLS handshake record"),
        (b"\x80\x2e\x01\x03\x01", "no TLS handshake record"),  # SSL 2.0
        (b"\x16\x03\x01\x00\x00", "empty"),
        (b"\x16\x03\x01\x40\x01", "larger than TLS permits"),
        (b"\x16\x03\x01\x00\x04\x02", "does not begin with a ClientHello"),
        (b"\x16\x03\x01\x00\x04\x01" + MAX_HANDSHAKE.to_bytes(3, "big"), "larger than 16384"),
        (records(_MESSAGE + b"\x00"), "follows the hello"),
        (records(_MESSAGE + b"\x00")[:9], "follows the hello"),
        (records(_MESSAGE[:9]) + b"\x17\x03\x01", "no TLS handshake record"),
        (records(message(bytes(999)), size=1)[: 6 * MAX_RECORDS], "too many records"),
    ],
)
def test_what_cannot_become_a_hello(data: bytes, why: str) -> None:
    """It is told as soon as it is certain, not when more would have come."""
    with pytest.raises(ValueError, match=why):
        read_client_hello(data)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "exceeds"),
        (body(version=b"\x02\x00"), "unknown version"),
        (body()[:-3], "exceeds"),
        (body(session=bytes(33)), "session id"),
        (body(ciphers=b""), "too short"),
        (body(ciphers=b"\x00\x01\x02"), "ends within"),
        (body(compression=b""), "too short"),
        (body(block=b"\x00"), "exceeds"),
        (body(block=b"\x00\x00\x00"), "less than"),
        (body(block=vector(2, b"\x00\x00\x00\x01")), "exceeds"),
        (body(server_name(b"a"), server_name(b"b")), "repeated"),
        (body(server_name(b"a", b"b")), "two servers"),
        (body(server_name(b"")), "too short"),
        (body(extension(0, b"")), "exceeds"),
        (body(extension(0, vector(2, b"\x00\x00\x01a") + b"x")), "less than"),
        (body(protocols()), "too short"),
        (body(protocols(b"h2", b"")), "too short"),
        (body(extension(16, vector(2, b"\x02h2") + b"x")), "less than"),
    ],
)
def test_a_hello_whose_parts_do_not_fit(content: bytes, why: str) -> None:
    """Every length is held against what is there; what a server would refuse is not guessed at."""
    with pytest.raises(ValueError, match=why):
        read_client_hello(records(message(content)))


@given(st.integers(0, len(_FULL) - 1), st.binary(max_size=8), st.integers(0, 8))
def test_no_mutation_of_a_hello_does_more_than_to_be_refused(at: int, new: bytes, skip: int) -> None:
    """Whatever is sent: a hello with a usable name, a wish for more, or a ValueError."""
    data = _FULL[:at] + new + _FULL[at + skip :]
    try:
        found = read_client_hello(data)
    except ValueError:
        return
    if found is not None and found.server_name is not None:
        assert found.server_name == found.server_name.lower().strip(". \0")


@given(st.binary(max_size=80))
def test_no_bytes_break_it(tail: bytes) -> None:
    """Arbitrary bytes behind a plausible beginning: nothing but a ValueError is raised."""
    for data in (tail, b"\x16\x03\x01" + tail, records(message(tail)), records(message(body(block=tail)))):
        with contextlib.suppress(ValueError):
            read_client_hello(data)
