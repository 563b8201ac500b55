"""Tests of descriptors.py: there are never more connections than file descriptors."""

from __future__ import annotations

import logging
import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.descriptors import Room, make_room, room

NONE = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("wanted", "soft", "hard", "made"),
    [
        (100, 1024, 4096, Room(1024, 100)),
        (1000, 1024, 4096, Room(2128, 1000)),
        (20_000, 1024, 4096, Room(4096, 1984)),
        (20_000, 1024, NONE, Room(40_128, 20_000)),
        (20_000, NONE, NONE, Room(NONE, 20_000)),
        (20_000, 100, 100, Room(100, 1)),
    ],
)
def test_what_fits(wanted: int, soft: int, hard: int, made: Room) -> None:
    """The limit is raised as far as it has to be and may be; what does not fit is not accepted."""
    assert room(wanted, soft, hard) == made


@given(wanted=st.integers(1, 10**6), soft=st.integers(128 + 2, 10**6), more=st.integers(0, 10**6))
def test_descriptors_suffice(wanted: int, soft: int, more: int) -> None:
    """No limit is lowered or raised beyond what is allowed, and every connection can have its two."""
    made = room(wanted, soft, soft + more)
    assert soft <= made.soft <= soft + more
    assert 1 <= made.connections <= wanted
    assert 128 + 2 * made.connections <= made.soft


def test_the_limit_of_this_process(caplog: pytest.LogCaptureFixture) -> None:
    """It is raised, and where it cannot be, that is said with what to do."""
    before = soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    low = min(soft, 300)
    resource.setrlimit(resource.RLIMIT_NOFILE, (low, hard))
    try:
        assert make_room(90) == 90
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (max(308, low), hard)
        with caplog.at_level(logging.WARNING, "backstay"):
            assert make_room(10**9) < 10**9
        assert caplog.messages == ["limits.connections is more than there are file descriptors for"] * (hard != NONE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
