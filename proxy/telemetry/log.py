"""Log lines and the access log: one JSON object a line, on one stream.

``app`` calls ``setup`` at start and ``set_level`` when the operator asks for it; every module logs through
``logging.getLogger("backstay")`` with fields in ``extra``; ``observe`` writes the access log.

Each line begins with ts (RFC 3339, UTC, milliseconds), level and msg. No line holds the value of a header, a query or
a body: secrets live there. What an agent chooses (method, path) is cut to a length and escaped to ASCII, so that it can
neither flood the log nor forge a line of it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from proxy.model import Exchange

LEVELS: Final = ("debug", "info", "warning", "error")

# Outcomes; a stale answer is none: it tells of an outage.
_AS_MEANT: Final = ("forwarded", "hit", "coalesced", "replayed")
_LONGEST_METHOD: Final = 32
_LONGEST_PATH: Final = 1024
_OWN: Final = frozenset({*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName", "ts", "level", "msg"})


def timestamp(wall: float) -> str:
    """Epoch seconds in RFC 3339, in UTC to the millisecond."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonFormatter(logging.Formatter):
    """A log record as one JSON object: ts, level, msg, the fields of ``extra``, and an exception's error and trace."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line = {"ts": timestamp(record.created), "level": record.levelname.lower(), "msg": record.getMessage()}
        line |= {name: value for name, value in record.__dict__.items() if name not in _OWN}
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = f"{type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def setup(level: str, stream: TextIO) -> None:
    """Send the log to ``stream``, and nowhere else; again, to another, if called again.

    The loggers of the libraries that serve us (asyncio, aiohttp) go the same way, from warnings on.
    Raises ValueError if ``level`` is none of ``LEVELS``.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    for name in ("backstay", "asyncio", "aiohttp"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False
        logger.setLevel(logging.WARNING)
    set_level(level)


def set_level(level: str) -> None:
    """Log what is at least as grave as ``level``. Raises ValueError if it is none of ``LEVELS``."""
    if level not in LEVELS:
        raise ValueError(f"{level!r} is not a log level; use one of {', '.join(LEVELS)}")
    logging.getLogger("backstay").setLevel(level.upper())


class AccessLog:
    """One line for each call that ``mode`` (all, errors, off) asks for, given to ``write`` with its line end."""

    def __init__(self, mode: str, write: Callable[[str], object], wall: Callable[[], float]) -> None:
        self.mode = mode
        self._write = write
        self._wall = wall

    def wants(self, outcome: str, status: int) -> bool:
        """Whether a call that ended like this is logged; ask first, since a line costs microseconds."""
        if self.mode == "errors":
            return status >= 400 or outcome not in _AS_MEANT
        return self.mode == "all"

    def record(
        self,
        exchange: Exchange,
        status: int,
        *,
        duration: float,
        first_byte: float | None = None,
        upstream: float | None = None,
        overhead: float | None = None,
    ) -> None:
        """Write the line of ``exchange``: times in seconds; keys and order are fixed."""
        request = exchange.request
        line: dict[str, Any] = {
            "ts": timestamp(self._wall()),
            "level": "info",
            "msg": "access",
            "api": exchange.api,
            "route": exchange.route,
            "method": request.method[:_LONGEST_METHOD].decode("latin-1"),
            "path": request.path[:_LONGEST_PATH],
            "status": status,
            "outcome": exchange.outcome,
            "reason": exchange.reason,
            "attempts": exchange.attempts,
            "duration_ms": _milliseconds(duration),
            "upstream_ms": _milliseconds(upstream),
            "overhead_ms": _milliseconds(overhead),
            "first_byte_ms": _milliseconds(first_byte),
        }
        self._write(json.dumps(line) + "\n")

    def __repr__(self) -> str:
        return f"<AccessLog {self.mode}>"


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
