"""A ledger on a server that is paused, killed and back, in a storm of payments: none of them is made twice."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, TypeAlias

import pytest

from tests.e2e.conftest import Start
from tests.support.crowd import read_answer
from tests.support.ledger import RESULTS, Bank, Gate, ended, pay, payment, replayed, results, waits
from tests.support.load import Load
from tests.support.process import Document, Sidecar, document, wait_until
from tests.support.redis_server import RedisServer

Refusal: TypeAlias = tuple[int, str, bool]
"""(status, reason, whether it says how long to wait)."""
UP: Final = "backstay_dependency_up"
REFUSED: Final[Refusal] = (503, "ledger_down", True)
ALLOWED: Final = {REFUSED, (409, "in_progress", True), (409, "outcome_unknown", False)}
"""What may be refused: what cannot be known must not be sent."""


@dataclass
class Storm(Load):
    """Agents that pay without a pause, each key several times, at once and again later.

    Below ``path``, the last part of which is the key; it begins with the name of the storm.
    """

    name: str = "storm"
    paid: dict[str, set[bytes]] = field(default_factory=lambda: defaultdict(set))  # answers by key
    refusals: Counter[Refusal] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._numbers = count()

    def _path(self, number: int, calls: int) -> str:
        place = next(self._numbers)
        which = place // (3 if place % 10 else 30)  # three at about the same time; some of long ago
        return f"{self.path}/{self.name}-{which}"

    def _request(self, path: str, number: int) -> bytes:
        key = path.rpartition("/")[2]
        return payment(path, key, key.encode())

    def _look(self, path: str, body: bytes) -> None:
        said: dict[str, Any] = json.loads(body)
        if "reason" in said:
            self.refusals[said["status"], said["reason"], "retry_after" in said] += 1
        else:
            self.paid[path.rpartition("/")[2]].add(body)

    def more_paid(self, keys: int) -> None:
        """Wait until that many further keys have been paid."""
        goal = len(self.paid) + keys
        wait_until(lambda: len(self.paid) >= goal, f"{keys} more payments")

    def more_refused(self, calls: int, how: Refusal) -> None:
        """Wait until that many further calls have been refused."""
        goal = self.refusals[how] + calls
        wait_until(lambda: self.refusals[how] >= goal, f"{calls} more refusals")


def paying(bank: Bank, on_store_error: str) -> Document:
    idempotency = {"store": "shared", "scope": "api", "lease": "1s", "on_store_error": on_store_error}
    return {"url": bank.url, "breaker": False, "idempotency": idempotency}


@pytest.fixture(scope="module")
def sidecar(share: Start, bank: Bank, store: RedisServer) -> Sidecar:
    apis = {"closed": paying(bank, "closed"), "open": paying(bank, "open")}
    return share(document(apis, stores={"shared": store.url}, log={"access": False}))


@pytest.fixture(autouse=True)
def _afresh(sidecar: Sidecar, bank: Bank) -> None:
    notice(sidecar, up=True)
    bank.forget()


def notice(sidecar: Sidecar, *, up: bool) -> None:
    """Wait until the sidecar knows; calls that are under way ask the server again and again."""
    wait_until(lambda: sidecar.value(UP, name="shared_ledger") == up, f"the ledger being {'up' if up else 'down'}")


Away = Callable[[RedisServer], object]
HOWS: Final[dict[str, tuple[Away, Away]]] = {
    "paused": (RedisServer.pause, RedisServer.resume),
    "killed": (RedisServer.kill, RedisServer.start),
}


def test_nothing_is_paid_twice(sidecar: Sidecar, bank: Bank, store: RedisServer) -> None:
    """While the server is away calls are refused with Retry-After, and made again once it is back."""
    with Storm("127.0.0.1", sidecar.ports["agent"], "/closed/pay") as storm:
        for goes, comes in HOWS.values():
            storm.more_paid(100)
            goes(store)
            notice(sidecar, up=False)
            storm.more_refused(200, REFUSED)
            comes(store)
            notice(sidecar, up=True)
        storm.more_paid(100)
    assert storm.lost == []
    assert bank.doubles == {}
    assert set(storm.refusals) <= ALLOWED
    assert {len(answers) for answers in storm.paid.values()} == {1}


@pytest.mark.parametrize("how", HOWS)
def test_an_answer_that_came_meanwhile_is_not_lost(sidecar: Sidecar, bank: Bank, store: RedisServer, how: str) -> None:
    """Its caller gets it at once; the server is told when it is back, and repeats have it from there."""
    goes, comes = HOWS[how]
    key, late, gate = f"one-{how}", f"two-{how}", Gate()
    bank.plan("/pay/one", waits(gate))
    with sidecar.connect() as agent:
        agent.sendall(payment("/closed/pay/one", key))
        gate.wait_reached()
        goes(store)
        gate.open()
        got = read_answer(agent)
        assert (got.status, got.outcome) == (200, "")
    refused = pay(sidecar, "/closed/pay/two", late)
    assert (ended(refused), int(refused.headers["retry-after"]) > 0) == ((503, "ledger_down"), True)
    comes(store)
    notice(sidecar, up=True)
    before = results(sidecar)["replayed"]

    def repeated() -> bool:
        assert pay(sidecar, "/closed/pay/one", key).content == got.body
        return results(sidecar)["replayed"] > before

    wait_until(repeated, "an answer from the server")
    assert len(bank.under(key)) == 1
    assert ended(pay(sidecar, "/closed/pay/two", late)) == (200, "")


def test_calls_pass_unprotected_where_the_operator_prefers_that(sidecar: Sidecar, store: RedisServer) -> None:
    """on_store_error: open counts what it could not protect; with the server, the protection is back."""
    with Storm("127.0.0.1", sidecar.ports["agent"], "/open/pay") as storm:
        storm.more_paid(100)
        store.kill()
        notice(sidecar, up=False)
        sidecar.wait_value(results(sidecar)["unprotected"] + 100, RESULTS, result="unprotected")
        store.start()
        notice(sidecar, up=True)
        storm.more_paid(100)
    assert storm.lost == []
    assert not {reason for _, reason, _ in storm.refusals} & {"ledger_down"}
    assert [replayed(pay(sidecar, "/open/pay/new", "new")) for _ in range(2)] == [False, True]
