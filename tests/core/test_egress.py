"""Tests of which destinations may be reached: the order of the rules, and ways around them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.egress import (
    Decision,
    EgressSettings,
    Pattern,
    Via,
    judge_address,
    judge_name,
    judge_unresolved,
    normal_name,
    parse_pattern,
    passes_through,
)
from tests.support.properties import examples

PUBLIC: Final = "93.184.215.14"
OWN: Final = (("127.0.0.1", 7070), ("0.0.0.0", 9464), ("10.1.2.3", 7072))
FEW: Final = settings(max_examples=examples(80))


def rules(
    *, allow: Sequence[str] = (), deny: Sequence[str] = (), unlisted: str = "allow", private: str = "auto"
) -> EgressSettings:
    return EgressSettings(unlisted, private, tuple(map(parse_pattern, allow)), tuple(map(parse_pattern, deny)))


def judged(
    settings: EgressSettings, address: str, host: str | None = None, port: int = 443, via: Via = Via.FORWARD
) -> tuple[str, str]:
    decision = judge_address(settings, host, address, port, via, own=OWN)
    return decision.verdict, decision.rule


def named(settings: EgressSettings, host: str, port: int = 443, via: Via = Via.FORWARD) -> str | None:
    decision = judge_name(settings, host, port, via, own=OWN)
    assert decision is None or decision.verdict == "deny"
    return None if decision is None else decision.rule


# --- patterns


@pytest.mark.parametrize(
    ("text", "host", "network", "port"),
    [
        ("api.example.com", "api.example.com", None, None),
        ("API.Example.COM.", "api.example.com", None, None),
        ("b\u00fccher.example:443", "xn--bcher-kva.example", None, 443),
        ("*.example.com", "*.example.com", None, None),
        ("*.example.com:8443", "*.example.com", None, 8443),
        ("10.0.0.0/8", None, "10.0.0.0/8", None),
        ("10.0.0.0/8:5432", None, "10.0.0.0/8", 5432),
        ("1.2.3.4", None, "1.2.3.4/32", None),
        ("1.2.3.4:80", None, "1.2.3.4/32", 80),
        ("::1", None, "::1/128", None),
        ("FD00::/8", None, "fd00::/8", None),
        ("[::1]", None, "::1/128", None),
        ("[::1]:80", None, "::1/128", 80),
        ("[fd00::/8]:80", None, "fd00::/8", 80),
        ("::ffff:10.0.0.0/104", None, "10.0.0.0/8", None),
        ("::/0", None, "::/0", None),
    ],
)
def test_a_pattern_is_a_host_an_address_or_a_network_and_perhaps_a_port(
    text: str, host: str | None, network: str | None, port: int | None
) -> None:
    """In the spelling that is compared; an IPv4-mapped network is the IPv4 network that its addresses are of."""
    assert parse_pattern(text) == Pattern(text, host, ip_network(network) if network else None, port)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("https://api.example.com", "is a URL; write its host"),
        ("*", "write 0.0.0.0/0 and '::/0'"),
        ("api.*.com", "at the beginning"),
        ("*example.com", "whole labels"),
        ("", "is no host"),
        ("a b.example", "is no host"),
        ("a" * 64 + "\u00fc.example", "is no host"),
        ("10.0.0.1/8", "write 10.0.0.0/8"),
        ("10.0.0.0/33", "no address and no network"),
        ("example.com/v1", "no address and no network"),
        ("1:2:3", "no address and no network"),
        ("fe80::1%eth0", "zone id"),
        ("127.1", "is an address; write 127.0.0.1"),
        ("api.example.com:", "write a number from 1 to 65535"),
        ("api.example.com:https", "write a number from 1 to 65535"),
        ("1.2.3.4:0", "write a number from 1 to 65535"),
        ("1.2.3.4:65536", "write a number from 1 to 65535"),
        ("1.2.3.4:000443", "write a number from 1 to 65535"),
        ("[::1", "no address in brackets"),
        ("[::1]80", "no address in brackets"),
        ("[1.2.3.4]:80", "without brackets"),
    ],
)
def test_what_is_no_pattern_is_refused_with_what_to_write(text: str, complaint: str) -> None:
    """Nothing is guessed: a list that says less than it seems to is worse than none."""
    with pytest.raises(ValueError, match=re.escape(complaint)):
        parse_pattern(text)


@FEW
@given(text=st.text(alphabet="*.:/[]%0127af:xn-\u00fc ", max_size=24))
def test_any_text_is_a_pattern_or_is_refused(text: str) -> None:
    """And a pattern is of a host or of a network, never of both or of none."""
    with suppress(ValueError):
        pattern = parse_pattern(text)
        assert (pattern.host is None) != (pattern.network is None)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("API.Example.com.", "api.example.com"),
        ("_srv.a-b.example", "_srv.a-b.example"),
        ("B\u00dcCHER.example", "xn--bcher-kva.example"),
        ("\uff41.example", "a.example"),
        (".", None),
        ("a..b", None),
        ("a b", None),
        ("a@b", None),
        ("a\x00b", None),
        ("a." * 130 + "b", None),
        ("\u00fc" * 70, None),
    ],
)
def test_a_name_has_one_spelling(host: str, name: str | None) -> None:
    """The one that DNS compares; None if it is no name at all."""
    assert normal_name(host) == name


# --- the order of the rules


@pytest.mark.parametrize(
    ("address", "port", "rule"),
    [
        ("127.0.0.1", 7070, "own_listener"),
        ("::ffff:127.0.0.1", 7070, "own_listener"),
        ("64:ff9b::7f00:1", 7070, "own_listener"),
        ("0.0.0.0", 7070, "own_listener"),
        ("::", 7070, "own_listener"),
        ("127.0.0.2", 9464, "own_listener"),
        ("::1", 9464, "own_listener"),
        ("10.1.2.3", 9464, "own_listener"),
        ("10.1.2.3", 7072, "own_listener"),
        ("10.1.2.4", 9464, "private_networks"),
        ("127.0.0.2", 7070, "private_networks"),
        ("127.0.0.1", 7071, "private_networks"),
    ],
)
def test_its_own_listeners_are_out_of_reach(address: str, port: int, rule: str) -> None:
    """Whatever allows them; one that listens at every address is at each that is known to be local."""
    for host in ("localhost", None):
        assert judged(rules(), address, host, port) == ("deny", rule)
    lists = rules(allow=["0.0.0.0/0", "::/0", "localhost"], private="allow")
    still_denied = rule == "own_listener"
    for via in Via:
        assert (judged(lists, address, "localhost", port, via) == ("deny", "own_listener")) == still_denied


@pytest.mark.parametrize("via", list(Via))
@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "::ffff:a9fe:a9fe", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "fd00:ec2::254", "168.63.129.16"],
)
def test_metadata_is_refused_whatever_allows_the_rest(address: str, via: Via) -> None:
    """A network or a name in ``allow`` is no decision about the credentials of the machine."""
    everything = rules(allow=["0.0.0.0/0", "::/0", "*.internal", "169.254.169.254:81"], private="allow")
    assert judged(everything, address, "metadata.google.internal", 80, via) == ("deny", "metadata")


@pytest.mark.parametrize("entry", ["169.254.170.23", "169.254.170.23:80"])
@pytest.mark.parametrize("via", list(Via))
def test_metadata_is_allowed_by_its_very_address(entry: str, via: Via) -> None:
    """As EKS Pod Identity needs it, in either spelling, at a port that fits; and this address alone."""
    lists = rules(allow=[entry], unlisted="deny")
    for address in ("169.254.170.23", "::ffff:169.254.170.23"):
        assert judged(lists, address, None, 80, via) == ("allow", f"allow: {entry}")
    assert judged(lists, "169.254.169.254", None, 80, via) == ("deny", "metadata")


def test_deny_comes_before_allow() -> None:
    """By name, by address, by what an address holds; even for the upstream of an api."""
    lists = rules(
        allow=["api.example.com", "169.254.169.254"], deny=["*.example.com:25", "93.184.0.0/16", "169.254.0.0/16"]
    )
    assert judged(lists, "8.8.8.8", "api.example.com", 25) == ("deny", "deny: *.example.com:25")
    assert judged(lists, "8.8.8.8", "api.example.com") == ("allow", "allow: api.example.com")
    assert judged(lists, PUBLIC, "api.example.com", via=Via.API) == ("deny", "deny: 93.184.0.0/16")
    assert judged(lists, "64:ff9b::5db8:d70e") == ("deny", "deny: 93.184.0.0/16")
    assert judged(lists, "169.254.169.254") == ("deny", "deny: 169.254.0.0/16")


@pytest.mark.parametrize(
    ("address", "verdict"),
    [
        ("10.0.0.7", "allow"),
        ("64:ff9b::a00:7", "allow"),
        ("2002:a00:7::1", "allow"),
        ("2001:0:a00:7::f5ff:fff8", "allow"),  # Teredo with 10.0.0.7 at both ends
        ("2001:0:a00:7::3f57:fffe", "deny"),  # with 192.168.0.1 behind it
        ("11.0.0.7", "deny"),
    ],
)
def test_allow_has_to_know_where_an_address_ends(address: str, verdict: str) -> None:
    """An address that may lead to several is allowed only if all of them are."""
    assert judged(rules(allow=["10.0.0.0/8"], unlisted="deny"), address)[0] == verdict


def test_the_upstream_of_an_api_may_be_private_and_need_not_be_listed() -> None:
    """The operator has named it."""
    assert judged(rules(unlisted="deny", private="deny"), "10.0.0.7", "vendor", via=Via.API) == ("allow", "api")


@pytest.mark.parametrize(
    ("private", "via", "verdict"),
    [
        ("auto", Via.FORWARD, "deny"),
        ("auto", Via.TRANSPARENT, "allow"),
        ("allow", Via.FORWARD, "allow"),
        ("deny", Via.TRANSPARENT, "deny"),
    ],
)
@pytest.mark.parametrize("address", ["10.0.0.7", "::1", "64:ff9b::a00:7", "fe80::1%eth0"])
def test_private_networks_are_for_those_who_resolve_for_themselves(
    private: str, via: Via, verdict: str, address: str
) -> None:
    """auto: a name that the agent gives to a proxy may come from anywhere; an address of its own is its network's."""
    assert judged(rules(private=private), address, "db.example", via=via)[0] == verdict


