"""RFC 9110, section 14: ranges, out of what is stored and past the cache."""

from __future__ import annotations

from typing import Final

import pytest

from tests.conformance.conftest import BOTH
from tests.conformance.origin import ok, says, unmodified
from tests.conformance.steps import Play, Step, Steps, cases, forwarded, hit, validated

TEXT: Final = "0123456789"


def stored(*fields: str) -> Step:
    """A fresh answer of ten bytes."""
    return forwarded(ok("Cache-Control: max-age=600", *fields, body=TEXT))


def part(range_: str, body: str, span: str, *asks: str) -> Step:
    """A part of it, from the cache."""
    return hit(
        f"Range: {range_}",
        *asks,
        status=206,
        body=body,
        shows=(f"Content-Range: bytes {span}/10", f"Content-Length: {len(body)}"),
    )


def whole(*asks: str) -> Step:
    """All of it, from the cache."""
    return hit(*asks, status=200, body=TEXT, hides=("Content-Range",))


CASES: Final[dict[str, Steps]] = {
    # 14.1.2
    "from the first byte": [stored(), part("bytes=0-1", "01", "0-1")],
    "in the middle": [stored(), part("bytes=4-6", "456", "4-6")],
    "to the end": [stored(), part("bytes=7-", "789", "7-9")],
    "the last bytes": [stored(), part("bytes=-2", "89", "8-9")],
    "more last bytes than there are": [stored(), part("bytes=-50", TEXT, "0-9")],
    "beyond the end": [stored(), part("bytes=7-50", "789", "7-9")],
    "all of it": [stored(), part("bytes=0-", TEXT, "0-9")],
    "the unit in other letters": [stored(), part("Bytes=0-1", "01", "0-1")],
    # 15.5.17
    "only what there is not": [
        stored(),
        hit("Range: bytes=10-", status=416, body="", shows=("Content-Range: bytes */10",)),
    ],
    "no last bytes at all": [
        stored(),
        hit("Range: bytes=-0", status=416, body="", shows=("Content-Range: bytes */10",)),
    ],
    # 14.2
    "another unit is ignored": [stored(), whole("Range: lines=0-1")],
    "what is no range is ignored": [stored(), whole("Range: bytes=x")],
    "a range whose end is before its start is ignored": [stored(), whole("Range: bytes=5-2")],
    # 13.1.5
    "If-Range with the tag that is stored": [
        stored('ETag: "a"'),
        part("bytes=0-1", "01", "0-1", 'If-Range: "a"'),
    ],
    "If-Range with another tag": [stored('ETag: "a"'), whole("Range: bytes=0-1", 'If-Range: "b"')],
    "If-Range with a weak tag": [stored('ETag: W/"a"'), whole("Range: bytes=0-1", 'If-Range: W/"a"')],
    "If-Range where no tag is stored": [stored(), whole("Range: bytes=0-1", 'If-Range: "a"')],
    "If-Range with another time": [
        stored("Last-Modified: Tue, 15 Nov 1994 12:45:26 GMT"),
        whole("Range: bytes=0-1", "If-Range: Tue, 15 Nov 1995 12:45:26 GMT"),
    ],
    # 13.2.2
    "a condition is judged before the range": [
        stored('ETag: "a"'),
        hit("Range: bytes=0-1", 'If-None-Match: "a"', status=304),
    ],
    "for a status other than 200 the range is ignored": [
        forwarded(says(404, "Cache-Control: max-age=600", body=TEXT)),
        hit("Range: bytes=0-1", status=404, body=TEXT),
    ],
}

PASSED: Final[dict[str, Steps]] = {
    "nothing stored": [
        forwarded(
            says(206, "Content-Range: bytes 2-3/10", body="23"),
            "Range: bytes=2-3",
            'If-Range: "a"',
            sent=("Range: bytes=2-3", 'If-Range: "a"'),
            shows=("Content-Range: bytes 2-3/10",),
        ),
        forwarded(ok()),
    ],
    "something stale stored": [
        forwarded(ok("Cache-Control: max-age=60", "Age: 100", body=TEXT)),
        forwarded(says(206, "Content-Range: bytes 2-3/10", body="23"), "Range: bytes=2-3", sent=("Range: bytes=2-3",)),
    ],
    "a 416 of the origin's": [
        forwarded(says(416, "Content-Range: bytes */10"), "Range: bytes=20-", sent=("Range: bytes=20-",)),
        forwarded(ok()),
    ],
    "an origin that gives the whole": [
        forwarded(ok("Cache-Control: max-age=600", body=TEXT), "Range: bytes=2-3"),
        hit(body=TEXT),
    ],
}


@pytest.mark.parametrize("api", [*BOTH, "ttl"])
@cases(CASES)
def test_section_14_ranges_of_what_is_stored(play: Play, api: str, steps: Steps) -> None:
    """A fresh whole answers any part of it."""
    play(api, steps)


@pytest.mark.parametrize("api", BOTH)
@cases(PASSED)
def test_section_14_ranges_pass_unharmed(play: Play, api: str, steps: Steps) -> None:
    """What the cache cannot answer goes on as it came, and a part that comes back is not stored."""
    play(api, steps)


def test_section_14_several_ranges_are_answered_in_one_way_or_another(play: Play) -> None:
    """All of it, or parts that add up: never one part as if it were the answer."""
    agent = play.agent("shared")
    agent.script.answer, agent.script.body = ok("Cache-Control: max-age=600"), TEXT
    agent.send(forwarded(agent.script.answer))
    got = agent.send(hit("Range: bytes=0-1, 4-5"))
    if got.status == 206:
        assert got.joined("Content-Type").startswith("multipart/byteranges")
    else:
        assert (got.status, got.body) == (200, TEXT)
    agent.close()


def test_section_14_2_a_range_on_a_head_means_nothing(play: Play) -> None:
    """Range is defined for GET."""
    play(
        "shared",
        [stored(), hit("Range: bytes=0-1", method="HEAD", shows=("Content-Length: 10",), hides=("Content-Range",))],
    )


def test_section_14_a_part_does_not_stand_for_a_stale_whole(play: Play) -> None:
    """The part comes from the origin, and makes nothing fresh: the next request for the whole gets the whole."""
    play(
        "shared",
        [
            forwarded(ok("Cache-Control: max-age=60", "Age: 100", 'ETag: "a"', body=TEXT)),
            forwarded(
                says(206, "Cache-Control: max-age=600", "Content-Range: bytes 2-3/10", 'ETag: "a"', body="23"),
                "Range: bytes=2-3",
            ),
            validated(unmodified('ETag: "a"'), source=1, body=TEXT),
        ],
    )


def test_section_14_a_validated_whole_answers_a_part(play: Play) -> None:
    """Once validated, it is as good as any."""
    play(
        "shared",
        [
            forwarded(ok("Cache-Control: max-age=60", "Age: 100", 'ETag: "a"', body=TEXT)),
            validated(unmodified("Cache-Control: max-age=60", 'ETag: "a"'), body=TEXT),
            part("bytes=0-1", "01", "0-1"),
        ],
    )
