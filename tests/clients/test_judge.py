"""Tests of the judge: what a program does alone is no success behind Backstay, and the other way round."""

from __future__ import annotations

import pytest

from tests.clients.catalogue import STEPS
from tests.clients.judge import judge, read

ALONE = {"plain": 1, "stream": 1, "flaky": 1, "down": 8, "cached": 2, "once": 2}
CAUGHT = {"plain": 1, "stream": 1, "flaky": 3, "down": 4, "cached": 1, "once": 1}
SAID_ALONE = """plain hello there agent
stream 3 0.61
retry failed: 503
cache 1 2
dedup id-1 id-2
breaker 0 ok, last: 503"""
SAID_CAUGHT = """plain hello there agent
stream 3 0.61
retry hello there agent
cache 1 1
dedup id-1 id-1
breaker 0 ok, last: 503 circuit_open
what is not a step"""


@pytest.mark.parametrize(("said", "counts", "caught"), [(SAID_ALONE, ALONE, False), (SAID_CAUGHT, CAUGHT, True)])
def test_what_is_expected_is_well(said: str, counts: dict[str, int], caught: bool) -> None:
    """Both ways of it."""
    steps = read(said)
    assert {step: judge(step, steps[step], counts, caught=caught) for step in STEPS} == dict.fromkeys(STEPS, "ok")


@pytest.mark.parametrize("step", ["retry", "cache", "dedup", "breaker"])
def test_what_a_program_does_alone_is_no_gain(step: str) -> None:
    """The vendor's counts decide, and what the program said has to agree with them."""
    assert judge(step, read(SAID_ALONE)[step], ALONE, caught=True) != "ok"
    assert judge(step, read(SAID_CAUGHT)[step], ALONE, caught=True) != "ok"
    if step != "breaker":
        assert judge(step, read(SAID_ALONE)[step], CAUGHT, caught=True) != "ok"


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("plain", None),
        ("plain", "failed: x"),
        ("stream", "3 0.00"),
        ("stream", "1 0.61"),
        ("breaker", "3 ok, last: ok"),
    ],
)
def test_what_a_program_did_not_get_is_not_well(step: str, said: str | None) -> None:
    """Nothing, an error, a stream that came at its end, and a failure taken for a success."""
    assert judge(step, said, CAUGHT, caught=True) != "ok"


def test_a_vendor_that_was_not_asked_opens_no_circuit() -> None:
    """Eight calls that never left fail, too."""
    assert judge("breaker", "0 ok, last: x", {}, caught=True) != "ok"
