"""What may leave, by which way and with what: what is read, what is said, and what is never said."""

from __future__ import annotations

from base64 import b64decode
from ipaddress import ip_network
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.outbound import read_destination, read_names, read_proxy, read_secret, write_pattern, write_proxy
from proxy.config.settings import UpstreamProxy
from proxy.config.units import UnitError
from proxy.core.egress import Pattern


def refused(read: object, value: object) -> tuple[str, str]:
    """What is said of it in any case, and the hint, which may have it in it."""
    with pytest.raises(UnitError) as caught:
        read(value)  # type: ignore[operator]
    return f"{caught.value.expected}; {caught.value.remedy}", caught.value.hint or ""


@pytest.mark.parametrize(
    ("text", "host", "port", "pair"),
    [
        ("http://proxy:3128", "proxy", 3128, None),
        ("HTTP://Proxy.Corp:80/", "proxy.corp", 80, None),
        ("http://[FD00::1]:3128", "fd00::1", 3128, None),
        ("http://user:password@proxy:1", "proxy", 1, b"user:password"),
        ("http://user@proxy:1", "proxy", 1, b"user:"),
        ("http://:password@proxy:1", "proxy", 1, b":password"),
        ("http://DOM%5Cuser:p%40s%2Fs%3A%25@proxy:1", "proxy", 1, b"DOM\\user:p@s/s:%"),
        ("http://u:a:b+c%C3%A4@proxy:1", "proxy", 1, "u:a:b+cä".encode()),
    ],
)
def test_a_proxy_is_read_with_what_it_wants_to_hear(text: str, host: str, port: int, pair: bytes | None) -> None:
    """User and password, percent-decoded, are a Basic value; they are not written back."""
    proxy = read_proxy(text)
    assert (proxy.host, proxy.port) == (host, port)
    assert (None if proxy.authorization is None else b64decode(proxy.authorization.removeprefix(b"Basic "))) == pair
    assert (
        write_proxy(proxy) == f"http://{'' if pair is None else '****@'}{f'[{host}]' if ':' in host else host}:{port}"
    )


@given(user=st.text(min_size=1).filter(lambda text: ":" not in text), password=st.text())
def test_any_user_and_password_can_be_written(user: str, password: str) -> None:
    """Percent-encoded; what no field can hold is refused."""
    try:
        proxy = read_proxy(f"http://{quote(user, safe='')}:{quote(password, safe='')}@h:1")
    except UnitError as error:
        assert "control characters" in error.remedy  # noqa: PT017 - it is the only exception
        assert any(ord(char) < 32 or ord(char) == 127 for char in user + password)
    else:
        assert proxy.authorization is not None
        assert b64decode(proxy.authorization[6:]) == f"{user}:{password}".encode()


@pytest.mark.parametrize(
    ("value", "said", "hint"),
    [
        ("https://proxy:3128", "write http://: a proxy is spoken to in the clear, and vendors with TLS through it", ""),
        ("socks5h://proxy:1080", "give the http:// url of an HTTP proxy: SOCKS is not spoken", ""),
        ("proxy:3128", "write http://host:port, or http://user", "write http://proxy:3128"),
        ("http://proxy:3128/x?y#z", "write http://host:port, or http://user", "write http://proxy:3128"),
        ("http://proxy", "write http://host:port, or http://user", "write its port, too: http://host:3128"),
        ("http://u:p@ss@proxy:1", "in user and password %40 for @, %2F for /, %25 for %", ""),
        ("http://u:p/ss@proxy:1", "in user and password %40 for @, %2F for /, %25 for %", ""),
        ("http://u:p%ss@proxy:1", "in user and password %40 for @, %2F for /, %25 for %", ""),
        ("http://@proxy:1", "see that user and password are not empty, or take the @ out", ""),
        ("http://:@proxy:1", "see that user and password are not empty, or take the @ out", ""),
        ("http://a%3Ab:c@proxy:1", "take the colon out of the user's name", ""),
        ("http://a:c%0D%0Ax@proxy:1", "take control characters (%0A and the like) out of them", ""),
        ("http://proxy:0", "the port is a number from 1 to 65535", ""),
        ("http://proxy:65536", "the port is a number from 1 to 65535", ""),
        ("http://1.2.3:80", "the port is a number from 1 to 65535", ""),
        ("", "write http://host:port, or http://user", ""),
        (3128, "write http://host:port, or http://user", ""),
        (None, "write http://host:port, or http://user", ""),
    ],
)
def test_what_is_no_proxy(value: object, said: str, hint: str) -> None:
    """One scheme, a port, and the ways out of each mistake."""
    message, told = refused(read_proxy, value)
    assert said in message
    assert told == hint


