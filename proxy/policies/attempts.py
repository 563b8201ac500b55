"""The bridge from one exchange to its attempts: once, or again as core/retry.py decides.

Linked by chain.py between the exchange policies and the attempt policies. The only place where an attempt
begins and settles: breaker, budget and metrics all consume that one verdict.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from proxy.core import retry
from proxy.core.retry_after import retry_after
from proxy.errors import CallError, UpstreamError
from proxy.model import Attempt, Ending, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.clock import Clock
    from proxy.core.budget import Budget
    from proxy.core.classify import Classifier
    from proxy.core.retry import RetrySettings
    from proxy.model import Exchange, Response, Send
    from proxy.telemetry.requests import AttemptMetrics


class Attempts:
    """One attempt for each exchange: what a route without ``retry`` uses, and what Retry builds on."""

    __slots__ = ("_classifier", "_clock", "_metrics")

    def __init__(self, clock: Clock, classifier: Classifier, metrics: AttemptMetrics) -> None:
        self._clock = clock
        self._classifier = classifier
        self._metrics = metrics

    async def __call__(self, exchange: Exchange, send: Send, /) -> Response:
        """Try once."""
        return await self._attempt(exchange, send)

    async def _attempt(self, exchange: Exchange, send: Send) -> Response:
        """Try, and see to it that the attempt settles, whatever happens."""
        exchange.attempts += 1
        attempt = Attempt(exchange, exchange.attempts)
        try:
            response = await send(attempt)
        except CallError as error:
            if attempt.sent_at is None and not isinstance(error, UpstreamError):
                exchange.attempts -= 1  # refused: nothing was tried
            exchange.lost |= attempt.written
            self._charge(attempt)
            self._conclude(attempt, self._classifier.of_error(error), tried=isinstance(error, UpstreamError))
            raise
        except BaseException:
            exchange.lost |= attempt.written
            self._charge(attempt)
            self._conclude(attempt, Verdict.IGNORED)
            raise
        self._charge(attempt)
        verdict = self._classifier.at_headers(response.status)
        if response.status >= 400:
            attempt.retry_after = retry_after(response.headers, self._clock.wall())
        attempt.answered(verdict, self._clock.now())
        if response.ending is Ending.COMPLETE or verdict is Verdict.THROTTLED:
            self._conclude(attempt, verdict)
        else:
            response.on_end(partial(self._settle, attempt, verdict))
        return response

    def _settle(self, attempt: Attempt, verdict: Verdict, ending: Ending) -> None:
        self._conclude(attempt, self._classifier.at_end(verdict, ending))

    def _conclude(self, attempt: Attempt, verdict: Verdict, *, tried: bool = False) -> None:
        """Settle, and count what was sent, or failed to be; what was refused before was no try."""
        attempt.settle(verdict)
        if tried or attempt.sent_at is not None:
            self._metrics.record(attempt.number, verdict)

    def _charge(self, attempt: Attempt) -> None:
        if attempt.sent_at is not None:
            until = attempt.first_byte_at if attempt.first_byte_at is not None else self._clock.now()
            attempt.exchange.upstream_seconds += until - attempt.sent_at


class Retry(Attempts):
    """Tries again while core/retry.py says so and the budget of the api allows it."""

    __slots__ = ("_budget", "_count", "_settings", "_shadow", "_shadowed")

    def __init__(
        self,
        clock: Clock,
        classifier: Classifier,
        metrics: AttemptMetrics,
        settings: RetrySettings,
        budget: Budget,
        *,
        count: Callable[[str, str], None],
        shadow: Callable[[str], None],
    ) -> None:
        super().__init__(clock, classifier, metrics)
        self._settings = settings
        self._budget = budget
        self._count = count  # (reason, result)
        self._shadow = shadow  # (decision)
        self._shadowed = settings.mode == "shadow"

    async def __call__(self, exchange: Exchange, send: Send, /) -> Response:
        """Try until an answer is good, or trying again would do harm or no good."""
        self._budget.deposit(self._clock.now())
        if exchange.request.stream is not None:
            exchange.request.stream.keep(self._settings.replay_body)
        aside: Response | None = None  # the last answer that came whole, and was not good enough
        while True:
            response: Response | None = None
            failure: CallError | None = None
            try:
                response = await self._attempt(exchange, send)
                if response.status < 400:
                    return response
                reason, hint = retry.reason_of(response.status), retry_after(response.headers, self._clock.wall())
            except CallError as error:
                failure, reason, hint = error, retry.reason_of(error), error.retry_after
            delay = self._decide(exchange, reason, hint)
            if delay is None:
                return self._give_up(response, failure, reason, aside)
            if response is not None:
                exchange.lost |= exchange.effect is not None and exchange.effect.doubtful(response.status)
                response.discard()
                aside = response if response.stream is None else aside
            await self._clock.sleep(delay)
            exchange.waited += delay

    def _decide(self, exchange: Exchange, reason: str | None, hint: float | None) -> float | None:
        """Seconds to wait before the next try; None if there is none."""
        if reason is None or reason not in self._settings.when:
            return None
        now = self._clock.now()
        decision = retry.decide(
            self._settings,
            attempt_number=exchange.attempts,
            reason=reason,
            safe=self._safe(exchange),
            retry_after=hint,
            remaining=exchange.deadline - now,
            chance=self._clock.chance(),
            stale=exchange.stale is not None,
        )
        if self._shadowed:
            if isinstance(decision, retry.Again):
                self._shadow("retry")
            return None
        if isinstance(decision, retry.Stop):
            self._count(reason, decision.why)
            return None
        if not self._budget.withdraw(now):
            self._count(reason, "budget")
            return None
        self._count(reason, "retried")
        return decision.delay

    def _safe(self, exchange: Exchange) -> bool:
        request = exchange.request
        return (request.stream is None or request.stream.replayable) and retry.safe_to_resend(
            written=exchange.written,
            method=request.method,
            honoured_key=exchange.honoured,
            declared=self._settings.safe,
        )

    def _give_up(
        self, response: Response | None, failure: CallError | None, reason: str | None, aside: Response | None
    ) -> Response:
        """The last answer as it came; SDKs are told not to multiply the attempts made here."""
        answer = aside if failure is not None and retry.outranked(failure) else response
        if answer is None:
            assert failure is not None  # noqa: S101 - there is one or the other
            raise failure
        if answer is aside or (reason in self._settings.when and not self._shadowed):
            retry.forbid_repeats(answer.headers)
        return answer
