"""proxy/demo/verdict.py: the claims are judged by the figures, and told in sentences."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from proxy.demo.schedule import Phase, Schedule
from proxy.demo.stats import Call, Read, Record
from proxy.demo.verdict import HOW_TO, Outcome, Verdict, percent, seconds

SCHEDULE = Schedule(1, 45)
DOWN = SCHEDULE.span(Phase.OUTAGE)
ADVICE = "The shop API is failing; Backstay will try it again in 2 s."


def side(judge: Callable[[int, Phase], Call], reached: int, read: Callable[[float], Read] | None = None) -> Outcome:
    read = read or (direct_read if judge is direct_call else backstay_read)
    calls = [judge(number, SCHEDULE.phase_at(number / 10)) for number in range(SCHEDULE.calls)]
    arrivals = [DOWN.start + number / reached * DOWN.length for number in range(reached)]
    return Outcome(Record(SCHEDULE, calls, reads(read)), arrivals, arrivals[::10])


def reads(judge: Callable[[float], Read]) -> list[Read]:
    return [judge(number / 5) for number in range(SCHEDULE.reads)]


def fresh_read(at: float) -> Read:
    return Read(int(at * 5), at, 0.04, 200, as_of=at)


def direct_read(at: float) -> Read:
    return Read(int(at * 5), at, 10.0, 0) if DOWN.start <= at < DOWN.end else fresh_read(at)


def backstay_read(at: float) -> Read:
    if DOWN.start + 1 <= at < DOWN.end:
        age = round(at - DOWN.start)
        mark = f"backstay; fwd=stale; ttl=-{age}; detail=circuit_open"
        return Read(int(at * 5), at, 0.002, 200, "stale", mark, age=age, as_of=DOWN.start)
    return fresh_read(at)


def good(number: int) -> Call:
    return Call(number, at=number / 10, wait=0.04, status=200)


def direct_call(number: int, phase: Phase) -> Call:
    if phase is Phase.OUTAGE or (phase is Phase.FLAKY and number % 5 == 0):
        return Call(number, at=number / 10, wait=10.0, status=0, error="timeout")
    return good(number)


def backstay_call(number: int, phase: Phase) -> Call:
    if phase is Phase.OUTAGE:
        problem = {"reason": "circuit_open", "advice": ADVICE}
        return Call(number, at=number / 10, wait=0.002, status=503, problem=problem)
    return good(number)


def verdict() -> Verdict:
    return Verdict(SCHEDULE, side(direct_call, 200), side(backstay_call, 12))


def failed(verdict: Verdict) -> list[str]:
    return [check.claim for check in verdict.checks if not check.passed]


def told(verdict: Verdict) -> str:
    return " ".join(" ".join(verdict.lines()).split())


def test_the_usual_story_passes() -> None:
    """Every claim comes true."""
    assert failed(verdict()) == []
    assert verdict().passed


def test_a_flaky_phase_that_is_not_better_through_backstay_fails() -> None:
    """Backstay has to earn its place."""
    assert failed(Verdict(SCHEDULE, side(direct_call, 200), side(direct_in_flaky, 12))) == [
        "a flaky vendor fails fewer calls through Backstay"
    ]


def direct_in_flaky(number: int, phase: Phase) -> Call:
    return (direct_call if phase is Phase.FLAKY else backstay_call)(number, phase)


def test_a_storm_through_backstay_fails() -> None:
    """The breaker must spare the vendor."""
    assert failed(Verdict(SCHEDULE, side(direct_call, 200), side(backstay_call, 110))) == [
        "once its circuit is open, hardly a request reaches the dead vendor through Backstay"
    ]


def test_a_hang_through_backstay_fails() -> None:
    """No agent behind Backstay waits for its own timeout."""

    def hangs(number: int, phase: Phase) -> Call:
        return direct_call(number, phase) if number == 200 else backstay_call(number, phase)

    assert failed(Verdict(SCHEDULE, side(direct_call, 200), side(hangs, 12))) == [
        "in the outage no call through Backstay waits for the client's timeout"
    ]


def test_an_agent_that_is_never_served_again_fails() -> None:
    """A breaker that stays open is worse than none."""

    def stuck(number: int, phase: Phase) -> Call:
        return backstay_call(number, Phase.OUTAGE if phase is Phase.RECOVERED else phase)

    assert failed(Verdict(SCHEDULE, side(direct_call, 200), side(stuck, 12))) == [
        "after the outage the agent is served again"
    ]


READS_FAIL = "in the outage every read through Backstay is answered, from what is stored, and no direct one"


def test_a_read_that_fails_through_backstay_fails() -> None:
    """An outage costs no read; and where nothing was served from the store, nothing was shown."""
    assert failed(Verdict(SCHEDULE, side(direct_call, 200), side(backstay_call, 12, direct_read))) == [READS_FAIL]
    assert failed(Verdict(SCHEDULE, side(direct_call, 200), side(backstay_call, 12, fresh_read))) == [READS_FAIL]


def test_an_old_answer_that_is_passed_off_as_fresh_fails() -> None:
    """The agent must be able to tell."""

    def unmarked(at: float) -> Read:
        return Read(100, at, 0.002, 200, as_of=DOWN.start) if at == 20.0 else backstay_read(at)

    assert failed(Verdict(SCHEDULE, side(direct_call, 200), side(backstay_call, 12, unmarked))) == [
        "every old answer says that it is old"
    ]


def test_missing_calls_fail() -> None:
    """An agent that died proves nothing."""
    dead = Outcome(Record(SCHEDULE), [])
    assert "both agents made every call" in failed(Verdict(SCHEDULE, side(direct_call, 200), dead))


def test_the_sentences_tell_both_sides_of_each_phase() -> None:
    """A newcomer reads counts, waits and the advice that the agent got."""
    text = told(verdict())
    assert "direct 28 of 141 calls failed, the slowest took 10.0 s." in text
    assert "through Backstay none of 141 calls failed" in text
    assert "direct all of 200 calls failed, after 10.0 s on average" in text
    assert "The dead vendor was hit 12 times, 6 of them in the second half." in text
    assert ADVICE in text
    assert "direct all of 100 reads failed." in text
    assert "none of 100 reads failed: 5 were fresh, 95 were old and said so" in text
    assert "the oldest 20.0 s old." in text
    assert "all 225 reads of the story cost the vendor 2 requests." in text
    assert "Verdict: with Backstay" in text


def test_no_line_is_wider_than_a_terminal() -> None:
    """Long sentences are folded under their own beginning."""
    assert max(map(len, verdict().lines())) <= 100
    assert max(map(len, HOW_TO.splitlines())) <= 100


def test_a_failed_demonstration_says_what_did_not_come_true() -> None:
    """It does not claim a success that it has not seen."""
    text = told(Verdict(SCHEDULE, side(direct_call, 200), side(direct_call, 1)))
    assert "did not show what it should" in text
    assert "- a flaky vendor fails fewer calls through Backstay" in text
    assert "the agent was told" not in text


def test_json_holds_the_figures_of_both_sides_and_phases() -> None:
    """Scripts get everything that the sentences say."""
    found = json.loads(json.dumps(verdict().as_json()))
    assert found["passed"] is True
    assert found["direct"]["reached_vendor_in_outage"] == 200
    assert found["direct"]["reached_vendor_in_second_half_of_outage"] == 100
    assert found["direct"]["phases"]["outage"]["success_ratio"] == 0
    assert found["backstay"]["phases"]["flaky"]["failed"] == 0
    assert found["backstay"]["served_again_after"] == pytest.approx(0.04, abs=0.1)
    assert found["problem"]["reason"] == "circuit_open"
    assert found["reads"] == 225
    assert found["backstay"]["reads"]["phases"]["outage"]["stale"] == 95
    assert found["backstay"]["reads"]["reached_vendor"] == 2
    assert found["backstay"]["reads"]["fresh_again_after"] == pytest.approx(0.04, abs=0.3)
    assert found["direct"]["reads"]["phases"]["outage"]["failed"] == 100
    assert len(found["checks"]) == 7


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0.0001, "1 ms"), (0.0423, "42 ms"), (0.853, "0.85 s"), (10.04, "10.0 s")]
)
def test_waits_are_written_for_people(value: float | None, text: str) -> None:
    """Three figures at most."""
    assert seconds(value) == text


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (1, "100%"), (0.9996, "99.9%"), (0.5, "50.0%")])
def test_a_share_is_never_rounded_up_to_all(value: float | None, text: str) -> None:
    """One failure in ten thousand is a failure."""
    assert percent(value) == text


def test_the_configuration_that_is_recommended_is_one() -> None:
    """What a newcomer copies is loaded as it stands."""
    import textwrap
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from proxy.config.load import load

    yaml = textwrap.dedent(HOW_TO.split("backstay.yaml,\n")[1].split("run `backstay")[0])
    with TemporaryDirectory() as folder:
        file = Path(folder) / "backstay.yaml"
        file.write_text(yaml)
        config = load([file], {})
    assert [api.name for api in config.apis] == ["github"]
