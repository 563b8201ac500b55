"""``backstay redirect`` at work: with each tool, in a network namespace; and what it says when it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from proxy.agent.redirect import RedirectError, main
from tests.support.netns import USER, WORLD, Network

_BACKSTAY = 1337
_CAUGHT = """
import socket, socketserver, sys, threading
class Caught(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"caught")
socketserver.TCPServer.allow_reuse_address = True
for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    socketserver.TCPServer.address_family = family
    threading.Thread(target=socketserver.TCPServer((host, 7071), Caught).serve_forever, daemon=True).start()
    threading.Thread(target=socketserver.TCPServer((host, 80), Caught).serve_forever, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""
_RULES = {
    "nft": "nft list ruleset",
    "iptables-nft": "iptables-nft-save; ip6tables-nft-save",
    "iptables-legacy": "iptables-legacy-save; ip6tables-legacy-save",
}
_FOREIGN = {
    "nft": "nft add table inet other",
    "iptables-nft": "iptables-nft -t nat -A OUTPUT -p tcp --dport 9 -j ACCEPT",
    "iptables-legacy": "iptables-legacy -t nat -A OUTPUT -p tcp --dport 9 -j ACCEPT",
}
_OPEN_BEFORE = f"""
import socket
from proxy.agent.redirect import main
with socket.create_connection(("{WORLD[0]}", 80), 5) as open_before:
    open_before.recv(5)
    print(main(%s))
    open_before.sendall(b"still there")
    print(open_before.recv(100).decode())
"""


def _call(action: str, tool: str) -> str:
    arguments = f"action={action!r}, uid={_BACKSTAY}, port=7071, exclude_ports=[5432], tool={tool!r}"
    return f"{arguments}, exclude_networks=['10.0.0.0/8', 'fd00::/16']"


class Pod:
    """A namespace where Backstay's port is listened to, and one tool."""

    def __init__(self, network: Network, tool: str) -> None:
        self.network = network
        self.tool = tool

    def rules(self) -> list[str]:
        """As they are now; a table of iptables that is empty is as good as none."""
        listed = self.network.run("sh", "-c", _RULES[self.tool]).stdout.splitlines()
        return [line for line in listed if self.tool == "nft" or line.startswith(("-A ", ":BACKSTAY "))]

    def main(self, action: str, *, uid: int = 0) -> str:
        """What it prints, or the error's last line."""
        done = self.network.python(
            f"from proxy.agent.redirect import main\nprint(main({_call(action, self.tool)}))", uid=uid
        )
        return done.stdout or done.stderr.splitlines()[-1]


@pytest.fixture(params=list(_RULES))
def pod(request: pytest.FixtureRequest) -> Iterator[Pod]:
    network = Network.made(request.param)
    network.start(_CAUGHT)
    yield Pod(network, request.param)
    network.close()


def test_what_is_redirected_and_what_passes(pod: Pod) -> None:
    """From the first rule to the last, and back: what was there before is there in the end, and nothing else."""
    network, everywhere = pod.network, [(host, port) for host in WORLD for port in (80, 443)]
    network.run("sh", "-c", _FOREIGN[pod.tool])
    before = pod.rules()
    printed = network.python(_OPEN_BEFORE % _call("apply", pod.tool)).stdout
    assert printed == f"New TCP connections of every user but 1337 go to port 7071 now ({pod.tool}).\nstill there\n"
    applied = pod.rules()
    assert not network.run("sh", stdin=pod.main("print")).returncode
    assert pod.rules() == applied != before
    assert network.ask(*everywhere) == network.ask(*everywhere, uid=0) == ["caught"] * 4
    assert network.ask(*everywhere, uid=_BACKSTAY) == ["world"] * 4
    assert (
        network.ask(*[(host, 5432) for host in WORLD], ("127.0.0.1", 80), ("::1", 80)) == ["world"] * 2 + ["caught"] * 2
    )
    rejected = network.ask(*[(host, 443) for host in WORLD], udp=True)
    assert len(rejected) == 2
    assert {*rejected} <= {"PermissionError", "ConnectionRefusedError"}
    assert network.ask(*[(host, 443) for host in WORLD], udp=True, uid=_BACKSTAY) == ["world"] * 2
    assert "CAP_NET_ADMIN" in pod.main("apply", uid=USER)
    assert "CAP_NET_ADMIN" in pod.main("remove", uid=USER)
    assert pod.main("remove") == f"The rules are removed ({pod.tool}).\n"
    assert pod.rules() == before
    assert pod.main("remove") == "There were no rules to remove.\n"
    assert network.ask(*everywhere) == ["world"] * 4


def test_without_a_tool_named() -> None:
    """The first that works is taken; whatever made the rules, they are removed."""
    network = Network.made("nft", "iptables-legacy")
    run = "from proxy.agent.redirect import main\nprint(main(action={!r}, uid=1, port=7071{}))"
    try:
        assert network.python(run.format("apply", "")).stdout.endswith("(nft).\n")
        network.python(run.format("apply", ", tool='iptables-legacy'"))
        assert "are removed" in network.python(run.format("remove", "")).stdout
        assert "no rules" in network.python(run.format("remove", "")).stdout
    finally:
        network.close()


# --- what it says when it cannot


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    return tmp_path


def install(tools: Path, *names: str, script: str) -> None:
    for name in names:
        (tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (tools / name).chmod(0o755)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({}, "--uid is the user id that Backstay runs as"),
        ({"uid": 0}, "run Backstay as a user of its own"),
        ({"uid": 1, "port": 0, "action": "print"}, "0 is no port"),
        ({"uid": 1, "tool": "pf"}, "there are nft, iptables"),
        ({"uid": 1}, "neither nft nor iptables is installed"),
        ({"uid": 1, "tool": "iptables"}, "iptables is not installed"),
    ],
)
def test_what_is_missing_is_said(tools: Path, arguments: dict[str, object], why: str) -> None:
    """Each with what to do."""
    with pytest.raises(RedirectError, match=why):
        main(path=str(tools), **{"action": "apply", "port": 7071, **arguments})  # type: ignore[arg-type]