def test_a_host_in_allow_passes_the_rule_of_private_networks() -> None:
    """The recipe for a service of one's own beside the agent."""
    assert judged(rules(allow=["db.internal:5432"]), "10.0.0.7", "DB.internal.", 5432)[0] == "allow"
    assert judged(rules(allow=["db.internal:5432"]), "10.0.0.7", "db.internal", 22) == ("deny", "private_networks")


@pytest.mark.parametrize("unlisted", ["allow", "report", "deny"])
def test_what_no_rule_knows_is_unlisted(unlisted: str) -> None:
    """Allowed, reported or denied, also where private networks are allowed."""
    for via, address in ((Via.FORWARD, PUBLIC), (Via.TRANSPARENT, "10.0.0.7")):
        assert judged(rules(unlisted=unlisted), address, "x.example", via=via) == (unlisted, "unlisted")


def test_a_wildcard_is_what_is_below_a_name() -> None:
    """Not the name itself, nor one that merely ends alike."""
    lists = rules(allow=["*.example.com"], unlisted="deny")
    verdicts = [judged(lists, PUBLIC, host)[0] for host in ("a.example.com", "a.b.Example.com.", "example.com")]
    assert verdicts == ["allow", "allow", "deny"]
    assert judged(lists, PUBLIC, "evil-example.com")[0] == "deny"


