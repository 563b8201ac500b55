"""An agent that knows nothing of Backstay: the standard library, and the hosts it calls. Runs in the pod of tests/pod.

    agent.py calls SECONDS    calls, several at once, until SIGTERM and SECONDS longer; then says what came of them
    agent.py job COUNT        so many calls, and then it is done
    agent.py corporate        one call to a host that only its image's own roots vouch for

Once it has printed ``calling``, a call that fails has failed. Before that, the pod was still starting.
"""

# ruff: noqa: T201  (it prints what came of it, for whoever reads its log)

from __future__ import annotations

import json
import signal
import sys
import threading
import time
import urllib.request
from http.client import HTTPException
from urllib.error import HTTPError

CALLERS = 3
PATIENCE = 60.0
PIECE = b"piece of a stream\n"


def call(number: int) -> None:
    """Every tenth call is a stream of a second; raises OSError, HTTPException or ValueError."""
    path, expected = ("stream", PIECE * 10) if number % 10 == 9 else (f"echo/{number}", f"echo {number}".encode())
    try:
        with urllib.request.urlopen(f"https://vendor.test/{path}", timeout=PATIENCE) as answer:
            body = answer.read()
    except HTTPError as error:
        raise ValueError(f"{path}: {error.code} {error.read()!r}") from None
    if body != expected:
        raise ValueError(f"{path}: {len(body)} of {len(expected)} bytes")


class Agent:
    """Callers, and what came of their calls."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.until: float | None = None
        self.told: float | None = None
        self.calls = self.begun_after = 0
        self.failed: list[str] = []

    def start_up(self) -> None:
        """Until a call is answered: not every engine starts the sidecar before it."""
        while True:
            try:
                call(0)
            except (OSError, HTTPException, ValueError) as error:
                print(f"not yet: {error!r}", flush=True)
                time.sleep(0.2)
            else:
                print("calling", flush=True)
                return

    def tell(self, seconds: float) -> None:
        self.told = time.monotonic()
        self.until = self.told + seconds

    def keep_calling(self, offset: int) -> None:
        number = offset
        while self.until is None or time.monotonic() < self.until:
            after = self.told is not None
            problem = None
            try:
                call(number)
            except (OSError, HTTPException, ValueError) as error:
                problem = repr(error)
            with self.lock:
                self.calls += 1
                self.begun_after += after
                self.failed += [problem] if problem else []
            number += 1


def calls(seconds: float) -> None:
    agent = Agent()
    agent.start_up()
    signal.signal(signal.SIGTERM, lambda *_: agent.tell(seconds))
    callers = [threading.Thread(target=agent.keep_calling, args=(3 * number,)) for number in range(CALLERS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    print(json.dumps({"calls": agent.calls, "begun_after": agent.begun_after, "failed": agent.failed}), flush=True)


def job(count: int) -> None:
    Agent().start_up()
    for number in range(count):
        call(number)
    print("done", flush=True)


def corporate() -> None:
    with urllib.request.urlopen("https://corporate.test:8443/echo/1", timeout=PATIENCE) as answer:
        print(answer.read().decode(), flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["calls", seconds]:
            calls(float(seconds))
        case ["job", count]:
            job(int(count))
        case ["corporate"]:
            corporate()
        case other:
            sys.exit(f"{other}: see above")
