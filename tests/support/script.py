"""A scripted upstream, and what a chain needs around it. For tests of policies and chains under virtual time.

upstream = Script(clock, answers(503), hangs(), answers(200, after=0.3))   # the last step repeats
rig = Rig(clock)
proceed = rig.link(upstream, retry=RetrySettings())
response = await proceed(rig.exchange(b"GET"))
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from proxy.chain import link
from proxy.clock import Clock
from proxy.config.settings import Api, Policies
from proxy.errors import CallError
from proxy.model import Attempt, Ending, Exchange, Headers, Proceed, Request, Response, Sink, Verdict
from proxy.state import Parts, Survivors
from proxy.telemetry.log import AccessLog
from proxy.telemetry.metrics import Registry

Step: TypeAlias = Callable[[Clock, Attempt], Awaitable[Response]]
_FOREVER: Final = 1e9


class Flow:
    """A body that the test drives: an answer's, or a request's. Implements model.Upload."""

    def __init__(self, *, replayable: bool = True) -> None:
        self.length: int | None = None
        self.progress = 0.0
        self.ended = False
        self.complete = False
        self.replayable = replayable
        self.kept: int | None = None  # what keep() was asked for
        self.limits: tuple[float | None, float | None] | None = None  # what limit() was asked for: idle, whole
        self.abandoned = False
        self.response: Response | None = None

    def keep(self, limit: int, /) -> None:
        self.kept = limit

    def limit(self, *, idle: float | None, whole: float | None) -> None:
        self.limits = (idle, whole)

    def attach(self, sink: Sink, /) -> None:
        """Nobody reads here."""

    def detach(self) -> None:
        """Nor here."""

    def tap(self, listener: Callable[[bytes], None], /) -> None:
        """Nor here."""

    def pause(self) -> None:
        """Nor here."""

    def resume(self) -> None:
        """Nor here."""

    def abandon(self) -> None:
        self.abandoned = True
        self.end(Ending.ABANDONED)

    def end(self, ending: Ending) -> None:
        self.ended = True
        self.complete = ending is Ending.COMPLETE
        if self.response is not None:
            self.response.end(ending)


async def wait_like_the_wire(clock: Clock, attempt: Attempt, seconds: float) -> None:
    """Wait for what may be aborted, as upstream.py does."""
    attempt.waiter = waiter = clock.loop.create_future()
    answer = clock.loop.call_later(seconds, _give, waiter)
    try:
        await waiter
    finally:
        answer.cancel()
        attempt.waiter = None


def _give(waiter: asyncio.Future[None]) -> None:
    """Unless it was aborted in the same moment."""
    if not waiter.done():
        waiter.set_result(None)


def answers(status: int = 200, *fields: tuple[bytes, bytes], after: float = 0.0, body: bytes = b"") -> Step:
    """The final headers after ``after`` seconds, with their whole body."""

    async def step(clock: Clock, attempt: Attempt) -> Response:
        attempt.sent(clock.now())
        await wait_like_the_wire(clock, attempt, after)
        attempt.first_byte_at = clock.now()
        return Response(status, Headers.of(*fields), body=body)

    return step


def streams(flow: Flow, status: int = 200, *, after: float = 0.0) -> Step:
    """The final headers after ``after`` seconds; the body is the test's to end."""

    async def step(clock: Clock, attempt: Attempt) -> Response:
        response = await answers(status, after=after)(clock, attempt)
        flow.response = streaming = Response(status, response.headers, stream=flow)
        return streaming

    return step


def fails(error: BaseException, *, after: float = 0.0, sent: bool = True) -> Step:
    """``error`` after ``after`` seconds; ``sent``: once the request has been written."""

    async def step(clock: Clock, attempt: Attempt) -> Response:
        if sent:
            attempt.sent(clock.now())
        if after:
            await wait_like_the_wire(clock, attempt, after)
        raise error

    return step


def hangs(*, sent: bool = True) -> Step:
    """No answer, ever; ``sent`` False: not even a connection."""
    return fails(AssertionError("for ever is over"), after=_FOREVER, sent=sent)


class Script:
    """A Send that follows a script; the last step repeats. ``at`` has the times of its calls."""

    def __init__(self, clock: Clock, *steps: Step) -> None:
        self._clock = clock
        self.steps = list(steps)
        self.at: list[float] = []
        self.attempts: list[Attempt] = []
        self.verdicts: list[Verdict] = []  # in the order of settling
        self.running = 0  # at this moment
        self.peak = 0  # at once

    async def __call__(self, attempt: Attempt, /) -> Response:
        self.at.append(self._clock.now())
        self.attempts.append(attempt)
        attempt.on_settle(self.verdicts.append)
        step = self.steps[0] if len(self.steps) == 1 else self.steps.pop(0)
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            return await step(self._clock, attempt)
        finally:
            self.running -= 1

    @property
    def calls(self) -> int:
        return len(self.at)


class Rig:
    """A registry, an access log and survivors, and chains linked to them."""

    def __init__(self, clock: Clock, *, access: str = "all") -> None:
        self.clock = clock
        self.registry = Registry()
        self.survivors = Survivors(clock, self.registry)
        self.lines: list[str] = []  # of the access log
        self.parts = Parts(
            clock, self.registry, self.survivors, AccessLog(access, self.lines.append, clock.wall), memoryview(b"")
        )

    def link(self, upstream: Script, *, route: str = "default", **policies: Any) -> Proceed:
        """A chain of ``policies`` (fields of Policies) before ``upstream``; no breaker unless it is among them."""
        api = Api("vendor", "http", "vendor.example", 80)
        return link(self.parts, api, route, Policies(**({"breaker": None} | policies)), upstream).proceed

    def exchange(self, method: bytes = b"GET", *fields: tuple[bytes, bytes], stream: Flow | None = None) -> Exchange:
        request = Request(method, b"/v1/thing", Headers.of(*fields))
        request.stream = stream
        return Exchange(request, "vendor", "default", self.clock.now())

    async def call(self, proceed: Proceed, method: bytes = b"GET") -> int | str:
        """What an agent sees of one call: the status of an answer, or the reason of an error."""
        try:
            return (await proceed(self.exchange(method))).status
        except CallError as error:
            return error.reason

    def samples(self, name: str, *labels: str) -> dict[Any, float]:
        """The values of a family that are not zero, by the values of ``labels`` (one: by that value)."""
        found: dict[Any, float] = {}
        for family in self.registry.families():
            for sample in family.samples if family.name == name.removesuffix("_total") else ():
                if sample.value and sample.name in {name, f"{name}_count"}:
                    key = tuple(sample.labels[label] for label in labels)
                    found[key[0] if len(key) == 1 else key] = sample.value
        return found


async def ticking(clock: Clock, survivors: Survivors, seconds: float = 0.25) -> None:
    """Let time pass for the breakers, as app.py does."""
    while True:
        await asyncio.sleep(seconds)
        survivors.tick()
