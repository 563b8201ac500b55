"""The control API, and the metrics and health beside it, over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import re
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import ClientSession, web
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from proxy.admin.api import _Api, _encoder, admin_app, metrics_app, serve
from proxy.telemetry.metrics import Registry
from proxy.telemetry.requests import RequestMetrics

TOKEN = "correct-horse"
AUTH = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    RequestMetrics(registry, "weather", "default").record(b"GET", 200, "forwarded", "", 0.5, 0.4, 0.3, 0.0002)
    return registry


@pytest.fixture
async def admin(aiohttp_client: Any, control: Any) -> Any:
    return await aiohttp_client(admin_app(control, TOKEN), headers=AUTH)


class TestMetricsApp:
    """Read-only and open."""

    async def test_metrics_in_the_text_format(self, aiohttp_client: Any, registry: Registry) -> None:
        """A plain scrape parses, and has our metrics and those of the process."""
        client = await aiohttp_client(metrics_app(registry, lambda: True))
        response = await client.get("/metrics")
        names = {family.name for family in parse(await response.text())}
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert names >= {"backstay_requests", "backstay_overhead_seconds", "process_resident_memory_bytes"}
        assert names.isdisjoint({"python_gc_objects_collected", "python_info"})

    async def test_metrics_in_openmetrics(self, aiohttp_client: Any, registry: Registry) -> None:
        """A scraper that asks for OpenMetrics gets it, valid to its end."""
        client = await aiohttp_client(metrics_app(registry, lambda: True))
        response = await client.get(
            "/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0,*/*;q=0.1"}
        )
        text = await response.text()
        assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        assert text.endswith("# EOF\n")
        assert list(parse_openmetrics(text))  # type: ignore[no-untyped-call]

    async def test_a_scrape_sees_what_has_happened_since(self, aiohttp_client: Any, registry: Registry) -> None:
        """Values are read at each scrape."""
        client = await aiohttp_client(metrics_app(registry, lambda: True))
        await client.get("/metrics")
        registry.counter("backstay_config_reloads_total", result="ok").inc()
        assert 'backstay_config_reloads_total{result="ok"} 1.0' in await (await client.get("/metrics")).text()

    @given(
        accept=st.one_of(
            st.text(),
            st.builds(
                "{};version={};escaping={}".format,
                st.sampled_from(["text/plain", "application/openmetrics-text"]),
                st.sampled_from(["", "x", "0.0.4", "1.0.0", "1.x", "2.0.0", "9.9.9"]) | st.text(max_size=5),
                st.sampled_from(["", "x", "allow-utf-8", "dots", "values", "underscores"]) | st.text(max_size=5),
            ),
        )
    )
    def test_any_accept_header_gets_an_exposition(self, accept: str) -> None:
        """No Accept header, however odd, costs a scrape."""
        registry = Registry()
        registry.gauge("backstay_agent_connections").set(3)
        encode, content_type = _encoder(accept)
        assert b"connections 3.0\n" in encode(registry.collector())  # the name may be escaped, as was asked
        assert content_type.startswith(("text/plain", "application/openmetrics-text"))

    async def test_healthy_while_the_loop_turns(self, aiohttp_client: Any, registry: Registry) -> None:
        """Health does not depend on readiness: a pod that drains must not be killed for it."""
        client = await aiohttp_client(metrics_app(registry, lambda: False))
        response = await client.get("/healthz")
        assert (response.status, await response.json()) == (200, {"status": "alive"})
        assert response.headers["Server"] == "backstay"

    async def test_ready_when_ready(self, aiohttp_client: Any, registry: Registry) -> None:
        """Readiness is asked at each request."""
        answers = iter((False, True))
        client = await aiohttp_client(metrics_app(registry, lambda: next(answers)))
        before, after = await client.get("/readyz"), await client.get("/readyz")
        assert (before.status, (await before.json())["status"]) == (503, "unready")
        assert (after.status, (await after.json())["status"]) == (200, "ready")

    async def test_metrics_need_no_token_and_give_no_control(self, aiohttp_client: Any, registry: Registry) -> None:
        """The open port has three paths, and none of them changes anything."""
        client = await aiohttp_client(metrics_app(registry, lambda: True))
        assert (await client.get("/v1/status")).status == 404
        assert (await client.post("/metrics")).status == 405


def test_the_page_for_operators_has_every_request(control: Any) -> None:
    """docs/operating.md and the control API list the same; POST to a breaker is told beside PUT."""
    routes = {
        (route.method, route.path.replace("{name:.+}", "NAME").replace("{id}", "ID"))
        for route in _Api(control).routes()
    }
    told = re.findall(r"^\| `(GET|PUT|POST|DELETE) (/\S*)`", Path("docs/operating.md").read_text(), re.MULTILINE)
    assert {*told} == routes - {("POST", "/v1/breakers/NAME")}


class TestReading:
    """What the operator sees."""

    @pytest.mark.parametrize(
        "path",
        [
            "/",
            "/nowhere",
            "/v1/status",
            "/v1/breakers",
            "/v1/buckets",
            "/v1/pools",
            "/v1/config",
            "/v1/cache",
            "/v1/ledgers",
        ],
    )
    async def test_everything_needs_the_token(self, aiohttp_client: Any, control: Any, path: str) -> None:
        """No path of the control API is open."""
        client = await aiohttp_client(admin_app(control, TOKEN))
        assert (await client.get(path)).status == 401

    async def test_status(self, admin: Any, control: Any) -> None:
        """The program's own facts, as they are."""
        assert await (await admin.get("/v1/status")).json() == control.status()

    @pytest.mark.parametrize("what", ["breakers", "buckets", "pools", "ledgers"])
    async def test_lists(self, admin: Any, control: Any, what: str) -> None:
        """What there are several of comes as a list under its name, an empty one too."""
        assert await (await admin.get(f"/v1/{what}")).json() == {what: getattr(control, what)()}

    async def test_config(self, admin: Any, control: Any) -> None:
        """The effective configuration, as it was masked."""
        assert await (await admin.get("/v1/config")).json() == control.effective_config()

    async def test_the_page(self, admin: Any) -> None:
        """The status page is text."""
        response = await admin.get("/")
        assert response.content_type == "text/plain"
        assert "BREAKERS\n" in await response.text()


