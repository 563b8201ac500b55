"""Owns the text of the rules that redirect an agent's connections, for nftables and for iptables. Used by redirect.py.

Of what is made in the network namespace that agent and Backstay share (a pod):

==============================================  ====================================================================
by Backstay's own user                          passes: what Backstay sends is never caught again
to this machine itself (it leaves by ``lo``)    passes: loopback, and the pod's own address
to an excluded network or port, or to DNS       passes
a new TCP connection                            is redirected to the transparent port, over IPv4 and IPv6
UDP to port 443                                 is rejected, so that clients of HTTP/3 fall back to TCP at once
==============================================  ====================================================================

Only a SYN is redirected, so connections that are open already stay as they are. The rules stand in a table (nftables)
or in chains (iptables) of Backstay's own name, and nothing else is touched: to apply twice is to apply once, and to
remove is to remove all of it. With nftables either is one transaction; with iptables the rules of each table are
replaced in one, and used only when they are complete.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import Final, TypeAlias

_Network: TypeAlias = IPv4Network | IPv6Network

_DNS: Final = 53
_QUIC: Final = 443
_CHAIN: Final = "BACKSTAY"
_TABLE: Final = ("table", "inet", "backstay")
_LOCK: Final = ("-w", "5")  # seconds to wait for whoever else is changing rules
_NFT: Final = """\
table inet backstay
delete table inet backstay
table inet backstay {{
  chain connections {{
    type nat hook output priority -100; policy accept;
{tcp}
  }}
  chain datagrams {{
    type filter hook output priority 0; policy accept;
{udp}
  }}
}}
"""  # it is declared first, so that there is one to delete
_IPTABLES: Final = """\
*nat
:BACKSTAY - [0:0]
{tcp}
COMMIT
*filter
:BACKSTAY - [0:0]
{udp}
COMMIT
"""


@dataclass(frozen=True, slots=True)
class Step:
    """One command. ``check``: run it only if that one succeeds; ``unless``: only if that one fails."""

    argv: tuple[str, ...]
    stdin: str = ""
    check: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()

    def __str__(self) -> str:
        line = shlex.join(self.argv)
        if self.check:
            return f"if {shlex.join(self.check)} >/dev/null 2>&1; then {line}; fi"
        if self.unless:
            return f"{shlex.join(self.unless)} >/dev/null 2>&1 || {line}"
        return f"{line} <<'END'\n{self.stdin}END"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. ``trial`` changes nothing, and fails where ``apply`` would."""

    tool: str
    trial: tuple[Step, ...]
    apply: tuple[Step, ...]
    remove: tuple[Step, ...]

    def script(self) -> str:
        """``apply``, for a shell."""
        return "\n".join(["set -e", *map(str, self.apply)])


def plan(
    *,
    uid: int,
    port: int,
    exclude_ports: Sequence[int] = (),
    exclude_networks: Sequence[str] = (),
    tool: str,
    ipv6: bool = True,
) -> Plan:
    """The rules for one tool; ``ipv6`` is asked by iptables alone. Raises ValueError: an argument makes no sense."""
    if not 0 <= uid < 2**32 - 1:
        raise ValueError(f"--uid: {uid} is no user id")
    passing = [_Rule(f"meta skuid {uid}", f"-m owner --uid-owner {uid}"), _Rule('oifname "lo"', "-o lo")]
    passing += [_to_network(network) for network in _networks(exclude_networks)]
    ports = sorted({_port("--exclude-port", number) for number in exclude_ports} | {_DNS})
    tcp = [*passing, *(_Rule(f"tcp dport {each}", f"-p tcp --dport {each}") for each in ports)]
    rules = _Rules(tcp, passing, _port("--port", port), quic=_QUIC not in ports)
    if tool == "nft":
        return _nft(rules)
    families = [_Family(tool, 4), _Family(tool, 6)][: 1 + ipv6]
    return Plan(
        tool,
        trial=tuple(family.fill(rules, "--test") for family in families),
        apply=tuple(step for family in families for step in family.apply(rules)),
        remove=removal(tool, ipv6=ipv6),
    )


def removal(tool: str, *, ipv6: bool = True) -> tuple[Step, ...]:
    """What takes away all that ``plan`` of the same tool makes, whatever its arguments were."""
    if tool == "nft":
        return (Step(("nft", "delete", *_TABLE), check=("nft", "list", *_TABLE)),)
    families = [_Family(tool, 4), _Family(tool, 6)][: 1 + ipv6]
    return tuple(step for family in families for step in family.remove())