# --- names


@pytest.mark.parametrize("host", ["0xa9fea9fe", "2852039166", "0251.0376.0251.0376", "[::ffff:a9fe:a9fe]"])
def test_an_address_as_host_is_judged_as_an_address(host: str) -> None:
    """In every spelling, before anything is resolved; and no pattern of a name fits it."""
    assert named(rules(), host) == "metadata"
    assert named(rules(), "0x7f.1", 7070) == "own_listener"
    assert named(rules(), "93.184.215.14") is None
    assert judged(rules(allow=["*.1"], unlisted="deny"), "127.0.0.1", "127.0.0.1")[0] == "deny"


@pytest.mark.parametrize("host", ["", "a b", "fe80::1%eth0", "a/b", "user@host", "[::1", "a..b", "x" * 300])
def test_what_is_no_host_is_refused(host: str) -> None:
    """It would be resolved, logged and sent to proxies as something else by each of them."""
    assert named(rules(), host) == "not_a_host"


def test_a_name_is_refused_at_once_only_if_no_address_could_change_it() -> None:
    """In deny, or unlisted with nothing in allow that its address may be in."""
    assert named(rules(deny=["*.evil.example"]), "a.EVIL.example") == "deny: *.evil.example"
    assert named(rules(), "x.example") is None
    closed = rules(unlisted="deny", allow=["api.example", "10.0.0.0/8:5432"])
    assert [named(closed, host) for host in ("x.example", "api.example")] == ["unlisted", None]
    assert named(closed, "x.example", 5432) is None
    assert named(closed, "x.example", via=Via.API) is None


