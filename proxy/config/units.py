"""The values of a configuration that carry a unit, read from what people write and written back.

Called by ``schema.py`` for every such key. Each ``read_*`` takes what YAML gave and raises ``UnitError``
with what to write instead; each ``write_*`` is its inverse and gives the canonical form. Only the hint of
an error is made from the value, which may be a secret: whoever reports it knows whether it may be shown.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple

_DECIMAL: Final = r"[0-9]+(?:\.[0-9]+)?"
# The patterns go into the JSON Schema too, hence no lookaround: Helm reads them with RE2.
_FROM_S: Final = f"{_DECIMAL}s(?:{_DECIMAL}ms)?|{_DECIMAL}ms"
_FROM_M: Final = f"{_DECIMAL}m(?:{_DECIMAL}s)?(?:{_DECIMAL}ms)?"
DURATION: Final = f"(?:{_DECIMAL}h(?:{_DECIMAL}m)?(?:{_DECIMAL}s)?(?:{_DECIMAL}ms)?|{_FROM_M}|{_FROM_S})"
SIZE: Final = r"[0-9]+(?:B|KiB|MiB|GiB|TiB)?"
RATE: Final = f"[0-9]+/(?:ms|s|m|h|{DURATION})"
RATIO: Final = r"[0-9]+(?:\.[0-9]+)?%?|\.[0-9]+"
STATUS: Final = r"[1-5][0-9][0-9](?:-[1-5][0-9][0-9])?"
ADDRESS: Final = r"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z](?:[0-9A-Za-z._-]*[0-9A-Za-z])?):[0-9]{1,5}"

_MICROSECONDS: Final = {"h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1000}
_LONGEST: Final = 366 * 24 * _MICROSECONDS["h"]
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|h|m|s)")
_LOOSE_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)")
_TIME_NAMES: Final = {
    **dict.fromkeys(("ms", "msec", "msecs", "millis", "milliseconds"), "ms"),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "h"),
}
_BYTES: Final = {"TiB": 1 << 40, "GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1}
_LARGEST: Final = 1 << 50
_LOOSE_SIZE: Final = re.compile(r"([0-9]+)\s*([kmgt])(?:i?b)?", re.IGNORECASE)
_MAX_DIGITS: Final = 15
_STATUSES: Final = "a status code or a range of them"


class UnitError(ValueError):
    """A value that cannot be read: what it should be, what to write instead, and what was meant if that shows."""

    def __init__(self, expected: str, remedy: str, hint: str | None = None) -> None:
        super().__init__(expected)
        self.expected = expected
        self.remedy = remedy
        self.hint = hint


class Rate(NamedTuple):
    """So many calls (``quota``) in so many seconds (``window``)."""

    quota: int
    window: float


# --- switches ----------------------------------------------------------------------------------------


def is_off(value: object) -> bool:
    """Whether ``value`` switches something off: ``off`` and ``false`` mean the same."""
    return value is False or (isinstance(value, str) and value in {"off", "false"})


def read_boolean(value: object) -> bool:
    """``true`` or ``false``, as in YAML 1.2."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value in {"true", "false"}:
        return value == "true"
    raise UnitError("true or false", "write true or false")


def read_whole(value: object) -> int:
    """A whole number; digits in quotes will do, since ``${env:}`` gives text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(f"[0-9]{{1,{_MAX_DIGITS}}}", value):
        return int(value)
    raise UnitError("a whole number", "write a whole number such as 3")


# --- durations ---------------------------------------------------------------------------------------


def read_duration(value: object) -> float:
    """Seconds, from ``250ms``, ``2s``, ``5m``, ``1h`` or ``1h30m``; exact to the microsecond."""
    if not isinstance(value, str) or not _bounded(value) or not re.fullmatch(DURATION, value):
        if _is_zero(value):
            return 0.0
        raise UnitError("a duration", "write a number with its unit: 250ms, 2s, 5m or 1h30m", _duration_hint(value))
    microseconds = round(sum(float(count) * _MICROSECONDS[unit] for count, unit in _PART.findall(value)))
    if microseconds > _LONGEST:
        raise UnitError("a duration of a year at most", "write a shorter one, or off where that is allowed")
    return microseconds / 1e6


def write_duration(seconds: float) -> str:
    """The canonical form: ``90.0`` is ``1m30s``, ``0.25`` is ``250ms``."""
    rest = round(seconds * 1e6)
    parts = []
    for unit in ("h", "m"):
        count, rest = divmod(rest, _MICROSECONDS[unit])
        parts.append(f"{count}{unit}" if count else "")
    if rest and (rest >= _MICROSECONDS["s"] or any(parts)):
        parts.append(_decimal(rest, _MICROSECONDS["s"]) + "s")
    elif rest:
        parts.append(_decimal(rest, _MICROSECONDS["ms"]) + "ms")
    return "".join(parts) or "0s"


def _decimal(count: int, unit: int) -> str:
    whole, rest = divmod(count, unit)
    if not rest:
        return str(whole)
    digits = len(str(unit)) - 1  # units are powers of ten here
    return f"{whole}.{rest:0{digits}d}".rstrip("0")


def _is_zero(value: object) -> bool:
    return (isinstance(value, int | float) and value == 0 and not isinstance(value, bool)) or value == "0"


def _bounded(text: str) -> bool:
    return len(text) <= 4 * _MAX_DIGITS


def _duration_hint(value: object) -> str | None:
    """``30``, ``30 sec`` or ``2 minutes`` say well enough what was meant."""
    text = str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    found = _LOOSE_DURATION.fullmatch(text.strip()) if _bounded(text) else None
    if found is None:
        return None
    count, name = found[1], found[2].lower()
    if not name:
        return f"a duration needs its unit: write {count}s or {count}ms"
    return f"write {count}{_TIME_NAMES[name]}" if name in _TIME_NAMES else None


# --- sizes, rates, ratios ------------------------------------------------------------------------------


def read_size(value: object) -> int:
    """Bytes, from ``64KiB``, ``10MiB`` or a plain number."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not _bounded(text) or not re.fullmatch(SIZE, text):
        raise UnitError("a size", "write bytes as a number, or 64KiB, 10MiB, 1GiB", _size_hint(text))
    unit = next((unit for unit in _BYTES if text.endswith(unit)), "")
    size = int(text.removesuffix(unit)) * _BYTES.get(unit, 1)
    if size > _LARGEST:
        raise UnitError("a size of 1024TiB at most", "write a smaller one, or off where that is allowed")
    return size


