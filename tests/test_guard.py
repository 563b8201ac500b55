"""Tests of the egress policy at work: what may be connected to, what is counted and what is logged."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias

import pytest

from proxy.clock import Clock
from proxy.core.egress import EgressSettings, Via, parse_pattern
from proxy.errors import EgressDenied
from proxy.guard import Guard, is_address_of_this_machine
from proxy.telemetry.metrics import Registry
from proxy.wire.dial import Way, dial
from tests.support import virtual

PUBLIC: Final = "93.184.215.14"
METADATA: Final = "169.254.169.254"


class Lines(logging.Handler):
    """The lines that were logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append({"msg": record.getMessage(), "level": record.levelname, **record.__dict__})

    def seen(self, *names: str) -> list[tuple[Any, ...]]:
        return [tuple(line[name] for name in names) for line in self.records]


@pytest.fixture
def lines() -> Iterator[Lines]:
    logger, handler = logging.getLogger("backstay.egress"), Lines()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


class Desk:
    """A guard, with what it counts, at a time that the test tells."""

    def __init__(self, settings: EgressSettings, *, local: tuple[str, ...] = ()) -> None:
        self.loop = virtual.VirtualLoop()
        self.registry = Registry()
        self.asked: list[str] = []  # whether they are addresses of this machine
        self._local = local
        self.guard = Guard(virtual.clock_of(self.loop), self.registry, settings, is_local=self.is_local)

    def is_local(self, address: str) -> bool:
        self.asked.append(address)
        return address in self._local

    def counted(self) -> dict[tuple[str, ...], float]:
        return {
            (sample.labels["decision"], sample.labels["rule"]): sample.value
            for family in self.registry.families()
            for sample in family.samples
            if sample.name == "backstay_egress_decisions_total"
        }


@pytest.fixture
def open_desk() -> Iterator[Callable[..., Desk]]:
    opened: list[Desk] = []

    def opening(
        *, allow: tuple[str, ...] = (), deny: tuple[str, ...] = (), unlisted: str = "allow", **more: Any
    ) -> Desk:
        lists = tuple(map(parse_pattern, allow)), tuple(map(parse_pattern, deny))
        opened.append(Desk(EgressSettings(unlisted, "auto", *lists), **more))
        return opened[-1]

    yield opening
    for desk in opened:
        desk.loop.close()


Open: TypeAlias = Callable[..., Desk]


def test_addresses_that_may_be_connected_to_come_back_in_their_order(open_desk: Open, lines: Lines) -> None:
    """The others are logged, each with its rule; the connection is counted as what it becomes."""
    desk = open_desk()
    found = desk.guard.addresses("x.example", 443, ["8.8.8.8", METADATA, PUBLIC, "10.0.0.7"], Via.FORWARD)
    assert found == ["8.8.8.8", PUBLIC]
    assert desk.counted() == {("allow", "unlisted"): 1.0}
    assert lines.seen("host", "address", "rule") == [
        ("x.example", METADATA, "metadata"),
        ("x.example", "10.0.0.7", "private_networks"),
    ]


def test_a_connection_without_an_address_that_may_be_used_is_refused(open_desk: Open, lines: Lines) -> None:
    """With the reason, for the agent; counted once, logged as a warning with all that is known."""
    desk = open_desk()
    with pytest.raises(
        EgressDenied, match=r"metadata\.google\.internal, port 80, .*169\.254\.169\.254 is the metadata"
    ):
        desk.guard.addresses("metadata.google.internal", 80, [METADATA], Via.FORWARD)
    assert desk.counted() == {("deny", "metadata"): 1.0}
    [line] = lines.records
    assert (line["msg"], line["level"], line["port"], line["via"]) == ("egress denied", "WARNING", 80, "forward")
    assert "credentials" in line["why"]


def test_a_connection_without_a_name_is_judged_by_its_address(open_desk: Open, lines: Lines) -> None:
    """A redirected one, of a protocol that names no host."""
    desk = open_desk(deny=("10.0.0.0/8:22",))
    assert desk.guard.addresses(None, 5432, ["10.0.0.7"], Via.TRANSPARENT) == ["10.0.0.7"]
    with pytest.raises(EgressDenied, match=r"^Calls to 10\.0\.0\.7, port 22, are not allowed"):
        desk.guard.addresses(None, 22, ["10.0.0.7"], Via.TRANSPARENT)
    assert lines.seen("host", "address", "rule") == [(None, "10.0.0.7", "deny: 10.0.0.0/8:22")]


