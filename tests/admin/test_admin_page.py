"""The status page, and the small tables it is made of."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.admin.control import Control
from proxy.admin.page import facts, page, table, word


def test_the_page_shows_everything(control: Control) -> None:
    """One screen has the facts, and a table of breakers, of rate limits, of connections, of stores and of ledgers."""
    assert page(control) == (
        "version         0.1.0\n"
        "ready           yes\n"
        "uptime_seconds  12.5\n"
        "\n"
        "BREAKERS\n"
        "name            state   forced\n"
        "weather         closed  auto\n"
        "stripe/charges  closed  auto\n"
        "\n"
        "RATE LIMITS\n"
        "name     tokens   burst\n"
        "weather  49.1235  50\n"
        "\n"
        "CONNECTIONS\n"
        "none\n"
        "\n"
        "CACHE\n"
        "name    state  entries  bytes  limit\n"
        "memory  up     3        1234   67108864\n"
        "\n"
        "LEDGERS\n"
        "name    state  why  unknown  weaknesses\n"
        "ledger  up     -    2        -\n"
        "memory  up     -    0        a, b\n"
    )


def test_states_may_have_different_fields() -> None:
    """Columns are those of all rows; what a row has not is a dash."""
    assert table([{"name": "a"}, {"name": "b", "open": 3}]) == "name  open\na     -\nb     3"


def test_nothing_is_shown_as_nothing() -> None:
    """No rows and no fields make no text."""
    assert (table([]), facts({})) == ("", "")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (False, "no"),
        (3, "3"),
        (0.123456789, "0.123457"),
        ("open", "open"),
        (["a", None], "a, -"),
        ([], "-"),
        ({"memory": "up", "shared": None}, "memory up, shared -"),
        ({}, "-"),
    ],
)
def test_words(value: Any, text: str) -> None:
    """A value is written as an operator reads it."""
    assert word(value) == text
