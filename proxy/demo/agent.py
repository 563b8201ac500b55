"""An ordinary agent: calls one API at a steady pace with a plain HTTP client and a plain timeout.

Run twice by stage.py as ``python -m proxy.demo.agent BASE_URL``. It is the same program both times, uses
the standard library alone and does not know of Backstay: only the base URL it is given differs. It has no
retry of its own, waits for a line on its input to start, and writes one JSON line for each finished call.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import TextIO

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback needs no HTTP_PROXY


def fetch(url: str, timeout: float) -> tuple[int, str, str]:
    """GET ``url``: its status (0 if there was no answer), its body, and what went wrong on our side."""
    try:
        with _OPENER.open(url, timeout=timeout) as answer:
            return answer.status, answer.read().decode(errors="replace"), ""
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(errors="replace"), ""
    except (OSError, http.client.HTTPException) as error:
        cause = getattr(error, "reason", error)
        return 0, "", "timeout" if isinstance(cause, TimeoutError) else "connection"


class Agent:
    """Makes the calls, each on time whatever became of those before it, and logs each to ``log``."""

    def __init__(self, base: str, timeout: float, log: TextIO) -> None:
        self._base = base.rstrip("/")
        self._timeout = timeout
        self._log = log
        self._start = 0.0

    def run(self, calls: int, every: float) -> None:
        """Make ``calls`` calls, one each ``every`` seconds, and return when all have ended."""
        self._start = time.monotonic()
        with ThreadPoolExecutor(max_workers=256) as pool:
            for number in range(calls):
                time.sleep(max(0.0, self._start + number * every - time.monotonic()))
                pool.submit(self._call, number)

    def _call(self, number: int) -> None:
        begun = time.monotonic()
        status, body, error = fetch(f"{self._base}/v1/orders/{number}", self._timeout)
        ended = time.monotonic()
        record = {"call": number, "at": begun - self._start, "wait": ended - begun, "status": status, "error": error}
        if status != http.HTTPStatus.OK:
            record["body"] = body[:2000]
        self._log.write(json.dumps(record) + "\n")  # one write: lines of several threads do not mix
        self._log.flush()


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, wait for a line on standard input, run."""
    parser = argparse.ArgumentParser(prog="agent")
    parser.add_argument("base")
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--every", type=float, default=0.1, help="seconds")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds")
    options = parser.parse_args(argv)
    sys.stdin.readline()
    Agent(options.base, options.timeout, sys.stdout).run(options.calls, options.every)


if __name__ == "__main__":
    main()
