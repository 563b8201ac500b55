"""Where a connection that netfilter redirected here was going. Called by capture.py.

The kernel keeps it in the connection's conntrack entry; the option that reads it has the same number for IPv4
(linux/netfilter_ipv4.h) and IPv6 (linux/netfilter_ipv6/ip6_tables.h). A connection over IPv4 to a socket of both
families knows it by IPv4's option alone.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address
from typing import Final

_SO_ORIGINAL_DST: Final = 80
_IPV4: Final = struct.Struct("!2xH4s8x")  # sockaddr_in: family, port, address
_IPV6: Final = struct.Struct("!2xH4x16s4x")  # sockaddr_in6: family, port, flow, address, scope
_MAPPED: Final = "::ffff:"


def original_destination(sock: socket.socket) -> tuple[str, int] | None:
    """(address, port); None where the connection was not redirected, or the system knows no such thing."""
    try:
        here, port = sock.getsockname()[:2]
        over_ipv4 = sock.family == socket.AF_INET or here.startswith(_MAPPED)
        level, address = (socket.IPPROTO_IP, _IPV4) if over_ipv4 else (socket.IPPROTO_IPV6, _IPV6)
        there, packed = address.unpack(sock.getsockopt(level, _SO_ORIGINAL_DST, address.size))
    except OSError:
        return None
    found = str(ip_address(packed)), there
    return None if found == (here.removeprefix(_MAPPED), port) else found
