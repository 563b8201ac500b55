"""The units of the configuration: what is read, what is refused and with which remedy, and the round trip."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import units
from proxy.config.units import Rate, UnitError

READERS: tuple[Callable[[object], object], ...] = (
    units.read_boolean,
    units.read_whole,
    units.read_duration,
    units.read_size,
    units.read_rate,
    units.read_ratio,
    units.read_address,
    units.read_status_range,
)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers(), max_size=1)
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("2s", 2.0),
        ("5m", 300.0),
        ("1h", 3600.0),
        ("1h30m", 5400.0),
        ("1.5s", 1.5),
        ("1m0.5s", 60.5),
        ("0s", 0.0),
        (0, 0.0),
        ("0", 0.0),
        (0.0, 0.0),
        ("1h1m1s1ms", 3661.001),
    ],
)
def test_reads_durations(text: object, seconds: float) -> None:
    """Units add up from the longest to the shortest, and only zero goes without one."""
    assert units.read_duration(text) == seconds


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (30, "a duration needs its unit: write 30s or 30ms"),
        ("30", "a duration needs its unit: write 30s or 30ms"),
        ("30 s", "write 30s"),
        ("5 minutes", "write 5m"),
        ("2hrs", "write 2h"),
        ("10msec", "write 10ms"),
        ("2 weeks", None),
        ("1s1h", None),
        ("", None),
        ("9" * 100 + "s", None),
        (None, None),
        (True, None),
        (["5s"], None),
    ],
)
def test_says_what_duration_was_meant(value: object, hint: str | None) -> None:
    """What a person plausibly meant is spelled out; the general remedy is there in any case."""
    with pytest.raises(UnitError, match="a duration") as caught:
        units.read_duration(value)
    assert (caught.value.remedy, caught.value.hint) == ("write a number with its unit: 250ms, 2s, 5m or 1h30m", hint)


def test_refuses_a_duration_of_centuries() -> None:
    """Far beyond a year is a slip of the finger, and would overflow timers."""
    with pytest.raises(UnitError, match="a year at most"):
        units.read_duration("99999999999h")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (0.25, "250ms"),
        (1.5, "1.5s"),
        (90.0, "1m30s"),
        (5400.0, "1h30m"),
        (60.25, "1m0.25s"),
        (1e-6, "0.001ms"),
    ],
)
def test_writes_the_shortest_duration(seconds: float, text: str) -> None:
    """The canonical form is what a person would write."""
    assert units.write_duration(seconds) == text


@given(st.integers(0, 366 * 24 * 3_600_000_000))
def test_durations_round_trip(microseconds: int) -> None:
    """Reading what was written gives the same seconds, to the microsecond."""
    seconds = microseconds / 1e6
    assert units.read_duration(units.write_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("value", "size"),
    [(0, 0), (17, 17), ("17", 17), ("512B", 512), ("64KiB", 65536), ("10MiB", 10 << 20), ("1TiB", 1 << 40)],
)
def test_reads_sizes(value: object, size: int) -> None:
    """Sizes are bytes, or a number with a binary unit."""
    assert units.read_size(value) == size


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("64KB", "sizes are binary: write 64KiB"),
        ("10 mib", "sizes are binary: write 10MiB"),
        ("1g", "sizes are binary: write 1GiB"),
        (-1, None),
        (True, None),
        (1.5, None),
        ("big", None),
        ("1.5MiB", None),
    ],
)
def test_refuses_what_is_no_size(value: object, hint: str | None) -> None:
    """Decimal units are refused with the binary one to write."""
    with pytest.raises(UnitError, match="a size") as caught:
        units.read_size(value)
    assert caught.value.hint == hint


def test_refuses_a_size_beyond_any_machine() -> None:
    """More than a pebibyte is a slip of the finger."""
    with pytest.raises(UnitError, match="at most"):
        units.read_size("9999999TiB")


@given(st.integers(0, 1 << 50))
def test_sizes_round_trip(size: int) -> None:
    """Reading what was written gives the same bytes."""
    assert units.read_size(units.write_size(size)) == size


@pytest.mark.parametrize(
    ("text", "rate"),
    [("10/s", Rate(10, 1.0)), ("600/m", Rate(600, 60.0)), ("5/100ms", Rate(5, 0.1)), ("1000/h", Rate(1000, 3600.0))],
)
def test_reads_rates(text: str, rate: Rate) -> None:
    """A rate keeps its quota and its window, since the RateLimit header tells both."""
    assert units.read_rate(text) == rate
    assert units.write_rate(rate) == text


@pytest.mark.parametrize(
    ("value", "expected", "hint"),
    [
        (100, "a rate", "a rate needs its time: write 100/s or 100/m"),
        ("100", "a rate", None),
        ("ten/s", "a rate", None),
        (True, "a rate", None),
        ("0/s", "a rate above zero", None),
        ("5/0s", "a rate above zero", None),
    ],
)
def test_refuses_what_is_no_rate(value: object, expected: str, hint: str | None) -> None:
    """A rate has a time, and lets something through."""
    with pytest.raises(UnitError) as caught:
        units.read_rate(value)
    assert (caught.value.expected, caught.value.hint) == (expected, hint)


@given(st.integers(1, 10**9), st.integers(1, 3_600_000))
def test_rates_round_trip(quota: int, milliseconds: int) -> None:
    """Reading what was written gives the same rate."""
    rate = Rate(quota, milliseconds / 1e3)
    assert units.read_rate(units.write_rate(rate)) == rate


@pytest.mark.parametrize(
    ("value", "ratio"), [(0.5, 0.5), ("50%", 0.5), ("0.5", 0.5), (".5", 0.5), (1, 1.0), (0, 0.0), ("12.5%", 0.125)]
)
def test_reads_ratios(value: object, ratio: float) -> None:
    """A share is a number from 0 to 1, or a percentage."""
    assert units.read_ratio(value) == ratio


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (20, "write 20%"),
        (-1, None),
        (200, None),
        (1.5, None),
        (float("nan"), None),
        ("half", None),
        (True, None),
        (None, None),
        ("150%", None),
        ("1" * 99, None),
    ],
)
def test_refuses_what_is_no_ratio(value: object, hint: str | None) -> None:
    """A whole number above one was most likely meant as a percentage."""
    with pytest.raises(UnitError, match="a ratio") as caught:
        units.read_ratio(value)
    assert caught.value.hint == hint


@given(st.floats(0, 1))
def test_ratios_round_trip(ratio: float) -> None:
    """Reading what was written gives the same share, whether it is written as a percentage or not."""
    written = units.write_ratio(ratio)
    assert units.read_ratio(written if "%" in written else float(written)) == ratio


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:7070", ("127.0.0.1", 7070)),
        ("[::1]:80", ("::1", 80)),
        ("localhost:0", ("localhost", 0)),
        ("0.0.0.0:1", ("0.0.0.0", 1)),
    ],
)
def test_reads_addresses(text: str, address: tuple[str, int]) -> None:
    """A host with its port, and back."""
    assert units.read_address(text) == address
    assert units.write_address(address) == text


@pytest.mark.parametrize(
    ("value", "fragment"),
    [
        (7070, "127.0.0.1:7070"),
        (":7070", "0.0.0.0:7070 for every interface"),
        ("localhost", "[::1]:7070"),
        ("::1:80", "[::1]:7070"),
        ("[:::1]:80", "in brackets"),
        ("1.2.3:80", "IPv4"),
        ("a:99999", "65535"),
        (True, "host:port"),
        (None, "host:port"),
    ],
)
def test_refuses_what_is_no_address(value: object, fragment: str) -> None:
    """The remedy shows the address that was meant, where that can be told."""
    with pytest.raises(UnitError, match="an address") as caught:
        units.read_address(value)
    assert fragment in (caught.value.hint or caught.value.remedy)


@pytest.mark.parametrize(("value", "codes"), [(503, (503, 503)), ("503", (503, 503)), ("500-599", (500, 599))])
def test_reads_status_ranges(value: object, codes: tuple[int, int]) -> None:
    """A code or a range of codes, and back."""
    assert units.read_status_range(value) == codes
    assert units.read_status_range(units.write_status_range(codes)) == codes


@pytest.mark.parametrize(
    ("value", "hint"),
    [("5xx", "write 500-599"), ("599-500", None), (700, None), (True, None), (None, None), ("503,504", None)],
)
def test_refuses_what_is_no_status(value: object, hint: str | None) -> None:
    """A class of codes is written as a range."""
    with pytest.raises(UnitError, match="a status code") as caught:
        units.read_status_range(value)
    assert caught.value.hint == hint


def test_switches() -> None:
    """Off and false mean the same, quoted by a templating tool or not; on and yes are mere strings."""
    assert all(units.is_off(value) for value in ("off", "false", False))
    assert not any(units.is_off(value) for value in ("no", "on", 0, None, "OFF", True))
    assert (units.read_boolean(True), units.read_boolean("false")) == (True, False)
    assert (units.read_whole(3), units.read_whole("42")) == (3, 42)


@pytest.mark.parametrize("value", ["yes", "on", 1, None])
def test_refuses_what_is_no_boolean(value: object) -> None:
    """Only true and false are booleans."""
    with pytest.raises(UnitError, match="true or false"):
        units.read_boolean(value)


@pytest.mark.parametrize("value", [True, 3.0, "3.0", "-3", "", "9" * 99, None])
def test_refuses_what_is_no_whole_number(value: object) -> None:
    """Neither booleans nor decimals are whole numbers."""
    with pytest.raises(UnitError, match="a whole number"):
        units.read_whole(value)


@given(st.sampled_from(READERS), scalars)
def test_readers_raise_nothing_but_unit_errors(read: Callable[[object], object], value: object) -> None:
    """Whatever YAML gives, a reader answers or says what to write."""
    try:
        read(value)
    except UnitError as error:
        assert error.remedy  # noqa: PT017 - it is the only exception, and it always carries a remedy
