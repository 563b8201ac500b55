"""Tests of control.py: what an operator sees and may do."""

from __future__ import annotations

import json
import logging

import pytest

from proxy import __version__
from proxy.admin.control import Control, Forced
from proxy.control import Controls
from proxy.core.breaker import State
from tests.app.conftest import Starts, Writes

APIS = """
  vendor:
    url: http://127.0.0.1:9
    mount: /
    rate_limit: {rate: 10/s, key: credential}
    routes:
      - name: own
        match: {paths: [/own]}
        breaker: {consecutive: 1}
"""


@pytest.fixture
async def controls(starts: Starts, writes: Writes) -> Controls:
    app = await starts(writes(APIS, more="admin_token: hush-hush"))
    return Controls(app)


async def test_it_is_what_the_admin_api_asks_for(controls: Controls) -> None:
    """The type checker agrees, and everything that is shown is JSON without secrets."""
    control: Control = controls
    shown = [control.status(), control.breakers(), control.buckets(), control.pools(), control.effective_config()]
    assert "hush" not in json.dumps(shown)


async def test_the_status_says_what_runs(controls: Controls) -> None:
    """Version, readiness, apis, connections."""
    status = controls.status()
    assert (status["version"], status["ready"], status["apis"]) == (__version__, True, ["vendor"])
    assert (status["connections"], status["busy"]) == (0, 0)
    assert status["uptime_seconds"] >= 0.0
    assert len(status["config"]) == 12


async def test_state_is_listed_by_name(controls: Controls) -> None:
    """Circuits, limits, pools."""
    assert [(each["name"], each["state"]) for each in controls.breakers()] == [
        ("vendor", "closed"),
        ("vendor/own", "closed"),
    ]
    assert [(each["name"], each["limit"]) for each in controls.buckets()] == [("vendor", 10)]
    assert controls.pools() == [
        {"name": "vendor", "host": "127.0.0.1", "port": 9, "max": 100, "idle": 0, "busy": 0, "waiting": 0}
    ]


@pytest.mark.parametrize(("forced", "state"), [("open", State.FORCED_OPEN), ("closed", State.DISABLED)])
async def test_a_circuit_may_be_forced_and_released(controls: Controls, forced: Forced, state: State) -> None:
    """Until the operator lets go of it; others are not touched."""
    assert controls.force_breaker("vendor", forced)
    breakers = controls._app.survivors.breakers
    assert (breakers["vendor"].state, breakers["vendor/own"].state) == (state, State.CLOSED)
    assert controls.force_breaker("vendor", "auto")
    assert breakers["vendor"].state in {State.HALF_OPEN, State.CLOSED}


async def test_a_circuit_that_does_not_exist(controls: Controls) -> None:
    """False, for a 404."""
    assert not controls.force_breaker("nobody", "open")


async def test_the_configuration_is_shown_masked(controls: Controls) -> None:
    """With every default filled in."""
    shown = controls.effective_config()
    assert shown["apis"]["vendor"]["breaker"]["min_calls"] == 10


async def test_a_reload_says_what_is_wrong(controls: Controls, writes: Writes) -> None:
    """Nothing, or each problem as a line."""
    assert await controls.reload() == []
    writes("  vendor: {url: nonsense}\n")
    problems = await controls.reload()
    assert len(problems) == 1
    assert "apis.vendor.url" in problems[0]


async def test_the_log_level_may_be_changed(controls: Controls, logged: object) -> None:
    """At once; an unknown one is refused."""
    controls.set_log_level("error")
    assert logging.getLogger("backstay").level == logging.ERROR
    with pytest.raises(ValueError, match="not a log level"):
        controls.set_log_level("loud")
