"""A vendor's API on aiohttp, in a thread of its own, that answers, fails, hangs and cuts as it is told.

Used by tests/e2e. It runs as a program too (``python -m tests.support.vendor``), for tests that kill it: then it
prints its port.

==================  ==================================================================================
``/echo``           what came: method, target, headers, body
``/bytes/N``        N bytes of noise
``/gzip``           a body that is compressed
``/moved``          a redirect to /echo, relative
``/status/N``       a problem of the vendor's own with that status
``/events/N``       N server-sent events, each when the test allows it (``allow``)
``/pieces/N``       N pieces of noise of 64 KiB, each when the test allows it
``/drip``           one event, and then nothing
``/cut/N``          announces more than N bytes, sends N and closes; ``/cut-chunked/N``: the same, chunked
``/reset``          closes without an answer
``/hang``           never answers
``/gate/N``         answers once N calls wait here
``/v1/...``         what the SDKs of openai and stripe ask for
==================  ==================================================================================

``fields`` come with every answer. After ``hold``, every call waits for ``release`` before it is answered.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import ssl
import sys
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, Final, NoReturn, Self, TypeAlias

from aiohttp import web

COMPRESSED: Final = gzip.compress(b"squeezed " * 500, mtime=0)
STREAMED_WORDS: Final = ("Hello", " there", ", agent")
_LARGEST_BODY: Final = 64 * 1024 * 1024
_PIECE: Final = 64 * 1024
_MODEL: Final = {"object": "model", "created": 1, "owned_by": "vendor"}


@lru_cache
def noise(size: int) -> bytes:
    """The same bytes every time, and no pattern in them that a buffer could repeat unnoticed."""
    return random.Random(size).randbytes(size)


@dataclass
class Call:
    """One request that reached the vendor."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    state: str = "running"  # running | answered | gone (the other side left before the end)
    sent: int = 0  # bytes of the body

    def header(self, name: str) -> str | None:
        return next((value for each, value in self.headers if each.lower() == name.lower()), None)


Answer: TypeAlias = Callable[[web.Request, Call, str], Awaitable[web.StreamResponse]]
"""Given the request, its record, and the last part of its path."""