def test_printing_needs_neither_root_nor_a_tool(tools: Path) -> None:
    """Rules for another machine; those of nft, unless one is named or installed. A uid of 0 can be insisted on."""
    assert "nft -f -" in main(action="print", uid=0, port=7071, force=True, path=str(tools))
    assert "iptables-restore" in main(action="print", uid=1, port=7071, tool="iptables", path=str(tools))
    install(tools, "iptables", script="exit 1")
    assert "iptables-restore" in main(action="print", uid=1, port=7071, path=str(tools))


@pytest.mark.parametrize("action", ["apply", "remove"])
def test_a_user_who_may_not(tools: Path, action: Literal["apply", "remove"]) -> None:
    """No other tool is tried, and nothing is taken for not being there."""
    install(tools, "nft", script='echo "Operation not permitted (you must be root)" >&2; exit 1')
    install(tools, "iptables", "iptables-restore", script="exit 0")
    with pytest.raises(RedirectError, match=r"CAP_NET_ADMIN .* init container .*\(nft: Operation not permitted"):
        main(action=action, uid=1, port=7071, path=str(tools))


def test_what_is_not_there_is_not_removed(tools: Path) -> None:
    """Removing twice is removing once; whichever tool made them."""
    install(tools, "nft", "iptables", "ip6tables", script='echo "No such file or directory" >&2; exit 1')
    assert main(action="remove", path=str(tools)) == "There were no rules to remove."
    install(tools, "iptables", script="exit 0")
    assert main(action="remove", path=str(tools)) == "The rules are removed (iptables)."


def test_a_kernel_without_nat(tools: Path) -> None:
    """Every tool is tried, and what each said is told."""
    install(tools, "nft", "iptables", "iptables-restore", script='echo "nat: no such table" >&2; exit 3')
    with pytest.raises(
        RedirectError, match=r"the kernel may lack nat: nft refuses .* iptables-restore refuses .*nat: no"
    ):
        main(action="apply", uid=1, port=7071, path=str(tools))


def test_a_tool_whose_half_in_the_kernel_is_missing(tools: Path) -> None:
    """The next one is taken."""
    install(tools, "nft", script="exit 3")
    install(tools, "iptables", "iptables-restore", "ip6tables", "ip6tables-restore", script="exit 0")
    assert main(action="apply", uid=1, port=7071, path=str(tools)).endswith("(iptables).")


def test_rules_that_are_refused_although_the_trial_passed(tools: Path) -> None:
    """The tool's own words are told, or its status."""
    install(tools, "nft", script='[ "$1" = -c ]')
    with pytest.raises(RedirectError, match="nft refuses the rules: it ended with status 1"):
        main(action="apply", uid=1, port=7071, path=str(tools))


def test_a_tool_that_is_installed_by_half(tools: Path) -> None:
    """Without ip6tables, IPv6 would pass unseen."""
    install(tools, "iptables", "iptables-restore", script="exit 0")
    (tools / "ip6tables-restore").mkdir()
    with pytest.raises(RedirectError, match="ip6tables-restore is not installed"):
        main(action="apply", uid=1, port=7071, path=str(tools))


def test_a_tool_that_cannot_be_run(tools: Path) -> None:
    """A broken installation is told as such."""
    (tools / "nft").write_bytes(b"#!/no/such/interpreter\n")
    (tools / "nft").chmod(0o755)
    with pytest.raises(RedirectError, match="nft cannot be run"):
        main(action="apply", uid=1, port=7071, path=str(tools))
