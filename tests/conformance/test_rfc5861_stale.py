"""RFC 5861: stale-while-revalidate and stale-if-error."""

from __future__ import annotations

from typing import Final

import pytest

from tests.conformance.conftest import BOTH
from tests.conformance.origin import SILENCE, Answer, ok, says, unmodified
from tests.conformance.steps import Agent, Got, Play, Steps, behind, cases, forwarded, hit, stale, validated
from tests.support.process import wait_until

FRESH: Final = "Cache-Control: max-age=60"
SWR: Final = "Cache-Control: max-age=60, stale-while-revalidate=600"

ON_ERRORS: Final[dict[str, Steps]] = {
    "within its window": [
        forwarded(ok("Cache-Control: max-age=60, stale-if-error=600", "Age: 100")),
        stale(says(503), age=100),
        stale(SILENCE, age=100),
    ],
    "beyond its window": [
        forwarded(ok("Cache-Control: max-age=60, stale-if-error=20", "Age: 100")),
        forwarded(says(503)),
    ],
    "not while the origin answers": [
        forwarded(ok("Cache-Control: max-age=60, stale-if-error=600", "Age: 100")),
        forwarded(ok()),
    ],
    "not on errors of the agent": [
        forwarded(ok("Cache-Control: max-age=60, stale-if-error=600", "Age: 100")),
        forwarded(says(404)),
    ],
    "not beside must-revalidate": [
        forwarded(ok("Cache-Control: max-age=60, stale-if-error=600, must-revalidate", "Age: 100")),
        forwarded(says(503)),
    ],
    "not for a request with no-cache": [
        forwarded(ok("Cache-Control: max-age=60, stale-if-error=600", "Age: 100")),
        forwarded(says(503), "Cache-Control: no-cache"),
    ],
}

BESIDES: Final[dict[str, Steps]] = {
    "beyond its window": [
        forwarded(ok("Cache-Control: max-age=60, stale-while-revalidate=20", "Age: 100", 'ETag: "a"')),
        validated(unmodified(FRESH, 'ETag: "a"')),
    ],
    "beyond the operator's ceiling": [
        forwarded(ok("Cache-Control: max-age=60, stale-while-revalidate=6000", "Age: 1000", 'ETag: "a"')),
        validated(unmodified(FRESH, 'ETag: "a"')),
    ],
    "not beside must-revalidate": [
        forwarded(ok("Cache-Control: max-age=60, stale-while-revalidate=20, must-revalidate", "Age: 70", 'ETag: "a"')),
        validated(unmodified(FRESH, 'ETag: "a"')),
    ],
    "not beside no-cache": [
        forwarded(ok("Cache-Control: no-cache, stale-while-revalidate=20", 'ETag: "a"')),
        validated(unmodified(FRESH, 'ETag: "a"')),
    ],
    "not for a request with no-cache": [
        forwarded(ok("Cache-Control: max-age=60, stale-while-revalidate=20", "Age: 65", 'ETag: "a"')),
        validated(unmodified(FRESH, 'ETag: "a"'), "Cache-Control: no-cache"),
    ],
    "not where the answer does not say so": [
        forwarded(ok(FRESH, "Age: 65", 'ETag: "a"')),
        validated(unmodified(FRESH, 'ETag: "a"')),
    ],
}


def refreshed(agent: Agent, refresh: Answer) -> Got:
    """The first answer after the refresh behind a stale one has been stored."""
    agent.script.body = "first"
    agent.script.answer = ok(SWR, "Age: 65", 'ETag: "a"', "Foo: old")
    agent.send(forwarded(agent.script.answer))
    agent.script.asked.clear()
    agent.script.answer, agent.script.body = refresh, "second"
    assert agent.send(hit()).body == "first"
    wait_until(lambda: agent.script.asked, "the refresh")
    agent.script.answer = None

    def got() -> Got | None:
        answer = agent.send(hit())
        return answer if answer.joined("Foo") == "new" else None

    found = wait_until(got, "the refreshed answer")
    assert found is not None
    return found


@cases(ON_ERRORS)
def test_section_4_stale_if_error(play: Play, steps: Steps) -> None:
    """An answer may carry its own leave to stand in for an error; the operator has given none here."""
    play("strict", steps)


@pytest.mark.parametrize("api", BOTH)
@cases(BESIDES)
def test_section_3_stale_while_revalidate_has_its_limits(play: Play, api: str, steps: Steps) -> None:
    """The agent waits for the origin where the window has passed or something forbids a stale answer."""
    play(api, steps)


@pytest.mark.parametrize("api", BOTH)
def test_section_3_the_agent_does_not_wait_for_the_origin(play: Play, api: str) -> None:
    """Within the window the stale answer comes at once, and the origin is asked behind it, with its validator."""
    first = forwarded(ok("Cache-Control: max-age=60, stale-while-revalidate=20", "Age: 65", 'ETag: "a"'))
    play(api, [first, behind(unmodified(FRESH, 'ETag: "a"'), age=65, sent=('If-None-Match: "a"',))])


@pytest.mark.parametrize("api", BOTH)
def test_section_3_a_304_behind_it_makes_it_fresh(play: Play, api: str) -> None:
    """What was validated behind the agent's back is fresh for the next."""
    agent = play.agent(api)
    got = refreshed(agent, unmodified(FRESH, 'ETag: "a"', "Foo: new"))
    assert (got.status, got.body) == (200, "first")
    agent.close()


@pytest.mark.parametrize("api", BOTH)
def test_section_3_a_new_answer_behind_it_replaces_it(play: Play, api: str) -> None:
    """What came behind the agent's back is what the next one gets."""
    agent = play.agent(api)
    got = refreshed(agent, ok(FRESH, 'ETag: "b"', "Foo: new"))
    assert (got.status, got.body) == (200, "second")
    agent.close()


def test_section_3_a_refresh_that_fails_leaves_the_stale_answer(play: Play) -> None:
    """The stale answer stays as good as it was."""
    answer = ok("Cache-Control: max-age=60, stale-while-revalidate=20", "Age: 65", 'ETag: "a"')
    play("shared", [forwarded(answer), behind(says(503), age=65)])