def test_the_word_stays() -> None:
    """An api may say `off` where all others have a proxy."""
    assert write_proxy("off") == "off"


def test_destinations_are_what_egress_takes() -> None:
    """Its own words say what to write instead; they may have the value in them, and are a hint."""
    pattern = read_destination("*.Example.com:443")
    assert pattern == Pattern("*.Example.com:443", host="*.example.com", port=443)
    assert write_pattern(pattern) == "*.Example.com:443"
    assert read_destination("fd00::/8").network == ip_network("fd00::/8")
    message, hint = refused(read_destination, "10.1.2.3/8")
    assert message.startswith("a host, an address or a network; write api.example.com, '*.example.com', 10.0.0.0/8")
    assert hint == "write 10.0.0.0/8"
    assert refused(read_destination, "0x7f.1")[1] == "write 127.0.0.1"
    assert refused(read_destination, "fe80::1%eth0")[1].startswith("write the address without its zone")


@pytest.mark.parametrize("value", [None, True, 80, [], {}])
def test_what_is_no_text_is_no_destination(value: object) -> None:
    """Nor the name of a host."""
    assert refused(read_destination, value)[0].startswith("a host, an address or a network; write api.example.com")
    assert refused(read_names, value)[0].startswith("the name of a host; write a name such as")


@pytest.mark.parametrize(
    ("value", "said", "hint"),
    [
        ("1.2.3.4", "for all below it: in TLS, a client gives the name", ""),
        ("10.0.0.0/8", "for all below it: in TLS, a client gives the name", ""),
        ("x.example:443", "write a name such as api.example.com", "write x.example: it holds for every port"),
        ("https://x.example", "write a name such as api.example.com", "write its host alone"),
        ("*", "write a name such as api.example.com", ""),
    ],
)
def test_what_passes_through_is_known_by_name(value: str, said: str, hint: str) -> None:
    """An address or a port is nothing that a ClientHello says."""
    message, told = refused(read_names, value)
    assert message.startswith("the name of a host; write a name such as api.example.com")
    assert (said in message, told) == (True, hint)


def test_names_may_be_all_below_one() -> None:
    """As they are sent, not as they are spelt."""
    assert read_names("*.Pinned.example").host == "*.pinned.example"


@pytest.mark.parametrize("value", ["x", "Bearer sk-1", "a=b;c", "!~"])
def test_a_secret_is_what_a_field_can_hold(value: str) -> None:
    """One line of visible text."""
    assert read_secret(value) == value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "a credential; write ${file:/path} or ${env:NAME}, and see that it is not empty"),
        ("  \n", "a credential; write ${file:/path} or ${env:NAME}, and see that it is not empty"),
        (None, "a credential; write ${file:/path} or ${env:NAME}, and see that it is not empty"),
        ("s3cret\ns3cret", "one line; check that it is the right file: a credential is one line"),
        ("s3cret\rs3cret", "one line; check that it is the right file: a credential is one line"),
        (" s3cret", "a credential without blanks around it; take them away, also in the file that it comes from"),
        ("s3cret\n", "a credential without blanks around it; take them away, also in the file that it comes from"),
        ("s3cret\u200b", "visible ASCII; look for accents, typographic quotes and invisible characters in it"),
        ("\ufeffs3cret", "visible ASCII; look for accents, typographic quotes and invisible characters in it"),
        ("s3\0cret", "visible ASCII; look for accents, typographic quotes and invisible characters in it"),
        (123, "text; put it in quotes, or write ${file:/path} or ${env:NAME}"),
        (False, "text; put it in quotes, or write ${file:/path} or ${env:NAME}"),
    ],
)
def test_what_is_no_secret(value: object, said: str) -> None:
    """Each for its own reason, and nothing of it is said."""
    assert refused(read_secret, value) == (said, "")


def test_a_proxy_does_not_show_what_it_hears() -> None:
    """Settings are logged one day."""
    assert repr(read_proxy("http://u:s3cret@h:1")) == repr(UpstreamProxy("h", 1, b"x"))
