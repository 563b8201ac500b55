"""Owns the nouns of the circuit breaker: its settings, states, tickets, refusals and transitions.

Called through ``core/breaker.py``, which holds the rules and re-exports all of these.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal, NamedTuple


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When a circuit opens, how long it stays open, and how it closes again."""

    window: float = 30.0  # seconds over which calls are counted
    min_calls: int = 10  # calls in the window before a ratio means anything
    error_ratio: float | None = 0.5  # share of failures that opens
    consecutive: int | None = 5  # failures in a row that open
    slow_call: float | None = None  # seconds to the headers above which a call is slow
    slow_ratio: float = 0.8  # share of slow calls that opens
    open: float = 10.0  # seconds of the first OPEN
    max_open: float = 60.0  # seconds that OPEN never exceeds; also the deadline of a permit
    probes: int = 3  # permits of HALF_OPEN
    ramp: float = 10.0  # seconds from the first calls to all calls
    scope: Literal["api", "route", "host"] = "api"
    mode: Literal["enforce", "shadow"] = "enforce"


class State(enum.StrEnum):
    """What a circuit does with calls; see the table in core/breaker.py."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    RAMP = "ramp"
    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"


class Transition(NamedTuple):
    """A change of state.

    ``reason``: consecutive, error_ratio, slow_ratio, hanging (a rule tripped), probe_failed, probe_slow,
    pause_over, probes_passed, ramp_over, forced.
    """

    frm: State
    to: State
    reason: str
    at: float  # monotonic seconds


class Refused(NamedTuple):
    """The call must not be made."""

    retry_after: float  # seconds after which asking again is sensible


class Ticket:
    """The right to make one call, or (``shared``) any number of calls of which nothing is remembered."""

    __slots__ = ("admitted", "counted", "done", "epoch", "probe", "shared")

    def __init__(self, epoch: int, admitted: float, *, probe: bool = False, shared: bool = False) -> None:
        self.epoch = epoch
        self.admitted = admitted  # monotonic seconds
        self.probe = probe
        self.shared = shared
        self.counted = False  # in the window already, as a slow call
        self.done = False  # a probe that has settled, or a ticket given back

    def __repr__(self) -> str:
        kind = "shared" if self.shared else "probe" if self.probe else "call"
        return f"<Ticket {kind} epoch={self.epoch}>"
