"""A scripted origin: it says to each request what the current step of a test would have it say, and records it.

Used by steps.py. The first segment of a path names the test, so that one origin serves all of them at once. It writes
its answers byte by byte: no library adds a Date, a Server or a framing of its own.
"""

from __future__ import annotations

import re
import socketserver
import threading
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Final, Self, cast

from tests.support.process import PATIENCE

_PLACE: Final = re.compile(r"\{(?:([+-]\d+)(?::(\w+))?|(origin|path))\}")
_FORMATS: Final = {"rfc850": "%A, %d-%b-%y %H:%M:%S GMT", "asctime": "%a %b %e %H:%M:%S %Y"}
_BODILESS: Final = frozenset({204, 304})


@dataclass(frozen=True)
class Answer:
    """What the origin would say. In ``fields``, ``{+60}`` is the date in a minute and ``{-60}`` the one a minute ago.

    ``{+60:rfc850}`` and ``{+60:asctime}`` are the obsolete forms, ``{origin}`` is its scheme, host and port, and
    ``{path}`` the path of the test.
    """

    status: int
    fields: tuple[str, ...] = ()
    body: str | None = None  # None: one that names the step
    dated: bool = True  # whether it sends the Date that every origin with a clock sends
    framing: str = "length"  # length | chunked | close (no length, the body ends with the connection)
    whole: Answer | None = None  # of a 304: what it says to a request without a condition
    early: tuple[str, ...] = ()  # fields of a 103 before it
    trailer: str = ""  # a field behind a chunked body
    trouble: str = ""  # "" | silence (closes without an answer) | cut (closes within the body)


def ok(*fields: str, **more: Any) -> Answer:
    return Answer(200, fields, **more)


def says(status: int, *fields: str, **more: Any) -> Answer:
    return Answer(status, fields, **more)


def unmodified(*fields: str, **more: Any) -> Answer:
    return Answer(304, fields, **more)


SILENCE: Final = Answer(0, trouble="silence")


@dataclass(frozen=True)
class Asked:
    """A request that reached the origin."""

    method: str
    target: str
    fields: tuple[tuple[str, str], ...]
    body: bytes

    def values(self, name: str) -> list[str]:
        return [value for each, value in self.fields if each.lower() == name.lower()]

    @property
    def conditional(self) -> bool:
        return bool(self.values("If-None-Match") or self.values("If-Modified-Since"))


@dataclass
class Script:
    """What one test has the origin say now, and what it was asked so far."""

    answer: Answer | None = None
    body: str = ""
    asked: list[Asked] = field(default_factory=list)
    gate: threading.Event | None = None  # it answers once this is set


def _date(seconds: int, form: str | None) -> str:
    wall = time.time() + seconds
    return time.strftime(_FORMATS[form], time.gmtime(wall)) if form else formatdate(wall, usegmt=True)


def fill(text: str, *, origin: str, path: str) -> str:
    """Replace the places of a field's value."""

    def value(found: re.Match[str]) -> str:
        seconds, form, name = found.groups()
        return {"origin": origin, "path": path}[name] if name else _date(int(seconds), form)

    return _PLACE.sub(value, text)


class _Connection(socketserver.StreamRequestHandler):
    """Requests of one connection, one after the other."""

    def handle(self) -> None:
        try:
            while (asked := self._request()) is not None and self._respond(asked):
                pass
        except ConnectionError:
            pass  # the proxy closed

    def _request(self) -> Asked | None:
        line = self.rfile.readline()
        if not line:
            return None
        method, target, _ = line.decode("latin-1").split(" ")
        fields = []
        while (header := self.rfile.readline()) not in {b"\r\n", b""}:
            name, _, value = header.decode("latin-1").partition(":")
            fields.append((name, value.strip()))
        length = next((int(value) for name, value in fields if name.lower() == "content-length"), 0)
        return Asked(method, target, tuple(fields), self.rfile.read(length))

    def _respond(self, asked: Asked) -> bool:
        """Answer; returns whether the connection stays open."""
        origin = cast("_Server", self.server).origin
        script = origin.scripts[asked.target.split("?")[0].split("/")[1]]
        answer = script.answer or says(500, body="the origin was asked, and should not have been")
        if answer.status == 304 and not asked.conditional:
            answer = answer.whole or says(500, body="the origin was to validate, and was not asked to")
        script.asked.append(asked)
        if script.gate is not None:
            assert script.gate.wait(PATIENCE), "nobody opened the gate"
        if answer.trouble == "silence":
            return False
        body = (script.body if answer.body is None else answer.body).encode()
        if answer.early:
            lines = ("HTTP/1.1 103 Early Hints", *answer.early, "", "")
            self.wfile.write("\r\n".join(lines).encode())
        bodiless = asked.method == "HEAD" or answer.status in _BODILESS
        self.wfile.write(self._head(answer, asked, len(body)) + (b"" if bodiless else self._framed(answer, body)))
        return answer.framing != "close" and not answer.trouble

    def _head(self, answer: Answer, asked: Asked, length: int) -> bytes:
        origin = cast("_Server", self.server).origin
        path = "/" + asked.target.split("?")[0].split("/")[1]
        lines = [fill(line, origin=origin.url, path=path) for line in answer.fields]
        names = {line.partition(":")[0].lower() for line in lines}
        if answer.dated and "date" not in names:
            lines.append(f"Date: {_date(0, None)}")
        if answer.framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
        elif answer.framing == "length" and answer.status not in _BODILESS and "content-length" not in names:
            lines.append(f"Content-Length: {length}")
        return "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {answer.status} Said", *lines, "")).encode("latin-1")

    @staticmethod
    def _framed(answer: Answer, body: bytes) -> bytes:
        if answer.trouble == "cut":
            body = body[: len(body) // 2]
        if answer.framing != "chunked":
            return body
        trailer = f"{answer.trailer}\r\n" if answer.trailer else ""
        end = b"" if answer.trouble else f"0\r\n{trailer}\r\n".encode()
        return b"%x\r\n%b\r\n%b" % (len(body), body, end)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        super().__init__(("127.0.0.1", 0), _Connection)


class Origin:
    """Use it as a context manager."""

    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {}
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