def test_a_redirected_connection_leads_to_private_addresses_only_if_it_was_bound_for_them(open_desk: Open) -> None:
    """An agent that checked the address it connects to must not end at another one because of the name inside."""
    desk = open_desk()
    bound = desk.guard.addresses("db.example", 443, ["10.0.0.7"], Via.TRANSPARENT, original="10.0.0.7")
    assert bound == ["10.0.0.7"]
    with pytest.raises(EgressDenied, match="not an address of the public internet"):
        desk.guard.addresses("rebound.example", 443, ["10.0.0.7"], Via.TRANSPARENT, original=PUBLIC)
    moved = desk.guard.addresses("cdn.example", 443, ["8.8.8.8", "10.0.0.7"], Via.TRANSPARENT, original=PUBLIC)
    assert moved == ["8.8.8.8"]


def test_no_address_at_all_is_no_decision(open_desk: Open) -> None:
    """That a name has none is for whoever resolved it to say."""
    desk = open_desk()
    assert desk.guard.addresses("x.example", 443, [], Via.FORWARD) == []
    assert desk.counted() == {}


def test_a_name_is_refused_before_it_is_resolved(open_desk: Open, lines: Lines) -> None:
    """Counted and logged here, since nothing comes of it; a name that may pass is counted at its addresses."""
    desk = open_desk(allow=("api.example",), unlisted="deny")
    desk.guard.name("api.example", 443, Via.FORWARD)
    with pytest.raises(EgressDenied, match=r"x\.example, port 443"):
        desk.guard.name("x.example", 443, Via.FORWARD)
    assert desk.counted() == {("deny", "unlisted"): 1.0}
    assert lines.seen("host", "address", "rule") == [("x.example", None, "unlisted")]


@pytest.mark.parametrize("host", ["2852039166", "0xa9.0xfe.0xa9.0xfe", "[::ffff:169.254.169.254]", "fe80::1%eth0"])
def test_an_address_in_disguise_is_refused_as_a_name(open_desk: Open, host: str) -> None:
    """Before anything is resolved or sent to a proxy."""
    with pytest.raises(EgressDenied):
        open_desk().guard.name(host, 80, Via.FORWARD)


def test_a_name_that_another_proxy_resolves_is_judged_by_itself(open_desk: Open) -> None:
    """It stands in the place of its addresses; an address that not all read alike does not go to a proxy."""
    desk = open_desk(allow=("10.0.0.0/8",), unlisted="deny")
    for host in ("x.example", "0x7f.1", "metadata.goog", "0xa000007"):
        with pytest.raises(EgressDenied):
            desk.guard.addresses(host, 443, [host], Via.FORWARD)
    assert desk.guard.addresses("0xa000007", 443, ["10.0.0.7"], Via.FORWARD) == ["10.0.0.7"]
    assert desk.counted()["allow", "allow: 10.0.0.0/8"] == 1.0


def test_a_report_passes_and_is_counted_and_logged(open_desk: Open, lines: Lines) -> None:
    """The rehearsal of deny."""
    desk = open_desk(unlisted="report")
    assert desk.guard.addresses("x.example", 443, [PUBLIC], Via.FORWARD) == [PUBLIC]
    assert desk.counted() == {("report", "unlisted"): 1.0}
    assert lines.seen("msg", "level", "host") == [("egress that would be denied", "INFO", "x.example")]


def test_new_settings_hold_for_the_next_connection(open_desk: Open) -> None:
    """They are replaced as a whole, at a reload."""
    desk = open_desk()
    desk.guard.settings = EgressSettings("deny", pass_through=(parse_pattern("bank.example"),))
    with pytest.raises(EgressDenied):
        desk.guard.addresses("x.example", 443, [PUBLIC], Via.FORWARD)
    assert desk.guard.passes_through("bank.example")
    assert repr(desk.guard) == "<Guard unlisted=deny allow=0 deny=0 own=0>"


# --- its own listeners


