"""RFC 9111, section 4, at its end: requests for the same, at the same time, are one request to the origin."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.conformance.origin import SILENCE, Answer, ok, says
from tests.conformance.steps import Agent, Got, Play, forwarded
from tests.support.process import wait_until


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as running:
        yield running


class Crowd:
    """Some agents that ask for the same while the origin has not answered the first of them yet."""

    def __init__(self, play: Play, pool: ThreadPoolExecutor, api: str) -> None:
        self.first = play.agent(api)
        self.script = self.first.script
        self.script.gate = threading.Event()
        self._pool = pool
        self._agents: list[Agent] = []
        self._calls: list[Future[Got]] = []

    def ask(self, answer: Answer, *asks: str) -> None:
        """One more asks; returns once the sidecar has the request."""
        self.script.answer = answer
        agent = self.first if not self._agents else self.first.twin()
        self._agents.append(agent)
        self._calls.append(self._pool.submit(agent.send, forwarded(answer, *asks)))
        agent.sidecar.wait_value(len(self._agents), "backstay_inflight_requests", api=agent.api)

    def answered(self) -> list[Got]:
        """What each got, once the origin answers."""
        assert self.script.gate is not None
        self.script.gate.set()
        answers = [call.result() for call in self._calls]
        for agent in self._agents:
            agent.close()
        return answers


@pytest.mark.parametrize("api", ["shared", "credential", "ttl"])
def test_section_4_requests_for_the_same_are_collapsed(play: Play, pool: ThreadPoolExecutor, api: str) -> None:
    """The origin is asked once, all get its answer, and those that waited say so."""
    crowd = Crowd(play, pool, api)
    for _ in range(3):
        crowd.ask(ok("Cache-Control: max-age=60", body="one for all"))
    answers = crowd.answered()
    assert [got.body for got in answers] == ["one for all"] * 3
    assert len(crowd.script.asked) == 1
    assert ["collapsed" in got.cache_status for got in answers] == [False, True, True]


@pytest.mark.parametrize("answer", [ok("Cache-Control: no-store"), ok("Vary: *")], ids=["no-store", "vary"])
def test_section_4_an_answer_for_one_is_not_given_to_all(play: Play, pool: ThreadPoolExecutor, answer: Answer) -> None:
    """If the answer may not be stored, those that waited ask for themselves."""
    crowd = Crowd(play, pool, "shared")
    crowd.ask(answer)
    crowd.ask(answer)
    assert [got.status for got in crowd.answered()] == [200, 200]
    assert len(crowd.script.asked) == 2


@pytest.mark.parametrize("answer", [says(503), SILENCE], ids=["503", "silence"])
def test_section_4_a_failure_is_given_to_all(play: Play, pool: ThreadPoolExecutor, answer: Answer) -> None:
    """Nobody asks an origin again that has just failed: the crowd would be the end of it."""
    crowd = Crowd(play, pool, "shared")
    crowd.ask(answer)
    crowd.ask(answer)
    answers = crowd.answered()
    assert {got.status for got in answers} <= {502, 503}
    assert len(crowd.script.asked) in ({1} if answer.status else {1, 2})  # silence: a reused connection is renewed once


def test_section_4_callers_are_not_collapsed_with_each_other(play: Play, pool: ThreadPoolExecutor) -> None:
    """One caller's answer is not another's, not even while both wait."""
    crowd = Crowd(play, pool, "credential")
    crowd.ask(ok("Cache-Control: max-age=60"), "Authorization: Bearer one")
    crowd.ask(ok("Cache-Control: max-age=60"), "Authorization: Bearer two")
    wait_until(lambda: len(crowd.script.asked) == 2, "both requests at the origin")
    assert [got.status for got in crowd.answered()] == [200, 200]


def test_section_4_a_request_with_no_cache_is_not_collapsed(play: Play, pool: ThreadPoolExecutor) -> None:
    """An agent that wants an answer newer than its request does not get one that was asked for before."""
    crowd = Crowd(play, pool, "shared")
    crowd.ask(ok("Cache-Control: max-age=60"))
    crowd.ask(ok("Cache-Control: max-age=60"), "Cache-Control: no-cache")
    wait_until(lambda: len(crowd.script.asked) == 2, "both requests at the origin")
    assert [got.status for got in crowd.answered()] == [200, 200]
