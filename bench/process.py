"""Processes of a run: started on one core, watched, measured, and ended by their own id.

Called by upstream.py, peers.py and the rows. Nothing that the bench did not start is ever touched.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PROXY_CORE = 0
LOAD_CORE = 1
REDIS = "redis-server"


@dataclass(frozen=True)
class Running:
    """A process that the bench started."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def check(self) -> None:
        """Raise, with the end of its output, if the process has ended by itself."""
        if self.process.poll() is not None:
            tail = self.log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n{tail}")


@contextlib.contextmanager
def running(
    name: str, argv: Sequence[str], folder: Path, *, core: int, env: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """Run a command pinned to ``core`` for as long as the block lasts; its output goes to ``folder``."""
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["taskset", "--cpu-list", str(core), *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
        )
    try:
        yield Running(name, process, log)
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, and make it end if it does not."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_ports(count: int) -> list[int]:
    """Ports that are free now; taken together, so that they differ."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def wait_until(ready: Callable[[], bool], running: Running, *, seconds: float = 20.0) -> float:
    """Poll until ``ready``; returns the seconds it took."""
    started = time.perf_counter()
    while not ready():
        running.check()
        if time.perf_counter() - started > seconds:
            raise TimeoutError(f"{running.name} is not ready after {seconds:g} s: {running.log.read_text()[-2000:]}")
        time.sleep(0.002)
    return time.perf_counter() - started


def listens(port: int) -> bool:
    """Whether anybody takes connections on this port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[int]:
    """Run a Redis server on the load core for as long as the block lasts; its port. ``options`` say what it keeps."""
    [port] = free_ports(1)
    argv = [REDIS, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder), *options]
    with running("redis", argv, folder, core=LOAD_CORE) as process:
        wait_until(lambda: listens(port), process)
        yield port


def answers(port: int, path: str = "/small") -> bool:
    """Whether a GET on this port is answered with 200."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            return connection.recv(64).startswith((b"HTTP/1.1 200", b"HTTP/1.0 200"))
    except OSError:
        return False


def family(pid: int) -> list[int]:
    """A process and its descendants: the one that was started may only watch over the one that works."""
    found = [pid]
    for each in found:
        found += map(int, Path(f"/proc/{each}/task/{each}/children").read_text().split())
    return found


def memory(pid: int, field: str = "VmRSS") -> float:
    """Resident memory of a process in MB; ``VmHWM`` gives the peak since ``forget_peak``."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


def forget_peak(pid: int) -> None:
    """Make the peak of resident memory start from now (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def cpu_seconds(pid: int) -> float:
    """Processor time that a process and its descendants have used, user and system (proc(5), stat)."""
    ticks = 0
    for each in family(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
