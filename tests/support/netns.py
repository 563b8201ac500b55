"""Two network namespaces, a pod's and that of the world which it reaches over IPv4 and IPv6. For tests of netfilter.

The world answers ``world`` to each TCP connection and datagram. Both namespaces end with the
processes that hold them, which end with their standard input: a test that is killed leaves nothing behind.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final, Self

import pytest

WORLD: Final = ("203.0.113.7", "2001:db8::7")
TCP: Final = (80, 443, 5432)
USER: Final = 65534  # an ordinary one
_ENVIRONMENT: Final = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
"""Nothing is measured in there: an ordinary user cannot write the results."""
_PYTHON: Final = (sys.executable, "-S", "-c")  # starts at once
_ROOT: Final = Path(__file__).parents[2]

_WORLD: Final = f"""
import socket, socketserver, sys, threading
class Stream(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"world")
        while data := self.request.recv(100):
            self.request.sendall(data)
class Datagram(socketserver.BaseRequestHandler):
    def handle(self):
        self.request[1].sendto(b"world", self.client_address)
class Streams(socketserver.ThreadingTCPServer):
    daemon_threads = True
class Datagrams(socketserver.UDPServer):
    pass
for Streams.address_family, host in zip((socket.AF_INET, socket.AF_INET6), {WORLD}):
    Datagrams.address_family = Streams.address_family
    for server in [*(Streams((host, port), Stream) for port in {TCP}), Datagrams((host, 443), Datagram)]:
        threading.Thread(target=server.serve_forever, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""

# Addresses are used at once: nobody else can have them.
_NAMESPACE: Final = (
    *("unshare", "-n", "sh", "-c"),
    "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad; echo ready; exec cat",
)

_ASK: Final = """
import socket, sys
kind = getattr(socket, sys.argv[1])
for host, port in zip(sys.argv[2::2], sys.argv[3::2]):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as sock:
        sock.settimeout(5)
        try:
            sock.connect((host, int(port)))
            if kind == socket.SOCK_DGRAM:
                sock.send(b"?")
            print(sock.recv(100).decode())
        except OSError as error:
            print(type(error).__name__)
"""

_POD: Final = """
ip link set lo up
ip link add out address 02:00:00:00:00:01 type veth peer name pod address 02:00:00:00:00:02 netns {world}
ip addr add 192.0.2.1/24 dev out
ip -6 addr add fd00:1::1/64 dev out nodad
ip link set out up
ip -6 neigh add fd00:1::2 lladdr 02:00:00:00:00:02 dev out
"""
_BEYOND: Final = """
ip link set lo up
ip addr add 192.0.2.2/24 dev pod
ip -6 addr add fd00:1::2/64 dev pod nodad
ip link set pod up
ip -6 neigh add fd00:1::1 lladdr 02:00:00:00:00:01 dev pod
ip addr add {ipv4}/32 dev lo
ip -6 addr add {ipv6}/128 dev lo nodad
"""
_ROUTES: Final = """
ip route add default via 192.0.2.2
ip -6 route add default via fd00:1::2
"""


class Network:
    """See the module."""

    def __init__(self) -> None:
        self._holders: list[subprocess.Popen[str]] = []
        self.pod, self.world = self._hold(*_NAMESPACE), self._hold(*_NAMESPACE)
        self._sh(self.pod, _POD.format(world=self.world))
        self._sh(self.world, _BEYOND.format(ipv4=WORLD[0], ipv6=WORLD[1]))
        self._sh(self.pod, _ROUTES)
        self._hold(*self._within(self.world), *_PYTHON, _WORLD)

    @classmethod
    def made(cls, *tools: str) -> Self:
        """Skips the test where there can be none."""
        missing = [each for each in ("unshare", "nsenter", "setpriv", "ip", *tools) if shutil.which(each) is None]
        if missing:
            pytest.skip(f"no network namespace can be had here without {', '.join(missing)}")
        if os.geteuid() != 0:
            pytest.skip("only root can make network namespaces")
        network = cls.__new__(cls)
        try:
            network.__init__()  # type: ignore[misc]
        except (OSError, RuntimeError) as error:
            network.close()
            pytest.skip(f"no network namespace can be had here: {error}")
        return network

    def start(self, script: str) -> None:
        """Run a Python script in the pod until ``close``; it prints ``ready``, and ends with its standard input."""
        self._hold(*self._within(self.pod), sys.executable, "-c", script)

    def run(self, *argv: str, uid: int = 0, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command in the pod."""
        user = ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups") if uid else ()
        return subprocess.run(
            [*self._within(self.pod), *user, *argv],
            input=stdin,
            capture_output=True,
            check=False,
            text=True,
            timeout=30,
            cwd=_ROOT,
            env=_ENVIRONMENT,
        )

    def python(self, code: str, *, uid: int = 0) -> subprocess.CompletedProcess[str]:
        """Run Python in the pod, with the standard library and this repository."""
        return self.run(*_PYTHON, code, uid=uid)

    def ask(self, *places: tuple[str, int], uid: int = USER, udp: bool = False) -> list[str]:
        """What each answers to ``uid``, or the name of the error."""
        words = [str(word) for place in places for word in place]
        kind = "SOCK_DGRAM" if udp else "SOCK_STREAM"
        return self.run(*_PYTHON, _ASK, kind, *words, uid=uid).stdout.split()

    def close(self) -> None:
        for each in reversed(self._holders):
            each.communicate(timeout=10)

    def _hold(self, *argv: str) -> int:
        holder = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT, env=_ENVIRONMENT
        )
        self._holders.append(holder)
        assert holder.stdout is not None
        if holder.stdout.readline() != "ready\n":
            raise RuntimeError(f"{argv[0]} failed")
        return holder.pid

    def _sh(self, namespace: int, script: str) -> None:
        done = subprocess.run(
            [*self._within(namespace), "sh", "-e"],
            input=script,
            capture_output=True,
            check=False,
            text=True,
            timeout=30,
        )
        if done.returncode:
            raise RuntimeError(done.stderr.strip())

    @staticmethod
    def _within(namespace: int) -> list[str]:
        return ["nsenter", "-t", str(namespace), "-n"]
