"""A real redis-server of a test's own: free port, temporary folder, nothing kept on disk. For tests of shared stores.

It is ended by its pid, by force: it has nothing to save.
"""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Final

import redis
import trustme
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.process import PATIENCE, closed_port

_TRIES: Final = 5  # another program may take the port between our look and the server's start


class RedisServer:
    """``redis-server`` with more options as words, as in its configuration file."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.port = 0
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> RedisServer:
        """Start, on the port of the last time if there was one, and wait until it answers."""
        for _ in range(_TRIES):
            if self._started(self.port or _free_port()):
                return self
        raise AssertionError(f"redis-server does not start:\n{(self.folder / 'redis.log').read_text()}")

    def _started(self, port: int) -> bool:
        words = [
            "--bind",
            "127.0.0.1",
            "--port",
            str(port),
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            str(self.folder),
        ]
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(["redis-server", *words, *self._options], stdout=log, stderr=log)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and self._process.poll() is None:
            if self._answers(port):
                self.port = port
                return True
            time.sleep(0.005)
        self.kill()
        return False

    def _answers(self, port: int) -> bool:
        try:
            with redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as client:
                client.ping()
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False
        return True

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def kill(self) -> None:
        """End it at once; harmless if it has ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)

    def pause(self) -> None:
        """It accepts what the kernel accepts, and answers nothing."""
        assert self._process is not None, "not started"
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It reads what was sent meanwhile."""
        assert self._process is not None, "not started"
        self._process.send_signal(signal.SIGCONT)

    def ask(self, *command: str | bytes | float, **settings: Any) -> Any:
        """What the server answers to a command."""
        with redis.Redis(port=self.port, **settings) as client:
            return client.execute_command(*command)


def _free_port() -> int:
    with closed_port() as port:
        return port


def tls_options(folder: Path, authority: trustme.CA) -> tuple[int, tuple[str, ...]]:
    """A port for TLS, and the options with which a server serves it."""
    port = _free_port()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    server, ca = str(folder / "server.pem"), str(folder / "ca.pem")
    files = ("--tls-cert-file", server, "--tls-key-file", server, "--tls-ca-cert-file", ca)
    return port, ("--tls-port", str(port), "--tls-auth-clients", "no", *files)
