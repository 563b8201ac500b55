"""The nouns of a call: Exchange, Attempt, Request, Response, Headers, Verdict, Ending.

Used by every layer. An *exchange* is one request of the agent with its answer; an *attempt* is one
try at an upstream on behalf of an exchange. Everything here is mutable and slotted, because it lives
on the hot path, and free of I/O, because the cores and their tests use it too.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    from asyncio import Future

    from proxy.errors import CallError


class Verdict(enum.Enum):
    """What one attempt says about the health of its upstream (see core/classify.py)."""

    SUCCESS = "success"
    FAILURE = "failure"
    THROTTLED = "throttled"
    IGNORED = "ignored"


class Ending(enum.Enum):
    """How the body of a response ended; known once, at the end of the stream."""

    COMPLETE = "complete"
    BROKEN = "broken"  # the upstream cut it, or broke its framing
    STALLED = "stalled"  # no progress for timeout.idle, or past timeout.stream
    ABANDONED = "abandoned"  # the agent went away, or a policy discarded the answer


class _LowerNames(dict[bytes, bytes]):
    """Memo of lower-cased header names; bounded, since the other side chooses the keys."""

    _LIMIT: Final = 2048

    def __missing__(self, name: bytes) -> bytes:
        lower = name.lower()
        if len(self) < self._LIMIT and len(name) <= 64:
            self[name] = lower
        return lower


Field: TypeAlias = tuple[bytes, bytes, bytes]
"""(lower-cased name, name as it came, value)."""


class Headers:
    """An ordered multimap of header fields that keeps case, order and repetition.

    Names are given lower-cased to every method but ``add``, which takes the name to be sent.
    """

    __slots__ = ("fields",)

    def __init__(self, fields: list[Field] | None = None) -> None:
        self.fields: list[Field] = [] if fields is None else fields

    @classmethod
    def of(cls, *pairs: tuple[bytes, bytes]) -> Headers:
        """Headers from (name, value) pairs."""
        return cls([(name.lower(), name, value) for name, value in pairs])

    def get(self, lower: bytes) -> bytes | None:
        """The first value of a field, or None."""
        for key, _, value in self.fields:
            if key == lower:
                return value
        return None

    def add(self, name: bytes, value: bytes) -> None:
        """Append a field."""
        self.fields.append((name.lower(), name, value))

    def set(self, name: bytes, value: bytes) -> None:
        """Replace every field of this name by one."""
        self.remove(name.lower())
        self.add(name, value)

    def remove(self, lower: bytes) -> None:
        """Drop every field of this name."""
        self.fields = [field for field in self.fields if field[0] != lower]

    def copy(self) -> Headers:
        """An independent copy."""
        return Headers(self.fields.copy())

    def __contains__(self, lower: bytes) -> bool:
        return any(field[0] == lower for field in self.fields)

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return ((name, value) for _, name, value in self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self.fields == other.fields

    __hash__ = None  # type: ignore[assignment]  # mutable, so that equality must not imply a hash

    def __repr__(self) -> str:
        return f"Headers({list(self)!r})"


LOWER: Final = _LowerNames()
"""Lower-cased form of a header name, remembered for names that recur."""


class Sink(Protocol):
    """Where a body goes: pushed chunk by chunk, ended exactly once by ``finish`` or ``fail``."""

    def write(self, data: bytes, /) -> None:
        """Take a chunk (decoded: no chunked framing)."""

    def finish(self, trailers: Headers | None, /) -> None:
        """The body is complete."""

    def fail(self, ending: Ending, /) -> None:
        """The body will never be complete."""


class Stream(Protocol):
    """A body that is still arriving; holds at most one watermark of bytes until a sink attaches."""

    length: int | None  # bytes announced by Content-Length, None if unknown
    progress: float  # when the last byte came (monotonic seconds); kept while a limit is set

    @property
    def ended(self) -> bool:
        """Whether all has come, or no more will."""

    @property
    def replayable(self) -> bool:
        """Whether another sink would get the whole body."""

    def keep(self, limit: int, /) -> None:
        """Keep up to ``limit`` bytes for another sink."""

    def limit(self, *, idle: float | None, whole: float | None) -> None:
        """End as STALLED after ``idle`` seconds without progress, or ``whole`` seconds from now."""

    def attach(self, sink: Sink, /) -> None:
        """Push what has come and all that comes into ``sink``."""

    def pause(self) -> None:
        """Ask the sender to stop (the sink's own buffer is full)."""

    def resume(self) -> None:
        """Ask the sender to go on."""

    def abandon(self) -> None:
        """Nobody wants the rest: stop the sender, and end as ABANDONED."""


class Upload(Stream, Protocol):
    """The body of a request that is still arriving."""

    def detach(self) -> None:
        """Give nothing for now: what comes waits for another sink."""

    def tap(self, listener: Callable[[bytes], None], /) -> None:
        """Show ``listener`` every piece once, whatever sinks there are: those that are held first, then all that come.

        To be set before a byte has been given away that was not kept.
        """

    @property
    def complete(self) -> bool:
        """Whether all of it has come."""


class Tunnel(Protocol):
    """The way to an upstream that switched to the websocket protocol."""

    def write(self, data: bytes, /) -> None:
        """Send opaque bytes."""

    def on_pressure(self, pause: Callable[[], None], resume: Callable[[], None], /) -> None:
        """Whom to ask for a pause when the upstream does not take bytes."""


class Request:
    """A request as the agent sent it, less the hop-by-hop fields, with the target as sent upstream."""

    __slots__ = (
        "body", "expects_continue", "forward", "headers", "host", "http10", "keep_alive", "length", "method", "path",
        "query", "stream", "target", "trailers_wanted", "upgrade",
    )  # fmt: skip

    def __init__(
        self,
        method: bytes,
        target: bytes,
        headers: Headers,
        *,
        host: bytes = b"",
        http10: bool = False,
        body: bytes = b"",
    ) -> None:
        self.method = method
        self.target = target  # origin-form and raw; routing replaces the mount by the path of the api's url
        self.headers = headers
        self.host = host
        self.http10 = http10
        self.body = body  # the whole body, if stream is None
        self.stream: Upload | None = None  # a body that was not complete with the head
        self.length = 0  # of the body in bytes; negative if it is chunked
        self.path = "/"  # normalised, within the api: what routes are matched against; set by routing
        self.query = b""
        self.keep_alive = True
        self.expects_continue = False  # Expect: 100-continue
        self.trailers_wanted = False  # TE: trailers
        self.upgrade = False  # asks to become a websocket
        self.forward = b""  # http or https, where the target named the host, or connect: we are taken for a proxy

    def revised(self, headers: Headers) -> Request:
        """The same request with other header fields; a body that still streams is shared."""
        copy = Request(self.method, self.target, headers, host=self.host, http10=self.http10, body=self.body)
        copy.stream, copy.length = self.stream, self.length
        copy.path, copy.query = self.path, self.query
        copy.trailers_wanted = self.trailers_wanted
        return copy

    def __repr__(self) -> str:
        return f"<Request {self.method.decode()} {self.target!r}>"


class Response:
    """An answer at its final headers; the body is complete (``body``) or still comes (``stream``)."""

    __slots__ = ("_listeners", "body", "ending", "headers", "reason", "status", "stream", "trailers", "tunnel")

    def __init__(
        self, status: int, headers: Headers, reason: bytes = b"", body: bytes = b"", stream: Stream | None = None
    ) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self.body = body
        self.stream = stream
        self.trailers: Headers | None = None
        self.tunnel: Tunnel | None = None  # of a 101
        self.ending: Ending | None = Ending.COMPLETE if stream is None else None
        self._listeners: list[Callable[[Ending], None]] | None = None

    def on_end(self, listener: Callable[[Ending], None]) -> None:
        """Call ``listener`` once, when the body has ended (now, if it has)."""
        if self.ending is not None:
            listener(self.ending)
        elif self._listeners is None:
            self._listeners = [listener]
        else:
            self._listeners.append(listener)

    def end(self, ending: Ending) -> None:
        """The body has ended; later calls change nothing."""
        if self.ending is not None:
            return
        self.ending = ending
        listeners, self._listeners = self._listeners, None
        for listener in listeners or ():
            listener(ending)

    def discard(self) -> None:
        """Nobody will read this answer: free what it holds."""
        if self.stream is not None and self.ending is None:
            self.stream.abandon()

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.ending}>"


