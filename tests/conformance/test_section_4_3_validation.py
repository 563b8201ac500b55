"""RFC 9111, section 4.3: asking the origin whether what is stored still holds."""

from __future__ import annotations

from typing import Final

import pytest

from tests.conformance.conftest import BOTH
from tests.conformance.origin import Answer, ok, says, unmodified
from tests.conformance.steps import Play, Steps, cases, forwarded, hit, validated


def old(*fields: str) -> Answer:
    """An answer that is stale when it comes."""
    return ok("Cache-Control: max-age=60", "Age: 100", *fields)


FRESH: Final = "Cache-Control: max-age=60"

SENT: Final[dict[str, Steps]] = {
    "a strong tag": [forwarded(old('ETag: "a"')), validated(unmodified(), sent=('If-None-Match: "a"',))],
    "a weak tag": [forwarded(old('ETag: W/"a"')), validated(unmodified(), sent=('If-None-Match: W/"a"',))],
    "a time": [
        forwarded(old("Last-Modified: Tue, 15 Nov 1994 12:45:26 GMT")),
        validated(unmodified(), sent=("If-Modified-Since: Tue, 15 Nov 1994 12:45:26 GMT",), unsent=("If-None-Match",)),
    ],
    "both": [
        forwarded(old('ETag: "a"', "Last-Modified: Tue, 15 Nov 1994 12:45:26 GMT")),
        validated(unmodified(), sent=('If-None-Match: "a"', "If-Modified-Since: Tue, 15 Nov 1994 12:45:26 GMT")),
    ],
    "ours in place of the agent's tag": [
        forwarded(old('ETag: "a"')),
        validated(unmodified(), 'If-None-Match: "b"', sent=("If-None-Match",)),
    ],
}

ANSWERS: Final[dict[str, Steps]] = {
    "304: the stored answer is fresh again": [
        forwarded(old('ETag: "a"')),
        validated(unmodified(FRESH, 'ETag: "a"')),
        hit(),
    ],
    "304 to a time: the stored answer is fresh again": [
        forwarded(old("Last-Modified: {-100000}")),
        validated(unmodified(FRESH)),
        hit(),
    ],
    "304 without freshness of its own: the stored one counts anew": [
        forwarded(old('ETag: "a"')),
        validated(unmodified('ETag: "a"')),
        hit(age=0),
    ],
    "200: the new answer replaces the stored one": [
        forwarded(old('ETag: "a"')),
        forwarded(ok(FRESH, 'ETag: "b"'), sent=('If-None-Match: "a"',)),
        hit(source=2, shows=('ETag: "b"',)),
    ],
    "404: the new answer replaces the stored one": [
        forwarded(old('ETag: "a"')),
        forwarded(says(404, FRESH), sent=('If-None-Match: "a"',)),
        hit(source=2, status=404),
    ],
    "200 with no-store: neither is used again": [
        forwarded(old('ETag: "a"')),
        forwarded(ok("Cache-Control: no-store")),
        forwarded(ok()),
    ],
    "304 twice": [
        forwarded(old('ETag: "a"')),
        validated(unmodified("Cache-Control: max-age=0", 'ETag: "a"')),
        validated(unmodified(FRESH, 'ETag: "a"')),
        hit(),
    ],
}

UPDATED: Final = (
    "Foo: new",
    "X-Foo: new",
    "Cache-Control: max-age=77",
    "Content-Language: fr",
    "Content-Type: text/new",
    "Content-Security-Policy: default-src 'none'",
    "Content-Location: /new",
    "Content-Disposition: inline",
    "Expires: Tue, 15 Nov 2044 12:45:26 GMT",
    "Last-Modified: Tue, 15 Nov 1994 12:45:26 GMT",
    "Location: /new",
    "Server: new",
    "Set-Cookie: a=new",
    "Strict-Transport-Security: max-age=7",
    "Date: {-5}",
)

KEPT: Final = ("Content-Encoding: new", "Content-Range: bytes 0-1/2", "Content-Length: 3")


@pytest.mark.parametrize("api", BOTH)
@cases(SENT)
def test_section_4_3_1_sends_validators(play: Play, api: str, steps: Steps) -> None:
    """A stale answer with a validator is validated by it: by its tag, and by its time."""
    play(api, steps)


@pytest.mark.parametrize("api", BOTH)
@cases(ANSWERS)
def test_section_4_3_3_what_the_origin_says(play: Play, api: str, steps: Steps) -> None:
    """304 frees what is stored for use; any other answer is used instead of it."""
    play(api, steps)


