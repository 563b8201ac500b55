"""What the whole chain is measured by: outages, hangs, slow models and lossy vendors, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from proxy.clock import Clock
from proxy.core.breaker import BreakerSettings, State
from proxy.core.retry import RetrySettings
from proxy.core.timeouts import Timeouts
from proxy.errors import ConnectFailed
from proxy.model import Attempt, Ending, Proceed, Response, Verdict
from tests.support import virtual
from tests.support.script import Flow, Rig, Script, Step, answers, fails, hangs, streams, ticking

OUTAGE = 60.0
REFUSED = fails(ConnectFailed(), sent=False)


@dataclass
class Seen:
    """What an agent saw of its calls, by the time at which each began."""

    at: list[float] = field(default_factory=list)
    results: list[int | str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


async def call_every(rig: Rig, proceed: Proceed, period: float, count: int) -> Seen:
    """Calls at a fixed rhythm, whatever becomes of them."""
    seen = Seen()

    async def one() -> None:
        began = rig.clock.now()
        result = await rig.call(proceed)
        seen.at.append(began)
        seen.results.append(result)
        seen.seconds.append(rig.clock.now() - began)

    began = rig.clock.now()
    calls: list[asyncio.Task[None]] = []
    for number in range(count):
        await asyncio.sleep(max(began + number * period - rig.clock.now(), 0.0))
        calls.append(rig.clock.spawn(one(), "a call"))
    await asyncio.gather(*calls)
    return seen


def between(start: float, end: float, then: Step, otherwise: Step) -> Step:
    """``then`` while an outage lasts, ``otherwise`` before and after it."""

    async def step(clock: Clock, attempt: Attempt) -> Response:
        return await (then if start <= clock.now() < end else otherwise)(clock, attempt)

    return step


def drawn_from(seed: int) -> Callable[[], float]:
    return random.Random(seed).random


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("down", [answers(503), REFUSED], ids=["503", "refused"])
def test_an_outage_costs_the_vendor_and_the_agent_next_to_nothing(down: Step, seed: int) -> None:
    """60 s, one call every 4 s: at most 8 attempts, no call above 1 s, and served again within 75 s of its start."""
    start = virtual.START + 30.0 + seed * 0.5  # in every phase of the rhythm

    async def scenario(clock: Clock) -> tuple[Script, Seen]:
        rig = Rig(clock)
        clock.spawn(ticking(clock, rig.survivors), "ticks")
        upstream = Script(clock, between(start, start + OUTAGE, down, answers(after=0.05)))
        proceed = rig.link(upstream, breaker=BreakerSettings(), retry=RetrySettings())
        return upstream, await call_every(rig, proceed, 4.0, 50)

    upstream, seen = virtual.run(scenario, chance=drawn_from(seed))
    assert len([at for at in upstream.at if start <= at < start + OUTAGE]) <= 8
    assert max(seen.seconds) <= 1.0
    served = [at for at, result in zip(seen.at, seen.results, strict=True) if result == 200 and at >= start]
    assert served[0] <= start + 75.0
    assert all(result == 200 for at, result in zip(seen.at, seen.results, strict=True) if at >= served[0])


@pytest.mark.parametrize("healthy", [0.0, 60.0])
def test_a_hanging_upstream_opens_the_circuit_while_it_hangs(healthy: float) -> None:
    """slow_call 2 s and 50 calls a second: open within 3 s of the first hang, however good the minute before."""
    hang = virtual.START + healthy

    async def scenario(clock: Clock) -> float:
        rig = Rig(clock)
        clock.spawn(ticking(clock, rig.survivors), "ticks")
        upstream = Script(clock, between(hang, float("inf"), hangs(), answers(after=0.05)))
        proceed = rig.link(upstream, breaker=BreakerSettings(slow_call=2.0))
        clock.spawn(call_every(rig, proceed, 0.02, int((healthy + 5.0) / 0.02)), "calls")
        breaker = rig.survivors.breakers["vendor"]
        while breaker.state is State.CLOSED:
            await asyncio.sleep(0.01)
        return clock.now()

    assert virtual.run(scenario) - hang <= 3.0


def test_a_slow_model_trips_nothing() -> None:
    """First bytes after 40 s, streams of two minutes: the defaults let all of them pass at the first try."""

    async def scenario(clock: Clock) -> tuple[Rig, Script, list[Response]]:
        rig = Rig(clock)
        clock.spawn(ticking(clock, rig.survivors), "ticks")
        flows = [Flow() for _ in range(30)]
        upstream = Script(clock, *(streams(flow, after=40.0) for flow in flows))
        proceed = rig.link(upstream, breaker=BreakerSettings(), retry=RetrySettings())
        responses = await asyncio.gather(*(proceed(rig.exchange(b"POST")) for _ in flows))
        await asyncio.sleep(120.0)
        for flow in flows:
            assert flow.limits == (300.0, None)
            flow.end(Ending.COMPLETE)
        return rig, upstream, responses

    rig, upstream, responses = virtual.run(scenario)
    assert {response.status for response in responses} == {200}
    assert upstream.verdicts == [Verdict.SUCCESS] * 30
    assert rig.survivors.breakers["vendor"].state is State.CLOSED
    assert rig.samples("backstay_requests_total", "outcome") == {"forwarded": 30}


def lossy_calls(seed: int) -> Seen:
    """1,000 calls at 50 a second to a vendor of which 12% of answers are 503 and 5% never come."""
    draw = drawn_from(seed)

    async def lossy(clock: Clock, attempt: Attempt) -> Response:
        lot = draw()
        step = hangs() if lot < 0.05 else answers(503, after=0.02) if lot < 0.17 else answers(after=0.02)
        return await step(clock, attempt)

    async def scenario(clock: Clock) -> Seen:
        rig = Rig(clock)
        clock.spawn(ticking(clock, rig.survivors), "ticks")
        retry, timeout = RetrySettings(attempts=4, budget=0.5), Timeouts(first_byte=0.3)
        proceed = rig.link(Script(clock, lossy), breaker=BreakerSettings(), retry=retry, timeout=timeout)
        return await call_every(rig, proceed, 0.02, 1000)

    return virtual.run(scenario, chance=drawn_from(seed + 100))


def test_a_lossy_vendor_looks_whole() -> None:
    """Every sixth attempt goes wrong; the agent sees one error in a thousand calls, and never waits long."""
    runs = [lossy_calls(seed) for seed in range(5)]
    errors = [sum(result != 200 for result in run.results) for run in runs]
    assert max(errors) <= 10
    assert sum(errors) <= 5
    assert max(max(run.seconds) for run in runs) <= 2.0


@pytest.mark.parametrize(
    ("ending", "verdict", "outcome", "failures"),
    [
        (Ending.BROKEN, Verdict.FAILURE, "broken", 1),
        (Ending.STALLED, Verdict.FAILURE, "broken", 1),
        (Ending.ABANDONED, Verdict.IGNORED, "abandoned", 0),
    ],
)
def test_a_stream_counts_by_its_end(ending: Ending, verdict: Verdict, outcome: str, failures: int) -> None:
    """Cut by the upstream it is a failure for breaker and metrics; left by the agent it says nothing."""

    async def scenario(clock: Clock) -> None:
        rig, flow = Rig(clock), Flow()
        upstream = Script(clock, streams(flow))
        await rig.link(upstream, breaker=BreakerSettings(), retry=RetrySettings())(rig.exchange())
        await asyncio.sleep(5.0)
        flow.end(ending)
        assert upstream.verdicts == [verdict]
        assert rig.samples("backstay_requests_total", "outcome", "code") == {(outcome, "200"): 1}
        assert rig.survivors.breakers["vendor"].snapshot(clock.now())["failures"] == failures

    virtual.run(scenario)
