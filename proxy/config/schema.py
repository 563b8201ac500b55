"""Every key of the configuration: its kind, its default, and one sentence.

Called by ``load.py`` (validation), ``jsonschema.py`` and ``reference.py`` (what editors and people read).
The defaults are written as a person would write them. Keys of the process are in ``process.py``, keys that a later
version will have in ``reserved.py``; rules that span several keys are in ``checks.py``.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias
from urllib.parse import SplitResult

from pydantic import Field, model_serializer

from proxy.config import kinds
from proxy.config.keys import Model, demanded, needed, part, setting
from proxy.config.kinds import Switch
from proxy.config.process import Drain, Egress, Limits, Listen, Log, Stores, TlsIntercept
from proxy.config.settings import UpstreamProxy
from proxy.config.units import Rate
from proxy.config.upstreams import Connections, Credential, Tls

# --- policies -------------------------------------------------------------------------------------------


_MONTH: Final = 30 * 86400
_WITHIN_A_MONTH: Final = "write 720h (30 days) or less"


class Timeout(Model):
    """Limits of time. Always on; single limits can be switched off."""

    total: Annotated[float, kinds.PAUSE] = setting(
        "5m", "The whole call with all attempts and waits, up to the headers."
    )
    connect: Annotated[float, kinds.PAUSE] = setting("2s", "Name, TCP and TLS together, per attempt.")
    first_byte: Annotated[float | None, kinds.PAUSE.off()] = setting(
        "60s", "To the headers of the answer, per attempt."
    )
    idle: Annotated[float | None, kinds.PAUSE.off()] = setting("5m", "Between two chunks of a body.")
    stream: Annotated[float | None, kinds.PAUSE.off()] = setting(
        "off", "A whole body; off, since model streams are long."
    )


_WINDOW = kinds.DURATION.above(1, "write 1s or more", also_equal=True).below(600, "write 10m or less")


class Breaker(Model):
    """Stops calling an upstream that fails, and tries it again with a few calls."""

    window: Annotated[float, _WINDOW] = setting("30s", "The time over which calls are counted: 1s to 10m.")
    min_calls: Annotated[int, kinds.COUNT] = setting(10, "Calls in the window before a ratio means anything.")
    error_ratio: Annotated[float | None, kinds.SHARE.off()] = setting(0.5, "Share of failed calls that opens.")
    consecutive: Annotated[int | None, kinds.COUNT.off()] = setting(5, "Failures in a row that open.")
    slow_call: Annotated[float | None, kinds.PAUSE.off()] = setting(
        "off", "Time to the headers above which a call is slow, while it is in flight already."
    )
    slow_ratio: Annotated[float, kinds.SHARE] = setting(0.8, "Share of slow calls that opens, if `slow_call` is set.")
    open: Annotated[float, kinds.PAUSE] = setting(
        "10s", "The first pause; it doubles each time the circuit opens again."
    )
    max_open: Annotated[float, kinds.PAUSE] = setting("60s", "The longest pause.")
    probes: Annotated[int, kinds.COUNT] = setting(3, "Calls that may try the upstream after a pause.")
    ramp: Annotated[float, kinds.DURATION.off(0.0)] = setting(
        "10s", "Time over which calls grow from few to all again."
    )
    scope: Annotated[str, kinds.words("api", "route", "host")] = setting("api", "What shares one circuit.")
    mode: Annotated[str, kinds.MODE] = setting("enforce", "`shadow` decides and counts, and lets the call pass.")


class Backoff(Model):
    """How long to wait between attempts: a random time up to a ceiling that doubles."""

    base: Annotated[float, kinds.PAUSE] = setting("50ms", "The ceiling of the first wait.")
    max: Annotated[float, kinds.PAUSE] = setting(
        "2s", "The ceiling of every wait; a longer Retry-After ends the retry."
    )


class Retry(Model):
    """Tries again what is safe to re-send."""

    attempts: Annotated[int, kinds.COUNT.below(20, "write 20 or less")] = setting(
        3, "Tries in all, the first included."
    )
    backoff: Backoff = part(Backoff, "The waits between attempts.")
    budget: Annotated[float | None, kinds.RATIO.off()] = setting("20%", "Retries per call of the api over ten seconds.")
    when: Annotated[list[Annotated[str, kinds.TROUBLE]], Field(min_length=1)] = setting(
        ["connect", "reset", "timeout", 502, 503, 504], "What is tried again."
    )
    replay_body: Annotated[int, kinds.SIZE.off(0)] = setting(
        "64KiB", "Bytes of a request body kept for another attempt."
    )
    safe: Annotated[bool, kinds.BOOLEAN] = setting(
        default=False, sentence="You declare that re-sending is safe, whatever the method."
    )
    mode: Annotated[str, kinds.MODE] = setting("enforce", "`shadow` decides and counts, and lets the answer pass.")


class RateLimit(Model):
    """Keeps calls within a quota."""

    rate: Annotated[Rate | None, kinds.RATE] = demanded("Calls per time.")
    burst: Annotated[int, kinds.COUNT] = setting(50, "Calls that may come at once after a pause.")
    wait: Annotated[float, kinds.DURATION.off(0.0)] = setting(
        "0s", "How long a call may be delayed rather than refused."
    )
    key: Annotated[str, kinds.LIMIT_KEY] = setting("api", "What has a quota of its own.")
    store: Annotated[str, kinds.words("memory")] = setting("memory", "Where the quota is counted.")
    fallback: Annotated[bool, kinds.BOOLEAN] = setting(
        default=False,
        sentence="Whether `fallback` or a stale answer may stand in for a refusal of this limit.",
    )
    mode: Annotated[str, kinds.MODE] = setting("enforce", "`shadow` decides and counts, and lets the call pass.")


class Cache(Model):
    """Keeps answers and gives them again: fresh ones instead of a call, stale ones when the upstream fails."""

    mode: Annotated[str, kinds.words("rfc9111", "ttl")] = setting(
        "rfc9111", "`rfc9111` follows the upstream's own fields; `ttl` keeps what it answers for a time of yours."
    )
    scope: Annotated[str, kinds.words("credential", "shared")] = setting(
        "credential", "Who shares an answer: calls with the same credentials, or all, by the rules of a shared cache."
    )
    ttl: Annotated[float | None, kinds.PAUSE.off()] = setting(
        "off", "How long an answer is fresh; demanded by `mode: ttl`, and only there."
    )
    key_body: Annotated[bool, kinds.BOOLEAN] = setting(
        default=False, sentence="POST and QUERY are reads here, and the same body is the same question."
    )
    vary: list[Annotated[str, kinds.FIELD]] = setting(
        [], "Request fields on which answers depend although the upstream's Vary does not say so."
    )
    stale_if_error: Annotated[float | None, kinds.PAUSE.off()] = setting(
        "1h", "How long past its freshness an answer stands in for an error, unasked; off: only as it says itself."
    )
    stale_while_revalidate: Annotated[float | None, kinds.PAUSE.off()] = setting(
        "30s",
        "How long past its freshness an answer is given while another is fetched; in `mode: rfc9111` only where it "
        "says so itself, and no longer than this.",
    )
    stale_wait: Annotated[float, kinds.PAUSE] = setting(
        "2s", "How long the upstream may take when a stale answer is at hand."
    )
    max_object: Annotated[int, kinds.SIZE.above(0, "write 1KiB or more, or cache: off")] = setting(
        "1MiB", "The largest body that is kept."
    )
    store: Annotated[str, kinds.words("memory", "shared")] = setting(
        "memory", "Where answers are kept: here, or in `stores.shared`, together with other pods."
    )


_Errors: TypeAlias = list[Annotated[tuple[int, int], kinds.ERRORS]]
_Parts: TypeAlias = Annotated[list[Annotated[str, kinds.PART]], Field(min_length=1)]
_PARTS: Final = ["method", "path", "query", "body"]
_RETAIN = kinds.DURATION.above(60, "write 1m or more", also_equal=True).below(_MONTH, _WITHIN_A_MONTH)
_LEASE = kinds.DURATION.above(1, "write 1s or more", also_equal=True).below(3600, "write 1h or less")
_INTENT = kinds.DURATION.above(1, "write 1s or more", also_equal=True).below(_MONTH, _WITHIN_A_MONTH)


class Derive(Model):
    """Makes a key for a call that has none: of equal calls within `scope` and `window`, one is carried out.

    Two equal calls can both be meant, two invitations or two cups of coffee. Where one intent ends and the next begins
    only you know: `scope` and `window` have no defaults.
    """

    from_: _Parts = setting(_PARTS, "In what calls have to be equal.", key="from")
    scope: Annotated[str | None, kinds.DERIVE_SCOPE] = demanded(
        "Within what equal calls are the same: the trace-id of `traceparent`, or the value of a field; a call without "
        "it gets no key."
    )
    window: Annotated[float | None, _INTENT] = demanded(
        "For how long, from the first of them: 1s to 720h. After that, the same call is another one."
    )


class StoreErrors(Model):
    """Statuses from 400 on that mean something else at this vendor, each in one list at most.

    By themselves, 401, 403, 407, 408, 409, 421, 425, 429 and 503 say that the call was not carried out; other statuses
    from 500 on leave that unknown; the rest are answers, and kept.
    """

    done: _Errors = setting([], "It was carried out, or will never be: this is its answer.")
    released: _Errors = setting([], "It was not carried out, and may be made again.")
    unknown: _Errors = setting([], "Nobody knows whether it was carried out.")


class Idempotency(Model):
    """Carries a call out once: repetitions with its key get the answer of the first. Safe methods pass."""

    header: Annotated[str, kinds.KEY_FIELD] = setting(
        "Idempotency-Key", "The field with the agent's key; the vendor's own name for it will do, too."
    )
    require: Annotated[bool, kinds.BOOLEAN] = setting(default=False, sentence="A call without a key is refused (400).")
    scope: Annotated[str, kinds.KEY_SCOPE] = setting(
        "api",
        "Within what a key is the same key: all calls of the api, those with the same credentials, or with the same "
        "value of a field. Has to be given with `store: shared`.",
    )
    derive: Annotated[Derive | None, Switch()] = setting("off", "Makes keys for calls that have none.")
    fingerprint: _Parts = setting(_PARTS, "In what calls with one key have to be equal; else 422.")
    upstream: Annotated[str, kinds.words("auto", "honours", "ignores")] = setting(
        "auto",
        "Whether the vendor carries out a key once, so that a lost call may be sent again: `auto` knows some by host.",
    )
    upstream_header: Annotated[str | None, kinds.KEY_SENT_AS.off()] = setting(
        "auto", "The field in which the vendor gets the key; `auto`: its own name for it; `off`: it is not sent."
    )
    retain: Annotated[float, _RETAIN] = setting(
        "24h", "How long a record is kept, unless its key is derived: 1m to 720h."
    )
    lease: Annotated[float, _LEASE] = setting(
        "60s", "How long a call belongs to a process that is not heard of any more; then it is unknown: 1s to 1h."
    )
    max_body: Annotated[int, kinds.SIZE.above(1024, "write 1KiB or more", also_equal=True)] = setting(
        "1MiB",
        "The largest request that is compared before it is sent (a larger one gets no derived key: 413), and the "
        "largest answer that is kept.",
    )
    store_errors: StoreErrors = part(StoreErrors, "Statuses that mean something else at this vendor.")
    on_unknown: Annotated[str, kinds.words("refuse", "resend")] = setting(
        "refuse",
        "What a repetition gets when nobody knows what became of the first: 409, or another try with the same key, "
        "where the vendor honours keys.",
    )
    on_store_error: Annotated[str, kinds.words("open", "closed")] = setting(
        "closed", "When the store is away: `closed` refuses (503), `open` lets calls pass unprotected."
    )
    store: Annotated[str, kinds.words("memory", "ledger", "shared")] = setting(
        "memory",
        "Where records are kept: in memory, and lost with this process; in `stores.ledger`; or in `stores.shared`, "
        "together with other pods.",
    )
    mode: Annotated[str, kinds.MODE] = setting("enforce", "`shadow` decides and counts, and lets the call pass.")


class Step(Model):
    """A step is `stale` by itself, or a mapping: with `api`, or with `status` and what else the answer has.

    `stale` is the answer that the cache still has, however old. In the body and the headers of an answer, `${api}`,
    `${reason}` and `${retry_after}` stand for the name of the api, a word for what went wrong, and the seconds after
    which to try again.
    """

    api: Annotated[str, kinds.TEXT] | None = setting(
        None, "Another api to send the call to, if that is safe; it has its own policies, and what time is left."
    )
    status: Annotated[int, kinds.ANSWER] | None = setting(None, "The status of an answer of yours: 200 to 599.")
    headers: dict[str, Annotated[str, kinds.FIELD_VALUE]] = setting(
        {}, "Its fields. Without a Content-Type, a body is JSON if it begins like it, or else plain text."
    )
    body: Annotated[str, kinds.BODY] = setting("", "Its body.")

    def fields(self) -> dict[str, str]:
        """The headers, with the Content-Type that a body has by default."""
        if not self.body or any(name.lower() == "content-type" for name in self.headers):
            return self.headers
        is_json = self.body.lstrip().startswith(("{", "["))
        return {**self.headers, "content-type": "application/json" if is_json else "text/plain; charset=utf-8"}

    @model_serializer
    def _written(self) -> dict[str, Any]:
        """As it takes effect."""
        if self.api is not None:
            return {"api": self.api}
        return {"status": self.status, "headers": self.fields(), "body": self.body}


_STEP = kinds.Either("stale", Step, "a step", "write stale, {api: NAME}, or {status: 200, body: '...'}")
_Steps: TypeAlias = Annotated[list[Annotated[Step | str, _STEP]], Field(min_length=1)]


class Classify(Model):
    """Which answers count as failures of the upstream."""

    failure: list[Annotated[tuple[int, int], kinds.STATUSES]] = setting(["500-599"], "Answers that prove it ill.")
    ignore: list[Annotated[tuple[int, int], kinds.STATUSES]] = setting([], "Answers that prove nothing.")


class Policies(Model):
    """The policies of an api or a route. `timeout` and `breaker` are on unless switched off."""

    timeout: Timeout = part(Timeout, "Limits of time.")
    breaker: Annotated[Breaker | None, Switch()] = part(Breaker, "Stops calling an upstream that fails.")
    retry: Annotated[Retry | None, Switch()] = setting("off", "Tries again what is safe to re-send.")
    rate_limit: Annotated[RateLimit | None, Switch()] = setting("off", "Keeps calls within a quota.")
    cache: Annotated[Cache | None, Switch()] = setting("off", "Keeps answers and gives them again.")
    idempotency: Annotated[Idempotency | None, Switch()] = setting("off", "Carries a call out once.")
    fallback: Annotated[_Steps | None, Switch("a list", "write [stale]")] = setting(
        "off", "What stands in for a failed call: steps, tried in this order."
    )
    classify: Classify = part(Classify, "Which answers count as failures.")


# --- apis -------------------------------------------------------------------------------------------------


class Match(Model):
    """The calls that a route is for. At least one of the two is needed."""

    methods: Annotated[list[Annotated[str, kinds.METHOD]], Field(min_length=1)] | None = setting(
        None, "Methods; any, if absent."
    )
    paths: Annotated[list[Annotated[str, kinds.PATH_PATTERN]], Field(min_length=1)] | None = setting(
        None, "Paths within the api: `/v1/*` is all below, any other `*` stays within a segment; any, if absent."
    )


class Route(Policies):
    """Overrides for some calls of an api: the first match wins, its policies are laid over the api's own."""

    name: Annotated[str, kinds.NAME] = needed("A name for metrics and logs.")
    match: Match = needed("The calls it is for.")


