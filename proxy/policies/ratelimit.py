"""Takes a token for each attempt, waits for one if that is allowed, or refuses. Rules: core/bucket.py."""

from __future__ import annotations

from asyncio import CancelledError
from typing import TYPE_CHECKING

from proxy.core.bucket import Limited
from proxy.errors import CallError, RateLimited, UpstreamError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.clock import Clock
    from proxy.core.bucket import Buckets, RateSettings
    from proxy.model import Attempt, Exchange, Response, Send
    from proxy.telemetry.metrics import Counter


class RateLimit:
    """One route's share of a rate limit that other routes may share."""

    __slots__ = ("_allowed", "_buckets", "_clock", "_counts", "_key", "_settings", "_shadow")

    def __init__(
        self,
        clock: Clock,
        settings: RateSettings,
        buckets: Buckets,
        counts: Mapping[str, Counter],
        *,
        key: Callable[[Exchange], str] | None,
        shadow: Callable[[str], None] | None,
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._buckets = buckets
        self._key = key  # None: one bucket for all calls
        self._counts = counts  # by decision: allowed, delayed, limited
        self._allowed = counts["allowed"]
        self._shadow = shadow  # called with the decision instead of delaying or refusing

    async def __call__(self, attempt: Attempt, send: Send, /) -> Response:
        """Send, once there is a token. Raises RateLimited."""
        exchange = attempt.exchange
        now = self._clock.now()
        bucket = self._buckets.get("" if self._key is None else self._key(exchange), now)
        decision = bucket.take(now, min(self._settings.wait, exchange.deadline - now))
        if isinstance(decision, Limited):
            if self._shadow is None:
                self._counts["limited"].inc()
                raise RateLimited(
                    f"The limit of {self._settings.quota} calls in {self._settings.window:g} s is reached.",
                    retry_after=decision.retry_after,
                    limit=self._settings.quota,
                    window=self._settings.window,
                )
            self._shadow("limited")
            return await send(attempt)
        try:
            if decision.delay:
                await self._delay(exchange, decision.delay)
            else:
                self._allowed.value += 1
            return await send(attempt)
        except (CallError, CancelledError) as error:
            if attempt.sent_at is None and not isinstance(error, UpstreamError):
                bucket.give_back()  # nothing was spent: and a queue of agents that left must delay nobody
            raise

    async def _delay(self, exchange: Exchange, seconds: float) -> None:
        if self._shadow is not None:
            self._shadow("delayed")
            return
        self._counts["delayed"].inc()
        await self._clock.sleep(seconds)
        exchange.waited += seconds