class TestForcingABreaker:
    """PUT or POST /v1/breakers/NAME."""

    @pytest.mark.parametrize("method", ["PUT", "POST"])
    @pytest.mark.parametrize("name", ["weather", "stripe/charges"])
    @pytest.mark.parametrize("state", ["open", "closed", "auto"])
    async def test_it_is_forced(self, admin: Any, control: Any, method: str, name: str, state: str) -> None:
        """The answer is the breaker as it is now."""
        response = await admin.request(method, f"/v1/breakers/{name}", json={"state": state})
        assert (response.status, control.forced[name]) == (200, state)
        assert await response.json() == {"name": name, "state": "closed", "forced": state}

    async def test_an_unknown_name_is_told_with_near_ones(self, admin: Any) -> None:
        """A slip of the finger is answered with what was meant."""
        response = await admin.put("/v1/breakers/wether", json={"state": "open"})
        body = await response.json(content_type="application/problem+json")
        assert response.status == 404
        assert body["detail"] == "There is no breaker named 'wether'. Did you mean weather?"
        assert body["breakers"] == ["weather", "stripe/charges"]

    async def test_a_name_like_no_other_is_told_too(self, admin: Any) -> None:
        """Where nothing is near, nothing is guessed."""
        response = await admin.put("/v1/breakers/xyz", json={"state": "open"})
        body = await response.json(content_type="application/problem+json")
        assert (body["detail"], body["near"]) == ("There is no breaker named 'xyz'.", [])

    @pytest.mark.parametrize(
        ("body", "detail"),
        [
            (b"", "The body is not JSON"),
            (b"open", "The body is not JSON"),
            (b"\xff\xfe\xff", "The body is not JSON"),
            (b"[" * 4000, "The body is not JSON"),
            (b'"open"', "is not of the form"),
            (b"{}", "is not of the form"),
            (b'{"state": 1}', "is not of the form"),
            (b'{"state": "open", "for": "1m"}', "is not of the form"),
            (b'{"state": "ajar"}', "state is open or closed or auto, not 'ajar'"),
        ],
    )
    async def test_a_bad_body_is_told(self, admin: Any, control: Any, body: bytes, detail: str) -> None:
        """The answer says what is wrong, and nothing is changed."""
        response = await admin.put("/v1/breakers/weather", data=body)
        assert response.status == 400
        assert detail in (await response.json(content_type="application/problem+json"))["detail"]
        assert control.forced["weather"] == "auto"

    async def test_a_large_body_is_refused(self, admin: Any) -> None:
        """No body of this API is long."""
        assert (await admin.put("/v1/breakers/weather", data=b" " * 5000)).status == 413


