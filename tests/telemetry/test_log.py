"""Log lines are JSON, whole and free of secrets; the access log is canonical."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Exchange, Headers, Request
from proxy.telemetry.log import LEVELS, AccessLog, JsonFormatter, set_level, setup, timestamp

LOG = logging.getLogger("backstay")
NAMES = ("backstay", "asyncio", "aiohttp")


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in NAMES]
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, handlers, level, propagate in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate


@pytest.fixture
def stream() -> io.StringIO:
    stream = io.StringIO()
    setup("info", stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("wall", "text"),
    [(0.0, "1970-01-01T00:00:00.000Z"), (1.0625, "1970-01-01T00:00:01.062Z"), (2e9, "2033-05-18T03:33:20.000Z")],
)
def test_timestamps_are_rfc3339(wall: float, text: str) -> None:
    """Times are UTC, with milliseconds even where they are nought."""
    assert timestamp(wall) == text


class TestLogLines:
    """What a module logs."""

    def test_a_line_has_its_fields_in_order(self) -> None:
        """A line begins with ts, level and msg; the fields of extra follow."""
        record = logging.makeLogRecord(
            {"created": 1.5, "levelname": "WARNING", "msg": "%s opened", "args": ("b",), "api": "a"}
        )
        line = '{"ts": "1970-01-01T00:00:01.500Z", "level": "warning", "msg": "b opened", "api": "a"}'
        assert JsonFormatter().format(record) == line

    def test_an_exception_is_told(self, stream: io.StringIO) -> None:
        """An error comes with its name, its words and where it happened, still on one line."""
        try:
            raise KeyError("spoon")  # noqa: TRY301 - the point of the test
        except KeyError:
            LOG.exception("a task failed")
        [line] = lines(stream)
        assert (line["msg"], line["error"]) == ("a task failed", "KeyError: 'spoon'")
        assert "test_an_exception_is_told" in line["trace"]

    def test_exc_info_without_an_exception_is_no_error(self, stream: io.StringIO) -> None:
        """`exc_info=True` outside of an except block adds nothing."""
        LOG.error("odd", exc_info=True)  # noqa: LOG014 - the point of the test
        assert "error" not in lines(stream)[0]

    def test_what_json_does_not_know_is_told_in_words(self, stream: io.StringIO) -> None:
        """A field of any type can be logged."""
        LOG.info("loaded", extra={"error": ValueError("x")})
        assert lines(stream)[0]["error"] == "x"

    def test_the_first_fields_cannot_be_replaced(self, stream: io.StringIO) -> None:
        """A field of extra never hides the time or the level."""
        LOG.info("loaded", extra={"ts": "never", "level": "none"})
        assert (lines(stream)[0]["level"], lines(stream)[0]["ts"][-1]) == ("info", "Z")

    @given(message=st.text())
    def test_no_message_forges_a_line(self, message: str) -> None:
        """Whatever is in a message, its line is one line of ASCII, and says it."""
        stream = io.StringIO()
        setup("info", stream)
        LOG.info("%s", message)
        assert stream.getvalue().isascii()
        assert [line["msg"] for line in lines(stream)] == [message]


class TestSetup:
    """Where lines go, and which."""

    def test_setup_again_replaces_the_stream(self, stream: io.StringIO) -> None:
        """Nothing is logged twice."""
        second = io.StringIO()
        setup("info", second)
        LOG.info("hello")
        assert (lines(stream), len(lines(second))) == ([], 1)

    @pytest.mark.parametrize("name", ["asyncio", "aiohttp.server"])
    def test_libraries_warn_in_the_same_form(self, stream: io.StringIO, name: str) -> None:
        """The log is JSON throughout, but libraries speak from warnings on only."""
        logging.getLogger(name).info("chatter")
        logging.getLogger(name).warning("slow callback")
        assert [line["msg"] for line in lines(stream)] == ["slow callback"]

    @pytest.mark.parametrize("level", LEVELS)
    def test_levels(self, stream: io.StringIO, level: str) -> None:
        """A level shows itself and what is graver."""
        set_level(level)
        for each in LEVELS:
            LOG.log(logging.getLevelNamesMapping()[each.upper()], each)
        assert [line["level"] for line in lines(stream)] == list(LEVELS[LEVELS.index(level) :])

    @pytest.mark.parametrize("level", ["INFO", "loud", "", "10"])
    def test_an_unknown_level_is_refused(self, stream: io.StringIO, level: str) -> None:
        """The error names the levels there are."""
        with pytest.raises(ValueError, match="is not a log level; use one of debug, info, warning, error"):
            set_level(level)


SECRET = "sk-live-4242"


def exchange(method: bytes = b"POST", path: str = "/v1/charges") -> Exchange:
    headers = Headers.of((b"Authorization", SECRET.encode()))
    request = Request(method, b"/v1/charges?key=" + SECRET.encode(), headers, body=SECRET.encode())
    request.path = path
    call = Exchange(request, api="stripe", route="charges", started=0.0)
    call.outcome, call.reason, call.attempts = "failed", "timeout", 3
    return call


class TestAccessLog:
    """One canonical line for each call."""

    @pytest.mark.parametrize(
        ("mode", "wanted"),
        [("all", [True, True, True, True]), ("errors", [False, True, True, True]), ("off", [False] * 4)],
    )
    def test_which_calls_are_logged(self, mode: str, wanted: list[bool]) -> None:
        """`errors` are answers from 400 on, and calls that ended otherwise than by an answer of the upstream's."""
        log = AccessLog(mode, str, lambda: 0.0)
        ends = [("forwarded", 399), ("forwarded", 400), ("broken", 200), ("refused", 503)]
        assert [log.wants(outcome, status) for outcome, status in ends] == wanted
        assert repr(log) == f"<AccessLog {mode}>"

    @pytest.mark.parametrize(
        ("outcome", "wanted"),
        [
            ("hit", [False, True]),
            ("coalesced", [False, True]),
            ("replayed", [False, True]),
            ("stale", [True, True]),
            ("fallback", [True, True]),
            ("rejected", [True, True]),
        ],
    )
    def test_which_answers_of_ours_are_errors(self, outcome: str, wanted: list[bool]) -> None:
        """A good answer from cache or ledger is as good as the upstream's; one in place of an error has its line."""
        log = AccessLog("errors", str, lambda: 0.0)
        assert [log.wants(outcome, status) for status in (304, 404)] == wanted

    def test_a_line_is_canonical_and_holds_no_secret(self) -> None:
        """Keys stand in a fixed order; headers, query and body are not among them."""
        written: list[str] = []
        log = AccessLog("all", written.append, lambda: 1.5)
        log.record(
            exchange(),
            504,
            duration=1.25,
            first_byte=None,
            upstream=1.2,
            overhead=0.0001234,
        )
        line = (
            '{"ts": "1970-01-01T00:00:01.500Z", "level": "info", "msg": "access", "api": "stripe", "route": "charges", '
            '"method": "POST", "path": "/v1/charges", "status": 504, "outcome": "failed", "reason": "timeout", '
            '"attempts": 3, "duration_ms": 1250.0, "upstream_ms": 1200.0, "overhead_ms": 0.123, '
            '"first_byte_ms": null}\n'
        )
        assert written == [line]
        assert SECRET not in written[0]

    def test_a_line_has_every_key_always(self) -> None:
        """What is not known is null, so that a reader never looks for a key in vain."""
        written: list[str] = []
        AccessLog("all", written.append, lambda: 0.0).record(exchange(), 200, duration=0.0)
        line = json.loads(written[0])
        assert [line[key] for key in ("upstream_ms", "overhead_ms", "first_byte_ms")] == [None] * 3

    @given(method=st.binary(), path=st.text(st.characters(), max_size=3000))
    def test_no_agent_floods_or_forges_the_log(self, method: bytes, path: str) -> None:
        """Whatever an agent sends, its line is one line of ASCII of bounded length."""
        written: list[str] = []
        AccessLog("all", written.append, lambda: 0.0).record(exchange(method, path), 400, duration=0.0)
        assert written[0].isascii()
        assert (written[0].index("\n"), len(written[0]) < 14_000) == (len(written[0]) - 1, True)
        assert path.startswith(json.loads(written[0])["path"])
