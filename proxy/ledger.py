"""The calls of this process that must happen once, and what it has to tell the store of their records.

    first of its kind ──> Call ── reserve ──> made by this process: renewed until it has ended, then finished
    the same again ─────────┘ wait     └────> made elsewhere, or before: see policies/idempotency.py

``ledgers.py`` makes one for each store, which outlives reloads. One call of a kind asks the store for all of its kind
that are here. What cannot be told to a store that is away is owed, and told when it is back; until then the call stays
in the table, so that at least this process knows. A reservation whose answer was lost is given back the same way, once
the call has been given up: should it have been made, the store learns that nothing came of it.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from proxy.core.idempotency import Concluded, Conclusion, Found
from proxy.stores.base import StoreError
from proxy.stores.ledger import LedgerFull
from proxy.stores.ledger_memory import MemoryLedger

if TYPE_CHECKING:
    from asyncio import Future, Task
    from collections.abc import Callable, Coroutine, Iterator

    from proxy.clock import Clock, Timer
    from proxy.core.idempotency import Claim, Reserved
    from proxy.errors import CallError
    from proxy.model import Response
    from proxy.stores.ledger import LedgerStore

_log = logging.getLogger("backstay")

_PAUSE: Final = 0.5  # seconds between two tries to tell what is owed
_MOST_OWED: Final = 10_000  # conclusions; the oldest are given up: their records become UNKNOWN by themselves
_OWED_BYTES: Final = 16 << 20  # of answers that are kept for a store that is away
_SWEEP: Final = 10.0  # seconds between two looks at what is to be renewed, at most


_OWNED: Final = Found.OWNED
_RELEASED: Final = Concluded.RELEASED


class Failed:
    """The landing of a call that was not carried out: those who waited for it get the same failure."""

    __slots__ = ("error", "response", "whose")

    def __init__(self, error: CallError | None, response: Response | None, whose: str) -> None:
        self.error = error
        self.response = response  # complete; each gets a copy
        self.whose = whose  # of which credentials

    def __repr__(self) -> str:
        return f"<Failed {self.error or self.response!r}>"


class Released:
    """The landing of those who have to see for themselves."""

    def __repr__(self) -> str:
        return "<Released>"


RELEASED: Final = Released()

Landing: TypeAlias = "Conclusion | Failed | Released"
"""What those who wait get: how the call ended and its answer, or the failure of all of them, or nothing."""


class Call:
    """A call that is being made, or asked for elsewhere, and those of this process who wait for its outcome."""

    __slots__ = ("_waiting", "claim", "landing", "lost", "owned", "renew_at", "reserved")

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.reserved = False
        self.lost = False  # the answer to a reservation: it may have been made
        self.owned = False  # this process is making it
        self.renew_at = 0.0  # monotonic seconds
        self.landing: Landing | None = None
        self._waiting: dict[Future[Landing], None] = {}

    @property
    def awaited(self) -> bool:
        """Whether anybody waits for it."""
        return bool(self._waiting)

    @property
    def certain(self) -> bool:
        """Whether this process is making it, or knows that it was carried out."""
        if self.owned:
            return True
        return isinstance(self.landing, Conclusion) and self.landing.what is Concluded.DONE

    def follow(self, future: Future[Landing]) -> None:
        """Give ``future`` the landing: now, if it has landed."""
        if self.landing is None:
            self._waiting[future] = None
        else:
            future.set_result(self.landing)

    def leave(self, future: Future[Landing]) -> None:
        """Somebody waits no longer."""
        self._waiting.pop(future, None)

    def land(self, landing: Landing) -> None:
        """Give everybody who waits, now and later, how it ended; only the first time counts."""
        if self.landing is not None:
            return
        self.landing = landing
        if self._waiting:
            waiting, self._waiting = self._waiting, {}
            for future in waiting:
                if not future.done():
                    future.set_result(landing)

    def __repr__(self) -> str:
        state = "landed" if self.landing is not None else "owned" if self.owned else "asking"
        return f"<Call {self.claim.ident[:8]} {state}, {len(self._waiting)} waiting>"


def _nothing() -> None:
    """Whom nobody counts for."""


class Ledger:
    """See the module."""

    __slots__ = (
        "_calls",
        "_clock",
        "_count_error",
        "_epoch",
        "_memory",
        "_number",
        "_owed",
        "_owed_bytes",
        "_repaying",
        "_sweep",
        "_telling",
        "_timer",
        "store",
    )

    def __init__(
        self, store: LedgerStore, clock: Clock, epoch: str, count_error: Callable[[], None] = _nothing
    ) -> None:
        self.store = store
        self._count_error = count_error  # of what the store was to be told, and is told later
        self._memory = store if isinstance(store, MemoryLedger) else None
        self._clock = clock
        self._epoch = epoch  # of this ledger in this process
        self._number = 0  # of tokens
        self._calls: dict[str, Call] = {}  # by ident
        self._owed: dict[str, tuple[Call, Conclusion]] = {}  # by token: what the store is still to be told
        self._owed_bytes = 0
        self._repaying: Task[None] | None = None
        self._telling: set[Task[Any]] = set()  # what the store is being asked or told, but for what is owed
        self._sweep = _SWEEP
        self._timer: Timer | None = None  # while this process makes a call

    # --- the table ----------------------------------------------------------------------------------------

    def token(self) -> str:
        """Of a new reservation: see core/idempotency.py."""
        self._number += 1
        return f"{self._epoch}-{self._number}"

    def find(self, ident: str) -> Call | None:
        """The call of this name that is under way here."""
        return self._calls.get(ident)

    def open(self, claim: Claim) -> Call:
        """Put a call in the table, so that those like it wait for it."""
        call = self._calls[claim.ident] = Call(claim)
        return call

    def close(self, call: Call, landing: Landing) -> None:
        """A call that this process does not make is known now, or given up: out of the table, and everybody told."""
        self._remove(call)
        call.land(landing)
        if call.lost:
            self._owe(call, Conclusion(Concluded.RELEASED))

    def _remove(self, call: Call) -> None:
        if self._calls.get(call.claim.ident) is call:
            del self._calls[call.claim.ident]

    # --- the store ----------------------------------------------------------------------------------------

    async def reserve(self, call: Call) -> Reserved:
        """Ask for a call; if it is OWNED, this process owns it from now on. Raises StoreError."""
        reserved = self.reserve_at_once(call)
        return self._taken(call, await self._reserve(call)) if reserved is None else reserved

    def reserve_at_once(self, call: Call) -> Reserved | None:
        """The same, where the store is this process's own memory; None where it has to be waited for."""
        return None if self._memory is None else self._taken(call, self._memory.take(call.claim))

    def _taken(self, call: Call, reserved: Reserved) -> Reserved:
        if reserved.found is _OWNED:
            call.reserved = True
            self.own(call)
        return reserved

    async def _reserve(self, call: Call) -> Reserved:
        """Whoever asks may go while the store is at it; what it has reserved for them is given back then."""
        if not self.store.up:
            raise StoreError(self.store.name, "reserve", self.store.why)  # nothing was asked, so nothing is owed
        asking = self._spawn(self._ask(call.claim), "reservation")
        try:
            answer = await asyncio.shield(asking)
        except asyncio.CancelledError:
            asking.add_done_callback(partial(self._give_back, call))
            raise
        if isinstance(answer, StoreError):
            call.lost |= not isinstance(answer, LedgerFull)
            raise answer
        call.lost = False
        reserved: Reserved = answer
        return reserved

    async def _ask(self, claim: Claim) -> Reserved | StoreError:
        try:
            return await self.store.reserve(claim)
        except StoreError as error:
            return error

    def _give_back(self, call: Call, asking: Task[Reserved | StoreError]) -> None:
        if not asking.cancelled():
            self.finish(call, Conclusion(Concluded.RELEASED))

    def finish(self, call: Call, conclusion: Conclusion) -> None:
        """Tell the store how a call of this process ended: now, or as soon as it can be told. Nobody waits for it."""
        call.owned = False
        if conclusion.what is _RELEASED:
            self._remove(call)  # whoever comes now asks anew
        if self._memory is None:
            self._spawn(self._tell(call, conclusion), "conclusion")
            return
        accepted = self._memory.tell(call.claim.ident, call.claim.token, conclusion)
        if accepted or call.reserved or conclusion.what is _RELEASED:
            self._told(call, conclusion, accepted=accepted)
        else:
            self._clock.begin(self._tell(call, conclusion))  # there was no room for it; perhaps there is now

    def _spawn(self, work: Coroutine[Any, Any, Any], name: str) -> Task[Any]:
        task = self._clock.spawn(work, name)
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)
        return task

    async def _tell(self, call: Call, conclusion: Conclusion) -> None:
        try:
            accepted = await self._report(call, conclusion)
        except StoreError:
            self._count_error()
            self._owe(call, conclusion)
            return
        self._told(call, conclusion, accepted=accepted)

    def _told(self, call: Call, conclusion: Conclusion, *, accepted: bool) -> None:
        self._remove(call)
        if call.reserved and not accepted:
            _log.warning(
                "a call ended that was not this process's any more",
                extra={"store": self.store.name, "id": call.claim.ident, "ended": conclusion.what.value},
            )

    async def _report(self, call: Call, conclusion: Conclusion) -> bool:
        """Tell the store how a call ended; whether it was this process's. Raises StoreError.

        One that was made although it could not be reserved is reserved now: it is known from here on.
        """
        claim = call.claim
        if await self.store.finish(claim.ident, claim.token, conclusion):
            return True
        if call.reserved or conclusion.what is _RELEASED:
            return False
        try:
            reserved = await self.store.reserve(claim)
        except LedgerFull:
            return False
        return reserved.found is _OWNED and await self.store.finish(claim.ident, claim.token, conclusion)

    # --- what is owed -------------------------------------------------------------------------------------

    def _owe(self, call: Call, conclusion: Conclusion) -> None:
        token = call.claim.token
        if token in self._owed:
            self._strike(token)
        if self._owed_bytes + _weight(conclusion) > _OWED_BYTES:
            call.landing = conclusion = conclusion._replace(answer=None)  # it is held for nobody else either
        self._owed_bytes += _weight(conclusion)
        self._owed[token] = call, conclusion
        if len(self._owed) > _MOST_OWED:
            self._remove(self._strike(next(iter(self._owed))))
        if self._repaying is None:
            self._repaying = self._clock.spawn(self._repay(), "what a ledger is owed")

    async def _repay(self) -> None:
        """Tell the store what it missed, as soon as it can be told."""
        try:
            while self._owed:
                await self._clock.sleep(_PAUSE)
                if self.store.up:
                    await self._repay_all()
        finally:
            self._repaying = None

    async def _repay_all(self) -> None:
        for token, (call, conclusion) in list(self._owed.items()):
            try:
                await self._report(call, conclusion)
            except StoreError:
                if not self.store.up:
                    return
                continue  # it takes this one as little as before: it may be full, and the next may need no room
            if token in self._owed and self._owed[token][1] is conclusion:
                self._remove(self._strike(token))

    def _strike(self, token: str) -> Call:
        """It is owed no more; the call that it was about."""
        call, conclusion = self._owed.pop(token)
        self._owed_bytes -= _weight(conclusion)
        return call

    # --- leases -------------------------------------------------------------------------------------------

    def own(self, call: Call) -> None:
        """This process makes a call, whether or not it could be reserved: its lease is renewed until it has ended."""
        lease = call.claim.lease
        call.owned = True
        call.renew_at = self._clock.now() + lease / 3
        if lease / 6 < self._sweep:
            self._sweep = lease / 6
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        if self._timer is None:
            self._timer = self._clock.at(self._clock.now() + self._sweep, self._look)

    def _look(self) -> None:
        """One timer for all leases."""
        self._timer = None
        now = self._clock.now()
        owned = [call for call in self._calls.values() if call.owned]
        if owned:
            self._timer = self._clock.at(now + self._sweep, self._look)
        due = [call for call in owned if now >= call.renew_at]
        if due:
            self._clock.spawn(self._renew(due), "renewal of leases")

    async def _renew(self, calls: list[Call]) -> None:
        for call in calls:
            if not call.owned:
                continue
            claim = call.claim
            try:
                still_ours = await self.store.renew(claim.ident, claim.token, claim.lease)
            except StoreError:
                self._count_error()
                continue  # again at the next look
            call.renew_at = self._clock.now() + claim.lease / 3
            if not still_ours and call.reserved and call.owned:
                _log.warning("a call under way was settled by somebody else", extra={"id": claim.ident})

    @property
    def owned(self) -> int:
        """Calls that this process is making."""
        return sum([call.owned for call in self._calls.values()])

    @property
    def busy(self) -> int:
        """The same, and what the store is being asked or told."""
        return self.owned + len(self._telling)

    @property
    def asking(self) -> int:
        """Calls that are made elsewhere, as far as is known, and about which the store is asked again and again."""
        return sum([call.landing is None and not call.owned for call in self._calls.values()])

    # --- people -------------------------------------------------------------------------------------------

    async def settle(self, ident: str, *, done: bool) -> bool:
        """A person ends the doubt about a call: see LedgerStore. Raises StoreError.

        There is none, whatever a store says that was away, while this process makes the call or knows that it is done.
        """
        call = self._calls.get(ident)
        if call is not None and call.certain:
            return False
        settled = await self.store.settle(ident, done=done)
        if settled and call is not None and not call.owned:
            self._remove(call)  # what this process still knew of it is not true any more
        return settled

    async def shut(self) -> None:
        """Tell the store what it is owed, if it can be told, and close it."""
        if self._repaying is not None:
            self._repaying.cancel()
        if self.store.up:
            await self._repay_all()
        await self.store.close()

    def __iter__(self) -> Iterator[Call]:
        return iter(self._calls.values())

    def __len__(self) -> int:
        return len(self._calls)

    def __repr__(self) -> str:
        return f"<Ledger in {self.store.name}, {len(self._calls)} under way, {len(self._owed)} owed>"


def _weight(conclusion: Conclusion) -> int:
    """Bytes of the answer in it."""
    return 0 if conclusion.answer is None else len(conclusion.answer.body)
