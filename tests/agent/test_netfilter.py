"""The rules as text: what passes comes first, arguments that make no sense are refused."""

from __future__ import annotations

import pytest

from proxy.agent.netfilter import plan

_NFT = """\
set -e
nft -f - <<'END'
table inet backstay
delete table inet backstay
table inet backstay {
  chain connections {
    type nat hook output priority -100; policy accept;
    meta skuid 1337 return
    oifname "lo" return
    ip daddr 10.0.0.0/8 return
    ip6 daddr fd00::/8 return
    tcp dport 53 return
    tcp dport 5432 return
    tcp flags & (fin | syn | rst | ack) == syn redirect to :7071
  }
  chain datagrams {
    type filter hook output priority 0; policy accept;
    meta skuid 1337 return
    oifname "lo" return
    ip daddr 10.0.0.0/8 return
    ip6 daddr fd00::/8 return
    udp dport 443 reject with icmpx type port-unreachable
  }
}
END"""

_IP6TABLES = """\
ip6tables-restore -w 5 --noflush <<'END'
*nat
:BACKSTAY - [0:0]
-A BACKSTAY -m owner --uid-owner 1337 -j RETURN
-A BACKSTAY -o lo -j RETURN
-A BACKSTAY -d fd00::/8 -j RETURN
-A BACKSTAY -p tcp --dport 53 -j RETURN
-A BACKSTAY -p tcp --dport 5432 -j RETURN
-A BACKSTAY -p tcp --syn -j REDIRECT --to-ports 7071
COMMIT
*filter
:BACKSTAY - [0:0]
-A BACKSTAY -m owner --uid-owner 1337 -j RETURN
-A BACKSTAY -o lo -j RETURN
-A BACKSTAY -d fd00::/8 -j RETURN
-A BACKSTAY -p udp --dport 443 -j REJECT --reject-with icmp6-port-unreachable
COMMIT
END
ip6tables -w 5 -t nat -C OUTPUT -j BACKSTAY >/dev/null 2>&1 || ip6tables -w 5 -t nat -A OUTPUT -j BACKSTAY
ip6tables -w 5 -t filter -C OUTPUT -j BACKSTAY >/dev/null 2>&1 || ip6tables -w 5 -t filter -A OUTPUT -j BACKSTAY"""

_NETWORKS = ("10.1.0.0/16", "fd00::/8", "10.0.0.0/8")


def test_the_rules_for_nft() -> None:
    """A network within another is not said twice: nothing but the order of what passes is left to the tool."""
    made = plan(uid=1337, port=7071, exclude_ports=[5432, 53], exclude_networks=_NETWORKS, tool="nft")
    assert made.script() == _NFT


def test_the_rules_for_iptables() -> None:
    """Those of both families, each with its own networks; a chain is jumped to once it is complete."""
    made = plan(uid=1337, port=7071, exclude_ports=[5432], exclude_networks=_NETWORKS, tool="iptables")
    before, _, six = made.script().partition("ip6tables-restore")
    assert "ip6tables-restore" + six == _IP6TABLES
    assert before.startswith("set -e\niptables-restore -w 5 --noflush <<'END'\n*nat\n")
    assert "-d 10.0.0.0/8 -j RETURN" in before
    assert "fd00" not in before


def test_a_system_without_ipv6() -> None:
    """There ip6tables fails, and has nothing to do."""
    made = plan(uid=1337, port=7071, tool="iptables-legacy", ipv6=False)
    programs = {step.argv[0] for step in (*made.trial, *made.apply, *made.remove)}
    assert programs == {"iptables-legacy", "iptables-legacy-restore"}


def test_the_variants_of_iptables_have_their_own_programs() -> None:
    """Rules of one are not seen by the other."""
    made = plan(uid=1337, port=7071, tool="iptables-nft")
    assert [step.argv[0] for step in made.trial] == ["iptables-nft-restore", "ip6tables-nft-restore"]


@pytest.mark.parametrize("tool", ["nft", "iptables"])
def test_where_port_443_is_excluded_so_is_http3(tool: str) -> None:
    """What is not caught needs no falling back."""
    assert "443 reject" not in plan(uid=1, port=7071, exclude_ports=[443], tool=tool).script().lower()


def test_what_is_removed_depends_on_no_argument() -> None:
    """Rules of an earlier configuration are found by the name of their table or chain."""
    one = plan(uid=1, port=1, exclude_ports=[1], exclude_networks=["::/1"], tool="iptables")
    assert one.remove == plan(uid=2, port=2, tool="iptables").remove
    assert [str(step) for step in plan(uid=1, port=1, tool="nft").remove] == [
        "if nft list table inet backstay >/dev/null 2>&1; then nft delete table inet backstay; fi"
    ]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"uid": -1}, "--uid: -1 is no user id"),
        ({"uid": 2**32 - 1}, "no user id"),
        ({"port": 0}, "--port: 0 is no port"),
        ({"exclude_ports": [65536]}, "--exclude-port: 65536 is no port"),
        ({"exclude_networks": ["10.0.0.1/8"]}, "--exclude-network: 10.0.0.1/8 has host bits set: write "),
        ({"exclude_networks": ["fe80::%a\nflush ruleset #/64"]}, r"'fe80::%a\\nflush ruleset #/64' has a zone: write "),
        ({"exclude_networks": ["api.example"]}, "--exclude-network: 'api.example' .* IPv4 or IPv6 network: write "),
    ],
)
def test_arguments_that_make_no_sense(changes: dict[str, object], why: str) -> None:
    """They are refused before anything is run, by the name of the option."""
    with pytest.raises(ValueError, match=why):
        plan(**{"uid": 1337, "port": 7071, "tool": "nft", **changes})  # type: ignore[arg-type]
