"""Owns how long Backstay serves on once it has been told to stop, and when it stops by itself. Made by app.py.

    --linger S      until no call has begun, nor been under way, for S seconds
    --with-agent    until the agent's processes have ended; and when they have, after having been seen, unasked

What is left of ``drain.timeout`` then is the drain's (wire/listener.py).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from proxy.clock import Clock
    from proxy.neighbours import Company

_log = logging.getLogger("backstay")

_LOOK_SECONDS: Final = 0.1  # between two looks while it lingers: calls are counted, so that none can be missed
_AWAIT_SECONDS: Final = 0.02  # between two looks for the agent's first process, which may fail and be gone at once
_WATCH_SECONDS: Final = 0.5  # between two looks at its processes, once it was seen
_GONE_SECONDS: Final = 10.0  # without a process before it has ended: containers start one by one, each after its image
_FAILED_SECONDS: Final = 300.0  # the same if none ever ran, as far as was seen: it has failed, or an image is pulled
_DRAIN_SECONDS: Final = 5.0  # of drain.timeout, kept for the drain: agents that go on have to be told to leave


@dataclass(frozen=True, slots=True)
class Stay:
    """What ``backstay run`` was told about its end."""

    linger: float = 0.0  # seconds
    with_agent: bool = False


class Traffic(Protocol):
    """What is seen of the agent's calls (wire/listener.py)."""

    begun: int  # connections and requests, ever

    @property
    def under_way(self) -> int:
        """Exchanges that are not over."""


class Lingering:
    """See the module."""

    def __init__(self, clock: Clock, traffic: Traffic, linger: float, others: Callable[[], Company] | None) -> None:
        self._clock = clock
        self._traffic = traffic
        self._linger = linger
        self._others = others  # the processes beside ours; None: nobody asks
        self._patience = math.inf  # seconds without one of them before the agent has ended
        self._last = clock.now()  # when there was one

    @property
    def seen(self) -> bool:
        """The agent, ever."""
        return self._patience == _GONE_SECONDS

    async def deserted(self) -> None:
        """Return once the agent's processes have been seen, and have ended."""
        while self._look() or self._clock.now() - self._last < self._patience:
            await self._clock.sleep(_WATCH_SECONDS if self.seen else _AWAIT_SECONDS)

    async def stay(self, limit: float) -> None:
        """Return once nobody needs Backstay any more, and in time for a drain within ``limit`` seconds."""
        until = self._clock.now() + limit - min(_DRAIN_SECONDS, limit / 2)
        if self._look():
            await self._while(self._look, until, "the agent to end")
        elif self._linger and not self.seen:
            await self._while(self._disquiet(), until, f"{self._linger:g} s without a call")

    async def _while(self, needed: Callable[[], bool], until: float, what: str) -> None:
        _log.info("lingering", extra={"until": what, "at_most": round(until - self._clock.now(), 3)})
        while needed() and self._clock.now() < until:
            await self._clock.sleep(_LOOK_SECONDS)

    def _look(self) -> bool:
        """Whether the agent has a process."""
        if self._others is None:
            return False
        found = self._others()
        if found.running and not self.seen:
            self._patience = _GONE_SECONDS
            _log.info("the agent is seen", extra={"processes": found.running})
        if found.starting:
            self._patience = min(self._patience, _FAILED_SECONDS)
        if found.running or found.starting:
            self._last = self._clock.now()
        return found.running > 0

    def _disquiet(self) -> Callable[[], bool]:
        """Whether there has been a call within the last ``linger`` seconds, counted from now on."""
        traffic, begun, since = self._traffic, self._traffic.begun, self._clock.now()

        def disquiet() -> bool:
            nonlocal begun, since
            now = self._clock.now()
            if traffic.under_way or traffic.begun != begun:
                begun, since = traffic.begun, now
            return now - since < self._linger

        return disquiet

    def __repr__(self) -> str:
        return f"<Lingering {self._linger:g} s{', agent seen' * self.seen}>"
