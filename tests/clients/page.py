"""docs/clients.md, from what was found. Called by ``run.py``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from tests.clients.catalogue import CLIENTS, STEPS, Client
from tests.clients.judge import calls_to_the_vendor

Found: TypeAlias = dict[str, str]  # step -> "ok", or what was wrong
Results: TypeAlias = dict[str, dict[str, Found]]  # client -> mode -> what was found

_RUNTIMES: Final = {"system": "-", "python": "Python", "node24": "Node 24", "node20": "Node 20"}
_ACTS: Final = {
    "plain": "a call, JSON in and out",
    "stream": "a stream of three events, read as they come",
    "retry": "a call that the vendor fails twice (503), and would answer the third time",
    "breaker": "eight calls that the vendor fails",
    "cache": "the same read, twice",
    "dedup": "the same call with the same idempotency key, twice",
}
_HEAD: Final = """\
# Clients

Programs that know nothing of Backstay, one for each client (`tests/clients/programs`), against vendors that
hold the real host names behind TLS. `make test-clients` installs the clients, runs every program alone and
behind Backstay, takes what the vendors counted for the proof, and writes this page: do not edit it. How an
agent is caught is told in [capture.md](capture.md).
"""
_VARIABLES: Final = """\
## What catches each client, and what makes it trust

`backstay env` prints all variables at once. These are the ones that count for a client: it has been run with no
others, too. In transparent mode nothing has to catch it, and only the right column is needed. *Shim*: the
variable comes with `backstay env --shims DIR`.
"""
_GAINS: Final = """\
## What a program gains

Nothing in it retries, caches or counts failures: SDKs are told not to. The policies are a few lines of YAML
(`tests/clients/document.py`). Calls that reached the vendor:
"""
_RESULTS: Final = """\
## What was found

"yes": the program had what it should have, and the vendor counted what it should count. Streams came piece by
piece, not at their end.
"""
_BAD: Final = """\
## Vendors that do not prove who they are

Interception does not turn a bad certificate into a good one. curl is told 502, with the reason `tls`:
"""
_NOTES: Final = """\
## What to know about some

- **wget** (built with GnuTLS, as Debian's is) reads no variable of trust but `SYSTEM_WGETRC`, which names a
  file in `trust_dir`.
- **stripe for Python** trusts a bundle of its own, whatever SSL_CERT_FILE says; without the shim it fails with
  `CERTIFICATE_VERIFY_FAILED` in either mode. The proxy variables count.
- **stripe for Node** looks at no status: what has no `error` in its body is a success to it. Backstay's refusals
  have one ([ADR 0004](adr/0004-sdks-are-told-not-to-repeat.md)).
- **aiohttp** (without `trust_env`) and **urllib3** (a `PoolManager`) read no variable of a proxy, **Node 20**
  none at all. Their trust is that of their runtime: in transparent mode they need no shim.
- **axios** reads `HTTPS_PROXY` by itself, and does not need `NODE_USE_ENV_PROXY`.
- **boto3** sends no key; `idempotency.derive` makes one of what a call says. Its signature differs from second
  to second, so the cache needs `scope: shared`, and objects whose `Cache-Control` says `public`.
- **langchain-openai** has no GET; what is cached is an embedding, by `cache.key_body`.
- **mcp** calls tools by POST, numbered in the body: nothing to cache by. A session that is begun anew counts
  from the same number, which `idempotency.derive` recognises. Each session begins with calls that succeed: give
  its breaker a lower `error_ratio`.
"""


def render(results: Results, certificates: Results, versions: Mapping[str, str]) -> str:
    """The page. ``versions``: of each client, by its label."""
    parts = [
        _HEAD,
        _VARIABLES,
        _table(
            ("client", "runtime", "version", "what catches it", "what makes it trust"),
            (_variables(client, versions[client.label]) for client in CLIENTS),
        ),
        _GAINS,
        _table(("", "the program makes", "alone", "behind Backstay"), map(_gain, STEPS)),
        _RESULTS,
    ]
    for mode, title in (("forward", "Forward proxy"), ("transparent", "Transparent mode")):
        rows = (_found(client, results[client.label][mode]) for client in CLIENTS)
        parts += [f"### {title}\n", _table(("client", "runtime", *STEPS), rows)]
    parts += [*_failures(results), _BAD, _certificates(certificates), _NOTES]
    return "\n".join(parts)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _variables(client: Client, version: str) -> list[str]:
    caught, trusts = (
        ", ".join(f"`{name}`" + (" (shim)" if name in {"PYTHONPATH", "NODE_OPTIONS"} else "") for name in names)
        for names in (client.caught_by, client.trusts_by)
    )
    return [client.name, _RUNTIMES[client.runtime], version, caught, trusts]


def _gain(step: str) -> list[str]:
    alone, behind = calls_to_the_vendor(step)
    return [step, _ACTS[step], str(alone), f"at most {behind}: the circuit opens" if step == "breaker" else str(behind)]


def _found(client: Client, found: Found) -> list[str]:
    steps = ("-" if step in client.without else "yes" if found[step] == "ok" else "**no**" for step in STEPS)
    return [client.name, _RUNTIMES[client.runtime], *steps]


def _failures(results: Results) -> list[str]:
    lines = [
        f"- {label}, {mode}, {step}: {verdict}\n"
        for label, modes in results.items()
        for mode, found in modes.items()
        for step, verdict in found.items()
        if verdict != "ok"
    ]
    return ["### What does not hold\n", "".join(lines)] if lines else []


def _certificates(certificates: Results) -> str:
    rows = (
        [host.partition(".")[0], *("yes" if set(modes[mode].values()) == {"ok"} else "**no**" for mode in modes)]
        for host, modes in certificates.items()
    )
    return _table(("certificate", "forward", "transparent"), rows)
