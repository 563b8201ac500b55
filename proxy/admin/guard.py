"""Who may use the admin API, and how it says no: one middleware around every route, and RFC 9457 problems.

Used by ``admin/api.py``. The rules, in their order:

1. A request that a browser makes for a foreign page is refused: one with an Origin, or with a Host that is neither an
   address, nor localhost, nor a name that this listener is known by. (A browser in the agent's pod must not become a
   way in; DNS rebinding needs a name.)
2. Without the token there is nothing, not even a 404.
3. Whatever goes wrong is a problem+json, and nothing is ever cached.
"""

from __future__ import annotations

import hmac
import http
import ipaddress
import json
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final, TypeAlias

from aiohttp import web

_log = logging.getLogger("backstay")

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="backstay admin"'}


class ProblemError(Exception):
    """A request that cannot be answered as asked: the status and members of its problem+json."""

    def __init__(self, status: int, detail: str, **members: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.members = {"detail": detail, **members}


def problem(status: int, detail: str, **members: Any) -> web.Response:
    """An error as RFC 9457 wants it; without a type of its own, its title is that of the status (4.2.1)."""
    body = {"type": "about:blank", "title": http.HTTPStatus(status).phrase, "status": status, "detail": detail}
    return web.Response(status=status, text=json.dumps(body | members), content_type="application/problem+json")


def guard(token: str, hosts: Collection[str]) -> Any:
    """The middleware. ``hosts`` are the names, besides addresses and localhost, that the listener is known by."""
    if not token:
        raise ValueError("the admin API needs a token")
    expected = token.encode()
    known = {"localhost", *(host.lower() for host in hosts)}

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = _refusal(request, expected, known) or await _answer(request, handler)
        response.headers.update(_HEADERS)
        return response

    return middleware


def _refusal(request: web.Request, token: bytes, hosts: Collection[str]) -> web.Response | None:
    if "Origin" in request.headers:
        return problem(403, "Requests that a page makes in a browser (with an Origin) are refused here.")
    if not _is_ours(request.headers.get("Host", ""), hosts):
        return problem(403, "The Host of this request is not this listener's: use its address, or localhost.")
    if not _is_authorized(request.headers.getall("Authorization", []), token):
        response = problem(401, "Send `Authorization: Bearer TOKEN` with the token of admin_token or its file.")
        response.headers.update(_CHALLENGE)
        return response
    return None


def _is_ours(host: str, hosts: Collection[str]) -> bool:
    name = host.rpartition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name.lower() in hosts
    return True


def _is_authorized(values: list[str], token: bytes) -> bool:
    """RFC 6750, 2.1. The comparison takes as long for a near token as for a far one."""
    if len(values) != 1:
        return False
    scheme, _, given = values[0].partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(errors="surrogateescape"), token)


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ProblemError as error:
        return problem(error.status, **error.members)
    except web.HTTPException as error:  # of aiohttp's own: 404, 405, 413
        response = problem(error.status, f"{request.method} {request.path}: {error.reason}")
        if (allow := error.headers.get("Allow")) is not None:  # RFC 9110, 15.5.6
            response.headers["Allow"] = allow
        return response
    except Exception:  # noqa: BLE001 - the outermost: a defect must not show its insides, nor go unanswered
        _log.exception("the admin API failed", extra={"path": request.path})
        return problem(500, "This is a defect of Backstay's; its log says more.")
