"""Every way in which a call can end without an answer of the upstream's: one tree of exceptions.

Raised by cores' shells and by the wire, turned into a response by ``wire/rescue.py`` alone.
``status`` is the HTTP status the agent sees, ``reason`` a word from a closed list (a metric label),
``source`` who is at fault (agent, backstay, upstream), ``retry_after`` seconds or None. A class with another
signature than CallError's has an ``again`` of its own.
"""

from __future__ import annotations

import math
from typing import ClassVar


class CallError(Exception):
    """A call that Backstay must answer by itself."""

    status: ClassVar[int] = 500
    reason: ClassVar[str] = "internal"
    source: ClassVar[str] = "backstay"
    title: ClassVar[str] = "Backstay failed"
    replaceable: ClassVar[bool] = False  # another answer may stand in for it: see core/fallback.py
    closes: ClassVar[bool] = False  # nothing else that comes on the agent's connection can be meant for us

    def __init__(self, detail: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.retry_after = retry_after

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Header fields that the answer must carry beside Retry-After."""
        return ()

    def again(self) -> CallError:
        """The same once more, without a traceback: for each of several callers that share one failure."""
        return type(self)(self.detail, retry_after=self.retry_after)


class Internal(CallError):
    """A defect of ours."""


# --- the agent's request ---------------------------------------------------------------------------


class AgentError(CallError):
    """The agent's request is at fault."""

    status, reason, source, title = 400, "bad_request", "agent", "The request is malformed"


class BadRequest(AgentError):
    """Ambiguous or malformed HTTP (RFC 9112)."""


class RequestTimeout(AgentError):
    """The request did not arrive in time (RFC 9110, 15.5.9)."""

    status, reason, title = 408, "request_timeout", "The request did not arrive in time"


class BodyTooLarge(AgentError):
    """The body is over limits.body_bytes."""

    status, reason, title = 413, "body_too_large", "The request body is too large"


class TargetTooLong(AgentError):
    """The request line is over limits.header_bytes."""

    status, reason, title = 414, "target_too_long", "The request target is too long"


class HeadersTooLarge(AgentError):
    """The header section is over limits.header_bytes."""

    status, reason, title = 431, "headers_too_large", "The request headers are too large"


class Misdirected(AgentError):
    """No api is configured for this host or path."""

    status, reason, title = 404, "no_api", "No api is configured for this address"


class WrongHost(AgentError):
    """A request on a connection that was made for another api (RFC 9110, 15.5.20)."""

    status, reason, title = 421, "wrong_host", "The connection was made for another host"
    closes = True


class PlaceholderMisused(AgentError):
    """The placeholder of a credential on its way to another host than that of its api."""

    status, reason, title = 403, "placeholder_misused", "A credential's placeholder may go to its own api alone"


class CrossSite(AgentError):
    """A page in a browser may have made this call, with credentials that Backstay would set."""

    status, reason, title = 403, "cross_site", "A page of another site may not make this call"


class EgressDenied(CallError):
    """The egress policy forbids this destination; nothing was sent, and no answer may stand in for it."""

    status, reason, title = 403, "egress_denied", "This destination is not allowed"


class Unsupported(AgentError):
    """A method or form of target that this listener does not serve (RFC 9110, 15.6.2)."""

    status, reason, title = 501, "unsupported", "This kind of request is not supported here"


class Loop(AgentError):
    """The request has been here before (RFC 9110, 7.6.3)."""

    status, reason, title = 508, "loop", "The request loops through Backstay"


class NotCached(AgentError):
    """The agent wants a stored answer or none (only-if-cached: RFC 9111, 5.2.1.7), and none is stored."""

    status, reason, title = 504, "only_if_cached", "No stored answer may be used for this call"


class AgentGone(AgentError):
    """The agent closed its connection; nobody reads the answer."""

    status, reason, title = 499, "agent_gone", "The agent went away"


# --- refused by a policy ---------------------------------------------------------------------------


class Refusal(CallError):
    """A policy refused the call; nothing was sent."""

    status, title, replaceable = 503, "Backstay refused the call", True


class CircuitOpen(Refusal):
    """The breaker is open."""

    reason, title = "circuit_open", "The upstream is failing; its circuit is open"


class CircuitForcedOpen(CircuitOpen):
    """The operator holds the breaker open; when it ends, nobody here knows."""

    reason, title = "circuit_forced_open", "The operator holds the circuit of the upstream open"


class RateLimited(Refusal):
    """The rate limit has no token within the allowed wait."""

    status, reason, title = 429, "rate_limited", "The configured rate limit is reached"

    def __init__(self, detail: str, *, retry_after: float, limit: int, window: float) -> None:
        super().__init__(detail, retry_after=retry_after)
        self.limit = limit  # calls per window
        self.window = window  # seconds

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-10)."""
        reset = max(math.ceil(self.retry_after or 0.0), 1)
        return (
            (b"RateLimit-Policy", b'"default";q=%d;w=%d' % (self.limit, max(round(self.window), 1))),
            (b"RateLimit", b'"default";r=0;t=%d' % reset),
        )

    def again(self) -> RateLimited:
        """See CallError."""
        return RateLimited(self.detail, retry_after=self.retry_after or 0.0, limit=self.limit, window=self.window)


class PoolExhausted(Refusal):
    """Every connection to the upstream is busy for longer than the call may wait."""

    reason, title = "pool_exhausted", "Every connection to the upstream is busy"


class Overloaded(Refusal):
    """limits.connections is reached."""

    reason, title = "overloaded", "Backstay holds as many connections as it may"


# --- refused for the sake of what must happen once ---------------------------------------------------


class KeyMissing(AgentError):
    """The route demands an idempotency key, and the call has none."""

    reason, title = "key_missing", "This call needs an idempotency key"


class KeyMalformed(AgentError):
    """An idempotency key that nobody could compare: empty, too long, given twice, or not of printable ASCII."""

    reason, title = "key_malformed", "The idempotency key is malformed"


class KeyReused(AgentError):
    """The idempotency key stands for another call already."""

    status, reason, title = 422, "key_reused", "The idempotency key was used for another call"


class InProgress(CallError):
    """The same call is under way, and this one has waited for it as long as it may."""

    status, reason, title = 409, "in_progress", "The same call is still under way"


class OutcomeUnknown(CallError):
    """The same call was sent before, and nobody knows what became of it."""

    status, reason, title = 409, "outcome_unknown", "It is not known whether this call was carried out"


class AnswerNotKept(CallError):
    """The same call was carried out before, and its answer is not kept."""

    status, reason, title = 409, "answer_not_kept", "This call was carried out before; its answer is not kept"


class LedgerDown(CallError):
    """It cannot be known whether this call was made before: nothing was sent. No answer may stand in for it."""

    status, reason, title = 503, "ledger_down", "The record of calls cannot be asked"


# --- the upstream ----------------------------------------------------------------------------------


class UpstreamError(CallError):
    """The upstream gave no usable answer."""

    status, source, reason, title = 502, "upstream", "upstream", "The upstream gave no usable answer"
    replaceable = True


class ConnectFailed(UpstreamError):
    """No connection could be made; nothing was sent."""

    reason, title = "connect", "The upstream cannot be reached"


class TlsFailed(ConnectFailed):
    """The TLS handshake failed, or the certificate is not to be trusted."""

    reason, title = "tls", "The upstream's TLS certificate or handshake is not acceptable"


class ConnectionReset(UpstreamError):
    """The connection ended before the final headers."""

    reason, title = "reset", "The upstream closed the connection without an answer"


class ProtocolError(UpstreamError):
    """The upstream's answer is not HTTP that may be forwarded."""

    reason, title = "protocol", "The upstream's answer is not valid HTTP"


class Timeout(UpstreamError):
    """A time limit of the attempt ran out."""

    status, reason, title = 504, "timeout", "The upstream did not answer in time"


class ConnectTimeout(Timeout):
    """timeout.connect ran out; nothing was sent."""

    reason, title = "connect_timeout", "The upstream could not be reached in time"


class DeadlineExceeded(Timeout):
    """timeout.total ran out before an answer."""

    reason, title = "deadline", "The call took longer than its total time"
