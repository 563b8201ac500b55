"""What a call that must happen once is called: its key, the agent's own or derived. Used by policies/idempotency.py.

Rules: core/idempotency_key.py and core/fingerprint.py. A body is held for it up to ``max_body``; of a larger one with a
key of the agent's the fingerprint is made as it passes, and compared at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.core import idempotency_key
from proxy.core.fingerprint import Fingerprint
from proxy.core.idempotency import Claim, Subject
from proxy.errors import BodyTooLarge, KeyMalformed, KeyMissing, RequestTimeout
from proxy.gather import Gathered, exhaust, gather

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.clock import Clock
    from proxy.core.fingerprint import Digest
    from proxy.core.idempotency import IdempotencySettings
    from proxy.core.upstream_key import UpstreamKey
    from proxy.ledger import Ledger
    from proxy.model import Exchange, Request, Upload
    from proxy.telemetry.metrics import Counter


class Means:
    """What the policy of one route works with."""

    __slots__ = ("clock", "count", "count_error", "idle", "ledger", "scope", "settings", "shadow", "upstream")

    def __init__(
        self,
        clock: Clock,
        settings: IdempotencySettings,
        ledger: Ledger,
        upstream: UpstreamKey,
        *,
        scope: Callable[[Exchange], str],
        idle: float | None,
        count: Mapping[str, Counter],
        count_error: Callable[[], None],
        shadow: Callable[[str], None],
    ) -> None:
        self.clock = clock
        self.settings = settings
        self.ledger = ledger
        self.upstream = upstream
        self.scope = scope  # whose keys are told apart from whose
        self.idle = idle  # seconds that a reader may take nothing
        self.count = count  # by result
        self.count_error = count_error
        self.shadow = shadow

    def resends(self, request: Request, asked: Asked) -> bool:
        """Whether a call whose outcome is not known may be made again: the upstream gets this key, and honours it."""
        if self.settings.on_unknown != "resend":
            return False
        _, honoured = self.upstream.send(request, asked.upstream_key(""))  # a key as long as the one to be sent
        return honoured


class Asked:
    """A call with its key, and what is known of it before it is made."""

    __slots__ = ("_body", "_digest", "derived", "fingerprint", "ident", "key", "spent")

    def __init__(self, ident: str, key: bytes, fingerprint: str, *, derived: bool) -> None:
        self.ident = ident
        self.key = key  # the agent's; empty if it is derived
        self.fingerprint = fingerprint  # empty while the body is too large to be held
        self.derived = derived
        self._body: Upload | None = None  # one that is too large to be held
        self._digest: Digest | None = None  # what becomes the fingerprint as it passes
        self.spent = False  # its body was read to be compared: it cannot be sent any more

    def watch(self, body: Upload, digest: Digest) -> None:
        """Make the fingerprint while ``body`` passes."""
        self._body, self._digest = body, digest
        body.tap(digest.feed)

    def compare(self) -> str:
        """The fingerprint; empty while not all of the body has passed."""
        if self._body is not None and self._digest is not None and self._body.complete:
            self.fingerprint, self._body = self._digest.end(), None
        return self.fingerprint

    async def spend(self, exchange: Exchange, clock: Clock) -> None:
        """Read a body that is too large to be held, so that it can be compared: it will not be sent.

        Raises RequestTimeout: it does not come as a whole, so that it cannot be compared.
        """
        if self.fingerprint or self.spent:
            return
        self.spent = True
        if await exhaust(exchange, clock) is Gathered.BROKEN:
            raise RequestTimeout("The body of the request did not come as a whole.")

    def upstream_key(self, nonce: str) -> bytes:
        """The key as the upstream gets it; ``nonce`` is the record's."""
        return idempotency_key.upstream_key(self.ident, nonce) if self.derived else self.key

    def __repr__(self) -> str:
        return f"<Asked {self.ident[:8]} {'derived' if self.derived else 'given'}>"


