"""Owns what an address is: how it may be spelt, where packets to it may end, and which no agent should reach by chance.

Called by ``core/egress.py`` with the host that an agent names and with each address that a name resolves to.

The same address has many spellings, and some addresses hold another one that a gateway takes out of them. Whoever
judges the text judges nothing: here it becomes a number first, then everything that the number may lead to.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

# --- spellings

_PART: Final = re.compile(r"0[xX][0-9a-fA-F]*|0[0-7]*|[1-9][0-9]{0,9}")


def literal(host: str) -> Address | None:
    """The address that ``host`` is, in whatever spelling a C library takes for one; None if it is a name or neither.

    IPv4 as inet_aton(3) reads it: one to four parts, decimal, octal (0177) or hexadecimal (0x7f). IPv6 in brackets or
    bare, without a zone id: that would name an interface of this machine.
    """
    if host.startswith("["):
        return _ipv6(host[1:-1]) if host.endswith("]") else None
    return _ipv6(host) if ":" in host else _ipv4(host.removesuffix("."))


def _ipv6(text: str) -> IPv6Address | None:
    if "%" in text:
        return None
    try:
        return IPv6Address(text)
    except AddressValueError:
        return None


def _ipv4(text: str) -> IPv4Address | None:
    parts = text.split(".")
    if len(parts) > 4 or not all(_PART.fullmatch(part) for part in parts):
        return None
    *high, last = [_number(part) for part in parts]
    if last >= 256 ** (4 - len(high)) or any(part > 255 for part in high):
        return None
    return IPv4Address(last + sum(part << (24 - 8 * place) for place, part in enumerate(high)))


def _number(part: str) -> int:
    if part[:2] in {"0x", "0X"}:
        return int(part[2:] or "0", 16)  # BSD reads a bare 0x as nothing at all
    return int(part, 8 if part.startswith("0") else 10)


def resolved(address: str) -> Address:
    """An address as the system gives it, less the zone id of a link-local one. Raises ValueError."""
    return ip_address(address.partition("%")[0])


# --- where they lead

_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_EMBEDDING: Final = (
    (IPv6Network("::/96"), 12),  # IPv4-compatible (RFC 4291, 2.5.5.1)
    (IPv6Network("::ffff:0:0:0/96"), 12),  # IPv4-translated (RFC 2765, 2.1)
    (IPv6Network("64:ff9b::/96"), 12),  # NAT64 (RFC 6052, 2.1)
    (IPv6Network("2002::/16"), 2),  # 6to4 (RFC 3056, 2)
    (IPv6Network("2001::/32"), 4),  # Teredo: its server (RFC 4380, 4)
)
"""IPv6 networks, and the octet at which an IPv4 address begins in theirs."""

_TEREDO: Final = IPv6Network("2001::/32")
_LOCAL_NAT64: Final = IPv6Network("64:ff9b:1::/48")  # RFC 8215
_LOCAL_FORMS: Final = ((6, 7, 9, 10), (7, 9, 10, 11), (9, 10, 11, 12), (12, 13, 14, 15))
"""The octets of the IPv4 address behind a prefix of 48, 56, 64 and 96 bits (RFC 6052, 2.2)."""


def inner(address: Address) -> tuple[Address, ...]:
    """Everything that packets to ``address`` may reach: itself, then what a gateway may take out of it.

    An IPv4-mapped address is the IPv4 address and nothing else: no IPv6 packet is ever sent to it.
    """
    if isinstance(address, IPv4Address):
        return (address,)
    packed = address.packed
    if address in _MAPPED:
        return (IPv4Address(packed[12:]),)
    found = [IPv4Address(packed[at : at + 4]) for network, at in _EMBEDDING if address in network]
    if address in _TEREDO:  # the client, each bit of it turned over
        found.append(IPv4Address(bytes(octet ^ 0xFF for octet in packed[12:])))
    if address in _LOCAL_NAT64:
        found += _behind_local_prefix(packed)
    return (address, *found)


def _behind_local_prefix(packed: bytes) -> list[IPv4Address]:
    """What an address may hold when the length of its prefix is the network's own business: each that fits."""
    fitting = [form for form in _LOCAL_FORMS if not any(packed[form[-1] + 1 :])]  # the rest is zero
    found = [IPv4Address(bytes(packed[octet] for octet in form)) for form in fitting]
    return [address for address in found if address not in _THIS_NETWORK]  # a form that was not meant gives zeros


# --- which are nobody's business

