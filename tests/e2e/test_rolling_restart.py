"""A rolling restart under load: one pod after the other ends while its agent calls, and no call is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from aiohttp import web

from tests.support.ledger import Asked, Bank, pay, replayed
from tests.support.process import Document, Sidecar, document, wait_until, write
from tests.support.redis_server import RedisServer
from tests.support.tireless import Report, Tireless

NEXT: Final = ("second", "third")
"""The pods that take the place of the first. Starts are what costs: one place, replaced twice, ends in every way."""
CALLS: Final = 10  # that an agent makes before it is the turn of its pod

pytestmark = pytest.mark.timeout(300)  # many processes start in turn, on a machine that is busy with their calls


async def busy(asked: Asked) -> web.StreamResponse:
    """A vendor that takes its time: streams come in pieces, and payments are answered after they were carried out."""
    if asked.request.method == "POST":
        commit = asked.carry_out()
        await asyncio.sleep(0.01)
        return web.Response(body=commit.result)
    if "/events/" not in asked.target:
        return web.Response(text=asked.target)
    response = web.StreamResponse()
    await response.prepare(asked.request)
    for _ in range(int(asked.target.rpartition("/")[2])):
        await response.write(b"data: more\n\n")
        await asyncio.sleep(0.03)
    return response


@pytest.fixture
def vendor() -> Iterator[Bank]:
    with Bank(usual=busy) as bank:
        yield bank


@dataclass
class Pod:
    """A sidecar, and the agent that calls through it."""

    name: str
    sidecar: Sidecar
    agent: Tireless


@dataclass
class Fleet:
    """Pods of one place, of which each takes that of another. All call one vendor."""

    vendor: Bank
    folder: Path
    stack: ExitStack
    store: str
    stores: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    goes_on: float = 0.0  # seconds after SIGTERM that an agent calls
    reports: list[Report] = field(default_factory=list)

    def start(self, name: str) -> Pod:
        """A pod whose agent has begun to call."""
        write(self.folder / "backstay.yaml", self._document())
        sidecar = Sidecar(self.folder, self.folder / "backstay.yaml", options=self.options)
        self.stack.callback(sidecar.stop)
        sidecar.start()
        agent = self.stack.enter_context(Tireless(sidecar.ports["agent"], name, goes_on=self.goes_on))
        wait_until(lambda: self._calls(name) >= CALLS, f"{CALLS} calls of {name}")
        return Pod(name, sidecar, agent)

    def _document(self) -> Document:
        """Without retries: nothing that is lost is made good in silence."""
        idempotency = {"store": self.store, "scope": "api", "upstream": "ignores"}
        api = {"url": self.vendor.url, "breaker": False, "idempotency": idempotency}
        return document({"vendor": api}, stores=self.stores or {"ledger": f"sqlite:{self.folder / 'ledger.db'}"})

    def _calls(self, name: str) -> int:
        return sum(f"/{name}/" in asked.target for asked in list(self.vendor.asked))

    def ended(self, pod: Pod) -> Report:
        """What the agent has done, once it and its sidecar have ended by themselves."""
        report = pod.agent.report()
        assert pod.sidecar.wait() == 0
        assert pod.sidecar.wait_log("stopped")["cut"] == 0
        self.reports.append(report)
        return report

    def prove(self) -> None:
        """No agent has lost a call, each has made them all, and each payment was made once."""
        assert [lost for report in self.reports for lost in report.lost] == []
        assert {kind for report in self.reports for kind in report.answered} == {"kept", "fresh", "streams", "pays"}
        keys = Counter(key for report in self.reports for key in report.keys)
        assert Counter(commit.key for commit in self.vendor.commits) == keys
        assert set(keys.values()) == {1}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def stop_in_order(fleet: Fleet, pod: Pod) -> Report:
    """As for native sidecars: the agent has ended before the sidecar is told."""
    pod.agent.terminate()
    pod.agent.report()
    pod.sidecar.terminate()
    return fleet.ended(pod)


def test_native_sidecars_in_turn(vendor: Bank, tmp_path: Path, stack: ExitStack) -> None:
    """Each pod ends before the next one starts, which finds in the ledger what the one before has paid."""
    fleet = Fleet(vendor, tmp_path, stack, store="ledger")
    pod = fleet.start("first")
    for name in NEXT:
        last = stop_in_order(fleet, pod).keys[-1]
        pod = fleet.start(name)
        assert replayed(pay(pod.sidecar, "/vendor/pay", last))
    stop_in_order(fleet, pod)
    fleet.prove()


def test_plain_containers_in_turn(vendor: Bank, tmp_path: Path, stack: ExitStack, redis_server: RedisServer) -> None:
    """The new pod serves before both containers of the old are told at once; its agent goes on, now and then."""
    stores = {"shared": redis_server.url}
    fleet = Fleet(vendor, tmp_path, stack, "shared", stores, options=("--linger", "5"), goes_on=1.2)
    pods = [fleet.start("first")]
    for name in NEXT:
        pods.append(fleet.start(name))
        stop_at_once(pods[-2])
    last = fleet.ended(pods[0]).keys[-1]
    assert replayed(pay(pods[-1].sidecar, "/vendor/pay", last))
    stop_at_once(pods[-1])
    for pod in pods[1:]:
        fleet.ended(pod)
    fleet.prove()


def stop_at_once(pod: Pod) -> None:
    """As for plain containers: nobody waits for anybody."""
    pod.sidecar.terminate()
    pod.agent.terminate()