def write_size(size: int) -> str:
    """The canonical form: ``65536`` is ``64KiB``."""
    unit = next(unit for unit, factor in _BYTES.items() if size % factor == 0 and (size or factor == 1))
    return f"{size // _BYTES[unit]}{unit}"


def _size_hint(value: object) -> str | None:
    found = _LOOSE_SIZE.fullmatch(value.strip()) if isinstance(value, str) and _bounded(value) else None
    return f"sizes are binary: write {found[1]}{found[2].upper()}iB" if found else None


def read_rate(value: object) -> Rate:
    """Calls per time, from ``10/s``, ``600/m``, ``1000/h`` or ``5/100ms``."""
    text = value if isinstance(value, str) and _bounded(value) and re.fullmatch(RATE, value) else None
    if text is None:
        raise UnitError("a rate", "write calls per time: 10/s, 600/m or 5/100ms", _rate_hint(value))
    count, _, per = text.partition("/")
    window = read_duration(per if per[0].isdigit() else "1" + per)
    if int(count) == 0 or window == 0:
        raise UnitError("a rate above zero", "write 1/s or more; for less than one a second, write 30/m or 10/h")
    return Rate(int(count), window)


def write_rate(rate: Rate) -> str:
    """The canonical form: ``Rate(10, 1.0)`` is ``10/s``."""
    per = write_duration(rate.window)
    return f"{rate.quota}/{per[1:] if per in {'1ms', '1s', '1m', '1h'} else per}"


def _rate_hint(value: object) -> str | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return f"a rate needs its time: write {value}/s or {value}/m" if whole else None


def read_ratio(value: object) -> float:
    """A share from 0 to 1, from ``0.5`` or ``50%``."""
    ratio = _number(value)
    if ratio is None:
        raise UnitError("a ratio", "write a share such as 0.5 or 50%")
    if not 0 <= ratio <= 1:
        hint = f"write {value}%" if isinstance(value, int) and 0 < value <= 100 else None
        raise UnitError("a ratio from 0 to 1", "write a share such as 0.5 or 50%", hint)
    return ratio


def _number(value: object) -> float | None:
    if isinstance(value, str):
        if not _bounded(value) or not re.fullmatch(RATIO, value):
            return None
        return float(value[:-1]) / 100 if value.endswith("%") else float(value)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def write_ratio(ratio: float) -> str:
    """The canonical form: ``0.2`` is ``20%``; what has no short one stays a number."""
    percent = f"{ratio * 100:g}%"
    return percent if _number(percent) == ratio else repr(ratio)


# --- addresses and status codes --------------------------------------------------------------------------


def read_address(value: object) -> tuple[str, int]:
    """Host and port, from ``127.0.0.1:7070``, ``name:80`` or ``[::1]:80``; port 0 is any free one."""
    if not isinstance(value, str) or not re.fullmatch(ADDRESS, value):
        raise UnitError("an address", "write host:port, such as 127.0.0.1:7070 or [::1]:7070", _address_hint(value))
    host, _, port = value.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if ":" in host and not _is_ip(host):
        raise UnitError("an address", "write an IPv6 address in brackets, such as [::1]:7070")
    if re.fullmatch(r"[0-9.]+", host) and not _is_ip(host):
        raise UnitError("an address", "write an IPv4 address such as 127.0.0.1:7070")
    if int(port) > 65535:
        raise UnitError("an address", "write a port from 0 to 65535")
    return host, int(port)


def write_address(address: tuple[str, int]) -> str:
    """The canonical form; an IPv6 host gets its brackets."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _address_hint(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"write host:port, such as 127.0.0.1:{value}"
    if isinstance(value, str) and re.fullmatch(":[0-9]{1,5}", value):
        return f"write the host too: 127.0.0.1{value}, or 0.0.0.0{value} for every interface"
    return None


def read_status_range(value: object) -> tuple[int, int]:
    """First and last status code, from ``503`` or ``500-599``."""
    text = str(value) if isinstance(value, int) else value
    if not isinstance(text, str) or not re.fullmatch(STATUS, text):
        loose = re.fullmatch("([1-5])xx", text, re.IGNORECASE) if isinstance(text, str) else None
        hint = f"write {loose[1]}00-{loose[1]}99" if loose else None
        raise UnitError(_STATUSES, "write a code such as 503, or a range such as 500-599", hint)
    first, _, last = text.partition("-")
    if int(last or first) < int(first):
        raise UnitError(_STATUSES, "write the lower code first, as in 500-599")
    return int(first), int(last or first)


def write_status_range(codes: tuple[int, int]) -> int | str:
    """The canonical form: ``(503, 503)`` is ``503``."""
    return codes[0] if codes[0] == codes[1] else f"{codes[0]}-{codes[1]}"
