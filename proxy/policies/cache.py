"""Answers reads from what is stored, and shares one call upstream among identical ones. Rules: core/cache.py.

    read ──> stored and usable? ──yes──> the stored answer
                    │ no
                    └──> the same under way? ──yes──> wait for its landing (core/coalesce.py)
                                  │ no
                                  └──> a flight: one call, whose answer is stored as it passes (fetch.py)

A stale answer that may stand in for a failure is hung on the exchange; policies/fallback.py serves it. With one at
hand a caller waits for ``stale_wait`` at most: the call goes on without it, so that what is stored is refreshed and
the circuit learns how the call ends, and later callers find it under way instead of sending another.
"""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING, Any

from proxy.core import cache, cache_status
from proxy.core.cache import Use
from proxy.core.credentials import partition
from proxy.core.selection import select
from proxy.errors import AgentError, CallError, DeadlineExceeded, Internal, NotCached, Timeout
from proxy.flight import RELEASED, Flight, Read, Released
from proxy.gather import Gathered, gather
from proxy.model import Response, Stale
from proxy.spool import shared

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Mapping

    from proxy.core.cache_status import Why
    from proxy.core.stored import Stored
    from proxy.fetch import Fetcher, Means
    from proxy.model import Exchange, Proceed, Request
    from proxy.telemetry.metrics import Counter, Histogram


