"""The configuration behind which the programs run: all that they gain is said here.

Used by ``run.py`` and tests/e2e.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

_TTL: Final = {"mode": "ttl", "ttl": "1m"}
# What has no key in a field is told by what it says, within one program and a minute.
_BY_CONTENT: Final = {
    "derive": {"from": ["method", "path", "body"], "scope": "header:user-agent", "window": "1m"},
}


def policies() -> dict[str, Any]:
    """What every api has."""
    return {
        "breaker": {"min_calls": 10, "error_ratio": "50%"},
        "retry": {"attempts": 3, "backoff": {"base": "10ms", "max": "20ms"}, "safe": True},
        "cache": dict(_TTL),
        "idempotency": {},
    }


def special(name: str) -> dict[str, Any]:
    """What some apis need besides."""
    match name:
        case "s3":  # a caller's signature differs from second to second; its objects say that all may share them
            return {"cache": {"scope": "shared"}}
        case "bedrock":
            route = {"name": "once", "match": {"methods": ["POST"], "paths": ["/model/once/*"]}}
            return {"routes": [{**route, "idempotency": dict(_BY_CONTENT)}]}
        case "mcp":  # each session begins with calls that succeed
            return {"idempotency": dict(_BY_CONTENT), "breaker": {"error_ratio": "25%"}}
        case "openai":
            route = {"name": "embeddings", "match": {"methods": ["POST"], "paths": ["/v1/embeddings"]}}
            return {"routes": [{**route, "cache": {**_TTL, "key_body": True}, "idempotency": "off"}]}
    return {}


def document(
    folder: Path, hosts: Mapping[str, str], upstream: Callable[[str], dict[str, Any]], listen: Mapping[str, str]
) -> dict[str, Any]:
    """A configuration for these apis, by name, at what ``upstream`` makes of their hosts."""
    return {
        "version": 1,
        "listen": {**listen, "admin": "off"},
        "log": {"access": "all"},
        "tls_intercept": {"ca_dir": str(folder / "ca"), "trust_dir": str(folder / "trust")},
        "defaults": policies(),
        "apis": {name: {**upstream(host), **special(name)} for name, host in hosts.items()},
    }


def short(hosts: Iterable[str]) -> dict[str, str]:
    """Names of apis for hosts: their first label."""
    return {host.partition(".")[0]: host for host in hosts}
