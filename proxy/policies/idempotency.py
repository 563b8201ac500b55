"""Carries out once what must happen once: tells the same call by its key, and gives its outcome to whoever repeats it.

    a call ──> its key ──> under way here? ── yes ─────────────────────> wait for its landing
                                │ no
                                └──> reserve in the ledger ── OWNED ───> make it; finish; land
                                                           ── RUNNING ─> made elsewhere: ask again, until the deadline
                                                           ── DONE ────> replay its answer
                                                           ── UNKNOWN ─> refuse: nobody knows what became of it
                                                           ── MISMATCH > refuse: the key stands for another call

Linked by chain.py below fallback, outside everything that costs the vendor. Rules: core/idempotency.py; keys: keyed.py;
the calls under way and the store: ledger.py; making a call and taking down how it ends: owner.py. An agent that leaves
once a byte was sent changes nothing (see server.py): the call goes on to its end, for its twins and for the next try.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from proxy.core.credentials import partition
from proxy.core.idempotency import Concluded, Conclusion, Found, leaves_doubt
from proxy.core.methods import unsafe
from proxy.errors import AgentError, AnswerNotKept, InProgress, KeyReused, LedgerDown, OutcomeUnknown
from proxy.keyed import Keys
from proxy.ledger import RELEASED, Failed
from proxy.model import Effect, Headers, Response
from proxy.owner import Owner
from proxy.spool import shared
from proxy.stores.base import StoreError

if TYPE_CHECKING:
    from asyncio import Future

    from proxy.core.idempotency import Record, Reserved
    from proxy.keyed import Asked, Means
    from proxy.ledger import Call, Landing
    from proxy.model import Exchange, Proceed

_FIRST_PAUSE: Final = 0.02  # seconds between two questions whether a call made elsewhere has ended
_LONGEST_PAUSE: Final = 0.5
_AGAIN: Final = 1.0  # seconds after which it may make sense to ask again

_OWNED: Final = Found.OWNED

_NO_ANSWER: Final = "It answered {status}; the answer itself was too large to be kept, or made room for others."
_SETTLED: Final = "A person has confirmed that it was carried out."


class Idempotency:
    """See the module."""

    __slots__ = ("_clock", "_count", "_doubtful", "_keys", "_ledger", "_means", "_shadowed")

    def __init__(self, means: Means) -> None:
        self._means = means
        self._clock = means.clock
        self._ledger = means.ledger
        self._count = means.count
        self._keys = Keys(means)
        self._doubtful = partial(leaves_doubt, means.settings.store_errors)
        self._shadowed = means.settings.mode == "shadow"

    async def __call__(self, exchange: Exchange, proceed: Proceed, /) -> Response:
        """Make the call, or give what is known of it.

        Raises KeyMissing, KeyMalformed, KeyReused, InProgress, OutcomeUnknown, AnswerNotKept, BodyTooLarge, LedgerDown,
        and what ``proceed`` raises.
        """
        request = exchange.request
        if request.upgrade or not unsafe(request.method):
            return await proceed(exchange)
        if self._shadowed:
            return await self._watch(exchange, proceed)
        asked = self._keys.ask_at_once(exchange) if request.stream is None else await self._keys.ask(exchange)
        if asked is None:
            return await proceed(exchange)
        while True:
            call = self._ledger.find(asked.ident)
            if call is None:
                call = self._ledger.open(self._keys.claim(exchange, asked))
                owner = self._begin_at_once(exchange, asked, call) or await self._begin(exchange, asked, call)
                return owner if isinstance(owner, Response) else await owner.make(proceed)
            landing = await self._follow(exchange, asked, call)
            response = self._landed(exchange, asked, landing)
            if response is not None:
                return response

    # --- reserving ----------------------------------------------------------------------------------------

    def _begin_at_once(self, exchange: Exchange, asked: Asked, call: Call) -> Owner | None:
        """What ``_begin`` does for most calls, where that needs no wait; None otherwise."""
        try:
            reserved = self._ledger.reserve_at_once(call)
        except StoreError as error:
            return self._unreserved(exchange, asked, call, error)
        if reserved is None or reserved.found is not _OWNED or reserved.record.number > 1:
            return None
        self._count["first"].value += 1
        return self._owner(exchange, asked, call, reserved.record.nonce)

    async def _begin(self, exchange: Exchange, asked: Asked, call: Call) -> Owner | Response:
        """The first of its kind here asks the store, for all of them: whoever is to make the call, or its answer."""
        try:
            reserved = await self._ledger.reserve(call)
            if reserved.found is Found.RUNNING:
                reserved = await self._poll(exchange, asked, call)
        except StoreError as error:
            return self._unreserved(exchange, asked, call, error)
        except BaseException:
            self._ledger.close(call, RELEASED)  # it only gave up: another one asks
            raise
        record = reserved.record
        if reserved.found is not _OWNED:
            return await self._known(exchange, asked, call, reserved.found, record)
        if record.number == 1:
            self._count["first"].value += 1
        elif self._ledger.store.now() - record.created < self._means.upstream.remembered:
            self._count["resent"].value += 1
            exchange.lost = True  # earlier: whatever becomes of it this time, it may have been carried out then
        else:
            raise self._forgotten(exchange, call, record)
        return self._owner(exchange, asked, call, record.nonce)

    def _forgotten(self, exchange: Exchange, call: Call, record: Record) -> OutcomeUnknown:
        """The upstream promises to know the key no longer: sent again, the call might be carried out twice."""
        conclusion = Conclusion(Concluded.UNKNOWN, record.fingerprint, record.status)
        call.land(conclusion)
        self._ledger.finish(call, conclusion)
        return self._doubt(exchange, conclusion, repeatable=False)

    async def _poll(self, exchange: Exchange, asked: Asked, call: Call) -> Reserved:
        """It is made elsewhere: ask again until it has ended. Raises InProgress.

        A store that is away now has said so: the call is not made here as well, whatever ``on_store_error``.
        """
        began = self._clock.now()
        await asked.spend(exchange, self._clock)
        pause = _FIRST_PAUSE
        try:
            while self._clock.now() + pause < exchange.deadline:
                await self._clock.sleep(pause * (0.5 + self._clock.chance() / 2))
                pause = min(pause * 1.5, _LONGEST_PAUSE)
                try:
                    reserved = await self._ledger.reserve(call)
                except StoreError:
                    self._means.count_error()
                    continue
                if reserved.found is Found.OWNED and asked.spent:
                    self._ledger.finish(call, Conclusion(Concluded.RELEASED))
                    break
                if reserved.found is not Found.RUNNING:
                    return reserved
        finally:
            exchange.waited += self._clock.now() - began
        raise self._in_progress()

    async def _known(self, exchange: Exchange, asked: Asked, call: Call, found: Found, record: Record) -> Response:
        """The store knows how it ended, or that it was another call."""
        if found is Found.MISMATCH:
            reused = self._reused()
            self._ledger.close(call, Failed(reused.again(), None, ""))
            raise reused
        if found is Found.DONE:
            conclusion = Conclusion(Concluded.DONE, record.fingerprint, record.status, record.answer)
        else:
            conclusion = Conclusion(Concluded.UNKNOWN, record.fingerprint, record.status)
        self._ledger.close(call, conclusion)
        await asked.spend(exchange, self._clock)
        return self._outcome(exchange, asked, conclusion, "replayed")

    def _unreserved(self, exchange: Exchange, asked: Asked, call: Call, error: StoreError) -> Owner:
        """The store does not answer: refuse, unless the operator would rather risk a duplicate."""
        self._means.count_error()
        if self._means.settings.on_store_error == "open":
            self._count["unprotected"].value += 1
            self._ledger.own(call)
            return self._owner(exchange, asked, call, call.claim.nonce)
        self._count["refused"].value += 1
        refusal = LedgerDown(f"{error}. Nothing was sent.", retry_after=_AGAIN)
        self._ledger.close(call, Failed(refusal.again(), None, ""))
        raise refusal

    # --- making it ----------------------------------------------------------------------------------------

    def _owner(self, exchange: Exchange, asked: Asked, call: Call, nonce: str) -> Owner:
        """Whoever is to make a call that is this process's own, with its key under the upstream's name for it."""
        headers, honoured = self._means.upstream.send(exchange.request, asked.upstream_key(nonce))
        exchange.effect = effect = Effect(honoured=honoured, repeatable=call.claim.resend, doubtful=self._doubtful)
        return Owner(self._means, exchange, effect, asked, call, headers=headers)

    # --- repeating ----------------------------------------------------------------------------------------

    async def _follow(self, exchange: Exchange, asked: Asked, call: Call) -> Landing:
        """Wait for a call that is under way here. Raises KeyReused, InProgress."""
        if asked.fingerprint and call.claim.fingerprint and asked.fingerprint != call.claim.fingerprint:
            raise self._reused()
        await asked.spend(exchange, self._clock)
        began = self._clock.now()
        future: Future[Landing] = self._clock.loop.create_future()
        timer = self._clock.at(exchange.deadline, partial(self._expire, future))
        call.follow(future)
        try:
            return await future
        finally:
            timer.cancel()
            call.leave(future)
            exchange.waited += self._clock.now() - began

    def _expire(self, future: Future[Landing]) -> None:
        if not future.done():
            future.set_exception(self._in_progress())

    def _landed(self, exchange: Exchange, asked: Asked, landing: Landing) -> Response | None:
        """What the call of another one means for this one; None: it has to see for itself."""
        if isinstance(landing, Conclusion):
            return self._outcome(exchange, asked, landing, "joined")
        if isinstance(landing, Failed) and _concerns(landing, exchange):
            return self._fail(exchange, landing)
        if asked.spent:
            raise self._in_progress()  # it could not be sent any more
        return None

    def _fail(self, exchange: Exchange, failed: Failed) -> Response:
        """The failure of the call of another one, which was not carried out. Raises its error."""
        error, response = failed.error, failed.response
        self._count["refused" if isinstance(error, LedgerDown) else "joined"].value += 1
        exchange.written = True  # by the other call: nobody may take this one to another api on top of that
        if response is None:
            assert error is not None  # noqa: S101 - a failure is one or the other
            raise error.again()
        exchange.outcome = "coalesced"
        copy = Response(response.status, response.headers.copy(), response.reason, response.body)
        copy.headers.add(b"Backstay-Outcome", b"coalesced")
        return shared(copy, self._means.idle, self._clock)

    def _outcome(self, exchange: Exchange, asked: Asked, conclusion: Conclusion, result: str) -> Response:
        """The outcome of the same call, made before. Raises KeyReused, OutcomeUnknown, AnswerNotKept."""
        fingerprint = asked.compare()
        if fingerprint and conclusion.fingerprint and fingerprint != conclusion.fingerprint:
            raise self._reused()
        if conclusion.what is Concluded.UNKNOWN:
            repeatable = self._means.resends(exchange.request, asked)
            raise self._doubt(exchange, conclusion, repeatable=repeatable)
        answer = conclusion.answer
        if answer is None:
            self._count["not_kept"].value += 1
            raise AnswerNotKept(_NO_ANSWER.format(status=conclusion.status) if conclusion.status else _SETTLED)
        self._count[result].value += 1
        exchange.outcome = "replayed"
        headers = Headers.of(*answer.headers)
        headers.add(b"Idempotent-Replayed", b"true")
        headers.add(b"Backstay-Outcome", b"replayed")
        return shared(Response(answer.status, headers, answer.reason, answer.body), self._means.idle, self._clock)

    def _doubt(self, exchange: Exchange, conclusion: Conclusion, *, repeatable: bool) -> OutcomeUnknown:
        self._count["unknown"].value += 1
        exchange.effect = effect = Effect(honoured=False, repeatable=repeatable)
        effect.unknown = True
        return OutcomeUnknown(_unknown(conclusion.status), retry_after=_AGAIN if repeatable else None)

    def _reused(self) -> KeyReused:
        self._count["mismatch"].value += 1
        return KeyReused("The key was used before, with another request. A new call needs a new key.")

    def _in_progress(self) -> InProgress:
        self._count["in_progress"].value += 1
        return InProgress("The first call with this key has not ended yet.", retry_after=_AGAIN)

    # --- mode: shadow -------------------------------------------------------------------------------------

    async def _watch(self, exchange: Exchange, proceed: Proceed) -> Response:
        """Take down what happens, and say what would have been done; every call passes as it is."""
        try:
            asked = await self._keys.ask(exchange)
        except AgentError:
            self._means.shadow("refuse")
            return await proceed(exchange)
        if asked is None:
            return await proceed(exchange)
        if self._ledger.find(asked.ident) is not None:
            self._means.shadow("join")
            return await proceed(exchange)
        call = self._ledger.open(self._keys.claim(exchange, asked))
        try:
            reserved = await self._ledger.reserve(call)
        except StoreError:
            self._means.count_error()
            self._means.shadow("refuse")
            self._ledger.close(call, RELEASED)
            return await proceed(exchange)
        except BaseException:
            self._ledger.close(call, RELEASED)
            raise
        if reserved.found is not _OWNED:
            self._means.shadow(_SHADOWED[reserved.found])
            self._ledger.close(call, RELEASED)
            return await proceed(exchange)
        effect = Effect(honoured=False, repeatable=True)  # nobody else learns of it
        return await Owner(self._means, exchange, effect, asked, call).make(proceed)


_SHADOWED: Final = {
    Found.RUNNING: "wait",
    Found.DONE: "replay",
    Found.UNKNOWN: "refuse",
    Found.MISMATCH: "refuse",
}


def _concerns(failed: Failed, exchange: Exchange) -> bool:
    """An error is everybody's; an answer is of those with the same credentials."""
    return failed.response is None or failed.whose == partition(exchange.request.headers)


def _unknown(status: int) -> str:
    said = f"It answered {status}" if status else "The API gave no answer"
    return f"The first call with this key was sent. {said}, and it is not known whether it was carried out."
