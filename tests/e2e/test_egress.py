"""An agent that is talked into calling what it should not: refused in each form and spelling, with the rule in the log.

Names that lead to forbidden addresses are in a hosts file of the sidecar's own (a mount namespace); where the system
does not allow that, the tests that need it are skipped. A name that changes its address: tests/test_guard.py.
"""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.support.process import COMMAND, PATIENCE, Sidecar, document, wait_until, write
from tests.support.vendor import Vendor

METADATA: Final = (
    *("169.254.169.254", "169.254.169.254.", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518"),
    *("0xa9.254.0251.254", "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]", "[fd00:ec2::254]"),
    *("[2002:a9fe:a9fe::1]", "168.63.129.16", "169.254.170.2", "100.100.100.200"),
)
HOSTS: Final = """
127.0.0.1 localhost vendor.example rebound.example
169.254.169.254 metadata.google.internal rebound.example
10.0.0.7 intranet.example
"""
_BIND: Final = 'mount --bind "$0" /etc/hosts && exec "$@"'


def own_hosts(folder: Path) -> tuple[str, ...]:
    """What runs a command with HOSTS as its /etc/hosts; empty if this system does not allow it."""
    (hosts := folder / "hosts").write_text(HOSTS)
    wrap = ("unshare", "--map-root-user", "--mount", "sh", "-c", _BIND, str(hosts))
    if shutil.which("unshare") is None or subprocess.run([*wrap, "true"], capture_output=True, check=False).returncode:
        return ()
    return wrap


@dataclass
class World:
    """A sidecar that lets calls out to the vendor alone, as far as private addresses go."""

    sidecar: Sidecar
    vendor: Vendor
    resolves: bool  # the names of HOSTS

    def absolute(self, host: str, target: str = "/latest/meta-data/") -> tuple[int, dict[str, Any]]:
        return self._ask(f"GET http://{host}{target}", host)

    def connect(self, host: str) -> tuple[int, dict[str, Any]]:
        authority = host if host.rpartition("]")[2].count(":") else f"{host}:80"
        return self._ask(f"CONNECT {authority}", authority)

    def _ask(self, request: str, host: str) -> tuple[int, dict[str, Any]]:
        with self.sidecar.connect() as agent, agent.makefile("rb") as answer:
            agent.sendall(f"{request} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            head, _, body = answer.read().partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)

    def wait_denials(self, *expected: tuple[str, str]) -> None:
        """Wait until the log has a line about each host with the rule that refused it."""
        wait_until(lambda: {*expected} <= self._denials(), f"lines about {expected}")

    def _denials(self) -> set[tuple[str, str]]:
        return {(line["host"], line["rule"]) for line in self.sidecar.lines("egress denied")}

    def denied(self, rule: str) -> float:
        return self.sidecar.value("backstay_egress_decisions_total", decision="deny", rule=rule)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, _sidecars: list[Sidecar]) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("egress")
    with Vendor() as vendor:
        wrap = own_hosts(folder)
        egress = {"allow": [f"127.0.0.1:{vendor.port}", "vendor.example"], "deny": ["*.evil.example"]}
        content = document({"api": {"url": vendor.url}}, egress=egress)
        content["listen"]["metrics"] = "0.0.0.0:0"
        write(folder / "egress.yaml", content)
        sidecar = Sidecar(folder, folder / "egress.yaml", command=(*wrap, *COMMAND))
        _sidecars.append(sidecar)
        try:
            yield World(sidecar.start(), vendor, bool(wrap))
        finally:
            sidecar.stop()
            _sidecars.remove(sidecar)


@pytest.fixture
def named(world: World) -> World:
    if not world.resolves:
        pytest.skip("NOT TESTED: this system gives no mount namespace, and so no hosts file of the sidecar's own")
    return world


@pytest.mark.parametrize("form", ["absolute", "connect"])
def test_metadata_is_out_of_reach_in_every_spelling(world: World, form: str) -> None:
    """403 for the agent before anything is connected to, and for the operator a count and a line with the rule."""
    before = world.denied("metadata")
    for host in METADATA:
        status, problem = getattr(world, form)(host)
        assert (host, status, problem["reason"]) == (host, 403, "egress_denied")
        assert "gives out the credentials of the machine" in problem["detail"]
    assert world.denied("metadata") - before == len(METADATA)
    world.wait_denials(*((host.strip("[]").removesuffix("."), "metadata") for host in METADATA))


@pytest.mark.parametrize("form", ["absolute", "connect"])
def test_metadata_and_the_intranet_are_out_of_reach_by_name(named: World, form: str) -> None:
    """A name is resolved here, and its address decides."""
    for host, rule in (("metadata.google.internal", "metadata"), ("Intranet.example.", "private_networks")):
        status, problem = getattr(named, form)(host)
        assert (status, problem["reason"]) == (403, "egress_denied")
        named.wait_denials((host.lower().removesuffix("."), rule))


def test_a_name_with_a_good_and_a_bad_address_leads_to_the_good_one(named: World) -> None:
    """As it is in the first half of DNS rebinding; the bad address has its line in the log."""
    answer = httpx.get(
        f"http://rebound.example:{named.vendor.port}/echo", proxy=named.sidecar.url(), timeout=PATIENCE, trust_env=False
    )
    assert answer.status_code == 200
    assert named.vendor.calls[-1].header("host") == f"rebound.example:{named.vendor.port}"
    named.wait_denials(("rebound.example", "metadata"))


def test_a_redirect_to_metadata_is_followed_into_a_refusal(world: World) -> None:
    """A vendor, or whoever writes on its pages, sends the agent there: that is a call like any other."""
    world.vendor.fields = {"location": "http://169.254.169.254/latest/meta-data/"}
    url = f"http://127.0.0.1:{world.vendor.port}/status/302"
    try:
        with httpx.Client(proxy=world.sidecar.url(), trust_env=False, timeout=PATIENCE, follow_redirects=True) as agent:
            answer = agent.get(url)
    finally:
        world.vendor.fields = {}
    assert [each.status_code for each in (*answer.history, answer)] == [302, 403]
    assert answer.json()["reason"] == "egress_denied"


@pytest.mark.parametrize("form", ["absolute", "connect"])
def test_its_own_listeners_are_out_of_reach(world: World, form: str) -> None:
    """The admin API above all, to which the agent would come from within; and metrics, which listen everywhere."""
    ports, before = world.sidecar.ports, world.denied("own_listener")
    places = [("127.0.0.1", port) for port in ports.values()]
    places += [("localhost", ports["admin"]), ("0.0.0.0", ports["admin"]), ("127.7.7.7", ports["metrics"])]
    for host, port in places:
        status, problem = getattr(world, form)(f"{host}:{port}")
        assert (host, port, status, problem["reason"]) == (host, port, 403, "egress_denied")
        world.wait_denials((host, "own_listener"))
    assert world.denied("own_listener") - before == len(places)


def test_a_tunnel_is_not_a_way_to_a_name_that_is_denied(world: World) -> None:
    """CONNECT named an address that may be reached; the TLS inside asks for another host."""
    context = ssl.create_default_context()
    with world.sidecar.connect() as agent:
        agent.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % world.vendor.port)
        assert agent.recv(4096).startswith(b"HTTP/1.1 200 ")
        with pytest.raises(ssl.SSLError, match="ACCESS_DENIED"):
            context.wrap_socket(agent, server_hostname="a.evil.example")
    world.wait_denials(("a.evil.example", "deny: *.evil.example"))