def test_a_listener_at_every_address_is_out_of_reach_at_each_of_them(open_desk: Open) -> None:
    """The system is asked which addresses are this machine's, and never about a name, which it would look up."""
    desk = open_desk(local=("93.184.215.99",))
    desk.guard.own = [("0.0.0.0", 9464), ("127.0.0.1", 7070)]
    for refused in (["93.184.215.99"], ["::ffff:93.184.215.99"], ["127.0.0.9"]):
        with pytest.raises(EgressDenied, match="listener of Backstay's own"):
            desk.guard.addresses("me.example", 9464, refused, Via.FORWARD)
    with pytest.raises(EgressDenied, match="own"):
        desk.guard.name("93.184.215.99", 9464, Via.FORWARD)
    desk.guard.name("me.example", 9464, Via.FORWARD)
    assert desk.guard.addresses("me.example", 7070, ["93.184.215.99"], Via.FORWARD) == ["93.184.215.99"]
    assert set(desk.asked) == {"93.184.215.99", "127.0.0.9"}


def test_an_address_is_of_this_machine_if_a_socket_can_be_bound_to_it() -> None:
    """Loopback always is; one of the documentation never."""
    assert is_address_of_this_machine("127.0.0.1")
    assert not is_address_of_this_machine("192.0.2.1")
    assert not is_address_of_this_machine("2001:db8::1")


# --- the log


def test_each_host_is_logged_once_a_minute_for_each_rule(open_desk: Open, lines: Lines) -> None:
    """An agent that tries again and again does not fill the log; how much was left out is said."""
    desk = open_desk(deny=("*.evil.example",))

    def attempt(host: str, address: str) -> None:
        with pytest.raises(EgressDenied):
            desk.guard.addresses(host, 80, [address], Via.FORWARD)

    for address in (METADATA, METADATA, "10.0.0.7"):
        attempt("x.example", address)
    desk.loop.advance(60)
    attempt("x.example", METADATA)
    assert lines.seen("rule", "unwritten") == [("metadata", 0), ("private_networks", 1), ("metadata", 0)]
    assert desk.counted() == {("deny", "metadata"): 3.0, ("deny", "private_networks"): 1.0}


def test_hosts_that_an_agent_makes_up_do_not_fill_memory_or_log(open_desk: Open, lines: Lines) -> None:
    """At most so many lines a minute, whatever their hosts; a host is cut to the length of a name."""
    desk = open_desk(unlisted="deny")
    for number in range(600):
        with pytest.raises(EgressDenied):
            desk.guard.name(f"x{number}.example" + "y" * 300 * (number == 0), 443, Via.FORWARD)
    assert len(lines.records) == 512
    assert len(lines.records[0]["host"]) == 253
    assert repr(desk.guard._written) == "<_LastMinute 512 written, 88 not>"


# --- DNS that says another thing the second time


class Rebinding(asyncio.SelectorEventLoop):
    """A loop whose resolver gives the next answer each time."""

    def __init__(self, *answers: list[str]) -> None:
        super().__init__()
        self.answers = list(answers)

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> Any:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))
            for address in self.answers.pop(0)
        ]


@pytest.mark.parametrize("first", [["127.0.0.1"], [METADATA, "127.0.0.1"], ["10.255.255.1", METADATA, "127.0.0.1"]])
def test_a_name_that_is_rebound_leads_only_to_what_was_judged(first: list[str]) -> None:
    """It is resolved once for each connection; the address that passed is the one that is connected to."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            settings = EgressSettings(allow=(parse_pattern(f"127.0.0.1:{port}"),))
            guard = Guard(Clock(loop), Registry(), settings)

            def choose(addresses: Sequence[str]) -> list[str]:
                return guard.addresses("rebound.example", port, addresses, Via.FORWARD)

            sock, _ = await dial(Clock(loop), "rebound.example", port, Way(choose))
            with sock:
                assert sock.getpeername() == ("127.0.0.1", port)
            with pytest.raises(EgressDenied, match="metadata"):
                await dial(Clock(loop), "rebound.example", port, Way(choose))

    with asyncio.Runner(loop_factory=lambda: Rebinding(first, [METADATA])) as runner:
        runner.run(scenario())
