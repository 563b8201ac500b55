"""Owns which destinations may be reached, and why: by name, by port, by the addresses that a name resolves to.

Called by ``config`` (patterns), ``guard.py`` (every decision) and ``wire`` through it. Nothing is resolved here.

The first rule that holds decides. A name can be refused before it is resolved, never allowed: its address may still
be one that is not. An address that holds another one (core/addresses.py) is refused for either.

====================  ==========================================================================================
``own_listener``      deny: one of Backstay's own listeners
``metadata``          deny: a cloud's service for machine credentials, unless ``allow`` has that very address
``deny: PATTERN``     deny
``allow: PATTERN``    allow
``api``               allow: the upstream of an api
``private_networks``  deny: not a public address; ``auto`` asks it of names that the agent gave to a proxy, and not
                      of addresses that it resolved itself
``unlisted``          allow, report or deny all the rest
====================  ==========================================================================================

``not_a_host`` is before all of them: what is neither a name nor an address cannot be judged.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network
from typing import Final

from proxy.core.addresses import (
    Address,
    Network,
    inner,
    is_metadata_name,
    is_private,
    is_private_name,
    literal,
    metadata_service,
    resolved,
)

__all__ = [
    "Decision",
    "EgressSettings",
    "Pattern",
    "Via",
    "judge_address",
    "judge_name",
    "judge_unresolved",
    "literal",
    "normal_name",
    "parse_pattern",
    "passes_through",
]


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
    rule: str  # one of the table above
    why: str


# --- names

_NAME: Final = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
_LONGEST: Final = 253  # RFC 1035, 2.3.4, as text


def normal_name(host: str) -> str | None:
    """A name in the one spelling that is compared: lower case, as DNS has it (IDNA), no final dot; None if it is none.

    An IPv4 address looks like a name: ask ``literal`` first.
    """
    try:
        name = host.lower() if host.isascii() else host.encode("idna").decode().lower()
    except UnicodeError:
        return None
    name = name.removesuffix(".")
    return name if len(name) <= _LONGEST and _NAME.fullmatch(name) else None


# --- patterns


def parse_pattern(text: str) -> Pattern:
    """An entry of a list: ``HOST``, ``*.HOST``, ADDRESS or NETWORK, each with ``:PORT`` if it is for one port alone.

    Raises ValueError: what is wrong, and what to write.
    """
    if "://" in text:
        raise ValueError(f"{text!r} is a URL; write its host, or HOST:PORT")
    host, port = _split(text)
    if "/" in host or ":" in host:
        return Pattern(text, network=_network(host), port=port)
    if (address := literal(host)) is not None:
        if host != str(address):
            raise ValueError(f"{host!r} is an address; write {address}")
        return Pattern(text, network=ip_network(address), port=port)
    name = normal_name(host.removeprefix("*."))
    if name is None:
        raise ValueError(f"{text!r} is no host; {_complaint(host)}")
    return Pattern(text, host="*." + name if host.startswith("*.") else name, port=port)


def _complaint(host: str) -> str:
    if host == "*":
        return "for every destination write 0.0.0.0/0 and '::/0'"
    if "*" in host:
        return "a * stands for whole labels at the beginning: '*.example.com'"
    return "write 'api.example.com', '*.example.com', 10.0.0.0/8, each with :PORT or without"


def _split(text: str) -> tuple[str, int | None]:
    """Host and port of a pattern. An IPv6 address with a port is in brackets."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{text!r} is no address in brackets; write '[fd00::1]:443' or '[fd00::/8]:443'")
        if ":" not in host:
            raise ValueError(f"{text!r} has brackets, which are for IPv6; write it without brackets")
        return host, _port(rest[1:], text) if rest else None
    host, colon, port = text.partition(":")
    if not colon or ":" in port:
        return text, None
    return host, _port(port, text)


def _port(digits: str, text: str) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) < 6 and 0 < int(digits) < 65536):
        raise ValueError(f"{text!r} has no port behind its colon; write a number from 1 to 65535, or no colon")
    return int(digits)


def _network(text: str) -> Network:
    if "%" in text:
        raise ValueError(f"{text!r} has a zone id; write the address without its zone (the % and what follows)")
    try:
        network = ip_network(text)
    except ValueError:
        raise ValueError(_network_complaint(text)) from None
    if isinstance(network, IPv6Network) and network.prefixlen >= 96 and network.network_address.ipv4_mapped:
        return IPv4Network((network.network_address.packed[12:], network.prefixlen - 96))  # as its addresses are judged
    return network


def _network_complaint(text: str) -> str:
    try:
        return f"{text!r} has bits behind its prefix; write {ip_network(text, strict=False)}"
    except ValueError:
        return f"{text!r} is no address and no network; write 10.0.0.0/8 or 'fd00::/8'"


def _fits(pattern: Pattern, name: str | None, port: int) -> bool:
    """Whether a pattern names a host."""
    if name is None or pattern.host is None or pattern.port not in {None, port}:
        return False
    if pattern.host.startswith("*."):
        return name.endswith(pattern.host[1:])
    return name == pattern.host


def _holds(pattern: Pattern, address: Address, port: int) -> bool:
    """Whether a pattern has an address in it."""
    return pattern.network is not None and pattern.port in {None, port} and address in pattern.network


# --- decisions


