"""Owns the circuit breaker of one upstream: when calls are kept from it, and how they come back.

Called by ``policies/breaker.py`` (every attempt), ``app.py`` (ticks, reloads) and ``admin`` (snapshot, force).

======================  ===========================================  ==========================================
state                   a call is                                    and it leaves that state
======================  ===========================================  ==========================================
CLOSED                  admitted                                     to OPEN when a rule trips
OPEN                    refused, with the exact seconds left         to HALF_OPEN at the first call after them
HALF_OPEN               a probe, if one of ``probes`` permits is     to RAMP when ``probes`` have passed;
                        free                                         to OPEN when one has failed or was slow
RAMP                    admitted by a share that grows linearly to   to CLOSED when ``ramp`` is over;
                        all, and once a second in any case           to OPEN when a rule trips
FORCED_OPEN             refused                                      only by the operator
DISABLED                admitted, and counted nowhere                only by the operator
======================  ===========================================  ==========================================

Rules that trip, asked at bad news only (a success never opens a circuit):

consecutive   that many failures in a row, and no success within the last second: agents call seldom, so a ratio
              over ``min_calls`` may never mean anything, while under load five in a row are mere chance.
error_ratio   in the window, from ``min_calls`` on.
slow_ratio    the same for slow calls. A call still in flight beyond ``slow_call`` counts as slow there and then, once.
hanging       ``min_calls`` slow calls in a row, and no fast answer within the last second. After a healthy half
              minute a ratio cannot see a hang for a long time, since the good calls before it outweigh it.

Every state has an epoch, every ticket the epoch of its issue: a late result never moves a newer state.

OPEN lasts ``open``, twice as long at each re-trip, at most ``max_open``; jitter cuts 4 to 20 % off, so that pods do not
return together and the limit is never passed. The time that HALF_OPEN waited for its caller is taken off the next
OPEN (half of it at most): what doubles is the rhythm in which the vendor is asked, whatever the rhythm of the agent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, assert_never

from proxy.core.breaker_types import BreakerSettings, Refused, State, Ticket, Transition
from proxy.core.window import Window
from proxy.model import Verdict

__all__ = ["Breaker", "BreakerSettings", "Refused", "State", "Ticket", "Transition"]

_JITTER_FLOOR: Final = 0.80  # an OPEN lasts this share of its nominal time at least,
_JITTER_SPAN: Final = 0.16  # and up to this much more
_RETRY_AFTER_LIMIT: Final = 300.0  # seconds by which an upstream's Retry-After may keep a circuit open
_QUIET: Final = 1.0  # seconds without a good call before a row of bad ones means anything
_SAFE_FIRST: Final = 2.0  # seconds that HALF_OPEN waits for a safe call before an unsafe one may probe
_RAMP_GAP: Final = 1.0  # seconds after which RAMP admits a call in any case
_NO_PERMIT_WAIT: Final = 1.0  # seconds after which asking again for a permit is sensible
_LONG_AGO: Final = float("-inf")
_SUCCESS: Final = Verdict.SUCCESS


def _unreported(_: Transition) -> None:
    """Nobody listens."""


class Breaker:
    """The circuit of one upstream. ``now`` is monotonic seconds, ``chance`` is in [0, 1).

    A call goes ``admit``, ``start`` (its first byte is written), ``answered`` (its final headers), ``settle`` (its
    end); or ``admit``, ``give_back``. Somebody calls ``tick`` a few times a second while ``wants_tick``.
    """

    __slots__ = (
        "_chance", "_culprit", "_epoch", "_fast_at", "_hot", "_overdue", "_passed", "_pause", "_pending", "_permits",
        "_ramped_at", "_report", "_safe_at", "_shared", "_since", "_state", "_streak", "_success_at", "_until",
        "_window", "settings",
    )  # fmt: skip

    def __init__(
        self, settings: BreakerSettings, on_transition: Callable[[Transition], None] = _unreported, *, now: float = 0.0
    ) -> None:
        self.settings = settings
        self._report = on_transition
        self._state = State.CLOSED
        self._since = now
        self._epoch = 0
        self._window = Window(settings.window)
        self._streak = 0  # failures in a row
        self._success_at = _LONG_AGO
        self._overdue = 0  # slow calls in a row
        self._fast_at = _LONG_AGO
        self._pending: dict[
            Ticket, float
        ] = {}  # sent and no headers yet, with the time, oldest first; only with slow_call
        self._chance = 0.0  # of a recent call: the jitter of the next OPEN
        self._pause = settings.open  # nominal seconds of the next OPEN
        self._until = _LONG_AGO  # end of OPEN
        self._culprit: Ticket | None = None  # the probe that re-opened: its end may still bring a Retry-After
        self._permits: dict[Ticket, float] = {}  # probes that are out, with the deadline of each permit
        self._passed = 0  # probes that passed
        self._safe_at = _LONG_AGO  # when a safe call last asked HALF_OPEN
        self._ramped_at = _LONG_AGO  # when RAMP last admitted
        self._arm()

    # --- one call

    def admit(self, now: float, chance: float, *, safe: bool = True, may_probe: bool = True) -> Ticket | Refused:
        """Decide on a call. ``safe``: to re-send; ``may_probe``: False for hedges, and once the exchange has probed."""
        if (shared := self._shared) is not None:
            self._chance = chance
            return shared
        match self._state:
            case State.CLOSED | State.DISABLED:
                self._chance = chance
                return Ticket(self._epoch, now)
            case State.OPEN:
                return self._admit_open(now, chance, safe=safe, may_probe=may_probe)
            case State.HALF_OPEN:
                return self._admit_probe(now, chance, safe=safe, may_probe=may_probe)
            case State.RAMP:
                return self._admit_ramp(now, chance)
            case State.FORCED_OPEN:
                return Refused(self.settings.max_open)
        assert_never(self._state)

    def start(self, ticket: Ticket, now: float) -> None:
        """The request begins to be written: only now does the call's clock run, so a wait of ours is never slowness."""
        if ticket.shared or ticket.epoch != self._epoch:
            return
        if self.settings.slow_call is not None:
            self._pending[ticket] = now
        if ticket in self._permits:
            self._permits[ticket] = now + self.settings.max_open

    def answered(self, ticket: Ticket, verdict: Verdict, now: float, retry_after: float | None = None) -> None:
        """The final headers are here: slowness is judged, and a probe is over."""
        if ticket.shared or ticket.epoch != self._epoch:
            return
        slow = self._is_slow(ticket, verdict, now)
        if ticket.probe:
            self._conclude(ticket, verdict, now, slow=slow, retry_after=retry_after)
        elif slow:
            self._count_slow(ticket, now)
            self._consider(now, retry_after)
        elif not ticket.counted:
            self._overdue, self._fast_at = 0, now

    def settle(self, ticket: Ticket, verdict: Verdict, now: float, retry_after: float | None = None) -> None:
        """The call is over, its stream included. ``retry_after``: seconds that the upstream asked for with a 503."""
        if ticket is self._hot and verdict is _SUCCESS:
            self._streak = 0
            self._success_at = now
            self._window.success(now)
        elif ticket is self._culprit:
            self._extend(now, retry_after)
        elif ticket.epoch == self._epoch and self._state is not State.DISABLED:
            self._settle(ticket, verdict, now, retry_after)

    def give_back(self, ticket: Ticket, now: float) -> None:  # noqa: ARG002 -- every event of a call has its time
        """The call was refused further in, or never sent: its permit is free again, and nothing is counted."""
        if ticket.shared or ticket.epoch != self._epoch:
            return
        ticket.done = True
        self._pending.pop(ticket, None)
        self._permits.pop(ticket, None)
        if ticket.admitted == self._ramped_at:
            self._ramped_at = _LONG_AGO  # the call that RAMP lets through once a second has not taken place

    # --- time and the operator

    @property
    def wants_tick(self) -> bool:
        """Whether time alone may change something here."""
        return bool(self._pending or self._permits) or self._state is State.RAMP

    def tick(self, now: float) -> None:
        """Count calls that have become slow in flight, take back expired permits, end a ramp that is over."""
        self._expire(now)
        self._find_overdue(now)
        if self._state is State.RAMP and self._share(now) >= 1.0:
            self._enter(State.CLOSED, "ramp_over", now)

    def force(self, state: State | None, now: float) -> None:
        """Set by hand FORCED_OPEN, DISABLED or (afresh) CLOSED; None returns to the automatic rules.

        From FORCED_OPEN that return leads through HALF_OPEN, since nobody knows how the upstream is.
        Raises ValueError for the states that only the rules may enter.
        """
        match state:
            case State.FORCED_OPEN | State.DISABLED | State.CLOSED:
                if state is not self._state:
                    self._enter(state, "forced", now)
            case None if self._state is State.FORCED_OPEN:
                self._until = now
                self._enter(State.HALF_OPEN, "forced", now)
            case None if self._state is State.DISABLED:
                self._enter(State.CLOSED, "forced", now)
            case None:
                pass  # the rules are at work already
            case _:
                raise ValueError(f"a breaker cannot be forced into {state}")

    def reconfigure(self, settings: BreakerSettings, now: float) -> None:
        """Go by new settings from the next decision on; the state, and the end of an OPEN, stay as they are."""
        self.settings = settings
        self._window.resize(settings.window, now)
        self._passed = min(self._passed, settings.probes - 1)  # one more must pass: else none ever would
        if settings.slow_call is None:
            self._pending.clear()
        if self._state is State.CLOSED:
            self._pause = settings.open
        self._arm()

    def snapshot(self, now: float) -> dict[str, Any]:
        """The state as JSON-able values; times in seconds."""
        self._window.advance(now)
        return {
            "state": self._state.value,
            "for": round(now - self._since, 3),
            "retry_after": round(max(self._until - now, 0.0), 3) if self._state is State.OPEN else None,
            "share": round(min(self._share(now), 1.0), 3) if self._state is State.RAMP else None,
            "probes_out": len(self._permits),
            "probes_passed": self._passed,
            "calls": self._window.calls,
            "failures": self._window.failures,
            "slow": self._window.slow,
            "failures_in_a_row": self._streak,
            "in_flight": len(self._pending),
        }

    def __repr__(self) -> str:
        return f"<Breaker {self._state} epoch={self._epoch} streak={self._streak} {self._window!r}>"

    @property
    def state(self) -> State:
        """The state as of the last event."""
        return self._state

    # --- admission, state by state

    def _admit_open(self, now: float, chance: float, *, safe: bool, may_probe: bool) -> Ticket | Refused:
        if now < self._until:
            return Refused(self._until - now)
        self._enter(State.HALF_OPEN, "pause_over", now)
        return self._admit_probe(now, chance, safe=safe, may_probe=may_probe)

    def _admit_probe(self, now: float, chance: float, *, safe: bool, may_probe: bool) -> Ticket | Refused:
        self._expire(now)
        if not may_probe:
            return Refused(_NO_PERMIT_WAIT)
        if safe:
            self._safe_at = now
        if len(self._permits) + self._passed >= self.settings.probes:
            return Refused(_NO_PERMIT_WAIT)
        wait = max(self._until, self._safe_at) + _SAFE_FIRST - now
        if not safe and wait > 0.0:
            return Refused(wait)
        self._chance = chance
        ticket = Ticket(self._epoch, now, probe=True)
        self._permits[ticket] = now + self.settings.max_open
        return ticket

    def _admit_ramp(self, now: float, chance: float) -> Ticket | Refused:
        share = self._share(now)
        if share >= 1.0:
            self._enter(State.CLOSED, "ramp_over", now)
            return self.admit(now, chance)
        wait = self._ramped_at + _RAMP_GAP - now
        if chance >= share and wait > 0.0:
            return Refused(wait)
        self._ramped_at = now
        return Ticket(self._epoch, now)

    def _share(self, now: float) -> float:
        elapsed = now - self._since
        return elapsed / self.settings.ramp if elapsed < self.settings.ramp else 1.0

    def _expire(self, now: float) -> None:
        """A permit comes back by itself: no fault of ours may leave the circuit half-open for ever."""
        for ticket in [ticket for ticket, deadline in self._permits.items() if deadline <= now]:
            del self._permits[ticket]

    # --- results

    def _settle(self, ticket: Ticket, verdict: Verdict, now: float, retry_after: float | None) -> None:
        slow = self._is_slow(ticket, verdict, now)
        if ticket.probe:
            self._conclude(ticket, verdict, now, slow=slow, retry_after=retry_after)
            return
        if slow:
            self._count_slow(ticket, now)
        match verdict:
            case Verdict.SUCCESS:
                self._window.record(now, not ticket.counted, 0, 0)
                self._streak, self._success_at = 0, now
            case Verdict.FAILURE:
                self._window.record(now, not ticket.counted, 1, 0)
                self._streak += 1
                self._consider(now, retry_after)
            case Verdict.THROTTLED | Verdict.IGNORED:
                if slow:
                    self._consider(now, retry_after)
            case _:
                assert_never(verdict)

    def _conclude(self, ticket: Ticket, verdict: Verdict, now: float, *, slow: bool, retry_after: float | None) -> None:
        """A probe is over, once: at its headers, or before them. An IGNORED one merely frees its permit."""
        if ticket.done:
            return
        ticket.done = True
        self._permits.pop(ticket, None)
        if slow or verdict is Verdict.FAILURE:
            waited = ticket.admitted - self._until
            self._open("probe_slow" if slow else "probe_failed", now, retry_after, waited)
            self._culprit = ticket
        elif verdict is not Verdict.IGNORED:
            self._passed += 1
            if self._passed >= self.settings.probes:
                self._enter(State.RAMP if self.settings.ramp > 0.0 else State.CLOSED, "probes_passed", now)

    def _is_slow(self, ticket: Ticket, verdict: Verdict, now: float) -> bool:
        """Whether this call turns out, here and now, to be slow. It is asked once; throttled calls never are."""
        started, limit = self._pending.pop(ticket, None), self.settings.slow_call
        if started is None or limit is None or verdict is Verdict.THROTTLED:
            return False
        return now - started > limit

    def _count_slow(self, ticket: Ticket, now: float) -> None:
        ticket.counted = True
        self._overdue += 1
        self._window.record(now, 1, 0, 1)

    def _find_overdue(self, now: float) -> None:
        limit = self.settings.slow_call
        while limit is not None and self._pending:
            ticket, started = next(iter(self._pending.items()))
            if now - started <= limit:
                return
            del self._pending[ticket]
            if ticket.probe:
                self._conclude(ticket, Verdict.IGNORED, now, slow=True, retry_after=None)
            else:
                self._count_slow(ticket, now)
                self._consider(now, None)

    # --- transitions

    def _consider(self, now: float, retry_after: float | None) -> None:
        """Bad news has come: open the circuit if a rule says so."""
        if (reason := self._maybe_tripped(now)) is not None:
            self._open(reason, now, retry_after)

    def _maybe_tripped(self, now: float) -> str | None:
        settings, window = self.settings, self._window
        consecutive, error_ratio = settings.consecutive, settings.error_ratio
        if consecutive is not None and self._streak >= consecutive and now - self._success_at >= _QUIET:
            return "consecutive"
        if self._overdue >= settings.min_calls and now - self._fast_at >= _QUIET:
            return "hanging"
        window.advance(now)
        if window.calls == 0 or window.calls < settings.min_calls:
            return None
        if error_ratio is not None and window.failures / window.calls >= error_ratio:
            return "error_ratio"
        if settings.slow_call is not None and window.slow / window.calls >= settings.slow_ratio:
            return "slow_ratio"
        return None

    def _open(self, reason: str, now: float, retry_after: float | None, waited: float = 0.0) -> None:
        nominal = min(self._pause, self.settings.max_open)
        self._pause = 2.0 * nominal
        pause = nominal * (_JITTER_FLOOR + _JITTER_SPAN * self._chance)
        self._until = now + max(pause - waited, pause / 2.0)
        self._extend(now, retry_after)
        self._enter(State.OPEN, reason, now)

    def _extend(self, now: float, retry_after: float | None) -> None:
        """The upstream says when to come back: believe it, within reason."""
        if retry_after is not None:
            self._until = max(self._until, now + min(retry_after, _RETRY_AFTER_LIMIT))

    def _enter(self, state: State, reason: str, now: float) -> None:
        transition = Transition(self._state, state, reason, now)
        self._state, self._since = state, now
        self._epoch += 1
        self._window.clear()
        self._pending.clear()
        self._permits.clear()
        self._streak = self._overdue = self._passed = 0
        self._culprit = None
        self._ramped_at = _LONG_AGO
        if state is State.CLOSED:
            self._pause = self.settings.open
        self._arm()
        self._report(transition)

    def _arm(self) -> None:
        """Without a rule on slow calls nothing is remembered of one call: one ticket serves them all."""
        common = self._state is State.DISABLED or (self._state is State.CLOSED and self.settings.slow_call is None)
        self._shared = Ticket(self._epoch, self._since, shared=True) if common else None
        self._hot = self._shared if self._state is State.CLOSED else None
