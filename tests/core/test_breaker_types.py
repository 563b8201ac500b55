"""The nouns of the circuit breaker."""

from __future__ import annotations

import dataclasses

import pytest

from proxy.core.breaker_types import BreakerSettings, Refused, State, Ticket


def test_settings_cannot_be_changed_in_place() -> None:
    """New settings reach a breaker by ``reconfigure`` only."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        BreakerSettings().window = 1.0  # type: ignore[misc]


def test_states_are_words_that_a_log_can_print() -> None:
    """A state formats as its own word."""
    assert [f"{state}" for state in State] == ["closed", "open", "half_open", "ramp", "forced_open", "disabled"]


def test_refusals_compare_by_value_and_tickets_by_identity() -> None:
    """Two tickets of an epoch are two calls."""
    assert Refused(2.0) == Refused(retry_after=2.0)
    assert Ticket(1, 0.0) != Ticket(1, 0.0)


@pytest.mark.parametrize(
    ("ticket", "text"),
    [
        (Ticket(1, 0.0), "<Ticket call epoch=1>"),
        (Ticket(2, 0.0, probe=True), "<Ticket probe epoch=2>"),
        (Ticket(3, 0.0, shared=True), "<Ticket shared epoch=3>"),
    ],
)
def test_a_ticket_says_what_it_is(ticket: Ticket, text: str) -> None:
    """The kind and the epoch are what a reader of a log needs."""
    assert repr(ticket) == text
