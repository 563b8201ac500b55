"""``key_body``: reads that are made by POST or QUERY. RFC 9110, 9.3.3, and RFC 9111, section 2, allow a cache to."""

from __future__ import annotations

from typing import Final

import pytest

from tests.conformance.origin import ok
from tests.conformance.steps import Play, Steps, cases, forwarded, hit

FRESH: Final = ok("Cache-Control: max-age=60")
ONE: Final = {"method": "POST", "content": b'{"query": 1}'}
TWO: Final = {"method": "POST", "content": b'{"query": 2}'}

CASES: Final[dict[str, Steps]] = {
    "the same body": [forwarded(FRESH, **ONE), hit(**ONE)],
    "another body": [forwarded(FRESH, **ONE), forwarded(FRESH, **TWO), hit(source=1, **ONE), hit(source=2, **TWO)],
    "the same body by another method": [
        forwarded(FRESH, **ONE),
        forwarded(ok(), method="QUERY", content=b'{"query": 1}'),
    ],
    "a GET": [forwarded(FRESH, **ONE), forwarded(ok())],
    "no explicit freshness": [forwarded(ok("Last-Modified: {-100000}"), **ONE), forwarded(ok(), **ONE)],
    "no-store": [forwarded(ok("Cache-Control: no-store"), **ONE), forwarded(ok(), **ONE)],
    "a QUERY": [
        forwarded(FRESH, method="QUERY", content=b"1"),
        hit(method="QUERY", content=b"1"),
        forwarded(ok(), method="QUERY", content=b"2"),
    ],
    "another method invalidates only its own target": [
        forwarded(FRESH, **ONE),
        forwarded(ok(), method="PUT", path="/other", content=b"x"),
        hit(source=1, **ONE),
    ],
    # RFC 9110, 13.1.2: to a POST, If-None-Match means "do it only if this is not there"
    "a stale one with a tag": [
        forwarded(ok("Cache-Control: max-age=60", "Age: 100", 'ETag: "a"'), **ONE),
        forwarded(ok("Cache-Control: max-age=60", 'ETag: "a"'), unsent=("If-None-Match",), **ONE),
        hit(**ONE),
    ],
}


@cases(CASES)
def test_reads_by_post(play: Play, steps: Steps) -> None:
    """Where the operator says that a POST is a read, method, target and body together are what is asked for."""
    play("reads", steps)


@pytest.mark.parametrize("line", ["X-Request-Id: 1", "Accept: text/plain"])
def test_reads_by_post_other_fields_do_not_count(play: Play, line: str) -> None:
    """Unless Vary names them, as for any answer."""
    play("reads", [forwarded(FRESH, **ONE), hit(line, **ONE)])
