"""The table of a ledger's file, in memory: what is counted, what makes room, and what is asked without a scan."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.core.idempotency import Concluded, Conclusion, Found, State
from proxy.stores import ledger_file, ledger_table
from proxy.stores.ledger_table import TABLES, Calls
from tests.stores.ledger_suite import RELEASED, UNKNOWN, claim, done, named, unkept
from tests.support.answers import KIB, MIB

NOW = 1_000.0


@pytest.fixture
def calls() -> Iterator[Calls]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statement in TABLES:
        connection.execute(statement)
    yield Calls(connection, MIB, 0)
    connection.close()


def counted(calls: Calls) -> tuple[int, ...]:
    """The figures, as the rows have them."""
    return tuple(Calls(calls.connection, calls.limit, calls.figures.evictions).figures)


def answered(calls: Calls, key: str, conclusion: Conclusion, now: float = NOW) -> None:
    """A call that is reserved and finished."""
    assert calls.reserve(claim(key), now) is not None
    assert calls.finish(named(key), "e1-1", conclusion, now)


# --- what is counted ---


def test_figures_begin_with_what_is_there(calls: Calls) -> None:
    """A file that is opened again is counted once."""
    answered(calls, "done", done(b"x" * 100))
    answered(calls, "unknown", UNKNOWN)
    calls.reserve(claim("running"), NOW)
    again = Calls(calls.connection, MIB, 7).figures
    assert again == calls.figures._replace(evictions=7)
    assert (again.records, again.unknown) == (3, 1)
    assert 0 < again.answers < again.bytes


def test_a_record_takes_what_its_texts_take(calls: Calls) -> None:
    """Whatever letters they are of; and what is forgotten takes nothing."""
    calls.reserve(claim(subject=claim().subject._replace(key="")), NOW)
    least = calls.figures.bytes
    calls.reserve(claim("other", subject=claim().subject._replace(key="\u20ac" * 100)), NOW)
    assert calls.figures.bytes == 2 * least + 300
    for key in ("k", "other"):
        assert calls.finish(named(key), "e1-1", RELEASED, NOW)
    assert calls.figures == ledger_table.Figures()


def test_silent_owners_are_counted_when_it_is_asked(calls: Calls) -> None:
    """Nobody tells that a lease is over."""
    answered(calls, "done", done())
    calls.reserve(claim("lapsed", lease=10.0), NOW)
    calls.reserve(claim("running", lease=100.0), NOW)
    calls.count_lapsed(NOW + 9.0)
    before = calls.figures.lapsed
    calls.count_lapsed(NOW + 10.0)
    assert (before, calls.figures.lapsed) == (0, 1)


STEPS = st.tuples(
    st.sampled_from(["reserve", "done", "unknown", "unkept", "released", "renew", "as done", "as absent", "tidy"]),
    st.integers(0, 5),
    st.sampled_from([0, 10, 1_000, 5_000, 30_000]),
    st.sampled_from([0.0, 0.0, 30.0, 100.0]),
)


@given(st.lists(STEPS, max_size=60))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_figures_are_those_of_the_rows(calls: Calls, steps: list[tuple[str, int, int, float]]) -> None:
    """Whatever is done: answers make room, records are forgotten, and the limit holds."""
    calls.connection.execute("DELETE FROM calls")
    calls = Calls(calls.connection, 20 * KIB, 0)
    now = NOW
    for what, number, size, seconds in steps:
        now += seconds
        ident = named(f"k{number}")
        match what:
            case "reserve":
                subject = claim().subject._replace(target="x" * size)
                calls.reserve(claim(f"k{number}", retain=200.0, resend=size == 0, subject=subject), now)
            case "done":
                calls.finish(ident, "e1-1", done(b"x" * size), now)
            case "unknown" | "unkept" | "released":
                calls.finish(ident, "e1-1", {"unknown": UNKNOWN, "unkept": unkept(), "released": RELEASED}[what], now)
            case "renew":
                calls.renew(ident, "e1-1", 50.0, now)
            case "tidy":
                calls.tidy(now)
            case _:
                calls.settle(ident, now, done=what == "as done")
        figures = calls.figures
        assert figures == counted(calls)
        assert figures.answers <= figures.bytes <= calls.limit


# --- what makes room ---


def test_what_can_have_no_room_takes_nobody_elses(calls: Calls) -> None:
    """A record or an answer that would not fit without all the answers there are leaves them alone."""
    calls.limit = 64 * KIB
    answered(calls, "kept", done(b"x" * KIB))
    assert calls.reserve(claim("large", subject=claim().subject._replace(target="x" * 64 * KIB)), NOW) is None
    answered(calls, "done", done(b"x" * 64 * KIB, status=201))
    record = calls.look(named("done"), NOW)
    assert record is not None
    assert (record.state, record.status, record.answer) == (State.DONE, 201, None)
    assert calls.figures.evictions == 1
    kept = calls.look(named("kept"), NOW)
    assert kept is not None
    assert kept.answer is not None


def test_answers_go_in_the_order_in_which_they_came(calls: Calls) -> None:
    """However old the records are."""
    for key in ("late", "early"):
        calls.reserve(claim(key), NOW)
    for key in ("early", "late"):
        calls.finish(named(key), "e1-1", done(b"x" * 10 * KIB), NOW)
    calls.limit = 20 * KIB
    calls.tidy(NOW)
    early, late = calls.look(named("early"), NOW), calls.look(named("late"), NOW)
    assert early is not None
    assert late is not None
    assert (early.answer is None, late.answer is None) == (True, False)


def test_a_lower_limit_is_reached_in_steps(calls: Calls) -> None:
    """Hundreds of thousands of answers would hold everybody up; what is asked meanwhile has room."""
    for number in range(520):
        answered(calls, f"k{number}", done())
    calls.limit = calls.figures.bytes - calls.figures.answers + KIB
    calls.tidy(NOW)
    assert calls.figures.evictions == 500
    assert calls.reserve(claim(), NOW) is not None


def test_what_is_old_is_forgotten_in_steps(calls: Calls) -> None:
    """The oldest first; until then it is as if it were not there, and whoever reserves it gets a new record."""
    for number in range(501):
        answered(calls, f"k{number}", done(), NOW + number)
    later = NOW + 86_400.0 + 500.0
    assert calls.look(named("k500"), later) is None
    assert calls.unsettled(None, 10, later) == []
    calls.tidy(later)
    assert calls.figures.records == 1
    reserved = calls.reserve(claim("k500", "e1-2"), later)
    assert reserved is not None
    assert (reserved.found, reserved.record.token, reserved.record.number) == (Found.OWNED, "e1-2", 1)
    assert (calls.figures.records, calls.figures.answers) == (1, 0)
    assert tuple(calls.figures) == counted(calls)


def test_calls_under_way_are_not_forgotten(calls: Calls) -> None:
    """However long ago their time was."""
    calls.reserve(claim(lease=1_000.0, retain=10.0), NOW)
    calls.tidy(NOW + 999.0)
    assert calls.figures.records == 1
    calls.tidy(NOW + 1_000.0)
    assert calls.figures.records == 0


# --- rows ---


def test_a_row_that_is_no_record_is_an_error(calls: Calls) -> None:
    """It is not taken for one that is absent: that would be a second payment."""
    answered(calls, "k", done())
    for change in ("answer = x'ff'", "state = 'gone'"):
        calls.connection.execute(f"UPDATE calls SET {change}")
        with pytest.raises(ValueError, match=r"."):
            calls.reserve(claim(), NOW)
        with pytest.raises(ValueError, match=r"."):
            calls.look(named("k"), NOW)


def test_a_statement_that_fails_changes_no_figure(calls: Calls) -> None:
    """A text that is none cannot be written."""
    answered(calls, "k", Conclusion(Concluded.UNKNOWN))
    before = calls.figures
    with pytest.raises(UnicodeEncodeError):
        calls.reserve(claim("bad", subject=claim().subject._replace(target="\udc80")), NOW)
    calls.connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 900)
    with pytest.raises(sqlite3.Error, match="too big"):
        calls.finish(named("k"), "e1-1", done(b"x" * 1_000), NOW)
    assert (calls.figures, tuple(calls.figures)) == (before, counted(calls))
    assert repr(calls) == f"<Calls {before}>"


STATEMENTS = {
    name: value
    for module in (ledger_table, ledger_file)
    for name, value in vars(module).items()
    if name.startswith("_") and isinstance(value, str) and value.startswith(("SELECT", "UPDATE", "DELETE"))
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_statement_looks_at_every_record(calls: Calls, name: str) -> None:
    """But for the one that counts them when the file is opened, and that looks at an index."""
    statement = STATEMENTS[name]
    values = {"now": 0, "api": None, "limit": 1, "most": 1} if ":now" in statement else (0,) * statement.count("?")
    plan = [row[3] for row in calls.connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    allowed = "SCAN calls USING COVERING INDEX calls_" + ("until" if name == "_SUMS" else "answered")
    assert not [line for line in plan if line.startswith("SCAN") and line != allowed], plan
    assert "calls" in plan[0]


def test_every_statement_is_looked_at() -> None:
    """The table of plans is not empty."""
    assert {"_FIND", "_UNSETTLED", "_LAPSED", "_EXPIRED", "_ANSWERED", "_SUMS", "_ABANDONED"} <= set(STATEMENTS)