class Stale:
    """A stored answer that is no longer fresh, at hand should the call fail (RFC 5861, 4)."""

    __slots__ = ("answer", "permitted", "staleness")

    def __init__(self, answer: Callable[[str], Response], staleness: float, *, permitted: bool) -> None:
        self.answer = answer  # makes the marked answer, given the word that says why it is served
        self.staleness = staleness  # seconds past its freshness
        self.permitted = permitted  # by stale_if_error or by itself; otherwise only where `fallback` asks for it

    def __repr__(self) -> str:
        return f"<Stale by {self.staleness:.0f} s{'' if self.permitted else ', on demand'}>"


def _never(status: int) -> bool:
    del status
    return False


class Effect:
    """What the ledger knows of a call that must happen once, for those who might repeat it or replace its answer."""

    __slots__ = ("doubtful", "honoured", "repeatable", "unknown")

    def __init__(self, *, honoured: bool, repeatable: bool, doubtful: Callable[[int], bool] = _never) -> None:
        self.doubtful = doubtful  # whether it may have been carried out, given the status of an answer
        self.honoured = honoured  # the upstream knows its key, and will not carry it out twice
        self.repeatable = repeatable  # the agent may make it again although its outcome is not known
        self.unknown = False  # nobody knows whether it was carried out: nothing may stand in for its answer

    def __repr__(self) -> str:
        return f"<Effect{' honoured' * self.honoured}{' unknown' * self.unknown}>"


