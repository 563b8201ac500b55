"""Ends an attempt whose headers do not come in time, and limits the stream behind them. Rules: core/timeouts.py.

One coarse timer an attempt serves first_byte and total: when it rings, it looks how far the call has come, and
is set anew if the limit has moved, so that an upload that makes progress is not cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.core.timeouts import Timeouts, due
from proxy.errors import DeadlineExceeded, Timeout

if TYPE_CHECKING:
    from proxy.clock import Clock, Timer
    from proxy.model import Attempt, Response, Send


class TimeoutPolicy:
    """See the module."""

    __slots__ = ("_clock", "_limits")

    def __init__(self, clock: Clock, limits: Timeouts) -> None:
        self._clock = clock
        self._limits = limits

    async def __call__(self, attempt: Attempt, send: Send, /) -> Response:
        """Send under the limits. Raises Timeout, DeadlineExceeded."""
        attempt.connect_limit = self._limits.connect
        watch = _Watch(self._clock, self._limits, attempt)
        try:
            response = await send(attempt)
        finally:
            watch.stop()
        if response.stream is not None and response.tunnel is None:
            response.stream.limit(idle=self._limits.idle, whole=self._limits.stream)
        return response


class _Watch:
    """The timer of one attempt."""

    __slots__ = ("_attempt", "_clock", "_limits", "_timer")

    def __init__(self, clock: Clock, limits: Timeouts, attempt: Attempt) -> None:
        self._clock = clock
        self._limits = limits
        self._attempt = attempt
        now = clock.now()
        self._timer: Timer = clock.at(due(limits, now, attempt.exchange.deadline), self._ring)

    def stop(self) -> None:
        self._timer.cancel()

    def _ring(self) -> None:
        attempt, now = self._attempt, self._clock.now()
        exchange = attempt.exchange
        when = due(self._limits, self._last_progress(now), exchange.deadline)
        if now >= exchange.deadline:
            attempt.abort(DeadlineExceeded(f"No answer within the {self._limits.total:g} s that the call may take."))
        elif when <= now:
            attempt.abort(Timeout(f"No answer within {self._limits.first_byte:g} s."))
        # Look again in any case: just now the wire may have waited for nothing that could be ended (it reconnects).
        self._timer = self._clock.at(when, self._ring)

    def _last_progress(self, now: float) -> float:
        """When the upstream began to owe an answer: not before it has the whole request."""
        if self._attempt.sent_at is None:
            return now
        stream = self._attempt.exchange.request.stream
        return self._attempt.sent_at if stream is None else max(self._attempt.sent_at, stream.progress)
