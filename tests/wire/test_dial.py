"""Tests of the way out: which addresses are connected to, in which order, and that no socket is left behind."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

import pytest

from proxy.clock import Clock
from proxy.errors import EgressDenied
from proxy.wire.dial import Choose, Way, dial
from tests.support.net import Net, hangs, refuses
from tests.support.virtual import START, turn

ONE, TWO, SIX, SEVEN = "192.0.2.1", "192.0.2.2", "2001:db8::6", "2001:db8::7"
HOST = "vendor.test"


def keeps(*addresses: str) -> Choose:
    """A policy that prefers these, and allows no others."""
    return lambda found: [each for each in addresses if each in found]


async def reach(clock: Clock, host: str = HOST, way: Way | None = None, *, prefer: str | None = None) -> socket.socket:
    sock, early = await dial(clock, host, 443, way or Way(), prefer=prefer)
    assert early == b""
    assert not sock.getblocking()
    return sock


@pytest.mark.parametrize("address", [ONE, SIX])
def test_an_address_is_not_looked_up(address: str) -> None:
    """It is connected to as it stands, and the policy is asked about it."""
    net, seen = Net(), list[Sequence[str]]()

    def choose(found: Sequence[str]) -> list[str]:
        seen.append(found)
        return list(found)

    sock = net.run(lambda clock: reach(clock, address, Way(choose)))
    assert (net.asked, net.looked_up, seen) == ([address], [], [[address]])
    assert sock.family == (socket.AF_INET if address is ONE else socket.AF_INET6)


def test_the_families_take_turns() -> None:
    """A family that does not work here costs one head start, not one for each of its addresses."""
    net = Net({HOST: [SIX, SEVEN, ONE, TWO]}, {SIX: refuses, SEVEN: refuses, ONE: refuses})
    net.run(reach)
    assert net.asked == [SIX, ONE, SEVEN, TWO]


def test_only_what_was_chosen_is_connected_to_in_its_order() -> None:
    """Neither an address that the policy left out, nor one that the name means a moment later (DNS rebinding)."""
    net = Net({HOST: [SIX, ONE, TWO]}, {TWO: refuses})
    net.run(lambda clock: reach(clock, way=Way(keeps(TWO, SIX))))
    assert (net.asked, net.looked_up) == ([TWO, SIX], [HOST])


@pytest.mark.parametrize(("prefer", "asked"), [(TWO, TWO), ("198.51.100.9", ONE)])
def test_where_the_agent_was_going_comes_first(prefer: str, asked: str) -> None:
    """If the name has the address that the agent chose, no other is used; one that it has not is not used at all."""
    net = Net({HOST: [ONE, TWO]})
    net.run(lambda clock: reach(clock, prefer=prefer))
    assert net.asked == [asked]


def test_an_address_that_the_agent_chose_is_judged_too() -> None:
    """It is no way round the policy."""

    def refuse(found: Sequence[str]) -> list[str]:
        assert found == [TWO]
        raise EgressDenied("Not there.")

    net = Net({HOST: [ONE, TWO]})
    with pytest.raises(EgressDenied, match="Not there"):
        net.run(lambda clock: reach(clock, way=Way(refuse), prefer=TWO))
    assert net.sockets == []


def test_an_address_that_hangs_does_not_hold_up_the_next() -> None:
    """Its successor gets its chance a quarter of a second later, and the loser's socket is closed."""
    net = Net({HOST: [ONE, TWO]}, {ONE: hangs})

    async def scenario(clock: Clock) -> float:
        sock = await reach(clock)
        assert net.open == [sock]
        return clock.now()

    assert net.run(scenario) == pytest.approx(START + 0.25)


def test_no_address_accepts() -> None:
    """The error of them all, and no socket."""
    net = Net({HOST: [ONE, SIX]}, {ONE: refuses, SIX: refuses})
    with pytest.raises(ConnectionRefusedError):
        net.run(reach)
    assert net.open == []


@pytest.mark.parametrize("host", ["nowhere.test", "a..b", "x" * 64 + ".test", "", "a b", "a\r\nHost: b", "a/b", "u@b"])
def test_what_is_no_name_or_has_no_address(host: str) -> None:
    """All the same to the caller."""
    with pytest.raises(socket.gaierror):
        Net().run(lambda clock: reach(clock, host))


def test_a_policy_that_leaves_nothing() -> None:
    """There is no address, as far as this call is concerned."""
    with pytest.raises(socket.gaierror, match="none"):
        Net({HOST: [ONE]}).run(lambda clock: reach(clock, way=Way(keeps())))


def test_a_complaint_of_uvloop() -> None:
    """It raises RuntimeError where asyncio raises OSError."""

    async def complain() -> None:
        raise RuntimeError("the descriptor is used by a transport")

    with pytest.raises(OSError, match="used by a transport"):
        Net({HOST: [ONE]}, {ONE: complain}).run(reach)


@pytest.mark.parametrize("addresses", [[ONE], [ONE, TWO], [ONE, SIX, TWO]])
@pytest.mark.parametrize("after", [0.0, 0.1, 0.3, 1.0])
def test_who_leaves_leaves_no_socket(addresses: list[str], after: float) -> None:
    """Nor a task, wherever the race stands."""
    net = Net({HOST: addresses}, dict.fromkeys(addresses, hangs))

    async def scenario(clock: Clock) -> None:
        task = asyncio.get_running_loop().create_task(reach(clock))
        await turn()
        await clock.sleep(after)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert net.sockets
        assert net.open == []

    net.run(scenario)


@pytest.mark.parametrize("turns", range(12))
def test_who_leaves_as_the_race_is_won_leaves_no_socket(turns: int) -> None:
    """At whatever moment between the winner's success and the end of the others: it is cancelled, or has the socket."""
    won = asyncio.Event()
    net = Net({HOST: [ONE, TWO]}, {ONE: hangs, TWO: won.wait})  # type: ignore[dict-item]

    async def scenario(clock: Clock) -> None:
        task = asyncio.get_running_loop().create_task(reach(clock))
        await clock.sleep(0.5)
        won.set()
        await turn(turns)
        left = task.cancel()
        await asyncio.wait({task})
        assert task.cancelled() is left
        assert len(net.open) == (0 if left else 1)

    net.run(scenario)
