"""Tests of how values are written: what is understood, and what a mistake is told to be instead."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.kubernetes import values


@pytest.mark.parametrize(
    ("reader", "text", "read"),
    [
        (values.switch, "true", True),
        (values.switch, "false", False),
        (values.one_of("a", "b"), "b", "b"),
        (values.name, "agents-config.v2", "agents-config.v2"),
        (values.names, "a, b ,a", ("a", "b")),
        (values.quantity, "0.5", "0.5"),
        (values.ports, "5432, 6379", (5432, 6379)),
        (values.networks, "10.0.0.0/8,fd00::/8,192.0.2.1", ("10.0.0.0/8", "fd00::/8", "192.0.2.1/32")),
        (values.number, "1001", 1001),
        (values.image, "r.example:5000/a@sha256:0", "r.example:5000/a@sha256:0"),
    ],
)
def test_what_is_written_right_is_read(reader: Callable[[str], Any], text: str, read: object) -> None:
    """Lists take blanks after commas, and each item counts once."""
    assert reader(text) == read


@pytest.mark.parametrize("reader", [values.names, values.ports, values.networks])
def test_an_empty_text_is_an_empty_list(reader: Callable[[str], Any]) -> None:
    """A pod takes back what the installation excludes."""
    assert reader(" ") == ()


@pytest.mark.parametrize(
    ("reader", "text", "remedy"),
    [
        (values.switch, "yes", 'write "true" or "false"'),
        (values.switch, "True", 'write "true" or "false"'),
        (values.one_of("env", "transparent", "both"), "all", "write env, transparent or both"),
        (values.name, "Upper_case", "write a name of lower-case letters"),
        (values.name, "a" * 254, "write a name of lower-case letters"),
        (values.name, "a\n", "write a name of lower-case letters"),
        (values.names, "a,,b", "write a name of lower-case letters"),
        (values.quantity, "64 MB", "write a quantity, such as 50m for cpu"),
        (values.quantity, "0", "write a quantity"),
        (values.quantity, "-1", "write a quantity"),
        (values.ports, "0", "write ports from 1 to 65535"),
        (values.ports, "65536", "write ports from 1 to 65535"),
        (values.ports, "٣", "write ports from 1 to 65535"),
        (values.networks, "10.0.0.1/8", "write networks whose host bits are zero"),
        (values.number, "0", "0 is root's"),
        (values.networks, "fe80::%eth0/64", "write networks"),
        (values.networks, "fe80::%a\nflush ruleset #/64", "write networks"),  # it would be a rule of root's
        (values.number, "2147483648", "write a user id"),
        (values.image, "a b", "write an image"),
        (values.image, "", "write an image"),
    ],
)
def test_what_is_written_wrong_is_told_what_to_write(reader: Callable[[str], Any], text: str, remedy: str) -> None:
    """Each reader has one sentence for all mistakes."""
    with pytest.raises(ValueError, match=remedy):
        reader(text)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("50m", "0.05"),
        ("1Ki", "1024"),
        ("1k", "1000"),
        ("2Gi", str(2 << 30)),
        ("1e3", "1000"),
        (".5", "0.5"),
        ("1E", "1e18"),
    ],
)
def test_quantities_are_compared_by_what_they_are(text: str, amount: str) -> None:
    """Suffixes as in https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/."""
    assert values.amount(text) == Decimal(amount)


def test_what_is_no_quantity_has_no_amount() -> None:
    """Whoever compares has to have read it first."""
    with pytest.raises(ValueError, match="'much' is no quantity"):
        values.amount("much")


@given(
    st.text(max_size=30), st.sampled_from([values.name, values.quantity, values.ports, values.networks, values.image])
)
def test_a_reader_gives_a_value_or_a_remedy(text: str, reader: Callable[[str], Any]) -> None:
    """Whatever an annotation holds: no other error comes out."""
    said = ""
    try:
        reader(text)
    except ValueError as error:
        said = str(error)
    assert not said or said.startswith("write ")


def test_a_value_is_shown_in_a_short_line() -> None:
    """A message does not repeat a whole configuration that went astray."""
    assert values.shown("x" * 1000 + "\n") == "'" + "x" * 56 + "..."
