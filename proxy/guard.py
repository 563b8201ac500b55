"""The egress policy at work: asked for every connection before it is made, counts and logs what it decided.

Called by ``wire`` with the name that an agent gave, then with the addresses that it has; made by ``app``, which gives
it new settings at a reload. The rules are in core/egress.py. What is returned is what may be connected to: whoever
resolved the name again could be told something else.

Each connection is counted once: at the name if that is refused, else at its addresses. Of a name of which only some
addresses are refused these are logged, since that is what DNS rebinding looks like, and the connection is counted as
what it becomes.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Final

from proxy.core.addresses import inner, literal, resolved
from proxy.core.egress import Decision, Via, judge_address, judge_name, judge_unresolved, passes_through
from proxy.errors import EgressDenied

if TYPE_CHECKING:
    from proxy.clock import Clock
    from proxy.core.egress import EgressSettings
    from proxy.telemetry.metrics import Registry

_log = logging.getLogger("backstay.egress")

_EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})
_LONGEST_HOST: Final = 253


class Guard:
    """Decides about destinations. ``settings`` and ``own`` may be replaced at any time."""

    def __init__(
        self,
        clock: Clock,
        registry: Registry,
        settings: EgressSettings,
        *,
        is_local: Callable[[str], bool] | None = None,
    ) -> None:
        self.settings = settings
        self.own: Collection[tuple[str, int]] = ()  # addresses, never names, and ports of Backstay's own listeners
        self._clock = clock
        self._registry = registry
        self._is_local = is_local or is_address_of_this_machine
        self._written = _LastMinute()

    def name(self, host: str, port: int, via: Via) -> None:
        """Raises EgressDenied where a host is refused whatever its addresses are, or is an address that is."""
        decision = judge_name(self.settings, host, port, via, own=self._listeners(host, port))
        if decision is not None:
            self._count(decision)
            self._write(decision, host, None, port, via)
            raise _refusal(decision, host, port)

    def addresses(
        self, host: str | None, port: int, addresses: Sequence[str], via: Via, *, original: str | None = None
    ) -> list[str]:
        """Those of the addresses of ``host`` that may be connected to, in their order. Raises EgressDenied: none may.

        A name in place of an address is one that another proxy will resolve: it is judged by itself. ``original`` is
        where a redirected connection was bound. Other addresses of the name in it were not the agent's choice, and are
        judged as if a proxy had been given the name: its own check of an address must not be undone here.
        """
        decisions = [self._judge(host, each, port, _chosen_by(via, each, original)) for each in addresses]
        allowed = [each for each, decision in zip(addresses, decisions, strict=True) if decision.verdict != "deny"]
        for address, decision in zip(addresses, decisions, strict=True):
            if decision.verdict != "allow":
                self._write(decision, host, address, port, via)
        if decisions:
            self._count(next((each for each in decisions if each.verdict != "deny"), decisions[0]))
            if not allowed:
                raise _refusal(decisions[0], host or addresses[0], port)
        return allowed

    def passes_through(self, host: str) -> bool:
        """Whether TLS to ``host`` is left as it is."""
        return passes_through(self.settings, host)

    def _judge(self, host: str | None, address: str, port: int, via: Via) -> Decision:
        try:
            resolved(address)
        except ValueError:
            return judge_unresolved(self.settings, address, port, via)
        return judge_address(self.settings, host, address, port, via, own=self._listeners(address, port))

    def _listeners(self, host: str, port: int) -> Collection[tuple[str, int]]:
        """``own``, with what ``host`` leads to if that is of this machine, and one of them listens everywhere."""
        if all(number != port or address not in _EVERYWHERE for address, number in self.own):
            return self.own
        address = literal(host.partition("%")[0])
        leads = () if address is None else map(str, inner(address))  # never a name: that would be looked up
        return (*self.own, *((lead, port) for lead in leads if self._is_local(lead)))

    def _count(self, decision: Decision) -> None:
        labels = {"decision": decision.verdict, "rule": decision.rule}
        self._registry.counter("backstay_egress_decisions_total", **labels).inc()

    def _write(self, decision: Decision, host: str | None, address: str | None, port: int, via: Via) -> None:
        shown = None if host is None else host[:_LONGEST_HOST]
        if not self._written.admits((decision.rule, shown or address or ""), self._clock.now()):
            return
        denied = decision.verdict == "deny"
        fields = {
            "host": shown,
            "address": address,
            "port": port,
            "rule": decision.rule,
            "why": decision.why,
            "via": via.value,
            "unwritten": self._written.take_unwritten(),
        }
        message = "egress denied" if denied else "egress that would be denied"
        _log.log(logging.WARNING if denied else logging.INFO, message, extra=fields)

    def __repr__(self) -> str:
        lists = f"allow={len(self.settings.allow)} deny={len(self.settings.deny)}"
        return f"<Guard unlisted={self.settings.unlisted} {lists} own={len(self.own)}>"


class _LastMinute:
    """What was logged in the last minute. The other side chooses the keys, so there are at most so many lines."""

    _SECONDS: Final = 60.0
    _LIMIT: Final = 512

    def __init__(self) -> None:
        self._at: dict[tuple[str, str], float] = {}  # the oldest first
        self._unwritten = 0

    def admits(self, key: tuple[str, str], now: float) -> bool:
        """Whether there may be a line about ``key`` now."""
        while self._at and now - next(iter(self._at.values())) >= self._SECONDS:
            del self._at[next(iter(self._at))]
        if key in self._at or len(self._at) >= self._LIMIT:
            self._unwritten += 1
            return False
        self._at[key] = now
        return True

    def take_unwritten(self) -> int:
        """How many lines were left out since this was asked."""
        count, self._unwritten = self._unwritten, 0
        return count

    def __repr__(self) -> str:
        return f"<_LastMinute {len(self._at)} written, {self._unwritten} not>"


def is_address_of_this_machine(address: str) -> bool:
    """Whether an interface of this machine has it: the system lets a socket be bound to no other. Sends nothing."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def _chosen_by(via: Via, address: str, original: str | None) -> Via:
    return via if via is not Via.TRANSPARENT or original in {None, address} else Via.FORWARD


def _refusal(decision: Decision, host: str, port: int) -> EgressDenied:
    return EgressDenied(f"Calls to {host[:_LONGEST_HOST]}, port {port}, are not allowed. {decision.why}")
