"""A sidecar that is killed in the middle of calls that must happen once: the next one knows what it may not know."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.e2e.conftest import Start
from tests.support.crowd import all_wait, read_answer
from tests.support.ledger import (
    Bank,
    Behaviour,
    Commit,
    Gate,
    delays,
    ended,
    pauses,
    pay,
    payment,
    replayed,
    results,
    unsettled,
    wait_unknown,
    waits,
)
from tests.support.process import PATIENCE, Document, Sidecar, document, wait_until
from tests.support.redis_server import RedisServer

UNDER_WAY: Final = ("after-reserve", "after-write", "after-commit", "in-answer")


@dataclass(frozen=True)
class Api:
    """One that keeps its records in a store, and what it does with a call in doubt."""

    store: str
    on_unknown: str

    @property
    def name(self) -> str:
        return f"{self.store}-{self.on_unknown}"

    def key(self, point: str) -> str:
        return f"{self.name}-{point}"

    def path(self, point: str) -> str:
        return f"/pay/{self.name}/{point}"

    def mounted(self, point: str) -> str:
        """The vendor that is far away cannot be connected to, before the crash: calls to it are not written."""
        return f"/{self.name}{'-far' if point == 'after-reserve' else ''}{self.path(point)}"

    def document(self, bank: Bank, url: str) -> Document:
        policy = {"on_unknown": self.on_unknown, "upstream": "honours" if bank.honours else "ignores"}
        lease = "1s" if self.store == "shared" else "1h"  # a file has one process: that it is another one is enough
        idempotency = {"store": self.store, "scope": "api", "lease": lease, **policy}
        return {"url": url, "breaker": False, "timeout": {"connect": "1m"}, "idempotency": idempotency}


APIS: Final = tuple(Api(store, unknown) for store in ("ledger", "shared") for unknown in ("refuse", "resend"))


@dataclass
class Scene:
    """Two vendors, one that honours keys; and the sidecar, before the crash and after it."""

    stores: dict[str, str]
    banks: dict[str, Bank]  # by on_unknown
    sidecar: Sidecar

    def bank(self, api: Api) -> Bank:
        return self.banks[api.on_unknown]

    def commits(self, api: Api, point: str) -> list[Commit]:
        return self.bank(api).paid(api.path(point))

    def again(self, api: Api, point: str) -> httpx.Response:
        """The same call, made by whoever made it before."""
        return pay(self.sidecar, api.mounted(point), api.key(point))


def configuration(stores: dict[str, str], banks: dict[str, Bank], far: str | None = None) -> Document:
    apis: dict[str, Document] = {}
    for api in APIS:
        bank = banks[api.on_unknown]
        apis |= {api.name: api.document(bank, bank.url), f"{api.name}-far": api.document(bank, far or bank.url)}
    return document(apis, stores=stores, log={"access": False})


class Calls:
    """A call of each api at each of the points, through a sidecar that will not end them."""

    def __init__(self, scene: Scene, far: socket.socket, stack: ExitStack) -> None:
        self._scene = scene
        self._far = far
        self._stack = stack
        self._gates: list[Gate] = []

    def begin(self) -> None:
        for api in APIS:
            self._finish(api)
            self._send(api, "before-reserve", less=1)
            self._send(api, "after-reserve")
            self._stack.enter_context(self._far.accept()[0])
            self._hold(api, "after-write", waits)
            self._hold(api, "after-commit", delays)
            agent = self._hold(api, "in-answer", pauses)
            while b'"choices"' not in (data := agent.recv(65536)):
                assert data, "the answer has not begun"
        all_wait(self._scene.sidecar, len(APIS) * (1 + len(UNDER_WAY)))

    def let_go(self) -> None:
        """The vendors go on, as they would; nobody is left who could hear of it."""
        for gate in self._gates:
            gate.open()
        wait_until(lambda: all(self._scene.commits(api, "after-write") for api in APIS), "the payments")

    def _send(self, api: Api, point: str, less: int = 0) -> socket.socket:
        agent = self._stack.enter_context(self._scene.sidecar.connect())
        request = payment(api.mounted(point), api.key(point))
        agent.sendall(request[: len(request) - less])
        return agent

    def _hold(self, api: Api, point: str, how: Callable[[Gate], Behaviour]) -> socket.socket:
        gate = Gate()
        self._gates.append(gate)
        self._scene.bank(api).plan(api.path(point), how(gate))
        agent = self._send(api, point)
        gate.wait_reached()
        return agent

    def _finish(self, api: Api) -> None:
        """It was answered, and the record says so: a repeat has its answer from there."""

        def repeated() -> bool:
            assert replayed(self._scene.again(api, "after-finish"))
            return results(self._scene.sidecar, api=api.name)["replayed"] > 0

        assert read_answer(self._send(api, "after-finish")).status == 200
        wait_until(repeated, "an answer from the record")


@pytest.fixture(scope="module")
def scene(share: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """After the crash."""
    folder = tmp_path_factory.mktemp("crash")
    server = RedisServer(folder, "--appendonly", "yes", "--appendfsync", "always")
    with ExitStack() as stack:
        banks = {"refuse": stack.enter_context(Bank()), "resend": stack.enter_context(Bank(honours=True))}
        stack.callback(server.kill)
        stores = {"ledger": f"sqlite:{folder / 'ledger.db'}", "shared": server.start().url}
        far = stack.enter_context(socket.create_server(("127.0.0.1", 0)))  # it never says a word of TLS
        far.settimeout(PATIENCE)
        scene = Scene(stores, banks, share(configuration(stores, banks, f"https://localhost:{far.getsockname()[1]}")))
        calls = Calls(scene, far, stack)
        calls.begin()
        scene.sidecar.kill()
        calls.let_go()
        scene.sidecar = share(configuration(stores, banks))
        yield scene


@pytest.fixture(params=APIS, ids=[api.name for api in APIS])
def api(request: pytest.FixtureRequest) -> Api:
    api: Api = request.param
    return api


def test_before_it_was_reserved_nothing_has_happened(scene: Scene, api: Api) -> None:
    """Half a request is no call: the repeat is the first."""
    answer = scene.again(api, "before-reserve")
    assert (ended(answer), replayed(answer)) == ((200, ""), False)
    assert len(scene.commits(api, "before-reserve")) == 1


@pytest.mark.parametrize("point", UNDER_WAY)
def test_under_way_nobody_knows(scene: Scene, api: Api, point: str) -> None:
    """It is refused; or sent again with its key, to a vendor that knows it. On Redis once its owner's lease is over."""
    before = len(scene.commits(api, point))
    assert before == (0 if point == "after-reserve" else 1)
    if api.on_unknown == "refuse":
        wait_unknown(scene.sidecar, api.key(point))
        answer = scene.again(api, point)
        assert ended(answer) == (409, "outcome_unknown")
        assert answer.headers["x-should-retry"] == answer.headers["stripe-should-retry"] == "false"
        assert len(scene.commits(api, point)) == before
    else:
        answer = scene.again(api, point)
        (commit,) = scene.commits(api, point)
        assert (ended(answer), answer.content) == ((200, ""), commit.result)
        assert {asked.key for asked in scene.bank(api).requests(api.path(point))} == {api.key(point)}
        assert replayed(scene.again(api, point))


