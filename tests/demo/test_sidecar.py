"""proxy/demo/sidecar.py: the configuration is derived, the child is watched and ended."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import yaml

from proxy.clock import Clock
from proxy.demo.sidecar import CONFIG, DemoError, Sidecar, breaker_state, derive, end, listeners

FAKE = """
import http.server, json, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'backstay_breaker_state{api="shop",scope="",state="half_open"} 1.0\\n'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if self.path == "/metrics":
            sys.exit("told once")

server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
for name in ("agent", "metrics"):
    print(json.dumps({"msg": "listening", "listener": name, "port": server.server_port}), flush=True)
server.serve_forever()
"""
STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
async def clock() -> Clock:
    return Clock(asyncio.get_running_loop())


@pytest.fixture
async def make(tmp_path: Path, clock: Clock) -> AsyncIterator[Callable[[str], Sidecar]]:
    made: list[Sidecar] = []

    def build(code: str) -> Sidecar:
        made.append(Sidecar(tmp_path, clock, (sys.executable, "-c", code)))
        return made[-1]

    yield build
    for sidecar in made:
        await sidecar.stop()


def test_the_shipped_configuration_is_the_one_that_people_see() -> None:
    """config/demo.yaml and the packaged file are one."""
    assert (Path(__file__).parents[2] / "config" / "demo.yaml").samefile(CONFIG)


def test_only_addresses_change_in_a_story_of_usual_length() -> None:
    """The policies that newcomers see are those of config/demo.yaml."""
    text = CONFIG.read_text()
    shipped, derived = yaml.safe_load(text), derive(text, vendor="http://127.0.0.1:1", scale=1)
    assert derived["listen"] == {"agent": "127.0.0.1:0", "metrics": "127.0.0.1:0", "admin": "off"}
    assert derived["apis"]["shop"]["url"] == "http://127.0.0.1:1"
    assert derived["apis"]["shop"]["retry"] == shipped["apis"]["shop"]["retry"]
    assert derived["apis"]["shop"]["routes"] == shipped["apis"]["shop"]["routes"]
    assert derived["apis"]["shop"]["breaker"]["open"] == "2000ms"


def test_a_shorter_story_shortens_the_breaker_but_not_the_timeouts() -> None:
    """Nothing becomes so short that it would be noise."""
    text = CONFIG.read_text()
    api = derive(text, vendor="http://127.0.0.1:1", scale=0.2)["apis"]["shop"]
    assert api["breaker"]["window"] == "2000ms"
    assert api["breaker"]["open"] == "400ms"
    assert api["timeout"] == yaml.safe_load(text)["apis"]["shop"]["timeout"]
    assert derive(text, vendor="", scale=0.001)["apis"]["shop"]["breaker"]["open"] == "200ms"


def test_a_duration_that_is_none_is_refused() -> None:
    """The message names the value."""
    with pytest.raises(DemoError, match="'soon' is not a duration"):
        derive("apis: {shop: {breaker: {open: soon}}}", vendor="", scale=1)


@pytest.mark.parametrize(
    ("page", "state"),
    [
        (
            'backstay_breaker_state{api="a",state="closed"} 0.0\nbackstay_breaker_state{api="a",state="open"} 1.0',
            "open",
        ),
        ('backstay_breaker_state{state="closed",api="a"} 1', "closed"),
        ("", "unknown"),
        ('backstay_breaker_state{api="a",state="open"} 0.0', "unknown"),
    ],
)
def test_the_state_of_the_breaker_is_read_from_metrics(page: str, state: str) -> None:
    """The one series that is 1 names the state."""
    assert breaker_state(page) == state


def test_the_ports_are_those_of_the_log() -> None:
    """Lines that are half written or of another kind are passed over."""
    log = '{"msg": "listening", "listener": "agent", "port": 7}\n{"msg": "ready"}\nnoise\n{"msg": "liste'
    assert listeners(log) == {"agent": 7}


async def until_it_ends(sidecar: Sidecar, clock: Clock) -> None:
    while True:
        await sidecar.breaker()
        await clock.sleep(0.01)


async def test_start_waits_for_readiness_and_the_end_is_noticed(make: Callable[[str], Sidecar], clock: Clock) -> None:
    """A sidecar that dies in the middle is an error with its last words."""
    sidecar = make(FAKE)
    await sidecar.start("http://127.0.0.1:1", scale=1)
    assert sidecar.base.endswith("/shop")
    assert await sidecar.breaker() == "half_open"
    with pytest.raises(DemoError, match=r"(?s)in the middle.*told once"):
        await until_it_ends(sidecar, clock)


async def test_a_sidecar_that_does_not_start_is_quoted(make: Callable[[str], Sidecar]) -> None:
    """The user reads why, without looking for a log."""
    with pytest.raises(DemoError, match=r"(?s)ended at once .exit code 1.*bad luck"):
        await make("raise SystemExit('bad luck')").start("http://127.0.0.1:1", scale=1)


async def test_a_sidecar_that_never_started_can_be_stopped(make: Callable[[str], Sidecar]) -> None:
    """Stopping is always safe, and its breaker is unknown."""
    sidecar = make("")
    assert await sidecar.breaker() == "unknown"
    await sidecar.stop()


async def test_a_child_that_ignores_sigterm_is_killed(clock: Clock) -> None:
    """No child outlives the demonstration."""
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", STUBBORN, stdout=asyncio.subprocess.PIPE)
    assert child.stdout is not None
    await child.stdout.readline()
    await end(child, clock, limit=0.1)
    assert child.returncode == -9


async def test_a_child_that_has_ended_is_left_alone(clock: Clock) -> None:
    """Ending twice is harmless."""
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await child.wait()
    await end(child, clock)
    assert child.returncode == 0
