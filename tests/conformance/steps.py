"""The notation of the conformance tests: a case is a few steps, each a request and what must become of it.

Used by every test of this folder. ``forwarded(ok("Cache-Control: max-age=60"))`` reads: this request reaches the
origin, which says so, and the agent gets that; ``hit()``: the next one is answered by the cache, and the origin is not
asked. Answers are made stale by an Age or a Date, never by waiting.

==============================  =============================================================================
``forwarded(answer, *asks)``     the origin is asked once, and the agent gets its answer
``validated(answer, *asks)``     the origin is asked once, whether what is stored still holds, and says that it does
``hit(*asks)``                   the origin is not asked; the agent gets the answer of the latest forwarded step
``stale(answer, *asks)``         the origin fails, and the agent gets the stored answer, marked as stale
``aged(*asks)``                  the origin is not asked; the agent gets a stored answer that is past its freshness
``behind(answer, *asks)``        the agent gets such an answer, and the origin is asked behind its back
``refused(status, *asks)``       the origin is not asked, and the agent gets an error of the cache
==============================  =============================================================================

``asks`` are fields of the request. Further: ``method``, ``path`` (behind the path of the test), ``content`` (of the
request), ``status`` and ``body`` (that the agent gets, if not those that follow from the step), ``source`` (the number
of the step whose answer the agent gets), ``shows`` and ``hides`` (fields of the answer), ``age``, ``sent`` and
``unsent`` (fields that reached the origin).
"""

from __future__ import annotations

import http.client
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import pytest

from tests.conformance.origin import Answer, Asked, Origin, Script, fill
from tests.support.process import PATIENCE, Sidecar, wait_until

_BODILESS: Final = frozenset({204, 304})


@dataclass(frozen=True)
class Step:
    """One request, and what must become of it."""

    becomes: str
    answer: Answer | None = None
    asks: tuple[str, ...] = ()
    method: str = "GET"
    path: str = ""
    content: bytes = b""
    status: int | None = None
    body: str | None = None
    source: int | None = None
    shows: tuple[str, ...] = ()
    hides: tuple[str, ...] = ()
    age: int | None = None
    sent: tuple[str, ...] = ()
    unsent: tuple[str, ...] = ()


Steps: TypeAlias = Sequence[Step]


def forwarded(answer: Answer, *asks: str, **more: Any) -> Step:
    return Step("forwarded", answer, asks, **more)


def validated(answer: Answer, *asks: str, **more: Any) -> Step:
    return Step("validated", answer, asks, **more)


def hit(*asks: str, **more: Any) -> Step:
    return Step("hit", None, asks, **more)


def aged(*asks: str, **more: Any) -> Step:
    return Step("aged", None, asks, **more)


def stale(answer: Answer, *asks: str, **more: Any) -> Step:
    return Step("stale", answer, asks, **more)


def behind(answer: Answer, *asks: str, **more: Any) -> Step:
    return Step("behind", answer, asks, **more)


def refused(status: int, *asks: str, **more: Any) -> Step:
    return Step("refused", None, asks, status=status, **more)


def cases(table: Mapping[str, Steps]) -> pytest.MarkDecorator:
    """Run a test once for each case: a sentence, and the steps that show it."""
    return pytest.mark.parametrize("steps", [*table.values()], ids=[re.sub(r"[^\w=*-]+", "-", name) for name in table])


@dataclass(frozen=True)
class Got:
    """An answer as the agent got it."""

    status: int
    fields: tuple[tuple[str, str], ...]
    body: str

    def values(self, name: str) -> list[str]:
        return [value for each, value in self.fields if each.lower() == name.lower()]

    def joined(self, name: str) -> str:
        return ", ".join(self.values(name))

    @property
    def cache_status(self) -> str:
        """Our member of Cache-Status (RFC 9211)."""
        members = self.joined("Cache-Status").split(", ")
        return next((member for member in members if member.partition(";")[0] == "backstay"), "")


@dataclass
class Agent:
    """An agent of one test, with the script of its origin."""

    sidecar: Sidecar
    origin: Origin
    api: str
    ident: str
    script: Script = field(default_factory=Script)
    _connection: http.client.HTTPConnection | None = None

    def send(self, step: Step) -> Got:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self.sidecar.ports["agent"], timeout=PATIENCE)
        connection = self._connection
        connection.putrequest(step.method, f"/{self.api}/{self.ident}{step.path}", skip_accept_encoding=True)
        for line in step.asks:
            name, _, value = fill(line, origin=self.origin.url, path=f"/{self.ident}").partition(": ")
            connection.putheader(name, value)
        if step.content:
            connection.putheader("Content-Length", str(len(step.content)))
        connection.endheaders(step.content)
        response = connection.getresponse()
        return Got(response.status, tuple(response.getheaders()), response.read().decode())

    def send_raw(self, *lines: str) -> str:
        """All that comes back for a GET, interim answers too."""
        with self.sidecar.connect() as connection:
            head = (f"GET /{self.api}/{self.ident} HTTP/1.1", "Host: test", "Connection: close", *lines, "", "")
            connection.sendall("\r\n".join(head).encode())
            with connection.makefile("rb") as file:
                return file.read().decode()

    def twin(self) -> Agent:
        """Another agent that asks for the same."""
        return Agent(self.sidecar, self.origin, self.api, self.ident, self.script)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


