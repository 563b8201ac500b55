"""Where the programs run: a pod with Backstay in it, and a vendor elsewhere, each in a network namespace of its own.

Used by ``run.py``. Needs root, and `ip` of iproute2. The pod's hosts file gives the vendors' real names the address of
the vendor's namespace; there is no other network. Backstay runs as a user of its own, as it does in a pod, which is
how the rules of transparent mode tell its connections from the agent's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import trustme
import yaml

from tests.support.process import Sidecar

ROOT: Final = Path(__file__).parents[2]
PROGRAMS: Final = Path(__file__).parent / "programs"
UID: Final = 20002  # of Backstay; nobody has to have this name
POD_ADDRESS: Final = "192.0.2.1"  # TEST-NET-1: never anybody's
VENDOR_ADDRESS: Final = "192.0.2.2"
TRANSPARENT_PORT: Final = 7071
PATIENCE: Final = 180.0  # seconds for a program; what a busy machine may need

# Those who run as another user may not be able to read the interpreter (in /root, say): reading is all they may.
_AS_BACKSTAY: Final = (
    *("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=PATIENCE)


class Network:
    """Two namespaces and the wire between them. Use it as a context manager."""

    def __init__(self, names: Sequence[str]) -> None:
        self.pod = f"backstay-pod-{os.getpid()}"
        self.vendor = f"backstay-vendor-{os.getpid()}"
        self._names = names
        self._etc = Path("/etc/netns") / self.pod

    def __enter__(self) -> Self:
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make(self) -> None:
        self._etc.mkdir(parents=True)
        lines = ["127.0.0.1 localhost", *(f"{VENDOR_ADDRESS} {name}" for name in self._names)]
        (self._etc / "hosts").write_text("\n".join(lines) + "\n")
        (self._etc / "resolv.conf").write_text("")  # what the hosts file does not know is known to nobody
        for name in (self.pod, self.vendor):
            _run("ip", "netns", "add", name)
            _run("ip", "-n", name, "link", "set", "lo", "up")
        _run("ip", "link", "add", "eth0", "netns", self.pod, "type", "veth", "peer", "eth0", "netns", self.vendor)
        for name, address in ((self.pod, POD_ADDRESS), (self.vendor, VENDOR_ADDRESS)):
            _run("ip", "-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            _run("ip", "-n", name, "link", "set", "eth0", "up")

    def __exit__(self, *_: object) -> None:
        for name in (self.pod, self.vendor):
            subprocess.run(["ip", "netns", "delete", name], check=False, timeout=PATIENCE)
        shutil.rmtree(self._etc, ignore_errors=True)

    def in_pod(self, *command: str | Path) -> list[str]:
        return ["ip", "netns", "exec", self.pod, *map(str, command)]

    def in_vendor(self, *command: str | Path) -> list[str]:
        return ["ip", "netns", "exec", self.vendor, *map(str, command)]


class VendorProcess:
    """``vendor.py`` as a process. Use it as a context manager."""

    def __init__(self, authority: Path, prefix: Sequence[str] = (), address: str = "127.0.0.1", port: int = 0) -> None:
        self._command = [*prefix, sys.executable, "-m", "tests.clients.vendor", address, str(port), str(authority)]
        self.port = port

    def __enter__(self) -> Self:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(self._command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
        self.port = int(self._said())
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=PATIENCE)

    def _said(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the vendor ended"
        return line

    def report(self) -> dict[str, int]:
        """How often each case was asked for since the last report."""
        assert self._process.stdin is not None
        self._process.stdin.write("report\n")
        self._process.stdin.flush()
        counted: dict[str, int] = json.loads(self._said())
        return counted


def make_authority(folder: Path) -> Path:
    """A CA of the vendors', as ``ca.pem`` and ``ca.key`` in ``folder``. Nobody knows it who is not told."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.private_key_pem.write_to_path(folder / "ca.key")
    return folder / "ca.pem"


def read_dotenv(text: str) -> dict[str, str]:
    """The variables that ``backstay env --format dotenv`` prints."""
    pairs = (line.partition("=") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: value.strip("'") for name, _, value in pairs}


def printed_by(command: Sequence[str | Path], variables: Mapping[str, str], cwd: Path) -> str:
    """What a program prints that has these variables, and of ours only those that any program has."""
    env = {"PATH": os.environ["PATH"], "HOME": str(cwd), "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1", **variables}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return done.stdout + done.stderr


class World:
    """A pod, its folder, and the vendor. Made by ``world``."""

    def __init__(self, folder: Path, network: Network, vendor: VendorProcess) -> None:
        self.folder = folder
        self.network = network
        self.vendor = vendor
        self.config = folder / "backstay.yaml"

    def configure(self, document: Mapping[str, Any]) -> None:
        self.config.write_text(yaml.safe_dump(dict(document), sort_keys=False))

    @contextmanager
    def backstay(self) -> Iterator[Sidecar]:
        """The sidecar, by its real command, as its own user."""
        command = self.network.in_pod(*_AS_BACKSTAY, ROOT / ".venv/bin/backstay")
        sidecar = Sidecar(self.folder / "backstay", self.config, command=command)
        try:
            yield sidecar.start()
        finally:
            sidecar.stop()

    def command(self, *arguments: str | Path, check: bool = True) -> str:
        """What a command of Backstay's prints in the pod."""
        command = self.network.in_pod(ROOT / ".venv/bin/backstay", *arguments)
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def environment(self, *options: str) -> dict[str, str]:
        """The variables of ``backstay env``."""
        return read_dotenv(self.command("env", self.config, "--format", "dotenv", *options))

    def program(self, command: Sequence[str | Path], variables: Mapping[str, str], cwd: Path) -> str:
        """Run a program of the agent's to its end, with these variables and no others; what it printed."""
        return printed_by(self.network.in_pod(*command), variables, cwd)

    @contextmanager
    def redirected(self) -> Iterator[None]:
        """The agent's connections go to ``listen.transparent``, without its knowing."""
        self.command("redirect", self.config, "--uid", str(UID), "--apply")
        try:
            yield
        finally:
            self.command("redirect", "--remove")


@contextmanager
def world(folder: Path, names: Sequence[str]) -> Iterator[World]:
    """Make it, and leave nothing behind but ``folder``."""
    folder.chmod(0o755)
    make_authority(folder / "authority")
    for name in ("backstay", "ca", "trust"):
        (folder / name).mkdir()
        os.chown(folder / name, UID, UID)
    with Network(names) as network:
        vendor = VendorProcess(folder / "authority", network.in_vendor(), VENDOR_ADDRESS, 443)
        with vendor:
            yield World(folder, network, vendor)
