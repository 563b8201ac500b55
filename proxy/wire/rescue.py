"""The only place that turns an error into an answer: an exception in, RFC 9457 problem+json out.

Called by server.py. ``advice`` is one plain sentence that a language model can act on.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from proxy.core.retry import DO_NOT_REPEAT
from proxy.core.retry_after import whole_seconds
from proxy.model import Headers, Response

if TYPE_CHECKING:
    from proxy.errors import CallError
    from proxy.model import Exchange

TYPE_PREFIX: Final = "urn:backstay:problem:"

_AGAIN: Final = "Do not repeat this call before then; answer from what you know or use another tool."
_USELESS: Final = "Trying again will not help; tell the operator."
_UNREACHED: Final = (
    "The {api} API cannot be reached. The call was not carried out. Use another tool, or try again later."
)
_ADVICE: Final = {
    "circuit_open": "The {api} API is failing; Backstay will try it again in {wait}. " + _AGAIN,
    "circuit_forced_open": "The operator keeps calls from the {api} API. Use another tool, or do without.",
    "rate_limited": "The limit on calls to the {api} API is reached; it has room again in {wait}. " + _AGAIN,
    "pool_exhausted": "The {api} API is busy with earlier calls. Make fewer at once, and try again in {wait}.",
    "overloaded": "Backstay holds as many connections as it may. Make fewer at once, and try again in {wait}.",
    "connect": _UNREACHED,
    "connect_timeout": _UNREACHED,
    "tls": "The {api} API does not prove its identity, so nothing was sent. " + _USELESS,
    "no_api": "No API is configured at this address; check the URL. " + _USELESS,
    "wrong_host": "This connection was made for another host. Make a new connection for this call.",
    "placeholder_misused": "This call would hand the placeholder of a credential to a host that it is not for; nothing "
    "was sent. " + _USELESS,
    "egress_denied": "The operator does not allow calls to this address; nothing was sent. Use another tool, or do "
    "without.",
    "cross_site": "This call looks like one of a web page, and was not sent. Call the API from the agent itself, by "
    "127.0.0.1 or localhost.",
    "loop": "The call came back to Backstay: its configuration points at itself. " + _USELESS,
    "internal": "Backstay failed, not the API. It is not known whether the call was carried out; tell the operator.",
    "request_timeout": "The request did not arrive completely, and was not carried out as a whole; send it again.",
    "body_too_large": "The request is larger than the operator allows. Send less in one call.",
    "target_too_long": "The URL is longer than the operator allows. Send less in the query.",
    "headers_too_large": "The request headers are larger than the operator allows.",
    "only_if_cached": "Backstay keeps no answer that this call may get, and the call forbids to ask the {api} API. "
    "Make it again without 'only-if-cached'.",
    "unsupported": "This proxy does not serve such a request. " + _USELESS,
    "agent_gone": "The connection was closed before the answer.",
    "key_missing": "The operator demands an idempotency key for this call: a new one for each new call, the same one "
    "when it is repeated. Send it with the key.",
    "key_malformed": "The idempotency key cannot be used as it is. Send the call with another key, such as a UUID.",
    "key_reused": "This idempotency key belongs to an earlier call with other contents. If this is a new call, send it "
    "with a new key; if it is the earlier one, send exactly that.",
    "in_progress": "The same call to the {api} API is under way. Do not send it with another key; send it again, with "
    "the same key, in {wait}, and you will get its answer.",
    "outcome_unknown": "This call was sent to the {api} API before, and nobody knows whether it was carried out. Do "
    "not send it again, not with another key either: look up at the {api} API whether it happened, or tell the "
    "operator.",
    "answer_not_kept": "This call was carried out by the {api} API before; only its answer is not kept. Do not send "
    "it again: look up the result at the {api} API.",
    "ledger_down": "It cannot be checked now whether this call was made before, so it was not sent. Send it again, "
    "with the same key, in {wait}.",
    "bad_request": "The request is malformed and was not sent. Trying again unchanged will not help.",
}
_UNKNOWN: Final = (
    "The {api} API gave no usable answer, and it is not known whether the call was carried out. "
    "Check before you repeat anything that must happen only once."
)
_RESENT: Final = (
    "The {api} API gave no usable answer. Send exactly the same call again, with the same key: it will not be carried "
    "out twice."
)
_HARMLESS: Final = "The {api} API gave no usable answer. Use another tool, or try again later."
_REPEATABLE: Final = frozenset({
    "rate_limited", "pool_exhausted", "overloaded", "request_timeout", "in_progress", "ledger_down",
})  # fmt: skip
_SAFE_METHODS: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE"})


def rescue(error: CallError, exchange: Exchange | None = None) -> Response:
    """The answer for a call that ended in ``error``; ``exchange`` is None if the request was never understood."""
    headers = Headers.of((b"Content-Type", b"application/problem+json"), (b"Backstay-Outcome", error.reason.encode()))
    problem: dict[str, object] = {
        "type": TYPE_PREFIX + error.reason,
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "reason": error.reason,
        "advice": _advice(error, exchange),
    }
    if exchange is not None:
        problem |= {"api": exchange.api, "route": exchange.route, "attempts": exchange.attempts}
        if exchange.cache_status:
            headers.add(b"Cache-Status", exchange.cache_status)
        if exchange.effect is not None and exchange.effect.unknown:
            problem["outcome"] = "unknown"
    if error.retry_after is not None:
        seconds = whole_seconds(error.retry_after)
        problem["retry_after"] = seconds
        headers.add(b"Retry-After", b"%d" % seconds)
    for name, value in error.headers():
        headers.add(name, value)
    if error.reason not in _REPEATABLE and not (exchange is not None and _resends(exchange)):
        for name, value in DO_NOT_REPEAT:
            headers.add(name, value)
    body = json.dumps(problem | _for_sdks(problem), ensure_ascii=False).encode()
    headers.add(b"Content-Length", b"%d" % len(body))
    return Response(error.status, headers, _reason(error.status), body)


def _for_sdks(problem: dict[str, object]) -> dict[str, object]:
    """The same for SDKs, which show their users no other members.

    Stripe's for Node takes an answer without ``error`` for a success, whatever its status; ``message`` is AWS's.
    """
    said = f"{str(problem['detail']).removesuffix('.')}. {problem['advice']}"
    return {"message": said, "error": {"type": "api_error", "code": problem["reason"], "message": said}}


def _resends(exchange: Exchange) -> bool:
    """Whether the same call again would be made again, without harm: see on_unknown."""
    return exchange.effect is not None and exchange.effect.unknown and exchange.effect.repeatable


def _in_doubt(error: CallError, exchange: Exchange) -> bool:
    """Whether an earlier attempt may have been carried out, of which ``error``, the last one's, says nothing."""
    unknown = exchange.effect is not None and exchange.effect.unknown
    return (
        error.source != "agent"
        and error.reason != "outcome_unknown"
        and (unknown or (exchange.lost and exchange.request.method not in _SAFE_METHODS))
    )


def _advice(error: CallError, exchange: Exchange | None) -> str:
    sentence = _ADVICE.get(error.reason)
    if exchange is not None and _resends(exchange):
        sentence = _RESENT
    elif exchange is not None and _in_doubt(error, exchange):
        sentence = _UNKNOWN
    elif sentence is None:
        harmless = exchange is not None and exchange.request.method in _SAFE_METHODS
        sentence = _HARMLESS if harmless else _UNKNOWN
    wait = "a moment" if error.retry_after is None else f"{whole_seconds(error.retry_after)} s"
    api = exchange.api or exchange.request.host.decode("latin-1") if exchange is not None else "called"
    return sentence.format(api=api, wait=wait)


def _reason(status: int) -> bytes:
    """The phrase of a status; clients of old print it."""
    return HTTPStatus(status).phrase.encode() if status != 499 else b"Client Closed Request"
