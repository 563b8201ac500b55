"""Reloads as Prometheus sees them."""

from __future__ import annotations

from proxy.telemetry.metrics import Registry
from proxy.telemetry.reloads import Reloads


def test_the_last_reload_decides_and_all_are_counted() -> None:
    """The start is a success that is not counted; a bad file on disk shows until a good one has been taken."""
    registry = Registry()
    reloads = Reloads(registry)
    current = registry.gauge("backstay_config_last_reload_successful")
    seen = [current.value]
    for happened in (reloads.failed, reloads.ok):
        happened()
        seen.append(current.value)
    counted = {
        result: registry.counter("backstay_config_reloads_total", result=result).value for result in ("ok", "failed")
    }
    assert (seen, counted) == ([1, 0, 1], {"ok": 1, "failed": 1})
