"""How a call to a host itself is caught, and what egress says of a host that no api names: rows for ``explain.py``.

The rules are asked, not told again: ``core/egress.py`` judges, as it does when a connection is made. Names are not
resolved here, so that of a name it is only known what its addresses cannot change.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

from proxy.config.settings import Config
from proxy.core.egress import (
    Decision,
    EgressSettings,
    Pattern,
    Via,
    judge_address,
    judge_name,
    judge_unresolved,
    literal,
    normal_name,
    passes_through,
)

Row: TypeAlias = tuple[str, ...]
"""A name, its value and where that came from; or a heading alone; or nothing, for an empty line."""

_VERDICTS: Final = {"allow": "allowed", "report": "allowed, and reported", "deny": "denied"}


class Destination(NamedTuple):
    """What the agent asks for."""

    secure: bool
    host: str
    port: int


def split_authority(scheme: str, authority: str) -> Destination | None:
    """A host with an optional port, as a url has it; None if it is none."""
    secure = scheme.lower() == "https"
    place = authority.rpartition("@")[2]
    host, colon, port = (place, "", "") if place.endswith("]") else place.rpartition(":")
    if not colon:
        host, port = place, "443" if secure else "80"
    is_host = literal(host) is not None or normal_name(host) is not None
    if not is_host or not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        return None
    return Destination(secure, host.lower(), int(port))


def of_api(config: Config, to: Destination) -> Iterator[Row]:
    """How what Backstay would do gets to be done."""
    ways = "CONNECT" if config.listen.transparent is None else "CONNECT, or redirected"
    if not to.secure:
        yield "caught", f"as a proxy's call, in {ways}", "http is in the clear"
    elif config.tls_intercept is None:
        yield "caught", "not at all: TLS passes, without all this", _origin(config, "tls_intercept")
    elif passes_through(config.egress, to.host):
        entries = enumerate(config.egress.pass_through)
        index = next(index for index, each in entries if passes_through(EgressSettings(pass_through=(each,)), to.host))
        yield "caught", "not at all: its TLS passes, without all this", _origin(config, f"egress.pass_through.{index}")
    else:
        yield "caught", f"by interception, in {ways}", _origin(config, "tls_intercept")


def of_nobody(config: Config, to: Destination) -> Iterator[Row]:
    """What becomes of a call to a host that no api names."""
    yield "api", "none has this host", "no policy but egress applies"
    yield "caught", "in a tunnel, untouched" if to.secure else "as a proxy's call, sent on as it is", "no api names it"
    yield from _egress(config, to, "egress", Via.FORWARD)
    if config.listen.transparent is not None:
        yield from _egress(config, to, "redirected", Via.TRANSPARENT)
    if config.upstream_proxy is not None:
        yield "by way of", str(config.effective["upstream_proxy"]), _origin(config, "upstream_proxy")


def _egress(config: Config, to: Destination, name: str, via: Via) -> Iterator[Row]:
    decision, proviso = _judged(config, to, via)
    origin, why = _source(config, decision)
    yield name, _VERDICTS[decision.verdict] + proviso, origin
    yield "  why", why, f"the rule is {decision.rule.partition(':')[0]}"


def _judged(config: Config, to: Destination, via: Via) -> tuple[Decision, str]:
    """What is decided, and how the addresses of the name may still change that."""
    listen = config.listen
    listeners = [each for each in (listen.agent, listen.transparent, listen.metrics, listen.admin) if each is not None]
    own = [(each.host, each.port) for each in listeners if literal(each.host) is not None]
    if (refused := judge_name(config.egress, to.host, to.port, via, own=own)) is not None:
        return refused, ""
    if (address := literal(to.host)) is not None:
        return judge_address(config.egress, None, str(address), to.port, via, own=own), ""
    decision = judge_unresolved(config.egress, to.host, to.port, via)
    proviso = (
        ", unless its addresses say otherwise" if decision.verdict == "deny" else ", unless its addresses are denied"
    )
    return decision, proviso if config.upstream_proxy is None else ""


def _source(config: Config, decision: Decision) -> tuple[str, str]:
    """Where a rule stands, and why it says so; an entry that was expanded is masked."""
    kind, _, text = decision.rule.partition(": ")
    if text:
        patterns: tuple[Pattern, ...] = getattr(config.egress, kind)
        index = next(index for index, pattern in enumerate(patterns) if pattern.text == text)
        shown = config.effective["egress"][kind][index]
        return _origin(config, f"egress.{kind}.{index}"), f"egress.{kind} has {shown}"
    if kind in {"unlisted", "private_networks"}:
        return _origin(config, f"egress.{kind}"), decision.why
    return "always", decision.why


def _origin(config: Config, path: str) -> str:
    return config.origins.get(path, "default")