class Exchange:
    """One request of the agent, from its headers to the end of its answer."""

    __slots__ = (
        "api", "attempts", "cache_status", "credential", "deadline", "effect", "elsewhere", "inform", "lost", "outcome",
        "probed", "reason", "request", "route", "stale", "started", "upstream_seconds", "waited", "written",
    )  # fmt: skip

    def __init__(self, request: Request, api: str, route: str, started: float) -> None:
        self.request = request
        self.api = api
        self.route = route
        self.started = started  # monotonic seconds
        self.deadline = started + 300.0  # monotonic seconds; set by observe from timeout.total
        self.attempts = 0
        self.written = False  # a byte of some attempt may have reached the upstream
        self.lost = False  # an attempt was written, and nobody knows what became of it
        self.effect: Effect | None = None  # while the ledger has a record of it
        self.elsewhere: Exchange | None = None  # its branch, while another api is asked in its place
        self.probed = False  # an attempt of it has been a half-open probe
        self.upstream_seconds = 0.0  # from a request's first byte to its final headers, all attempts
        self.waited = 0.0  # seconds spent waiting on purpose: backoff, tokens, connections
        self.inform: Callable[[int, Headers], None] | None = None  # passes a 1xx answer on
        self.outcome = "forwarded"
        self.reason = ""
        self.credential: str | None = None  # hash of the caller's credentials, once asked for
        self.stale: Stale | None = None  # hung here by the cache, served by fallback alone
        self.cache_status = b""  # what the cache had to say, for answers of ours (RFC 9211)

    @property
    def honoured(self) -> bool:
        """Whether the upstream will not carry it out twice, thanks to the key that it carries."""
        return self.effect is not None and self.effect.honoured

    @property
    def persistent(self) -> bool:
        """Whether it goes on although its agent has left: it must happen once, and has been sent."""
        if self.elsewhere is not None:
            return self.elsewhere.persistent
        return self.effect is not None and self.written

    def branch(self, request: Request) -> Exchange:
        """A call on behalf of this one, with an account of its own: see ``absorb``."""
        branch = Exchange(request, self.api, self.route, self.started)
        branch.deadline = self.deadline
        return branch

    def absorb(self, branch: Exchange) -> None:
        """Take over what a branch has spent."""
        self.attempts += branch.attempts
        self.upstream_seconds += branch.upstream_seconds
        self.waited += branch.waited
        self.written |= branch.written
        self.lost |= branch.lost
        self.probed |= branch.probed

    def __repr__(self) -> str:
        return f"<Exchange {self.api}/{self.route} {self.request!r} {self.outcome}>"


