"""What becomes of the upstream's answer to a read: stored, refreshed, shared, or none. Used by policies/cache.py.

    304, and we had asked     what is stored is still good, and as fresh as the 304 says
    may be stored             stored as it passes, if it has no more than ``max_object`` bytes, and shared with those
                              who wait, unless each use of it is to be validated
    a failure                 shared with those who wait, and never stored
    anything else             passed on, and what was stored before is forgotten: it is not the answer any more

The one who asked gets the answer at its headers, as it came but for its Cache-Status; those who follow get the landing.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from proxy.core import cache, cache_status, vary
from proxy.core.coalesce import Loners, shares
from proxy.errors import ConnectionReset, UpstreamError
from proxy.flight import RELEASED
from proxy.model import Response, Verdict
from proxy.spool import Spool

if TYPE_CHECKING:
    from proxy.clock import Clock
    from proxy.core.cache import CacheSettings
    from proxy.core.classify import Classifier
    from proxy.core.stored import Stored
    from proxy.flight import Flight, Flights, Landing, Read
    from proxy.model import Headers, Proceed
    from proxy.stores.shelf import Shelf

_BROKE_OFF: Final = "The upstream's answer broke off before it was complete."


class Means:
    """What the cache of one route works with."""

    __slots__ = ("clock", "flights", "idle", "loners", "settings", "shelf")

    def __init__(
        self,
        clock: Clock,
        settings: CacheSettings,
        *,
        shelf: Shelf,
        flights: Flights,
        loners: Loners,
        idle: float | None,
    ) -> None:
        self.clock = clock
        self.settings = settings
        self.shelf = shelf
        self.flights = flights
        self.loners = loners
        self.idle = idle  # seconds that a reader may take nothing


class Fetcher:
    """Calls upstream for the reads of one route."""

    __slots__ = ("_classifier", "_clock", "_flights", "_idle", "_loners", "_settings", "_shelf")

    def __init__(self, means: Means, classifier: Classifier) -> None:
        self._clock = means.clock
        self._settings = means.settings
        self._shelf = means.shelf
        self._flights = means.flights
        self._loners = means.loners
        self._idle = means.idle
        self._classifier = classifier

    async def fetch(self, flight: Flight, proceed: Proceed) -> Response | Stored:
        """Call upstream; what is stored, if that is still good, else the answer. Raises what ``proceed`` raises."""
        read = flight.read
        read.requested_at = self._clock.wall()
        response = await proceed(flight.branch)
        read.received_at = self._clock.wall()
        if response.status == 304 and read.validates and read.stored is not None:
            if cache.confirms(read.stored, response.headers):
                return await self._still_good(flight, read.stored, response)
            response = await self._ask_again(flight, proceed, response)
        try:
            return await self._received(flight, response)
        except BaseException:
            response.discard()  # whoever asked left while the store was busy: nobody will read it
            raise

    def failed(self, response: Response) -> bool:
        """Whether an answer says that the upstream is ill."""
        return self._classifier.at_headers(response.status) is Verdict.FAILURE

    async def _received(self, flight: Flight, response: Response) -> Response:
        """The answer as its leader is to have it; the others are seen to."""
        why_not = self._why_not(flight.read, response.status, response.headers)
        if not shares(self._classifier.at_headers(response.status), why_not):
            await self._pass_on(flight, response)
        elif _size(response) > self._settings.max_object:
            await self._too_large(flight, response.status, why_not)
            why_not = why_not or "too-large"
        else:
            response = await self._share(flight, response, why_not)
        return _marked(flight.read, response, why_not)

    def serves(self, flight: Flight, landing: Stored | Response, headers: Headers) -> bool:
        """Whether what a flight brought is for these request fields too (RFC 9111, 4.1); a failure is for all."""
        if not isinstance(landing, Response):
            return vary.matches(landing.vary, headers)
        if shares(self._classifier.at_headers(landing.status), "failure"):
            return True
        names = vary.names(landing.headers, self._settings.vary) or ()
        return vary.values(names, headers) == vary.values(names, flight.read.request.headers)

    def _why_not(self, read: Read, status: int, headers: Headers) -> str:
        request = read.request
        return cache.why_not(self._settings, request.method, read.asked, request.headers, status, headers)

    # --- what is stored ---------------------------------------------------------------------------------

    async def _still_good(self, flight: Flight, stored: Stored, answer: Response) -> Stored:
        """RFC 9111, 4.3.4: the 304 brings new header fields for what is stored, which may forbid to store it."""
        read = flight.read
        answer.discard()
        fresh = cache.refresh(
            self._settings, stored, read.request.headers, answer.headers, read.requested_at, read.received_at
        )
        if self._why_not(read, fresh.status, fresh.headers):
            self._release(flight)
            await self._shelf.forget(read.key)
        else:
            await self._land_stored(flight, fresh)
        return fresh

    async def _land_stored(self, flight: Flight, stored: Stored) -> None:
        if not cache.collapses(stored, self._clock.wall()):
            self._release(flight)
        await self._keep(flight, stored)
        self.land(flight, stored)

    async def _ask_again(self, flight: Flight, proceed: Proceed, answer: Response) -> Response:
        """The 304 is about a version that we do not have: ask for the answer itself."""
        answer.discard()
        flight.branch.request = flight.read.request
        response = await proceed(flight.branch)
        flight.read.received_at = self._clock.wall()
        return response

    async def _pass_on(self, flight: Flight, response: Response) -> None:
        """An answer for one caller only. Those who wait go by themselves, and so do later ones for a while."""
        self._release(flight)
        read = flight.read
        whole = not (read.asked.range or read.asked.precondition)
        if read.stored is not None and whole and cache.outdated(response.status, shared=self._shelf.shared):
            await self._shelf.forget(read.key)

    async def _head(self, flight: Flight, response: Response) -> None:
        """RFC 9111, 4.3.5: a HEAD says whether what is stored is still good, though it brings nothing new."""
        read, stored = flight.read, flight.read.stored
        if stored is None or response.status != 200 or flight.doomed:
            return
        fresh = cache.freshen(
            self._settings, stored, read.request.headers, response.headers, read.requested_at, read.received_at
        )
        if fresh is None:
            await self._shelf.forget(read.key)
        else:
            await self._keep(flight, fresh)

    async def _keep(self, flight: Flight, stored: Stored) -> None:
        if not flight.doomed:
            seconds = cache.retention(stored, self._settings)
            await self._shelf.keep(flight.read.key, stored, seconds, flight.read.found)

    # --- what is shared ---------------------------------------------------------------------------------

    async def _share(self, flight: Flight, response: Response, why_not: str) -> Response:
        """An answer for everybody who waits, once its body is complete; stored, unless it is a failure."""
        head = Response(response.status, response.headers.copy(), response.reason)
        if response.stream is None:
            head.body = response.body
            await self._complete(flight, head, why_not)
            return response
        if not why_not and not cache.collapses(self._stored(flight.read, head), self._clock.wall()):
            self._release(flight)  # at the headers: why should they wait for the body
        return self._spooled(flight, response, head, why_not)

    async def _too_large(self, flight: Flight, status: int, why_not: str) -> None:
        """It cannot be kept for others. If it is a failure, nobody sends it again all the same."""
        if why_not:
            self.land(flight, UpstreamError(f"The upstream answered {status}, and more than can be shared."))
        else:
            self._release(flight)
            await self._shelf.forget(flight.read.key)

    def _spooled(self, flight: Flight, response: Response, head: Response, why_not: str) -> Response:
        """The answer for its leader, while its body is kept for others."""
        stream = response.stream
        assert stream is not None  # noqa: S101 - the caller has looked
        flight.spool = spool = Spool(stream, self._settings.max_object, self._idle, self._clock)
        spool.on_settled = partial(self._settled, flight, spool, head, why_not)
        spool.on_reader_gone = flight.settle
        led = Response(response.status, response.headers, response.reason, stream=spool.reader)
        spool.reader.on_end = led.end
        stream.attach(spool)
        return led

    def _settled(self, flight: Flight, spool: Spool, head: Response, why_not: str) -> None:
        """The spool is full, or over."""
        flight.spool = None
        if spool.state == "complete":
            head.body = spool.body
            self._clock.spawn(self._complete(flight, head, why_not), "end of a stored stream")
        elif spool.state == "overflowed":
            self._clock.spawn(self._too_large(flight, head.status, why_not), "end of a stored stream")
        else:
            self.land(flight, ConnectionReset(_BROKE_OFF))

    async def _complete(self, flight: Flight, whole: Response, why_not: str) -> None:
        """All of an answer is here."""
        if flight.read.request.method == b"HEAD":
            if not why_not and not cache.collapses(self._stored(flight.read, whole), self._clock.wall()):
                self._release(flight)
            await self._head(flight, whole)
        elif not why_not:
            await self._land_stored(flight, self._stored(flight.read, whole))
        self.land(flight, whole)

    def _stored(self, read: Read, whole: Response) -> Stored:
        request, exchange = read.request, read.exchange
        return cache.store(
            self._settings,
            method=request.method,
            request_headers=request.headers,
            api=exchange.api,
            route=exchange.route,
            target=request.target,
            status=whole.status,
            reason=whole.reason,
            headers=whole.headers,
            body=whole.body,
            requested_at=read.requested_at,
            received_at=read.received_at,
        )

    def _release(self, flight: Flight) -> None:
        """Those who wait go by themselves, and so do those who come in the next seconds."""
        if flight.joint:
            self._loners.add(flight.read.key + flight.read.whose, self._clock.now())
        self.land(flight, RELEASED)

    def land(self, flight: Flight, landing: Landing) -> None:
        """It is over: everybody gets what they get, and the next read begins anew."""
        flight.land(landing)
        self._flights.remove(flight)


def _size(response: Response) -> int:
    """Bytes of the body, as far as they are known."""
    return len(response.body) if response.stream is None else response.stream.length or 0


def _marked(read: Read, response: Response, why_not: str) -> Response:
    stored = not why_not and read.request.method != b"HEAD"
    member = cache_status.forwarded(read.why, status=response.status, stored=stored, detail=why_not)
    cache_status.append(response.headers, member)
    return response
