"""A vendor that carries calls out, keeps a list of them, and loses its answers as it is told. Used by tests/e2e.

bank = Bank(honours=False)                       # the same key twice is two payments
bank.plan("/pay/1", drops, answers)              # the first call of /pay/1 is carried out, and its answer lost
bank.plan("/pay/2", waits(gate, answers))        # nothing has happened until the test opens the gate
assert [commit.key for commit in bank.commits] == ["one"]

A *commit* is what the bank has carried out. One that honours keys gives the first result again for a key it knows, and
409 while it has not decided; another body under a key is an error of its own. Nothing that its callers do stops it:
what has reached it is carried out, whoever has left meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, Self, TypeAlias

import httpx
from aiohttp import web

from tests.support.process import PATIENCE, Sidecar, wait_until

KEY: Final = "Idempotency-Key"
RESULTS: Final = "backstay_idempotency_requests_total"


class Gate:
    """Where calls wait until the test lets them go on."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._opened: Future[None] = Future()

    async def passed(self) -> None:
        self._reached.set()
        await asyncio.shield(asyncio.wrap_future(self._opened))

    def wait_reached(self) -> None:
        """A call has come so far."""
        assert self._reached.wait(PATIENCE), "no call has reached the gate"

    def open(self) -> None:
        if not self._opened.done():
            self._opened.set_result(None)


@dataclass(frozen=True)
class Commit:
    """What was carried out, and by whose request."""

    number: int
    key: str  # as it reached the bank; empty if none did
    target: str
    body: bytes
    connection: str

    @property
    def message(self) -> str:
        return f"done {self.number}"

    @property
    def result(self) -> bytes:
        """The answer of a bank, and of a model too: no two are alike."""
        message = {"role": "assistant", "content": self.message}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        what = {"id": f"ch_{self.number}", "object": "charge", "created": 1, "model": "test", "choices": [choice]}
        return json.dumps({**what, "description": self.body.decode("latin-1")}).encode()


@dataclass
class Asked:
    """One request that reached the bank."""

    bank: Bank
    request: web.Request
    body: bytes
    key: str
    target: str
    connection: str
    commit: Commit | None = None
    known: bool = False  # the commit is of an earlier request

    def carry_out(self) -> Commit:
        if self.commit is None:
            self.commit = self.bank._commit(self)
        return self.commit

    def __repr__(self) -> str:
        return f"<Asked {self.target} {self.key!r} {self.body!r} {self.commit}>"


Behaviour: TypeAlias = Callable[[Asked], Awaitable[web.StreamResponse]]


@dataclass
class Bank:
    """Use it as a context manager. ``usual`` is how calls end that nothing was planned for."""

    honours: bool = False
    usual: Behaviour = field(default_factory=lambda: answers)
    fields: dict[str, str] = field(default_factory=dict)  # of every answer
    asked: list[Asked] = field(default_factory=list)
    commits: list[Commit] = field(default_factory=list)
    port: int = 0

    # --- life ---

    def __enter__(self) -> Self:
        self._listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._listening.wait(PATIENCE), "the bank does not listen"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(PATIENCE)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._plans: dict[str, deque[Behaviour]] = defaultdict(deque)
        self._results: dict[str, Commit] = {}
        self._undecided: set[str] = set()
        self._numbers = count(1)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=2048).start()
        self.port = runner.addresses[0][1]
        self._listening.set()
        await self._over.wait()
        await runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    # --- the test's ---

    def plan(self, path: str, *behaviours: Behaviour) -> None:
        """How the next calls of a path end, one each; before the first of them comes."""
        self._plans[path].extend(behaviours)

    def forget(self) -> None:
        """What it has done; not the keys that it knows."""
        self.asked.clear()
        self.commits.clear()

    @property
    def doubles(self) -> dict[str, int]:
        """Keys under which more than one call was carried out."""
        found = Counter(commit.key for commit in list(self.commits))
        return {key: times for key, times in found.items() if key and times > 1}

    def under(self, key: str) -> list[Commit]:
        return [commit for commit in list(self.commits) if commit.key == key]

    def paid(self, path: str) -> list[Commit]:
        return [commit for commit in list(self.commits) if commit.target == path]

    def requests(self, path: str) -> list[Asked]:
        return [asked for asked in list(self.asked) if asked.target == path]

    # --- calls ---

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        peer = request.transport.get_extra_info("peername") if request.transport is not None else None
        key = ", ".join(request.headers.getall(KEY, []))
        asked = Asked(self, request, body, key, request.raw_path, str(peer))
        self.asked.append(asked)
        if refusal := self._refuse(asked):
            return refusal
        undecided = self._undecided if key else set[str]()
        undecided.add(key)
        try:
            plan = self._plans[asked.target]
            return await (plan.popleft() if plan else self.usual)(asked)
        finally:
            undecided.discard(key)

    def _refuse(self, asked: Asked) -> web.Response | None:
        """What a bank that honours keys says about one that it knows; it has carried out nothing."""
        if not self.honours:
            return None
        first = self._results.get(asked.key)
        if first is None:
            return _refusal(409, "under way") if asked.key in self._undecided else None
        if first.body != asked.body:
            return _refusal(400, "another call under this key")
        asked.commit, asked.known = first, True
        return None

    def _commit(self, asked: Asked) -> Commit:
        commit = Commit(next(self._numbers), asked.key, asked.target, asked.body, asked.connection)
        self.commits.append(commit)
        if self.honours and asked.key:
            self._results[asked.key] = commit
        return commit


def _refusal(status: int, why: str) -> web.Response:
    return web.json_response({"error": {"type": "idempotency_error", "message": why}}, status=status)


