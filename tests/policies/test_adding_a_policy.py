"""The worked example of docs/adding-a-policy.md: it is executed here, and the page quotes it word for word."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from proxy.clock import Clock
from proxy.core.retry_after import retry_after
from proxy.errors import Refusal
from proxy.model import Attempt, Response, Send
from tests.support.script import Rig, Script, answers

ROOT = Path(__file__).parents[2]


# core/cooldown.py
class Cooldown:
    """Keeps calls from an upstream for as long as it asked for, ``longest`` seconds at most. ``now`` is monotonic."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._until = float("-inf")

    def left(self, now: float) -> float:
        """Seconds that are left of the pause; none admits a call."""
        return max(self._until - now, 0.0)

    def throttled(self, now: float, asked: float | None) -> None:
        """The upstream said 429, and asked for a pause or did not. A pause never becomes shorter."""
        if asked is not None:
            self._until = max(self._until, now + min(asked, self._longest))


# errors.py
class CoolingDown(Refusal):
    """The upstream asked for a pause that is not over."""

    status, reason, title = 429, "cooling_down", "The upstream asked for a pause"


# policies/cooldown.py
class CooldownPolicy:
    """One route's way through a pause that other routes may share."""

    def __init__(self, clock: Clock, cooldown: Cooldown) -> None:
        self._clock = clock
        self._cooldown = cooldown

    async def __call__(self, attempt: Attempt, send: Send, /) -> Response:
        """Send, unless there is a pause. Raises CoolingDown."""
        if (left := self._cooldown.left(self._clock.now())) > 0.0:
            raise CoolingDown(retry_after=left)
        response = await send(attempt)
        if response.status == 429:
            asked = retry_after(response.headers, self._clock.wall())
            self._cooldown.throttled(self._clock.now(), asked)
        return response


# tests/core/test_cooldown.py
def test_a_pause_is_kept_to_its_end_and_never_shortened() -> None:
    """The longest of what was asked for counts, up to the limit."""
    cooldown = Cooldown(longest=60.0)
    assert cooldown.left(now=10.0) == 0.0
    cooldown.throttled(now=10.0, asked=30.0)
    cooldown.throttled(now=11.0, asked=1.0)
    cooldown.throttled(now=11.0, asked=None)
    assert cooldown.left(now=15.0) == 25.0
    cooldown.throttled(now=15.0, asked=3600.0)
    assert cooldown.left(now=15.0) == 60.0


# tests/policies/test_cooldown_policy.py
async def test_nobody_is_sent_into_a_pause(rig: Rig, clock: Clock) -> None:
    """The second call is refused with the seconds left, the third comes after them."""
    upstream = Script(clock, answers(429, (b"Retry-After", b"5")), answers(200))
    policy = CooldownPolicy(clock, Cooldown(longest=60.0))
    first = await policy(Attempt(rig.exchange(), 1), upstream)
    with pytest.raises(CoolingDown) as refused:
        await policy(Attempt(rig.exchange(), 1), upstream)
    await asyncio.sleep(5.0)
    third = await policy(Attempt(rig.exchange(), 1), upstream)
    assert (first.status, refused.value.retry_after, third.status) == (429, 5.0, 200)
    assert upstream.calls == 2


# The page.
def test_the_page_quotes_this_file() -> None:
    """Each block of Python in it stands here, word for word, so that what is told is what works."""
    page = (ROOT / "docs" / "adding-a-policy.md").read_text(encoding="utf-8")
    example = Path(__file__).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 5
    for block in blocks:
        assert block in example
