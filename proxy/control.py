"""What an operator may see and do: the running program as admin/control.py describes it. Made by app.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from proxy import __version__
from proxy.core.breaker import State
from proxy.telemetry.log import set_level

if TYPE_CHECKING:
    from proxy.app import App

_FORCED: Final = {"open": State.FORCED_OPEN, "closed": State.DISABLED, "auto": None}


class Controls:
    """See admin.control.Control."""

    def __init__(self, app: App) -> None:
        self._app = app

    def status(self) -> dict[str, Any]:
        """See Control."""
        app = self._app
        return {
            "version": __version__,
            "ready": app.ready,
            "uptime_seconds": round(app.clock.now() - app.started, 3),
            "config": app.config.digest[:12],
            "apis": [api.name for api in app.config.apis],
            "connections": app.listener.connections,
            "busy": app.listener.busy,
        }

    def breakers(self) -> list[dict[str, Any]]:
        """See Control."""
        now = self._app.clock.now()
        return [{"name": name} | each.snapshot(now) for name, each in sorted(self._app.survivors.breakers.items())]

    def buckets(self) -> list[dict[str, Any]]:
        """See Control."""
        now = self._app.clock.now()
        return [{"name": name} | each.snapshot(now) for name, each in sorted(self._app.survivors.buckets.items())]

    def pools(self) -> list[dict[str, Any]]:
        """See Control."""
        return [
            {"name": name, "host": pool.endpoint.host, "port": pool.endpoint.port, "max": pool.max_connections}
            | pool.counts()
            for name, pool in sorted(self._app.survivors.pools.items())
        ]

    def force_breaker(self, name: str, state: str) -> bool:
        """See Control."""
        breaker = self._app.survivors.breakers.get(name)
        if breaker is None:
            return False
        breaker.force(_FORCED[state], self._app.clock.now())
        return True

    def effective_config(self) -> dict[str, Any]:
        """See Control."""
        return dict(self._app.config.effective)

    async def reload(self) -> list[str]:
        """See Control."""
        return await self._app.reload()

    def set_log_level(self, level: str) -> None:
        """See Control."""
        set_level(level)