def _fields(asked: Asked) -> dict[str, str]:
    known = {"X-Bank-Replayed": "true"} if asked.known else {}
    return {"Content-Type": "application/json", "Set-Cookie": "a=1", **asked.bank.fields, **known}


# --- how calls end ------------------------------------------------------------------------------------------


async def answers(asked: Asked) -> web.StreamResponse:
    """It is carried out."""
    return web.Response(body=asked.carry_out().result, headers=_fields(asked))


async def drops(asked: Asked) -> web.StreamResponse:
    """It is carried out, and the connection is closed without an answer."""
    asked.carry_out()
    return _hang_up(asked)


async def truncates(asked: Asked) -> web.StreamResponse:
    """It is carried out, and the connection is closed in the middle of the answer."""
    await _half(asked)
    return _hang_up(asked)


async def hangs(asked: Asked) -> web.StreamResponse:
    """It is carried out, and no answer comes for as long as there is a bank."""
    asked.carry_out()
    await asked.bank._over.wait()
    return _hang_up(asked)


def fails(status: int, *, done: bool = False) -> Behaviour:
    """An error, whether or not (``done``) it was carried out."""

    async def behaviour(asked: Asked) -> web.StreamResponse:
        if done:
            asked.carry_out()
        return web.json_response({"error": {"message": f"status {status}"}}, status=status)

    return behaviour


def waits(gate: Gate, then: Behaviour = answers) -> Behaviour:
    """Nothing happens before the gate is open."""

    async def behaviour(asked: Asked) -> web.StreamResponse:
        await gate.passed()
        return await then(asked)

    return behaviour


def delays(gate: Gate) -> Behaviour:
    """It is carried out at once, and nothing is answered before the gate is open."""

    async def behaviour(asked: Asked) -> web.StreamResponse:
        asked.carry_out()
        return await waits(gate)(asked)

    return behaviour


def pauses(gate: Gate) -> Behaviour:
    """It is carried out, and half of the answer comes before the gate is open."""

    async def behaviour(asked: Asked) -> web.StreamResponse:
        response, rest = await _half(asked)
        await gate.passed()
        await response.write(rest)
        return response

    return behaviour


def event(number: int) -> bytes:
    return b"data: event %d %b\n\n" % (number, b"." * 500)


def streams(gates: list[Gate]) -> Behaviour:
    """It is carried out, and an event is sent for each gate that is opened."""

    async def behaviour(asked: Asked) -> web.StreamResponse:
        asked.carry_out()
        response = web.StreamResponse(headers={**_fields(asked), "Content-Type": "text/event-stream"})
        await response.prepare(asked.request)
        for number, gate in enumerate(gates):
            await gate.passed()
            await response.write(event(number))
        return response

    return behaviour


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """The first, the second, and so on, and the first again."""
    turns = count()

    async def behaviour(asked: Asked) -> web.StreamResponse:
        return await behaviours[next(turns) % len(behaviours)](asked)

    return behaviour


async def _half(asked: Asked) -> tuple[web.StreamResponse, bytes]:
    body = asked.carry_out().result
    response = web.StreamResponse(headers={**_fields(asked), "Content-Length": str(len(body))})
    await response.prepare(asked.request)
    await response.write(body[: len(body) // 2])
    return response, body[len(body) // 2 :]


def _hang_up(asked: Asked) -> web.StreamResponse:
    if asked.request.transport is not None:
        asked.request.transport.close()
    return web.Response()  # nobody gets it


# --- agents -------------------------------------------------------------------------------------------------


def payment(path: str, key: str | None = None, body: bytes = b"amount=1", *fields: str) -> bytes:
    """A call that must happen once, as it is sent."""
    named = () if key is None else (f"{KEY}: {key}",)
    head = (f"POST {path} HTTP/1.1", "Host: a", f"Content-Length: {len(body)}", *named, *fields, "", "")
    return "\r\n".join(head).encode() + body


def pay(
    sidecar: Sidecar, path: str, key: str | None = None, body: bytes = b"amount=1", **fields: str
) -> httpx.Response:
    """Make it, and have the answer; ``fields`` have _ for -. Raises httpx.RemoteProtocolError if that breaks off."""
    named = {} if key is None else {KEY: key}
    return sidecar.post(path, content=body, headers={**named, **{k.replace("_", "-"): v for k, v in fields.items()}})


def ended(answer: httpx.Response) -> tuple[int, str]:
    """(status, what Backstay says that it is)."""
    return answer.status_code, answer.headers.get("backstay-outcome", "")


def replayed(answer: httpx.Response) -> bool:
    return bool(answer.headers.get("idempotent-replayed") == "true")


def results(sidecar: Sidecar, **labels: str) -> Counter[str]:
    """What the ledger has made of calls so far (of an api)."""
    return sidecar.values(RESULTS, "result", **labels)


def unsettled(sidecar: Sidecar) -> list[dict[str, Any]]:
    """The records of calls whose outcome is not known."""
    answer = sidecar.admin("GET", "/v1/idempotency?limit=1000")
    assert answer.status_code == 200, answer.text
    records: list[dict[str, Any]] = answer.json()["records"]
    return records


def wait_unknown(sidecar: Sidecar, key: str) -> str:
    """The id of the record with this key, once its outcome is not known."""

    def found() -> list[str]:
        return [str(record["id"]) for record in unsettled(sidecar) if record["key"] == key]

    return wait_until(found, f"{key} being unknown")[0]


def settle(sidecar: Sidecar, key: str, outcome: str) -> None:
    """Say, as an operator, that a call was carried out (done) or was not (absent)."""
    answer = sidecar.admin("POST", f"/v1/idempotency/{wait_unknown(sidecar, key)}", {"outcome": outcome})
    assert answer.status_code == 200, answer.text
