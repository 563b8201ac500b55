"""A route with a fallback list, its vendor and the other apis, all scripted. For tests of policies/fallback.py.

route = Route(rig, ToApi("backup"), Static(200), vendor=answers(503), others={"backup": answers(200)})
response = await route(rig.exchange())
assert route.kinds == ["api"]
"""

from __future__ import annotations

from typing import Any, Final

from proxy.core.classify import Classifier, ClassifySettings
from proxy.core.fallback import FallbackSettings, Static, Step, ToApi
from proxy.errors import CallError, ConnectFailed, ConnectionReset
from proxy.model import Exchange, Headers, Proceed, Response, Stale
from proxy.policies.attempts import Attempts
from proxy.policies.fallback import Fallback
from proxy.telemetry.metrics import Registry
from proxy.telemetry.requests import AttemptMetrics
from tests.support.script import Rig, Script, answers, fails
from tests.support.script import Step as Act

SORRY: Final = Static(200, (), '{"why": "${reason}", "again": ${retry_after}}')
BACKUP: Final = ToApi("backup")
DOWN: Final = answers(503, (b"Retry-After", b"7"), body=b"down")
LOST: Final = fails(ConnectionReset())
UNREACHED: Final = fails(ConnectFailed(), sent=False)


class Route:
    """A route with a list of what to try, its vendor, and the vendors of the other apis."""

    def __init__(
        self,
        rig: Rig,
        *steps: Step,
        vendor: Act,
        others: dict[str, Act] | None = None,
        failure: tuple[tuple[int, int], ...] = ((500, 599),),
        rate_limited: bool = False,
        safe: bool = False,
        **policies: Any,
    ) -> None:
        self.rig = rig
        self.kinds: list[str] = []  # as counted
        self.branches: list[Exchange] = []
        self.vendor = Script(rig.clock, vendor)
        self.others = {name: Script(rig.clock, act) for name, act in (others or {}).items()}
        self._proceed = rig.link(self.vendor, **policies) if policies else self._attempt
        classifier = Classifier(ClassifySettings(failure=failure))
        self._attempts = Attempts(rig.clock, classifier, AttemptMetrics(Registry(), "api", "default"))
        self._fallback = Fallback(
            rig.clock,
            FallbackSettings(steps),
            classifier,
            self.kinds.append,
            rate_limited=rate_limited,
            elsewhere=self._elsewhere,
            declared_safe=safe,
        )

    async def _attempt(self, exchange: Exchange) -> Response:
        """Without observe: it stands outside in truth, and would take a dropped answer for the one that was given."""
        return await self._attempts(exchange, self.vendor)

    def _elsewhere(self, api: str, exchange: Exchange) -> tuple[Exchange, Proceed]:
        branch = exchange.branch(exchange.request)
        branch.api = api
        self.branches.append(branch)
        return branch, self.rig.link(self.others[api])

    async def __call__(self, exchange: Exchange) -> Response:
        return await self._fallback(exchange, self._proceed)

    async def see(self, exchange: Exchange) -> int | str:
        """What the agent sees: a status, or the reason of an error."""
        try:
            return (await self(exchange)).status
        except CallError as error:
            return error.reason


def hang_stale(exchange: Exchange, *, permitted: bool) -> None:
    """As the cache does it."""

    def answer(reason: str) -> Response:
        return Response(200, Headers.of((b"Backstay-Outcome", b"stale"), (b"X-Why", reason.encode())), body=b"old")

    exchange.stale = Stale(answer, 60.0, permitted=permitted)
