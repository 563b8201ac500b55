"""Owns dates in HTTP: the three forms in which they come, and the one in which they go (RFC 9110, 5.6.7).

Called by ``core/freshness.py``, ``core/storing.py`` and ``core/selection.py``.

=============  ================================
IMF-fixdate    Sun, 06 Nov 1994 08:49:37 GMT
RFC 850        Sunday, 06-Nov-94 08:49:37 GMT
asctime        Sun Nov  6 08:49:37 1994
=============  ================================

A cache that reads a date wrongly serves what it must not, so whatever is none of these is no date: a zone other than
GMT, one digit too few, a comma that is missing. Case alone is no matter (RFC 9111, 4.2).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_NUMBER: Final = {name.lower().encode(): number for number, name in enumerate(_MONTHS, 1)}

_SHORT: Final = rb"(?:mon|tue|wed|thu|fri|sat|sun)"
_LONG: Final = rb"(?:monday|tuesday|wednesday|thursday|friday|saturday|sunday)"
_TIME: Final = rb"([0-9]{2}):([0-9]{2}):([0-9]{2})"
_DAY_FIRST: Final = re.compile(
    rb"(?:%b, ([0-9]{2}) ([a-z]{3}) ([0-9]{4})|%b, ([0-9]{2})-([a-z]{3})-([0-9]{2})) %b gmt" % (_SHORT, _LONG, _TIME)
)
_MONTH_FIRST: Final = re.compile(rb"%b ([a-z]{3}) ([0-9 ][0-9]) %b ([0-9]{4})" % (_SHORT, _TIME))
_PIVOT: Final = 70  # a year of two digits is in the past from here on (RFC 9110: if it is 50 years ahead)
_LONGEST: Final = 64  # bytes; no date is that long
_LATEST: Final = 253_402_300_799.0  # the end of the year 9999


def parse(value: bytes) -> float | None:
    """A date as epoch seconds; None if it is not one."""
    if len(value) > _LONGEST:
        return None
    text = value.strip(b" \t").lower()
    if found := _DAY_FIRST.fullmatch(text):
        day, month, year, short_day, short_month, short_year, hour, minute, second = found.groups()
        if year is None:
            day, month, year = short_day, short_month, _century(short_year)
    elif found := _MONTH_FIRST.fullmatch(text):
        month, day, hour, minute, second, year = found.groups()
    else:
        return None
    return _seconds(int(year), _NUMBER.get(month, 0), int(day), (int(hour), int(minute), int(second)))


def _century(year: bytes) -> bytes:
    return (b"19" if int(year) >= _PIVOT else b"20") + year


def _seconds(year: int, month: int, day: int, time: tuple[int, int, int]) -> float | None:
    hour, minute, second = time
    leap = second == 60  # a leap second is the first of the next minute
    try:
        date = datetime(year, month, day, hour, minute, 59 if leap else second, tzinfo=UTC)
    except ValueError:
        return None
    return date.timestamp() + leap


def render(wall: float) -> bytes:
    """Epoch seconds as an IMF-fixdate; a moment that has none becomes the nearest that has."""
    date = datetime.fromtimestamp(min(max(wall, 0.0), _LATEST), UTC)
    text = f"{_DAYS[date.weekday()]}, {date.day:02} {_MONTHS[date.month - 1]} {date.year:04} {date:%H:%M:%S} GMT"
    return text.encode()
