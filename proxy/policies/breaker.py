"""Asks the circuit before each attempt, and tells it how the attempt went. Rules: core/breaker.py."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from proxy.core.breaker import Breaker, Refused, State, Ticket
from proxy.core.retry import safe_to_resend
from proxy.errors import CircuitForcedOpen, CircuitOpen
from proxy.model import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.clock import Clock
    from proxy.model import Attempt, Response, Send


class BreakerPolicy:
    """One route's way through a breaker that other routes may share."""

    __slots__ = ("_breaker", "_clock", "_declared_safe", "_shadow")

    def __init__(
        self, clock: Clock, breaker: Breaker, *, declared_safe: bool, shadow: Callable[[str], None] | None
    ) -> None:
        self._clock = clock
        self._breaker = breaker
        self._declared_safe = declared_safe  # retry.safe
        self._shadow = shadow  # called with the decision instead of refusing

    async def __call__(self, attempt: Attempt, send: Send, /) -> Response:
        """Send, if the circuit admits it. Raises CircuitOpen."""
        breaker, exchange = self._breaker, attempt.exchange
        safe = safe_to_resend(
            written=True,
            method=exchange.request.method,
            honoured_key=exchange.honoured,
            declared=self._declared_safe,
        )
        decision = breaker.admit(self._clock.now(), self._clock.chance(), safe=safe, may_probe=not exchange.probed)
        if isinstance(decision, Ticket):
            self._follow(attempt, decision)
        elif self._shadow is not None:
            self._shadow("refused")
        else:
            raise self._refusal(decision)
        return await send(attempt)

    def _refusal(self, refused: Refused) -> CircuitOpen:
        wait = refused.retry_after
        if self._breaker.state is State.FORCED_OPEN:
            return CircuitForcedOpen(retry_after=wait)
        return CircuitOpen(
            f"Too many of the last calls failed; the next will be tried in {wait:.1f} s.", retry_after=wait
        )

    def _follow(self, attempt: Attempt, ticket: Ticket) -> None:
        if not ticket.shared:
            attempt.on_sent(partial(self._breaker.start, ticket))
            attempt.on_headers(partial(self._answered, attempt, ticket))
            attempt.exchange.probed |= ticket.probe
        attempt.on_settle(partial(self._settle, attempt, ticket))

    def _answered(self, attempt: Attempt, ticket: Ticket, verdict: Verdict, now: float) -> None:
        self._breaker.answered(ticket, verdict, now, attempt.retry_after)

    def _settle(self, attempt: Attempt, ticket: Ticket, verdict: Verdict) -> None:
        if verdict is Verdict.IGNORED and attempt.sent_at is None:
            self._breaker.give_back(ticket, self._clock.now())  # refused further in, or nobody waited for it
        else:
            self._breaker.settle(ticket, verdict, self._clock.now(), attempt.retry_after)