@pytest.mark.parametrize(
    ("host", "lists", "expected"),
    [
        ("x.example", rules(), ("allow", "unlisted")),
        ("x.example", rules(unlisted="report"), ("report", "unlisted")),
        ("x.example", rules(unlisted="deny", allow=["10.0.0.0/8"]), ("deny", "unlisted")),
        ("x.example", rules(unlisted="deny", allow=["x.example"]), ("allow", "allow: x.example")),
        ("x.example", rules(deny=["x.example"]), ("deny", "deny: x.example")),
        ("metadata.google.internal", rules(allow=["*.google.internal"]), ("deny", "metadata")),
        ("metadata.goog", rules(allow=["metadata.goog"]), ("allow", "allow: metadata.goog")),
        ("Localhost.", rules(), ("deny", "private_networks")),
        ("localhost", rules(private="allow"), ("allow", "unlisted")),
        ("010.0.0.09", rules(), ("deny", "private_networks")),
        ("0xa9fea9fe", rules(), ("deny", "metadata")),
        ("010.8.8.8", rules(), ("deny", "not_a_host")),
        ("93.184.215.14", rules(), ("allow", "unlisted")),
        ("2606:4700::0:1111", rules(), ("allow", "unlisted")),
    ],
)
def test_a_name_that_another_proxy_resolves_is_judged_by_itself(
    host: str, lists: EgressSettings, expected: tuple[str, str]
) -> None:
    """What is known of names has to do: no address will be seen, and none in allow can be counted on."""
    decision = judge_unresolved(lists, host, 443, Via.FORWARD)
    assert (decision.verdict, decision.rule) == expected


def test_the_upstream_of_an_api_is_reached_through_a_proxy() -> None:
    """A name inside of the corporate network, for instance."""
    assert judge_unresolved(rules(unlisted="deny"), "localhost", 80, Via.API).rule == "api"


def test_hosts_are_passed_through_by_name() -> None:
    """At any port, and never by an address."""
    lists = EgressSettings(pass_through=(parse_pattern("*.pinned.example"), parse_pattern("bank.example:443")))
    assert [passes_through(lists, host) for host in ("a.Pinned.example", "bank.example")] == [True, True]
    assert [passes_through(lists, host) for host in ("pinned.example", "", "1.2.3.4")] == [False, False, False]


# --- for all


ENTRIES: Final = st.sampled_from(
    ["*.example.com", "api.example.com:443", "10.0.0.0/8", "0.0.0.0/0", "::/0", "169.254.0.0/16", "fd00::/8", "::1"]
)
ANY_RULES: Final = st.builds(
    lambda unlisted, private, allow, deny: rules(unlisted=unlisted, private=private, allow=allow, deny=deny),
    st.sampled_from(["allow", "report", "deny"]),
    st.sampled_from(["auto", "allow", "deny"]),
    st.lists(ENTRIES, max_size=3),
    st.lists(ENTRIES, max_size=2),
)
ADDRESSES: Final = st.one_of(
    st.sampled_from(["169.254.169.254", "fd20:ce::254", "127.0.0.1", "10.0.0.7", PUBLIC, "::1", "64:ff9b::a9fe:a9fe"]),
    st.ip_addresses().map(str),
)
HOSTS: Final = st.sampled_from(["api.example.com", "example.org", "localhost"])
VIAS: Final = st.sampled_from(list(Via))


@FEW
@given(lists=ANY_RULES, host=HOSTS, address=ADDRESSES, via=VIAS)
def test_a_name_that_is_refused_has_no_address_that_is_not(
    lists: EgressSettings, host: str, address: str, via: Via
) -> None:
    """The early refusal saves a lookup; it never decides otherwise than the addresses would."""
    if named(lists, host, via=via) is not None:
        assert judged(lists, address, host, via=via)[0] == "deny"


@FEW
@given(lists=ANY_RULES, host=HOSTS, address=ADDRESSES, via=VIAS)
def test_the_spelling_of_an_address_changes_nothing(lists: EgressSettings, host: str, address: str, via: Via) -> None:
    """An IPv4 address and its mapped form are one destination."""
    plain = judge_address(lists, host, address, 443, via)
    if ip_address(address).version == 4:
        mapped = judge_address(lists, host, f"::ffff:{address}", 443, via)
        assert (mapped.verdict, mapped.rule) == (plain.verdict, plain.rule)
    assert isinstance(plain, Decision)
    assert plain.why.endswith(".")
