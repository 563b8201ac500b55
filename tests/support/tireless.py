"""An agent in a process of its own that calls all the time, and now and then after SIGTERM. Used by tests/e2e.

with Tireless(port, "a", goes_on=0.5) as agent:
    agent.terminate()
    report = agent.report()     # once it has ended: what it has called, and what was lost

It runs as a program on the standard library alone. It begins no call after its last moment, ends those that are under
way, and tries nothing again: whatever is not answered as it should be is *lost*.
"""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Self

EVENTS: Final = 5  # of a stream
PAUSE: Final = 0.2  # seconds between two calls of one kind
LATE_PAUSE: Final = 0.5  # the same after SIGTERM: long enough for a sidecar to believe that it was the last one
_PATIENCE: Final = 20.0


@dataclass
class Report:
    """What an agent has done."""

    answered: dict[str, int] = field(default_factory=dict)  # by kind
    keys: list[str] = field(default_factory=list)  # of calls that must happen once, in their order
    lost: list[str] = field(default_factory=list)


class Tireless:
    """The process, from the test's side."""

    def __init__(self, port: int, name: str, *, goes_on: float) -> None:
        self._report: Report | None = None
        self._command = [sys.executable, "-S", __file__, str(port), name, str(goes_on)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def terminate(self) -> None:
        self._process.terminate()

    def report(self) -> Report:
        """What it says at its end, once that has come."""
        if self._report is None:
            said, _ = self._process.communicate(timeout=2 * _PATIENCE)
            assert self._process.returncode == 0, "the agent has failed"
            self._report = Report(**json.loads(said))
        return self._report


# --- the program --------------------------------------------------------------------------------------------


class _Agent:
    def __init__(self, port: int, name: str) -> None:
        self.port = port
        self.name = name
        self.told = threading.Event()
        self.over = threading.Event()
        self.report = Report()
        self._connections = threading.local()

    def work(self, kind: str, call: Callable[[int], None]) -> None:
        number = 0
        while not self.over.is_set():
            try:
                call(number)
            except (OSError, http.client.HTTPException, AssertionError) as error:
                self.report.lost.append(f"{kind} {number} of {self.name}: {error!r}")
                self._connections.kept = None
            number += 1
            self.report.answered[kind] = number
            time.sleep(LATE_PAUSE if self.told.is_set() else PAUSE)

    def kept(self, number: int) -> None:
        """On a connection that is kept until it says Connection: close."""
        self._expect(self._kept(), "GET", f"/vendor/read/{self.name}/{number}")

    def fresh(self, number: int) -> None:
        connection = self._fresh()
        self._expect(connection, "GET", f"/vendor/read/{self.name}/{number}")
        connection.close()

    def streams(self, number: int) -> None:
        body = self._expect(self._kept(), "GET", f"/vendor/events/{EVENTS}")
        assert body.count(b"data: ") == EVENTS, body

    def pays(self, number: int) -> None:
        key = f"{self.name}-{number}"
        self.report.keys.append(key)
        body = self._expect(self._kept(), "POST", "/vendor/pay", {"Idempotency-Key": key})
        assert b"done " in body, body

    def _expect(
        self, connection: http.client.HTTPConnection, method: str, path: str, headers: dict[str, str] | None = None
    ) -> bytes:
        connection.request(method, path, b"amount=1" if method == "POST" else None, headers or {})
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, (answer.status, body)
        return body

    def _kept(self) -> http.client.HTTPConnection:
        if getattr(self._connections, "kept", None) is None:
            self._connections.kept = self._fresh()
        kept: http.client.HTTPConnection = self._connections.kept
        return kept

    def _fresh(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE)


def main() -> None:
    """Call until SIGTERM, and the seconds of the third argument."""
    agent = _Agent(int(sys.argv[1]), sys.argv[2])
    signal.signal(signal.SIGTERM, lambda *_: agent.told.set())
    kinds = {"kept": agent.kept, "fresh": agent.fresh, "streams": agent.streams, "pays": agent.pays}
    threads = [threading.Thread(target=agent.work, args=each) for each in kinds.items()]
    for thread in threads:
        thread.start()
    agent.told.wait()
    time.sleep(float(sys.argv[3]))
    agent.over.set()
    for thread in threads:
        thread.join()
    sys.stdout.write(json.dumps(vars(agent.report)))


if __name__ == "__main__":
    main()
