"""Owns what counts as success, failure, throttled and ignored: the only definition there is.

Called by the wire and ``policies/attempts.py`` at the final headers, on errors, and at the end of the stream.

==========  ==================================================================================================
verdict     what
==========  ==================================================================================================
SUCCESS     every answer but those below: a 404 proves that the vendor is well
FAILURE     no connection, reset, timeout, an answer that is not HTTP, 5xx (also a 503 with Retry-After),
            a body that broke or stalled; and the statuses of ``failure``
THROTTLED   429, unless ``failure`` or ``ignore`` name it
IGNORED     what says nothing about the upstream: the agent went away, a refusal of ours, a defect of ours,
            an attempt cut by the exchange's total before its own limit; and the statuses of ``ignore``
==========  ==================================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, assert_never

from proxy.errors import CallError, DeadlineExceeded, UpstreamError
from proxy.model import Ending, Verdict

_STATUSES: Final = 1000  # three digits (RFC 9110, 15)


@dataclass(frozen=True, slots=True)
class ClassifySettings:
    """Inclusive ranges of status codes; ``ignore`` wins over ``failure``."""

    failure: tuple[tuple[int, int], ...] = ((500, 599),)
    ignore: tuple[tuple[int, int], ...] = ()


class Classifier:
    """Gives the verdicts of one route."""

    __slots__ = ("_by_status", "settings")

    def __init__(self, settings: ClassifySettings) -> None:
        self.settings = settings
        self._by_status = _verdicts(settings)

    def at_headers(self, status: int) -> Verdict:
        """The verdict at the final headers."""
        return self._by_status[status] if 0 <= status < _STATUSES else Verdict.FAILURE

    def of_error(self, error: CallError) -> Verdict:
        """The verdict on an attempt that ended without an answer."""
        if isinstance(error, UpstreamError) and not isinstance(error, DeadlineExceeded):
            return Verdict.FAILURE
        return Verdict.IGNORED

    def at_end(self, at_headers: Verdict, ending: Ending) -> Verdict:
        """The verdict at the end of the stream, given the one at its headers."""
        match ending:
            case Ending.COMPLETE:
                return at_headers
            case Ending.BROKEN | Ending.STALLED:
                return Verdict.FAILURE
            case Ending.ABANDONED:
                return Verdict.IGNORED if at_headers is Verdict.SUCCESS else at_headers
            case _:
                assert_never(ending)

    def __repr__(self) -> str:
        return f"<Classifier failure={self.settings.failure} ignore={self.settings.ignore}>"


def _verdicts(settings: ClassifySettings) -> list[Verdict]:
    """One for each status; what is written later wins."""
    verdicts = [Verdict.SUCCESS] * _STATUSES
    verdicts[429] = Verdict.THROTTLED
    for ranges, verdict in ((settings.failure, Verdict.FAILURE), (settings.ignore, Verdict.IGNORED)):
        for low, high in ranges:
            for status in range(max(low, 0), min(high, _STATUSES - 1) + 1):
                verdicts[status] = verdict
    return verdicts