def _port(option: str, number: int) -> int:
    if not 0 < number < 65536:
        raise ValueError(f"{option}: {number} is no port: they go from 1 to 65535")
    return number


def _networks(texts: Iterable[str]) -> list[_Network]:
    """Those that do not lie within another. A zone (``fe80::%eth0``) may be any text, lines of other rules included."""
    four: list[IPv4Network] = []
    six: list[IPv6Network] = []
    for text in texts:
        try:
            network = ip_network(text)
        except ValueError as error:
            raise ValueError(f"--exclude-network: {error}: write 10.0.0.0/8 or fd00::/8, or one address") from None
        if "%" in text:
            raise ValueError(f"--exclude-network: {text!r} has a zone: write it without the % and what follows")
        if isinstance(network, IPv4Network):
            four.append(network)
        else:
            six.append(network)
    return [*collapse_addresses(four), *collapse_addresses(six)]


@dataclass(frozen=True, slots=True)
class _Rule:
    """What passes, in both languages; ``family`` is the IP version that it is of, 0 for both."""

    nft: str
    iptables: str
    family: int = 0


@dataclass(frozen=True, slots=True)
class _Rules:
    tcp: Sequence[_Rule]  # what passes
    udp: Sequence[_Rule]  # "
    port: int
    quic: bool  # is rejected


def _to_network(network: _Network) -> _Rule:
    return _Rule(f"ip{'6' * (network.version == 6)} daddr {network}", f"-d {network}", network.version)


# --- nftables


def _nft(rules: _Rules) -> Plan:
    tcp = [f"{rule.nft} return" for rule in rules.tcp]
    tcp.append(f"tcp flags & (fin | syn | rst | ack) == syn redirect to :{rules.port}")
    udp = [f"{rule.nft} return" for rule in rules.udp]
    udp += [f"udp dport {_QUIC} reject with icmpx type port-unreachable"] * rules.quic
    text = _NFT.format(tcp=_lines(tcp, "    "), udp=_lines(udp, "    "))
    return Plan(
        "nft",
        trial=(Step(("nft", "-c", "-f", "-"), text),),
        apply=(Step(("nft", "-f", "-"), text),),
        remove=removal("nft"),
    )


def _lines(rules: Iterable[str], before: str) -> str:
    return "\n".join(before + rule for rule in rules)


# --- iptables and ip6tables


@dataclass(frozen=True, slots=True)
class _Family:
    """One of the two, of a variant: ``iptables``, ``iptables-nft``, ``iptables-legacy``."""

    tool: str
    version: int

    @property
    def name(self) -> str:
        return self.tool if self.version == 4 else "ip6" + self.tool.removeprefix("ip")

    def fill(self, rules: _Rules, *options: str) -> Step:
        """The chains, made or replaced."""
        unreachable = "icmp-port-unreachable" if self.version == 4 else "icmp6-port-unreachable"
        tcp = [f"{rule} -j RETURN" for rule in self._own(rules.tcp)]
        tcp.append(f"-p tcp --syn -j REDIRECT --to-ports {rules.port}")
        udp = [f"{rule} -j RETURN" for rule in self._own(rules.udp)]
        udp += [f"-p udp --dport {_QUIC} -j REJECT --reject-with {unreachable}"] * rules.quic
        append = f"-A {_CHAIN} "
        text = _IPTABLES.format(tcp=_lines(tcp, append), udp=_lines(udp, append))
        return Step((f"{self.name}-restore", *_LOCK, *options, "--noflush"), text)

    def _own(self, rules: Iterable[_Rule]) -> Iterator[str]:
        return (rule.iptables for rule in rules if rule.family in {0, self.version})

    def apply(self, rules: _Rules) -> Iterator[Step]:
        """Fill the chains, then jump to them."""
        yield self.fill(rules)
        for table in ("nat", "filter"):
            yield Step(self._run(table, "-A", *_JUMP), unless=self._run(table, "-C", *_JUMP))

    def remove(self) -> Iterator[Step]:
        """No longer jump to the chains, then take them away."""
        for table in ("nat", "filter"):
            yield Step(self._run(table, "-D", *_JUMP), check=self._run(table, "-C", *_JUMP))
            there = self._run(table, "-n", "-L", _CHAIN)
            yield Step(self._run(table, "-F", _CHAIN), check=there)
            yield Step(self._run(table, "-X", _CHAIN), check=there)

    def _run(self, table: str, *words: str) -> tuple[str, ...]:
        return (self.name, *_LOCK, "-t", table, *words)


_JUMP: Final = ("OUTPUT", "-j", _CHAIN)
