"""The keys that are about the process, and no api: addresses, stores, limits, logs.

Called by ``schema.py``, whose Document they are part of.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from proxy.config import kinds
from proxy.config.keys import Model, part, setting
from proxy.core.egress import Pattern

_Address: TypeAlias = tuple[str, int]


_ROOM = kinds.SIZE.above(1 << 20, "write 1MiB or more", also_equal=True)


class Listen(Model):
    """The addresses that Backstay listens at."""

    agent: Annotated[_Address, kinds.ADDRESS] = setting(
        "127.0.0.1:7070", "The agent's traffic: by mount and by Host, and as its forward proxy, with CONNECT."
    )
    transparent: Annotated[_Address | None, kinds.ADDRESS.off()] = setting(
        "off", "Connections that were redirected here; `backstay redirect` makes the rules for that."
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
    idempotency: Annotated[int, _ROOM] = setting(
        "32MiB",
        "For the records of `idempotency` with `store: memory`. Bodies of answers make room; when there is none left, "
        "calls are refused rather than left unprotected (`on_store_error`).",
    )


class Disk(Model):
    """Room in files for what policies keep."""

    ledger: Annotated[int, _ROOM] = setting("256MiB", "The same for the records in `stores.ledger`.")


class Stores(Model):
    """Where policies keep what outlives this process, or what several pods share."""

    shared: Annotated[str | None, kinds.REDIS.off()] = setting(
        "off", "A Redis server, as redis://, rediss:// or unix:// url; used by what says `store: shared`."
    )
    ledger: Annotated[str | None, kinds.LEDGER.off()] = setting(
        "off",
        "A file of SQLite, `sqlite:` and its absolute path; used by `idempotency` with `store: ledger`. One process "
        "has it to itself, on a disk that outlives it.",
    )


class Limits(Model):
    """What the agent's side may use."""

    connections: Annotated[int, kinds.COUNT] = setting(20000, "Connections at once.")
    header_bytes: Annotated[int, kinds.SIZE.above(1023, "write 1KiB or more")] = setting("64KiB", "A header section.")
    body_bytes: Annotated[int | None, kinds.SIZE.off()] = setting(
        "off", "A request body; off, since bodies are not held."
    )
    memory: Memory = part(Memory, "For what policies keep.")
    disk: Disk = part(Disk, "The same, in files.")


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
    """What may be reached: through the forward proxy and CONNECT, by redirected connections, by Backstay for an api.

    An entry of a list is a host, or `"*.example.com"` for all names below it; an address or a network; with `:PORT` it
    is for that port alone. Names are resolved by Backstay, each address is judged, and one that passed is connected to.
    The first of these decides: Backstay's own listeners are denied; so are metadata services, unless `allow` has that
    very address; then come `deny`, `allow`, apis (allowed), `private_networks`, `unlisted`. docs/egress.md says more.
    """

    unlisted: Annotated[str, kinds.words("allow", "report", "deny")] = setting(
        "allow", "What becomes of the rest, which neither an api nor a rule names; `report` allows it, and logs it."
    )
    private_networks: Annotated[str, kinds.words("auto", "allow", "deny")] = setting(
        "auto",
        "Addresses that are none of the public internet: `auto` denies them to the forward proxy and CONNECT, `deny` "
        "to redirected connections, too.",
    )
    allow: list[Annotated[Pattern, kinds.DESTINATION]] = setting([], "What may be reached, private or not.")
    deny: list[Annotated[Pattern, kinds.DESTINATION]] = setting([], "What may not, though `allow` or an api names it.")
    pass_through: list[Annotated[Pattern, kinds.NAMES]] = setting(
        [], "Hosts whose TLS is not intercepted though they are an api's, for clients that trust one certificate only."
    )


class TlsIntercept(Model):
    """Interception of the agent's TLS to the hosts of apis: `{}` is on, with these folders.

    The agent mounts `trust_dir`, and nothing else: whoever has the key in `ca_dir` can pose as any host to it.
    """

    ca_dir: Annotated[str, kinds.FOLDER] = setting(
        "/var/lib/backstay/ca",
        "Has the key of the authority and its certificate; made at the first start, if not given.",
    )
    trust_dir: Annotated[str, kinds.FOLDER] = setting(
        "/var/run/backstay/trust",
        "Gets what the agent has to trust: `ca.crt`, and `ca-bundle.crt` with the system's roots besides.",
    )