@pytest.mark.parametrize("line", UPDATED, ids=lambda line: line.partition(":")[0])
def test_section_4_3_4_a_304_updates_a_field(play: Play, line: str) -> None:
    """Fields of a 304 replace those that are stored, and are given with what is used from then on."""
    name = line.partition(":")[0]
    dates = {"Expires", "Last-Modified", "Date"}
    before = () if name == "Cache-Control" else (f"{name}: {{-90}}" if name in dates else f"{name}: old",)
    fresh = () if name == "Cache-Control" else (FRESH,)
    shown = name if "{" in line else line
    play(
        "shared",
        [
            forwarded(ok("Cache-Control: max-age=60", "Age: 100", 'ETag: "a"', *before)),
            validated(unmodified('ETag: "a"', *fresh, line), shows=(shown,)),
            hit(shows=(shown,)),
        ],
    )


def test_section_4_3_4_a_304_adds_fields_and_leaves_others(play: Play) -> None:
    """What the 304 does not speak of stays as it was."""
    play(
        "shared",
        [
            forwarded(old('ETag: "a"', "Foo: old", "Bar: old")),
            validated(
                unmodified(FRESH, 'ETag: "a"', "Foo: new", "Baz: new"), shows=("Foo: new", "Bar: old", "Baz: new")
            ),
            hit(shows=("Foo: new", "Bar: old", "Baz: new")),
        ],
    )


def test_section_4_3_4_a_304_replaces_all_lines_of_a_field(play: Play) -> None:
    """Repeated lines are one field."""
    play(
        "shared",
        [
            forwarded(old('ETag: "a"', "Foo: 1", "Foo: 2")),
            validated(unmodified(FRESH, "Foo: 3", "Foo: 4"), shows=("Foo: 3, 4",)),
            hit(shows=("Foo: 3, 4",)),
        ],
    )


@pytest.mark.parametrize("line", KEPT, ids=lambda line: line.partition(":")[0])
def test_section_3_2_a_304_does_not_change_what_describes_the_body(play: Play, line: str) -> None:
    """Content-Length, -Encoding and -Range belong to the stored body; one that was not there stays away."""
    name, _, value = line.partition(": ")
    agent = play.agent("shared")
    agent.script.body = "stored"
    agent.script.answer = old('ETag: "a"', "Content-Encoding: old", "Content-Type: text/old")
    first = agent.send(forwarded(agent.script.answer))
    agent.script.answer = unmodified(FRESH, 'ETag: "a"', line)
    for got in (agent.send(hit()), agent.send(hit())):
        assert (got.status, got.body) == (200, "stored")
        assert got.values(name) == first.values(name)
        assert value not in got.values(name)
    agent.close()


def test_section_4_3_4_a_304_that_names_another_tag_is_not_about_what_is_stored(play: Play) -> None:
    """The agent, which made no condition, gets a whole answer under its own tag, and the next one gets the new."""
    agent = play.agent("shared")
    agent.script.answer = old('ETag: "a"')
    agent.script.body = "old"
    agent.send(forwarded(agent.script.answer))
    agent.script.answer = unmodified(FRESH, 'ETag: "b"', whole=ok(FRESH, 'ETag: "b"', body="new"))
    seen = [(got.status, got.body, got.joined("ETag")) for got in (agent.send(hit()), agent.send(hit()))]
    assert seen[0] in {(200, "old", '"a"'), (200, "new", '"b"')}
    assert seen[1] == (200, "new", '"b"')
    agent.close()


HEADS: Final[dict[str, Steps]] = {
    "another tag: the stored answer is not used again": [
        forwarded(ok(FRESH, 'ETag: "a"')),
        forwarded(ok(FRESH, 'ETag: "b"'), "Cache-Control: no-cache", method="HEAD"),
        forwarded(ok(FRESH, 'ETag: "b"')),
    ],
    "another time: the stored answer is not used again": [
        forwarded(ok(FRESH, "Last-Modified: {-5000}")),
        forwarded(ok(FRESH, "Last-Modified: {-1000}"), "Cache-Control: no-cache", method="HEAD"),
        forwarded(ok(FRESH)),
    ],
    "another length: the stored answer is not used again": [
        forwarded(ok(FRESH)),
        forwarded(ok(FRESH, "Content-Length: 4711"), "Cache-Control: no-cache", method="HEAD"),
        forwarded(ok(FRESH)),
    ],
}


@pytest.mark.parametrize("api", BOTH)
@cases(HEADS)
def test_section_4_3_5_a_head_tells_of_the_stored_answer(play: Play, api: str, steps: Steps) -> None:
    """The answer to a HEAD shows whether a GET would still give what is stored."""
    play(api, steps)


def test_section_4_3_5_a_head_updates_the_stored_answer(play: Play) -> None:
    """Same tag, same length: its fields are those of the HEAD from then on, and it is fresh again."""
    body = "the same"
    play(
        "shared",
        [
            forwarded(ok("Cache-Control: max-age=60", "Age: 100", 'ETag: "a"', "Foo: old", body=body)),
            forwarded(ok(FRESH, 'ETag: "a"', "Foo: new", body=body), method="HEAD"),
            hit(source=1, body=body, shows=("Foo: new",)),
        ],
    )