class Cache:
    """See the module."""

    __slots__ = (
        "_clock", "_count", "_fetcher", "_flights", "_idle", "_loners", "_settings", "_shelf", "_stale_age",
    )  # fmt: skip

    def __init__(self, means: Means, fetcher: Fetcher, count: Mapping[str, Counter], stale_age: Histogram) -> None:
        self._clock = means.clock
        self._settings = means.settings
        self._shelf = means.shelf
        self._flights = means.flights
        self._loners = means.loners
        self._idle = means.idle
        self._fetcher = fetcher
        self._count = count  # by result
        self._stale_age = stale_age

    async def __call__(self, exchange: Exchange, proceed: Proceed, /) -> Response:
        """Answer from what is stored, or proceed. Raises NotCached, and what ``proceed`` raises."""
        request = exchange.request
        if request.upgrade or not cache.reads(self._settings, request.method):
            return await self._pass(exchange, proceed, "method")
        digest = ""
        if request.stream is not None or request.body:
            if not self._settings.key_body or not await self._has_body(exchange):
                return await self._pass(exchange, proceed, "bypass")
            digest = _digest(request)
        whose = partition(request.headers)
        key = self._shelf.key(whose, request.method, request.target, digest)
        found = await self._shelf.find(key, request.headers)
        read = Read(exchange, cache.asked(request.headers), key, whose, found)
        stored = read.stored
        if stored is not None and not read.asked.precondition:
            use = cache.decide(stored, read.asked, self._settings, self._clock.wall())
            if use is Use.FRESH:
                return self._hit(read, stored)
            if use is Use.BEHIND:
                self._refresh_behind(read, proceed)
                return self._stale_answer(read, stored, "stale-while-revalidate")
            if use is Use.ALLOWED:
                return self._stale_answer(read, stored, "max-stale")
        return await self._forward(read, proceed)

    async def _has_body(self, exchange: Exchange) -> bool:
        """Whether all of the request's body is at hand now."""
        return await gather(exchange, self._settings.max_object, self._clock) is Gathered.WHOLE

    async def _pass(self, exchange: Exchange, proceed: Proceed, why: Why) -> Response:
        """It is not for the cache, which says so."""
        self._count["bypass"].value += 1
        exchange.cache_status = cache_status.forwarded(why)
        response = await proceed(exchange)
        if response.tunnel is None:
            cache_status.append(response.headers, cache_status.forwarded(why, status=response.status))
        return response

    # --- from what is stored ------------------------------------------------------------------------------

    def _hit(self, read: Read, stored: Stored) -> Response:
        read.exchange.outcome = "hit"
        self._count["hit"].value += 1
        return self._out(read, stored, cache_status.hit(stored.fresh_until - self._clock.wall()), b"hit")

    def _stale_answer(self, read: Read, stored: Stored, reason: str) -> Response:
        """A stale answer, marked as what it is: see model.Stale."""
        over = max(self._clock.wall() - stored.fresh_until, 0.0)
        read.exchange.outcome, read.exchange.reason = "stale", reason
        self._count["stale"].value += 1
        self._stale_age.observe(over)
        if read.forward:
            status = int(reason) if reason.isdigit() else None
            member = cache_status.forwarded(read.why, status=status, ttl=-over, detail=reason)
        else:
            member = cache_status.hit(-over, reason)
        return self._out(read, stored, member, b"stale")

    def _out(self, read: Read, stored: Stored, member: bytes, outcome: bytes) -> Response:
        """A stored answer, as this caller is to have it."""
        request = read.request
        response = select(stored, request.method, read.asked, request.headers, self._clock.wall())
        response.headers.fields.append((b"cache-status", b"Cache-Status", member))
        response.headers.fields.append((b"backstay-outcome", b"Backstay-Outcome", outcome))
        return response if request.method == b"HEAD" else shared(response, self._idle, self._clock)

    # --- forward ------------------------------------------------------------------------------------------

    async def _forward(self, read: Read, proceed: Proceed) -> Response:
        read.why = self._why(read)
        read.exchange.cache_status = cache_status.forwarded(read.why)
        if read.asked.only_if_cached:
            self._count["miss"].value += 1
            raise NotCached
        self._look_at_stale(read)
        if _is_particular(read) or self._loners.has(read.key + read.whose, self._clock.now()):
            return await self._alone(read, proceed)
        flight = self._flights.find(read)
        if flight is None:
            return await self._lead(read, proceed)
        return await self._follow(read, flight, proceed)

    def _why(self, read: Read) -> Why:
        if read.asked.range:
            return "partial"
        if read.stored is None:
            return "vary-miss" if read.found.varies else "uri-miss"
        return "request" if self._clock.wall() < read.stored.fresh_until else "stale"

    def _look_at_stale(self, read: Read) -> None:
        """See to what is stored and not to be used as it is: it may be validated, and stand in for a failure."""
        stored, asked = read.stored, read.asked
        if stored is None or asked.precondition:
            return
        read.validates = not asked.range and read.request.method != b"HEAD" and cache.validators(stored)
        if not cache.stale_forbidden(stored, asked):
            now = self._clock.wall()
            permitted = cache.stale_permitted(stored, asked, self._settings, now)
            answer = partial(self._stale_answer, read, stored)
            read.exchange.stale = Stale(answer, now - stored.fresh_until, permitted=permitted)

    def _flight(self, read: Read) -> Flight:
        """A call upstream for this read, not yet begun."""
        read.forward = True
        request, exchange = read.request, read.exchange
        headers = request.headers
        if read.validates and read.stored is not None:
            headers = cache.conditional(headers, read.stored)
        branch = exchange.branch(request.revised(headers))
        branch.inform = exchange.inform
        if _patient(exchange):
            branch.stale = exchange.stale  # one attempt is enough
        return Flight(self._clock, read, branch)

    async def _alone(self, read: Read, proceed: Proceed) -> Response:
        """A call for one caller; what it brings may be stored all the same."""
        flight = self._flight(read)
        try:
            answer = await self._fetcher.fetch(flight, proceed)
        except CallError:
            self._count_failed(read, "miss")
            raise
        finally:
            read.exchange.absorb(flight.branch)
        return self._led(read, answer)

    # --- together -------------------------------------------------------------------------------------------

    async def _lead(self, read: Read, proceed: Proceed) -> Response:
        """Begin a flight that others may join, and have its answer at the headers."""
        flight = self._flight(read)
        future = flight.lead()
        self._begin(flight, proceed)
        try:
            until = flight.began + self._settings.stale_wait if _patient(read.exchange) else None
            answer = await self._wait(flight, future, until, read.exchange.deadline)
        finally:
            read.exchange.absorb(flight.branch)
        if isinstance(answer, CallError):
            self._count_failed(read, "miss")
            raise answer
        return self._led(read, answer)

    def _led(self, read: Read, answer: Response | Stored) -> Response:
        """What the call brought, for the one for whom it was made."""
        if isinstance(answer, Response):
            if self._fetcher.failed(answer):
                self._count_failed(read, "miss")
            else:
                self._count["miss"].value += 1
            return answer
        self._count["revalidated"].value += 1
        read.exchange.outcome = "hit"
        return self._out(read, answer, cache_status.forwarded(read.why, status=304, stored=True), b"hit")

    async def _follow(self, read: Read, flight: Flight, proceed: Proceed) -> Response:
        """Wait for the landing of a flight that another caller has begun."""
        read.forward = True
        exchange, began = read.exchange, self._clock.now()
        until = exchange.deadline
        if _patient(exchange):
            until = min(until, flight.began + self._settings.stale_wait)
        landing = await self._wait(flight, flight.follow(), until, exchange.deadline)
        exchange.waited += self._clock.now() - began
        if isinstance(landing, CallError):
            exchange.cache_status = cache_status.forwarded(read.why, collapsed=True)
            self._count_failed(read, "coalesced")
            raise landing.again()
        if isinstance(landing, Released):
            return await self._alone(read, proceed)
        if not self._fetcher.serves(flight, landing, read.request.headers):
            return await self._other_variant(read, proceed)
        return self._landed(read, landing)

    async def _other_variant(self, read: Read, proceed: Proceed) -> Response:
        """The answer was for other request fields: begin again, now that it is known which they are."""
        found = await self._shelf.find(read.key, read.request.headers)
        if found.variants is None:  # it could not be stored, and they may all be different
            return await self._alone(read, proceed)
        return await self(read.exchange, proceed)

    def _landed(self, read: Read, landing: Stored | Response) -> Response:
        """What another caller's call brought, for one who has waited for it."""
        read.exchange.outcome = "coalesced"
        member = cache_status.forwarded(read.why, status=landing.status, collapsed=True)
        if not isinstance(landing, Response):
            self._count["coalesced"].value += 1
            return self._out(read, landing, member, b"coalesced")
        self._count_failed(read, "coalesced")
        copy = Response(landing.status, landing.headers.copy(), landing.reason, landing.body)
        cache_status.append(copy.headers, member)
        copy.headers.add(b"Backstay-Outcome", b"coalesced")
        return copy

    def _count_failed(self, read: Read, result: str) -> None:
        """A failure; with a stale answer at hand, that is served and counted instead."""
        if not _patient(read.exchange):
            self._count[result].value += 1

    # --- flights --------------------------------------------------------------------------------------------

    def _refresh_behind(self, read: Read, proceed: Proceed) -> None:
        """One refresh of a key at a time, which nobody waits for."""
        if self._flights.find(read) is not None:
            return
        self._count["refreshed"].value += 1
        behind = Read(read.exchange.branch(read.request), read.asked, read.key, read.whose, read.found)
        behind.why = "stale"
        self._look_at_stale(behind)
        flight = self._flight(behind)
        behind.exchange.stale = None  # nobody will serve it, and it holds the exchange: leave the collector no cycle
        flight.behind = True
        self._begin(flight, proceed)

    def _begin(self, flight: Flight, proceed: Proceed) -> None:
        self._flights.add(flight)
        flight.task = self._clock.spawn(self._fly(flight, proceed), "read for the cache")

    async def _fly(self, flight: Flight, proceed: Proceed) -> None:
        """The call itself; however it ends, nobody is left waiting."""
        try:
            answer = await self._fetcher.fetch(flight, proceed)
        except CallError as error:
            self._fetcher.land(flight, RELEASED if isinstance(error, AgentError) else error)  # a fault of one request's
            flight.answer(error)
        except BaseException:
            self._fetcher.land(flight, Internal())
            flight.answer(Internal())
            raise
        else:
            if not flight.answer(answer) and isinstance(answer, Response):
                answer.discard()  # whoever asked for it is gone

    async def _wait(self, flight: Flight, future: Future[Any], until: float | None, deadline: float) -> Any:
        """Wait for what a flight brings, not past ``until``, the caller's deadline at most. Raises Timeout."""
        timer = None if until is None else self._clock.at(until, partial(self._expire, flight, future, deadline))
        try:
            return await future
        except BaseException:
            flight.leave(future)
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _expire(self, flight: Flight, future: Future[Any], deadline: float) -> None:
        """A caller has waited long enough. If it has a stale answer, the call goes on: that is to be refreshed."""
        if future.done():
            return
        if self._clock.now() < deadline:
            flight.behind = True
            future.set_exception(Timeout(f"No answer within the {self._settings.stale_wait:g} s of stale_wait."))
        else:
            future.set_exception(DeadlineExceeded("No answer within the time that the call may take."))


def _digest(request: Request) -> str:
    """Of the body, and of the fields that say what its bytes mean."""
    kind, coding = (request.headers.get(name) or b"" for name in (b"content-type", b"content-encoding"))
    return hashlib.sha256(b"%b\0%b\0%b" % (kind, coding, request.body)).hexdigest()


def _patient(exchange: Exchange) -> bool:
    """Whether there is a stale answer that may be served unasked, so that a failure costs little."""
    return exchange.stale is not None and exchange.stale.permitted


def _is_particular(read: Read) -> bool:
    """Whether the answer may be of no use to others, or theirs none to this read."""
    asked = read.asked
    partial_or_checked = asked.range or asked.precondition or (asked.conditional and not read.validates)
    newer = asked.no_cache or asked.max_age is not None or asked.min_fresh is not None
    return partial_or_checked or newer or asked.no_store
