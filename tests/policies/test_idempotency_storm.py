"""A storm: agents that come and go, in two processes, on a vendor and a store that fail in every way.

The vendor carries a call out at a moment of its own, whatever becomes of its answer. Whoever calls, leaves and fails,
it does so at most once; whoever has an answer has the same; and nothing is left behind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.clock import Clock
from proxy.core.idempotency import State
from proxy.core.retry import RetrySettings
from proxy.core.timeouts import Timeouts
from proxy.errors import ConnectFailed, ConnectionReset
from proxy.model import Attempt, Headers, Response
from tests.support import virtual
from tests.support.caching import Torrent
from tests.support.keyed import Paying, Till
from tests.support.properties import examples
from tests.support.remote import Plan, Remote, does, fails, loses
from tests.support.script import Rig, wait_like_the_wire
from tests.support.virtual import turn

TOTAL: Final = 10.0
MOMENTS: Final = st.sampled_from([0.0, 0.01, 0.3, 1.0, 2.5])
ENDS: Final = ("answers", "streams", "breaks", "loses", "errs", "refuses", "busy", "hangs")
REASONS: Final = {"in_progress", "outcome_unknown", "answer_not_kept", "ledger_down", "reset", "connect", "deadline"}


@dataclass(frozen=True)
class Agent:
    """Comes to one of the processes, and leaves after a while unless it has its answer; None: it stays."""

    comes: float
    pod: int
    leaves: float | None


@dataclass(frozen=True)
class Act:
    """What the vendor does with a call: it waits, is sent, is carried out or not, and ends."""

    connects: float
    takes: float
    end: str


AGENTS: Final = st.builds(Agent, MOMENTS, st.integers(0, 1), st.none() | MOMENTS)
ACTS: Final = st.builds(Act, MOMENTS, MOMENTS, st.sampled_from(ENDS))


def late(seconds: float, *, lost: bool) -> Plan:
    """It takes its time, and may be lost then."""

    async def plan(store: Remote, what: str, work: Any) -> Any:
        await virtual.clock_of().sleep(seconds)
        return await (loses if lost else does)(store, what, work)

    return plan


PLANS: Final = st.sampled_from([does, does, fails, loses, late(0.4, lost=False), late(0.4, lost=True)])


@dataclass(frozen=True)
class Day:
    """Who comes, what the vendor and the store do, and what the operator has set."""

    agents: tuple[Agent, ...]
    acts: tuple[Act, ...]
    reserve: tuple[Plan, ...]
    finish: tuple[Plan, ...]
    retries: bool
    lease: float


DAYS: Final = st.builds(
    Day,
    st.lists(AGENTS, min_size=1, max_size=6).map(tuple),
    st.lists(ACTS, max_size=5).map(tuple),
    st.lists(PLANS, max_size=4).map(tuple),
    st.lists(PLANS, max_size=3).map(tuple),
    st.booleans(),
    st.sampled_from([60.0, 0.6]),
)


class Bank:
    """A vendor of which the test knows what it has carried out."""

    def __init__(self, clock: Clock, acts: list[Act]) -> None:
        self._clock = clock
        self.acts = acts
        self.done: list[bytes] = []  # the answers to what was carried out, each of its own

    def carry_out(self) -> bytes:
        self.done.append(b"payment %d" % (len(self.done) + 1))
        return self.done[-1]

    async def step(self, clock: Clock, attempt: Attempt) -> Response:
        act = self.acts.pop(0) if self.acts else Act(0.0, 0.0, "answers")
        await wait_like_the_wire(clock, attempt, act.connects)
        if act.end == "refuses":
            raise ConnectFailed
        attempt.sent(clock.now())
        if act.end == "busy":
            await wait_like_the_wire(clock, attempt, act.takes)
            return Response(503, Headers(), body=b"busy")
        body = self.carry_out()  # now, whoever leaves
        await wait_like_the_wire(clock, attempt, 1e9 if act.end == "hangs" else act.takes)
        if act.end == "loses":
            raise ConnectionReset
        if act.end in {"streams", "breaks"}:
            return self._stream(body, act)
        return Response(500 if act.end == "errs" else 201, Headers(), body=body)

    def _stream(self, body: bytes, act: Act) -> Response:
        torrent = Torrent(self._clock)
        response = Response(201, Headers(), stream=torrent.body)
        torrent.body.on_end = response.end
        torrent.feed(body[:3])

        def rest() -> None:
            if act.end == "breaks":
                torrent.breaks()
            elif not torrent.over:
                torrent.feed(body[3:])
                torrent.finish()

        self._clock.at(self._clock.now() + act.takes, rest)
        return response


class Storm:
    """The agents, and what they have got."""

    def __init__(self, clock: Clock, pods: list[Till]) -> None:
        self._clock = clock
        self._pods = pods
        self.got: list[Paying] = []

    async def come(self, agents: list[Agent]) -> None:
        for agent in agents:
            self._clock.at(self._clock.now() + agent.comes, lambda agent=agent: self._enter(agent))  # type: ignore[misc]
        await self._clock.sleep(2 * TOTAL)

    def _enter(self, agent: Agent) -> None:
        paying = self._pods[agent.pod % len(self._pods)].begin()
        self.got.append(paying)
        if agent.leaves is not None:
            self._clock.at(self._clock.now() + agent.leaves, lambda: None if paying.task.done() else paying.leave())

    def bodies(self) -> set[bytes]:
        """Whole answers that agents have."""
        ended = [each.got for each in self.got if not each.task.cancelled() and each.got.status == 201]
        return {got.body for got in ended if got.reading is None or (got.ending is not None and got.body[3:])}


async def weather(clock: Clock, day: Day, *, processes: int, **more: Any) -> None:
    """Let it happen, and look what is left of it."""
    remote, bank = Remote(clock), Bank(clock, list(day.acts))
    for how in ("finish done", "finish unknown", "finish released"):
        remote.plan(how, *day.finish)
    remote.plan("reserve", *day.reserve)
    policies: dict[str, Any] = {"timeout": Timeouts(first_byte=None, total=TOTAL)}
    if day.retries:
        policies["retry"] = RetrySettings(attempts=2, when=frozenset({"connect", "503"}), budget=None)
    pods = [
        Till(Rig(clock), bank.step, store=remote, lease=day.lease, policies=policies, **more) for _ in range(processes)
    ]
    storm = Storm(clock, pods)
    await storm.come(list(day.agents))
    assert all(each.task.done() for each in storm.got), "somebody waits for ever"
    assert {each.got.reason for each in storm.got if not each.task.cancelled()} - {""} <= REASONS
    assert len(bank.done) <= 1, "it was carried out twice"
    assert storm.bodies() <= set(bank.done)
    await turn(6)
    assert [(len(pod.ledger), pod.ledger.busy) for pod in pods] == [(0, 0)] * processes
    record = await pods[0].record()
    assert (record is not None and record.state is not State.RUNNING) or not bank.done, "it is not known any more"
    bank.acts.clear()
    remote.forget_plans()
    last = await pods[-1].pay()
    assert (len(bank.done), last.reason) in {(1, ""), (1, "outcome_unknown")}, "a key is barred for nothing"


@settings(max_examples=examples(80), deadline=None)
@given(DAYS)
def test_one_key_one_call(day: Day) -> None:
    """Whatever happens, in however many processes, and though what was not carried out is tried again."""
    virtual.run(lambda clock: weather(clock, day, processes=2))


@settings(max_examples=examples(50), deadline=None)
@given(DAYS, st.sampled_from([fails, loses]))
def test_one_key_one_call_though_it_was_made_without_the_store(day: Day, first: Plan) -> None:
    """on_store_error: open. While it is made the process knows of it, and in the end the store does."""
    day = replace(day, reserve=(first,))
    virtual.run(lambda clock: weather(clock, day, processes=1, on_store_error="open"))
