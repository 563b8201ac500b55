"""Gives the agent the best there is where a call would end in an error: old, from elsewhere, or the operator's own.

Linked by chain.py below observe, outside everything that can fail. Rules: core/fallback.py. The only place that
serves a stale answer because of an error. An error answer of the vendor's is held until a better one is in hand, and
otherwise goes to the agent as it came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from proxy.core import fallback as rules
from proxy.core.fallback import ServeStale, Static, ToApi
from proxy.core.retry import RetrySettings, forbid_repeats, safe_to_resend
from proxy.core.retry_after import retry_after
from proxy.errors import CallError, EgressDenied, PlaceholderMisused
from proxy.model import Effect, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.clock import Clock
    from proxy.core.classify import Classifier
    from proxy.core.fallback import FallbackSettings, Step
    from proxy.model import Exchange, Proceed, Response

# Where the route retries, its own replay_body holds: it is asked for later, and the last word counts.
_REPLAY_BODY: Final = RetrySettings().replay_body
_OF_ITS_PLACE: Final = (EgressDenied, PlaceholderMisused)  # the call was right where the agent made it
_OF_NO_USE: Final = frozenset({Verdict.FAILURE, Verdict.THROTTLED})  # an api that was asked instead did nothing


class Fallback:
    """One route's list of what to try."""

    __slots__ = (
        "_classifier",
        "_clock",
        "_count",
        "_declared_safe",
        "_elsewhere",
        "_rate_limited",
        "_resends",
        "_steps",
    )

    def __init__(
        self,
        clock: Clock,
        settings: FallbackSettings,
        classifier: Classifier,
        count: Callable[[str], None],
        *,
        rate_limited: bool,
        elsewhere: Callable[[str, Exchange], tuple[Exchange, Proceed]],
        declared_safe: bool,
    ) -> None:
        self._clock = clock
        self._steps = settings.steps
        self._classifier = classifier
        self._count = count  # by kind: stale, api, static, none
        self._rate_limited = rate_limited  # rate_limit.fallback
        self._elsewhere = elsewhere  # the same call at another api: a branch, and that api's chain
        self._declared_safe = declared_safe  # retry.safe
        self._resends = any(isinstance(step, ToApi) for step in settings.steps)

    async def __call__(self, exchange: Exchange, proceed: Proceed, /) -> Response:
        """Proceed, and replace what went wrong. Raises the error of the call where nothing can."""
        if self._resends and exchange.request.stream is not None:
            exchange.request.stream.keep(_REPLAY_BODY)
        try:
            response = await proceed(exchange)
        except CallError as error:
            if _unknown(exchange) or not rules.replaceable(error, rate_limited=self._rate_limited):
                raise
            instead = await self._instead(exchange, _Trouble(error.reason, error.retry_after, None))
            if instead is None:
                raise
            return instead
        if _unknown(exchange) or self._classifier.at_headers(response.status) is not Verdict.FAILURE:
            return response
        return await self._replace(exchange, response)

    async def _replace(self, exchange: Exchange, response: Response) -> Response:
        """Something better than an error answer of the vendor's, or that answer."""
        wait = retry_after(response.headers, self._clock.wall())
        try:
            instead = await self._instead(exchange, _Trouble(str(response.status), wait, response))
        except BaseException:
            response.discard()
            raise
        if instead is None:
            return response
        response.discard()
        return instead

    async def _instead(self, exchange: Exchange, trouble: _Trouble) -> Response | None:
        """The first thing of the list that can be had; None if there is none."""
        for step in rules.plan(self._steps, exchange.stale):
            instead = await self._try(step, exchange, trouble)
            if instead is not None:
                exchange.reason = trouble.reason
                return instead
        self._count("none")
        return None

    async def _try(self, step: Step, exchange: Exchange, trouble: _Trouble) -> Response | None:
        match step:
            case ServeStale():
                return self._serve_stale(exchange, trouble)
            case ToApi():
                return await self._ask(step.api, exchange) if self._may_ask(exchange, trouble) else None
            case Static():
                return self._render(step, exchange, trouble)
            case _:
                assert_never(step)

    def _serve_stale(self, exchange: Exchange, trouble: _Trouble) -> Response:
        stale = exchange.stale
        assert stale is not None  # noqa: S101 - plan() saw it
        self._count("stale")
        exchange.outcome = "stale"
        return stale.answer(trouble.reason)

    def _render(self, static: Static, exchange: Exchange, trouble: _Trouble) -> Response:
        self._count("static")
        response = rules.render(static, exchange.api, trouble.reason, trouble.retry_after)
        exchange.outcome = "fallback"
        _tell_of_cache(exchange, response)
        return response

    # --- another api --------------------------------------------------------------------------------------

    def _may_ask(self, exchange: Exchange, trouble: _Trouble) -> bool:
        """Whether there is time to ask another api, and the call can be sent again, and may be."""
        return (
            self._clock.now() < exchange.deadline
            and _body_at_hand(exchange, trouble.held)
            and safe_to_resend(
                written=exchange.written,
                method=exchange.request.method,
                honoured_key=False,  # another api does not know the key
                declared=self._declared_safe,
            )
        )

    async def _ask(self, api: str, exchange: Exchange) -> Response | None:
        """What ``api`` answers; None if that is no better. Raises what nothing may stand in for there either."""
        branch, proceed = self._elsewhere(api, exchange)
        exchange.elsewhere = branch
        try:
            response = await proceed(branch)
        except CallError as error:
            if _unknown(branch):
                _doubt(exchange)
                raise
            if not error.replaceable and not isinstance(error, _OF_ITS_PLACE):
                raise
            return None
        finally:
            exchange.elsewhere = None
            exchange.absorb(branch)
        if _unknown(branch):
            _doubt(exchange)
            forbid_repeats(response.headers)
        elif self._classifier.at_headers(response.status) in _OF_NO_USE:
            response.discard()
            return None
        self._count("api")
        # What the other api had only as a stale answer must still be known to be old.
        exchange.outcome = "stale" if branch.outcome == "stale" else "fallback"
        response.headers.set(b"Backstay-Outcome", exchange.outcome.encode())
        _tell_of_cache(exchange, response)
        return response


class _Trouble:
    """What went wrong: a word for it, the seconds until the vendor may be asked again, the vendor's own answer."""

    __slots__ = ("held", "reason", "retry_after")

    def __init__(self, reason: str, retry_after: float | None, held: Response | None) -> None:
        self.reason = reason
        self.retry_after = retry_after  # None: nobody knows
        self.held = held


def _unknown(exchange: Exchange) -> bool:
    """Whether it may have been carried out: whatever stood in for its answer, the agent would take for the outcome."""
    return exchange.effect is not None and exchange.effect.unknown


def _doubt(exchange: Exchange) -> None:
    """It may have been carried out elsewhere: who makes it again, whatever the key, might have it done here as well."""
    exchange.effect = effect = Effect(honoured=False, repeatable=False)
    effect.unknown = True


def _tell_of_cache(exchange: Exchange, response: Response) -> None:
    """The last member of the field is ours (RFC 9211, 2): what the cache of this api had to say."""
    if exchange.cache_status:
        response.headers.add(b"Cache-Status", exchange.cache_status)


def _body_at_hand(exchange: Exchange, held: Response | None) -> bool:
    """Whether the whole request body can be sent again.

    A connection on which the body is still being written would lose it to the next one, or take it from there when it
    ends: so there must be none, and there is one if an error answer came before the body was written, and still comes.
    """
    stream = exchange.request.stream
    if stream is None:
        return True
    return stream.replayable and (stream.ended or held is None or held.ending is not None)
