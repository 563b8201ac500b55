"""Every key of the configuration: its kind, its default, and one sentence.

Called by ``load.py`` (validation), ``jsonschema.py`` and ``reference.py`` (what editors and people read).
The defaults are written as a person would write them. Keys that a later version will have are in
``reserved.py``; rules that span several keys are in ``checks.py``.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias
from urllib.parse import SplitResult

from pydantic import BaseModel, ConfigDict, Field, model_serializer

from proxy.config import kinds
from proxy.config.kinds import Switch
from proxy.config.units import Rate


class Model(BaseModel):
    """What all models share: unknown keys are errors, and defaults are read like anything else."""

    model_config = ConfigDict(extra="forbid", validate_default=True, frozen=True)


def setting(default: Any, sentence: str) -> Any:
    """A key with a default."""
    return Field(default, description=sentence, json_schema_extra={"default": default})


def needed(sentence: str, default: Any = ...) -> Any:
    """A key without a default; one with ``default=None`` is demanded by ``checks.py``, after merging."""
    return Field(default, description=sentence)


def part(model: type[Model], sentence: str) -> Any:
    """A mapping of keys that may be absent."""
    return Field(default_factory=model, description=sentence)


# --- policies -------------------------------------------------------------------------------------------


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

    rate: Annotated[Rate | None, kinds.RATE] = Field(None, validate_default=False, description="Calls per time.")
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


_Ranges: TypeAlias = list[Annotated[tuple[int, int], kinds.STATUSES]]


class Classify(Model):
    """Which answers count as failures of the upstream."""

    failure: _Ranges = setting(["500-599"], "Answers that prove it ill.")
    ignore: _Ranges = setting([], "Answers that prove nothing.")


class Policies(Model):
    """The policies of an api or a route. `timeout` and `breaker` are on unless switched off."""

    timeout: Timeout = part(Timeout, "Limits of time.")
    breaker: Annotated[Breaker | None, Switch()] = part(Breaker, "Stops calling an upstream that fails.")
    retry: Annotated[Retry | None, Switch()] = setting("off", "Tries again what is safe to re-send.")
    rate_limit: Annotated[RateLimit | None, Switch()] = setting("off", "Keeps calls within a quota.")
    cache: Annotated[Cache | None, Switch()] = setting("off", "Keeps answers and gives them again.")
    fallback: Annotated[_Steps | None, Switch("a list", "write [stale]")] = setting(
        "off", "What stands in for a failed call: steps, tried in this order."
    )
    classify: Classify = part(Classify, "Which answers count as failures.")


# --- apis -------------------------------------------------------------------------------------------------

_File: TypeAlias = Annotated[str, kinds.PATH] | None


class Tls(Model):
    """TLS to the upstream; its certificate is always verified."""

    ca_file: _File = setting(None, "Certificates to trust, in PEM, instead of the system's.")
    server_name: Annotated[str, kinds.HOST] | None = setting(
        None, "The name to ask for and to verify, if not the url's."
    )
    client_cert: _File = setting(None, "A client certificate, in PEM.")
    client_key: _File = setting(None, "Its private key, in PEM.")


class Connections(Model):
    """The pool of connections to the upstream."""

    max: Annotated[int, kinds.COUNT] = setting(100, "Connections at once; calls beyond wait for one.")
    idle: Annotated[float, kinds.PAUSE] = setting("60s", "How long an unused connection is kept.")


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
    upstream_proxy: Annotated[str, kinds.words(off=True)] = setting(
        "off", "A proxy on the way out. Only `off` in this version."
    )
    routes: list[Route] = setting([], "Overrides for some calls.")


# --- the process ------------------------------------------------------------------------------------------

_Address: TypeAlias = tuple[str, int]


class Listen(Model):
    """The addresses that Backstay listens at."""

    agent: Annotated[_Address, kinds.ADDRESS] = setting("127.0.0.1:7070", "The agent's traffic.")
    transparent: Annotated[str, kinds.words(off=True)] = setting(
        "off", "Redirected connections. Only `off` in this version."
    )
    metrics: Annotated[_Address | None, kinds.ADDRESS.off()] = setting(
        "0.0.0.0:9464", "/metrics, /healthz and /readyz; open."
    )
    admin: Annotated[_Address | None, kinds.ADDRESS.off()] = setting(
        "127.0.0.1:7072", "Status and control; needs a token."
    )


class Memory(Model):
    """Memory for what policies keep."""

    cache: Annotated[int, kinds.SIZE] = setting("64MiB", "For all cached answers; the least used go first.")
    idempotency: Annotated[int, kinds.SIZE] = setting(
        "32MiB", "For records of idempotent calls. Only the default in this version."
    )


class Stores(Model):
    """Servers that keep what several pods share."""

    shared: Annotated[str | None, kinds.REDIS.off()] = setting(
        "off", "A Redis server, as redis://, rediss:// or unix:// url; used by what says `store: shared`."
    )


class Limits(Model):
    """What the agent's side may use."""

    connections: Annotated[int, kinds.COUNT] = setting(20000, "Connections at once.")
    header_bytes: Annotated[int, kinds.SIZE.above(1023, "write 1KiB or more")] = setting("64KiB", "A header section.")
    body_bytes: Annotated[int | None, kinds.SIZE.off()] = setting(
        "off", "A request body; off, since bodies are not held."
    )
    memory: Memory = part(Memory, "For what policies keep.")


