"""The one definition of success, failure, throttled and ignored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import errors
from proxy.core.classify import Classifier, ClassifySettings
from proxy.model import Ending, Verdict

SUCCESS, FAILURE, THROTTLED, IGNORED = Verdict.SUCCESS, Verdict.FAILURE, Verdict.THROTTLED, Verdict.IGNORED
DEFAULT = Classifier(ClassifySettings())
OWN = Classifier(ClassifySettings(failure=((500, 599), (402, 402), (429, 429)), ignore=((501, 501), (404, 404))))


@pytest.mark.parametrize(
    ("status", "by_default", "by_own_rules"),
    [
        (200, SUCCESS, SUCCESS),
        (304, SUCCESS, SUCCESS),
        (402, SUCCESS, FAILURE),
        (404, SUCCESS, IGNORED),
        (429, THROTTLED, FAILURE),
        (499, SUCCESS, SUCCESS),
        (500, FAILURE, FAILURE),
        (501, FAILURE, IGNORED),
        (503, FAILURE, FAILURE),
        (599, FAILURE, FAILURE),
        (600, SUCCESS, SUCCESS),
    ],
)
def test_statuses(status: int, by_default: Verdict, by_own_rules: Verdict) -> None:
    """5xx fail and 429 throttles, unless the route says otherwise; ``ignore`` wins."""
    assert (DEFAULT.at_headers(status), OWN.at_headers(status)) == (by_default, by_own_rules)


@given(status=st.integers(-10, 100_000))
def test_every_status_has_a_verdict(status: int) -> None:
    """What has not three digits is no answer at all."""
    assert (DEFAULT.at_headers(status) is FAILURE) == (status // 100 == 5 or not 0 <= status < 1000)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (errors.ConnectFailed(), FAILURE),
        (errors.TlsFailed(), FAILURE),
        (errors.ConnectionReset(), FAILURE),
        (errors.ProtocolError(), FAILURE),
        (errors.Timeout(), FAILURE),
        (errors.ConnectTimeout(), FAILURE),
        (errors.DeadlineExceeded(), IGNORED),
        (errors.CircuitOpen(), IGNORED),
        (errors.PoolExhausted(), IGNORED),
        (errors.AgentGone(), IGNORED),
        (errors.BadRequest(), IGNORED),
        (errors.Internal(), IGNORED),
    ],
)
def test_errors(error: errors.CallError, verdict: Verdict) -> None:
    """Only what the upstream did counts against it."""
    assert DEFAULT.of_error(error) is verdict


@pytest.mark.parametrize("at_headers", Verdict)
def test_a_body_that_breaks_or_stalls_is_a_failure(at_headers: Verdict) -> None:
    """A stream that dies at token 500 has failed, whatever its status; a complete one keeps its verdict."""
    assert DEFAULT.at_end(at_headers, Ending.BROKEN) is FAILURE
    assert DEFAULT.at_end(at_headers, Ending.STALLED) is FAILURE
    assert DEFAULT.at_end(at_headers, Ending.COMPLETE) is at_headers


@pytest.mark.parametrize(
    ("at_headers", "verdict"),
    [(SUCCESS, IGNORED), (FAILURE, FAILURE), (THROTTLED, THROTTLED), (IGNORED, IGNORED)],
)
def test_an_abandoned_body_says_nothing_new(at_headers: Verdict, verdict: Verdict) -> None:
    """A 503 whose body nobody read was a 503."""
    assert DEFAULT.at_end(at_headers, Ending.ABANDONED) is verdict


def test_repr_shows_the_rules() -> None:
    """A log line tells what is counted."""
    assert repr(DEFAULT) == "<Classifier failure=((500, 599),) ignore=()>"
