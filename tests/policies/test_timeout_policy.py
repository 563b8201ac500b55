"""Tests of policies/timeouts.py: who is cut, when, and as what."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.clock import Clock
from proxy.core.timeouts import Timeouts
from proxy.errors import DeadlineExceeded, Timeout
from proxy.model import Attempt, Response, Verdict
from tests.support.script import Flow, Rig, Script, answers, hangs, streams, wait_like_the_wire

TICK = 0.041  # seconds: a timer is late by two ticks of the wheel at most


def within_a_tick(expected: float) -> Any:
    """Never early."""
    return pytest.approx(expected + TICK / 2, abs=TICK / 2)


async def test_headers_that_do_not_come_are_a_timeout(rig: Rig, clock: Clock) -> None:
    """After first_byte, as 504, and the upstream's fault."""
    upstream = Script(clock, hangs())
    exchange = rig.exchange()
    with pytest.raises(Timeout, match=r"within 0\.3 s") as caught:
        await rig.link(upstream, timeout=Timeouts(first_byte=0.3))(exchange)
    assert caught.value.reason == "timeout"
    assert clock.now() - exchange.started == within_a_tick(0.3)
    assert upstream.verdicts == [Verdict.FAILURE]


async def test_an_answer_in_time_is_left_alone(rig: Rig, clock: Clock) -> None:
    """And its timer is gone: nothing rings later."""
    upstream = Script(clock, answers(after=0.29))
    assert await rig.call(rig.link(upstream, timeout=Timeouts(first_byte=0.3))) == 200
    await asyncio.sleep(1.0)
    assert upstream.verdicts == [Verdict.SUCCESS]


async def test_the_total_is_a_deadline_and_proves_nothing(rig: Rig, clock: Clock) -> None:
    """An attempt cut by the exchange's total before its own limit is IGNORED."""
    upstream = Script(clock, hangs())
    exchange = rig.exchange()
    with pytest.raises(DeadlineExceeded, match=r"the 0\.5 s that"):
        await rig.link(upstream, timeout=Timeouts(total=0.5, first_byte=60.0))(exchange)
    assert clock.now() - exchange.started == within_a_tick(0.5)
    assert upstream.verdicts == [Verdict.IGNORED]


async def test_without_first_byte_only_the_total_counts(rig: Rig, clock: Clock) -> None:
    """``first_byte: off``."""
    proceed = rig.link(Script(clock, answers(after=100.0), hangs()), timeout=Timeouts(first_byte=None))
    assert [await rig.call(proceed), await rig.call(proceed)] == [200, "deadline"]


async def test_the_clock_of_first_byte_starts_when_the_call_is_sent(rig: Rig, clock: Clock) -> None:
    """Waiting for a connection is not the upstream's slowness."""

    async def late(clock: Clock, attempt: Attempt) -> Response:
        await wait_like_the_wire(clock, attempt, 0.5)
        return await hangs()(clock, attempt)

    exchange = rig.exchange()
    with pytest.raises(Timeout):
        await rig.link(Script(clock, late), timeout=Timeouts(first_byte=0.3))(exchange)
    assert clock.now() - exchange.started == within_a_tick(0.5 + 0.3)


async def test_waiting_for_a_connection_is_bounded_by_the_total(rig: Rig, clock: Clock) -> None:
    """Whatever first_byte says."""
    exchange = rig.exchange()
    with pytest.raises(DeadlineExceeded):
        await rig.link(Script(clock, hangs(sent=False)), timeout=Timeouts(total=1.0, first_byte=0.3))(exchange)
    assert clock.now() - exchange.started == within_a_tick(1.0)


async def test_an_upload_that_makes_progress_moves_the_limit(rig: Rig, clock: Clock) -> None:
    """The upstream owes no answer before it has the whole request."""
    upload = Flow()

    async def uploading(clock: Clock, attempt: Attempt) -> Response:
        clock.loop.call_later(0.2, setattr, upload, "progress", clock.now() + 0.2)
        clock.loop.call_later(0.4, setattr, upload, "progress", clock.now() + 0.4)
        return await hangs()(clock, attempt)

    exchange = rig.exchange(b"PUT", stream=upload)
    with pytest.raises(Timeout):
        await rig.link(Script(clock, uploading), timeout=Timeouts(first_byte=0.3))(exchange)
    assert clock.now() - exchange.started == within_a_tick(0.4 + 0.3)


async def test_a_stream_gets_its_own_limits(rig: Rig, clock: Clock) -> None:
    """Idle between chunks, and a cap on the whole; first_byte and total end with the headers."""
    flow = Flow()
    limits = Timeouts(total=1.0, first_byte=0.5, idle=7.0, stream=90.0)
    response = await rig.link(Script(clock, streams(flow)), timeout=limits)(rig.exchange())
    assert flow.limits == (7.0, 90.0)
    await asyncio.sleep(600.0)
    assert response.ending is None


async def test_a_tunnel_has_no_limits(rig: Rig, clock: Clock) -> None:
    """Websockets are quiet for hours."""
    flow = Flow()

    async def switched(clock: Clock, attempt: Attempt) -> Response:
        response = await streams(flow, 101)(clock, attempt)
        response.tunnel = _Tunnel()
        return response

    await rig.link(Script(clock, switched))(rig.exchange())
    assert flow.limits is None


async def test_the_wire_is_told_how_long_a_connection_may_take(rig: Rig, clock: Clock) -> None:
    """timeout.connect goes with the attempt."""
    upstream = Script(clock, answers())
    await rig.call(rig.link(upstream, timeout=Timeouts(connect=0.7)))
    assert upstream.attempts[0].connect_limit == 0.7


class _Tunnel:
    """A way to nowhere."""

    def write(self, data: bytes, /) -> None:
        """Nobody writes here."""

    def on_pressure(self, pause: object, resume: object, /) -> None:
        """Nor here."""
