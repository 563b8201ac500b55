"""The outermost policy: every exchange ends in one outcome, one sample of each metric, at most one log line.

Linked first by chain.py, always. It also sets the deadline that bounds every wait below.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from proxy.errors import AgentGone, CallError, Internal
from proxy.model import Ending

if TYPE_CHECKING:
    from proxy.clock import Clock
    from proxy.model import Exchange, Proceed, Response
    from proxy.telemetry.log import AccessLog
    from proxy.telemetry.metrics import Gauge
    from proxy.telemetry.requests import RequestMetrics

_OUTCOMES: Final = {"agent": "rejected", "backstay": "refused", "upstream": "failed"}
_BODY_OUTCOMES: Final = {
    Ending.COMPLETE: "forwarded",
    Ending.BROKEN: "broken",
    Ending.STALLED: "broken",
    Ending.ABANDONED: "abandoned",
}


class Observe:
    """See the module."""

    __slots__ = ("_access", "_clock", "_inflight", "_metrics", "_total")

    def __init__(self, clock: Clock, metrics: RequestMetrics, access: AccessLog, inflight: Gauge, total: float) -> None:
        self._clock = clock
        self._metrics = metrics
        self._access = access
        self._inflight = inflight
        self._total = total

    async def __call__(self, exchange: Exchange, proceed: Proceed, /) -> Response:
        """Proceed, and record how it ended."""
        exchange.deadline = exchange.started + self._total
        self._inflight.value += 1
        try:
            response = await proceed(exchange)
        except CallError as error:
            self._failed(exchange, error)
            raise
        except Exception:
            self._failed(exchange, Internal())
            raise
        except BaseException:
            self._failed(exchange, AgentGone())  # cancelled: nobody waits for the answer
            raise
        first_byte = self._clock.now() - exchange.started
        if response.ending is Ending.COMPLETE:
            self._record(exchange, response.status, first_byte, first_byte)
        else:
            response.on_end(partial(self._ended, exchange, response.status, first_byte))
        return response

    def _ended(self, exchange: Exchange, status: int, first_byte: float, ending: Ending) -> None:
        if ending is not Ending.COMPLETE:
            exchange.outcome, exchange.reason = _BODY_OUTCOMES[ending], ending.value
        self._record(exchange, status, first_byte, self._clock.now() - exchange.started)

    def _failed(self, exchange: Exchange, error: CallError) -> None:
        exchange.outcome = "abandoned" if isinstance(error, AgentGone) else _OUTCOMES[error.source]
        exchange.reason = error.reason
        self._record(exchange, error.status, None, self._clock.now() - exchange.started)

    def _record(self, exchange: Exchange, status: int, first_byte: float | None, duration: float) -> None:
        self._inflight.value -= 1
        exchange.stale = None  # it holds the exchange: leave the collector no cycle
        upstream = exchange.upstream_seconds
        overhead = None if first_byte is None else first_byte - upstream - exchange.waited
        self._metrics.record(
            exchange.request.method,
            status,
            exchange.outcome,
            exchange.reason,
            duration,
            first_byte,
            upstream or None,
            overhead,
        )
        if self._access.wants(exchange.outcome, status):
            self._access.record(
                exchange, status, duration=duration, first_byte=first_byte, upstream=upstream, overhead=overhead
            )
