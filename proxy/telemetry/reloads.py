"""Counts reloads, and tells whether the last one was taken. Made by app.py and kubernetes/injector.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.telemetry.metrics import Registry


class Reloads:
    """What is on disk at the start is what is in force."""

    def __init__(self, registry: Registry) -> None:
        self._ok = registry.counter("backstay_config_reloads_total", result="ok")
        self._failed = registry.counter("backstay_config_reloads_total", result="failed")
        self._is_current = registry.gauge("backstay_config_last_reload_successful")
        self._is_current.set(1)

    def ok(self) -> None:
        """What is on disk is in force now."""
        self._ok.inc()
        self._is_current.set(1)

    def failed(self) -> None:
        """What was in force stays."""
        self._failed.inc()
        self._is_current.set(0)

    def __repr__(self) -> str:
        return f"<Reloads {self._ok!r} ok, {self._failed!r} failed>"
