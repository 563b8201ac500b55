"""An ordinary agent: calls one API at a steady pace with a plain HTTP client and a plain timeout, and reads its prices.

Run twice by stage.py as ``python -m proxy.demo.agent BASE_URL``. It is the same program both times, uses
the standard library alone and does not know of Backstay: only the base URL it is given differs. It has no
retry of its own, waits for a line on its input to start, and writes one JSON line for each finished call.
A read of the price list is logged with all header fields of its answer: it is there that an answer says how old it is.
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
from typing import NamedTuple, TextIO

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback needs no HTTP_PROXY


class Answer(NamedTuple):
    """What became of one call."""

    status: int = 0  # 0: there was no answer
    body: str = ""
    error: str = ""  # what went wrong on our side
    headers: tuple[tuple[str, str], ...] = ()


def fetch(url: str, timeout: float) -> Answer:
    """GET ``url``."""
    try:
        with _OPENER.open(url, timeout=timeout) as answer:
            return Answer(answer.status, answer.read().decode(errors="replace"), "", tuple(answer.headers.items()))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.read().decode(errors="replace"), "", tuple(error.headers.items()))
    except (OSError, http.client.HTTPException) as error:
        cause = getattr(error, "reason", error)
        return Answer(error="timeout" if isinstance(cause, TimeoutError) else "connection")


class Agent:
    """Makes the calls, each on time whatever became of those before it, and logs each to ``log``."""

    def __init__(self, base: str, timeout: float, log: TextIO) -> None:
        self._base = base.rstrip("/")
        self._timeout = timeout
        self._log = log
        self._start = 0.0

    def run(self, calls: int, every: float, read_each: int) -> None:
        """Make ``calls`` calls, one each ``every`` seconds, each ``read_each``-th with a read, and wait for all."""
        self._start = time.monotonic()
        with ThreadPoolExecutor(max_workers=256) as pool:
            for number in range(calls):
                time.sleep(max(0.0, self._start + number * every - time.monotonic()))
                pool.submit(self._call, number)
                if number % read_each == 0:
                    pool.submit(self._read, number // read_each)

    def _call(self, number: int) -> None:
        begun = time.monotonic()
        answer = fetch(f"{self._base}/v1/orders/{number}", self._timeout)
        body = {} if answer.status == http.HTTPStatus.OK else {"body": answer.body[:2000]}
        self._write({"call": number, **self._told(begun, answer), **body})

    def _read(self, number: int) -> None:
        begun = time.monotonic()
        answer = fetch(f"{self._base}/v1/prices", self._timeout)
        self._write(
            {"read": number, **self._told(begun, answer), "body": answer.body[:2000], "headers": dict(answer.headers)}
        )

    def _told(self, begun: float, answer: Answer) -> dict[str, object]:
        wait = time.monotonic() - begun
        return {"at": begun - self._start, "wait": wait, "status": answer.status, "error": answer.error}

    def _write(self, record: dict[str, object]) -> None:
        self._log.write(json.dumps(record) + "\n")  # one write: lines of several threads do not mix
        self._log.flush()


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, wait for a line on standard input, run."""
    parser = argparse.ArgumentParser(prog="agent")
    parser.add_argument("base")
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--every", type=float, default=0.1, help="seconds")
    parser.add_argument("--read-each", type=int, default=2, help="read the prices with each call of that number")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds")
    options = parser.parse_args(argv)
    sys.stdin.readline()
    Agent(options.base, options.timeout, sys.stdout).run(options.calls, options.every, options.read_each)


if __name__ == "__main__":
    main()