def test_after_it_has_ended_its_answer_is_kept(scene: Scene, api: Api) -> None:
    """The repeat gets the answer that the other process has got."""
    (commit,) = scene.commits(api, "after-finish")
    answer = scene.again(api, "after-finish")
    assert (ended(answer), replayed(answer), answer.content) == ((200, "replayed"), True, commit.result)
    assert len(scene.commits(api, "after-finish")) == 1


def test_what_nobody_knows_is_listed_for_people(scene: Scene, api: Api) -> None:
    """Each call that was cut after it had been reserved waits for a person, or for the next repeat."""
    for point in UNDER_WAY:
        _ = wait_unknown(scene.sidecar, api.key(point)) if api.on_unknown == "refuse" else scene.again(api, point)
    expected = {api.key(point) for point in UNDER_WAY if api.on_unknown == "refuse"}
    listed = {str(record["key"]) for record in unsettled(scene.sidecar)}
    assert {key for key in listed if key.startswith(api.name)} == expected
    assert scene.bank(api).doubles == {}


def test_what_is_cut_at_the_end_of_draining_is_not_known(start: Start, tmp_path: Path) -> None:
    """A process that waits no longer sends nothing again, whether the agent of a call has waited or has left."""
    gates = {"stays": Gate(), "leaves": Gate()}
    with Bank() as bank, ExitStack() as stack:
        api = {"url": bank.url, "idempotency": {"store": "ledger"}}
        stores = {"ledger": f"sqlite:{tmp_path / 'ledger.db'}"}
        configuration = document({"bank": api}, stores=stores, drain={"timeout": "200ms"})
        sidecar = start(configuration)
        agents = {key: stack.enter_context(sidecar.connect()) for key in gates}
        for key, gate in gates.items():
            bank.plan(f"/pay/{key}", waits(gate))
            agents[key].sendall(payment(f"/bank/pay/{key}", key))
            gate.wait_reached()
        agents["leaves"].close()
        wait_until(lambda: sidecar.value("backstay_agent_connections") == 1, "its leaving")
        sidecar.terminate()
        assert sidecar.wait() == 0
        assert sidecar.wait_log("stopped")["cut"] == 2
        after = start(configuration)
        for key, gate in gates.items():
            gate.open()
            assert ended(pay(after, f"/bank/pay/{key}", key)) == (409, "outcome_unknown")
        assert len(bank.asked) == 2
