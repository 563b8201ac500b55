"""The configuration as the rest of the program sees it: frozen, merged, in seconds, bytes and ratios.

Made by ``load.py``; read by ``app``, ``chain`` and ``admin`` when a runtime is linked, never during a call.
Nothing of pydantic or YAML is in it, so that it may be built in a process of its own and pickled.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from proxy.core.breaker import BreakerSettings
from proxy.core.bucket import RateSettings
from proxy.core.classify import ClassifySettings
from proxy.core.egress import EgressSettings
from proxy.core.fallback import FallbackSettings
from proxy.core.freshness import CacheSettings
from proxy.core.idempotency import IdempotencySettings
from proxy.core.placeholders import Credential
from proxy.core.retry import RetrySettings
from proxy.core.routing import Match
from proxy.core.timeouts import Timeouts


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; port 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Policies:
    """The policies of a route, merged; None means that it has no such policy."""

    timeout: Timeouts = field(default_factory=Timeouts)
    breaker: BreakerSettings | None = field(default_factory=BreakerSettings)
    retry: RetrySettings | None = None
    rate_limit: RateSettings | None = None
    classify: ClassifySettings = field(default_factory=ClassifySettings)
    cache: CacheSettings | None = None
    fallback: FallbackSettings | None = None
    idempotency: IdempotencySettings | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """Some calls of an api, and their policies."""

    name: str
    match: Match
    policies: Policies


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS to an upstream: files in PEM, and the name to verify instead of the url's."""

    ca_file: str | None = None
    server_name: str | None = None
    client_cert: str | None = None
    client_key: str | None = None


@dataclass(frozen=True, slots=True)
class UpstreamProxy:
    """A proxy on Backstay's own way out: http to it, CONNECT or absolute-form through it."""

    host: str
    port: int
    authorization: bytes | None = field(default=None, repr=False)  # of Proxy-Authorization: b"Basic ..."


@dataclass(frozen=True, slots=True)
class TlsIntercept:
    """Where the authority that signs for intercepted hosts is kept, and where what agents have to trust is put."""

    ca_dir: Path = Path("/var/lib/backstay/ca")
    trust_dir: Path = Path("/var/run/backstay/trust")


@dataclass(frozen=True, slots=True)
class Api:
    """A third-party API. A call that matches no route has the api's own policies and the label ``default``."""

    name: str
    scheme: Literal["http", "https"]
    host: str
    port: int
    base_path: str = ""  # "" or "/v1": no slash at the end
    mount: str | None = None  # "/" or "/stripe": no slash at the end
    hosts: tuple[str, ...] = ()  # lower-cased, without its own
    tls: Tls = Tls()
    max_connections: int = 100
    idle_connection: float = 60.0  # seconds
    upstream_proxy: UpstreamProxy | None = None  # its own, or the one of all
    credentials: tuple[Credential, ...] = ()
    policies: Policies = Policies()
    routes: tuple[Route, ...] = ()
    line: str = ""  # file:line of its definition


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps: a number of connections, and bytes; None means without limit."""

    connections: int = 20000
    header_bytes: int = 65536
    body_bytes: int | None = None
    memory_cache: int = 64 << 20  # of all answers that are cached in memory
    memory_idempotency: int = 32 << 20  # of all records of idempotent calls in memory
    disk_ledger: int = 256 << 20  # of all records in stores.ledger


@dataclass(frozen=True, slots=True)
class Listen:
    """Where Backstay listens; None means not at all."""

    agent: Address = Address("127.0.0.1", 7070)
    transparent: Address | None = None
    metrics: Address | None = Address("0.0.0.0", 9464)
    admin: Address | None = Address("127.0.0.1", 7072)


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration, checked."""

    listen: Listen = Listen()
    admin_token: str | None = field(default=None, repr=False)
    limits: Limits = Limits()
    drain_timeout: float = 30.0  # seconds
    log_level: str = "info"
    log_access: str = "errors"  # all | errors | off
    stores_shared: str | None = field(default=None, repr=False)  # url of a Redis server; a password may be in it
    stores_ledger: str | None = None  # path of an SQLite file
    upstream_proxy: UpstreamProxy | None = None  # for what no api names
    egress: EgressSettings = field(default_factory=EgressSettings)
    tls_intercept: TlsIntercept | None = None
    apis: tuple[Api, ...] = ()
    digest: str = ""  # sha256 (hex) of ``effective``
    effective: dict[str, Any] = field(default_factory=dict, repr=False)  # for people: merged, secrets masked
    origins: dict[str, str] = field(
        default_factory=dict, repr=False
    )  # path in ``effective`` -> file:line; absent: default
    watched: tuple[Path, ...] = ()  # files and folders whose change asks for a reload
