"""Owns what is known about a call that must be carried out once: the states of its record, and who may change them.

Called by ``config`` (settings), ``policies/idempotency.py`` (rules) and the ledgers in ``stores`` (transitions). The
one on Redis has the same table in Lua (lua/ledger.lua).

=======  =====================================================================================================
state    what it means
=======  =====================================================================================================
ABSENT   there is no record: the call may be made
RUNNING  an owner, known by its *token*, is making it; it says so again before its *lease* is over
DONE     the upstream has answered; the answer, or at least its status, is kept
UNKNOWN  it was sent, and what became of it is not known; also: the owner's lease is over
=======  =====================================================================================================

========  =================  ==================================  ==========  =====================================
record    event              if                                  becomes     the caller learns
========  =================  ==================================  ==========  =====================================
ABSENT    reserve            there is room                       RUNNING     OWNED: it is the caller's to make
ABSENT    reserve            the ledger is full                  ABSENT      an error of the store
any       reserve            another fingerprint                 the same    MISMATCH: the key stands for another call
RUNNING   reserve            its own token, even after its lease the same    OWNED: asked twice, reserved once
RUNNING   reserve            any other token                     the same    RUNNING
DONE      reserve                                                the same    DONE, and the answer
UNKNOWN   reserve                                                the same    UNKNOWN
UNKNOWN   reserve            ``resend``                          RUNNING     OWNED, in doubt, with the same nonce
RUNNING   renew              its token                           RUNNING     true: the lease begins anew
UNKNOWN   renew              its token: it is late               RUNNING     true
UNKNOWN   renew              its token, and it has told so       the same    false: it was on its way too long
RUNNING   finish             its token                           DONE        true
RUNNING   finish, released   its token                           ABSENT      true
RUNNING   finish, released   its token, in doubt                 UNKNOWN     true: the call before is still not known
RUNNING   finish, unknown    its token                           UNKNOWN     true
UNKNOWN   finish             its token: it is late               as above    true
DONE      finish             its token: it was told twice        DONE        true
any       renew, finish      any other token                     the same    false: somebody else owns it, or nobody
UNKNOWN   settle             by a person: done                   DONE        true; without an answer
UNKNOWN   settle             by a person: absent                 ABSENT      true
others    settle                                                 the same    false
DONE      time               ``retain`` or the window is over    ABSENT
UNKNOWN   time               ``retain`` or the window is over    ABSENT
========  =================  ==================================  ==========  =====================================

A token is of one reservation and no other, so that it fences: once a record has another owner, or was settled by a
person, what its earlier owner still has to say changes nothing. It begins with the epoch of the process that made it.
A record that has no fingerprint takes the first that an owner knows, at the beginning of a call or at its end.
Times are in seconds of the clock of the store.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from proxy.model import Headers

RELEASING: Final = frozenset({401, 403, 407, 408, 409, 421, 425, 429, 503})
"""Final statuses which say that the call was not carried out."""

Ranges: TypeAlias = tuple[tuple[int, int], ...]
"""Inclusive ranges of statuses."""


@dataclass(frozen=True, slots=True)
class Derive:
    """How a key is made for a call that has none."""

    parts: tuple[str, ...] = ("method", "path", "query", "body")  # of the request; also header:NAME
    scope: str = "traceparent"  # within which equal calls are the same: its trace-id, or header:NAME
    window: float = 600.0  # seconds, from the first of them


@dataclass(frozen=True, slots=True)
class StoreErrors:
    """Statuses from 400 on for which something else holds than ``concluded`` says by itself."""

    done: Ranges = ()
    released: Ranges = ()
    unknown: Ranges = ()


@dataclass(frozen=True, slots=True)
class IdempotencySettings:
    """How calls that must happen once are told apart and kept."""

    header: bytes = b"idempotency-key"  # lower-cased
    require: bool = False
    scope: str = "api"  # api | credential | header:NAME
    derive: Derive | None = None
    fingerprint: tuple[str, ...] = ("method", "path", "query", "body")  # what a key stands for; also header:NAME
    upstream: Literal["auto", "honours", "ignores"] = "auto"
    upstream_header: bytes | None = b"auto"  # as it is to be written; b"auto": the vendor's; None: no key is added
    retain: float = 86400.0  # seconds
    lease: float = 60.0  # seconds
    max_body: int = 1 << 20  # bytes of a request that are looked at, and of an answer that are kept
    store_errors: StoreErrors = StoreErrors()
    on_unknown: Literal["refuse", "resend"] = "refuse"
    on_store_error: Literal["open", "closed"] = "closed"
    store: Literal["memory", "ledger", "shared"] = "memory"
    mode: Literal["enforce", "shadow"] = "enforce"


class State(enum.Enum):
    """See the module; ABSENT is no record."""

    RUNNING = "running"
    DONE = "done"
    UNKNOWN = "unknown"


class Found(enum.Enum):
    """What a reservation finds: see the module."""

    OWNED = "owned"
    RUNNING = "running"
    DONE = "done"
    UNKNOWN = "unknown"
    MISMATCH = "mismatch"


class Concluded(enum.Enum):
    """How a call ended, as its owner tells it."""

    DONE = "done"
    RELEASED = "released"  # it was not carried out: it may be made again
    UNKNOWN = "unknown"


# A member of an enum is looked up each time that it is named; on the way of every call these are not.
_RUNNING: Final = State.RUNNING
_DONE: Final = State.DONE
_UNKNOWN: Final = State.UNKNOWN
_OWNED: Final = Found.OWNED
_CARRIED_OUT: Final = Concluded.DONE


class Subject(NamedTuple):
    """The call that a record is about, for those who look at it."""

    api: str
    route: str
    method: str
    target: str
    key: str  # as the agent gave it; empty if it was derived


class Answer:
    """An answer that is kept whole: its fields are those from end to end, as they came.

    They are kept in one piece: many answers are kept for long, and looked at once or never.
    """

    __slots__ = ("body", "fields", "reason", "status")

    def __init__(self, status: int, reason: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        self.status = status
        self.reason = reason
        self.fields = b"\n".join([part for pair in headers for part in pair])  # see packed
        self.body = body

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """The fields as pairs of name and value."""
        if not self.fields:
            return ()
        parts = self.fields.split(b"\n")
        return tuple(zip(parts[::2], parts[1::2], strict=True))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Answer)
            and (self.status, self.reason, self.fields, self.body)
            == (other.status, other.reason, other.fields, other.body)
        )  # fmt: skip

    def __hash__(self) -> int:
        return hash((self.status, self.reason, self.fields, self.body))

    def __repr__(self) -> str:
        return f"<Answer {self.status} of {len(self.body)} bytes>"


def packed(headers: Headers) -> bytes:
    """Fields in one piece. None has a line feed in it (RFC 9110, 5.5), so that one stands between names and values."""
    parts: list[bytes] = []
    for _, name, value in headers.fields:
        parts.append(name)
        parts.append(value)
    return b"\n".join(parts)


class Claim(NamedTuple):
    """What somebody wants to reserve."""

    ident: str  # 32 hexadecimal digits: a digest of scope, api and key
    token: str  # of this reservation
    fingerprint: str  # empty: not known yet, since the body is too large to be held
    lease: float  # seconds
    retain: float  # seconds
    window: float  # seconds from the first reservation, in place of ``retain``; 0: none
    nonce: str  # of the record, if there is none yet
    resend: bool  # a call whose outcome is not known may be made again
    subject: Subject


class Record:
    """What is known about one call. Changed by the functions below, and by nobody else."""

    __slots__ = (
        "answer", "created", "doubt", "fingerprint", "ident", "lease_until", "nonce", "number", "retain", "state",
        "status", "subject", "token", "until", "windowed",
    )  # fmt: skip

    def __init__(self, claim: Claim, now: float) -> None:
        self.ident = claim.ident
        self.subject = claim.subject
        self.fingerprint = claim.fingerprint
        self.nonce = claim.nonce  # a part of a derived key as the upstream gets it
        self.token = claim.token  # of the last owner; empty once a person has settled it
        self.number = 1  # of reservations
        self.state: State = _RUNNING  # as it was last told: see state_at
        self.doubt = False  # an earlier reservation of it has sent the call, and nobody knows what became of it
        self.created = now
        self.lease_until = now + claim.lease
        self.windowed = claim.window > 0  # ``until`` stays as it is
        self.retain = claim.retain
        self.until = now + (claim.window or claim.retain)
        self.status = 0  # of the answer; 0: none is known
        self.answer: Answer | None = None  # if it is kept whole

    def __repr__(self) -> str:
        return f"<Record {self.ident[:8]} {self.state.value} by {self.token or 'a person'}, {self.number}>"


class Reserved(NamedTuple):
    """What a reservation has found, and the record."""

    found: Found
    record: Record


class Conclusion(NamedTuple):
    """How a call ended, with what is to be kept of it."""

    what: Concluded
    fingerprint: str = ""  # if it was not known at the beginning
    status: int = 0
    answer: Answer | None = None


# --- transitions --------------------------------------------------------------------------------------------


def state_at(record: Record, now: float) -> State:
    """The state of a record: one whose owner is silent for too long is UNKNOWN."""
    if record.state is _RUNNING and now >= record.lease_until:
        return _UNKNOWN
    return record.state


def expired(record: Record, now: float) -> bool:
    """Whether it is time to forget a record; never while its owner has a lease."""
    return now >= record.until and not (record.state is _RUNNING and now < record.lease_until)


def reserve(record: Record | None, claim: Claim, now: float) -> Reserved:
    """Reserve a call, given its record. OWNED: the record is new, or has changed."""
    if record is None or expired(record, now):
        return Reserved(_OWNED, Record(claim, now))
    if record.fingerprint and claim.fingerprint and record.fingerprint != claim.fingerprint:
        return Reserved(Found.MISMATCH, record)
    state = state_at(record, now)
    if state is _DONE:
        return Reserved(Found.DONE, record)
    if record.state is _RUNNING and record.token == claim.token:
        return Reserved(_OWNED, record)
    if state is _RUNNING:
        return Reserved(Found.RUNNING, record)
    if not claim.resend:
        return Reserved(Found.UNKNOWN, record)
    record.state, record.token, record.doubt = _RUNNING, claim.token, True
    record.fingerprint = record.fingerprint or claim.fingerprint
    record.number += 1
    record.lease_until = now + claim.lease
    return Reserved(_OWNED, record)


def renew(record: Record | None, token: str, lease: float, now: float) -> bool:
    """The owner is still at it. False: it is not the owner (any more)."""
    if record is None or record.token != token or record.state is not _RUNNING:
        return False
    record.lease_until = now + lease
    _hold(record, now)
    return True


def finish(record: Record | None, token: str, conclusion: Conclusion, now: float) -> bool:
    """The owner tells how the call ended. False: it is not the owner (any more), and nothing has changed.

    A record that was released is to be forgotten: see ``released``.
    """
    if record is None or record.token != token:
        return False
    if record.state is _DONE:
        return True
    record.fingerprint = record.fingerprint or conclusion.fingerprint
    _hold(record, now)
    if conclusion.what is Concluded.DONE:
        record.state, record.status, record.answer = _DONE, conclusion.status, conclusion.answer
    else:
        record.state, record.status = _UNKNOWN, conclusion.status
    return True


def released(record: Record, conclusion: Conclusion) -> bool:
    """Whether a record whose owner has told this is to be forgotten: nothing was carried out, now or before."""
    return conclusion.what is Concluded.RELEASED and not record.doubt and record.state is not _DONE


def settle(record: Record | None, now: float) -> bool:
    """A person knows that the call was carried out. False: there is no doubt that they could end.

    That it was not, is told by forgetting the record, if ``state_at`` is UNKNOWN.
    """
    if record is None or state_at(record, now) is not _UNKNOWN:
        return False
    record.state, record.token, record.status, record.answer = _DONE, "", 0, None
    _hold(record, now)
    return True


def _hold(record: Record, now: float) -> None:
    if not record.windowed:
        record.until = now + record.retain


# --- how a call ended ---------------------------------------------------------------------------------------


def concluded(rules: StoreErrors, status: int, *, lost: bool) -> Concluded:
    """What the status of a complete answer says about a call.

    ``lost``: an earlier attempt of it was sent, and nobody knows what became of that one.
    """
    if status < 400:
        return _CARRIED_OUT
    if _within(rules.unknown, status):
        return Concluded.UNKNOWN
    if _within(rules.done, status):
        return Concluded.DONE
    if status in RELEASING or _within(rules.released, status):
        return Concluded.UNKNOWN if lost else Concluded.RELEASED
    return Concluded.UNKNOWN if status >= 500 else Concluded.DONE


def leaves_doubt(rules: StoreErrors, status: int) -> bool:
    """Whether a call may have been carried out of which this answer is given up for another attempt."""
    return concluded(rules, status, lost=False) is not Concluded.RELEASED


def _within(ranges: Ranges, status: int) -> bool:
    return any(low <= status <= high for low, high in ranges)
