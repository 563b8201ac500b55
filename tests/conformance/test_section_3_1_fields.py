"""RFC 9111, section 3.1: which fields are stored with an answer; section 3.3: what is not whole is not stored."""

from __future__ import annotations

import http.client
from typing import Final

import pytest

from tests.conformance.conftest import BOTH
from tests.conformance.origin import ok, says
from tests.conformance.steps import Play, Steps, cases, forwarded, hit

KEPT: Final = (
    "Foo: bar",
    "X-Foo: bar",
    "Content-Type: text/x-test",
    "Content-Language: de",
    "Content-Encoding: identity",
    "Content-Location: {path}/other",
    "Content-Security-Policy: default-src 'self'",
    'ETag: "abc"',
    "Expires: {+60}",
    "Last-Modified: {-60}",
    "Date: {-5}",
    "Cache-Control: max-age=60",
    "Location: /elsewhere",
    "Retry-After: 5",
    "Server: origin",
    "Set-Cookie: a=1",
    "Warning: 199 - said",
    "WWW-Authenticate: Basic",
    "Allow: GET, PUT",
)

DROPPED: Final = ("Keep-Alive: timeout=5", "Proxy-Connection: keep-alive", "Upgrade: h2c", "Proxy-Authenticate: Basic")

QUALIFIED: Final[dict[str, Steps]] = {
    "no-cache with one field": [
        forwarded(ok('Cache-Control: max-age=60, no-cache="A"', "A: 1", "B: 2")),
        hit(hides=("A",), shows=("B: 2",)),
    ],
    "no-cache with some fields": [
        forwarded(ok('Cache-Control: max-age=60, no-cache="a, B"', "A: 1", "B: 2", "C: 3")),
        hit(hides=("A", "B"), shows=("C: 3",)),
    ],
    "private with one field": [
        forwarded(ok('Cache-Control: max-age=60, private="A"', "A: 1", "B: 2")),
        hit(hides=("A",), shows=("B: 2",)),
    ],
}


@pytest.mark.parametrize("line", KEPT, ids=lambda line: line.partition(":")[0])
def test_section_3_1_stores_a_field(play: Play, line: str) -> None:
    """Every field that is not of one connection is stored, known or not."""
    fresh = () if line.startswith(("Cache-Control", "Expires")) else ("Cache-Control: max-age=60",)
    play("shared", [forwarded(ok(*fresh, line)), hit(shows=(line,) if "{" not in line else (line.partition(":")[0],))])


@pytest.mark.parametrize("line", DROPPED, ids=lambda line: line.partition(":")[0])
def test_section_3_1_stores_no_field_of_one_connection(play: Play, line: str) -> None:
    """A field that spoke to the proxy alone is not given to an agent."""
    play("shared", [forwarded(ok("Cache-Control: max-age=60", line)), hit(hides=(line.partition(":")[0],))])


def test_section_3_1_stores_no_field_that_connection_names(play: Play) -> None:
    """What Connection lists is not stored, and the rest is."""
    answer = ok("Cache-Control: max-age=60", "Connection: a, B", "A: 1", "B: 2", "C: 3")
    play("shared", [forwarded(answer, hides=("A", "B")), hit(hides=("A", "B"), shows=("C: 3",))])


def test_section_3_1_keeps_repeated_fields_apart_and_in_order(play: Play) -> None:
    """Two Set-Cookie lines cannot be one."""
    answer = ok("Cache-Control: max-age=60", "Set-Cookie: a=1", "Foo: 1", "Set-Cookie: b=2", "Foo: 2")
    play("shared", [forwarded(answer), hit(shows=("Set-Cookie: a=1, b=2", "Foo: 1, 2"))])


def test_section_3_1_a_trailer_does_not_become_a_header(play: Play) -> None:
    """Fields behind the body were never meant to be read before it."""
    answer = ok("Cache-Control: max-age=60", "Trailer: A", framing="chunked", trailer="A: 1")
    play("shared", [forwarded(answer), hit(hides=("A",))])


def test_section_3_an_interim_answer_is_passed_and_not_stored(play: Play) -> None:
    """Only final answers are stored: what a 103 hinted at is not given with a hit."""
    agent = play.agent("shared")
    agent.script.answer = ok("Cache-Control: max-age=60", body="final", early=("Link: </style.css>; rel=preload",))
    first, second = agent.send_raw(), agent.send_raw()
    assert first.startswith("HTTP/1.1 103 ")
    assert "Link: </style.css>" in first
    assert "\r\n\r\nHTTP/1.1 200 " in first
    assert second.startswith("HTTP/1.1 200 ")
    assert "; hit" in second
    assert "Link" not in second


@cases(QUALIFIED)
def test_section_3_1_fields_of_a_qualified_directive_are_not_given_again(play: Play, steps: Steps) -> None:
    """A shared cache uses such an answer without the fields that the directive names."""
    play("shared", steps)


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("api", [*BOTH, "ttl"])
def test_section_3_3_an_answer_that_was_cut_is_not_stored(play: Play, api: str, framing: str) -> None:
    """The agent notices that the answer is not whole, and nobody gets that half again."""
    agent = play.agent(api)
    agent.script.answer = ok("Cache-Control: max-age=60", body="x" * 100, framing=framing, trouble="cut")
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        agent.send(forwarded(agent.script.answer))
    agent.close()
    agent.script.answer = ok(body="whole")
    assert agent.send(forwarded(agent.script.answer)).body == "whole"
    assert len(agent.script.asked) == 2
    agent.close()


@pytest.mark.parametrize("api", [*BOTH, "ttl"])
def test_section_3_3_a_part_is_not_stored(play: Play, api: str) -> None:
    """Neither the same range nor the whole is answered with a part that came by."""
    part = says(206, "Cache-Control: max-age=60", "Content-Range: bytes 0-4/10", body="01234")
    play(
        api,
        [
            forwarded(part, "Range: bytes=0-4", sent=("Range: bytes=0-4",)),
            forwarded(part, "Range: bytes=0-4", sent=("Range: bytes=0-4",)),
            forwarded(ok()),
        ],
    )
