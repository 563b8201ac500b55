"""Tests of calls that are refused last of all, on their way out: no policy takes that for a word of the upstream's."""

from __future__ import annotations

import pytest

from proxy.clock import Clock
from proxy.core.breaker import BreakerSettings, State
from proxy.core.fallback import FallbackSettings, Static
from proxy.core.retry import RetrySettings
from proxy.errors import CallError, EgressDenied, PlaceholderMisused
from proxy.model import Verdict
from tests.support.keyed import Till
from tests.support.script import Rig, Script, answers, fails

REFUSALS = pytest.mark.parametrize("error", [PlaceholderMisused("Not there."), EgressDenied("Not there.")])


@REFUSALS
async def test_it_is_the_answer_and_nothing_was_tried(rig: Rig, clock: Clock, error: CallError) -> None:
    """403 as it is, at once: neither another try nor another answer."""
    upstream = Script(clock, fails(error, sent=False))
    fallback = FallbackSettings((Static(200, body="instead"),))
    exchange = rig.exchange(b"POST")
    with pytest.raises(type(error)) as caught:
        await rig.link(upstream, retry=RetrySettings(), fallback=fallback)(exchange)
    assert (caught.value.status, upstream.calls, upstream.verdicts) == (403, 1, [Verdict.IGNORED])
    assert (exchange.attempts, exchange.written, exchange.lost) == (0, False, False)


@REFUSALS
async def test_it_says_nothing_of_the_upstream(rig: Rig, clock: Clock, error: CallError) -> None:
    """No circuit opens for it, and a half-open one has its probe back."""
    upstream = Script(clock, fails(error, sent=False), answers(500), fails(error, sent=False), answers())
    upstream.steps[1:1] = [fails(error, sent=False)] * 4
    proceed = rig.link(upstream, breaker=BreakerSettings(consecutive=1, open=5.0, probes=1))
    assert [await rig.call(proceed) for _ in range(6)] == [error.reason] * 5 + [500]
    breaker = rig.survivors.breakers["vendor"]
    assert breaker.state is State.OPEN
    await clock.sleep(10.0)
    assert [await rig.call(proceed) for _ in range(2)] == [error.reason, 200]


@REFUSALS
@pytest.mark.parametrize("retry", [None, RetrySettings()])
async def test_it_leaves_no_record(rig: Rig, error: CallError, retry: RetrySettings | None) -> None:
    """Nothing was written: the same key may be used for the call once it is mended."""
    till = Till(rig, fails(error, sent=False), answers(201, body=b"one"), policies={"retry": retry})
    refused, made = await till.pay(), await till.pay()
    assert (refused.reason, made.status, made.body) == (error.reason, 201, b"one")
    assert till.counted == {"first": 2}
