"""OPTIONS and TRACE with a limit of hops (RFC 9110, 7.6.2): at its end, Backstay answers by itself. Used by runtime.py.

That is how `backstay doctor` learns that a call would come here, without a vendor who hears of it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from proxy import __version__
from proxy.model import Chain, Headers, Response

if TYPE_CHECKING:
    from proxy.model import Exchange, Proceed, Request

LIMITED: Final = frozenset({b"OPTIONS", b"TRACE"})
_FIELD: Final = b"max-forwards"
_DIGITS: Final = 9


def hop(request: Request, chain: Chain) -> Chain:
    """What serves a request with one of the LIMITED methods, whose limit is one less from here on."""
    value = request.headers.get(_FIELD)
    if value is None or not value.isdigit() or len(value) > _DIGITS:
        return chain
    left = int(value)
    if left == 0:
        answer = _answering(chain)
        return Chain(chain.api, chain.route, answer, answer)
    request.headers.set(b"Max-Forwards", b"%d" % (left - 1))
    return chain


def _answering(chain: Chain) -> Proceed:
    async def answer(exchange: Exchange) -> Response:
        del exchange
        said = {"by": "backstay", "version": __version__, "api": chain.api or None, "route": chain.route}
        body = json.dumps(said).encode()
        headers = Headers.of(
            (b"Content-Type", b"application/json"),
            (b"Backstay-Outcome", b"max_forwards"),
            (b"Content-Length", b"%d" % len(body)),
        )
        return Response(200, headers, b"OK", body)

    return answer
