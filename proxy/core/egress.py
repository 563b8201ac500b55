"""Owns which destinations may be reached, and why: by name, by port, by the addresses that a name resolves to.

Called by ``config`` (patterns), ``guard.py`` (every decision) and ``wire`` through it. Nothing is resolved here.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network


class Via(enum.Enum):
    """How a call to a destination came here."""

    FORWARD = "forward"  # absolute-form or CONNECT: the agent chose the name
    TRANSPARENT = "transparent"  # redirected: the agent chose the address, too
    API = "api"  # an upstream that the configuration names


@dataclass(frozen=True, slots=True)
class Pattern:
    """An entry of ``egress.allow``, ``deny`` or ``pass_through``."""

    text: str  # as it was written
    host: str | None = None  # lower case; ``*.example.com`` is every name below it
    network: IPv4Network | IPv6Network | None = None  # an address is a network of one
    port: int | None = None  # any, if None


@dataclass(frozen=True, slots=True)
class EgressSettings:
    """``egress``, parsed."""

    unlisted: str = "allow"  # allow | report | deny
    private_networks: str = "auto"  # auto | allow | deny
    allow: tuple[Pattern, ...] = ()
    deny: tuple[Pattern, ...] = ()
    pass_through: tuple[Pattern, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What may become of a connection, the rule that said so (a metric label), and a sentence for people."""

    verdict: str  # allow | report | deny
    rule: str  # api | allow | deny | metadata | private_networks | unlisted | own_listener ; lists with ": <pattern>"
    why: str