class Play:
    """Plays the steps of a case against one api of the sidecar, and says what went otherwise."""

    def __init__(self, sidecar: Sidecar, origin: Origin) -> None:
        self._sidecar = sidecar
        self._origin = origin
        self._idents = itertools.count(1)

    def agent(self, api: str) -> Agent:
        """An agent with a path of its own, for a test that no table can hold."""
        agent = Agent(self._sidecar, self._origin, api, f"case{next(self._idents)}")
        self._origin.scripts[agent.ident] = agent.script
        return agent

    def __call__(self, api: str, steps: Steps) -> None:
        agent = self.agent(api)
        texts: list[str] = []
        try:
            for number, step in enumerate(steps, 1):
                texts.append(self._step(agent, number, step, texts))
        finally:
            agent.close()

    def _step(self, agent: Agent, number: int, step: Step, texts: Sequence[str]) -> str:
        """Play one step; returns the text that a later hit would give again."""
        agent.script.answer = step.answer
        agent.script.body = f"answer {number} of {agent.ident}"
        agent.script.asked.clear()
        got = agent.send(step)
        if step.becomes == "behind":
            wait_until(lambda: agent.script.asked, "the refresh behind the answer")
        asked = [*agent.script.asked]
        own = step.answer.body if step.answer and step.answer.body is not None else agent.script.body
        kept = texts[step.source - 1] if step.source else texts[-1] if texts else own
        expected = own if step.becomes == "forwarded" else kept
        wrong = [*faults(step, got, asked, expected, fill_in=lambda text: self._fill(text, agent))]
        assert not wrong, "\n".join(
            [f"step {number} is not {step.becomes}:", *wrong, f"{step}", f"{got}", *(f"{each}" for each in asked)]
        )
        return own if step.becomes == "forwarded" and step.method != "HEAD" else kept

    def _fill(self, text: str, agent: Agent) -> str:
        return fill(text, origin=self._origin.url, path=f"/{agent.ident}")


def faults(
    step: Step, got: Got, asked: Sequence[Asked], expected: str, *, fill_in: Callable[[str], str]
) -> Iterator[str]:
    """What is not as the step has it."""
    yield from _route_faults(step, got, asked)
    if got.status != (status := _status(step)):
        yield f"status {got.status}, not {status}"
    bodiless = step.method == "HEAD" or status in _BODILESS
    text = step.body if step.body is not None else "" if bodiless else expected
    if got.body != text and (step.becomes != "refused" or step.body is not None):
        yield f"body {got.body!r}, not {text!r}"
    for line in map(fill_in, step.shows):
        name, _, value = line.partition(": ")
        if got.joined(name) != value if value else not got.values(name):
            yield f"{name} is {got.values(name)}, not {value!r}"
    for name in step.hides:
        if got.values(name):
            yield f"{name} is there: {got.values(name)}"
    if step.age is not None and not _about(got.joined("Age"), step.age):
        yield f"Age is {got.values('Age')}, not {step.age} or a little more"
    for request in asked:
        yield from _request_faults(step, request, fill_in)


def _status(step: Step) -> int:
    """The status that the agent is to get."""
    if step.status is not None:
        return step.status
    return step.answer.status if step.answer and step.becomes == "forwarded" else 200


def _about(age: str, expected: int) -> bool:
    return age.isdecimal() and expected <= int(age) <= max(expected + PATIENCE, 1e12 * (expected == 0))


def _route_faults(step: Step, got: Got, asked: Sequence[Asked]) -> Iterator[str]:
    """Whether it went to the origin or not, and whether Cache-Status says so."""
    times = {0} if step.becomes in {"hit", "aged", "refused"} else {1}
    if step.answer and step.answer.trouble == "silence":
        times.add(2)  # a connection that was open already may have been closed meanwhile: that is tried once again
    if len(asked) not in times:
        yield f"the origin was asked {len(asked)} times, not {times}"
    if step.becomes == "validated" and asked and not asked[0].conditional:
        yield "the origin was asked without a condition"
    outcome = {"hit": "hit", "aged": "stale", "stale": "stale", "behind": "stale"}.get(step.becomes, "")
    if outcome and got.joined("Backstay-Outcome") != outcome:
        yield f"Backstay-Outcome is {got.values('Backstay-Outcome')}, not {outcome!r}"
    if outcome and not _about(got.joined("Age"), 0):
        yield f"Age is {got.values('Age')}"
    if (step.becomes in {"hit", "aged", "behind"}) != ("; hit" in got.cache_status):
        yield f"Cache-Status is {got.values('Cache-Status')}"


def _request_faults(step: Step, request: Asked, fill_in: Callable[[str], str]) -> Iterator[str]:
    for line in map(fill_in, step.sent):
        name, _, value = line.partition(": ")
        found = ", ".join(request.values(name))
        if found != value if value else not found:
            yield f"the origin got {name}: {found!r}, not {value!r}"
    for name in step.unsent:
        if request.values(name):
            yield f"the origin got {name}: {request.values(name)}"