class Api(Policies):
    """A third-party API, and what stands between the agent and it."""

    url: Annotated[SplitResult, kinds.URL] = needed("Where it is: scheme, host, port and path.")
    mount: Annotated[str, kinds.MOUNT] | None = setting(
        None, "The path under which the agent calls it at `listen.agent`."
    )
    hosts: list[Annotated[str, kinds.HOST]] = setting(
        [], "Further host names by which it is matched; its own matches by itself."
    )
    tls: Tls = part(Tls, "TLS to the upstream.")
    connections: Connections = part(Connections, "The pool of connections.")
    upstream_proxy: Annotated[UpstreamProxy | str, kinds.PROXY.off("off")] | None = setting(
        None, "Another proxy for this one, or `off` to go there directly; if absent, that of all."
    )
    credentials: dict[str, Credential] = setting(
        {},
        "What Backstay sets on its calls, so that the agent need not have it: by the name of a field, or `query:NAME`.",
    )
    routes: list[Route] = setting([], "Overrides for some calls.")


# --- the file ---------------------------------------------------------------------------------------------


class Document(Model):
    """A whole configuration."""

    version: Annotated[int | None, kinds.VERSION] = demanded("The version of this format.")
    listen: Listen = part(Listen, "Addresses.")
    admin_token: Annotated[str, kinds.TEXT] | None = setting(None, "Opens `listen.admin`; made at start, if absent.")
    stores: Stores = part(Stores, "Servers for what pods share.")
    limits: Limits = part(Limits, "Limits.")
    drain: Drain = part(Drain, "The end of the process.")
    log: Log = part(Log, "Logs.")
    upstream_proxy: Annotated[UpstreamProxy | None, kinds.PROXY.off()] = setting(
        "off",
        "A proxy on Backstay's own way out, `http://[user:password@]host:port`; for apis, too, unless they differ.",
    )
    egress: Egress = part(Egress, "What may be reached.")
    tls_intercept: Annotated[TlsIntercept | None, Switch()] = setting("off", "Interception of the agent's TLS to apis.")
    defaults: Policies = part(Policies, "Policies that every api starts from.")
    apis: dict[str, Api] = Field(default_factory=dict, description="The APIs that the agent calls, by name.")
