"""The real program as a child process, and what a test may ask of it. Used by tests/e2e.

Every wait here is for an event, with a deadline that only a defect reaches.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, ClassVar, Final, TypeVar

import httpx
import yaml
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

T = TypeVar("T")
Document = dict[str, Any]

TOKEN: Final = "token-of-the-test"
PATIENCE: Final = 20.0  # seconds; what a busy machine may need, never what a test waits for
ROOT: Final = Path(__file__).parents[2]
COMMAND: Final = (sys.executable, "-m", "proxy")
_PLAIN: Final[Any] = {"timeout": PATIENCE, "verify": False}  # all is http: reading certificates takes 20 ms a call


def wait_until(condition: Callable[[], T], what: str = "the condition", seconds: float = PATIENCE) -> T:
    """The first true value of ``condition``. Raises AssertionError after ``seconds``."""
    until = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > until:
            raise AssertionError(f"{what} did not come true in {seconds:g} s")
        time.sleep(0.01)
    return value


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that refuses connections, and that nobody else can take meanwhile."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


def document(apis: Mapping[str, Mapping[str, Any]], **more: Any) -> Document:
    """A configuration on free ports; each api has its name as its mount, unless it says otherwise."""
    return {
        "version": 1,
        "listen": {"agent": "127.0.0.1:0", "metrics": "127.0.0.1:0", "admin": "127.0.0.1:0"},
        "admin_token": TOKEN,
        "apis": {name: {"mount": f"/{name}", **api} for name, api in apis.items()},
        **more,
    }


def write(path: Path, content: Document) -> None:
    """Put a configuration where the process reads it, as editors do: whole, under a new inode."""
    new = path.with_suffix(".new")
    new.write_text(yaml.safe_dump(content, sort_keys=False))
    new.replace(path)


def command(*arguments: str | Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command of the command line to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


class Sidecar:
    """``python -m proxy run FILE`` on free ports, with its log, metrics and admin API."""

    verb: ClassVar[str] = "run"

    def __init__(
        self, folder: Path, *files: Path, command: Sequence[str] = COMMAND, options: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        self.command = command
        self.files = files
        self.options = options
        self.log: list[dict[str, Any]] = []
        self.ports: dict[str, int] = {}
        self._raw: list[str] = []
        self._grown = threading.Condition()
        self._process: subprocess.Popen[str] | None = None
        self._readers: list[threading.Thread] = []

    # --- life ---

    def start(self) -> Sidecar:
        """Start, and wait until it says that it is ready."""
        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        self._process = process = subprocess.Popen(
            [*self.command, self.verb, *map(str, self.files), *self.options],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(temporary)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._readers = [
            threading.Thread(target=self._read, args=(stream, name), daemon=True)
            for stream, name in ((process.stdout, "out"), (process.stderr, "err"))
        ]
        for reader in self._readers:
            reader.start()
        self.wait_log("ready")
        self.ports = {line["listener"]: line["port"] for line in self.lines("listening")}
        return self

    def _read(self, stream: IO[str], name: str) -> None:
        for line in stream:
            with self._grown:
                self._raw.append(f"{name}| {line}")
                if name == "out" and line.startswith("{"):
                    self.log.append(json.loads(line))
                self._grown.notify_all()

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process is not None, "not started"
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def terminate(self) -> None:
        self.signal(signal.SIGTERM)

    def wait(self, seconds: float = PATIENCE) -> int:
        """The exit code, once it has ended, with its whole log read."""
        code = self.process.wait(seconds)
        for reader in self._readers:
            reader.join(PATIENCE)
        return code

    def stop(self) -> None:
        """End it, whatever state it is in: kindly, at once, by force."""
        if self._process is None:
            return
        try:
            for _ in range(2):  # the second signal ends at once
                if self.alive:
                    self.terminate()
                    self._lines_after(("draining",), 2.0)
            self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def kill(self) -> None:
        self.process.kill()
        self.wait()

    def transcript(self) -> str:
        """All that it printed, for the report of a test that failed."""
        return "".join(self._raw)

    # --- its log ---

    def lines(self, message: str) -> list[dict[str, Any]]:
        with self._grown:
            return [line for line in self.log if line["msg"] == message]

    def wait_log(self, message: str, count: int = 1) -> dict[str, Any]:
        """The ``count``th line with this message, once it is there."""
        found = self._lines_after((message,), PATIENCE, count)
        assert len(found) >= count, f"no line {message!r} came:\n{self.transcript()}"
        return found[count - 1]

    def _lines_after(self, messages: tuple[str, ...], seconds: float, count: int = 1) -> list[dict[str, Any]]:
        def found() -> list[dict[str, Any]]:
            return [line for line in self.log if line["msg"] in messages]

        until = time.monotonic() + seconds
        with self._grown:
            while len(found()) < count and self.alive and time.monotonic() < until:
                self._grown.wait(0.1)
            return found()

    # --- its listeners ---

    def url(self, path: str = "", listener: str = "agent") -> str:
        return f"http://127.0.0.1:{self.ports[listener]}{path}"

    def get(self, path: str, listener: str = "agent", **options: Any) -> httpx.Response:
        return httpx.get(self.url(path, listener), **_PLAIN, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return httpx.post(self.url(path), **_PLAIN, **options)

    def admin(self, method: str, path: str, body: Any = None, token: str | None = TOKEN) -> httpx.Response:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        return httpx.request(method, self.url(path, "admin"), json=body, headers=headers, **_PLAIN)

    def connect(self, *, receive_buffer: int | None = None) -> socket.socket:
        """A bare connection of an agent's."""
        connection = socket.socket()
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(PATIENCE)
        connection.connect(("127.0.0.1", self.ports["agent"]))
        return connection

    # --- its metrics ---

    def value(self, name: str, /, **labels: str) -> float:
        """The sum of all samples of this name that have these labels."""
        return sum(sample.value for sample in self._samples(name) if labels.items() <= sample.labels.items())

    def values(self, name: str, label: str, /, **labels: str) -> Counter[str]:
        """The same by the values of a label, less those that are 0."""
        found: Counter[str] = Counter()
        for sample in self._samples(name):
            if sample.value and labels.items() <= sample.labels.items():
                found[sample.labels[label]] += int(sample.value)
        return found

    def _samples(self, name: str) -> list[Sample]:
        families = text_string_to_metric_families(self.get("/metrics", "metrics").text)
        return [sample for family in families for sample in family.samples if sample.name == name]

    def wait_value(self, expected: float, name: str, /, **labels: str) -> None:
        """Wait until ``value`` is at least ``expected``."""
        wait_until(lambda: self.value(name, **labels) >= expected, f"{name}{labels} >= {expected:g}")

    def breaker_state(self, name: str) -> str:
        breakers = self.admin("GET", "/v1/breakers").json()["breakers"]
        return str(next(each["state"] for each in breakers if each["name"] == name))

    # --- its memory ---

    def memory(self, field: str = "VmRSS") -> int:
        """Bytes: VmRSS is what it holds, VmHWM the most that it held since ``forget_peak``."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(f"{field}:"))

    def forget_peak(self) -> int:
        """Set VmHWM to what it holds now, and return that."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        return self.memory("VmHWM")
