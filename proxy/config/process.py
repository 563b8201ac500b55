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

    agent: Annotated[_Address, kinds.ADDRESS] = setting("127.0.0.1:7070", "The agent's traffic.")
    transparent: Annotated[_Address | None, kinds.ADDRESS.off()] = setting(
        "off", "Redirected connections; `backstay redirect` makes the rules."
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
    """What may be reached: by forward proxy and CONNECT, by redirected connections, and by Backstay itself for an api.

    Names are resolved by Backstay, their addresses judged, and exactly those connected to. An entry is a host, or
    `*.example` for all names below it; an address or a network; with `:port`, it holds for that port alone. What is
    denied here is denied to apis, too. Next come metadata addresses of clouds, which only an entry of `allow` that is
    that very address opens; then `allow`, the hosts of apis, private networks, and `unlisted` for the rest.
    """

    unlisted: Annotated[str, kinds.words("allow", "report", "deny")] = setting(
        "allow", "What becomes of hosts that neither an api nor a rule names; `report` allows and logs them."
    )
    private_networks: Annotated[str, kinds.words("auto", "allow", "deny")] = setting(
        "auto",
        "Private, loopback and link-local addresses; `auto` denies them to whoever names a host (forward proxy, "
        "CONNECT) and allows them to redirected connections.",
    )
    allow: list[Annotated[Pattern, kinds.DESTINATION]] = setting([], "What is allowed, whatever is said above.")
    deny: list[Annotated[Pattern, kinds.DESTINATION]] = setting([], "What is denied, to apis, too.")
    pass_through: list[Annotated[Pattern, kinds.NAMES]] = setting(
        [], "Hosts whose TLS is not intercepted, though an api names them: clients that pin a certificate need it."
    )


class TlsIntercept(Model):
    """Interception of the agent's TLS to the hosts of apis; `{}` is on, with these folders.

    The agent mounts `trust_dir` to trust the authority whose key is in `ca_dir`, which it must never see.
    """

    ca_dir: Annotated[str, kinds.PATH] = setting(
        "/var/lib/backstay/ca", "Holds the key of the authority, made at the first start, if it is not there."
    )
    trust_dir: Annotated[str, kinds.PATH] = setting(
        "/var/run/backstay/trust",
        "Gets what the agent has to trust: `ca.crt`, and with the system's roots `ca-bundle.crt`.",
    )