_THIS_NETWORK: Final = IPv4Network("0.0.0.0/8")
_NOT_PUBLIC: Final = tuple(
    map(
        IPv4Network,
        (  # IANA IPv4 Special-Purpose Address Registry, what is not globally reachable in it; and what is not unicast
            "0.0.0.0/8",  # this network (RFC 791, 3.2); 0.0.0.0 reaches the machine itself
            "10.0.0.0/8",  # private (RFC 1918)
            "100.64.0.0/10",  # shared by a carrier's customers, and by nodes and pods of some clusters (RFC 6598)
            "127.0.0.0/8",  # loopback (RFC 1122, 3.2.1.3)
            "169.254.0.0/16",  # link-local (RFC 3927)
            "172.16.0.0/12",  # private (RFC 1918)
            "192.0.0.0/24",  # protocol assignments (RFC 6890)
            "192.0.2.0/24",  # documentation (RFC 5737)
            "192.88.99.0/24",  # relays of 6to4 (RFC 7526)
            "192.168.0.0/16",  # private (RFC 1918)
            "198.18.0.0/15",  # benchmarking (RFC 2544)
            "198.51.100.0/24",  # documentation (RFC 5737)
            "203.0.113.0/24",  # documentation (RFC 5737)
            "224.0.0.0/4",  # multicast (RFC 5771)
            "240.0.0.0/4",  # reserved (RFC 1112, 4), and limited broadcast
        ),
    )
)
_PUBLIC_6: Final = (
    IPv6Network("2000::/3"),  # all of the unicast addresses that IANA has given out (RFC 4291, 2.4)
    IPv6Network("64:ff9b::/96"),  # what they hold decides
    _LOCAL_NAT64,  # "
)
_NOT_PUBLIC_6: Final = (  # IANA IPv6 Special-Purpose Address Registry
    IPv6Network("2001:2::/48"),  # benchmarking (RFC 5180)
    IPv6Network("2001:10::/28"),  # ORCHID (RFC 4843)
    IPv6Network("2001:db8::/32"),  # documentation (RFC 3849)
    IPv6Network("3fff::/20"),  # documentation (RFC 9637)
)


def is_private(address: Address) -> bool:
    """Whether an address, taken by itself, is none of the public internet's.

    Of IPv6 that is everything but what is known to be public: loopback, link-local, unique local (RFC 4193), the
    former site-local, multicast, and whatever will be thought of.
    """
    if isinstance(address, IPv4Address):
        return any(address in network for network in _NOT_PUBLIC)
    public = any(address in network for network in _PUBLIC_6)
    return not public or any(address in network for network in _NOT_PUBLIC_6)


_METADATA: Final[dict[Address, str]] = {
    ip_address(address): whose
    for address, whose in (
        # EC2 User Guide, "Access instance metadata"; Compute Engine, "About VM metadata"; Azure, "Instance Metadata
        # Service"; the same address at DigitalOcean, Hetzner, IBM, Oracle, OpenStack, Vultr, Yandex
        ("169.254.169.254", "of AWS, Google Cloud, Azure and others"),
        ("fd00:ec2::254", "of AWS"),  # "
        ("169.254.170.2", "of AWS ECS"),  # Amazon ECS Developer Guide, "Task metadata endpoint"
        (
            "169.254.170.23",
            "of AWS EKS Pod Identity",
        ),  # Amazon EKS User Guide, "Pod Identity Agent setup"
        ("fd00:ec2::23", "of AWS EKS Pod Identity"),  # "
        ("fd20:ce::254", "of Google Cloud"),  # Compute Engine, "Query metadata", machines with IPv6 alone
        ("169.254.169.252", "of GKE"),  # GKE, "About Workload Identity Federation": the metadata server of the node
        ("168.63.129.16", "of Azure (WireServer)"),  # Azure, "What is IP address 168.63.129.16?"
        ("100.100.100.200", "of Alibaba Cloud"),  # ECS User Guide, "View instance metadata"
        ("fd00:100::100:200", "of Alibaba Cloud"),  # "
        ("192.0.0.192", "of Oracle Cloud"),  # Compute Classic, "Retrieve instance metadata"
        ("fd00:c1::a9fe:a9fe", "of Oracle Cloud"),  # OCI, "Getting instance metadata"
        ("fe80::a9fe:a9fe", "of OpenStack and Huawei Cloud"),  # Nova, "Metadata service"
        ("169.254.42.42", "of Scaleway"),  # cloud-init, datasource Scaleway
        ("fd00:42::42", "of Scaleway"),  # "
        ("fd00:a9fe:a9fe::1", "of Akamai"),  # cloud-init, datasource Akamai
        ("169.254.0.23", "of Tencent Cloud"),  # CVM, "Instance metadata": metadata.tencentyun.com
        ("169.254.169.250", "of Rancher"),  # Rancher 1.6, "Metadata service"
    )
}

_METADATA_NAMES: Final = frozenset(
    {
        "metadata",
        "metadata.google.internal",
        "metadata.goog",
        "instance-data",
        "instance-data.ec2.internal",
        "metadata.azure.internal",
        "metadata.tencentyun.com",
        "rancher-metadata",
    }
)


_NUMBER: Final = re.compile(r"0x[0-9a-f]*|[0-9]+")


def metadata_service(address: Address) -> str | None:
    """Whose service for machine credentials answers at this address, for people; None if none is known to."""
    return _METADATA.get(address)


def is_metadata_name(name: str) -> bool:
    """Whether a (normalised) name is one that clouds give such a service: for where no address is seen."""
    return name in _METADATA_NAMES


def is_private_name(name: str) -> bool:
    """Whether a (normalised) name leads to whoever resolves it, or is a number that not all read alike.

    For where no address is seen. RFC 6761, 6.3: localhost and all below it are loopback.
    """
    last = name.rpartition(".")[2]
    return last == "localhost" or _NUMBER.fullmatch(last) is not None
