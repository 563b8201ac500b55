"""A read that goes upstream on behalf of many callers, and the table of those under way. Used by policies/cache.py.

    leader ──────┐                          ┌─> the answer at its headers, body and all as it comes
    follower ────┼─> Flight ── one call ────┼─> the landing: a complete answer, an error, or "go by yourself"
    follower ────┘                          └─> the same

A flight flies while somebody waits for it, or reads what it brought, or it is wanted behind their backs (a refresh).
The leader is the caller for whose request it was begun; it has no other privilege than the answer at its headers.
"""

from __future__ import annotations

from asyncio import Future, Task
from typing import TYPE_CHECKING, Final, TypeAlias

from proxy.errors import CallError
from proxy.model import Response

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.clock import Clock
    from proxy.core.asked import Asked
    from proxy.core.cache_status import Why
    from proxy.core.stored import Stored
    from proxy.model import Exchange, Request
    from proxy.spool import Spool
    from proxy.stores.shelf import Found


class Released:
    """The landing of those who have to go by themselves."""

    def __repr__(self) -> str:
        return "<Released>"


RELEASED: Final = Released()

Landing: TypeAlias = "Stored | Response | CallError | Released"
"""What followers get: an answer that was stored; a failing answer, of which each gets a copy; an error; nothing."""


class Read:
    """A request that the cache may answer, and what it knows about it."""

    __slots__ = (
        "asked", "exchange", "forward", "found", "key", "received_at", "request", "requested_at", "stored", "validates",
        "whose", "why",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, asked: Asked, key: str, whose: str, found: Found) -> None:
        self.exchange = exchange
        self.request: Request = exchange.request  # as the agent sent it
        self.asked = asked
        self.key = key  # under which its answer is stored
        self.whose = whose  # the caller's partition
        self.found = found
        self.stored: Stored | None = found.stored
        self.why: Why = "uri-miss"  # it goes forward
        self.forward = False  # it has gone, by itself or with others
        self.validates = False  # the upstream is asked whether ``stored`` is still good
        self.requested_at = 0.0  # wall seconds
        self.received_at = 0.0  # wall seconds, of the headers

    @property
    def sharers(self) -> str:
        """Those who may share a call: never callers with other credentials, nor those who get another variant."""
        whose = f"{self.request.method.decode('latin-1')} {self.whose}"
        if self.found.variants is None:
            return whose
        return f"{whose} {[self.request.headers.get(name) for name in self.found.variants.sets[0]]}"

    def __repr__(self) -> str:
        return f"<Read {self.request!r} {self.why}>"


class Flight:
    """See the module."""

    __slots__ = (
        "_clock", "_followers", "_leader", "began", "behind", "branch", "doomed", "ending", "joint", "landing",
        "partition", "read", "spool", "task",
    )  # fmt: skip

    def __init__(self, clock: Clock, read: Read, branch: Exchange) -> None:
        self._clock = clock
        self.read = read  # its leader's
        self.partition = read.sharers  # the callers among whom it may be shared
        self.branch = branch  # the exchange of the one call
        self.began = clock.now()
        self.behind = False  # wanted even if nobody waits
        self.joint = False  # others may join it
        self.doomed = False  # what it brings was changed meanwhile: it must not be stored
        self.ending = False  # nobody wanted it, so that its call is being ended: it must not be joined
        self.landing: Landing | None = None
        self.spool: Spool | None = None  # while the leader reads a body that is still coming
        self.task: Task[None] | None = None
        self._leader: Future[Response | Stored | CallError] | None = None
        self._followers: dict[Future[Landing], None] = {}

    # --- those who wait -----------------------------------------------------------------------------------

    def lead(self) -> Future[Response | Stored | CallError]:
        """The leader's place: the answer at its headers, or an error."""
        self._leader = future = self._clock.loop.create_future()
        return future

    def follow(self) -> Future[Landing]:
        """A follower's place. A flight that has landed gives at once."""
        future: Future[Landing] = self._clock.loop.create_future()
        if self.landing is None:
            self._followers[future] = None
        else:
            future.set_result(self.landing)
        return future

    def leave(self, future: Future[Response | Stored | CallError] | Future[Landing]) -> None:
        """Somebody waits no longer. When nobody does, the call ends."""
        if future is self._leader:
            self._leader = None
            self.branch.inform = None  # the connection may serve another call by now
        else:
            self._followers.pop(future, None)  # type: ignore[arg-type]  # not the leader's: see above
        if future.done() and not future.cancelled() and future.exception() is None:
            answer = future.result()
            if isinstance(answer, Response):
                answer.discard()  # it came in the same moment: the leader has been given it, and nobody will read it
        self.settle()

    def settle(self) -> None:
        """End the call if nobody wants it any more."""
        if self.behind or self._followers or self._leader is not None:
            return
        if self.spool is not None:
            if self.spool.reader_gone:
                self.spool.abandon()
        elif self.task is not None:
            self.ending = True
            self.task.cancel()

    # --- the call ------------------------------------------------------------------------------------------

    def answer(self, answer: Response | Stored | CallError) -> bool:
        """Give the leader its answer; False if it is not there any more."""
        leader, self._leader = self._leader, None
        self.branch.inform = None
        if leader is None or leader.done():
            return False
        leader.set_result(answer)
        return True

    def land(self, landing: Landing) -> None:
        """Give everybody who follows what they get, now and later; only the first time counts."""
        if self.landing is not None:
            return
        self.landing = landing
        followers, self._followers = self._followers, {}
        for follower in followers:
            if not follower.done():
                follower.set_result(landing)

    @property
    def followers(self) -> int:
        """How many wait for the landing."""
        return len(self._followers)

    def __repr__(self) -> str:
        return f"<Flight {'under way' if self.landing is None else 'landed'}, {len(self._followers)} followers>"


class Flights:
    """The flights that may be joined, by the key of what they fetch and the callers they are for."""

    def __init__(self) -> None:
        self._flights: dict[str, dict[str, Flight]] = {}

    def find(self, read: Read) -> Flight | None:
        """The flight that this read may join, if there is one."""
        of_key = self._flights.get(read.key)
        flight = None if of_key is None else of_key.get(read.sharers)
        return None if flight is None or flight.ending else flight

    def add(self, flight: Flight) -> None:
        """From now on it may be joined, in place of an earlier one."""
        flight.joint = True
        self._flights.setdefault(flight.read.key, {})[flight.partition] = flight

    def remove(self, flight: Flight) -> None:
        """It may be joined no longer."""
        of_key = self._flights.get(flight.read.key)
        if of_key is not None and of_key.get(flight.partition) is flight:
            del of_key[flight.partition]
            if not of_key:
                del self._flights[flight.read.key]

    def doom(self, key: str) -> None:
        """What this key stands for was changed: what is under way must not be stored, nor joined by later callers."""
        for flight in self._flights.pop(key, {}).values():
            flight.doomed = True

    def __iter__(self) -> Iterator[Flight]:
        return (flight for of_key in self._flights.values() for flight in of_key.values())

    def __len__(self) -> int:
        return sum(map(len, self._flights.values()))

    def __repr__(self) -> str:
        return f"<Flights {len(self)}>"
