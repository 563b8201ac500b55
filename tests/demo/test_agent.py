"""proxy/demo/agent.py: an ordinary client that logs what it sees."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from proxy.demo.agent import Agent, Answer, fetch, main


class Answers(BaseHTTPRequestHandler):
    """Status 200 for even numbers and for the prices, 503 with a body for odd numbers."""

    def do_GET(self) -> None:
        last = self.path.rsplit("/", 1)[1]
        status = 200 if last == "prices" or int(last) % 2 == 0 else 503
        body = json.dumps({"reason": "circuit_open"}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Age", "7")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def base() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def records(log: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.splitlines()]


def calls(log: str) -> list[dict[str, Any]]:
    return sorted((record for record in records(log) if "call" in record), key=lambda record: int(record["call"]))


def reads(log: str) -> list[dict[str, Any]]:
    return [record for record in records(log) if "read" in record]


def test_every_call_is_logged_with_its_status_and_wait(base: str) -> None:
    """Bodies are logged where something went wrong."""
    log = io.StringIO()
    Agent(base + "/", timeout=5, log=log).run(calls=2, every=0.01, read_each=2)
    good, bad = calls(log.getvalue())
    assert (good["status"], bad["status"]) == (200, 503)
    assert "body" not in good
    assert json.loads(bad["body"]) == {"reason": "circuit_open"}
    assert bad["at"] >= 0.01
    assert 0 < bad["wait"] < 5


def test_every_second_call_comes_with_a_read_of_the_prices(base: str) -> None:
    """It is logged with what its answer says, in the body and in the fields."""
    log = io.StringIO()
    Agent(base, timeout=5, log=log).run(calls=3, every=0.01, read_each=2)
    found = reads(log.getvalue())
    assert sorted(int(read["read"]) for read in found) == [0, 1]
    assert [read["status"] for read in found] == [200, 200]
    assert json.loads(found[0]["body"]) == {"reason": "circuit_open"}
    assert found[0]["headers"]["Age"] == "7"


def test_a_vendor_that_does_not_answer_is_a_timeout(silent: socket.socket) -> None:
    """The client's own timeout ends the wait."""
    assert fetch(f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout=0.05) == Answer(error="timeout")


def test_a_vendor_that_is_not_there_is_a_connection_error(silent: socket.socket) -> None:
    """Nobody listens on a port that has just been closed."""
    port = silent.getsockname()[1]
    silent.close()
    assert fetch(f"http://127.0.0.1:{port}/", timeout=1) == Answer(error="connection")


def test_a_proxy_of_the_environment_is_not_used(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY of a developer's shell must not lead loopback calls astray."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert fetch(f"{base}/0", timeout=5).status == 200


def test_it_waits_for_a_word_to_start(
    base: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both agents can be started first and begin together."""
    monkeypatch.setattr("sys.stdin", io.StringIO("go\n"))
    main([base, "--calls", "1"])
    assert calls(capsys.readouterr().out)[0]["status"] == 200


def test_it_runs_as_a_program_and_imports_nothing_of_the_proxy() -> None:
    """An unmodified agent: the standard library is all it has."""
    code = "import sys, proxy.demo.agent; print([m for m in sys.modules if m.startswith(('aiohttp', 'proxy.'))])"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.strip() == "['proxy.demo', 'proxy.demo.agent']"
