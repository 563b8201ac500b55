"""Owns the question whether a Backstay is alive or ready, asked from beside it. Called by cli.py (``backstay health``).

For images without curl: a probe is run again and again, and so imports nothing that it can do without.
"""

from __future__ import annotations

import re
import socket
import time
from typing import Final

_ANSWER_SECONDS: Final = 3.0  # that an answer may take
_PAUSE_SECONDS: Final = 0.1  # between two questions
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")


class UnwellError(Exception):
    """It is not alive, or not ready; the message says how it shows."""


def ask(host: str, port: int, path: str, patience: float = _ANSWER_SECONDS) -> None:
    """Return if ``path`` is answered with 200, each step within ``patience`` seconds. Raises UnwellError."""
    where = f"http://{f'[{host}]' if ':' in host else host}:{port}{path}"
    try:
        status = _status(host, port, path, patience)
    except TimeoutError:
        raise UnwellError(f"{where} does not answer within {patience:g} s") from None
    except OSError as error:
        raise UnwellError(f"{where} does not answer: {error.strerror or error}") from None
    if status != b"200":
        raise UnwellError(
            f"{where} answers {status.decode() or 'what is not HTTP: is this the port of listen.metrics?'}"
        )


def wait(host: str, port: int, path: str, seconds: float) -> None:
    """Ask until the answer is good, for ``seconds`` at most. Raises UnwellError, the last one."""
    until = time.monotonic() + seconds
    while True:
        try:
            return ask(host, port, path)
        except UnwellError:
            if time.monotonic() >= until:
                raise
        time.sleep(_PAUSE_SECONDS)


def _status(host: str, port: int, path: str, patience: float) -> bytes:
    """Of the answer; empty if it is not HTTP. Raises OSError."""
    with socket.create_connection((host, port), timeout=patience) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        with connection.makefile("rb") as answer:
            found = _STATUS_LINE.match(answer.readline(1024))
    return found[1] if found else b""
