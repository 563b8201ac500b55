"""Where a redirected connection was going, as the kernel tells it: in a network namespace, on uvloop."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from proxy.wire.original_dst import original_destination
from tests.support.netns import WORLD, Network

_LISTENERS = """
import asyncio, socket, sys, uvloop
from proxy.wire.original_dst import original_destination

class Caught(asyncio.Protocol):
    def connection_made(self, transport):
        found = original_destination(transport.get_extra_info("socket"))
        transport.write(("%s|%d" % found if found else "None").encode())
        transport.close()

async def main():
    loop = asyncio.get_running_loop()
    for host in ("127.0.0.1", "::1"):
        await loop.create_server(Caught, host, 7071)
    both = socket.create_server(("::", 7072), family=socket.AF_INET6, dualstack_ipv6=True)
    await loop.create_server(Caught, sock=both)
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)

uvloop.run(main())
"""


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    made = Network.made("nft")
    made.start(_LISTENERS)
    yield made
    made.close()


@pytest.mark.parametrize("port", [7071, 7072], ids=["a socket for each", "one for both"])
def test_a_redirected_connection(network: Network, port: int) -> None:
    """IPv4 and IPv6, also IPv4 on a socket of both families: the address and port that the agent connected to."""
    rules = f"table inet t {{ chain c {{ type nat hook output priority -100; tcp dport 80 redirect to :{port}; }}; }}"
    assert not network.run("nft", "-f", "-", stdin=f"flush ruleset; {rules}").returncode
    assert network.ask(*[(host, 80) for host in WORLD]) == [f"{host}|80" for host in WORLD]


def test_a_connection_that_came_by_itself(network: Network) -> None:
    """The kernel follows it, and knows no other destination than this."""
    places = [(host, port) for host in ("127.0.0.1", "::1") for port in (7071, 7072)]
    assert network.ask(*places) == ["None"] * 4


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_system_that_knows_no_such_thing(family: int, host: str) -> None:
    """No netfilter, or a connection that it does not follow: as if it had not been redirected."""
    with socket.socket(family) as here:
        here.bind((host, 0))
        assert original_destination(here) is None
