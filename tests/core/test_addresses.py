"""Tests of what an address is: its spellings, where it leads, and whose it is."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.addresses import (
    inner,
    is_metadata_name,
    is_private,
    is_private_name,
    literal,
    metadata_service,
    resolved,
)
from tests.support.properties import examples

METADATA: Final = IPv4Address("169.254.169.254")
FEW: Final = settings(max_examples=examples(60))


# --- spellings


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.169.254.",
        "2852039166",
        "0xa9fea9fe",
        "0XA9FEA9FE",
        "025177524776",
        "00000000000025177524776",
        "0251.0376.0251.0376",
        "0xa9.0xfe.0xa9.0xfe",
        "0xa9.254.0251.254",
        "169.254.43518",
        "169.16689662",
    ],
)
def test_an_ipv4_address_is_known_in_every_spelling_of_inet_aton(host: str) -> None:
    """Decimal, octal and hexadecimal, in one to four parts: a C library connects to all of them."""
    assert literal(host) == METADATA


@pytest.mark.parametrize(("host", "address"), [("0", "0.0.0.0"), ("0x", "0.0.0.0"), ("127.1", "127.0.0.1")])
def test_short_forms_are_addresses_too(host: str, address: str) -> None:
    """What is left out is zero."""
    assert literal(host) == ip_address(address)


@pytest.mark.parametrize(
    "host",
    [
        *("", ".", "..", "api.example.com", "1.2.3.4.5", "256.1.1.1", "1.2.3.256", "1.2.65536", "4294967296"),
        *("08.1.1.1", "1..2", "1.2.3.4 ", "-1", "1.2.3.4..", "0xg", "\u0661", "9" * 5000),
        *("::1%lo", "fe80::1%25eth0", "[::1", "[::1%lo]", ":::", "[1.2.3.4]", "[]"),
    ],
)
def test_what_is_no_address_is_none(host: str) -> None:
    """A name, or nothing at all: too many parts, too large ones, digits of another base or script, a zone id."""
    assert literal(host) is None


@pytest.mark.parametrize("host", ["::ffff:169.254.169.254", "[::ffff:a9fe:a9fe]", "0:0:0:0:0:FFFF:A9FE:A9FE"])
def test_an_ipv6_address_comes_in_brackets_or_bare(host: str) -> None:
    """All spellings are one number."""
    assert literal(host) == IPv6Address("::ffff:a9fe:a9fe")


def test_the_zone_of_an_address_that_the_system_gives_is_left_out() -> None:
    """A resolver adds it to link-local addresses; it is no part of what is judged."""
    assert resolved("fe80::1%eth0") == IPv6Address("fe80::1")
    with pytest.raises(ValueError, match="example"):
        resolved("example.com")


PARTS: Final = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 4), st.sampled_from(["{}", "0{:o}", "0x{:x}"]))


@FEW
@given(parts=PARTS)
def test_every_number_reads_back_from_every_form(parts: tuple[int, int, str]) -> None:
    """One to four parts, in any base, name the same address."""
    number, count, base = parts
    high = [number >> (24 - 8 * place) & 0xFF for place in range(count - 1)]
    last = number & (2 ** (8 * (5 - count)) - 1)
    assert literal(".".join(base.format(part) for part in [*high, last])) == IPv4Address(number)


@FEW
@given(number=st.integers(0, 2**128 - 1))
def test_every_ipv6_address_reads_back(number: int) -> None:
    """In its short and its long form."""
    address = IPv6Address(number)
    assert literal(str(address)) == literal(f"[{address.exploded}]") == address


# --- where they lead


@pytest.mark.parametrize(
    "address",
    [
        "::169.254.169.254",
        "::ffff:0:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a9fe:a9fe",
        "64:ff9b:1:2:3:4:a9fe:a9fe",
        "64:ff9b:1:a9fe:a9:fe00::",
        "64:ff9b:1:2a9:fe:a9fe::",
        "64:ff9b:1:2:a9:fea9:fe00:0",
        "2002:a9fe:a9fe::1",
        "2001:0:a9fe:a9fe::f7f7:f7f7",
        "2001:0:808:808::5601:5601",
    ],
)
def test_an_address_that_a_gateway_takes_out_of_another_one_is_found(address: str) -> None:
    """IPv4-compatible, translated, NAT64 under all its prefixes, 6to4, both ends of Teredo."""
    outer, *held = inner(ip_address(address))
    assert outer == ip_address(address)
    assert METADATA in held


def test_a_mapped_address_is_the_ipv4_address() -> None:
    """It is a spelling, not a place of its own."""
    assert inner(IPv6Address("::ffff:169.254.169.254")) == (METADATA,)


def test_the_forms_of_a_local_prefix_that_give_zeros_are_not_meant() -> None:
    """An address is read in each way that fits, but 0.0.0.0 is no destination behind a gateway."""
    assert inner(IPv6Address("64:ff9b:1::8.8.8.8"))[1:] == (IPv4Address("8.8.8.8"),)


@FEW
@given(address=st.ip_addresses())
def test_an_address_leads_to_itself_first(address: IPv4Address | IPv6Address) -> None:
    """Unless it is only another spelling; and nothing is led to that leads on."""
    first, *held = inner(address)
    assert first == address or (address.version == 6 and first == IPv6Address(address).ipv4_mapped)
    assert all(inner(each) == (each,) for each in held)


# --- whose they are


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.1.2", "169.254.1.1"),
        *("172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1"),
        *("198.19.255.255", "198.51.100.1", "203.0.113.9", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::8.8.8.8", "::ffff:0:8.8.8.8", "100::1", "2001:2::1", "2001:10::1", "2001:db8::1"),
        *("3fff::1", "5f00::1", "fc00::1", "fdff::1", "fe80::1", "febf::1", "fec0::1", "ff02::1", "4000::1"),
    ],
)
def test_what_is_not_of_the_public_internet_is_private(address: str) -> None:
    """The special-purpose registries of IANA; of IPv6 all that was never given out."""
    assert is_private(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.0", "172.15.0.1", "172.32.0.1", "192.0.1.1"),
        *("198.20.0.1", "223.255.255.255", "2606:4700::1111", "2a00:1450::1", "64:ff9b::808:808"),
        *("64:ff9b:1::808:808", "2002:808:808::1"),
    ],
)
def test_what_is_of_the_public_internet_is_not(address: str) -> None:
    """The neighbours of what is private; what gateways translate is judged by what it holds."""
    assert not is_private(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "fd00:ec2::254", "169.254.170.2", "169.254.170.23", "fd00:ec2::23", "fd20:ce::254"),
        *("168.63.129.16", "100.100.100.200", "192.0.0.192"),
    ],
)
def test_metadata_services_are_known(address: str) -> None:
    """Also the ones that are no link-local addresses, of which one is public."""
    assert (metadata_service(ip_address(address)) or "").startswith("of ")


def test_their_neighbours_are_not_metadata() -> None:
    """A list of addresses, not of networks: a name server may live beside them."""
    assert metadata_service(ip_address("169.254.20.10")) is None


def test_names_are_told_where_no_address_is_seen() -> None:
    """What clouds call their metadata service, and what leads to whoever resolves it."""
    assert is_metadata_name("metadata.google.internal")
    assert not is_metadata_name("metadata.example.com")
    assert [is_private_name(name) for name in ("localhost", "a.localhost", "010.0.0.09", "a.0x7f")] == [True] * 4
    assert [is_private_name(name) for name in ("localhost.example", "1password.com", "4chan")] == [False] * 3