class Drain(Model):
    """What happens at SIGTERM."""

    timeout: Annotated[float, kinds.DURATION] = setting("30s", "How long calls in flight may take to end.")


class Log(Model):
    """JSON lines on standard output."""

    level: Annotated[str, kinds.words("debug", "info", "warning", "error")] = setting(
        "info", "The least level that is written."
    )
    access: Annotated[str, kinds.words("all", "errors", off=True)] = setting("errors", "Which calls get a line.")


class Egress(Model):
    """Rules for hosts that no api names. Only the defaults in this version."""

    unlisted: Annotated[str, kinds.words("allow", "report", "deny")] = setting("allow", "Hosts that no api names.")
    private_networks: Annotated[str, kinds.words("auto", "allow", "deny")] = setting("auto", "Private addresses.")
    allow: list[Annotated[str, kinds.TEXT]] = setting([], "Hosts that are always allowed.")
    deny: list[Annotated[str, kinds.TEXT]] = setting([], "Hosts that are never allowed.")
    pass_through: list[Annotated[str, kinds.TEXT]] = setting([], "Hosts whose TLS is not intercepted.")


class TlsIntercept(Model):
    """Interception of the agent's own TLS. Only the defaults in this version."""

    ca_dir: Annotated[str, kinds.PATH] = setting("/var/lib/backstay/ca", "Holds the key of the authority.")
    trust_dir: Annotated[str, kinds.PATH] = setting("/var/run/backstay/trust", "Holds what the agent has to trust.")


class Document(Model):
    """A whole configuration."""

    version: Annotated[int | None, kinds.VERSION] = Field(
        None, validate_default=False, description="The version of this format."
    )
    listen: Listen = part(Listen, "Addresses.")
    admin_token: Annotated[str, kinds.TEXT] | None = setting(None, "Opens `listen.admin`; made at start, if absent.")
    stores: Stores = part(Stores, "Servers for what pods share.")
    limits: Limits = part(Limits, "Limits.")
    drain: Drain = part(Drain, "The end of the process.")
    log: Log = part(Log, "Logs.")
    upstream_proxy: Annotated[str, kinds.words(off=True)] = setting(
        "off", "A proxy on the way out. Only `off` in this version."
    )
    egress: Egress = part(Egress, "Rules for hosts that no api names.")
    tls_intercept: Annotated[TlsIntercept | None, Switch()] = setting("off", "Interception of the agent's TLS.")
    defaults: Policies = part(Policies, "Policies that every api starts from.")
    apis: dict[str, Api] = Field(default_factory=dict, description="The APIs that the agent calls, by name.")
