"""Makes a call that must happen once, and takes down how it ends. Used by policies/idempotency.py once it is reserved.

The agent gets the answer as it comes; its end is what counts for the record:

=======================================================  ==========================================================
how the call ended                                       what the record becomes (core/idempotency.py)
=======================================================  ==========================================================
an error, and nothing of any attempt is in the dark      RELEASED; those who wait get the same error
an error, and an attempt that was sent had no answer     UNKNOWN
an answer, though nothing was sent (a policy gave it)    RELEASED
a complete answer                                        what its status says
an answer that broke off                                 UNKNOWN, unless its status says that nothing was done
an answer over ``max_body`` that its reader gave up      what its status says, without its body
the agent left before anything was sent                  RELEASED; those who wait see for themselves
=======================================================  ==========================================================
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from proxy.core.credentials import partition
from proxy.core.idempotency import Answer, Concluded, Conclusion, concluded, packed
from proxy.core.retry import forbid_repeats
from proxy.errors import AgentError, CallError
from proxy.ledger import RELEASED, Failed
from proxy.model import Ending, Response
from proxy.spool import Spool

if TYPE_CHECKING:
    from proxy.keyed import Asked, Means
    from proxy.ledger import Call, Landing
    from proxy.model import Effect, Exchange, Headers, Proceed


_BROKEN_OFF: Final = (Ending.BROKEN, Ending.STALLED)  # by the upstream; one that is abandoned was by its reader
_DONE: Final = Concluded.DONE
_RELEASED: Final = Concluded.RELEASED
_UNKNOWN: Final = Concluded.UNKNOWN


class Owner:
    """Of one call. ``effect`` is what the other policies learn of it, ``headers`` what the upstream gets."""

    __slots__ = ("_asked", "_call", "_effect", "_exchange", "_headers", "_means", "_sent", "_what")

    def __init__(
        self,
        means: Means,
        exchange: Exchange,
        effect: Effect,
        asked: Asked,
        call: Call,
        *,
        headers: Headers | None = None,  # as the agent sent them
    ) -> None:
        self._means = means
        self._exchange = exchange
        self._headers = exchange.request.headers  # the agent's own: what is added for the upstream says nothing of it
        self._sent = self._headers if headers is None else headers
        self._effect = effect
        self._asked = asked
        self._call = call
        self._what: Concluded = _RELEASED  # what the status of its answer says

    async def make(self, proceed: Proceed) -> Response:
        """Make it. Raises what ``proceed`` raises."""
        exchange = self._exchange
        exchange.request.headers = self._sent
        try:
            response = await proceed(exchange)
        except CallError as error:
            self._failed(error, in_doubt=exchange.lost)
            raise
        except BaseException:
            self._failed(None, in_doubt=exchange.written)
            raise
        finally:
            exchange.request.headers = self._headers  # another api is not to get the key
        return self._answered(response)

    def _failed(self, error: CallError | None, *, in_doubt: bool) -> None:
        if in_doubt:
            self._effect.unknown = True
            self._conclude(Conclusion(_UNKNOWN, self._asked.compare()))
            return
        if error is None or isinstance(error, AgentError):
            self._call.land(RELEASED)
        else:
            self._call.land(Failed(error.again(), None, ""))  # without its traceback, which holds all of this
        self._means.ledger.finish(self._call, Conclusion(_RELEASED))

    def _answered(self, response: Response) -> Response:
        exchange, settings = self._exchange, self._means.settings
        if exchange.written:
            self._what = concluded(settings.store_errors, response.status, lost=exchange.lost)
        if self._what is _UNKNOWN:
            self._effect.unknown = True
            if not self._effect.repeatable:
                forbid_repeats(response.headers)
        if response.stream is None:
            self._ended(response, response.body)
            return response
        return self._spooled(response)

    def _spooled(self, response: Response) -> Response:
        """The answer for the agent, while its body is kept for others."""
        exchange, stream = self._exchange, response.stream
        assert stream is not None  # noqa: S101 - the caller has looked
        head = Response(response.status, response.headers.copy(), response.reason)
        spool = Spool(stream, self._means.settings.max_body, self._means.idle, self._means.clock)
        if exchange.effect is None:
            spool.on_reader_gone = spool.abandon  # mode: shadow; the agent's leaving ends it, as without a ledger
        else:
            spool.thorough = True
        led = Response(response.status, response.headers, response.reason, stream=spool.reader)
        spool.reader.on_end = led.end
        stream.attach(spool)
        response.on_end(partial(self._streamed, head, spool))  # last: all of it may have come before anybody looked
        return led

    def _streamed(self, head: Response, spool: Spool, ending: Ending) -> None:
        """The body of the answer is over."""
        if self._what is _DONE and ending in _BROKEN_OFF:
            self._what = _UNKNOWN
        self._ended(head, spool.body if spool.state == "complete" else None)

    def _ended(self, head: Response, body: bytes | None) -> None:
        """All of an answer is here, or will never be. ``body`` is None if it is not held."""
        what, fingerprint = self._what, self._asked.compare()
        if what is _RELEASED:
            self._call.land(self._failure(head, body))
            self._means.ledger.finish(self._call, Conclusion(what, fingerprint, head.status))
            return
        answer = None
        if what is _DONE and body is not None and len(body) <= self._means.settings.max_body:
            answer = Answer(head.status, head.reason, (), body)
            answer.fields = packed(head.headers)
        self._conclude(Conclusion(what, fingerprint, head.status, answer))

    def _conclude(self, conclusion: Conclusion) -> None:
        self._call.land(conclusion)
        self._means.ledger.finish(self._call, conclusion)

    def _failure(self, head: Response, body: bytes | None) -> Landing:
        """What those who wait get of an answer which says that nothing was carried out."""
        if body is None or not self._call.awaited:
            return RELEASED
        response = Response(head.status, head.headers.copy(), head.reason, body)
        return Failed(None, response, partition(self._headers))

    def __repr__(self) -> str:
        return f"<Owner of {self._call!r}>"
