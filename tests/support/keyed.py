"""A route that makes calls once, before a scripted vendor, and agents that call. For tests of policies/idempotency.py.

till = Till(Rig(clock), answers(201, body=b"one"))
got = await till.pay()                        # the same call again has the same answer, and is not sent
first, second = till.begin(), till.begin()    # under way at the same time
first.leave()                                 # its agent goes away: as wire/server.py does it
other = Till(Rig(clock), answers(), store=remote)   # another process, if another till has the same store
assert till.counted == {"first": 1, "joined": 1}
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from itertools import count
from typing import Any, Final, TypeVar, cast

from proxy.chain import link
from proxy.clock import Clock
from proxy.config.settings import Api, Policies
from proxy.core.fallback import FallbackSettings
from proxy.core.fallback import Step as Instead
from proxy.core.idempotency import (
    IdempotencySettings,
    Record,
    State,
)
from proxy.core.upstream_key import UpstreamKey
from proxy.core.vendors import vendor_of
from proxy.errors import AgentGone, CallError
from proxy.keyed import Means
from proxy.ledger import Ledger
from proxy.ledgers import Ledgers
from proxy.model import Attempt, Ending, Exchange, Headers, Proceed, Request, Response
from proxy.stores.ledger import LedgerStore
from proxy.stores.ledger_memory import MemoryLedger
from proxy.telemetry.metrics import Counter
from proxy.wire.body import Body
from tests.support.caching import Got, Torrent
from tests.support.remote import Remote
from tests.support.script import Rig, Script, Step
from tests.support.virtual import turn

T = TypeVar("T")

KEY: Final = b"Idempotency-Key"
RESULTS: Final = "backstay_idempotency_requests_total"
PAYMENT: Final = b"amount=1"
TRACE: Final = (b"traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
STRIPE: Final = "api.stripe.com"  # honours a key on every POST

_EPOCHS: Final = count(1)


# --- what an upstream does with a request body ----------------------------------------------------------------


class Upload:
    """A request body, as the upstream gets it. Ends as wire/upstream.py has it."""

    def __init__(self, body: Body, done: asyncio.Future[None]) -> None:
        self._body = body
        self._done = done
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    def finish(self, trailers: Headers | None) -> None:
        self._done.set_result(None)

    def fail(self, ending: Ending) -> None:
        self._done.set_exception(self._body.error or AgentGone())


def takes(received: list[bytes], status: int = 201, *, body: bytes = b"") -> Step:
    """The answer, once all of the request body has come, which is added to ``received``."""

    async def step(clock: Clock, attempt: Attempt) -> Response:
        attempt.sent(clock.now())
        stream = attempt.exchange.request.stream
        if stream is None:
            received.append(attempt.exchange.request.body)
        else:
            done = clock.loop.create_future()
            upload = Upload(cast("Body", stream), done)
            stream.attach(upload)
            await done
            received.append(upload.data)
        return Response(status, Headers(), body=body)

    return step


def gated(gate: asyncio.Event, then: Step) -> Step:
    """It is sent, and the upstream answers when the gate is open."""

    async def step(clock: Clock, attempt: Attempt) -> Response:
        attempt.sent(clock.now())
        await gate.wait()
        return await then(clock, attempt)

    return step


def unsent(gate: asyncio.Event, then: Step) -> Step:
    """It waits for a connection until the gate is open."""

    async def step(clock: Clock, attempt: Attempt) -> Response:
        await gate.wait()
        return await then(clock, attempt)

    return step


# --- agents -----------------------------------------------------------------------------------------------------


class Paying:
    """An agent that waits for the answer to its call."""

    def __init__(self, till: Till, exchange: Exchange, room: float) -> None:
        self.exchange = exchange
        self._gone = False
        self.task = asyncio.get_running_loop().create_task(self._serve(till, room))

    async def _serve(self, till: Till, room: float) -> Got:
        try:
            response = await till.proceed(self.exchange)
        except CallError as error:
            return Got(self.exchange, None, error, room)
        if self._gone:
            response.discard()
        return Got(self.exchange, response, None, room)

    def leave(self) -> None:
        """It goes away before its answer has begun: see ``connection_lost`` in wire/server.py."""
        self._gone = True
        if not self.exchange.persistent:
            self.task.cancel()

    @property
    def waits(self) -> bool:
        return not self.task.done()

    @property
    def got(self) -> Got:
        return self.task.result()

    def __await__(self) -> Any:
        return self.task.__await__()


class Till:
    """See the module. ``settings`` are those of IdempotencySettings; ``policies`` the other fields of Policies.

    ``store`` is in place of the memory of the rig's process. ``fallback`` may name other tills by their apis.
    """

    def __init__(
        self,
        rig: Rig,
        *steps: Step,
        store: LedgerStore | None = None,
        api: str = "vendor",
        host: str = "vendor.example",
        route: str = "default",
        fallback: tuple[Instead, ...] = (),
        others: tuple[Till, ...] = (),
        policies: dict[str, Any] | None = None,
        ledgered: bool = True,
        **settings: Any,
    ) -> None:
        self.rig = rig
        self.clock = rig.clock
        self.name, self.route = api, route
        self.settings = IdempotencySettings(**settings)
        self.vendor = Script(rig.clock, *steps)
        self.sent: list[Headers] = []  # the fields of each request, as the vendor got them
        self._others = {other.name: other for other in others}
        if store is not None:
            rig.survivors.ledgers = cast("Ledgers", Stocked(rig.clock, store))
        chosen = {
            "breaker": None,
            "idempotency": self.settings if ledgered else None,
            "fallback": FallbackSettings(fallback) if fallback else None,
        }
        where = Api(api, "https", host, 443)
        chain = link(
            rig.parts, where, route, Policies(**(chosen | (policies or {}))), self._send, elsewhere=self._elsewhere
        )
        self.proceed, self.inner = chain.proceed, chain.inner

    async def _send(self, attempt: Attempt) -> Response:
        self.sent.append(attempt.exchange.request.headers)
        return await self.vendor(attempt)

    def _elsewhere(self, api: str, exchange: Exchange) -> tuple[Exchange, Proceed]:
        """See chain.Elsewhere."""
        other = self._others[api]
        branch = exchange.branch(exchange.request.revised(exchange.request.headers.copy()))
        branch.api, branch.route = other.name, other.route
        return branch, other.inner

    def exchange(
        self,
        *fields: tuple[bytes, bytes],
        key: bytes | None = b"one",
        method: bytes = b"POST",
        target: bytes = b"/v1/pay",
        body: bytes = PAYMENT,
        stream: Torrent | None = None,
    ) -> Exchange:
        given = () if key is None else ((KEY, key),)
        request = Request(method, target, Headers.of(*given, *fields), body=b"" if stream is not None else body)
        request.length = len(body) if stream is None else -1 if stream.body.length is None else stream.body.length
        request.stream = None if stream is None else stream.body
        return Exchange(request, self.name, self.route, self.clock.now())

    def begin(self, *fields: tuple[bytes, bytes], room: float = float("inf"), **more: Any) -> Paying:
        """Make a call; ``room`` bytes of its answer fit, until the test takes more."""
        return Paying(self, self.exchange(*fields, **more), room)

    async def pay(self, *fields: tuple[bytes, bytes], **more: Any) -> Got:
        """Make a call, and have its answer, and all of its body that has come."""
        paying = self.begin(*fields, **more)
        await paying
        await turn()
        return paying.got

    @property
    def keys(self) -> list[bytes | None]:
        """With which the vendor got each call."""
        return [headers.get(KEY.lower()) for headers in self.sent]

    @property
    def counted(self) -> dict[str, float]:
        """Calls by what the ledger made of them."""
        return self.rig.samples(RESULTS, "result")

    @property
    def shadowed(self) -> dict[str, float]:
        return self.rig.samples("backstay_shadow_decisions_total", "decision")

    @property
    def ledger(self) -> Ledger:
        return self.rig.survivors.ledgers.ledger("memory")

    async def record(self) -> Record | None:
        """The only record that there is, or none."""
        store = self.ledger.store
        memory = store.records if isinstance(store, Remote) else cast("MemoryLedger", store)
        assert memory.count <= 1
        return await memory.look(next(iter(memory._entries), ""))

    async def state(self) -> State | None:
        """What has become of the only record."""
        record = await self.record()
        return None if record is None else record.state


class Stocked:
    """What a chain needs of ledgers.Ledgers, over a store that the test has made, in a process of its own."""

    def __init__(self, clock: Clock, store: LedgerStore) -> None:
        self._ledger = Ledger(store, clock, f"{next(_EPOCHS):012x}")
        self.evictions = 0

    def ledger(self, name: str) -> Ledger:
        return self._ledger

    def up(self) -> Iterator[tuple[dict[str, str], float]]:
        """Nothing here is outside of this process."""
        return iter(())


# --- the parts of the policy by themselves ------------------------------------------------------------------------


class Counts(defaultdict[str, Counter]):
    """Counters by result, made as they are asked for."""

    def __init__(self) -> None:
        super().__init__(Counter)

    @property
    def seen(self) -> dict[str, float]:
        return {result: counter.value for result, counter in self.items() if counter.value}


def means_of(clock: Clock, store: LedgerStore, *, host: str = "vendor.example", **settings: Any) -> Means:
    """What the policy of one route works with."""
    made = IdempotencySettings(**settings)
    return Means(
        clock,
        made,
        Ledger(store, clock, f"{next(_EPOCHS):012x}"),
        UpstreamKey(made, vendor_of(host)),
        scope=lambda exchange: "everybody",
        idle=60.0,
        count=Counts(),
        count_error=lambda: None,
        shadow=lambda decision: None,
    )


def call_of(
    clock: Clock,
    *fields: tuple[bytes, bytes],
    body: bytes = PAYMENT,
    stream: Torrent | None = None,
    method: bytes = b"POST",
) -> Exchange:
    """A call of an agent."""
    request = Request(method, b"/v1/pay", Headers.of(*fields), body=body)
    request.stream = None if stream is None else stream.body
    return Exchange(request, "vendor", "default", clock.now())
