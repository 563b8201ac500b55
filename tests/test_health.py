"""Tests of health.py: what a probe says of a Backstay that is well, unwell, away, silent, or something else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from proxy.health import UnwellError, ask, wait
from tests.support.process import closed_port

READY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
UNREADY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


@contextmanager
def answering(*answers: bytes, host: str = "127.0.0.1") -> Iterator[tuple[int, list[bytes]]]:
    """A server that gives these answers, one to each connection; its port, and the requests."""
    asked: list[bytes] = []
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as server:

        def serve() -> None:
            for answer in answers:
                with server.accept()[0] as connection:
                    asked.append(connection.recv(1000))
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], asked
        thread.join(10)


def test_a_good_answer_is_enough() -> None:
    """The question is HTTP/1.1, for one path."""
    with answering(READY) as (port, asked):
        ask("127.0.0.1", port, "/readyz")
    assert asked == [b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"]


def test_over_ipv6() -> None:
    """listen.metrics may be there alone; the message names it as a URL does."""
    with (
        answering(UNREADY, host="::1") as (port, _),
        pytest.raises(UnwellError, match=rf"http://\[::1\]:{port}/readyz"),
    ):
        ask("::1", port, "/readyz")


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (UNREADY, "answers 503"),
        (b"HTTP/1.1 200", "is this the port of listen.metrics"),  # cut
        (b"+PONG\r\n", "is this the port of listen.metrics"),
        (b"", "is this the port of listen.metrics"),
        (b"HTTP/1.1 2000 \r\n\r\n", "is this the port of listen.metrics"),
    ],
)
def test_other_answers_are_told(answer: bytes, what: str) -> None:
    """A status as it is; and what is not HTTP hints at the wrong port."""
    with answering(answer) as (port, _), pytest.raises(UnwellError, match=what):
        ask("127.0.0.1", port, "/healthz")


def test_nobody_there() -> None:
    """The system's words."""
    with closed_port() as port, pytest.raises(UnwellError, match="does not answer: Connection refused"):
        ask("127.0.0.1", port, "/healthz")


def test_silence() -> None:
    """A process that hangs accepts connections, and answers none."""
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(UnwellError, match=r"within 0\.1 s"):
        ask("127.0.0.1", server.getsockname()[1], "/healthz", 0.1)


def test_it_waits_until_it_is_so() -> None:
    """It asks again, and is content with the first good answer."""
    with answering(UNREADY, b"", READY) as (port, asked):
        wait("127.0.0.1", port, "/readyz", 30.0)
    assert len(asked) == 3


def once(host: str, port: int, path: str) -> None:
    wait(host, port, path, 0.0)


@pytest.mark.parametrize("use", [ask, once])
def test_without_patience_it_asks_once(use: Callable[[str, int, str], None]) -> None:
    """As a probe does."""
    with answering(UNREADY) as (port, asked), pytest.raises(UnwellError):
        use("127.0.0.1", port, "/readyz")
    assert len(asked) == 1