class Keys:
    """Gives the calls of one route their keys."""

    __slots__ = ("_clock", "_count", "_derived", "_given", "_means", "_names", "_scope", "_settings", "_space")

    def __init__(self, means: Means) -> None:
        settings = means.settings
        self._means = means
        self._clock = means.clock
        self._settings = settings
        self._scope = means.scope
        self._count = means.count
        self._space = b""  # of keys that have no scope but the api
        self._names = means.upstream.names(settings)
        self._given = Fingerprint(settings.fingerprint)
        self._derived = None if settings.derive is None else Fingerprint(settings.derive.parts)

    def ask_at_once(self, exchange: Exchange) -> Asked | None:
        """What ``ask`` gives, for a call whose body is here already, as most are."""
        key, scope = self._look(exchange)
        whole = len(exchange.request.body) <= self._settings.max_body
        return self._asked(exchange, key, scope, Gathered.WHOLE if whole else Gathered.LARGER)

    async def ask(self, exchange: Exchange) -> Asked | None:
        """The call with its key; None if it has none and needs none, or cannot be made as a whole.

        Raises KeyMissing, KeyMalformed, BodyTooLarge.
        """
        key, scope = self._look(exchange)
        gathered = Gathered.WHOLE
        if key is not None or scope is not None:
            prints = self._derived if key is None and self._derived is not None else self._given
            if prints.needs_body:
                gathered = await gather(exchange, self._settings.max_body, self._clock)
        return self._asked(exchange, key, scope, gathered)

    def _look(self, exchange: Exchange) -> tuple[bytes | None, bytes | None]:
        """The agent's key, or the scope in which one is to be derived, or neither. Raises KeyMissing, KeyMalformed."""
        headers = exchange.request.headers
        try:
            key = idempotency_key.given(headers, self._names)
        except KeyMalformed:
            self._count["key_malformed"].value += 1
            raise
        if key is not None:
            return key, None
        derive = self._settings.derive
        scope = None if derive is None else idempotency_key.scope_of(derive.scope, headers)
        if scope is None:
            self._without_key("no_key" if derive is None else "no_scope")
        return None, scope

    def _asked(self, exchange: Exchange, key: bytes | None, scope: bytes | None, gathered: Gathered) -> Asked | None:
        if gathered is Gathered.BROKEN:
            return None  # whoever sends it on learns why: the upstream gets no complete request
        if key is not None:
            return self._with_key(exchange, key, gathered)
        if scope is not None and self._derived is not None:
            return self._with_derived(exchange, self._derived, scope, gathered)
        return None

    def claim(self, exchange: Exchange, asked: Asked) -> Claim:
        """What to reserve for it."""
        settings, request = self._settings, exchange.request
        token = self._means.ledger.token()
        return Claim(
            asked.ident,
            token,
            asked.fingerprint,
            settings.lease,
            settings.retain,
            settings.derive.window if asked.derived and settings.derive is not None else 0.0,
            token,  # a nonce too: there is no other like it
            self._means.resends(request, asked),
            Subject(
                exchange.api,
                exchange.route,
                request.method.decode("latin-1"),
                request.target.decode("latin-1"),
                asked.key.decode("latin-1"),
            ),
        )

    def _without_key(self, result: str) -> None:
        if self._settings.require:
            self._count["key_missing"].value += 1
            name = self._settings.header.decode()
            raise KeyMissing(f"The header field {name} with a key of its own for each new call is missing.")
        self._count[result].value += 1

    def _with_key(self, exchange: Exchange, key: bytes, gathered: Gathered) -> Asked:
        request = exchange.request
        ident = idempotency_key.named(self._space_of(exchange), key)
        if gathered is Gathered.WHOLE or request.stream is None:  # a large one may have come with the head
            return Asked(ident, key, self._given.of(request), derived=False)
        asked = Asked(ident, key, "", derived=False)
        asked.watch(request.stream, self._given.begin(request))
        return asked

    def _space_of(self, exchange: Exchange) -> bytes:
        scope = self._scope(exchange)
        if scope:
            return idempotency_key.space(exchange.api, scope, derived=False)
        if not self._space:
            self._space = idempotency_key.space(exchange.api, "", derived=False)
        return self._space

    def _with_derived(self, exchange: Exchange, prints: Fingerprint, scope: bytes, gathered: Gathered) -> Asked:
        if gathered is Gathered.LARGER and prints.needs_body:
            self._count["oversized"].value += 1
            limit = self._settings.max_body
            raise BodyTooLarge(f"A key is derived from this call, for which its body may have {limit} bytes.")
        fingerprint = prints.of(exchange.request)
        key = b"%b\n%b" % (fingerprint.encode(), scope)
        ident = idempotency_key.ident(exchange.api, self._scope(exchange), key, derived=True)
        return Asked(ident, b"", fingerprint, derived=True)
