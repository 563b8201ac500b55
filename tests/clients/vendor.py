"""The vendors that the programs call, under their real names, in one process. Started by ``world.py``.

    python -m tests.clients.vendor ADDRESS PORT AUTHORITY_DIR

It prints its port, and answers each line on its standard input: ``report`` with the calls since the last report, by
case, as JSON. TLS by SNI: every name has a good certificate of the authority in that folder, but those of ``BAD``.

A case is a word in the request (the model, the object, the tool, the last part of the path) that says what becomes of
it, whatever the vendor's dialect:

=========  ================================================================================
``plain``  the answer
``stream`` the same in three pieces, ``PAUSE`` seconds apart
``flaky``  503, 503, and then the answer
``down``   503
``cached`` the answer, which names how many have been given before
``once``   the same
=========  ================================================================================
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Final

import trustme
from aiohttp import web

from tests.clients import shapes
from tests.clients.shapes import Asked, Piece

PAUSE: Final = 0.3  # seconds
BAD: Final = ("expired.vendor.example", "self-signed.vendor.example", "wrong-host.vendor.example")


class Vendor:
    """Answers, and counts what it was asked."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def report(self) -> dict[str, int]:
        counted, self.calls = dict(self.calls), Counter()
        return counted

    async def answer(self, request: web.Request) -> web.StreamResponse:
        asked = shapes.understand(request.method, request.path, await request.read())
        self.calls[asked.case] += 1
        number = self.calls[asked.case]
        if asked.case == "down" or (asked.case == "flaky" and number <= 2):
            return web.json_response(shapes.failure(asked), status=503)
        if asked.stream:
            async with aclosing(_paused(asked, number)) as pieces:
                return await _stream(request, asked, pieces)
        whole = shapes.whole(asked, number)
        return web.Response(body=whole.body, status=whole.status, headers=whole.headers)


async def _paused(asked: Asked, number: int) -> AsyncGenerator[Piece, None]:
    for place, piece in enumerate(shapes.pieces(asked, number)):
        if place:
            await asyncio.sleep(PAUSE)
        yield piece


async def _stream(request: web.Request, asked: Asked, pieces: AsyncGenerator[Piece, None]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": shapes.stream_type(asked)})
    await response.prepare(request)
    async for piece in pieces:
        await response.write(piece)
    return response


class Certificates:
    """The context for a name, made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._good = trustme.CA.from_pem((folder / "ca.pem").read_bytes(), (folder / "ca.key").read_bytes())
        self._made: dict[str, ssl.SSLContext] = {}
        self.first = self._context(self._good.issue_cert("vendor.example"))
        self.first.sni_callback = self._choose

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        if name is not None:
            connection.context = self._made.get(name) or self._make(name)

    def _make(self, name: str) -> ssl.SSLContext:
        makers: dict[str, Callable[[], trustme.LeafCert]] = {
            "expired.vendor.example": lambda: self._good.issue_cert(name, not_after=shapes.LONG_AGO),
            "self-signed.vendor.example": lambda: trustme.CA().issue_cert(name),
            "wrong-host.vendor.example": lambda: self._good.issue_cert("other.vendor.example"),
        }
        leaf = makers.get(name, lambda: self._good.issue_cert(name))()
        self._made[name] = self._context(leaf)
        return self._made[name]

    @staticmethod
    def _context(leaf: trustme.LeafCert) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        leaf.configure_cert(context)
        return context


async def serve(address: str, port: int, authority: Path) -> None:
    """Until standard input ends."""
    vendor = Vendor()
    app = web.Application(client_max_size=1 << 24)
    app.router.add_route("*", "/{path:.*}", vendor.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, address, port, ssl_context=Certificates(authority).first).start()
    _say(runner.addresses[0][1])
    loop = asyncio.get_running_loop()
    while (await loop.run_in_executor(None, sys.stdin.readline)).strip() == "report":
        _say(vendor.report())
    await runner.cleanup()


def _say(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