class Attempt:
    """One try at an upstream. Settles exactly once, whatever happens."""

    __slots__ = (
        "_on_headers", "_on_sent", "_on_settle", "connect_limit", "exchange", "first_byte_at", "number",
        "retry_after", "sent_at", "verdict", "waiter", "written",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, number: int) -> None:
        self.exchange = exchange
        self.number = number  # from 1
        self.written = False
        self.sent_at: float | None = None
        self.first_byte_at: float | None = None
        self.connect_limit = 2.0  # seconds; set by timeouts
        self.retry_after: float | None = None  # seconds the upstream asked for
        self.verdict: Verdict | None = None
        self.waiter: Future[Any] | None = None  # what the wire waits on, for abort()
        self._on_sent: Callable[[float], None] | None = None
        self._on_headers: Callable[[Verdict, float], None] | None = None
        self._on_settle: list[Callable[[Verdict], None]] | None = None

    def on_sent(self, listener: Callable[[float], None]) -> None:
        """Call ``listener(now)`` when the request begins to be written (one listener: the breaker)."""
        self._on_sent = listener

    def on_headers(self, listener: Callable[[Verdict, float], None]) -> None:
        """Call ``listener(verdict, now)`` at the final headers (one listener: the breaker)."""
        self._on_headers = listener

    def on_settle(self, listener: Callable[[Verdict], None]) -> None:
        """Call ``listener(verdict)`` once, at the end."""
        if self._on_settle is None:
            self._on_settle = [listener]
        else:
            self._on_settle.append(listener)

    def sent(self, now: float) -> None:
        """The first byte of the request is about to be written."""
        self.sent_at = now
        self.written = self.exchange.written = True
        if self._on_sent is not None:
            self._on_sent(now)

    def answered(self, verdict: Verdict, now: float) -> None:
        """The final headers are here, and say ``verdict``."""
        if self._on_headers is not None:
            self._on_headers(verdict, now)

    def settle(self, verdict: Verdict) -> None:
        """The attempt is over; later calls change nothing."""
        if self.verdict is not None:
            return
        self.verdict = verdict
        listeners, self._on_settle = self._on_settle, None
        self._on_sent = self._on_headers = None  # they hold the attempt: leave the collector no cycles
        for listener in listeners or ():
            listener(verdict)

    def abort(self, error: CallError) -> None:
        """Make whatever the wire is waiting for raise ``error``."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_exception(error)

    def __repr__(self) -> str:
        return f"<Attempt {self.number} of {self.exchange!r} {self.verdict}>"


Proceed: TypeAlias = Callable[[Exchange], Awaitable[Response]]
Send: TypeAlias = Callable[[Attempt], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Chain:
    """What serves a route: its names, which are metric labels, and the beginning of its chain."""

    api: str
    route: str
    proceed: Proceed
    inner: Proceed  # without ``observe``, for calls on behalf of another exchange
    instant: bool = False  # many of its answers need no wait: they come from memory


class ExchangePolicy(Protocol):
    """A policy that runs once per request of the agent."""

    async def __call__(self, exchange: Exchange, proceed: Proceed, /) -> Response:
        """Answer ``exchange``, usually through ``proceed``."""


class AttemptPolicy(Protocol):
    """A policy that runs once per try at an upstream."""

    async def __call__(self, attempt: Attempt, send: Send, /) -> Response:
        """Answer ``attempt``, usually through ``send``."""
