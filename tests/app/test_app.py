"""Tests of app.py: composition, reload and the end of the process, all in this one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpServer

from proxy.app import App, _naming, run
from proxy.config.load import ConfigError, load
from proxy.config.settings import Address
from proxy.core.breaker import State
from proxy.core.egress import EgressSettings, Via
from proxy.errors import EgressDenied
from tests.app.conftest import Starts, Writes


async def ask(app: App, path: str, **headers: str) -> tuple[int, str]:
    """One call of an agent's, on its own connection."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{app.listener.port}{path}", headers=headers) as response,
    ):
        return response.status, await response.text()


def reloads(app: App) -> dict[str, float]:
    return {
        result: app.registry.counter("backstay_config_reloads_total", result=result).value
        for result in ("ok", "failed")
    }


@pytest.fixture
async def vendor(aiohttp_server: AiohttpServer) -> str:
    """An upstream that answers on /ok, fails on /bad and hangs on /hang; its url."""

    async def ok(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    async def bad(_: web.Request) -> web.Response:
        return web.Response(status=503)

    async def hang(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    app = web.Application()
    app.add_routes([web.get("/ok", ok), web.get("/bad", bad), web.get("/hang", hang)])
    server = await aiohttp_server(app)
    return str(server.make_url("")).rstrip("/")


def api(url: str, policies: str = "") -> str:
    return f"  vendor:\n    url: {url}\n    mount: /v\n    {policies}\n"


# --- composition --------------------------------------------------------------------------------------------


async def test_a_call_goes_through_and_is_counted(starts: Starts, writes: Writes, vendor: str) -> None:
    """From the agent's listener to the vendor and back."""
    app = await starts(writes(api(vendor)))
    assert await ask(app, "/v/ok") == (200, "hello")
    families = {family.name: family for family in app.registry.families()}
    sample = families["backstay_requests"].samples[0]
    assert (sample.labels["api"], sample.labels["outcome"], sample.value) == ("vendor", "forwarded", 1)
    assert "backstay_build_info" in families
    assert "backstay_config_info" in families


async def test_a_request_without_an_api_is_counted_without_one(starts: Starts, writes: Writes, vendor: str) -> None:
    """404 with a problem that says what there is."""
    app = await starts(writes(api(vendor)))
    status, body = await ask(app, "/nowhere", Host="nobody.example")
    assert (status, "There are: /v" in body) == (404, True)
    counted = app.registry.counter(
        "backstay_requests_total", api="", route="", method="GET", code="404", outcome="rejected", reason="no_api"
    )
    assert counted.value == 1


async def test_metrics_and_admin_have_their_own_ports(
    starts: Starts, writes: Writes, vendor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Metrics are open; admin wants the token, which is made and written where only its owner reads it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    app = await starts(writes(api(vendor), listen="metrics: 127.0.0.1:0, admin: 127.0.0.1:0"))
    metrics, admin = (runner.addresses[0][1] for runner in app._runners)
    token = next(tmp_path.glob("backstay-*/*")).read_text().strip()
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{metrics}/readyz") as response:
            assert response.status == 200
        async with session.get(f"http://127.0.0.1:{admin}/v1/breakers") as response:
            assert response.status == 401
        fields = {"Authorization": f"Bearer {token}"}
        async with session.get(f"http://127.0.0.1:{admin}/v1/breakers", headers=fields) as response:
            assert [each["name"] for each in (await response.json())["breakers"]] == ["vendor"]


async def test_its_own_listeners_are_known_by_their_addresses(starts: Starts, writes: Writes, vendor: str) -> None:
    """Whatever the configuration calls them: a name among them could be compared with no address."""
    app = await starts(
        writes(api(vendor), listen="metrics: 'localhost:0', admin: 'localhost:0', transparent: '[::1]:0'")
    )
    guard = app.survivors.guard
    guard.settings = EgressSettings(private_networks="allow")
    ports = {app.listener.port, *(runner.addresses[0][1] for runner in app._runners)}
    for port in ports:
        with pytest.raises(EgressDenied, match="own"):
            guard.addresses("localhost", port, ["127.0.0.1"], Via.FORWARD)
    assert {port for _, port in guard.own} > ports


@pytest.mark.parametrize(
    ("listen", "count"),
    [("metrics: off, admin: off", 0), ("metrics: 127.0.0.1:0, admin: off", 1), ("metrics: off, admin: 127.0.0.1:0", 1)],
)
async def test_each_of_them_may_be_off(starts: Starts, writes: Writes, listen: str, count: int) -> None:
    """Nothing listens that is not wanted; a configured token is written nowhere."""
    app = await starts(writes(api("http://127.0.0.1:9"), listen=listen, more="admin_token: hush"))
    assert len(app._runners) == count


async def test_an_address_that_is_taken_ends_the_start(writes: Writes, vendor: str, settled: None) -> None:
    """As an OSError, with nothing left running."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        path = writes(api(vendor))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        path.write_text(path.read_text().replace("agent: 127.0.0.1:0", f"agent: {address}"))
        app = App(load([path], {}), [path], {})
        with pytest.raises(OSError, match="stop what listens there, or change `listen`") as raised:
            await app.serve()
    assert raised.value.filename == address
    assert not app.ready


@pytest.mark.parametrize("listener", ["metrics", "admin"])
async def test_an_address_that_cannot_be_had_is_named(listener: str, writes: Writes, settled: None) -> None:
    """Whichever of the listeners it is, with the system's words and what to do."""
    other = "admin" if listener == "metrics" else "metrics"
    path = writes(api("http://127.0.0.1:9"), listen=f"{listener}: 192.0.2.1:1, {other}: off", more="admin_token: hush")
    app = App(load([path], {}), [path], {})
    with pytest.raises(OSError, match=r"Cannot assign .*; correct the address in `listen`") as raised:
        await app.serve()
    assert raised.value.filename == "192.0.2.1:1"


def test_a_host_without_an_address_is_named() -> None:
    """The numbers of name resolution are not those of other errors."""
    with (
        pytest.raises(OSError, match="Name or service not known; correct the host") as raised,
        _naming(Address("h", 1)),
    ):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    assert raised.value.filename == "h:1"


async def test_breakers_are_ticked(starts: Starts, writes: Writes, vendor: str) -> None:
    """A ramp that is over ends without a call."""
    app = await starts(writes(api(vendor, "breaker: {probes: 1, ramp: 1ms}")))
    breaker = app.survivors.breakers["vendor"]
    breaker.force(State.FORCED_OPEN, app.clock.now())
    breaker.force(None, app.clock.now())
    assert (await ask(app, "/v/ok"))[0] == 200
    while breaker.state is not State.CLOSED:
        await asyncio.sleep(0.01)


# --- reload -------------------------------------------------------------------------------------------------


async def test_a_good_configuration_replaces_the_old_one(
    starts: Starts, writes: Writes, vendor: str, logged: Callable[[], str]
) -> None:
    """Routes, limits and log; what is counted and logged says so."""
    app = await starts(writes(api(vendor)))
    more = "log: {level: error, access: off}\nlimits: {connections: 7, header_bytes: 8KiB, body_bytes: 1KiB}"
    writes(api(vendor).replace("mount: /v", "mount: /new"), more=more)
    digest = app.config.digest
    assert await app.reload() == []
    assert app.config.digest != digest
    listener = app.listener
    assert (listener.max_connections, listener.header_limit, listener.body_limit) == (7, 8192, 1024)
    assert logging.getLogger("backstay").level == logging.ERROR
    assert (await ask(app, "/v/ok"))[0] == 404
    assert (await ask(app, "/new/ok"))[0] == 200
    assert reloads(app) == {"ok": 1, "failed": 0}


async def test_a_bad_configuration_keeps_the_old_one(
    starts: Starts, writes: Writes, vendor: str, logged: Callable[[], str]
) -> None:
    """Calls go on as before; count and log say that it failed, and what is wrong is told."""
    app = await starts(writes(api(vendor)))
    runtime, watched = app.runtime, app._watched
    secret = Path(writes(api("${file:/nowhere/url}"))).parent
    problems = await app.reload()
    assert len(problems) == 1
    assert app.runtime is runtime
    assert (await ask(app, "/v/ok"))[0] == 200
    assert reloads(app) == {"ok": 0, "failed": 1}
    assert "ERROR reload failed" in logged()
    assert set(app._watched) >= {*watched, secret / "backstay.yaml", Path("/nowhere/url")}


async def test_files_of_tls_that_are_no_use_keep_the_old_one(
    starts: Starts, writes: Writes, tmp_path: Path, logged: Callable[[], str]
) -> None:
    """A half-written certificate does not cost the connections that run."""
    ca = tmp_path / "ca.pem"
    ca.write_bytes(trustme.CA().cert_pem.bytes())
    path = writes(api("https://vendor.example", f"tls: {{ca_file: {ca}}}"))
    app = await starts(path)
    runtime = app.runtime
    ca.write_bytes(b"-----BEGIN")
    problems = await app.reload()
    assert len(problems) == 1
    ca.unlink()
    assert len(await app.reload()) == 1
    assert app.runtime is runtime
    assert reloads(app)["ok"] == 0
    assert reloads(app)["failed"] >= 2  # the watch may have found it bad, too


async def test_a_reload_that_cannot_be_tried_keeps_the_old_one(
    starts: Starts, writes: Writes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No process for the loader is a problem like any other, and the process that serves goes on."""
    app = await starts(writes(api("http://127.0.0.1:9")))
    runtime = app.runtime
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    problems = await app.reload()
    assert len(problems) == 1
    assert "/nowhere/python" in problems[0]
    assert app.runtime is runtime
    assert reloads(app) == {"ok": 0, "failed": 1}


async def test_an_open_circuit_survives_a_reload(starts: Starts, writes: Writes, vendor: str) -> None:
    """Also when the settings of its breaker change."""
    app = await starts(writes(api(vendor, "breaker: {consecutive: 2}")))
    assert [(await ask(app, "/v/bad"))[0] for _ in range(2)] == [503, 503]
    writes(api(vendor, "breaker: {consecutive: 3}"))
    await app.reload()
    assert app.survivors.breakers["vendor"].state is State.OPEN
    assert "circuit_open" in (await ask(app, "/v/ok"))[1]


@pytest.mark.parametrize(
    "change",
    [{"listen": "metrics: 127.0.0.1:0, admin: off"}, {"more": "admin_token: another"}],
    ids=["listen", "token"],
)
async def test_what_only_a_start_can_change_is_said(
    starts: Starts, writes: Writes, logged: Callable[[], str], change: dict[str, str]
) -> None:
    """Listeners and the token stay as they are, and nobody need wonder why."""
    app = await starts(writes(api("http://127.0.0.1:9")))
    writes(api("http://127.0.0.1:9"), **change)
    assert await app.reload() == []
    assert "WARNING a change of listen" in logged()


async def test_a_changed_file_is_noticed(starts: Starts, writes: Writes, vendor: str) -> None:
    """Without a signal, within seconds."""
    app = await starts(writes(api(vendor)))
    writes(api(vendor, "retry: {}"))
    async with asyncio.timeout(10.0):
        while reloads(app)["ok"] == 0:
            await asyncio.sleep(0.02)


# --- the end ------------------------------------------------------------------------------------------------


@pytest.fixture
def serving(settled: None) -> Iterator[Callable[[Path], Any]]:
    """The program as a task, for tests that end it."""
    apps: list[tuple[App, asyncio.Task[int]]] = []

    async def serve(path: Path) -> tuple[App, asyncio.Task[int]]:
        app = App(load([path], {}), [path], {})
        task = asyncio.get_running_loop().create_task(app.serve())
        apps.append((app, task))
        while not app.ready:
            await asyncio.sleep(0.005)
        return app, task

    yield serve
    assert all(task.done() for _, task in apps)


async def test_hangup_reloads_and_terminate_ends(serving: Any, writes: Writes, vendor: str) -> None:
    """SIGHUP puts the file in force; SIGTERM drains, and with nothing under way ends with 0."""
    app, task = await serving(writes(api(vendor)))
    signal.raise_signal(signal.SIGHUP)
    while reloads(app)["ok"] == 0:
        await asyncio.sleep(0.005)
    signal.raise_signal(signal.SIGTERM)
    assert await asyncio.wait_for(task, 10.0) == 0
    assert not app.ready


async def test_what_does_not_end_in_time_is_cut_and_counted(serving: Any, writes: Writes, vendor: str) -> None:
    """drain.timeout is the longest that the process waits for a call."""
    app, task = await serving(writes(api(vendor), more="drain: {timeout: 100ms}"))
    call = asyncio.get_running_loop().create_task(ask(app, "/v/hang"))
    while not app.listener.busy:
        await asyncio.sleep(0.005)
    signal.raise_signal(signal.SIGTERM)
    assert await asyncio.wait_for(task, 10.0) == 0
    assert app.registry.counter("backstay_drain_cut_total").value == 1
    with contextlib.suppress(aiohttp.ClientError):
        await call


async def test_a_second_signal_ends_at_once(serving: Any, writes: Writes, vendor: str) -> None:
    """With 1, whatever is still running; a hangup in between changes nothing."""
    app, task = await serving(writes(api(vendor), more="drain: {timeout: 5m}"))
    call = asyncio.get_running_loop().create_task(ask(app, "/v/hang"))
    while not app.listener.busy:
        await asyncio.sleep(0.005)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGTERM):
        signal.raise_signal(number)
    assert await asyncio.wait_for(task, 10.0) == 1
    with contextlib.suppress(aiohttp.ClientError):
        await call


# --- run ----------------------------------------------------------------------------------------------------


@pytest.fixture
def untouched_loggers() -> Iterator[None]:
    """``run`` sends the logs of the whole process to stdout; give them back."""
    names = ("backstay", "asyncio", "aiohttp")
    before = {name: (list((log := logging.getLogger(name)).handlers), log.propagate, log.level) for name in names}
    yield
    for name, (handlers, propagate, level) in before.items():
        logger = logging.getLogger(name)
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


def test_run_refuses_a_bad_configuration(tmp_path: Path) -> None:
    """Before anything is started."""
    with pytest.raises(ConfigError):
        run([tmp_path / "absent.yaml"], {})


def test_run_serves_on_its_own_loop(writes: Writes, settled: None, untouched_loggers: None) -> None:
    """Until it cannot: here its address is taken."""
    assert hasattr(sys.stdout, "reconfigure")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        path = writes(api("http://127.0.0.1:9"))
        text = path.read_text().replace("agent: 127.0.0.1:0", f"agent: 127.0.0.1:{taken.getsockname()[1]}")
        path.write_text(text)
        with pytest.raises(OSError):
            run([path], {})
