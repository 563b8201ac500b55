"""Many agents that ask at the same moment, on a kept connection each, and what each of them got. Used by tests/e2e.

Bare sockets without threads: what is asked waits in the kernel of the other side, and so do the answers until they
are read.
"""

from __future__ import annotations

import http.client
import resource
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from tests.support.process import PATIENCE, Sidecar, wait_until

_OTHER_FILES: Final = 1000  # of the process that runs the tests


@dataclass(frozen=True)
class Got:
    """An answer as an agent got it."""

    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes
    whole: bool  # False if it broke off

    def field(self, name: str) -> str:
        """All values of a field."""
        return ", ".join(value for each, value in self.fields if each.lower() == name.lower())

    @property
    def outcome(self) -> str:
        """What Backstay says that it is, if it is not simply the vendor's answer."""
        return self.field("Backstay-Outcome")


def read_answer(connection: socket.socket, method: str = "GET") -> Got:
    """The next answer of a connection. Raises http.client.HTTPException, OSError if none comes."""
    response = http.client.HTTPResponse(connection, method=method)
    try:
        response.begin()
        body, whole = response.read(), True
    except http.client.IncompleteRead as broken:
        body, whole = broken.partial, False
    finally:
        response.close()
    return Got(response.status, tuple(response.getheaders()), body, whole)


def encode(path: str, fields: Iterable[str] = (), method: str = "GET") -> bytes:
    """A request without a body."""
    return "".join(f"{line}\r\n" for line in (f"{method} {path} HTTP/1.1", "Host: a", *fields, "")).encode()


def files_allowed(wanted: int) -> int:
    """How many files this process and those that it starts may have open; raised to ``wanted`` if that is permitted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


def largest_crowd(wanted: int) -> int:
    """``wanted``, or what this machine lets a process connect to. To be asked before the sidecar is started."""
    return min(wanted, files_allowed(wanted + _OTHER_FILES) - _OTHER_FILES)


class Crowd:
    """Use it as a context manager; it may ask again and again."""

    def __init__(self, sidecar: Sidecar, size: int, *, receive_buffer: int | None = None) -> None:
        self.agents = [sidecar.connect(receive_buffer=receive_buffer) for _ in range(size)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for agent in self.agents:
            agent.close()

    def ask(self, path: str, *fields: str) -> Self:
        """All of them ask for the same."""
        request = encode(path, fields)
        for agent in self.agents:
            agent.sendall(request)
        return self

    def answers(self) -> list[Got]:
        """What each of them gets."""
        return [read_answer(agent) for agent in self.agents]

    def leave(self, number: int = 0) -> None:
        """One of them goes away."""
        self.agents.pop(number).close()


def all_wait(sidecar: Sidecar, count: int) -> None:
    """Wait until ``count`` calls are under way in the sidecar."""
    wait_until(lambda: sidecar.value("backstay_inflight_requests") == count, f"{count} calls under way", 2 * PATIENCE)
