"""Owns what may stand in for an answer that went wrong, in which order, and the operator's own answers.

Called by ``config`` (settings) and ``policies/fallback.py`` (every exchange that would end in an error).

==================================  ===============================================================================
what went wrong                     may something stand in for it?
==================================  ===============================================================================
an answer that counts as FAILURE    yes; it is kept until something better is there
an error about the upstream         yes: there is no answer, and the agent can do nothing about it
a refusal of ours                   yes; that of a rate limit only where ``rate_limit.fallback`` is set
the agent's own request             never: a good answer would hide the fault from the one who can mend it;
                                    ``only-if-cached`` asked for its 504 (RFC 9111, 5.2.1.7)
a defect of ours                    never: it must be seen
a call that may have been done      never, if a ledger of such calls says so (``CallError.replaceable``): whatever
                                    stood in for it, the agent would take for the outcome
==================================  ===============================================================================

A stale answer that the cache may serve unasked comes before everything else, and since serving it cannot fail,
nothing comes after it. One that it may not serve unasked has the place that the list gives it, or none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, TypeAlias

from proxy.core.retry import DO_NOT_REPEAT
from proxy.core.retry_after import whole_seconds
from proxy.errors import CallError, RateLimited
from proxy.model import Headers, Response, Stale

TEMPLATES: Final = ("api", "reason", "retry_after")
"""What ``${...}`` in the body and the fields of a static answer may name; anything else is left as it is."""

RESERVED_FIELDS: Final = frozenset(
    {
        b"connection", b"content-length", b"keep-alive", b"proxy-connection", b"te", b"trailer",
        b"transfer-encoding", b"upgrade", b"backstay-outcome", b"cache-status",
    }
)  # fmt: skip
"""Fields, lower-cased, that a static answer may not set: those of the hop, and those that are Backstay's to say."""

_TEMPLATE: Final = re.compile(rf"(\$?)\$\{{({'|'.join(TEMPLATES)})\}}")
_PHRASES: Final = {status.value: status.phrase.encode() for status in HTTPStatus}
_MAY_WAIT: Final = frozenset({429, 503})  # statuses whose Retry-After says when to ask again (RFC 9110, 10.2.3)
_BODILESS: Final = frozenset({204, 304})  # neither a body nor its length (RFC 9110, 8.6)


@dataclass(frozen=True, slots=True)
class ServeStale:
    """The answer that the cache still has, however old."""


@dataclass(frozen=True, slots=True)
class ToApi:
    """The same call at another api, under that api's own policies."""

    api: str


@dataclass(frozen=True, slots=True)
class Static:
    """An answer that the operator wrote; body and values may hold the templates, and ``$${api}`` for ``${api}``."""

    status: int  # 200 to 599
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: str = ""


Step: TypeAlias = ServeStale | ToApi | Static


@dataclass(frozen=True, slots=True)
class FallbackSettings:
    """What to try, in this order; nothing: only what the cache may serve unasked."""

    steps: tuple[Step, ...] = ()


def replaceable(error: CallError, *, rate_limited: bool) -> bool:
    """Whether something may stand in for the answer that this error would become.

    ``rate_limited``: also if it is the refusal of our own rate limit.
    """
    return error.replaceable and (rate_limited or not isinstance(error, RateLimited))


def plan(steps: tuple[Step, ...], stale: Stale | None) -> tuple[Step, ...]:
    """What to try, in this order, where the cache has ``stale`` at hand."""
    if stale is None:
        return tuple(step for step in steps if not isinstance(step, ServeStale))
    return (ServeStale(),) if stale.permitted else steps


def render(static: Static, api: str, reason: str, retry_after: float | None) -> Response:
    """The operator's own answer. ``retry_after``: seconds until the vendor may be asked again, if anybody knows.

    The templates need no escaping, whatever the body is: two are words, one is a number (0 if nobody knows).
    """
    seconds = 0 if retry_after is None else whole_seconds(retry_after)
    words = dict(zip(TEMPLATES, (api, reason, str(seconds)), strict=True))
    status, headers = static.status, Headers.of(*((name, _fill_field(value, words)) for name, value in static.headers))
    headers.add(b"Backstay-Outcome", b"fallback")
    if status in _MAY_WAIT and retry_after is not None:
        _default(headers, b"Retry-After", b"%d" % whole_seconds(retry_after))
    if status >= 400:
        for name, value in DO_NOT_REPEAT:
            _default(headers, name, value)
    response = Response(status, headers, _PHRASES.get(status, b""))
    if status not in _BODILESS:
        response.body = _fill(static.body, words).encode(errors="replace")  # YAML can write half a pair
        headers.add(b"Content-Length", b"%d" % len(response.body))
    return response


def _default(headers: Headers, name: bytes, value: bytes) -> None:
    """Add a field, unless the operator wrote one."""
    if name.lower() not in headers:
        headers.add(name, value)


def _fill_field(value: bytes, words: dict[str, str]) -> bytes:
    return _fill(value.decode(), words).encode() if b"${" in value else value


def _fill(text: str, words: dict[str, str]) -> str:
    """``text`` with each template in its place, or the literal that a second dollar sign makes of it."""
    return _TEMPLATE.sub(lambda found: str(found[0][1:] if found[1] else words[found[2]]), text)