def judge_name(
    settings: EgressSettings, host: str, port: int, via: Via, *, own: Collection[tuple[str, int]] = ()
) -> Decision | None:
    """Why a host must be refused whatever address it has; None: its addresses decide. A literal has one already."""
    if (address := literal(host)) is not None:
        decision = judge_address(settings, None, str(address), port, via, own=own)
        return decision if decision.verdict == "deny" else None
    name = normal_name(host)
    if name is None:
        return Decision("deny", "not_a_host", "It is neither the name of a host nor an address.")
    for pattern in settings.deny:
        if _fits(pattern, name, port):
            return _listed("deny", pattern)
    if via is Via.API or settings.unlisted != "deny":
        return None
    may_be = any(_fits(each, name, port) or (each.network and each.port in {None, port}) for each in settings.allow)
    return None if may_be else _unlisted(settings)


def judge_address(
    settings: EgressSettings,
    host: str | None,
    address: str,
    port: int,
    via: Via,
    *,
    own: Collection[tuple[str, int]] = (),
) -> Decision:
    """What becomes of a connection to ``address``; ``host`` is the name that led there, if one did.

    ``own`` are the addresses and ports of Backstay's own listeners: 0.0.0.0 or :: is every address of this machine, of
    which those of the loopback interface, and all that ``own`` has, are known here. Raises ValueError: no address.
    """
    leads = inner(resolved(address))
    if _is_own(leads, port, own):
        return Decision("deny", "own_listener", f"{address} is a listener of Backstay's own.")
    name = None if host is None or literal(host) is not None else normal_name(host)
    return _judge(settings, name, leads, port, via)


def judge_unresolved(settings: EgressSettings, host: str, port: int, via: Via) -> Decision:
    """What becomes of a connection to a name that another proxy will resolve: no address will be seen here."""
    if (decision := judge_name(settings, host, port, via)) is not None:
        return decision
    if (address := literal(host)) is None:
        return _judge(settings, normal_name(host), (), port, via)
    if isinstance(address, IPv4Address) and host != str(address):  # 010.0.0.1 is 8.0.0.1 to some, 10.0.0.1 to others
        return Decision("deny", "not_a_host", f"Not everyone reads it as {address}: write that.")
    return judge_address(settings, None, str(address), port, via)


def passes_through(settings: EgressSettings, host: str) -> bool:
    """Whether TLS to a host is left as it is, at any port."""
    name = normal_name(host)
    return any(_fits(pattern, name, pattern.port or 0) for pattern in settings.pass_through)


def _judge(settings: EgressSettings, name: str | None, leads: tuple[Address, ...], port: int, via: Via) -> Decision:
    """The table, from ``metadata`` on. ``leads`` is empty where no address is seen."""
    if (why := _metadata(settings, name, leads, port)) is not None:
        return Decision("deny", "metadata", why)
    for pattern in settings.deny:
        if _fits(pattern, name, port) or any(_holds(pattern, lead, port) for lead in leads):
            return _listed("deny", pattern)
    for pattern in settings.allow:
        if _fits(pattern, name, port) or _holds_all(pattern, leads, port):
            return _listed("allow", pattern)
    if via is Via.API:
        return Decision("allow", "api", "It is the upstream of an api.")
    if _minds_private(settings, via) and (why := _private(name, leads)) is not None:
        return Decision("deny", "private_networks", why)
    return _unlisted(settings)


def _metadata(settings: EgressSettings, name: str | None, leads: tuple[Address, ...], port: int) -> str | None:
    for lead in leads:
        whose = metadata_service(lead)
        if whose is not None and not any(_is_literally(pattern, lead, port) for pattern in settings.allow):
            return f"{lead} is the metadata service {whose}, which gives out the credentials of the machine."
    if leads or name is None or not is_metadata_name(name):
        return None
    named = any(pattern.host == name and _fits(pattern, name, port) for pattern in settings.allow)
    return None if named else f"{name} is the name of a metadata service, which gives out credentials of a machine."


def _is_literally(pattern: Pattern, address: Address, port: int) -> bool:
    """Whether a pattern is this one address: no network that happens to have it, no name that led there."""
    network = pattern.network
    return network is not None and network.num_addresses == 1 and _holds(pattern, address, port)


def _holds_all(pattern: Pattern, leads: tuple[Address, ...], port: int) -> bool:
    """Whether a pattern has the address itself, or all that it may lead to: what allows must know where it ends."""
    if not leads:
        return False
    outer, *held = leads
    return _holds(pattern, outer, port) or (bool(held) and all(_holds(pattern, each, port) for each in held))


def _minds_private(settings: EgressSettings, via: Via) -> bool:
    if settings.private_networks == "auto":
        return via is Via.FORWARD
    return settings.private_networks == "deny"


def _private(name: str | None, leads: tuple[Address, ...]) -> str | None:
    for lead in leads:
        if is_private(lead):
            return f"{lead} is not an address of the public internet."
    if not leads and name is not None and is_private_name(name):
        return f"{name} is not a name of the public internet."
    return None


def _is_own(leads: tuple[Address, ...], port: int, own: Collection[tuple[str, int]]) -> bool:
    listeners = {lead for text, number in own if number == port for lead in inner(resolved(text))}
    if not listeners:
        return False
    local = {lead for text, _ in own for lead in inner(resolved(text))}
    everywhere = any(listener.is_unspecified for listener in listeners)
    for lead in leads:
        if lead in listeners or lead.is_unspecified:  # connecting to 0.0.0.0 is connecting to this machine
            return True
        if everywhere and (lead.is_loopback or lead in local):
            return True
    return False


def _listed(verdict: str, pattern: Pattern) -> Decision:
    return Decision(verdict, f"{verdict}: {pattern.text}", f"egress.{verdict} has {pattern.text!r}.")


def _unlisted(settings: EgressSettings) -> Decision:
    if settings.unlisted == "allow":
        return Decision("allow", "unlisted", "No rule forbids it.")
    return Decision(settings.unlisted, "unlisted", "Neither an api nor an entry of egress.allow names it.")