@dataclass
class Vendor:
    """Use it as a context manager. ``mode`` may change at any time: well, failing, throttling, resetting, hanging."""

    context: ssl.SSLContext | None = None
    mode: str = "well"
    fields: dict[str, str] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    port: int = 0

    # --- life ---

    def __enter__(self) -> Self:
        self._listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._listening.wait(10), "the vendor does not listen"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._allowed = asyncio.Semaphore(0)
        self._waiting = 0
        self._gate = asyncio.Event()
        self._free = asyncio.Event()
        self._free.set()
        self._transports: set[asyncio.Transport] = set()
        app = web.Application(client_max_size=_LARGEST_BODY)
        app.router.add_route("*", "/{path:.*}", self._answer)
        app.on_response_prepare.append(self._add_fields)
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self.context, backlog=2048).start()
        self.port = runner.addresses[0][1]
        self._listening.set()
        await self._over.wait()
        await runner.cleanup()
        for transport in self._transports:  # TLS would wait for the other side's goodbye
            transport.abort()
        await asyncio.sleep(0)

    @property
    def url(self) -> str:
        return f"{'http' if self.context is None else 'https'}://localhost:{self.port}"

    def allow(self, events: int = 1) -> None:
        """Let that many more events of ``/events``, or pieces of ``/pieces``, go."""
        for _ in range(events):
            self._loop.call_soon_threadsafe(self._allowed.release)

    def hold(self) -> None:
        """Let every call that comes from now on wait."""
        self._loop.call_soon_threadsafe(self._free.clear)

    def release(self) -> None:
        """Let them go, and open the gate, whoever is still missing."""
        self._loop.call_soon_threadsafe(self._free.set)
        self._loop.call_soon_threadsafe(self._gate.set)

    def seen(self, state: str, path: str = "") -> list[Call]:
        """The calls in this state whose target has ``path`` in it."""
        return [call for call in list(self.calls) if call.state == state and path in call.target]

    def forget(self) -> None:
        self.calls.clear()

    # --- answers ---

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        call = Call(request.method, request.raw_path, [*request.headers.items()], await request.read())
        self.calls.append(call)
        if isinstance(request.transport, asyncio.Transport):
            self._transports.add(request.transport)
        try:
            response = await self._choose(request, call)
            if not response.prepared:
                await response.prepare(request)
            await response.write_eof()
        except BaseException:
            call.state = "gone"
            raise
        call.state = "answered"
        return response

    async def _add_fields(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(self.fields)

    async def _choose(self, request: web.Request, call: Call) -> web.StreamResponse:
        await self._free.wait()
        match self.mode:
            case "failing":
                return _failure(503)
            case "throttling":
                return _failure(429)
            case "resetting":
                return await _reset(request, call, "")
            case "hanging":
                return await _hang(request, call, "")
        answers: dict[str, Answer] = {
            "bytes": _bytes,
            "cut": partial(_cut, chunked=False),
            "cut-chunked": partial(_cut, chunked=True),
            "drip": _drip,
            "events": self._events,
            "gate": self._pass_gate,
            "gzip": _gzip,
            "hang": _hang,
            "moved": _moved,
            "pieces": self._pieces,
            "reset": _reset,
            "status": _status,
            "v1": _sdk,
            "v1/chat": _sdk,
        }
        name, _, argument = request.path.strip("/").rpartition("/")
        return await answers.get(name or argument, _echo)(request, call, argument)

    async def _events(self, request: web.Request, call: Call, count: str) -> web.StreamResponse:
        response = await _stream(request)
        for number in range(int(count)):
            await self._allowed.acquire()
            await response.write(b"data: event %d\n\n" % number)
        return response

    async def _pieces(self, request: web.Request, call: Call, count: str) -> web.StreamResponse:
        response = await _stream(request)
        body = noise(int(count) * _PIECE)
        for start in range(0, len(body), _PIECE):
            await self._allowed.acquire()
            await response.write(body[start : start + _PIECE])
            call.sent += _PIECE
        return response

    async def _pass_gate(self, request: web.Request, call: Call, count: str) -> web.Response:
        self._waiting += 1
        if self._waiting >= int(count):
            self._gate.set()
        await self._gate.wait()
        return web.json_response({"together": self._waiting})


async def _echo(request: web.Request, call: Call, argument: str) -> web.Response:
    what = {"method": call.method, "target": call.target, "headers": call.headers, "body": call.body.decode("latin-1")}
    return web.json_response(what, headers={"X-Vendor": "echo", "Set-Cookie": "a=1"})


async def _status(request: web.Request, call: Call, status: str) -> web.Response:
    return _failure(int(status))


def _failure(status: int) -> web.Response:
    body = {"error": {"message": f"the vendor says {status}", "type": "vendor_error", "code": str(status)}}
    return web.json_response(body, status=status, headers={"X-Vendor": "failure"})


async def _gzip(request: web.Request, call: Call, argument: str) -> web.Response:
    return web.Response(body=COMPRESSED, headers={"Content-Encoding": "gzip"}, content_type="text/plain")


async def _moved(request: web.Request, call: Call, argument: str) -> web.Response:
    return web.Response(status=302, headers={"Location": "/echo?moved=1"})


async def _hang(request: web.Request, call: Call, argument: str) -> NoReturn:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


async def _reset(request: web.Request, call: Call, argument: str) -> NoReturn:
    assert request.transport is not None
    request.transport.close()
    await _hang(request, call, argument)  # until the handler is cancelled, since the connection is gone


async def _drip(request: web.Request, call: Call, argument: str) -> NoReturn:
    response = await _stream(request)
    await response.write(b"data: first\n\n")
    await _hang(request, call, argument)


async def _bytes(request: web.Request, call: Call, size: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": size})
    await response.prepare(request)
    body = noise(int(size))
    for start in range(0, len(body), _PIECE):
        await response.write(body[start : start + _PIECE])
        call.sent += _PIECE
    return response


async def _stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    return response


async def _cut(request: web.Request, call: Call, size: str, *, chunked: bool) -> NoReturn:
    response = web.StreamResponse(headers={} if chunked else {"Content-Length": str(int(size) + 1000)})
    await response.prepare(request)
    await response.write(noise(int(size)))
    await _reset(request, call, size)


async def _sdk(request: web.Request, call: Call, what: str) -> web.StreamResponse:
    if what == "models":
        return web.json_response({"object": "list", "data": [dict(_MODEL, id=name) for name in ("small", "large")]})
    if what == "customers":
        return web.json_response({"id": "cus_1", "object": "customer", "description": call.body.decode()})
    if what == "completions" and json.loads(call.body).get("stream"):
        response = await _stream(request)
        for word in STREAMED_WORDS:
            await response.write(b"data: " + json.dumps(_completion(word, "delta")).encode() + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response
    if what == "completions":
        return web.json_response(_completion("".join(STREAMED_WORDS), "message"))
    return await _echo(request, call, what)


def _completion(text: str, kind: str) -> dict[str, Any]:
    choice = {"index": 0, kind: {"role": "assistant", "content": text}, "finish_reason": None}
    name = "chat.completion.chunk" if kind == "delta" else "chat.completion"
    return {"id": "c1", "object": name, "created": 1, "model": "test", "choices": [choice]}


def main() -> None:
    """Serve until killed."""
    with Vendor() as vendor:
        sys.stdout.write(f"{vendor.port}\n")
        sys.stdout.flush()
        threading.Event().wait()


if __name__ == "__main__":
    main()
