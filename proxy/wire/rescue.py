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
    "bad_request": "The request is malformed and was not sent. Trying again unchanged will not help.",
}
_UNKNOWN: Final = (
    "The {api} API gave no usable answer, and it is not known whether the call was carried out. "
    "Check before you repeat anything that must happen only once."
)
_HARMLESS: Final = "The {api} API gave no usable answer. Use another tool, or try again later."
_REPEATABLE: Final = frozenset({"rate_limited", "pool_exhausted", "overloaded", "request_timeout"})
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
    if error.retry_after is not None:
        seconds = whole_seconds(error.retry_after)
        problem["retry_after"] = seconds
        headers.add(b"Retry-After", b"%d" % seconds)
    for name, value in error.headers():
        headers.add(name, value)
    if error.reason not in _REPEATABLE:
        for name, value in DO_NOT_REPEAT:
            headers.add(name, value)
    body = json.dumps(problem, ensure_ascii=False).encode()
    headers.add(b"Content-Length", b"%d" % len(body))
    return Response(error.status, headers, _reason(error.status), body)


def _advice(error: CallError, exchange: Exchange | None) -> str:
    sentence = _ADVICE.get(error.reason)
    if sentence is None:
        harmless = exchange is not None and exchange.request.method in _SAFE_METHODS
        sentence = _HARMLESS if harmless else _UNKNOWN
    wait = "a moment" if error.retry_after is None else f"{whole_seconds(error.retry_after)} s"
    return sentence.format(api=exchange.api if exchange is not None else "called", wait=wait)


def _reason(status: int) -> bytes:
    """The phrase of a status; clients of old print it."""
    return HTTPStatus(status).phrase.encode() if status != 499 else b"Client Closed Request"