class TestReload:
    """POST /v1/reload."""

    async def test_a_good_configuration_is_loaded(self, admin: Any, control: Any) -> None:
        """The answer comes once it is in force."""
        response = await admin.post("/v1/reload")
        assert (response.status, await response.json(), control.reloads) == (200, {"reloaded": True}, 1)

    async def test_a_bad_configuration_is_told(self, admin: Any, control: Any) -> None:
        """All problems are in the answer."""
        control.problems = ["a.yaml:3:1: apis: unknown key", "a.yaml:9:5: url: missing"]
        response = await admin.post("/v1/reload")
        body = await response.json(content_type="application/problem+json")
        assert (response.status, body["problems"]) == (422, control.problems)


class TestLogLevel:
    """PUT /v1/log."""

    async def test_it_is_set(self, admin: Any, control: Any) -> None:
        """The level changes at once."""
        response = await admin.put("/v1/log", json={"level": "debug"})
        assert (response.status, await response.json(), control.level) == (200, {"level": "debug"}, "debug")

    async def test_an_unknown_level_is_told(self, admin: Any, control: Any) -> None:
        """The answer names the levels there are."""
        response = await admin.put("/v1/log", json={"level": "loud"})
        body = await response.json(content_type="application/problem+json")
        assert (response.status, control.level) == (400, "info")
        assert body["detail"] == "'loud' is not a log level; use one of debug, info"

    async def test_a_bad_body_is_told(self, admin: Any) -> None:
        """The example in the answer has the right key."""
        response = await admin.put("/v1/log", data=b"debug")
        body = await response.json(content_type="application/problem+json")
        assert body["detail"] == 'The body is not JSON; send {"level": "..."}.'


class TestServe:
    """Listening."""

    async def test_it_listens(self, registry: Registry) -> None:
        """A service answers where it says it listens, until it is cleaned up."""
        runner = await serve(metrics_app(registry, lambda: True), "127.0.0.1", 0)
        host, port = runner.addresses[0]
        async with ClientSession() as session, session.get(f"http://{host}:{port}/healthz") as response:
            assert response.status == 200
        await runner.cleanup()
        assert runner.addresses == []

    async def test_who_opens_many_connections_takes_nobodys_place(self, registry: Registry) -> None:
        """The metrics are open: silent connections and half a head would else hold every file descriptor for ever."""
        runner = await serve(metrics_app(registry, lambda: True), "127.0.0.1", 0)
        host, port = runner.addresses[0]
        held = [await asyncio.open_connection(host, port) for _ in range(100)]
        for _, writer in held:
            writer.write(b"GET /metrics HT")
        async with ClientSession() as session, session.get(f"http://{host}:{port}/healthz") as response:
            assert response.status == 200
            assert len(cast("web.Server", runner.server).connections) <= 64
        with contextlib.suppress(ConnectionResetError):
            assert await held[0][0].read() == b""
        for _, writer in held:
            writer.close()
        await runner.cleanup()

    async def test_malformed_requests_leave_no_trace(
        self, registry: Registry, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What anybody may send to the open port is answered, and neither quoted in the log nor able to flood it."""
        runner = await serve(metrics_app(registry, lambda: True), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*runner.addresses[0])
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer spoon\x01\r\n\r\n")
        assert (await reader.readline()).endswith(b" 400 Bad Request\r\n")
        writer.close()
        await runner.cleanup()
        assert caplog.records == []

    async def test_defects_are_logged(self, caplog: pytest.LogCaptureFixture, registry: Registry) -> None:
        """An error of ours in an open handler is a 500, and a line in our log."""

        def readiness() -> bool:
            raise RuntimeError("spoon")

        runner = await serve(metrics_app(registry, readiness), "127.0.0.1", 0)
        host, port = runner.addresses[0]
        async with ClientSession() as session, session.get(f"http://{host}:{port}/readyz") as response:
            assert response.status == 500
        await runner.cleanup()
        assert [record.name for record in caplog.records] == ["backstay.http"]

    async def test_an_address_that_cannot_be_had_leaves_nothing_behind(self) -> None:
        """The error is the system's: who named the address tells it."""
        app = web.Application()
        with pytest.raises(OSError, match="assign"):
            await serve(app, "192.0.2.1", 0)
        assert app.frozen
