"""Counts a finished request, and a try that has settled: one object for each route, one call for each of them.

The chain makes it when it is linked; ``observe`` calls ``record`` at the end of every exchange, and the listener's
own object (api and route '') counts what was refused before its api was known. This runs for every request: the
children of a combination are looked up in one dict, whose keys come from closed lists, so that no agent can fill it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from proxy.model import Verdict

if TYPE_CHECKING:
    from proxy.telemetry.metrics import Counter, Histogram, Registry

METHODS: Final[Mapping[bytes, str]] = MappingProxyType(
    {
        name.encode(): name
        for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY")
    }
)
"""Methods that keep their name as a label value (RFC 9110, 9.3; PATCH: RFC 5789); the rest is OTHER."""


def method_label(method: bytes) -> str:
    """The label value of a request method, which is the agent's to choose."""
    return METHODS.get(method, "OTHER")


def code_label(status: int) -> str:
    """The label value of a status code, which is the upstream's to choose; 000 if it is none, or there was none."""
    return str(status) if 100 <= status <= 599 else "000"


class RequestMetrics:
    """The request metrics of one route."""

    __slots__ = ("_api", "_children", "_first_byte", "_overhead", "_registry", "_route", "_upstream")

    def __init__(self, registry: Registry, api: str, route: str) -> None:
        self._registry = registry
        self._api = api
        self._route = route
        self._children: dict[tuple[bytes, int, str, str], tuple[Counter, Histogram]] = {}
        self._first_byte = registry.histogram("backstay_time_to_first_byte_seconds", api=api, route=route)
        self._upstream = registry.histogram("backstay_upstream_duration_seconds", api=api, route=route)
        self._overhead = registry.histogram("backstay_overhead_seconds", api=api, route=route)

    def record(  # noqa: PLR0917 - positional, since keywords would cost a tenth of its time
        self,
        method: bytes,
        status: int,
        outcome: str,
        reason: str,
        duration: float,
        first_byte: float | None,
        upstream: float | None,
        overhead: float | None,
    ) -> None:
        """Count one request; times are in seconds, None where there was no such moment.

        ``outcome`` and ``reason`` must come from closed lists: they become label values as they are.
        """
        children = self._children.get((method, status, outcome, reason)) or self._bind(method, status, outcome, reason)
        children[0].value += 1
        children[1].observe(duration)
        if first_byte is not None:
            self._first_byte.observe(first_byte)
        if upstream is not None:
            self._upstream.observe(upstream)
        if overhead is not None:
            self._overhead.observe(overhead)

    def _bind(self, method: bytes, status: int, outcome: str, reason: str) -> tuple[Counter, Histogram]:
        """Children of a combination seen for the first time, or of one that is clamped and so not remembered."""
        code = code_label(status)
        labels = {"api": self._api, "route": self._route, "outcome": outcome}
        children = (
            self._registry.counter(
                "backstay_requests_total", **labels, method=method_label(method), code=code, reason=reason
            ),
            self._registry.histogram("backstay_request_duration_seconds", **labels),
        )
        if method in METHODS and code != "000":
            self._children[method, status, outcome, reason] = children
        return children

    def __repr__(self) -> str:
        return f"<RequestMetrics {self._api}/{self._route}>"


class AttemptMetrics:
    """The tries of one route at its upstream."""

    __slots__ = ("_again", "_first")

    def __init__(self, registry: Registry, api: str, route: str) -> None:
        def counters(which: str) -> dict[Verdict, Counter]:
            labels = {"api": api, "route": route, "try": which}
            return {each: registry.counter("backstay_attempts_total", **labels, verdict=each.value) for each in Verdict}

        self._first = counters("first")
        self._again = counters("again")

    def record(self, number: int, verdict: Verdict) -> None:
        """Count one try that has settled; ``number`` is 1 for the first of a call."""
        children = self._first if number == 1 else self._again
        children[verdict].value += 1
