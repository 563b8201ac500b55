"""The operator's side of the process: the token, what is shown and what is masked, the log, health."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.e2e.conftest import Start
from tests.support.process import TOKEN, Sidecar, document, wait_until
from tests.support.vendor import Vendor


@pytest.fixture(scope="module")
def idle(share: Start) -> Sidecar:
    """A sidecar that nobody calls."""
    return share(document({"shop": {"url": "http://localhost:9", "rate_limit": {"rate": "10/s"}}}))


@pytest.mark.parametrize("token", [None, "wrong", TOKEN + "x"])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("GET", "/v1/config"), ("PUT", "/v1/breakers/shop"), ("GET", "/nowhere")]
)
def test_without_the_token_there_is_nothing(idle: Sidecar, token: str | None, method: str, path: str) -> None:
    """The agent shares the loopback: not even a 404 is for it."""
    answer = idle.admin(method, path, {"state": "open"}, token=token)
    assert answer.status_code == 401
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert idle.breaker_state("shop") == "closed"


def test_the_admin_api_shows_what_there_is(idle: Sidecar) -> None:
    """Breakers, buckets and pools under their names, and a page for people."""
    assert idle.admin("GET", "/v1/status").json()["ready"] is True
    assert [each["name"] for each in idle.admin("GET", "/v1/breakers").json()["breakers"]] == ["shop"]
    assert [each["name"] for each in idle.admin("GET", "/v1/buckets").json()["buckets"]] == ["shop"]
    (pool,) = idle.admin("GET", "/v1/pools").json()["pools"]
    assert (pool["name"], pool["host"], pool["port"], pool["max"]) == ("shop", "localhost", 9, 100)
    assert "shop" in idle.admin("GET", "/").text


def test_metrics_and_health_are_open_and_lead_nowhere_else(idle: Sidecar) -> None:
    """They show no secret, and control nothing."""
    for path in ("/metrics", "/healthz", "/readyz"):
        assert idle.get(path, "metrics").status_code == 200
    assert TOKEN not in idle.get("/metrics", "metrics").text
    assert idle.get("/v1/status", "metrics").status_code == 404


def test_the_agents_port_does_not_lead_to_the_admin_api(idle: Sidecar) -> None:
    """Naming the other listener in Host or in the target reaches nothing."""
    admin = f"127.0.0.1:{idle.ports['admin']}"
    assert idle.get("/v1/status", headers={"host": admin}).json()["reason"] == "no_api"
    with idle.connect() as connection:
        connection.sendall(f"GET http://{admin}/v1/status HTTP/1.1\r\nHost: {admin}\r\n\r\n".encode())
        assert b'"reason": "egress_denied"' in connection.recv(65536)


def test_a_token_is_made_where_none_is_given(start: Start, vendor: Vendor) -> None:
    """Its file is for this user only, and the log says where it is, not what is in it."""
    content = document({"shop": {"url": vendor.url}})
    del content["admin_token"]
    sidecar = start(content)
    file = Path(sidecar.wait_log("admin token made")["file"])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    token = file.read_text().strip()
    assert sidecar.admin("GET", "/v1/status", token=token).status_code == 200
    assert sidecar.admin("GET", "/v1/status", token=TOKEN).status_code == 401
    assert token not in sidecar.transcript()


def test_secrets_are_masked_wherever_the_configuration_is_shown(start: Start, vendor: Vendor, tmp_path: Path) -> None:
    """The effective configuration has every default filled in, and no secret."""
    secret = tmp_path / "secret"
    secret.write_text("hidden-host.test")
    content = document({"shop": {"url": vendor.url, "hosts": [f"${{file:{secret}}}"]}})
    sidecar = start(content)
    shown = sidecar.admin("GET", "/v1/config")
    assert shown.json()["admin_token"] == "****"
    assert shown.json()["apis"]["shop"]["breaker"]["consecutive"] == 5
    page = sidecar.admin("GET", "/").text
    for text in (shown.text, page, sidecar.transcript(), sidecar.get("/metrics", "metrics").text):
        assert TOKEN not in text
        assert "hidden-host" not in text
    assert sidecar.get("/echo", headers={"host": "hidden-host.test"}).status_code == 200


def test_the_log_level_changes_at_run_time(start: Start, vendor: Vendor) -> None:
    """Debugging a process that misbehaves does not need its restart."""
    sidecar = start(document({"shop": {"url": vendor.url}}))
    assert sidecar.admin("PUT", "/v1/log", {"level": "warning"}).status_code == 200
    sidecar.get("/nowhere/silent")
    assert sidecar.admin("PUT", "/v1/log", {"level": "debug"}).status_code == 200
    sidecar.get("/nowhere/told")
    wait_until(lambda: sidecar.lines("rejected"), "a line at info")
    assert len(sidecar.lines("rejected")) == 1
    answer = sidecar.admin("PUT", "/v1/log", {"level": "loud"})
    assert (answer.status_code, "debug, info" in answer.json()["detail"]) == (400, True)
